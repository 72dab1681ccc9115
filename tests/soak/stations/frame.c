/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that say whom they are from and for: building and reading them.  Called by traffic.c and
 * ledger.c, on the program's one thread.
 *
 * Ethernet, perhaps a tag, IPv4 or IPv6, UDP, the label, and padding that follows from the label,
 * so that a frame that was mixed up with another is found out.
 */
#include "stations.h"

#include <arpa/inet.h>
#include <string.h>

enum {
	LABEL_MAGIC = 0x736f616b,
	ETHERNET_BYTES = 14,
	TAG_BYTES = 4,
	IP4_BYTES = 20,
	IP6_BYTES = 40,
	UDP_BYTES = 8,
	HOP_LIMIT = 64,
};

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t add_words(uint32_t sum, const uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i + 1 < bytes; i += 2)
		sum += get16(data + i);
	if (bytes & 1)
		sum += (uint32_t)data[bytes - 1] << 8;
	return sum;
}

static uint16_t finish_sum(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* The byte of padding at a place. */
static uint8_t padding(const struct label *label, uint32_t i)
{
	return (uint8_t)((label->padding_seed + i) * 167 >> 3);
}

/* --- building ------------------------------------------------------------------------------- */

static size_t put_ethernet(const struct frame_plan *plan, uint8_t *out)
{
	static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t all_nodes[6] = {0x33, 0x33, 0, 0, 0, 1};
	size_t at = 12;

	memcpy(out,
		plan->to != NULL     ? plan->to->mac
		: plan->version == 0 ? everybody
				     : all_nodes,
		6);
	memcpy(out + 6, plan->spoof_mac ? plan->as->mac : plan->from->mac, 6);
	if (plan->tagged) {
		put16(out + at, 0x8100);
		put16(out + at + 2, plan->from->vlan);
		at += TAG_BYTES;
	}
	put16(out + at, plan->version == 0 ? 0x0800 : 0x86dd);
	return at + 2;
}

static size_t put_ip(const struct frame_plan *plan, uint8_t *ip, size_t payload_bytes)
{
	static const uint8_t all_nodes[16] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

	if (plan->version == 0) {
		memset(ip, 0, IP4_BYTES);
		ip[0] = 0x45;
		put16(ip + 2, (uint16_t)(IP4_BYTES + payload_bytes));
		ip[8] = HOP_LIMIT;
		ip[9] = IPPROTO_UDP;
		memcpy(ip + 12, &plan->as->ipv4, 4);
		memset(ip + 16, 0xff, 4);
		if (plan->to != NULL)
			memcpy(ip + 16, &plan->to->ipv4, 4);
		put16(ip + 10, finish_sum(add_words(0, ip, IP4_BYTES)));
		return IP4_BYTES;
	}
	memset(ip, 0, IP6_BYTES);
	ip[0] = 0x60;
	put16(ip + 4, (uint16_t)payload_bytes);
	ip[6] = IPPROTO_UDP;
	ip[7] = HOP_LIMIT;
	memcpy(ip + 8, &plan->as->ipv6, 16);
	memcpy(ip + 24, plan->to != NULL ? (const uint8_t *)&plan->to->ipv6 : all_nodes, 16);
	return IP6_BYTES;
}

/* The checksum over the pseudo header and the datagram. */
static uint16_t udp_sum(const struct frame_plan *plan, const uint8_t *ip, const uint8_t *udp)
{
	uint16_t bytes = get16(udp + 4);
	uint32_t sum = (uint32_t)IPPROTO_UDP + bytes;

	sum = plan->version == 0 ? add_words(sum, ip + 12, 8) : add_words(sum, ip + 8, 32);
	uint16_t checksum = finish_sum(add_words(sum, udp, bytes));
	return checksum == 0 ? 0xffff : checksum;
}

size_t frame_build(const struct frame_plan *plan, uint8_t *out)
{
	struct label label = plan->label;
	size_t udp_bytes = UDP_BYTES + sizeof(label) + label.padding_bytes;
	uint8_t *ip = out + put_ethernet(plan, out);
	uint8_t *udp = ip + put_ip(plan, ip, udp_bytes);

	label.magic = LABEL_MAGIC;
	put16(udp, plan->source_port);
	put16(udp + 2, plan->destination_port);
	put16(udp + 4, (uint16_t)udp_bytes);
	put16(udp + 6, 0);
	memcpy(udp + UDP_BYTES, &label, sizeof(label));
	for (uint32_t i = 0; i < label.padding_bytes; i++)
		udp[UDP_BYTES + sizeof(label) + i] = padding(&label, i);
	put16(udp + 6, udp_sum(plan, ip, udp));
	return (size_t)(udp + udp_bytes - out);
}

/* --- reading -------------------------------------------------------------------------------- */

/* Finds the datagram of a frame.  NULL if it has none. */
static const uint8_t *find_udp(
	const uint8_t *frame, size_t bytes, struct frame_seen *seen, size_t *udp_bytes)
{
	size_t at = 12, header;

	if (bytes < ETHERNET_BYTES)
		return NULL;
	seen->tagged = get16(frame + at) == 0x8100;
	if (seen->tagged && bytes < ETHERNET_BYTES + TAG_BYTES)
		return NULL;
	seen->vlan = seen->tagged ? get16(frame + at + 2) & 0xfff : 0;
	at += seen->tagged ? TAG_BYTES : 0;
	uint16_t type = get16(frame + at);
	at += 2;
	if (type != 0x0800 && type != 0x86dd)
		return NULL;
	seen->version = type == 0x86dd;
	header = seen->version == 0 ? IP4_BYTES : IP6_BYTES;
	if (bytes < at + header + UDP_BYTES ||
		frame[at + (seen->version == 0 ? 9 : 6)] != IPPROTO_UDP)
		return NULL;
	*udp_bytes = bytes - at - header;
	return frame + at + header;
}

enum frame_reading frame_read(
	uint32_t run, const uint8_t *frame, size_t bytes, struct frame_seen *seen)
{
	size_t udp_bytes;
	const uint8_t *udp = find_udp(frame, bytes, seen, &udp_bytes);
	struct label *label = &seen->label;

	if (udp == NULL || udp_bytes < UDP_BYTES + sizeof(*label))
		return FRAME_FOREIGN;
	memcpy(label, udp + UDP_BYTES, sizeof(*label));
	if (label->magic != LABEL_MAGIC || label->run != run)
		return FRAME_FOREIGN;
	if (label->kind >= FRAME_KINDS || label->service >= SERVICES ||
		label->source >= ENDPOINTS_MAX ||
		(label->destination >= ENDPOINTS_MAX && label->destination != EVERYBODY) ||
		get16(udp + 4) != UDP_BYTES + sizeof(*label) + label->padding_bytes ||
		udp_bytes < get16(udp + 4))
		return FRAME_DAMAGED;
	for (uint32_t i = 0; i < label->padding_bytes; i++) {
		if (udp[UDP_BYTES + sizeof(*label) + i] != padding(label, i))
			return FRAME_DAMAGED;
	}
	return FRAME_OURS;
}
