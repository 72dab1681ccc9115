/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet within an ICMP error: which connection the error is about.  Called by the miss path,
 * on the workers.
 *
 * A quote is cut off at any length past the transport header's first eight bytes, so its lengths
 * and checksums are not held against it; who sent it and to whom is all that is asked.  Whether the
 * error can be believed is icmp_quote.c's to say.
 */
#include <netinet/icmp6.h>

#include "datapath/packet_private.h"

/* The first eight bytes of transport header.  An error about an error is nobody's (RFC 1122, 3.2.2;
 * RFC 4443, 2.4 e). */
static bool parse_quoted_transport(
	struct cursor *cursor, struct packet *quoted, uint8_t protocol, uint8_t own_icmp)
{
	const uint8_t *start = cursor_take(cursor, 8);

	if (start == NULL)
		return false;
	quoted->protocol = protocol;
	quoted->key.protocol = protocol;
	quoted->l4_offset = (uint16_t)(cursor->at - 8);
	quoted->payload_offset = quoted->l4_offset;
	if (protocol == own_icmp)
		packet_note_icmp(quoted, start);
	else if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP)
		memcpy(&quoted->key.source_port, start, 4);
	return !(quoted->flags & PACKET_ICMP_ERROR);
}

static bool parse_quoted_ip4(struct cursor *cursor, struct packet *quoted)
{
	const uint8_t *ip = cursor_take(cursor, IP4_BYTES);

	if (ip == NULL || ip[0] >> 4 != 4)
		return false;
	uint32_t header_bytes = (ip[0] & 0xfu) * 4;
	if (header_bytes < IP4_BYTES || cursor_take(cursor, header_bytes - IP4_BYTES) == NULL)
		return false;
	if (load_be16(ip + 6) & 0x1fff)
		return false;
	quoted->key.kind = CONN_KEY_IPV4;
	map_ip4(&quoted->key.source, ip + 12);
	map_ip4(&quoted->key.destination, ip + 16);
	return parse_quoted_transport(cursor, quoted, ip[9], IPPROTO_ICMP);
}

static bool parse_quoted_ip6(struct cursor *cursor, struct packet *quoted)
{
	const uint8_t *ip = cursor_take(cursor, IP6_BYTES);

	if (ip == NULL || ip[0] >> 4 != 6)
		return false;
	uint8_t protocol = ip[6];
	uint32_t ip_end = cursor->at + load_be16(ip + 4);
	cursor_end_at(cursor, ip_end);
	if (packet_is_extension(protocol) &&
		packet_walk_extensions(cursor, quoted, &protocol, ip_end) != DROP_NONE)
		return false;
	if (quoted->flags & PACKET_FRAGMENT_LATER)
		return false;
	quoted->key.kind = CONN_KEY_IPV6;
	memcpy(&quoted->key.source, ip + 8, 16);
	memcpy(&quoted->key.destination, ip + 24, 16);
	return parse_quoted_transport(cursor, quoted, protocol, IPPROTO_ICMPV6);
}

/* Where the quote ends at the latest: in a message with extensions (RFC 4884, 4 and 5), where its
 * own length field says, in words of four or eight bytes; what is behind it is no part of the
 * quoted packet.  Such a quote has 128 bytes at least; what says less is no length. */
static uint32_t quote_end(const uint8_t *icmp, const struct packet *packet)
{
	enum { EXTENDED_QUOTE_MIN = 128 };
	bool v4 = packet->key.kind == CONN_KEY_IPV4;
	bool may = v4 || packet->icmp_type == ICMP6_DST_UNREACH ||
		   packet->icmp_type == ICMP6_TIME_EXCEEDED;
	uint32_t length = !may ? 0 : v4 ? icmp[5] * 4u : icmp[4] * 8u;

	return length < EXTENDED_QUOTE_MIN ? UINT32_MAX : packet->l4_offset + ICMP_BYTES + length;
}

bool packet_parse_quoted(const uint8_t *data, uint32_t header_bytes, const struct packet *packet,
	struct packet *quoted)
{
	struct cursor cursor = {.data = data, .at = packet->l4_offset + ICMP_BYTES};

	*quoted = (struct packet){.ethertype = packet->ethertype, .vlan_tci = packet->vlan_tci};
	if (!(packet->flags & PACKET_ICMP_ERROR) || cursor.at > header_bytes)
		return false;
	cursor.end = header_bytes;
	cursor_end_at(&cursor, packet->l4_offset + packet->l4_bytes);
	cursor_end_at(&cursor, quote_end(data + packet->l4_offset, packet));
	quoted->l3_offset = (uint16_t)cursor.at;
	if (packet->key.kind == CONN_KEY_IPV4 ? !parse_quoted_ip4(&cursor, quoted)
					      : !parse_quoted_ip6(&cursor, quoted))
		return false;
	return memcmp(&quoted->key.source, &packet->key.destination, sizeof(quoted->key.source)) ==
	       0;
}
