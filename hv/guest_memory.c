/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory: a sealed memfd, mapped once per region.  Created by main(); asked by every
 * thread.  Back ends map the same memfd by its descriptor: it can neither shrink nor grow under
 * anybody.
 */
#include "hv/guest_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum { HUGE_PAGE_BYTES = 2 << 20, SMALL_PAGE_BYTES = 4096, MIB_SHIFT = 20 };

/* What lies below the hole, and what is left of it above. */
static void lay_out(struct guest_memory *memory)
{
	uint64_t low = memory->bytes < GUEST_HOLE_START ? memory->bytes : GUEST_HOLE_START;

	memory->regions[0] = (struct guest_memory_region){.address = 0, .bytes = low, .offset = 0};
	memory->n_regions = 1;
	if (memory->bytes == low)
		return;
	memory->regions[1] = (struct guest_memory_region){
		.address = GUEST_HOLE_END, .bytes = memory->bytes - low, .offset = low};
	memory->n_regions = 2;
}

/* Huge pages are reserved by the mapping; small ones are taken as they are used. */
static int map_region(const struct guest_memory *memory, struct guest_memory_region *region)
{
	int flags = MAP_SHARED | (memory->huge ? 0 : MAP_NORESERVE);
	void *host = mmap(NULL, region->bytes, PROT_READ | PROT_WRITE, flags, memory->fd,
		(off_t)region->offset);

	if (host == MAP_FAILED)
		return -errno;
	region->host = host;
	/* Advice only: the guest works without it. */
	madvise(host, region->bytes, MADV_DONTDUMP);
	if (!memory->huge)
		madvise(host, region->bytes, MADV_HUGEPAGE);
	return 0;
}

static int create(struct guest_memory *memory, bool huge)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int status = 0;

	memory->huge = huge;
	lay_out(memory);
	memory->fd = memfd_create("guest", flags | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	if (memory->fd < 0) {
		status = -errno;
		memset(memory, 0, sizeof(*memory));
		return status;
	}
	if (ftruncate(memory->fd, (off_t)memory->bytes) < 0 ||
		fcntl(memory->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		status = -errno;
	for (unsigned int i = 0; status == 0 && i < memory->n_regions; i++)
		status = map_region(memory, &memory->regions[i]);
	if (status < 0)
		guest_memory_destroy(memory);
	return status;
}

/* Small pages are not reserved, so that more of them than the host has would only show later. */
static int check_host(uint64_t bytes, struct hv_error *error)
{
	struct sysinfo host;
	uint64_t total;

	if (sysinfo(&host) < 0)
		return 0;
	total = (uint64_t)host.totalram * host.mem_unit;
	if (bytes <= total)
		return 0;
	return hv_fail(error, ENOMEM,
		"the guest is to have %" PRIu64 " MiB of memory, but this host has only %" PRIu64
		" MiB; give it less with --memory",
		bytes >> MIB_SHIFT, total >> MIB_SHIFT);
}

int guest_memory_create(struct guest_memory *memory, uint64_t bytes, enum guest_memory_pages pages,
	struct hv_error *error)
{
	int status;

	memset(memory, 0, sizeof(*memory));
	if (bytes == 0 || bytes % HUGE_PAGE_BYTES != 0)
		return hv_fail(error, EINVAL,
			"%" PRIu64 " bytes of guest memory are not a multiple of 2 MiB", bytes);
	if (pages != GUEST_PAGES_SMALL) {
		memory->bytes = bytes;
		status = create(memory, true);
		if (status == 0)
			return 0;
		if (pages == GUEST_PAGES_HUGE)
			return hv_fail(error, -status,
				"%" PRIu64 " MiB of guest memory on huge pages cannot be had: %s; "
				"reserve pages of 2 MiB in /proc/sys/vm/nr_hugepages, or use "
				"--pages small",
				bytes >> MIB_SHIFT, strerror(-status));
	}
	status = check_host(bytes, error);
	if (status < 0)
		return status;
	memory->bytes = bytes;
	status = create(memory, false);
	if (status < 0)
		return hv_fail(error, -status, "%" PRIu64 " MiB of guest memory cannot be had: %s",
			bytes >> MIB_SHIFT, strerror(-status));
	return 0;
}

void guest_memory_destroy(struct guest_memory *memory)
{
	if (memory->n_regions == 0)
		return;
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		if (memory->regions[i].host)
			munmap(memory->regions[i].host, memory->regions[i].bytes);
	}
	close(memory->fd);
	memset(memory, 0, sizeof(*memory));
}

/* The region that the whole range lies in, or NULL. */
static const struct guest_memory_region *find(
	const struct guest_memory *memory, uint64_t address, uint64_t bytes)
{
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		const struct guest_memory_region *region = &memory->regions[i];
		uint64_t offset = address - region->address;

		if (address >= region->address && offset < region->bytes)
			return bytes > 0 && bytes <= region->bytes - offset ? region : NULL;
	}
	return NULL;
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t address, uint64_t bytes)
{
	const struct guest_memory_region *region = find(memory, address, bytes);

	return region ? region->host + (address - region->address) : NULL;
}

bool guest_memory_read(
	const struct guest_memory *memory, uint64_t address, void *to, uint64_t bytes)
{
	const void *from = guest_memory_at(memory, address, bytes);

	if (!from)
		return false;
	memcpy(to, from, bytes);
	return true;
}

bool guest_memory_write(
	const struct guest_memory *memory, uint64_t address, const void *from, uint64_t bytes)
{
	void *to = guest_memory_at(memory, address, bytes);

	if (!to)
		return false;
	memcpy(to, from, bytes);
	return true;
}

int guest_memory_discard(const struct guest_memory *memory, uint64_t address, uint64_t bytes)
{
	const struct guest_memory_region *region = find(memory, address, bytes);
	uint64_t page = memory->huge ? HUGE_PAGE_BYTES : SMALL_PAGE_BYTES;
	uint64_t offset;

	if (!region || address % page != 0 || bytes % page != 0)
		return -EINVAL;
	offset = region->offset + (address - region->address);
	if (fallocate(memory->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
		    (off_t)bytes) < 0)
		return -errno;
	return 0;
}
