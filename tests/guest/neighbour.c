/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has which MAC: learnt from all that comes, asked for by ARP (RFC 826) and neighbour
 * solicitations (RFC 4861).
 */
#include "guest.h"

enum { NEIGHBOURS = 64, TRIES = 3, TRY_MS = 800, SOLICITATION = 135, SOLICITATION_BYTES = 32 };

static struct {
	struct address address;
	uint8_t mac[6];
} neighbours[NEIGHBOURS];
static unsigned int n_neighbours;

static int find(const struct address *address)
{
	for (unsigned int i = 0; i < n_neighbours && i < NEIGHBOURS; i++) {
		if (address_same(&neighbours[i].address, address))
			return (int)i;
	}
	return -1;
}

void neighbour_learn(const struct address *address, const uint8_t *mac)
{
	int known = find(address);
	unsigned int place = known >= 0 ? (unsigned int)known : n_neighbours++ % NEIGHBOURS;

	neighbours[place].address = *address;
	memcpy(neighbours[place].mac, mac, 6);
}

static void ask_arp(struct net *net, const struct address *address)
{
	static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0, 1};
	uint8_t *frame = net_frame(net, 0), *arp;

	if (!frame)
		return;
	memset(frame, 0xff, 6);
	memcpy(frame + 6, net->mac, 6);
	set_be16(frame + 12, ETHERTYPE_ARP);
	arp = frame + 14;
	memset(arp, 0, 46);
	memcpy(arp, head, sizeof(head));
	memcpy(arp + 8, net->mac, 6);
	memcpy(arp + 14, net->ipv4.bytes, 4);
	memcpy(arp + 24, address->bytes, 4);
	net_send(net, 0, 60);
}

/* To the solicited-node address of who is looked for (RFC 4291, 2.7.1). */
static void ask_ipv6(struct net *net, const struct address *address)
{
	struct address group = {6, {0xff, 2, [11] = 1, 0xff}};
	uint8_t mac[6] = {0x33, 0x33, 0xff};
	uint8_t *frame = net_frame(net, 0), *icmp;

	if (!frame)
		return;
	memcpy(group.bytes + 13, address->bytes + 13, 3);
	memcpy(mac + 3, address->bytes + 13, 3);
	icmp = packet_begin(frame, net, mac, &group, PROTOCOL_ICMPV6);
	memset(icmp, 0, SOLICITATION_BYTES);
	icmp[0] = SOLICITATION;
	memcpy(icmp + 8, address->bytes, 16);
	icmp[24] = 1;
	icmp[25] = 1;
	memcpy(icmp + 26, net->mac, 6);
	net_send(net, 0, packet_end(frame, SOLICITATION_BYTES));
}

bool neighbour_find(struct net *net, const struct address *address, uint8_t *mac)
{
	for (unsigned int try = 0; try < TRIES && find(address) < 0; try++) {
		uint64_t end = clock_cycles() + TRY_MS * cycles_per_ms();

		if (address->version == 4)
			ask_arp(net, address);
		else
			ask_ipv6(net, address);
		while (find(address) < 0 && clock_cycles() < end)
			work();
	}
	if (find(address) < 0)
		return false;
	memcpy(mac, neighbours[find(address)].mac, 6);
	return true;
}
