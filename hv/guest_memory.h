/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory: one shared memfd, seen by the guest in one or two regions around the hole
 *below 4 GiB.
 *
 *	guest-physical		memfd			what
 *	0 .. 3 GiB		0 .. 3 GiB		region 0 (or less, if the guest has less)
 *	3 GiB .. 4 GiB		-			PCI windows, ECAM, APICs: devices
 *	4 GiB ..		3 GiB ..		region 1, if the guest has more than 3 GiB
 *
 * Immutable once created, so that any thread may ask.  What lies in it belongs to the guest, which
 *may change it at any moment: whoever decides by a value that he read there reads it once, into a
 *copy of his own.
 *
 * The accessor is the only way to a pointer into guest memory.  Nobody adds to a pointer that it
 *gave beyond the bytes that were asked for.
 */
#ifndef HV_GUEST_MEMORY_H
#define HV_GUEST_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/error.h"

#define GUEST_HOLE_START UINT64_C(0xc0000000)
#define GUEST_HOLE_END	 UINT64_C(0x100000000)

enum { GUEST_MEMORY_REGIONS = 2 };

struct guest_memory_region {
	uint64_t address; /* Guest-physical. */
	uint64_t bytes;
	uint64_t offset; /* In the memfd. */
	uint8_t *host;
};

struct guest_memory {
	int fd;
	uint64_t bytes;
	bool huge; /* On huge pages of 2 MiB. */
	unsigned int n_regions;
	struct guest_memory_region regions[GUEST_MEMORY_REGIONS];
};

enum guest_memory_pages { GUEST_PAGES_AUTO, GUEST_PAGES_HUGE, GUEST_PAGES_SMALL };

/*
 * Makes `bytes` of memory, a multiple of 2 MiB.  GUEST_PAGES_AUTO takes huge pages if as many are
 * free, and small ones otherwise.  0, or a negative errno and a sentence.  To be ended by
 * guest_memory_destroy().
 */
int guest_memory_create(struct guest_memory *memory, uint64_t bytes, enum guest_memory_pages pages,
	struct hv_error *error);

/* Unmaps and closes.  Accepts one that was never created, if it is all zeros. */
void guest_memory_destroy(struct guest_memory *memory);

/*
 * The accessor: `bytes` (at least 1) bytes at guest-physical `address`, or NULL unless all of them
 * lie in one region. Overflow is looked after.  The pointer is valid as long as `memory` is.
 */
void *guest_memory_at(const struct guest_memory *memory, uint64_t address, uint64_t bytes);

/* Copies out of and into guest memory.  False, and nothing copied, unless the whole range lies in
 * one region. */
bool guest_memory_read(
	const struct guest_memory *memory, uint64_t address, void *to, uint64_t bytes);
bool guest_memory_write(
	const struct guest_memory *memory, uint64_t address, const void *from, uint64_t bytes);

/* Gives the pages back to the host (they read as zeros afterwards).  The range must be whole pages
 * of one region. */
int guest_memory_discard(const struct guest_memory *memory, uint64_t address, uint64_t bytes);

#endif
