/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that read packets share: the bounds-checked cursor, loads, lengths of headers, and
 * the steps that both a packet and a quoted one go through.  For packet*.c, spoof.c and their
 * tests.
 */
#ifndef DATAPATH_PACKET_PRIVATE_H
#define DATAPATH_PACKET_PRIVATE_H

#include <arpa/inet.h>
#include <stddef.h>

#include "datapath/packet.h"

#ifndef likely /* DPDK has them too. */
#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#endif

enum {
	ETHERNET_BYTES = 14,
	TAG_BYTES = 4,
	ARP_BYTES = 28,
	IP4_BYTES = 20, /* Without options. */
	IP6_BYTES = 40,
	TCP_BYTES = 20, /* Without options. */
	UDP_BYTES = 8,
	SCTP_BYTES = 12,
	ICMP_BYTES = 8,
};

/* Ethertypes; anything below the first is an IEEE 802.3 length. */
enum {
	TYPE_LOWEST = 0x600,
	TYPE_IP4 = 0x0800,
	TYPE_ARP = 0x0806,
	TYPE_8021Q = 0x8100,
	TYPE_IP6 = 0x86dd,
	TYPE_8021AD = 0x88a8,
};

/* A place in a packet.  Invariant: at <= end, and data[0 .. end) may be read. */
struct cursor {
	const uint8_t *data;
	uint32_t at, end;
};

/* The next n bytes, and moves behind them; NULL, and stays, if they are not all there. */
static inline const uint8_t *cursor_take(struct cursor *cursor, uint32_t n)
{
	const uint8_t *bytes = cursor->data + cursor->at;

	if (unlikely(cursor->end - cursor->at < n))
		return NULL;
	cursor->at += n;
	return bytes;
}

/* Nothing from offset `end` on, if there was, is taken any more. */
static inline void cursor_end_at(struct cursor *cursor, uint32_t end)
{
	if (end < cursor->end)
		cursor->end = end;
}

static inline uint16_t load_be16(const uint8_t *bytes)
{
	uint16_t value;

	memcpy(&value, bytes, sizeof(value));
	return ntohs(value);
}

static inline uint32_t load_be32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return ntohl(value);
}

static inline uint32_t load_u32(const uint8_t *bytes)
{
	uint32_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

static inline uint64_t load_u64(const uint8_t *bytes)
{
	uint64_t value;

	memcpy(&value, bytes, sizeof(value));
	return value;
}

/* The IPv4-mapped address (RFC 4291, 2.5.5.2), written in two stores of eight bytes, as the key's
 * hash and comparison read it. */
static inline void map_ip4(struct in6_addr *mapped, const uint8_t address[4])
{
	const uint32_t words[4] = {0, 0, htonl(0xffff), load_u32(address)};

	memcpy(mapped, words, sizeof(*mapped));
}

/* Why a transport header, or an extension header before it, ends too early: a first fragment may
 * not be cut so short that its ports are missing (RFC 1858, 3; RFC 7112, 5). */
static inline enum drop_reason packet_cut_short(
	const struct packet *packet, enum drop_reason reason)
{
	return packet->flags & PACKET_FRAGMENT_FIRST ? DROP_FRAGMENT_TINY : reason;
}

/* Enters what an ICMP or ICMPv6 header of ICMP_BYTES says; key.kind is filled in. */
void packet_note_icmp(struct packet *packet, const uint8_t *icmp);

/* Enters what fragment fields say; l4_bytes holds the fragment's payload.  `limit` is how far a
 * datagram may reach. */
enum drop_reason packet_set_fragment(
	struct packet *packet, uint32_t offset, bool more, uint32_t limit);

/* --- packet_extension.c: IPv6 extension headers --------------------------------------------------
 */

static inline bool packet_is_extension(uint8_t protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
	       protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_FRAGMENT ||
	       protocol == IPPROTO_AH;
}

/* Walks the chain of extension headers that begins at the cursor with one of kind *protocol, and
 * leaves in *protocol what follows it.  `ip_end` is where the packet ends by its own word, at or
 * behind the cursor's end.  Stops behind the fragment header of a later fragment, where the middle
 * of a datagram comes, and no header. */
enum drop_reason packet_walk_extensions(
	struct cursor *cursor, struct packet *packet, uint8_t *protocol, uint32_t ip_end);

#endif
