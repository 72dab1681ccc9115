/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames to a guest: mbufs are copied into the buffers that the guest has made available.  Called
 * by the vhost port, on any worker.
 */
#include "datapath/vhost_device.h"

#include <string.h>
#include <unistd.h>

#include <rte_branch_prediction.h>
#include <rte_memcpy.h>
#include <rte_tcp.h>
#include <rte_udp.h>
#include <rte_vhost.h>

#include "datapath/offload.h"
#include "datapath/offload_layers.h"

void vhost_interrupt(const struct vhost_queue *queue)
{
	const uint64_t one = 1;

	/* A full eventfd means that the guest has not looked at the last interrupt yet. */
	if (queue->call >= 0 && write(queue->call, &one, sizeof(one)) < 0)
		return;
}

/* --- Migration -------------------------------------------------------------------------------- */

static void track_write(const struct vhost_device *device, const uint8_t *data, uint32_t bytes)
{
	for (size_t i = 0; i < device->memory.n; i++) {
		const struct guest_region *region = &device->memory.at[i];
		uint64_t offset = (uintptr_t)data - (uintptr_t)region->host;

		if (offset < region->bytes)
			rte_vhost_log_write(device->vid, region->base + offset, bytes);
	}
}

void vhost_track_used(const struct vhost_device *device, const struct vhost_ring *ring,
	unsigned int number, uint16_t first)
{
	for (uint16_t at = first; at != ring->next_used; at++)
		rte_vhost_log_used_vring(device->vid, (uint16_t)number,
			offsetof(struct vring_used, ring[at & (ring->size - 1)]),
			sizeof(struct vring_used_elem));
	rte_vhost_log_used_vring(device->vid, (uint16_t)number, offsetof(struct vring_used, idx),
		sizeof(ring->used->idx));
}

/* --- The virtio header ------------------------------------------------------------------------ */

/* What is left to the guest.  The frame's checksum field gets the sum of the pseudo header, whole
 * length included, as Linux expects of large frames too. */
static __attribute__((noinline)) void describe_unfinished(
	struct rte_mbuf *frame, struct virtio_net_hdr *header)
{
	struct layers layers;

	frame->l2_len = offload_ethernet_bytes(frame);
	if (!offload_find_layers(frame, &layers))
		return;
	offload_begin_checksum(frame, &layers);
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->csum_start = layers.l4;
	header->csum_offset = layers.protocol == IPPROTO_UDP
				      ? offsetof(struct rte_udp_hdr, dgram_cksum)
				      : offsetof(struct rte_tcp_hdr, cksum);
	if (!(frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG))
		return;
	header->gso_type = layers.is_ip4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	header->gso_size = frame->tso_segsz;
	header->hdr_len = layers.l4 + frame->l4_len;
}

/* --- Frames in several pieces ------------------------------------------------------------------
 */

/* What is written into one chain after the other. */
struct writer {
	const struct vhost_device *device;
	const struct ring_burst *burst;
	const struct guest_piece *piece;
	uint32_t offset;	      /* Within the piece. */
	uint16_t chain;		      /* The one being filled. */
	uint16_t pieces_left;	      /* Of the chain. */
	uint32_t written[RING_BURST]; /* Into each chain. */
};

static void writer_begin_chain(struct writer *writer, uint16_t chain)
{
	writer->chain = chain;
	writer->piece = &writer->burst->pieces[writer->burst->chains[chain].pieces];
	writer->pieces_left = writer->burst->chains[chain].n;
	writer->offset = 0;
	writer->written[chain] = 0;
}

/* There is room: it was counted before. */
static void write_bytes(struct writer *writer, const void *from, uint32_t n)
{
	const uint8_t *at = from;

	while (n > 0) {
		if (writer->offset == writer->piece->bytes) {
			writer->offset = 0;
			writer->piece++;
			if (--writer->pieces_left == 0)
				writer_begin_chain(writer, writer->chain + 1);
			continue;
		}
		uint32_t some = RTE_MIN(n, writer->piece->bytes - writer->offset);
		uint8_t *to = writer->piece->data + writer->offset;

		rte_memcpy(to, at, some);
		if (unlikely(writer->device->tracks_writes))
			track_write(writer->device, to, some);
		writer->offset += some;
		writer->written[writer->chain] += some;
		at += some;
		n -= some;
	}
}

/* The chains from `first` on that hold n bytes: one past the last of them, or `first` if they
 * do not, or one of them cannot be used. */
static uint16_t chains_for(const struct vhost_device *device, const struct ring_burst *burst,
	uint16_t first, uint32_t n)
{
	uint16_t most = device->mergeable ? (uint16_t)burst->n : first + 1;
	uint32_t room = 0;

	for (uint16_t at = first; at < most && at < burst->n && burst->chains[at].n > 0; at++) {
		room += burst->chains[at].bytes;
		if (room >= n)
			return at + 1;
	}
	return first;
}

/* Any frame into any chains, from `first` on.  Returns how many it took; 0 if they do not suffice.
 */
static __attribute__((noinline)) uint16_t send_frame(struct vhost_device *device,
	struct vhost_ring *ring, const struct ring_burst *burst, uint16_t first,
	struct rte_mbuf *frame)
{
	uint32_t bytes = device->header_bytes + rte_pktmbuf_pkt_len(frame);
	uint16_t end = chains_for(device, burst, first, bytes);
	struct virtio_net_hdr_mrg_rxbuf header = {.num_buffers = end - first};
	struct writer writer = {.device = device, .burst = burst};

	if (end == first)
		return 0;
	if (frame->ol_flags & OFFLOAD_FLAGS)
		describe_unfinished(frame, &header.hdr);
	writer_begin_chain(&writer, first);
	write_bytes(&writer, &header, device->header_bytes);
	for (const struct rte_mbuf *segment = frame; segment != NULL; segment = segment->next)
		write_bytes(&writer, rte_pktmbuf_mtod(segment, const void *),
			rte_pktmbuf_data_len(segment));
	for (uint16_t at = first; at < end; at++)
		vhost_ring_use(ring, burst->chains[at].head, writer.written[at]);
	return end - first;
}

/* --- Small frames into one buffer ---------------------------------------------------------------
 */

/* True if it was the usual: a complete frame in one segment, and one buffer that holds it. */
static inline bool send_plain(const struct vhost_device *device, struct vhost_ring *ring,
	const struct ring_burst *burst, uint16_t at, const struct rte_mbuf *frame)
{
	/* The header says that nothing is left to be done, and that this is the only buffer. */
	static const struct virtio_net_hdr_mrg_rxbuf complete = {.num_buffers = 1};
	const struct guest_chain *chain = &burst->chains[at];
	uint8_t *data = burst->pieces[chain->pieces].data;
	uint32_t bytes = device->header_bytes + rte_pktmbuf_data_len(frame);

	if (unlikely(chain->n != 1 || chain->bytes < bytes || frame->nb_segs != 1 ||
		     frame->ol_flags & OFFLOAD_FLAGS || device->tracks_writes))
		return false;
	memcpy(data, &complete, sizeof(struct virtio_net_hdr));
	if (likely(device->header_bytes == sizeof(complete)))
		memcpy(data + sizeof(struct virtio_net_hdr), &complete.num_buffers,
			sizeof(complete.num_buffers));
	rte_memcpy(data + device->header_bytes, rte_pktmbuf_mtod(frame, const void *),
		rte_pktmbuf_data_len(frame));
	vhost_ring_use(ring, chain->head, bytes);
	return true;
}

/* --- Bursts --------------------------------------------------------------------------------------
 */

/* Frees frames that were sent: at once if they are all plain buffers of one pool. */
static inline void free_sent(struct vhost_device *device, struct rte_mbuf **frames, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		const struct rte_mbuf *frame = frames[i];

		if (unlikely(frame->nb_segs != 1 || !RTE_MBUF_DIRECT(frame) ||
			     rte_mbuf_refcnt_read(frame) != 1 || frame->pool != device->pool)) {
			rte_pktmbuf_free_bulk(frames, n);
			return;
		}
	}
	rte_mempool_put_bulk(device->pool, (void **)frames, n);
}

/* Buffers of at least this size are reckoned with when a frame needs several. */
enum { LEAST_BUFFER_BYTES = 1024 };

/* Moves the frame at `at` behind all others, which keep their order. */
static void put_last(struct rte_mbuf **frames, uint16_t at, uint16_t n)
{
	struct rte_mbuf *frame = frames[at];

	memmove(&frames[at], &frames[at + 1], (n - at - 1u) * sizeof(*frames));
	frames[n - 1] = frame;
}

/* How far a call has come with its frames. */
struct progress {
	struct rte_mbuf **frames;
	uint16_t sent; /* The next frame to send. */
	uint16_t end;  /* From here on are frames that no buffer is large enough for. */
};

/* Sends what fits into the chains that are looked at together.  False if the guest has no buffers
 * left. */
static bool send_burst(
	struct vhost_device *device, struct vhost_ring *ring, struct progress *progress)
{
	uint32_t wanted =
		progress->end - progress->sent +
		rte_pktmbuf_pkt_len(progress->frames[progress->sent]) / LEAST_BUFFER_BYTES;
	struct ring_burst burst;
	uint16_t at = 0;

	wanted = RTE_MIN(wanted, (uint32_t)RING_BURST);
	if (vhost_ring_look(ring, &device->memory, &burst, wanted) == 0)
		return false;
	while (progress->sent < progress->end && at < burst.n) {
		struct rte_mbuf *frame = progress->frames[progress->sent];

		vhost_ring_fetch_ahead(ring, &device->memory);
		if (likely(send_plain(device, ring, &burst, at, frame))) {
			at++;
			progress->sent++;
			continue;
		}
		if (burst.chains[at].n == 0) {
			vhost_ring_use(ring, burst.chains[at++].head, 0);
			continue;
		}
		uint16_t taken = send_frame(device, ring, &burst, at, frame);
		at += taken;
		if (taken > 0)
			progress->sent++;
		else if (device->mergeable && at > 0)
			return true; /* It may fit when it is the first. */
		else if (device->mergeable && burst.n < wanted)
			return false;
		else
			put_last(progress->frames, progress->sent, progress->end--);
	}
	return true;
}

uint16_t vhost_send(
	struct vhost_device *device, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct vhost_queue *to_guest = &device->to_guest[queue];
	struct progress progress = {.frames = frames, .end = n};

	rte_spinlock_lock(&to_guest->lock);
	uint16_t first = to_guest->ring.published;
	/* Bounded, since a guest may make bad chains available as fast as they are refused. */
	for (uint16_t bursts = 0; bursts <= n && progress.sent < progress.end; bursts++)
		if (!send_burst(device, &to_guest->ring, &progress))
			break;
	vhost_ring_publish(&to_guest->ring);
	if (unlikely(device->tracks_writes))
		vhost_track_used(device, &to_guest->ring, 2 * queue, first);
	rte_spinlock_unlock(&to_guest->lock);
	free_sent(device, frames, progress.sent);
	return progress.sent;
}

void vhost_send_notify(struct vhost_device *device, uint16_t queue)
{
	struct vhost_queue *to_guest = &device->to_guest[queue];

	rte_spinlock_lock(&to_guest->lock);
	bool interrupt = vhost_ring_wants_interrupt(&to_guest->ring);
	rte_spinlock_unlock(&to_guest->lock);
	if (interrupt)
		vhost_interrupt(to_guest);
}
