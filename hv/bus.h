/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An address space in which devices answer: I/O ports, or memory outside the guest's own.
 *
 * Calls come from vCPU threads with the machine's lock held; bus_add() and bus_remove() too, once
 * guests run.
 */
#ifndef HV_BUS_H
#define HV_BUS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What a device does with an access of 1, 2, 4 or 8 bytes that lies wholly in its region.  `offset`
 * is from the region's start.  Data are in the guest's byte order (little endian).  Both always
 * answer: a read that makes no sense gives what hardware would (mostly all ones), a write that
 * makes none is ignored.
 */
struct bus_operations {
	void (*read)(void *device, uint64_t offset, uint8_t *data, unsigned int bytes);
	void (*write)(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes);
};

struct bus_region {
	uint64_t base, bytes;
	const struct bus_operations *operations;
	void *device;
};

enum { BUS_REGIONS = 64 };

/* Sorted by base.  All zeros is an empty bus. */
struct bus {
	unsigned int n_regions;
	struct bus_region regions[BUS_REGIONS];
};

/* Adds a region.  0, -EEXIST if it meets another one, -ENOSPC if there are too many, -EINVAL if it
 * is empty or wraps. */
int bus_add(struct bus *bus, uint64_t base, uint64_t bytes, const struct bus_operations *operations,
	void *device);

/* Removes the region that starts at `base` and belongs to `device`; nothing if there is none. */
void bus_remove(struct bus *bus, uint64_t base, const void *device);

/* Where nobody answers, reads give all ones and writes are lost, and false is returned. */
bool bus_read(const struct bus *bus, uint64_t address, uint8_t *data, unsigned int bytes);
bool bus_write(const struct bus *bus, uint64_t address, const uint8_t *data, unsigned int bytes);

#endif
