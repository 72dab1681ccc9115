/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of one split virtqueue, in guest memory: what an honest driver does, in pieces
 * that a dishonest one puts together otherwise.
 */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include <stdint.h>
#include <string.h>

#include "hv/guest_memory.h"

enum { DRIVER_NEXT = 1, DRIVER_WRITE = 2, DRIVER_INDIRECT = 4 };

struct driver_descriptor {
	uint64_t address;
	uint32_t bytes;
	uint16_t flags, next;
};

struct driver_ring {
	const struct guest_memory *memory;
	uint64_t descriptors, available, used;
	uint16_t size, available_index;
};

/* Fields of the rings are read and written while the device does the same; with each, what was
 * written before it is seen. */
static inline void driver_put16(const struct driver_ring *ring, uint64_t address, uint16_t value)
{
	uint16_t *to = guest_memory_at(ring->memory, address, sizeof(value));

	if (to)
		__atomic_store_n(to, value, __ATOMIC_RELEASE);
}

static inline uint16_t driver_get16(const struct driver_ring *ring, uint64_t address)
{
	const uint16_t *from = guest_memory_at(ring->memory, address, sizeof(*from));

	return from ? __atomic_load_n(from, __ATOMIC_ACQUIRE) : 0;
}

/* Descriptor `i` of the table at `table`. */
static inline void driver_describe(const struct driver_ring *ring, uint64_t table, unsigned int i,
	const struct driver_descriptor *descriptor)
{
	guest_memory_write(
		ring->memory, table + i * sizeof(*descriptor), descriptor, sizeof(*descriptor));
}

/* Makes a chain available. */
static inline void driver_offer(struct driver_ring *ring, uint16_t head)
{
	driver_put16(ring, ring->available + 4 + (ring->available_index % ring->size) * 2, head);
	driver_put16(ring, ring->available + 2, ++ring->available_index);
}

/* One buffer as a request of its own. */
static inline void driver_offer_buffer(
	struct driver_ring *ring, uint16_t head, uint64_t address, uint32_t bytes, uint16_t flags)
{
	const struct driver_descriptor descriptor = {address, bytes, flags, 0};

	driver_describe(ring, ring->descriptors, head, &descriptor);
	driver_offer(ring, head);
}

static inline uint16_t driver_used_index(const struct driver_ring *ring)
{
	return driver_get16(ring, ring->used + 2);
}

/* Entry `i`, counted from the beginning: which request it was, and how much was written. */
static inline uint32_t driver_used_head(const struct driver_ring *ring, uint16_t i)
{
	uint32_t head = UINT32_MAX;

	guest_memory_read(ring->memory, ring->used + 4 + (i % ring->size) * 8, &head, sizeof(head));
	return head;
}

static inline uint32_t driver_used_bytes(const struct driver_ring *ring, uint16_t i)
{
	uint32_t bytes = UINT32_MAX;

	guest_memory_read(
		ring->memory, ring->used + 8 + (i % ring->size) * 8, &bytes, sizeof(bytes));
	return bytes;
}

/* "Do not interrupt me", or do; and with the event index, the entry after which to. */
static inline void driver_set_no_interrupt(const struct driver_ring *ring, uint16_t flag)
{
	driver_put16(ring, ring->available, flag);
}

static inline void driver_set_used_event(const struct driver_ring *ring, uint16_t event)
{
	driver_put16(ring, ring->available + 4 + ring->size * 2, event);
}

/* What the device asks for. */
static inline uint16_t driver_no_notify(const struct driver_ring *ring)
{
	return driver_get16(ring, ring->used);
}

static inline uint16_t driver_available_event(const struct driver_ring *ring)
{
	return driver_get16(ring, ring->used + 4 + ring->size * 8);
}

#endif
