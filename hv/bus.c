/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An address space of devices: regions sorted by base, found by bisection.  Called by vCPU threads
 * for each access that leaves the guest, and by devices that move their regions (a PCI BAR).
 */
#include "hv/bus.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* How many regions start at or below `address`. */
static unsigned int regions_up_to(const struct bus *bus, uint64_t address)
{
	unsigned int low = 0, high = bus->n_regions;

	while (low < high) {
		unsigned int middle = (low + high) / 2;

		if (bus->regions[middle].base <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t bytes, const struct bus_operations *operations,
	void *device)
{
	unsigned int place = regions_up_to(bus, base);
	struct bus_region *region = &bus->regions[place];

	if (bytes == 0 || base + (bytes - 1) < base)
		return -EINVAL;
	if (place > 0 && base - region[-1].base < region[-1].bytes)
		return -EEXIST;
	if (place < bus->n_regions && region->base - base < bytes)
		return -EEXIST;
	if (bus->n_regions == BUS_REGIONS)
		return -ENOSPC;
	memmove(region + 1, region, (bus->n_regions - place) * sizeof(*region));
	*region = (struct bus_region){base, bytes, operations, device};
	bus->n_regions++;
	return 0;
}

void bus_remove(struct bus *bus, uint64_t base, const void *device)
{
	unsigned int place = regions_up_to(bus, base);
	struct bus_region *region;

	if (place == 0)
		return;
	region = &bus->regions[place - 1];
	if (region->base != base || region->device != device)
		return;
	memmove(region, region + 1, (bus->n_regions - place) * sizeof(*region));
	bus->n_regions--;
}

/* The region that the whole access lies in, or NULL. */
static const struct bus_region *find(
	const struct bus *bus, uint64_t address, unsigned int bytes, uint64_t *offset)
{
	unsigned int place = regions_up_to(bus, address);
	const struct bus_region *region;

	if (place == 0)
		return NULL;
	region = &bus->regions[place - 1];
	*offset = address - region->base;
	return *offset < region->bytes && bytes <= region->bytes - *offset ? region : NULL;
}

bool bus_read(const struct bus *bus, uint64_t address, uint8_t *data, unsigned int bytes)
{
	uint64_t offset;
	const struct bus_region *region = find(bus, address, bytes, &offset);

	if (!region) {
		memset(data, 0xff, bytes);
		return false;
	}
	region->operations->read(region->device, offset, data, bytes);
	return true;
}

bool bus_write(const struct bus *bus, uint64_t address, const uint8_t *data, unsigned int bytes)
{
	uint64_t offset;
	const struct bus_region *region = find(bus, address, bytes, &offset);

	if (!region)
		return false;
	region->operations->write(region->device, offset, data, bytes);
	return true;
}
