/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for things that live and die together: many small allocations, freed all at once.
 *
 * Memory that cannot be had ends the process with a sentence on stderr: what is asked for is
 * bounded by the size of the documents that are read, and there is nothing sensible to do without
 * it.
 */
#ifndef ZONES_ARENA_H
#define ZONES_ARENA_H

#include <stddef.h>

struct arena_chunk;

/* All zero is an empty arena. */
struct arena {
	struct arena_chunk *chunks;
	size_t bytes; /* Taken from the system. */
};

/* `size` bytes, all zero, aligned for anything. */
void *arena_allocate(struct arena *arena, size_t size);

/* A copy of the first `length` bytes of `text`, with a NUL behind. */
char *arena_copy_text(struct arena *arena, const char *text, size_t length);

/* Room for `length` bytes of text, its NULs included, all zero. */
char *arena_allocate_text(struct arena *arena, size_t length);

/* Frees all that was allocated; the arena is empty then. */
void arena_free(struct arena *arena);

/* Single blocks, zeroed, that the caller free()s. */
void *zone_allocate(size_t n, size_t size);

/* Makes room for one element more in the array `elements` of elements of `size` bytes, `n` of which
 * are in use and `*allocated` there is room for.  Returns the array, perhaps at another place. */
void *zone_grow(void *elements, size_t n, size_t *allocated, size_t size);

/* Gives back the room that an array of `n` elements does not need.  Returns it, perhaps at another
 * place. */
void *zone_trim(void *elements, size_t n, size_t size);

#endif
