/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory, as its VMM shares it with the switch.  Everything that a guest names by address
 * is turned into a pointer by guest_memory_at(), and by nothing else.
 *
 * Immutable while a worker may be using it: see port_vhost.c.
 */
#ifndef DATAPATH_GUEST_MEMORY_H
#define DATAPATH_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GUEST_REGIONS_MAX = 8 }; /* As many as librte_vhost accepts. */

struct guest_region {
	uint64_t base;	/* Its first guest physical address. */
	uint64_t bytes; /* Never reaches past 2^64. */
	uint8_t *host;	/* Where it is mapped. */
};

struct guest_memory {
	size_t n;
	struct guest_region at[GUEST_REGIONS_MAX];
};

/* Where the guest physical address is, or NULL if no region holds it.  Cuts *bytes to what is left
 * of the region: a buffer may go on in the next one. */
static inline uint8_t *guest_memory_at(
	const struct guest_memory *memory, uint64_t address, uint32_t *bytes)
{
	for (size_t i = 0; i < memory->n; i++) {
		const struct guest_region *region = &memory->at[i];
		uint64_t offset = address - region->base;

		if (offset >= region->bytes)
			continue;
		if (*bytes > region->bytes - offset)
			*bytes = (uint32_t)(region->bytes - offset);
		return region->host + offset;
	}
	return NULL;
}

/* True if `bytes` bytes from `at` on, an address here, are all of one region. */
static inline bool guest_memory_holds(
	const struct guest_memory *memory, const void *at, uint64_t bytes)
{
	for (size_t i = 0; i < memory->n; i++) {
		const struct guest_region *region = &memory->at[i];
		uint64_t offset = (uintptr_t)at - (uintptr_t)region->host;

		if (offset < region->bytes && bytes <= region->bytes - offset)
			return true;
	}
	return false;
}

#endif
