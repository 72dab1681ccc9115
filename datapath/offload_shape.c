/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing frames into a shape that a port can send.  Called by port_tx() for bursts that have
 * frames which the port cannot take as they are; any worker.
 */
#include "datapath/offload_layers.h"

/* What a port can take. */
struct shape {
	const struct port_environment *environment;
	uint32_t offloads;
	uint32_t mtu;
};

static bool segmentation_is_taken(const struct shape *shape, const struct rte_mbuf *frame)
{
	/* No port cuts UDP. */
	if (frame->ol_flags & RTE_MBUF_F_TX_UDP_SEG)
		return false;
	return shape->offloads &
	       (frame->ol_flags & RTE_MBUF_F_TX_IPV4 ? PORT_TX_TSO4 : PORT_TX_TSO6);
}

/* True if nobody else sees the frame's data, so that it may be written to. */
static bool is_own(const struct rte_mbuf *frame)
{
	return rte_mbuf_refcnt_read(frame) == 1 && RTE_MBUF_DIRECT(frame);
}

/* True if some of the frame lies in a guest's memory, which is not ours for long. */
static bool refers_to_guest(const struct rte_mbuf *frame)
{
	for (const struct rte_mbuf *segment = frame; segment != NULL; segment = segment->next)
		if (RTE_MBUF_HAS_EXTBUF(segment))
			return true;
	return false;
}

/* Replaces a frame by a copy of it.  The frame is freed in any case. */
static struct rte_mbuf *copy_frame(const struct shape *shape, struct rte_mbuf *frame)
{
	struct rte_mbuf *copy = rte_pktmbuf_copy(frame, shape->environment->pool, 0, UINT32_MAX);

	rte_pktmbuf_free(frame);
	return copy;
}

/* A frame that need not be cut: checks its size, fills its checksum, makes it contiguous.  Returns
 * NULL, having freed it, with *reason set if that cannot be done. */
static struct rte_mbuf *shape_small(const struct shape *shape, struct rte_mbuf *frame,
	const struct layers *layers, enum drop_reason *reason)
{
	bool fills = layers != NULL && !(shape->offloads & PORT_TX_CHECKSUM);
	bool contiguous = shape->offloads & PORT_TX_SEGMENTS || frame->nb_segs == 1;

	if (!contiguous || (fills && !is_own(frame))) {
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
		if (!offload_fill_checksum(frame, layers))
			goto drop;
		frame->ol_flags &= ~OFFLOAD_FLAGS;
	}
	return frame;

drop:
	rte_pktmbuf_free(frame);
	return NULL;
}

bool offload_fits(const struct rte_mbuf *frame, uint16_t mtu)
{
	uint32_t bytes = rte_pktmbuf_pkt_len(frame);

	return bytes - RTE_MIN(offload_ethernet_bytes(frame), bytes) <= mtu;
}

/* Shapes one frame into out[].  Returns how many frames that makes; 0 with *reason set if none. */
static uint16_t shape_one(const struct shape *shape, struct rte_mbuf *frame, struct rte_mbuf **out,
	enum drop_reason *reason)
{
	uint16_t l2 = offload_ethernet_bytes(frame);
	bool is_large = frame->ol_flags & OFFLOAD_CUT;
	bool fits = offload_fits(frame, shape->mtu);
	struct layers layers;
	bool unfinished = frame->ol_flags & OFFLOAD_FLAGS;

	if (unfinished) {
		frame->l2_len = l2;
		*reason = DROP_SEGMENTATION;
		if (!offload_find_layers(frame, &layers))
			goto drop;
	}
	if (is_large && !segmentation_is_taken(shape, frame)) {
		uint16_t n = offload_cut(shape->environment, frame, &layers, shape->mtu,
			!(shape->offloads & PORT_TX_CHECKSUM), out, reason);

		if (n == 0)
			rte_pktmbuf_free(frame);
		return n;
	}
	if (is_large)
		fits = (uint32_t)frame->l3_len + frame->l4_len + frame->tso_segsz <= shape->mtu;
	*reason = DROP_OUTPUT_MTU;
	if (!fits)
		goto drop;
	*reason = DROP_NO_BUFFER;
	if (!(shape->offloads & PORT_TX_COPIES) && refers_to_guest(frame)) {
		frame = copy_frame(shape, frame);
		if (frame == NULL)
			return 0;
	}
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
