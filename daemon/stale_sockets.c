/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removes a killed daemon's control sockets.  Called by the daemons' main(), on the main thread,
 * before they make their own.
 *
 * Whether a process of that number exists says nothing: the number may be another's by now. Whether
 * somebody listens does.
 */
#include "daemon/stale_sockets.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char suffix[] = ".ctl";

/* "PROGRAM.123.ctl" */
static bool is_own_name(const char *name, const char *program)
{
	size_t bytes = strlen(program), digits;

	if (strncmp(name, program, bytes) != 0 || name[bytes] != '.')
		return false;
	name += bytes + 1;
	digits = strspn(name, "0123456789");
	return digits > 0 && strcmp(name + digits, suffix) == 0;
}

static bool is_socket(int folder, const char *name)
{
	struct stat status;

	return fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(status.st_mode);
}

/* The address goes by the folder's descriptor, for its own path may be too long for one. */
static bool nobody_listens(int folder, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int length = snprintf(
		address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", folder, name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool refused;

	if (fd < 0)
		return false;
	refused = length < (int)sizeof(address.sun_path) &&
		  connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 &&
		  errno == ECONNREFUSED;
	close(fd);
	return refused;
}

int stale_sockets_remove(const char *directory, const char *program)
{
	DIR *folder = opendir(directory);
	struct dirent *entry;
	int removed = 0;

	if (!folder)
		return -errno;
	while ((entry = readdir(folder))) {
		if (is_own_name(entry->d_name, program) &&
			is_socket(dirfd(folder), entry->d_name) &&
			nobody_listens(dirfd(folder), entry->d_name) &&
			unlinkat(dirfd(folder), entry->d_name, 0) == 0)
			removed++;
	}
	closedir(folder);
	return removed;
}
