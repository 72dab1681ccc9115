/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large arrays of zeroes that cost nothing until they are touched, a page at a time: a switch that
 * starts does not wait for tables to be cleared of which it will use the least part.
 */
#ifndef DATAPATH_ZEROED_H
#define DATAPATH_ZEROED_H

#include <stddef.h>
#include <sys/mman.h>

/* `bytes` of zeroes, aligned to a page; NULL, and errno set, without memory. */
static inline void *zeroed_alloc(size_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory != MAP_FAILED ? memory : NULL;
}

/* Gives it back; `bytes` as they were asked for.  Accepts NULL. */
static inline void zeroed_free(void *memory, size_t bytes)
{
	if (memory)
		munmap(memory, bytes);
}

#endif
