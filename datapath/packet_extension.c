/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv6 extension headers (RFC 8200, 4), for packet_parse() and packet_parse_quoted(), on the
 * workers.  Few packets have any.  What is taken for a chain here is what a host would take for
 * one; any chain that could be read in two ways is refused.
 */
#include "datapath/packet_private.h"

/* The options of a hop-by-hop or destination header (RFC 8200, 4.2) fit into it. */
static enum drop_reason check_options(const uint8_t *header, uint32_t n)
{
	enum { PAD1 = 0, JUMBO_PAYLOAD = 0xc2 };

	for (uint32_t at = 2; at < n;) {
		if (header[at] == PAD1) {
			at++;
			continue;
		}
		if (n - at < 2 || header[at + 1] > n - at - 2)
			return DROP_IP6_EXTENSION;
		if (header[at] == JUMBO_PAYLOAD)
			return DROP_IP6_JUMBOGRAM;
		at += 2u + header[at + 1];
	}
	return DROP_NONE;
}

/* A routing header with segments left takes the packet on to another destination than the one that
 * was judged (RFC 5095).  Mobile IPv6's does not: it leads to the same node (RFC 6275, 6.4). */
static enum drop_reason check_routing(const uint8_t *header)
{
	enum { MOBILE_IPV6 = 2 };

	if (header[3] == 0 || (header[2] == MOBILE_IPV6 && header[3] == 1))
		return DROP_NONE;
	return DROP_IP6_ROUTING;
}

/* A fragment header with offset 0 and nothing to come is no fragment (RFC 6946). */
static enum drop_reason parse_fragment(
	const struct cursor *cursor, struct packet *packet, const uint8_t *header, uint32_t ip_end)
{
	uint16_t field = load_be16(header + 2);

	if ((field & 0xfff9) == 0)
		return DROP_NONE;
	packet->fragment_id = load_be32(header + 4);
	packet->l4_bytes = ip_end - cursor->at;
	return packet_set_fragment(packet, field & 0xfff8, field & 1, UINT16_MAX);
}

static enum drop_reason parse_extension(const struct cursor *cursor, struct packet *packet,
	uint8_t protocol, const uint8_t *header, uint32_t ip_end)
{
	switch (protocol) {
	case IPPROTO_FRAGMENT: return parse_fragment(cursor, packet, header, ip_end);
	case IPPROTO_ROUTING: return check_routing(header);
	case IPPROTO_AH: return DROP_NONE;
	default: return check_options(header, (header[1] + 1u) * 8);
	}
}

/* How many bytes an extension header has, from its first eight. */
static uint32_t extension_bytes(uint8_t protocol, const uint8_t *header)
{
	if (protocol == IPPROTO_FRAGMENT)
		return 8;
	return protocol == IPPROTO_AH ? (header[1] + 2u) * 4 : (header[1] + 1u) * 8;
}

/* Hop-by-hop options come first (RFC 8200, 4.1); a datagram is cut into fragments once. */
static bool may_stand_here(uint8_t protocol, unsigned int n, bool fragment_seen)
{
	if (protocol == IPPROTO_HOPOPTS)
		return n == 0;
	return protocol != IPPROTO_FRAGMENT || !fragment_seen;
}

enum drop_reason packet_walk_extensions(
	struct cursor *cursor, struct packet *packet, uint8_t *protocol, uint32_t ip_end)
{
	enum { EXTENSIONS_MAX = 8 };
	bool fragment_seen = false;

	/* A jumbogram's mark (RFC 2675, 3). */
	if (*protocol == IPPROTO_HOPOPTS && ip_end == cursor->at)
		return DROP_IP6_JUMBOGRAM;
	for (unsigned int n = 0; packet_is_extension(*protocol); n++) {
		if (n == EXTENSIONS_MAX)
			return DROP_IP6_EXTENSION_DEPTH;
		if (!may_stand_here(*protocol, n, fragment_seen))
			return DROP_IP6_EXTENSION;
		const uint8_t *header = cursor_take(cursor, 8);
		if (header == NULL ||
			cursor_take(cursor, extension_bytes(*protocol, header) - 8) == NULL)
			return packet_cut_short(packet, DROP_IP6_EXTENSION);
		enum drop_reason reason =
			parse_extension(cursor, packet, *protocol, header, ip_end);
		if (reason != DROP_NONE)
			return reason;
		fragment_seen |= *protocol == IPPROTO_FRAGMENT;
		*protocol = header[0];
		if (packet->flags & PACKET_FRAGMENT_LATER)
			break;
	}
	return DROP_NONE;
}

uint16_t packet_fragment_payload(const uint8_t *data, const struct packet *packet)
{
	uint32_t at = packet->l3_offset;
	uint8_t protocol = data[at + 6];

	if (packet->key.kind == CONN_KEY_IPV4)
		return (uint16_t)(at + (data[at] & 0xfu) * 4);
	at += IP6_BYTES;
	while (protocol != IPPROTO_FRAGMENT) {
		const uint8_t *header = data + at;

		at += extension_bytes(protocol, header);
		protocol = header[0];
	}
	return (uint16_t)(at + 8);
}
