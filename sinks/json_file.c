/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that a sink of JSON lines appends to.  Called by json.c, on the sink's thread.
 *
 * The lock is on the file itself, so it goes with it when it is renamed: of two processes that were
 * told the same path, one at a time has each file, and lines never mix.
 */
#include "sinks/json_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	LINE_MAX_BYTES = 1 << 20, /* More than any record's line. */
	BLOCK_BYTES = 1 << 16,
	OPEN_TRIES = 3, /* If it is renamed each time between two system calls. */
};

#define SECOND_NS UINT64_C(1000000000)

/* Writes the sentence, and returns -errno as it was. */
static int __attribute__((format(printf, 3, 4)))
fail(char *error, size_t error_size, const char *format, ...)
{
	int reason = errno;
	va_list arguments;
	size_t used;

	va_start(arguments, format);
	vsnprintf(error, error_size, format, arguments);
	va_end(arguments);
	used = strlen(error);
	snprintf(error + used, error_size - used, ": %s", strerror(reason));
	return -reason;
}

static int refuse(char *error, size_t error_size, int reason, const char *path, const char *why)
{
	snprintf(error, error_size, "%s %s", path, why);
	return -reason;
}

static void name_old(const struct json_file *file, unsigned int number, char name[PATH_MAX])
{
	snprintf(name, PATH_MAX, "%s.%u", file->path, number);
}

/* --- Whole lines ---------------------------------------------------------------------------- */

/* The length of the file up to and with its last line end, looked for in its last `span` bytes; 0
 * if there is none, or a negative errno. */
static int64_t end_of_last_line(int fd, off_t size, off_t span)
{
	char block[BLOCK_BYTES];

	for (off_t end = size; end > size - span;) {
		off_t begin = end > BLOCK_BYTES ? end - BLOCK_BYTES : 0;
		ssize_t n = pread(fd, block, (size_t)(end - begin), begin);
		const char *last;

		if (n != end - begin)
			return n < 0 ? -errno : -EIO;
		last = memrchr(block, '\n', (size_t)n);
		if (last)
			return begin + (last - block) + 1;
		end = begin;
	}
	return 0;
}

/* A crash or a full disk may have left half a line.  What is no file of lines is left alone. */
static int cut_half_line(struct json_file *file, char *error, size_t error_size)
{
	off_t size = (off_t)file->size, span = size < LINE_MAX_BYTES ? size : LINE_MAX_BYTES;
	int64_t end;
	char first;

	if (size == 0)
		return 0;
	if (pread(file->fd, &first, 1, 0) != 1)
		return fail(error, error_size, "cannot read %s", file->path);
	end = first == '{' ? end_of_last_line(file->fd, size, span) : 0;
	if (end < 0) {
		errno = (int)-end;
		return fail(error, error_size, "cannot read %s", file->path);
	}
	if (first != '{' || (end == 0 && span < size))
		return refuse(error, error_size, EEXIST, file->path,
			"holds something else than JSON lines, and is left alone; name another "
			"path");
	if (end < size && ftruncate(file->fd, end) != 0)
		return fail(error, error_size, "cannot cut half a line off %s", file->path);
	file->size = (uint64_t)end;
	return 0;
}

/* The number that the last line has as the member. */
static uint64_t last_number_of(int fd, const char *member)
{
	char block[BLOCK_BYTES + 1], name[64];
	off_t size = lseek(fd, 0, SEEK_END);
	off_t begin = size > BLOCK_BYTES ? size - BLOCK_BYTES : 0;
	ssize_t n = size > 0 ? pread(fd, block, BLOCK_BYTES, begin) : 0;
	const char *line, *value;

	if (n <= 1)
		return 0;
	block[n - 1] = '\0'; /* In place of the last line end. */
	line = memrchr(block, '\n', (size_t)n - 1);
	line = line ? line + 1 : block;
	snprintf(name, sizeof(name), "\"%s\":", member);
	value = memmem(line, (size_t)(block + n - line), name, strlen(name));
	return value ? strtoull(value + strlen(name), NULL, 10) : 0;
}

uint64_t json_file_last_number(const struct json_file *file, const char *member)
{
	uint64_t number = last_number_of(file->fd, member);
	char name[PATH_MAX];
	int fd;

	if (number != 0)
		return number;
	name_old(file, 1, name);
	fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return 0;
	number = last_number_of(fd, member);
	close(fd);
	return number;
}

/* --- Opening -------------------------------------------------------------------------------- */

static uint64_t birth_ns(int fd)
{
	struct timespec now;
	struct statx status;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME | STATX_MTIME, &status) == 0) {
		const struct statx_timestamp *time =
			status.stx_mask & STATX_BTIME ? &status.stx_btime : &status.stx_mtime;

		return (uint64_t)time->tv_sec * SECOND_NS + time->tv_nsec;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* True if the path still names the file that is open. */
static bool is_at_path(const struct json_file *file, struct stat *status)
{
	return stat(file->path, status) == 0 && status->st_dev == file->device &&
	       status->st_ino == file->inode;
}

/* Opens and locks what is at the path.  -EAGAIN: it was renamed meanwhile. */
static int take(struct json_file *file, char *error, size_t error_size)
{
	struct stat status;

	/* Not blocking, should it be a FIFO that nobody reads. */
	file->fd = open(
		file->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	if (file->fd < 0)
		return fail(error, error_size, "cannot open %s", file->path);
	if (fstat(file->fd, &status) != 0)
		return fail(error, error_size, "cannot look at %s", file->path);
	if (!S_ISREG(status.st_mode))
		return refuse(error, error_size, EEXIST, file->path,
			"is not a file; name the path of one");
	if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			return refuse(error, error_size, EBUSY, file->path,
				"is written by another sink or process; give each a file of its "
				"own");
		return fail(error, error_size, "cannot lock %s", file->path);
	}
	file->device = status.st_dev;
	file->inode = status.st_ino;
	if (!is_at_path(file, &status))
		return refuse(error, error_size, EAGAIN, file->path,
			"is renamed or deleted again and again");
	file->size = (uint64_t)status.st_size;
	return 0;
}

int json_file_open(struct json_file *file, const char *path, char *error, size_t error_size)
{
	int rc = -EAGAIN;

	*file = (struct json_file){.path = path, .fd = -1};
	for (int i = 0; rc == -EAGAIN && i < OPEN_TRIES; i++) {
		json_file_close(file);
		rc = take(file, error, error_size);
	}
	if (rc == 0)
		rc = cut_half_line(file, error, error_size);
	if (rc != 0) {
		json_file_close(file);
		return rc;
	}
	file->delivered = file->size;
	file->begun_ns = birth_ns(file->fd);
	return 0;
}

void json_file_close(struct json_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

/* --- Appending ------------------------------------------------------------------------------ */

int json_file_append(
	struct json_file *file, const char *lines, size_t length, char *error, size_t error_size)
{
	while (length > 0) {
		ssize_t n = write(file->fd, lines, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == ENOSPC || errno == EDQUOT))
			return fail(error, error_size,
				"cannot write %s (free space there, or lower rotate-bytes or "
				"rotate-keep)",
				file->path);
		if (n < 0)
			return fail(error, error_size, "cannot write %s", file->path);
		lines += n;
		length -= (size_t)n;
		file->size += (uint64_t)n;
	}
	return 0;
}

void json_file_deliver(struct json_file *file)
{
	file->delivered = file->size;
}

void json_file_take_back(struct json_file *file)
{
	struct stat status;

	/* It may be shorter, if somebody else has truncated it; it must not get longer. */
	if (fstat(file->fd, &status) == 0 && (uint64_t)status.st_size > file->delivered &&
		ftruncate(file->fd, (off_t)file->delivered) == 0)
		file->size = file->delivered;
}

/* --- Rotation ------------------------------------------------------------------------------- */

static int open_anew(struct json_file *file, char *error, size_t error_size)
{
	const char *path = file->path;

	json_file_close(file);
	return json_file_open(file, path, error, error_size);
}

int json_file_look(struct json_file *file, char *error, size_t error_size)
{
	struct stat status;

	if (!is_at_path(file, &status))
		return open_anew(file, error, error_size);
	file->size = file->delivered = (uint64_t)status.st_size;
	return 0;
}

/* Makes FILE.1 free: those up to the first hole move on by one, over the oldest. */
static int make_room(
	const struct json_file *file, unsigned int keep, char *error, size_t error_size)
{
	char from[PATH_MAX], to[PATH_MAX];
	unsigned int n = 1;

	for (name_old(file, n, to); n < keep && access(to, F_OK) == 0; name_old(file, ++n, to))
		continue;
	for (; n > 1; n--) {
		name_old(file, n - 1, from);
		name_old(file, n, to);
		if (rename(from, to) != 0 && errno != ENOENT)
			return fail(error, error_size, "cannot rename %s to %s", from, to);
	}
	return 0;
}

/* Those that an earlier, higher limit has kept. */
static void delete_older(const struct json_file *file, unsigned int keep)
{
	char name[PATH_MAX];

	do {
		name_old(file, ++keep, name);
	} while (unlink(name) == 0);
}

int json_file_rotate(struct json_file *file, unsigned int keep, char *error, size_t error_size)
{
	char first[PATH_MAX];
	int rc = keep ? make_room(file, keep, error, error_size) : 0;

	if (rc != 0)
		return rc;
	name_old(file, 1, first);
	if ((keep ? rename(file->path, first) : unlink(file->path)) != 0 && errno != ENOENT)
		return fail(error, error_size, keep ? "cannot rename %s" : "cannot delete %s",
			file->path);
	delete_older(file, keep);
	return open_anew(file, error, error_size);
}
