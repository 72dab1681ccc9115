/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifying transport checksums.  Called by workers: on the miss path, and for the TCP segments
 * that begin or end a connection.
 */
#include "datapath/checksum.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_hash_crc.h>

#include "datapath/packet_private.h"

enum {
	UDP_CHECKSUM_AT = 6,
	SCTP_CHECKSUM_AT = 8,
	SCTP_INIT = 1, /* A chunk's type (RFC 9260, 3.2). */
};

/* --- The Internet checksum (RFC 1071) ------------------------------------------------------- */

/* Sums are of 32-bit words as they lie in memory, with room for all carries of a packet: a sum of
 * 16-bit words is the same, once it is folded. */
static inline uint64_t add_up(uint64_t sum, const uint8_t *bytes, uint32_t n)
{
	for (; n >= 8; n -= 8, bytes += 8)
		sum += (uint64_t)load_u32(bytes) + load_u32(bytes + 4);
	if (n & 4) {
		sum += load_u32(bytes);
		bytes += 4;
	}
	if (n & 2) {
		uint16_t word;

		memcpy(&word, bytes, sizeof(word));
		sum += word;
		bytes += 2;
	}
	if (n & 1)
		sum += rte_cpu_to_le_16(*bytes);
	return sum;
}

static inline uint16_t fold(uint64_t sum)
{
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	return (uint16_t)((sum & UINT16_MAX) + (sum >> 16));
}

/* A walk over a range of a chain, which is known to hold it: the next piece of it, of *here bytes,
 * and moves behind it. */
struct range {
	const struct rte_mbuf *segment;
	uint32_t at, left;
};

static const uint8_t *range_next(struct range *range, uint32_t *here)
{
	while (range->at >= rte_pktmbuf_data_len(range->segment)) {
		range->at -= rte_pktmbuf_data_len(range->segment);
		range->segment = range->segment->next;
	}
	const uint8_t *bytes = rte_pktmbuf_mtod_offset(range->segment, const uint8_t *, range->at);

	*here = RTE_MIN(rte_pktmbuf_data_len(range->segment) - range->at, range->left);
	range->at += *here;
	range->left -= *here;
	return bytes;
}

/* A range that lies in several segments.  What begins at an odd byte is summed up with its bytes
 * exchanged, and so is its sum. */
static uint64_t add_up_chain(uint64_t sum, struct range range)
{
	const uint32_t all = range.left;

	while (range.left > 0) {
		bool odd = (all - range.left) & 1;
		uint32_t here;
		const uint8_t *bytes = range_next(&range, &here);
		uint16_t part = fold(add_up(0, bytes, here));

		sum += odd ? rte_bswap16(part) : part;
	}
	return sum;
}

static inline bool sums_up(const struct rte_mbuf *frame, uint32_t at, uint32_t bytes, uint64_t sum)
{
	if (likely(at + bytes <= rte_pktmbuf_data_len(frame)))
		sum = add_up(sum, rte_pktmbuf_mtod_offset(frame, const uint8_t *, at), bytes);
	else
		sum = add_up_chain(sum, (struct range){frame, at, bytes});
	return fold(sum) == UINT16_MAX;
}

/* The pseudo header (RFC 9293, 3.1; RFC 8200, 8.1).  The addresses lie together in either family.
 */
static inline uint64_t pseudo_header_sum(
	const uint8_t *data, const struct packet *packet, uint32_t bytes)
{
	const uint8_t *ip = data + packet->l3_offset;
	uint64_t sum = rte_cpu_to_be_16((uint16_t)bytes) + rte_cpu_to_be_16(packet->protocol);

	return packet->key.kind == CONN_KEY_IPV4 ? add_up(sum, ip + 12, 8)
						 : add_up(sum, ip + 8, 32);
}

/* True if the pseudo header has other addresses than the IP header: a home address in a destination
 * option, or a routing header's last hop (RFC 6275, 6.3 and 6.4).  The chain was found well formed
 * by packet_parse(). */
static bool is_mobile(const uint8_t *data, const struct packet *packet)
{
	enum { PAD1 = 0, HOME_ADDRESS = 0xc9 };
	uint32_t at = packet->l3_offset + IP6_BYTES;
	uint8_t protocol = data[packet->l3_offset + 6];

	while (at < packet->l4_offset && packet_is_extension(protocol)) {
		const uint8_t *header = data + at;
		uint32_t bytes = protocol == IPPROTO_FRAGMENT ? 8
				 : protocol == IPPROTO_AH     ? (header[1] + 2u) * 4
							      : (header[1] + 1u) * 8;

		if (protocol == IPPROTO_ROUTING && header[3] != 0)
			return true;
		for (uint32_t i = 2; protocol == IPPROTO_DSTOPTS && i + 1 < bytes;) {
			if (header[i] == HOME_ADDRESS)
				return true;
			i += header[i] == PAD1 ? 1 : 2u + header[i + 1];
		}
		protocol = header[0];
		at += bytes;
	}
	return false;
}

/* With a pseudo header: TCP, UDP, ICMPv6. */
static inline bool is_right(
	const struct rte_mbuf *frame, const struct packet *packet, uint32_t bytes)
{
	const uint8_t *data = rte_pktmbuf_mtod(frame, const uint8_t *);

	if (likely(sums_up(
		    frame, packet->l4_offset, bytes, pseudo_header_sum(data, packet, bytes))))
		return true;
	return packet->key.kind == CONN_KEY_IPV6 && is_mobile(data, packet);
}

/* UDP's checksum is over its own length: behind it there may be options (RFC 9868). */
static bool udp_is_right(const struct rte_mbuf *frame, const struct packet *packet)
{
	const uint8_t *udp = rte_pktmbuf_mtod_offset(frame, const uint8_t *, packet->l4_offset);

	return load_be16(udp + UDP_CHECKSUM_AT) == 0 || is_right(frame, packet, load_be16(udp + 4));
}

/* --- SCTP's CRC32c -------------------------------------------------------------------------- */

/* Packets begin at any address, which rte_hash_crc() is not made for. */
static uint32_t crc_on_piece(const uint8_t *piece, uint32_t n, uint32_t crc)
{
	uint64_t word;

	for (; n >= sizeof(word); n -= sizeof(word), piece += sizeof(word)) {
		memcpy(&word, piece, sizeof(word));
		crc = rte_hash_crc_8byte(word, crc);
	}
	for (; n > 0; n--)
		crc = rte_hash_crc_1byte(*piece++, crc);
	return crc;
}

static uint32_t crc_on(const struct rte_mbuf *frame, uint32_t at, uint32_t bytes, uint32_t crc)
{
	struct range range = {frame, at, bytes};

	while (range.left > 0) {
		uint32_t here;
		const uint8_t *piece = range_next(&range, &here);

		crc = crc_on_piece(piece, here, crc);
	}
	return crc;
}

uint32_t checksum_of_sctp(const struct rte_mbuf *frame, uint32_t l4_offset, uint32_t l4_bytes)
{
	static const uint32_t none = 0; /* In the place of the checksum itself. */
	uint32_t crc = crc_on(frame, l4_offset, SCTP_CHECKSUM_AT, UINT32_MAX);

	crc = rte_hash_crc(&none, sizeof(none), crc);
	crc = crc_on(frame, l4_offset + SCTP_BYTES, l4_bytes - SCTP_BYTES, crc);
	return rte_cpu_to_le_32(~crc);
}

static bool sctp_is_right(const struct rte_mbuf *frame, const struct packet *packet)
{
	const uint8_t *sctp = rte_pktmbuf_mtod_offset(frame, const uint8_t *, packet->l4_offset);
	uint32_t checksum = load_u32(sctp + SCTP_CHECKSUM_AT);
	bool has_chunk = packet->l4_bytes > SCTP_BYTES &&
			 packet->l4_offset + SCTP_BYTES < rte_pktmbuf_data_len(frame);

	if (checksum == checksum_of_sctp(frame, packet->l4_offset, packet->l4_bytes))
		return true;
	return checksum == 0 && has_chunk && sctp[SCTP_BYTES] != SCTP_INIT;
}

/* --- All together --------------------------------------------------------------------------- */

static inline bool is_elsewhere(const struct rte_mbuf *frame, const struct packet *packet)
{
	const uint64_t received = frame->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;

	return packet->l4_offset == 0 ||
	       packet->flags & (PACKET_CHECKSUM_PARTIAL | PACKET_FRAGMENT_FIRST) ||
	       frame->ol_flags & RTE_MBUF_F_TX_L4_MASK || received == RTE_MBUF_F_RX_L4_CKSUM_GOOD ||
	       received == RTE_MBUF_F_RX_L4_CKSUM_NONE;
}

enum drop_reason checksum_verify(const struct rte_mbuf *frame, const struct packet *packet)
{
	bool v4 = packet->key.kind == CONN_KEY_IPV4;

	if (is_elsewhere(frame, packet))
		return DROP_NONE;
	switch (packet->protocol) {
	case IPPROTO_TCP:
		return is_right(frame, packet, packet->l4_bytes) ? DROP_NONE : DROP_TCP_CHECKSUM;
	case IPPROTO_UDP: return udp_is_right(frame, packet) ? DROP_NONE : DROP_UDP_CHECKSUM;
	case IPPROTO_SCTP: return sctp_is_right(frame, packet) ? DROP_NONE : DROP_SCTP_CHECKSUM;
	case IPPROTO_ICMP:
		return !v4 || sums_up(frame, packet->l4_offset, packet->l4_bytes, 0)
			       ? DROP_NONE
			       : DROP_ICMP_CHECKSUM;
	case IPPROTO_ICMPV6:
		return v4 || is_right(frame, packet, packet->l4_bytes) ? DROP_NONE
								       : DROP_ICMP_CHECKSUM;
	default: return DROP_NONE;
	}
}
