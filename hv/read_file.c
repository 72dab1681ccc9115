/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens and reads the files that a guest boots from.
 *
 * Called by the loaders of kernels and initrds on the main thread, before the guest runs.
 */
#include "hv/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

/* Why a file that exists cannot be read into memory, or NULL. */
static const char *unsuitable(mode_t mode)
{
	if (S_ISREG(mode))
		return NULL;
	return S_ISDIR(mode) ? "a directory" : "neither a file nor a link to one";
}

int read_file_open(const char *path, const char *what, uint64_t *bytes, struct hv_error *error)
{
	/* Not to wait for the other end of a FIFO; it has no effect on a file. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	const char *reason;
	struct stat status;

	if (fd < 0)
		return hv_fail(
			error, errno, "cannot open %s '%s': %s", what, path, strerror(errno));
	if (fstat(fd, &status) < 0) {
		int code = errno;

		close(fd);
		return hv_fail(
			error, code, "cannot look at %s '%s': %s", what, path, strerror(code));
	}
	reason = unsuitable(status.st_mode);
	if (reason) {
		close(fd);
		return hv_fail(error, EINVAL, "%s '%s' is %s; give a file", what, path, reason);
	}
	*bytes = (uint64_t)status.st_size;
	return fd;
}

int read_file_exactly(int fd, uint64_t offset, void *to, uint64_t bytes)
{
	uint8_t *at = to;

	while (bytes > 0) {
		ssize_t n = pread(fd, at, bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		at += n;
		offset += (uint64_t)n;
		bytes -= (uint64_t)n;
	}
	return 0;
}

/* Where a guest-physical address is in the memfd. */
static off_t place_of(const struct guest_memory *memory, uint64_t address)
{
	const struct guest_memory_region *region = memory->regions;

	while (address - region->address >= region->bytes)
		region++;
	return (off_t)(region->offset + (address - region->address));
}

/* Positions the memfd and lets the kernel copy; how much was: the rest is for who cannot. */
static uint64_t copy_file(int fd, uint64_t offset, const struct guest_memory *memory,
	uint64_t address, uint64_t bytes)
{
	off_t from = (off_t)offset;
	uint64_t done = 0;

	if (memory->huge || lseek(memory->fd, place_of(memory, address), SEEK_SET) < 0)
		return 0;
	while (done < bytes) {
		ssize_t n = sendfile(memory->fd, fd, &from, bytes - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (uint64_t)n;
	}
	return done;
}

int read_file_to_guest(int fd, uint64_t offset, const struct guest_memory *memory, uint64_t address,
	uint64_t bytes)
{
	uint8_t *to = guest_memory_at(memory, address, bytes);
	uint64_t done;

	if (!to)
		return -EFAULT;
	done = copy_file(fd, offset, memory, address, bytes);
	return read_file_exactly(fd, offset + done, to + done, bytes - done);
}
