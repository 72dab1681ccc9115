/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a large TCP or UDP frame into packets.  Called by offload_shape(); any worker.
 *
 * Not done by librte_gso: that one knows TCP over IPv4 only, and makes chains of two mbufs, which
 * the ports that need cutting (AF_XDP above all) cannot send.  A piece is written once, contiguous,
 * headers and payload, and its checksum is taken while it is in the cache.
 */
#include "datapath/offload_layers.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ip.h>
#include <rte_tcp.h>
#include <rte_udp.h>

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

/* FIN and PSH belong to the last piece, CWR to the first (RFC 3168, 6.1.2). */
static void adjust_tcp(const struct cut *cut, struct rte_tcp_hdr *tcp, bool is_last)
{
	tcp->sent_seq = rte_cpu_to_be_32(rte_be_to_cpu_32(tcp->sent_seq) + cut->done);
	if (!is_last)
		tcp->tcp_flags &= ~(RTE_TCP_FIN_FLAG | RTE_TCP_PSH_FLAG);
	if (cut->index > 0)
		tcp->tcp_flags &= ~RTE_TCP_CWR_FLAG;
}

/* Makes the headers of a piece, copied from the large frame, right for it.  The identification
 * counts up, as for packets sent one by one. */
static void adjust_headers(const struct cut *cut, struct rte_mbuf *piece, bool is_last)
{
	uint8_t *data = rte_pktmbuf_mtod(piece, uint8_t *);
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
	if (cut->layers.protocol == IPPROTO_UDP)
		((struct rte_udp_hdr *)(data + cut->layers.l4))->dgram_len =
			rte_cpu_to_be_16(rte_pktmbuf_pkt_len(piece) - cut->layers.l4);
	else
		adjust_tcp(cut, (struct rte_tcp_hdr *)(data + cut->layers.l4), is_last);
}

/* Leaves the checksum to the port, or fills it. */
static void finish_checksum(const struct cut *cut, struct rte_mbuf *piece)
{
	struct layers layers = cut->layers;

	layers.end = rte_pktmbuf_pkt_len(piece);
	if (cut->fills_checksum) {
		(void)offload_fill_checksum(piece, &layers);
		return;
	}
	offload_begin_checksum(piece, &layers);
	piece->ol_flags |= (cut->frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) |
			   (layers.is_ip4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6);
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

static bool cut_begin(struct cut *cut, const struct rte_mbuf *frame)
{
	struct layers *layers = &cut->layers;

	layers->payload = layers->l4 + frame->l4_len;
	if (frame->l4_len < offload_least_header(layers) || frame->tso_segsz < SEGMENT_BYTES_MIN ||
		layers->payload > rte_pktmbuf_data_len(frame) || layers->end <= layers->payload)
		return false;
	cut->frame = frame;
	cut->bytes = layers->end - layers->payload;
	cut->cursor = (struct chain_cursor){frame, layers->payload};
	if (cut->cursor.offset == rte_pktmbuf_data_len(frame))
		cut->cursor = (struct chain_cursor){frame->next, 0};
	return (cut->bytes + frame->tso_segsz - 1) / frame->tso_segsz <= OFFLOAD_PIECES_MAX;
}

uint16_t offload_cut(const struct port_environment *environment, struct rte_mbuf *frame,
	const struct layers *layers, uint16_t mtu, bool fills_checksum, struct rte_mbuf **out,
	enum drop_reason *reason)
{
	struct cut cut = {
		.environment = environment,
		.layers = *layers,
		.fills_checksum = fills_checksum,
	};
	uint16_t n = 0;

	*reason = DROP_SEGMENTATION;
	if (!cut_begin(&cut, frame))
		return 0;
	*reason = DROP_OUTPUT_MTU;
	if (cut.layers.payload - cut.layers.l3 + (uint32_t)frame->tso_segsz > mtu)
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
