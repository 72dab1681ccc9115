/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Laying out a virtqueue and its buffers in shared memory.  Called by front_end.c when a side is
 * opened; what happens for every frame is in ring.h.
 */
#include "tests/bench/generator/ring.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE_BYTES = 4096 };

static size_t page_up(size_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static size_t descriptors(const struct ring_shape *shape)
{
	return (size_t)shape->frames * shape->chain;
}

static size_t desc_bytes(const struct ring_shape *shape)
{
	return page_up(descriptors(shape) * sizeof(struct vring_desc));
}

/* Behind the entries is room for the event index. */
static size_t avail_bytes(const struct ring_shape *shape)
{
	return page_up(sizeof(struct vring_avail) + (descriptors(shape) + 1) * sizeof(uint16_t));
}

static size_t used_bytes(const struct ring_shape *shape)
{
	return page_up(sizeof(struct vring_used) +
		       descriptors(shape) * sizeof(struct vring_used_elem) + sizeof(uint16_t));
}

/* An odd number of cache lines, so that the beginnings of buffers are spread over a cache. */
static uint32_t buffer_bytes(const struct ring_shape *shape)
{
	uint32_t lines = (RING_FRAME_AT + shape->frame_bytes_max) / RING_CACHE_LINE + 1;

	return (lines | 1) * RING_CACHE_LINE;
}

size_t ring_bytes(const struct ring_shape *shape)
{
	return desc_bytes(shape) + avail_bytes(shape) + used_bytes(shape) +
	       page_up((size_t)buffer_bytes(shape) * shape->frames);
}

static bool shape_is_valid(const struct ring_shape *shape)
{
	size_t n = descriptors(shape);

	return n >= 2 && n <= RING_SIZE_MAX && !(n & (n - 1)) &&
	       !(shape->frames & (shape->frames - 1));
}

int ring_init(struct ring *ring, const struct ring_shape *shape, uint8_t *memory, uint64_t guest)
{
	size_t avail_at = desc_bytes(shape), used_at = avail_at + avail_bytes(shape);
	size_t buffers_at = used_at + used_bytes(shape);

	*ring = (struct ring){.kick_fd = -1, .call_fd = -1};
	if (!shape_is_valid(shape))
		return -EINVAL;
	ring->desc = (struct vring_desc *)memory;
	ring->avail = (struct vring_avail *)(memory + avail_at);
	ring->used = (struct vring_used *)(memory + used_at);
	ring->mask = (uint16_t)(descriptors(shape) - 1);
	ring->frames = shape->frames;
	ring->chain = shape->chain;
	ring->device_writes = shape->device_writes;
	ring->buffers = memory + buffers_at;
	ring->buffers_guest = guest + buffers_at;
	ring->buffer_bytes = buffer_bytes(shape);
	ring->avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	if (shape->device_writes) {
		for (uint16_t i = 0; i < ring->frames; i++) {
			ring_describe(ring, i, ring->buffer_bytes - RING_HEADER_AT);
			ring->avail->ring[i] = i * ring->chain;
		}
		ring->avail->idx = ring->next = ring->frames;
		return 0;
	}
	ring->ids = calloc(ring->frames, sizeof(ring->ids[0]));
	if (!ring->ids)
		return -ENOMEM;
	for (uint16_t i = 0; i < ring->frames; i++)
		ring->ids[i] = i;
	return 0;
}

void ring_free(struct ring *ring)
{
	free(ring->ids);
	ring->ids = NULL;
	if (ring->kick_fd >= 0)
		close(ring->kick_fd);
	if (ring->call_fd >= 0)
		close(ring->call_fd);
	ring->kick_fd = ring->call_fd = -1;
}
