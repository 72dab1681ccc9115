/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The number of the last record, on the disk.  Read when the log thread is started; written by the
 * thread that keeps the rule hits, and at the end by the main thread.
 */
#include "log/sequence.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

enum { TEXT_MAX = 64 };

#define FORMAT "cordon-log-sequence-1 %" PRIu64 "\n"

uint64_t log_sequence_read(const char *directory)
{
	char path[PATH_MAX], text[TEXT_MAX];
	uint64_t number = 0;

	snprintf(path, sizeof(path), "%s/log-sequence", directory);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return 0;
	ssize_t length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	if (sscanf(text, "cordon-log-sequence-1 %19" SCNu64, &number) != 1)
		return 0;
	/* Numbers must be left. */
	return number < INT64_MAX / 2 ? number : 0;
}

static int write_file(const char *path, const char *text, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	int error = 0;

	if (fd < 0)
		return -errno;
	ssize_t written = write(fd, text, length);
	if (written < 0 || fdatasync(fd) != 0)
		error = -errno;
	else if ((size_t)written != length)
		error = -ENOSPC;
	close(fd);
	return error;
}

int log_sequence_write(const char *directory, uint64_t number)
{
	char path[PATH_MAX], new[PATH_MAX + 4], text[TEXT_MAX];
	int length = snprintf(text, sizeof(text), FORMAT, number);

	snprintf(path, sizeof(path), "%s/log-sequence", directory);
	snprintf(new, sizeof(new), "%s.new", path);
	int error = write_file(new, text, (size_t)length);
	if (error == 0 && rename(new, path) != 0)
		error = -errno;
	if (error != 0)
		unlink(new);
	return error;
}
