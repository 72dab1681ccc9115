/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the policy reader and of compiled policies.  Each arena is used by one thread at a
 * time.
 */
#include "zones/arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA_ALIGNMENT = 16, ARENA_CHUNK_BYTES = 16384, ARENA_CHUNK_BYTES_MAX = 2 << 20 };

/* Of x86-64.  Where huge pages have another size, the advice only does less. */
enum { HUGE_PAGE_BYTES = 2 << 20 };

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, size;
	_Alignas(ARENA_ALIGNMENT) unsigned char data[];
};

static _Noreturn void no_memory(size_t bytes)
{
	fprintf(stderr, "out of memory: %zu bytes for the policy cannot be had\n", bytes);
	abort();
}

/* For a block that need not begin where a page does. */
static void advise_huge(void *memory, size_t bytes)
{
	uintptr_t begin = ((uintptr_t)memory + HUGE_PAGE_BYTES - 1) & -(uintptr_t)HUGE_PAGE_BYTES;
	uintptr_t end = ((uintptr_t)memory + bytes) & -(uintptr_t)HUGE_PAGE_BYTES;

	if (begin < end)
		(void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

/* What is looked at here and there costs fewer misses of the TLB on huge pages, and what is filled
 * fewer page faults.  The kernel does without where it has none. */
static void *allocate_huge(size_t bytes)
{
	size_t rounded = (bytes + HUGE_PAGE_BYTES - 1) & ~((size_t)HUGE_PAGE_BYTES - 1);
	void *memory = aligned_alloc(HUGE_PAGE_BYTES, rounded);

	if (memory) {
		(void)madvise(memory, rounded, MADV_HUGEPAGE);
		memset(memory, 0, bytes);
	}
	return memory;
}

void *zone_allocate(size_t n, size_t size)
{
	size_t bytes = 0;
	bool large = !__builtin_mul_overflow(n, size, &bytes) && bytes >= HUGE_PAGE_BYTES;
	void *memory = large ? allocate_huge(bytes) : calloc(n ? n : 1, size);

	if (!memory)
		no_memory(n * size);
	return memory;
}

void *zone_grow(void *elements, size_t n, size_t *allocated, size_t size)
{
	void *memory;

	if (n < *allocated)
		return elements;
	*allocated = *allocated ? *allocated * 2 : 8;
	memory = reallocarray(elements, *allocated, size);
	if (!memory)
		no_memory(*allocated * size);
	advise_huge(memory, *allocated * size);
	return memory;
}

void *zone_trim(void *elements, size_t n, size_t size)
{
	void *memory = n ? reallocarray(elements, n, size) : NULL;

	return memory ? memory : elements;
}

static struct arena_chunk *arena_add_chunk(struct arena *arena, size_t size, bool own)
{
	struct arena_chunk *chunk = zone_allocate(1, sizeof *chunk + size);

	chunk->size = size;
	arena->bytes += sizeof *chunk + size;
	/* An allocation that fills a chunk of its own leaves the current one in front. */
	if (own && arena->chunks) {
		chunk->next = arena->chunks->next;
		arena->chunks->next = chunk;
	} else {
		chunk->next = arena->chunks;
		arena->chunks = chunk;
	}
	return chunk;
}

/* As much as there is already, so that there are few chunks, and no more than half of it
 * is unused. */
static size_t next_chunk_bytes(const struct arena *arena)
{
	size_t bytes = ARENA_CHUNK_BYTES;

	while (bytes < arena->bytes && bytes < ARENA_CHUNK_BYTES_MAX)
		bytes *= 2;
	return bytes - sizeof(struct arena_chunk);
}

static void *arena_take(struct arena *arena, size_t size, size_t alignment)
{
	struct arena_chunk *chunk = arena->chunks;
	size_t start = 0;

	if (chunk)
		start = (chunk->used + alignment - 1) & ~(alignment - 1);
	if (!chunk || start > chunk->size || size > chunk->size - start) {
		size_t usual = next_chunk_bytes(arena);

		chunk = arena_add_chunk(arena, size > usual ? size : usual, size > usual);
		start = 0;
	}
	chunk->used = start + size;
	return chunk->data + start;
}

void *arena_allocate(struct arena *arena, size_t size)
{
	return arena_take(arena, size, ARENA_ALIGNMENT);
}

char *arena_allocate_text(struct arena *arena, size_t length)
{
	return arena_take(arena, length, 1);
}

char *arena_copy_text(struct arena *arena, const char *text, size_t length)
{
	char *copy = arena_take(arena, length + 1, 1);

	memcpy(copy, text, length);
	return copy;
}

void arena_free(struct arena *arena)
{
	while (arena->chunks) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		free(chunk);
	}
	arena->bytes = 0;
}
