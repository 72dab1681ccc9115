/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One split virtqueue (virtio 1.2, 2.7), as a guest's driver sees it: descriptors and buffers in
 * memory that is shared with the device under test.
 *
 * Every descriptor, or chain of `chain` descriptors, has a buffer of its own for ever: frame id I
 * begins at descriptor I * chain.  A buffer holds the 12-byte virtio header, and behind it the
 * frame, which begins on a cache line, as with DPDK's driver.
 *
 *	uint8_t *buffer		header_bytes		frame_bytes
 *	|------ unused ---------| virtio header |-------- frame --------|
 *	0			52		64
 *
 * Sending: ring_room() says how many frames may be written now; ring_frame(i) is where the i-th
 * of them lies; ring_put(i, bytes) describes it; ring_publish(n) gives the first n to the device.
 * Frames that were written and not published stay what they are, to be written again or not.
 *
 * Receiving: ring_filled() says how many buffers the device has filled; ring_received(i) is the
 * i-th; ring_give_back(n) returns the first n of them to the device.
 *
 * Indexes are published once for a batch, notifications are suppressed, and the device is only
 * notified when it asks for it.  One thread.
 */
#ifndef GENERATOR_RING_H
#define GENERATOR_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

enum { RING_CACHE_LINE = 64, RING_SIZE_MAX = 32768 };
enum { RING_HEADER_BYTES = sizeof(struct virtio_net_hdr_v1) };
/* Where the virtio header and the frame are in a buffer. */
enum { RING_FRAME_AT = 64, RING_HEADER_AT = RING_FRAME_AT - RING_HEADER_BYTES };

struct ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t mask;	    /* Descriptors - 1. */
	uint16_t frames;    /* Frames, or buffers, in all. */
	uint16_t chain;	    /* Descriptors of each. */
	uint16_t next;	    /* The index that the next frame is made available at. */
	uint16_t done;	    /* How far into the used ring has been read. */
	uint16_t seen;	    /* The device's used index, as last read. */
	bool device_writes; /* A receive ring. */
	bool broken;	    /* The device has returned what it never had. */
	uint16_t *ids;	    /* Sending: the free ids, at `next` and on; mask + 1 of them. */
	uint8_t *buffers;
	uint64_t buffers_guest; /* The same, as a guest-physical address. */
	uint32_t buffer_bytes;	/* From one to the next: an odd number of cache lines. */
	int kick_fd, call_fd;
	uint64_t kicks;
};

struct ring_shape {
	uint16_t frames; /* A power of two. */
	uint16_t chain;	 /* Descriptors per frame: a power of two. */
	uint32_t frame_bytes_max;
	bool device_writes;
};

/* A frame that was received. */
struct ring_frame {
	uint8_t *data;	/* Its first buffer's part of it. */
	uint32_t bytes; /* In that buffer. */
};

/* Bytes of shared memory that such a ring and its buffers take. */
size_t ring_bytes(const struct ring_shape *shape);

/* Lays the ring out in memory of ring_bytes(), which is zero and on a page boundary.  A receive
 * ring's buffers are given to the device.  Returns 0 or a negative errno. */
int ring_init(struct ring *ring, const struct ring_shape *shape, uint8_t *memory, uint64_t guest);
void ring_free(struct ring *ring);

static inline uint8_t *ring_buffer(const struct ring *ring, uint16_t id)
{
	return ring->buffers + (size_t)id * ring->buffer_bytes;
}

static inline void ring_describe(struct ring *ring, uint16_t id, uint32_t bytes)
{
	ring->desc[(size_t)id * ring->chain] = (struct vring_desc){
		.addr = ring->buffers_guest + (size_t)id * ring->buffer_bytes + RING_HEADER_AT,
		.len = bytes,
		.flags = ring->device_writes ? VRING_DESC_F_WRITE : 0};
}

static inline void ring_make_available(struct ring *ring, uint16_t at, uint16_t id)
{
	uint16_t *entry = &ring->avail->ring[at & ring->mask];

	/* In order, it is what it was a round ago, and the device's copy of the line stays good. */
	if (*entry != id)
		*entry = id;
}

/* Notifies the device if it is not polling. */
static inline void ring_publish_index(struct ring *ring)
{
	const uint64_t one = 1;

	__atomic_store_n(&ring->avail->idx, ring->next, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__builtin_expect(
		    __atomic_load_n(&ring->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY,
		    1))
		return;
	ring->kicks++;
	if (write(ring->kick_fd, &one, sizeof(one)) < 0)
		ring->broken = true;
}

/* The id that the device has returned at this place of the used ring. */
static inline uint16_t ring_used_id(struct ring *ring, uint16_t at)
{
	uint32_t id = ring->used->ring[at & ring->mask].id / ring->chain;

	if (__builtin_expect(id >= ring->frames, 0)) {
		ring->broken = true;
		id = 0;
	}
	return (uint16_t)id;
}

/* How many the device has returned and we have not yet looked at.  Reads the device's index only
 * if those known of are fewer than `wanted`: the line that it is in is the device's to write. */
static inline uint16_t ring_returned(struct ring *ring, uint16_t wanted)
{
	if ((uint16_t)(ring->seen - ring->done) < wanted) {
		ring->seen = __atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE);
		if (__builtin_expect((uint16_t)(ring->seen - ring->done) > ring->frames, 0)) {
			ring->broken = true;
			ring->seen = ring->done;
		}
	}
	return (uint16_t)(ring->seen - ring->done);
}

/* --- Sending -------------------------------------------------------------------------------- */

/* How many frames can be written now, at least `wanted` if the device has returned as many. */
static inline uint16_t ring_room(struct ring *ring, uint16_t wanted)
{
	uint16_t room = ring->frames - (uint16_t)(ring->next - ring->done), returned;

	if (room >= wanted)
		return room;
	returned = ring_returned(ring, wanted - room);
	for (uint16_t i = 0; i < returned; i++, ring->done++) {
		uint16_t id = ring_used_id(ring, ring->done);

		/* Its own place's turn comes again `frames` later. */
		ring->ids[ring->done & (ring->frames - 1)] = id;
	}
	return room + returned;
}

/* The i-th free buffer's frame. */
static inline uint8_t *ring_frame(const struct ring *ring, uint16_t i)
{
	uint16_t id = ring->ids[(uint16_t)(ring->next + i) & (ring->frames - 1)];

	return ring_buffer(ring, id) + RING_FRAME_AT;
}

/* Its first descriptor: for fetching it in time. */
static inline const void *ring_descriptor(const struct ring *ring, uint16_t i)
{
	uint16_t id = ring->ids[(uint16_t)(ring->next + i) & (ring->frames - 1)];

	return &ring->desc[(size_t)id * ring->chain];
}

/* Its virtio header: zero unless somebody wrote it. */
static inline struct virtio_net_hdr_v1 *ring_header(uint8_t *frame)
{
	return (struct virtio_net_hdr_v1 *)(frame - RING_HEADER_BYTES);
}

static inline void ring_put(struct ring *ring, uint16_t i, uint32_t frame_bytes)
{
	uint16_t at = ring->next + i, id = ring->ids[at & (ring->frames - 1)];

	ring_describe(ring, id, RING_HEADER_BYTES + frame_bytes);
	ring_make_available(ring, at, id * ring->chain);
}

static inline void ring_publish(struct ring *ring, uint16_t n)
{
	if (n == 0)
		return;
	ring->next += n;
	ring_publish_index(ring);
}

/* --- Receiving ------------------------------------------------------------------------------ */

static inline uint16_t ring_filled(struct ring *ring, uint16_t wanted)
{
	return ring_returned(ring, wanted);
}

static inline struct ring_frame ring_received(struct ring *ring, uint16_t i)
{
	uint16_t at = ring->done + i, id = ring_used_id(ring, at);
	uint32_t bytes = ring->used->ring[at & ring->mask].len;

	if (__builtin_expect(
		    bytes < RING_HEADER_BYTES || bytes > ring->buffer_bytes - RING_HEADER_AT, 0)) {
		ring->broken = true;
		bytes = RING_HEADER_BYTES;
	}
	return (struct ring_frame){
		ring_buffer(ring, id) + RING_FRAME_AT, bytes - RING_HEADER_BYTES};
}

static inline const void *ring_received_descriptor(struct ring *ring, uint16_t i)
{
	return &ring->desc[(size_t)ring_used_id(ring, ring->done + i) * ring->chain];
}

static inline void ring_give_back(struct ring *ring, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++, ring->done++, ring->next++) {
		uint16_t id = ring_used_id(ring, ring->done);

		ring_describe(ring, id, ring->buffer_bytes - RING_HEADER_AT);
		ring_make_available(ring, ring->next, id * ring->chain);
	}
	if (n)
		ring_publish_index(ring);
}

#endif
