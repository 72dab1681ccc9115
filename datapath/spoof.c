/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spoof guard.  Called by the miss path, on the workers, for packets of vNICs: packets of a
 * known flow have passed it before, with the same port, addresses and MACs, and ARP and neighbour
 * discovery never become flows.
 */
#include "datapath/spoof.h"

#include <netinet/icmp6.h>

#include "datapath/packet_private.h"

enum { DHCP_SERVER_PORT = 67, DHCP_CLIENT_PORT = 68 };

/* Offsets within an ARP packet for Ethernet and IPv4 (RFC 826). */
enum {
	ARP_OPERATION = 6,
	ARP_SENDER_MAC = 8,
	ARP_SENDER_ADDRESS = 14,
	ARP_TARGET_ADDRESS = 24,
	ARP_REQUEST = 1,
};

static const uint8_t *source_mac(const uint8_t *frame)
{
	return frame + 6;
}

static bool same_address(const struct in6_addr *a, const struct in6_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* --- Whose address -------------------------------------------------------------------------- */

static bool owns_mac(const struct spoof_binding *binding, const uint8_t *mac)
{
	for (size_t i = 0; i < binding->n_macs; i++)
		if (memcmp(binding->macs[i], mac, 6) == 0)
			return true;
	return binding->n_macs == 0;
}

/* The link-local address that is made from a MAC (RFC 4291, appendix A; RFC 2464, 5). */
static struct in6_addr address_of_mac(const uint8_t mac[6])
{
	return (struct in6_addr){.s6_addr = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1],
					 mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}};
}

/* An interface identifier that was made from a MAC, by its ff:fe in the middle. */
static bool made_of_a_mac(const struct in6_addr *address)
{
	return address->s6_addr[11] == 0xff && address->s6_addr[12] == 0xfe;
}

static bool owns_link_local(
	const struct spoof_binding *binding, const struct in6_addr *address, const uint8_t *mac)
{
	const struct in6_addr made = address_of_mac(mac);

	for (size_t i = 0; i < binding->n_addresses; i++)
		if (IN6_IS_ADDR_LINKLOCAL(&binding->addresses[i]))
			return same_address(address, &made);
	return !made_of_a_mac(address) || same_address(address, &made);
}

static bool owns_address(
	const struct spoof_binding *binding, const struct in6_addr *address, const uint8_t *mac)
{
	if (binding->n_addresses == 0)
		return true;
	for (size_t i = 0; i < binding->n_addresses; i++)
		if (same_address(&binding->addresses[i], address))
			return true;
	return IN6_IS_ADDR_LINKLOCAL(address) && owns_link_local(binding, address, mac);
}

/* --- Senders without an address ------------------------------------------------------------- */

/* RFC 2131, 4.1: to the limited broadcast, from the client's port to the server's. */
static bool is_dhcp_request(const struct packet *packet)
{
	return packet->protocol == IPPROTO_UDP && packet->l4_offset != 0 &&
	       packet->key.source_port == htons(DHCP_CLIENT_PORT) &&
	       packet->key.destination_port == htons(DHCP_SERVER_PORT) &&
	       packet->key.destination.s6_addr32[3] == UINT32_MAX;
}

static bool may_be_nobody4(const struct packet *packet)
{
	return is_dhcp_request(packet) || packet->protocol == IPPROTO_IGMP;
}

static bool may_be_nobody6(const struct packet *packet)
{
	if (packet->protocol != IPPROTO_ICMPV6 || packet->l4_offset == 0)
		return false;
	switch (packet->icmp_type) {
	case ND_NEIGHBOR_SOLICIT:
	case ND_ROUTER_SOLICIT:
	case MLD_LISTENER_REPORT:
	case MLD_LISTENER_REDUCTION:
	case 143: /* MLDv2 report (RFC 3810). */
		return IN6_IS_ADDR_MULTICAST(&packet->key.destination);
	default: return false;
	}
}

/* --- ARP ------------------------------------------------------------------------------------ */

/* Who the sender says it is; in a probe, who it is about to be. */
static void arp_claim(const uint8_t *arp, struct in6_addr *address)
{
	bool probe = load_u32(arp + ARP_SENDER_ADDRESS) == 0;

	map_ip4(address, arp + (probe ? ARP_TARGET_ADDRESS : ARP_SENDER_ADDRESS));
}

static enum drop_reason check_arp(
	const struct spoof_binding *binding, const uint8_t *frame, const struct packet *packet)
{
	const uint8_t *arp = frame + packet->l3_offset;
	bool nobody = load_u32(arp + ARP_SENDER_ADDRESS) == 0;
	struct in6_addr claimed;

	if (memcmp(arp + ARP_SENDER_MAC, source_mac(frame), 6) != 0)
		return DROP_SPOOFED_ARP;
	if (nobody && load_be16(arp + ARP_OPERATION) != ARP_REQUEST)
		return DROP_SPOOFED_ARP;
	arp_claim(arp, &claimed);
	return owns_address(binding, &claimed, source_mac(frame)) ? DROP_NONE : DROP_SPOOFED_ARP;
}

/* --- Neighbour discovery (RFC 4861) --------------------------------------------------------- */

/* A message: its fixed part, and the options behind it. */
struct message {
	const uint8_t *fixed;
	struct cursor options;
};

/* How long the fixed part of each is (RFC 4861, 4). */
static uint32_t message_bytes(uint8_t type)
{
	switch (type) {
	case ND_ROUTER_SOLICIT: return 8;
	case ND_ROUTER_ADVERT: return 16;
	case ND_REDIRECT: return 40;
	default: return 24; /* Neighbour solicitation and advertisement. */
	}
}

static bool read_message(const uint8_t *frame, uint32_t header_bytes, const struct packet *packet,
	struct message *message)
{
	message->options =
		(struct cursor){.data = frame, .at = packet->l4_offset, .end = header_bytes};
	cursor_end_at(&message->options, packet->l4_offset + packet->l4_bytes);
	message->fixed = cursor_take(&message->options, message_bytes(packet->icmp_type));
	return message->fixed != NULL;
}

static struct in6_addr message_target(const struct message *message)
{
	struct in6_addr target;

	memcpy(&target, message->fixed + 8, sizeof(target));
	return target;
}

/* Each link-layer address option, the sender's (1) and the target's (2), has the sender's MAC.  An
 * option that does not fit ends the matter: who knows what a host would read into it. */
static bool options_have_mac(struct cursor options, const uint8_t *mac)
{
	enum { SOURCE_MAC = 1, TARGET_MAC = 2 };

	while (options.at < options.end) {
		const uint8_t *option = cursor_take(&options, 8);

		if (option == NULL || option[1] == 0)
			return false;
		if (cursor_take(&options, (option[1] - 1u) * 8) == NULL)
			return false;
		if ((option[0] == SOURCE_MAC || option[0] == TARGET_MAC) &&
			memcmp(option + 2, mac, 6) != 0)
			return false;
	}
	return true;
}

static bool is_detection(const struct packet *packet)
{
	return packet->icmp_type == ND_NEIGHBOR_SOLICIT &&
	       IN6_IS_ADDR_UNSPECIFIED(&packet->key.source);
}

static enum drop_reason check_nd(const struct spoof_binding *binding, const uint8_t *frame,
	uint32_t header_bytes, const struct packet *packet)
{
	struct message message;

	if (!read_message(frame, header_bytes, packet, &message))
		return DROP_ICMP_SHORT;
	/* A redirect's is that of another router. */
	if (packet->icmp_type == ND_REDIRECT)
		return DROP_NONE;
	if (!options_have_mac(message.options, source_mac(frame)))
		return DROP_SPOOFED_ND;
	if (packet->icmp_type == ND_NEIGHBOR_ADVERT || is_detection(packet)) {
		struct in6_addr target = message_target(&message);
		if (!owns_address(binding, &target, source_mac(frame)))
			return DROP_SPOOFED_ND;
	}
	return DROP_NONE;
}

bool spoof_may_send(
	const struct spoof_binding *binding, const uint8_t mac[6], const struct in6_addr *address)
{
	bool nobody = IN6_IS_ADDR_UNSPECIFIED(address) ||
		      (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr32[3] == 0);

	return owns_mac(binding, mac) && !nobody && owns_address(binding, address, mac);
}

/* --- All together --------------------------------------------------------------------------- */

/* The IP source is the vNIC's, or nobody's where that may be. */
static bool source_is_own(
	const struct spoof_binding *binding, const uint8_t *frame, const struct packet *packet)
{
	if (packet->key.kind == CONN_KEY_IPV4 && packet->key.source.s6_addr32[3] == 0)
		return may_be_nobody4(packet);
	if (IN6_IS_ADDR_UNSPECIFIED(&packet->key.source))
		return may_be_nobody6(packet);
	return owns_address(binding, &packet->key.source, source_mac(frame));
}

static enum drop_reason check_ip(const struct spoof_binding *binding, const uint8_t *frame,
	uint32_t header_bytes, const struct packet *packet)
{
	if (binding->n_addresses != 0 && !source_is_own(binding, frame, packet))
		return DROP_SPOOFED_ADDRESS;
	if (packet->flags & PACKET_ND)
		return check_nd(binding, frame, header_bytes, packet);
	return DROP_NONE;
}

enum drop_reason spoof_check(const struct spoof_binding *binding, const uint8_t *frame,
	uint32_t header_bytes, const struct packet *packet)
{
	if (!owns_mac(binding, source_mac(frame)))
		return DROP_SPOOFED_MAC;
	if (packet->flags & PACKET_ARP)
		return check_arp(binding, frame, packet);
	if (packet->key.kind == CONN_KEY_ETHERNET)
		return DROP_NONE;
	return check_ip(binding, frame, header_bytes, packet);
}

bool spoof_claim(const uint8_t *frame, uint32_t header_bytes, const struct packet *packet,
	struct in6_addr *address)
{
	struct message message;

	if (packet->flags & PACKET_ARP) {
		arp_claim(frame + packet->l3_offset, address);
		return true;
	}
	if (!(packet->flags & PACKET_ND) ||
		!(packet->icmp_type == ND_NEIGHBOR_ADVERT || is_detection(packet)) ||
		!read_message(frame, header_bytes, packet, &message))
		return false;
	*address = message_target(&message);
	return true;
}
