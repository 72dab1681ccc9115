/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring of captured frames.  A worker produces, the capture's thread consumes; they share the
 * two positions and nothing else.
 *
 * Positions count bytes since the beginning and never wrap; a byte lies at its position modulo the
 * size.  An entry that would not fit before the end of the memory begins at its start, behind a
 * piece of padding, which is an entry that nobody is shown.
 */
#include "datapath/capture_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { CACHE_LINE = 64, ALIGNMENT = 8, BYTES_MIN = 4096 };

/* In front of each entry. */
struct entry {
	uint32_t bytes; /* With this, rounded up to ALIGNMENT. */
	bool is_padding;
};

_Static_assert(sizeof(struct entry) == ALIGNMENT, "what follows is aligned");

struct capture_ring {
	/* Immutable. */
	uint8_t *memory;
	size_t size; /* A power of two. */
	/* The producer's. */
	uint64_t reserved __attribute__((aligned(CACHE_LINE)));
	_Atomic uint64_t published; /* It writes, the consumer reads. */
	/* The consumer's; the producer reads. */
	_Atomic uint64_t released __attribute__((aligned(CACHE_LINE)));
};

struct capture_ring *capture_ring_create(size_t bytes)
{
	size_t size = BYTES_MIN;
	struct capture_ring *ring;

	while (size < bytes)
		size *= 2;
	ring = aligned_alloc(CACHE_LINE, sizeof(*ring));
	if (ring == NULL)
		return NULL;
	*ring = (struct capture_ring){.size = size};
	ring->memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (ring->memory == MAP_FAILED) {
		int error = errno;

		free(ring);
		errno = error;
		return NULL;
	}
	return ring;
}

void capture_ring_destroy(struct capture_ring *ring)
{
	if (ring == NULL)
		return;
	munmap(ring->memory, ring->size);
	free(ring);
}

static struct entry *entry_at(const struct capture_ring *ring, uint64_t position)
{
	return (struct entry *)(void *)(ring->memory + (position & (ring->size - 1)));
}

void *capture_ring_reserve(struct capture_ring *ring, size_t bytes)
{
	uint64_t used =
		ring->reserved - atomic_load_explicit(&ring->released, memory_order_acquire);
	size_t to_end = ring->size - (ring->reserved & (ring->size - 1)), padding = 0;

	if (bytes > ring->size - sizeof(struct entry))
		return NULL;
	size_t need = (bytes + sizeof(struct entry) + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	if (need > to_end)
		padding = to_end;
	if (padding + need > ring->size - used)
		return NULL;
	if (padding != 0)
		*entry_at(ring, ring->reserved) =
			(struct entry){.bytes = (uint32_t)padding, .is_padding = true};
	ring->reserved += padding;
	struct entry *entry = entry_at(ring, ring->reserved);
	*entry = (struct entry){.bytes = (uint32_t)need};
	ring->reserved += need;
	return entry + 1;
}

uint64_t capture_ring_mark(const struct capture_ring *ring)
{
	return ring->reserved;
}

void capture_ring_rewind(struct capture_ring *ring, uint64_t mark)
{
	ring->reserved = mark;
}

void capture_ring_publish(struct capture_ring *ring)
{
	atomic_store_explicit(&ring->published, ring->reserved, memory_order_release);
}

static void release(struct capture_ring *ring, uint64_t position)
{
	atomic_store_explicit(
		&ring->released, position + entry_at(ring, position)->bytes, memory_order_release);
}

const void *capture_ring_first(struct capture_ring *ring)
{
	uint64_t end = atomic_load_explicit(&ring->published, memory_order_acquire);
	uint64_t at = atomic_load_explicit(&ring->released, memory_order_relaxed);

	if (at != end && entry_at(ring, at)->is_padding) {
		release(ring, at);
		at = atomic_load_explicit(&ring->released, memory_order_relaxed);
	}
	return at != end ? entry_at(ring, at) + 1 : NULL;
}

void capture_ring_release(struct capture_ring *ring)
{
	release(ring, atomic_load_explicit(&ring->released, memory_order_relaxed));
}
