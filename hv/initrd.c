/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds a place for the initrd and reads it there.
 *
 * Called by the loaders of kernels on the main thread, before the guest runs.
 */
#include "hv/initrd.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "hv/boot.h"
#include "hv/read_file.h"

static const uint64_t PAGE_MASK = ~UINT64_C(4095);

/* The highest page in [start, end) from which `bytes` fit; 0 if they do not. */
static uint64_t place_in(uint64_t start, uint64_t end, uint64_t bytes)
{
	uint64_t address;

	if (end < start || end - start < bytes)
		return 0;
	address = (end - bytes) & PAGE_MASK;
	return address >= start ? address : 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Above the kernel if it fits there, below it otherwise; 0 if it fits nowhere. */
static uint64_t place(
	const struct guest_memory *memory, const struct initrd_room *room, uint64_t bytes)
{
	uint64_t end = memory->regions[0].bytes;
	uint64_t address;

	if (room->last < end)
		end = room->last + 1;
	address = place_in(room->kernel_end, end, bytes);
	if (address)
		return address;
	return place_in(BOOT_HIGH_START, least(room->kernel_start, end), bytes);
}

static int read_into(struct initrd *initrd, int fd, const char *path,
	const struct guest_memory *memory, const struct initrd_room *room, struct hv_error *error)
{
	int status;

	if (initrd->bytes == 0)
		return hv_fail(error, EINVAL, "initrd '%s' is empty", path);
	initrd->address = place(memory, room, initrd->bytes);
	if (initrd->address == 0)
		return hv_fail(error, ENOSPC,
			"initrd '%s' of %" PRIu64 " KiB does not fit: of the guest's %" PRIu64
			" KiB of memory the kernel takes %" PRIu64 " KiB at 0x%" PRIx64
			", and allows nothing above 0x%" PRIx64 "; give the guest more memory",
			path, (initrd->bytes + 1023) / 1024, memory->bytes / 1024,
			(room->kernel_end - room->kernel_start + 1023) / 1024, room->kernel_start,
			room->last);
	status = read_file_to_guest(fd, 0, memory, initrd->address, initrd->bytes);
	if (status == -ENODATA)
		return hv_fail(error, EINVAL, "initrd '%s' became shorter while it was read", path);
	if (status < 0)
		return hv_fail(
			error, -status, "cannot read initrd '%s': %s", path, strerror(-status));
	return 0;
}

int initrd_load(struct initrd *initrd, const char *path, const struct guest_memory *memory,
	const struct initrd_room *room, struct hv_error *error)
{
	int fd, status;

	memset(initrd, 0, sizeof(*initrd));
	if (!path)
		return 0;
	fd = read_file_open(path, "initrd", &initrd->bytes, error);
	if (fd < 0)
		return fd;
	status = read_into(initrd, fd, path, memory, room, error);
	close(fd);
	return status;
}
