/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the policy reader and of compiled policies.  Each arena is used by one thread at a
 * time.
 */
#include "zones/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_ALIGNMENT = 16, ARENA_CHUNK_BYTES = 16384 };

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

void *zone_allocate(size_t n, size_t size)
{
	void *memory = calloc(n ? n : 1, size);

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
	return memory;
}

void *zone_trim(void *elements, size_t n, size_t size)
{
	void *memory = n ? reallocarray(elements, n, size) : NULL;

	return memory ? memory : elements;
}

static struct arena_chunk *arena_add_chunk(struct arena *arena, size_t size)
{
	struct arena_chunk *chunk = zone_allocate(1, sizeof *chunk + size);

	chunk->size = size;
	arena->bytes += sizeof *chunk + size;
	/* An allocation that fills a chunk of its own leaves the current one in front. */
	if (size > ARENA_CHUNK_BYTES && arena->chunks) {
		chunk->next = arena->chunks->next;
		arena->chunks->next = chunk;
	} else {
		chunk->next = arena->chunks;
		arena->chunks = chunk;
	}
	return chunk;
}

static void *arena_take(struct arena *arena, size_t size, size_t alignment)
{
	struct arena_chunk *chunk = arena->chunks;
	size_t start = 0;

	if (chunk)
		start = (chunk->used + alignment - 1) & ~(alignment - 1);
	if (!chunk || start > chunk->size || size > chunk->size - start) {
		chunk = arena_add_chunk(arena, size > ARENA_CHUNK_BYTES ? size : ARENA_CHUNK_BYTES);
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
