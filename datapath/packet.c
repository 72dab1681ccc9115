/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a frame's bytes to a `struct packet`: the first thing that happens to every frame.  Called
 * by the workers for each frame, and by whoever looks into one (tests, fuzzers).  No state.
 *
 *      Ethernet -> [tag [tag]] -> ARP
 *                              -> IPv4 [options]    -+-> TCP, UDP, SCTP, ICMP
 *                              -> IPv6 [extensions] -+
 *                              -> anything else
 *
 * One cursor goes over the bytes once, and only forward.  It hands out a header when all of it is
 * there, and nothing otherwise, so that no line below reads what it has not been given.  Having
 * read an IP header, it ends where the packet ends: Ethernet's padding is never taken for a header.
 *
 * A frame that two hosts could read differently is refused, since what the zones decided on would
 * not be what the guest sees: a source route, an IPv4-mapped address in an IPv6 header, a first
 * fragment without its ports.
 */
#include "datapath/packet.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "datapath/packet_private.h"

/* --- Transport ------------------------------------------------------------------------------ */

static inline void set_ports(struct packet *packet, const uint8_t *ports)
{
	memcpy(&packet->key.source_port, ports, 4);
}

static inline enum drop_reason parse_tcp(struct cursor *cursor, struct packet *packet)
{
	const uint8_t *tcp = cursor_take(cursor, TCP_BYTES);

	if (unlikely(tcp == NULL))
		return packet_cut_short(packet, DROP_TCP_SHORT);
	uint32_t header_bytes = (uint32_t)(tcp[12] >> 4) * 4;
	if (unlikely(header_bytes < TCP_BYTES))
		return DROP_TCP_OFFSET;
	if (unlikely(cursor_take(cursor, header_bytes - TCP_BYTES) == NULL))
		return packet_cut_short(packet, DROP_TCP_OFFSET);
	set_ports(packet, tcp);
	packet->tcp_flags = tcp[13];
	packet->payload_offset = (uint16_t)cursor->at;
	return DROP_NONE;
}

/* A length of 0 is a jumbogram's (RFC 2675), which are refused.  A length below the IP packet's is
 * in order: what follows are UDP options (RFC 9868). */
static inline enum drop_reason parse_udp(struct cursor *cursor, struct packet *packet)
{
	const uint8_t *udp = cursor_take(cursor, UDP_BYTES);

	if (unlikely(udp == NULL))
		return packet_cut_short(packet, DROP_UDP_SHORT);
	uint32_t udp_bytes = load_be16(udp + 4);
	if (unlikely(udp_bytes < UDP_BYTES))
		return DROP_UDP_LENGTH;
	if (unlikely(udp_bytes > packet->l4_bytes) && !(packet->flags & PACKET_FRAGMENT_FIRST))
		return DROP_UDP_LENGTH;
	set_ports(packet, udp);
	packet->payload_offset = (uint16_t)cursor->at;
	return DROP_NONE;
}

static enum drop_reason parse_sctp(struct cursor *cursor, struct packet *packet)
{
	const uint8_t *sctp = cursor_take(cursor, SCTP_BYTES);

	if (sctp == NULL)
		return packet_cut_short(packet, DROP_SCTP_SHORT);
	set_ports(packet, sctp);
	packet->payload_offset = (uint16_t)cursor->at;
	return DROP_NONE;
}

void packet_note_icmp(struct packet *packet, const uint8_t *icmp)
{
	bool v4 = packet->key.kind == CONN_KEY_IPV4;
	uint8_t type = icmp[0];
	uint8_t request = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
	uint8_t reply = v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
	bool error = v4 ? type == ICMP_UNREACH || type == ICMP_TIMXCEED || type == ICMP_PARAMPROB
			: type >= ICMP6_DST_UNREACH && type <= ICMP6_PARAM_PROB;

	packet->icmp_type = type;
	packet->icmp_code = icmp[1];
	if (type == request) {
		memcpy(&packet->key.source_port, icmp + 4, 2);
		packet->key.destination_port = htons(request);
	} else if (type == reply) {
		packet->key.source_port = htons(request);
		memcpy(&packet->key.destination_port, icmp + 4, 2);
	} else {
		packet->key.source_port = htons(type);
	}
	if (error)
		packet->flags |= PACKET_ICMP_ERROR;
	if (!v4 && type >= ND_ROUTER_SOLICIT && type <= ND_REDIRECT)
		packet->flags |= PACKET_ND;
}

/* Every message of RFC 792, RFC 4443 and RFC 4861 has eight bytes at least. */
static enum drop_reason parse_icmp(struct cursor *cursor, struct packet *packet)
{
	const uint8_t *icmp = cursor_take(cursor, ICMP_BYTES);

	if (icmp == NULL)
		return packet_cut_short(packet, DROP_ICMP_SHORT);
	packet->payload_offset = (uint16_t)cursor->at;
	packet_note_icmp(packet, icmp);
	return DROP_NONE;
}

/* Whatever follows the IP headers.  ICMP counts only in its own family. */
static inline enum drop_reason parse_transport(
	struct cursor *cursor, struct packet *packet, uint8_t protocol, uint8_t own_icmp)
{
	packet->protocol = protocol;
	packet->key.protocol = protocol;
	if (unlikely(packet->flags & PACKET_FRAGMENT_LATER))
		return DROP_NONE;
	packet->l4_offset = (uint16_t)cursor->at;
	packet->payload_offset = (uint16_t)cursor->at;
	if (likely(protocol == IPPROTO_TCP))
		return parse_tcp(cursor, packet);
	if (likely(protocol == IPPROTO_UDP))
		return parse_udp(cursor, packet);
	if (protocol == own_icmp)
		return parse_icmp(cursor, packet);
	if (protocol == IPPROTO_SCTP)
		return parse_sctp(cursor, packet);
	return DROP_NONE;
}

/* --- Fragments ------------------------------------------------------------------------------ */

enum drop_reason packet_set_fragment(
	struct packet *packet, uint32_t offset, bool more, uint32_t limit)
{
	if (offset + packet->l4_bytes > limit)
		return DROP_FRAGMENT_OVERSIZE;
	if (packet->l4_bytes == 0 || (more && packet->l4_bytes % 8 != 0))
		return DROP_FRAGMENT_LENGTH;
	packet->fragment_offset = (uint16_t)offset;
	if (offset == 0)
		packet->flags |= PACKET_FRAGMENT_FIRST;
	else
		packet->flags |= PACKET_FRAGMENT_LATER | (more ? 0 : PACKET_FRAGMENT_LAST);
	return DROP_NONE;
}

/* --- IPv4 ----------------------------------------------------------------------------------- */

/* The sum of the header's 16-bit words is all ones (RFC 1071). */
static inline bool ip4_checksum_valid(const uint8_t *ip, uint32_t header_bytes)
{
	uint64_t sum = (uint64_t)load_u32(ip) + load_u32(ip + 4) + load_u32(ip + 8) +
		       load_u32(ip + 12) + load_u32(ip + 16);

	for (uint32_t at = IP4_BYTES; unlikely(at < header_bytes); at += 4)
		sum += load_u32(ip + at);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	return sum == UINT16_MAX;
}

/* Options (RFC 791, 3.1): well formed, and no source route, which would take the packet to another
 * address than the one that was judged. */
static enum drop_reason check_ip4_options(const uint8_t *options, uint32_t n)
{
	enum { END = 0, NO_OPERATION = 1, LOOSE_ROUTE = 131, STRICT_ROUTE = 137 };

	for (uint32_t at = 0; at < n && options[at] != END;) {
		if (options[at] == NO_OPERATION) {
			at++;
			continue;
		}
		if (options[at] == LOOSE_ROUTE || options[at] == STRICT_ROUTE)
			return DROP_IP4_OPTIONS;
		if (n - at < 2 || options[at + 1] < 2 || options[at + 1] > n - at)
			return DROP_IP4_OPTIONS;
		at += options[at + 1];
	}
	return DROP_NONE;
}

/* Multicast, the limited broadcast and loopback never send (RFC 1122, 3.2.1.3). */
static inline bool ip4_may_send(const uint8_t address[4])
{
	if (likely(address[0] < 224 && address[0] != 127))
		return true;
	return address[0] >= 240 && load_u32(address) != UINT32_MAX;
}

static inline bool ip4_may_receive(const uint8_t address[4])
{
	return address[0] != 127 && load_u32(address) != 0;
}

static enum drop_reason parse_ip4_fragment(struct packet *packet, const uint8_t *ip)
{
	uint16_t field = load_be16(ip + 6);
	uint32_t header_bytes = (uint32_t)(ip[0] & 0xf) * 4;

	packet->fragment_id = load_be16(ip + 4);
	return packet_set_fragment(
		packet, (field & 0x1fffu) * 8, field & 0x2000, UINT16_MAX - header_bytes);
}

static inline enum drop_reason parse_ip4(
	struct cursor *cursor, uint32_t frame_bytes, struct packet *packet)
{
	const uint8_t *ip = cursor_take(cursor, IP4_BYTES);

	if (unlikely(ip == NULL))
		return DROP_IP4_SHORT;
	if (unlikely(ip[0] >> 4 != 4))
		return DROP_IP4_VERSION;
	uint32_t header_bytes = (uint32_t)(ip[0] & 0xf) * 4, total_bytes = load_be16(ip + 2);
	if (unlikely(header_bytes != IP4_BYTES)) {
		if (header_bytes < IP4_BYTES ||
			cursor_take(cursor, header_bytes - IP4_BYTES) == NULL)
			return DROP_IP4_HEADER_LENGTH;
	}
	if (unlikely(total_bytes < header_bytes || total_bytes > frame_bytes - packet->l3_offset))
		return DROP_IP4_TOTAL_LENGTH;
	if (unlikely(!ip4_checksum_valid(ip, header_bytes)))
		return DROP_IP4_CHECKSUM;
	if (unlikely(header_bytes != IP4_BYTES)) {
		enum drop_reason reason =
			check_ip4_options(ip + IP4_BYTES, header_bytes - IP4_BYTES);
		if (reason != DROP_NONE)
			return reason;
	}
	if (unlikely(!ip4_may_send(ip + 12)))
		return DROP_IP4_SOURCE;
	if (unlikely(!ip4_may_receive(ip + 16)))
		return DROP_IP4_DESTINATION;
	packet->key.kind = CONN_KEY_IPV4;
	map_ip4(&packet->key.source, ip + 12);
	map_ip4(&packet->key.destination, ip + 16);
	packet->l4_bytes = total_bytes - header_bytes;
	cursor_end_at(cursor, packet->l3_offset + total_bytes);
	if (unlikely(load_be16(ip + 6) & 0x3fff)) {
		enum drop_reason reason = parse_ip4_fragment(packet, ip);
		if (reason != DROP_NONE)
			return reason;
	}
	return parse_transport(cursor, packet, ip[9], IPPROTO_ICMP);
}

/* --- IPv6 ----------------------------------------------------------------------------------- */

/* Loopback and unspecified (RFC 4291, 2.5.2 and 2.5.3) and IPv4-mapped addresses never travel: the
 * last would be taken for the IPv4 address. */
static bool ip6_is_local(const uint8_t address[16])
{
	struct in6_addr copy;

	memcpy(&copy, address, sizeof(copy));
	return IN6_IS_ADDR_UNSPECIFIED(&copy) || IN6_IS_ADDR_LOOPBACK(&copy) ||
	       IN6_IS_ADDR_V4MAPPED(&copy);
}

static inline enum drop_reason check_ip6_addresses(
	const uint8_t *source, const uint8_t *destination)
{
	if (unlikely(source[0] == 0xff))
		return DROP_IP6_SOURCE;
	if (unlikely(load_u64(source) == 0)) {
		/* Duplicate address detection sends from the unspecified address. */
		bool unspecified = load_u64(source + 8) == 0;
		if (!unspecified && ip6_is_local(source))
			return DROP_IP6_SOURCE;
	}
	if (unlikely(load_u64(destination) == 0) && ip6_is_local(destination))
		return DROP_IP6_DESTINATION;
	return DROP_NONE;
}

static inline enum drop_reason parse_ip6(
	struct cursor *cursor, uint32_t frame_bytes, struct packet *packet)
{
	const uint8_t *ip = cursor_take(cursor, IP6_BYTES);

	if (unlikely(ip == NULL))
		return DROP_IP6_SHORT;
	if (unlikely(ip[0] >> 4 != 6))
		return DROP_IP6_VERSION;
	uint32_t ip_end = cursor->at + load_be16(ip + 4);
	if (unlikely(ip_end > frame_bytes))
		return DROP_IP6_PAYLOAD_LENGTH;
	enum drop_reason reason = check_ip6_addresses(ip + 8, ip + 24);
	if (unlikely(reason != DROP_NONE))
		return reason;
	packet->key.kind = CONN_KEY_IPV6;
	memcpy(&packet->key.source, ip + 8, 16);
	memcpy(&packet->key.destination, ip + 24, 16);
	uint8_t protocol = ip[6];
	cursor_end_at(cursor, ip_end);
	if (unlikely(packet_is_extension(protocol))) {
		reason = packet_walk_extensions(cursor, packet, &protocol, ip_end);
		if (reason != DROP_NONE)
			return reason;
	}
	packet->l4_bytes = ip_end - cursor->at;
	return parse_transport(cursor, packet, protocol, IPPROTO_ICMPV6);
}

/* --- What is not IP ------------------------------------------------------------------------- */

static void set_ethernet_key(struct packet *packet, const uint8_t *frame)
{
	packet->key.kind = CONN_KEY_ETHERNET;
	memcpy(packet->key.destination.s6_addr + 10, frame, 6);
	memcpy(packet->key.source.s6_addr + 10, frame + 6, 6);
	packet->key.source_port = packet->key.destination_port = htons(packet->ethertype);
}

static enum drop_reason parse_arp(struct cursor *cursor, struct packet *packet)
{
	static const uint8_t ethernet_and_ip4[] = {0, 1, 8, 0, 6, 4, 0};
	enum { REQUEST = 1, REPLY = 2 };
	const uint8_t *arp = cursor_take(cursor, ARP_BYTES);

	if (arp == NULL)
		return DROP_ARP_SHORT;
	if (memcmp(arp, ethernet_and_ip4, sizeof(ethernet_and_ip4)) != 0 ||
		(arp[7] != REQUEST && arp[7] != REPLY))
		return DROP_ARP_FORMAT;
	if (!ip4_may_send(arp + 14))
		return DROP_ARP_SENDER;
	packet->flags |= PACKET_ARP;
	set_ethernet_key(packet, cursor->data);
	return DROP_NONE;
}

/* --- Ethernet ------------------------------------------------------------------------------- */

static inline bool is_tag(uint16_t ethertype)
{
	return ethertype == TYPE_8021Q || ethertype == TYPE_8021AD;
}

/* Takes the tags.  One that says no more than a priority has nothing behind it: else what passes
 * for untagged here would be tagged to whoever removes the outer tag. */
static enum drop_reason parse_tags(
	struct cursor *cursor, struct packet *packet, uint16_t *ethertype)
{
	enum { TAGS_MAX = 2 };

	for (unsigned int n = 0; is_tag(*ethertype); n++) {
		const uint8_t *tag = cursor_take(cursor, TAG_BYTES);

		if (n == TAGS_MAX)
			return DROP_VLAN_DEPTH;
		if (tag == NULL)
			return DROP_VLAN_SHORT;
		if (n == 0)
			packet->vlan_tci = load_be16(tag);
		else
			packet->inner_tci = load_be16(tag);
		*ethertype = load_be16(tag + 2);
	}
	packet->flags |= PACKET_TAGGED;
	if (cursor->at > ETHERNET_BYTES + TAG_BYTES)
		packet->flags |= PACKET_DOUBLE_TAGGED;
	if ((packet->vlan_tci & 0xfff) != 0)
		return DROP_NONE;
	packet->flags |= PACKET_PRIORITY_TAGGED;
	return packet->flags & PACKET_DOUBLE_TAGGED ? DROP_VLAN_PRIORITY : DROP_NONE;
}

enum drop_reason packet_parse(
	const uint8_t *data, uint32_t header_bytes, uint32_t frame_bytes, struct packet *packet)
{
	struct cursor cursor = {.data = data, .end = header_bytes};
	const uint8_t *ethernet = cursor_take(&cursor, ETHERNET_BYTES);

	if (unlikely(ethernet == NULL))
		return DROP_ETHERNET_SHORT;
	if (unlikely(ethernet[6] & 1))
		return DROP_ETHERNET_SOURCE;
	*packet = (struct packet){.flags = ethernet[0] & 1 ? PACKET_GROUP : 0};
	uint16_t ethertype = load_be16(ethernet + 12);
	if (unlikely(is_tag(ethertype))) {
		enum drop_reason reason = parse_tags(&cursor, packet, &ethertype);
		if (reason != DROP_NONE)
			return reason;
	}
	packet->l3_offset = (uint16_t)cursor.at;
	packet->ethertype = ethertype >= TYPE_LOWEST ? ethertype : 0;
	if (likely(ethertype == TYPE_IP4))
		return parse_ip4(&cursor, frame_bytes, packet);
	if (likely(ethertype == TYPE_IP6))
		return parse_ip6(&cursor, frame_bytes, packet);
	if (ethertype == TYPE_ARP)
		return parse_arp(&cursor, packet);
	set_ethernet_key(packet, data);
	return DROP_NONE;
}
