/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory map that a guest is given: which addresses are memory, and which are taken.
 */
#ifndef HV_E820_H
#define HV_E820_H

#include <stdint.h>

#include "hv/guest_memory.h"

/* The types of E820, which PVH's map has too. */
enum { E820_MEMORY = 1, E820_RESERVED = 2 };

enum { E820_RANGES = 8 };

struct e820_range {
	uint64_t address, bytes;
	uint32_t type;
};

/* Writes the map, sorted by address, and returns how many ranges it has (at most E820_RANGES). */
unsigned int e820_build(const struct guest_memory *memory, struct e820_range *ranges);

#endif
