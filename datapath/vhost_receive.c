/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames from a guest: descriptor chains become mbufs.  Called by the vhost port, on the worker
 * that polls the queue.
 */
#include "datapath/vhost_device.h"

#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_memcpy.h>
#include <rte_vhost.h>

#include "datapath/offload.h"

/* What is read of one chain, piece by piece. */
struct reader {
	const struct guest_piece *piece;
	uint32_t offset; /* Within the piece. */
	uint32_t left;	 /* Of the whole chain. */
};

/* The next contiguous bytes, at most n, and steps over them. */
static struct guest_piece read_some(struct reader *reader, uint32_t n)
{
	while (reader->offset == reader->piece->bytes) {
		reader->piece++;
		reader->offset = 0;
	}
	struct guest_piece some = {
		.data = reader->piece->data + reader->offset,
		.bytes = RTE_MIN(n, reader->piece->bytes - reader->offset),
	};
	reader->offset += some.bytes;
	reader->left -= some.bytes;
	return some;
}

/* Copies the next n bytes, which are there. */
static void read_bytes(struct reader *reader, void *to, uint32_t n)
{
	uint8_t *at = to;

	while (n > 0) {
		struct guest_piece some = read_some(reader, n);

		rte_memcpy(at, some.data, some.bytes);
		at += some.bytes;
		n -= some.bytes;
	}
}

/* --- Frames in several pieces, and large ones ------------------------------------------------- */

/* Segments never outlive the burst, so nobody is told of the last one's end. */
static void nobody_waits(void *address, void *opaque)
{
	(void)address;
	(void)opaque;
}

/* Hangs the rest of the chain onto the frame, where it lies.  False without buffers. */
static bool refer_to_rest(struct vhost_device *device, struct rte_mbuf_ext_shared_info *references,
	struct reader *reader, struct rte_mbuf *frame)
{
	struct rte_mbuf *last = frame;

	while (reader->left > 0) {
		struct guest_piece some = read_some(reader, reader->left);
		struct rte_mbuf *segment = rte_pktmbuf_alloc(device->headers);

		if (segment == NULL)
			return false;
		rte_mbuf_ext_refcnt_update(references, 1);
		rte_pktmbuf_attach_extbuf(
			segment, some.data, RTE_BAD_IOVA, (uint16_t)some.bytes, references);
		segment->data_len = (uint16_t)some.bytes;
		last->next = segment;
		last = segment;
		frame->nb_segs++;
		frame->pkt_len += some.bytes;
	}
	return true;
}

enum outcome { RECEIVED, REFUSED, NO_BUFFER };

/* Any chain: the virtio header may be a buffer of its own, and the frame may lie in many. */
static __attribute__((noinline)) enum outcome receive_chain(struct vhost_device *device,
	struct rte_mbuf_ext_shared_info *references, const struct ring_burst *burst,
	const struct guest_chain *chain, struct rte_mbuf *frame)
{
	struct reader reader = {.piece = &burst->pieces[chain->pieces], .left = chain->bytes};
	struct virtio_net_hdr_mrg_rxbuf header;

	if (chain->n == 0 || chain->bytes <= device->header_bytes ||
		chain->bytes - device->header_bytes > VHOST_FRAME_BYTES_MAX)
		return REFUSED;
	read_bytes(&reader, &header, device->header_bytes);
	uint32_t copied = reader.left <= VHOST_COPIED_WHOLE ? reader.left : VHOST_COPIED_HEADERS;
	read_bytes(&reader, rte_pktmbuf_mtod(frame, void *), copied);
	frame->data_len = (uint16_t)copied;
	frame->pkt_len = copied;
	if (!refer_to_rest(device, references, &reader, frame))
		return NO_BUFFER;
	if (header.hdr.flags != 0 || header.hdr.gso_type != 0)
		offload_note_guest_request(frame, &header.hdr);
	return RECEIVED;
}

/* --- Small frames in one buffer ----------------------------------------------------------------
 */

/* As rte_pktmbuf_alloc() leaves a buffer, in a few wide stores. */
static inline void begin_frame(struct rte_mbuf *frame, uint32_t bytes)
{
	frame->data_off = RTE_PKTMBUF_HEADROOM;
	rte_mbuf_refcnt_set(frame, 1);
	frame->nb_segs = 1;
	frame->port = RTE_MBUF_PORT_INVALID;
	frame->ol_flags = 0;
	frame->packet_type = 0;
	frame->pkt_len = bytes;
	frame->data_len = (uint16_t)bytes;
	frame->tx_offload = 0;
}

/* True if the chain is the usual: one buffer with a small frame, complete as it is. */
static inline bool receive_plain(const struct vhost_device *device, const struct ring_burst *burst,
	const struct guest_chain *chain, struct rte_mbuf *frame)
{
	const uint8_t *data = burst->pieces[chain->pieces].data;
	uint32_t bytes = chain->bytes - device->header_bytes;
	uint64_t header;

	if (unlikely(chain->n != 1 || chain->bytes <= device->header_bytes ||
		     bytes > VHOST_COPIED_WHOLE))
		return false;
	memcpy(&header, data, sizeof(header));
	/* Its first two bytes ask for something to be finished. */
	if (unlikely((header & 0xffff) != 0))
		return false;
	begin_frame(frame, bytes);
	rte_memcpy(rte_pktmbuf_mtod(frame, void *), data + device->header_bytes, bytes);
	return true;
}

/* --- Bursts ------------------------------------------------------------------------------------
 */

uint16_t vhost_receive(struct vhost_device *device, uint16_t queue, struct rte_mbuf **frames,
	uint16_t n, uint64_t *refused, uint64_t *no_buffer)
{
	struct vhost_ring *ring = &device->from_guest[queue].ring;
	struct rte_mbuf_ext_shared_info *references = &device->references[queue];
	struct ring_burst burst;
	uint16_t received = 0;

	n = (uint16_t)vhost_ring_look(ring, &device->memory, &burst, n);
	if (n == 0)
		return 0;
	/* Without buffers the frames stay with the guest. */
	if (unlikely(rte_mempool_get_bulk(device->pool, (void **)frames, n) != 0))
		return 0;
	references->free_cb = nobody_waits;
	rte_mbuf_ext_refcnt_set(references, 1);
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *frame = frames[i];
		enum outcome outcome = RECEIVED;

		vhost_ring_fetch_ahead(ring, &device->memory);
		if (unlikely(!receive_plain(device, &burst, &burst.chains[i], frame))) {
			begin_frame(frame, 0);
			outcome =
				receive_chain(device, references, &burst, &burst.chains[i], frame);
		}
		vhost_ring_use(ring, burst.chains[i].head, 0);
		if (likely(outcome == RECEIVED)) {
			frames[received++] = frame;
			continue;
		}
		*refused += outcome == REFUSED;
		*no_buffer += outcome == NO_BUFFER;
		rte_pktmbuf_free(frame);
	}
	return received;
}

void vhost_receive_done(struct vhost_device *device, uint16_t queue)
{
	struct vhost_ring *ring = &device->from_guest[queue].ring;
	uint16_t first = ring->published;

	vhost_ring_publish(ring);
	if (unlikely(device->tracks_writes))
		vhost_track_used(device, ring, 2 * queue + 1, first);
}

void vhost_receive_notify(struct vhost_device *device, uint16_t queue)
{
	struct vhost_queue *from_guest = &device->from_guest[queue];

	if (vhost_ring_wants_interrupt(&from_guest->ring))
		vhost_interrupt(from_guest);
}
