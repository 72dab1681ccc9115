/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors that --serial names: stdin and stdout, or a file.  Called by main on its thread,
 * before the sandbox is entered.
 *
 * stdin and stdout are shared with whoever started this process, and must not become non-blocking
 * for him: a pipe or a terminal is opened a second time through /proc, which gives a description of
 * our own.
 */
#include "hv/terminal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static bool is_a(int fd, mode_t type)
{
	struct stat status;

	return fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == type;
}

/* What `fd` is, as a descriptor of our own that never blocks.  What cannot be opened again (a
 * socket) is shared. */
static int own_descriptor(int fd, int mode)
{
	char path[32];
	int own = -1;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (is_a(fd, S_IFIFO) || is_a(fd, S_IFCHR))
		own = open(path, mode | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own >= 0 && !is_a(own, S_IFREG))
		fcntl(own, F_SETFL, fcntl(own, F_GETFL) | O_NONBLOCK);
	return own < 0 ? -errno : own;
}

/* Every key is the guest's; output is still made readable for a person. */
static void make_raw(int fd)
{
	struct termios settings;

	if (!isatty(fd) || tcgetpgrp(fd) != getpgrp() || tcgetattr(fd, &settings) < 0)
		return;
	cfmakeraw(&settings);
	settings.c_oflag |= OPOST | ONLCR;
	tcsetattr(fd, TCSANOW, &settings);
}

/* A reader of the kind that its file is of. */
static int add_reader(struct terminal *terminal, int fd)
{
	struct stat status;
	struct terminal_client *client;
	bool regular, is_socket;

	if (fstat(fd, &status) < 0)
		return -errno;
	regular = S_ISREG(status.st_mode);
	is_socket = S_ISSOCK(status.st_mode);
	if (regular && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_APPEND) < 0)
		return -errno;
	client = terminal_client_add(terminal, fd,
		regular ? TERMINAL_FILE : (is_socket ? TERMINAL_SOCKET : TERMINAL_STREAM));
	if (!client)
		return -ENOSPC;
	client->ended = true;
	client->file_bytes = regular ? (uint64_t)status.st_size : 0;
	terminal_client_serve(client);
	return 0;
}

static int open_stdin(struct terminal *terminal)
{
	int fd = own_descriptor(STDIN_FILENO, O_RDONLY);
	struct terminal_client *client;

	if (fd < 0)
		return fd;
	make_raw(STDIN_FILENO);
	client = terminal_client_add(terminal, fd, TERMINAL_STDIN);
	if (!client) {
		close(fd);
		return -ENOSPC;
	}
	client->escapes = isatty(fd);
	terminal_client_serve(client);
	/* One that cannot be waited for is read at once. */
	if (client->unwatched)
		terminal_client_serve(client);
	return 0;
}

/* stdin that is closed types nothing; stdout that is closed is no reader. */
static int open_stdio(struct terminal *terminal, struct hv_error *error)
{
	int fd = own_descriptor(STDOUT_FILENO, O_WRONLY), status;

	if (fd == -EBADF)
		status = 0;
	else
		status = fd < 0 ? fd : add_reader(terminal, fd);
	if (status < 0) {
		if (fd >= 0)
			close(fd);
		return hv_fail(error, -status, "the guest's %s cannot be put on stdout: %s",
			terminal->name, strerror(-status));
	}
	status = open_stdin(terminal);
	if (status < 0 && status != -EBADF)
		return hv_fail(error, -status, "the guest's %s cannot be put on stdin: %s",
			terminal->name, strerror(-status));
	return 0;
}

static int open_file(struct terminal *terminal, const char *path, struct hv_error *error)
{
	int fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	int status;

	if (fd < 0)
		return hv_fail(error, errno,
			"the file '%s' for the guest's %s cannot be opened: %s%s", path,
			terminal->name, strerror(errno),
			errno == ENXIO ? " (nobody reads from this pipe or socket)" : "");
	status = add_reader(terminal, fd);
	if (status < 0) {
		close(fd);
		return hv_fail(error, -status,
			"the file '%s' for the guest's %s cannot be used: %s", path, terminal->name,
			strerror(-status));
	}
	return 0;
}

int terminal_open(struct terminal *terminal, const char *where, struct hv_error *error)
{
	if (!strcmp(where, "none"))
		return 0;
	if (!strcmp(where, "stdio"))
		return open_stdio(terminal, error);
	return open_file(terminal, where, error);
}
