/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums and segmentation in software.  Called by port_tx() on the frames that a port cannot
 * take as they are, and by the receive side of ports that tell of unfinished frames; any worker.
 *
 * Cutting is done here and not by librte_gso: that one knows TCP over IPv4 only, and makes chains
 * of two mbufs, which the ports that need cutting (AF_XDP above all) cannot send.  A piece is
 * written once, contiguous, headers and payload, and its checksum is taken while it is in the
 * cache.
 *
 * Checksums are always computed from the bytes, never from what the field held before: guests and
 * rte_vhost leave different things in it.
 */
#include "datapath/offload.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_net.h>
#include <rte_tcp.h>
#include <rte_udp.h>

/* No stack sends smaller segments. */
enum { SEGMENT_BYTES_MIN = 48 };

/* Where a frame's headers are.  Offsets are from the frame's first byte. */
struct layers {
	uint16_t l3, l4;
	uint16_t payload; /* TCP: behind its options.  Set only if asked for. */
	bool is_ip4;
	uint8_t protocol;
	uint32_t end; /* Of the IP packet: Ethernet padding is not part of it. */
};

/* The length of the Ethernet header with its VLAN tags, of which there are at most two. */
static uint16_t ethernet_bytes(const uint8_t *data, uint32_t n)
{
	uint16_t at = 2 * RTE_ETHER_ADDR_LEN;

	for (unsigned int tags = 0; tags < 2 && at + 6u <= n; tags++) {
		uint16_t type = data[at] << 8 | data[at + 1];

		if (type != RTE_ETHER_TYPE_VLAN && type != RTE_ETHER_TYPE_QINQ)
			break;
		at += 4;
	}
	return at + 2;
}

/* Finds the layers of a frame by its l3_len and l2_len, and checks them against its bytes. */
static bool find_layers(struct rte_mbuf *frame, struct layers *layers)
{
	const uint8_t *data = rte_pktmbuf_mtod(frame, const uint8_t *);
	uint32_t n = rte_pktmbuf_data_len(frame);
	bool is_udp = (frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM;
	uint32_t header = is_udp ? sizeof(struct rte_udp_hdr) : sizeof(struct rte_tcp_hdr);
	uint32_t length;

	layers->l3 = ethernet_bytes(data, n);
	layers->l4 = layers->l3 + frame->l3_len;
	layers->is_ip4 = frame->ol_flags & RTE_MBUF_F_TX_IPV4;
	layers->protocol = is_udp ? IPPROTO_UDP : IPPROTO_TCP;
	if (layers->l4 + header > n)
		return false;
	if (layers->is_ip4) {
		const struct rte_ipv4_hdr *ip = (const void *)(data + layers->l3);

		if (ip->version_ihl >> 4 != 4 || rte_ipv4_hdr_len(ip) != frame->l3_len ||
			frame->l3_len < sizeof(*ip))
			return false;
		length = rte_be_to_cpu_16(ip->total_length);
	} else {
		const struct rte_ipv6_hdr *ip = (const void *)(data + layers->l3);

		if (data[layers->l3] >> 4 != 6 || frame->l3_len < sizeof(*ip))
			return false;
		length = sizeof(*ip) + rte_be_to_cpu_16(ip->payload_len);
	}
	layers->end = layers->l3 + length;
	return layers->end <= rte_pktmbuf_pkt_len(frame) && layers->end >= layers->l4 + header;
}

/* --- Checksums ------------------------------------------------------------------------------ */

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum, folded and not inverted, of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1).  With a
 * routing header the final destination is not looked for: such a frame's sum is of no use to its
 * receiver anyway, which refuses the header. */
static uint16_t pseudo_header_sum(const uint8_t *data, const struct layers *layers)
{
	uint32_t bytes = layers->end - layers->l4;
	uint64_t sum = rte_cpu_to_be_16(bytes) + rte_cpu_to_be_16(layers->protocol);

	if (layers->is_ip4)
		sum += rte_raw_cksum(
			data + layers->l3 + offsetof(struct rte_ipv4_hdr, src_addr), 2 * 4);
	else
		sum += rte_raw_cksum(
			data + layers->l3 + offsetof(struct rte_ipv6_hdr, src_addr), 2 * 16);
	return fold(sum);
}

static uint16_t *checksum_field(uint8_t *data, const struct layers *layers)
{
	size_t offset = layers->protocol == IPPROTO_UDP ? offsetof(struct rte_udp_hdr, dgram_cksum)
							: offsetof(struct rte_tcp_hdr, cksum);

	return (uint16_t *)(data + layers->l4 + offset);
}

static bool fill_checksum(struct rte_mbuf *frame, const struct layers *layers)
{
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);
	uint16_t *field = checksum_field(data, layers);
	uint16_t sum;

	*field = 0;
	if (rte_raw_cksum_mbuf(frame, layers->l4, layers->end - layers->l4, &sum) != 0)
		return false;
	sum = ~fold((uint32_t)sum + pseudo_header_sum(data, layers));
	/* A UDP checksum of zero would say that there is none (RFC 768). */
	*field = sum == 0 && layers->protocol == IPPROTO_UDP ? 0xffff : sum;
	return true;
}

bool offload_note_partial_checksum(struct rte_mbuf *frame, const struct packet *packet)
{
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);
	struct layers layers = {
		.l3 = packet->l3_offset,
		.l4 = packet->l4_offset,
		.is_ip4 = packet->key.kind == CONN_KEY_IPV4,
		.protocol = packet->protocol,
		.end = packet->l4_offset + packet->l4_bytes,
	};

	if ((packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP) ||
		packet->l4_offset == 0 ||
		packet->flags & (PACKET_FRAGMENT_FIRST | PACKET_FRAGMENT_LATER))
		return false;
	if (*checksum_field(data, &layers) != pseudo_header_sum(data, &layers))
		return false;
	frame->l2_len = layers.l3;
	frame->l3_len = layers.l4 - layers.l3;
	frame->l4_len = packet->payload_offset - layers.l4;
	frame->ol_flags |= (layers.is_ip4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6) |
			   (packet->protocol == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM
							    : RTE_MBUF_F_TX_UDP_CKSUM);
	return true;
}

/* --- What a guest asks for ------------------------------------------------------------------ */

/* The transmit flags for a frame of this kind; 0 if it is nothing that we finish. */
static uint64_t transmit_flags(uint32_t packet_type)
{
	uint64_t flags = RTE_ETH_IS_IPV4_HDR(packet_type)   ? RTE_MBUF_F_TX_IPV4
			 : RTE_ETH_IS_IPV6_HDR(packet_type) ? RTE_MBUF_F_TX_IPV6
							    : 0;

	if (flags == 0)
		return 0;
	switch (packet_type & RTE_PTYPE_L4_MASK) {
	case RTE_PTYPE_L4_TCP: return flags | RTE_MBUF_F_TX_TCP_CKSUM;
	case RTE_PTYPE_L4_UDP: return flags | RTE_MBUF_F_TX_UDP_CKSUM;
	default: return 0;
	}
}

void offload_note_guest_request(struct rte_mbuf *frame)
{
	const uint64_t receive_flags = RTE_MBUF_F_RX_L4_CKSUM_MASK | RTE_MBUF_F_RX_LRO;
	uint64_t asked = frame->ol_flags & receive_flags;
	struct rte_net_hdr_lens lengths;
	struct layers layers;

	if (likely(asked == 0))
		return;
	frame->ol_flags &= ~receive_flags;
	if ((asked & RTE_MBUF_F_RX_L4_CKSUM_MASK) != RTE_MBUF_F_RX_L4_CKSUM_NONE)
		return;
	uint64_t flags = transmit_flags(rte_net_get_ptype(
		frame, &lengths, RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK));
	if (flags == 0)
		return;

	uint64_t before = frame->ol_flags;
	frame->ol_flags |= flags;
	frame->l2_len = lengths.l2_len;
	frame->l3_len = lengths.l3_len;
	frame->l4_len = lengths.l4_len;
	if (!find_layers(frame, &layers) || layers.l3 != lengths.l2_len) {
		frame->ol_flags = before;
		return;
	}
	uint32_t headers = (uint32_t)layers.l4 + lengths.l4_len;
	if (asked & RTE_MBUF_F_RX_LRO && layers.protocol == IPPROTO_TCP &&
		lengths.l4_len >= sizeof(struct rte_tcp_hdr) &&
		headers <= rte_pktmbuf_data_len(frame) && frame->tso_segsz >= SEGMENT_BYTES_MIN &&
		layers.end > headers + frame->tso_segsz)
		frame->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
}

/* --- Cutting -------------------------------------------------------------------------------- */

/* Reads a chain from front to back. */
struct chain_cursor {
	const struct rte_mbuf *segment;
	uint32_t offset;
};

/* Copies the next n bytes, which the chain is known to hold. */
static void chain_copy(struct chain_cursor *cursor, uint8_t *to, uint32_t n)
{
	while (n > 0) {
		uint32_t here = rte_pktmbuf_data_len(cursor->segment) - cursor->offset;

		if (here > n)
			here = n;
		memcpy(to, rte_pktmbuf_mtod_offset(cursor->segment, void *, cursor->offset), here);
		to += here;
		n -= here;
		cursor->offset += here;
		if (cursor->offset == rte_pktmbuf_data_len(cursor->segment)) {
			cursor->segment = cursor->segment->next;
			cursor->offset = 0;
		}
	}
}

/* One large frame that is being cut. */
struct cut {
	const struct port_environment *environment;
	const struct rte_mbuf *frame;
	struct layers layers;
	struct chain_cursor cursor; /* In the payload. */
	uint32_t done, bytes;	    /* Of the payload. */
	uint16_t index;
	bool fills_checksum;
};

/* Adds n bytes of payload to a piece, in further mbufs once the first one is full. */
static bool append_payload(struct cut *cut, struct rte_mbuf *piece, uint32_t n)
{
	struct rte_mbuf *last = piece;

	while (n > 0) {
		uint16_t room = rte_pktmbuf_tailroom(last);

		if (room == 0) {
			last->next = rte_pktmbuf_alloc(cut->environment->pool);
			if (last->next == NULL)
				return false;
			last = last->next;
			piece->nb_segs++;
			room = rte_pktmbuf_tailroom(last);
		}
		uint32_t here = RTE_MIN((uint32_t)room, n);

		chain_copy(&cut->cursor, rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len),
			here);
		last->data_len += here;
		piece->pkt_len += here;
		n -= here;
	}
	return true;
}

/* Makes the headers of a piece, copied from the large frame, right for it: lengths, identification
 * (counted up, as for packets sent one by one), sequence number; FIN and PSH belong to the last
 * piece, CWR to the first (RFC 3168, 6.1.2). */
static void adjust_headers(const struct cut *cut, struct rte_mbuf *piece, bool is_last)
{
	uint8_t *data = rte_pktmbuf_mtod(piece, uint8_t *);
	struct rte_tcp_hdr *tcp = (struct rte_tcp_hdr *)(data + cut->layers.l4);
	uint16_t l3_bytes = rte_pktmbuf_pkt_len(piece) - cut->layers.l3;

	if (cut->layers.is_ip4) {
		struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *)(data + cut->layers.l3);

		ip->total_length = rte_cpu_to_be_16(l3_bytes);
		ip->packet_id = rte_cpu_to_be_16(rte_be_to_cpu_16(ip->packet_id) + cut->index);
		ip->hdr_checksum = 0;
		ip->hdr_checksum = ~rte_raw_cksum(ip, rte_ipv4_hdr_len(ip));
	} else {
		struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)(data + cut->layers.l3);

		ip->payload_len = rte_cpu_to_be_16(l3_bytes - sizeof(*ip));
	}
	tcp->sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp->sent_seq) + cut->done);
	if (!is_last)
		tcp->tcp_flags &= ~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
	if (cut->index > 0)
		tcp->tcp_flags &= ~RTE_TCP_CWR_FLAG;
}

/* Leaves the checksum to the port, or fills it. */
static void finish_checksum(const struct cut *cut, struct rte_mbuf *piece)
{
	struct layers layers = cut->layers;

	layers.end = rte_pktmbuf_pkt_len(piece);
	if (cut->fills_checksum) {
		(void)fill_checksum(piece, &layers);
		return;
	}
	*checksum_field(rte_pktmbuf_mtod(piece, uint8_t *), &layers) =
		pseudo_header_sum(rte_pktmbuf_mtod(piece, uint8_t *), &layers);
	piece->ol_flags |=
		RTE_MBUF_F_TX_TCP_CKSUM | (layers.is_ip4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6);
	piece->l2_len = layers.l3;
	piece->l3_len = layers.l4 - layers.l3;
	piece->l4_len = layers.payload - layers.l4;
}

static struct rte_mbuf *next_piece(struct cut *cut)
{
	uint32_t n = RTE_MIN(cut->bytes - cut->done, (uint32_t)cut->frame->tso_segsz);
	struct rte_mbuf *piece = rte_pktmbuf_alloc(cut->environment->pool);

	if (piece == NULL)
		return NULL;
	char *headers = rte_pktmbuf_append(piece, cut->layers.payload);
	if (headers == NULL)
		goto free_piece;
	memcpy(headers, rte_pktmbuf_mtod(cut->frame, char *), cut->layers.payload);
	if (!append_payload(cut, piece, n))
		goto free_piece;
	piece->port = cut->frame->port;
	adjust_headers(cut, piece, cut->done + n == cut->bytes);
	finish_checksum(cut, piece);
	cut->done += n;
	cut->index++;
	return piece;

free_piece:
	rte_pktmbuf_free(piece);
	return NULL;
}

static bool cut_begin(struct cut *cut, struct rte_mbuf *frame)
{
	struct layers *layers = &cut->layers;

	layers->payload = layers->l4 + frame->l4_len;
	if (frame->l4_len < sizeof(struct rte_tcp_hdr) || frame->tso_segsz < SEGMENT_BYTES_MIN ||
		layers->payload > rte_pktmbuf_data_len(frame) || layers->end <= layers->payload)
		return false;
	cut->frame = frame;
	cut->bytes = layers->end - layers->payload;
	cut->cursor = (struct chain_cursor){frame, layers->payload};
	if (cut->cursor.offset == rte_pktmbuf_data_len(frame))
		cut->cursor = (struct chain_cursor){frame->next, 0};
	return (cut->bytes + frame->tso_segsz - 1) / frame->tso_segsz <= OFFLOAD_PIECES_MAX;
}

/* --- Shaping -------------------------------------------------------------------------------- */

/* What a port can take. */
struct shape {
	const struct port_environment *environment;
	uint32_t offloads;
	uint32_t mtu;
};

static bool segmentation_is_taken(const struct shape *shape, const struct rte_mbuf *frame)
{
	return shape->offloads &
	       (frame->ol_flags & RTE_MBUF_F_TX_IPV4 ? PORT_TX_TSO4 : PORT_TX_TSO6);
}

/* True if the frame's data may be written to, or be left to a port that keeps it. */
static bool is_own(const struct rte_mbuf *frame)
{
	return rte_mbuf_refcnt_read(frame) == 1 && RTE_MBUF_DIRECT(frame);
}

/* Replaces a frame by a copy of it.  The frame is freed in any case. */
static struct rte_mbuf *copy_frame(const struct shape *shape, struct rte_mbuf *frame)
{
	struct rte_mbuf *copy = rte_pktmbuf_copy(frame, shape->environment->pool, 0, UINT32_MAX);

	rte_pktmbuf_free(frame);
	return copy;
}

/* Cuts a large frame into out[].  Returns the number of pieces, or 0 with *reason set. */
static uint16_t shape_large(const struct shape *shape, struct rte_mbuf *frame,
	const struct layers *layers, struct rte_mbuf **out, enum drop_reason *reason)
{
	struct cut cut = {
		.environment = shape->environment,
		.layers = *layers,
		.fills_checksum = !(shape->offloads & PORT_TX_CHECKSUM),
	};
	uint16_t n = 0;

	*reason = DROP_SEGMENTATION;
	if (!cut_begin(&cut, frame))
		return 0;
	*reason = DROP_OUTPUT_MTU;
	if (cut.layers.payload - cut.layers.l3 + (uint32_t)frame->tso_segsz > shape->mtu)
		return 0;
	while (cut.done < cut.bytes) {
		out[n] = next_piece(&cut);
		if (out[n] == NULL) {
			rte_pktmbuf_free_bulk(out, n);
			*reason = DROP_NO_BUFFER;
			return 0;
		}
		n++;
	}
	rte_pktmbuf_free(frame);
	return n;
}

/* A frame that need not be cut: checks its size, fills its checksum, makes it contiguous.  Returns
 * NULL, having freed it, with *reason set if that cannot be done. */
static struct rte_mbuf *shape_small(const struct shape *shape, struct rte_mbuf *frame,
	const struct layers *layers, enum drop_reason *reason)
{
	bool fills = layers != NULL && !(shape->offloads & PORT_TX_CHECKSUM);
	bool contiguous = shape->offloads & PORT_TX_SEGMENTS || frame->nb_segs == 1;
	bool foreign = shape->offloads & PORT_TX_KEEPS && frame->pool != shape->environment->pool;

	if (!contiguous || foreign || (fills && !is_own(frame))) {
		*reason = DROP_NO_BUFFER;
		frame = copy_frame(shape, frame);
		if (frame == NULL)
			return NULL;
		*reason = DROP_OUTPUT_MTU;
		if (frame->nb_segs > 1 && !(shape->offloads & PORT_TX_SEGMENTS))
			goto drop;
	}
	if (fills) {
		*reason = DROP_SEGMENTATION;
		if (!fill_checksum(frame, layers))
			goto drop;
		frame->ol_flags &= ~OFFLOAD_FLAGS;
	}
	return frame;

drop:
	rte_pktmbuf_free(frame);
	return NULL;
}

/* Shapes one frame into out[].  Returns how many frames that makes; 0 with *reason set if none. */
static uint16_t shape_one(const struct shape *shape, struct rte_mbuf *frame, struct rte_mbuf **out,
	enum drop_reason *reason)
{
	uint16_t l2 = ethernet_bytes(
		rte_pktmbuf_mtod(frame, const uint8_t *), rte_pktmbuf_data_len(frame));
	bool is_large = frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG;
	uint32_t largest = rte_pktmbuf_pkt_len(frame) - RTE_MIN(l2, rte_pktmbuf_pkt_len(frame));
	struct layers layers;
	bool unfinished = frame->ol_flags & OFFLOAD_FLAGS;

	if (unfinished) {
		frame->l2_len = l2;
		*reason = DROP_SEGMENTATION;
		if (!find_layers(frame, &layers))
			goto drop;
	}
	if (is_large && !segmentation_is_taken(shape, frame)) {
		uint16_t n = shape_large(shape, frame, &layers, out, reason);

		if (n == 0)
			rte_pktmbuf_free(frame);
		return n;
	}
	if (is_large)
		largest = frame->l3_len + frame->l4_len + frame->tso_segsz;
	*reason = DROP_OUTPUT_MTU;
	if (largest > shape->mtu)
		goto drop;
	out[0] = shape_small(shape, frame, unfinished ? &layers : NULL, reason);
	return out[0] != NULL;

drop:
	rte_pktmbuf_free(frame);
	return 0;
}

uint16_t offload_shape(const struct port_environment *environment, uint32_t offloads, uint16_t mtu,
	struct rte_mbuf **frames, uint16_t n, struct rte_mbuf **out, uint16_t n_out,
	uint16_t *n_taken, uint64_t drops[DROP_N_REASONS])
{
	const struct shape shape = {environment, offloads, mtu};
	uint16_t taken = 0, made = 0;

	while (taken < n && n_out - made >= OFFLOAD_PIECES_MAX) {
		enum drop_reason reason;
		uint16_t pieces = shape_one(&shape, frames[taken++], &out[made], &reason);

		if (pieces == 0)
			drops[reason]++;
		made += pieces;
	}
	*n_taken = taken;
	return made;
}
