/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual machine monitor's side of its broker, and the sockets that it listens at.  Called on
 * the main thread: by main, by the devices when they are made, and by those that connect again.
 */
#include "hv/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "hv/broker_process.h"

enum { ANSWER_MS = 1000, LOCK_TRIES = 100, LOCK_PAUSE_MS = 10, BACKLOG = 128 };

struct broker {
	int fd;
	const char *const *paths;
	unsigned int n_paths;
	uint32_t sequence;
};

/* --- Starting and asking ---------------------------------------------------------------------- */

static int limit_waiting(int fd)
{
	struct timeval limit = {.tv_sec = ANSWER_MS / 1000};

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ? -errno : 0;
}

int broker_start(struct broker **created, const char *const *paths, unsigned int n,
	const struct seccomp *seccomp, struct hv_error *error)
{
	struct broker *broker = calloc(1, sizeof(*broker));
	/* Looked at before the child is there: it might come to it when the guest has stdin. */
	struct termios terminal;
	bool has_terminal = tcgetattr(STDIN_FILENO, &terminal) == 0;
	int ends[2], status;
	pid_t child;

	*created = NULL;
	if (!broker || n > BROKER_PATHS) {
		free(broker);
		return hv_fail(error, n > BROKER_PATHS ? E2BIG : ENOMEM,
			"the broker cannot be started for %u sockets", n);
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		status = -errno;
		goto free_broker;
	}
	child = fork();
	if (child == 0)
		broker_run(ends[1], paths, n, has_terminal ? &terminal : NULL, seccomp);
	status = child < 0 ? -errno : limit_waiting(ends[0]);
	close(ends[1]);
	if (status < 0) {
		close(ends[0]);
		goto free_broker;
	}
	*broker = (struct broker){.fd = ends[0], .paths = paths, .n_paths = n};
	*created = broker;
	return 0;

free_broker:
	free(broker);
	return hv_fail(error, -status,
		"the broker, which looks after this guest's sockets, cannot be started: %s",
		strerror(-status));
}

/* The descriptor that came with a message, or -1. */
static int descriptor_of(struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int fd;

	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS ||
		header->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

/* One answer, and the descriptor that came with it (or -1).  0 or a negative errno. */
static int receive_answer(const struct broker *broker, struct broker_answer *answer, int *fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr aligned;
	} control;
	struct iovec data = {.iov_base = answer, .iov_len = sizeof(*answer)};
	struct msghdr message = {.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t received;

	*fd = -1;
	do {
		received = recvmsg(broker->fd, &message, MSG_CMSG_CLOEXEC);
	} while (received < 0 && errno == EINTR);
	if (received < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (received != sizeof(*answer))
		return -EPIPE;
	*fd = descriptor_of(&message);
	return message.msg_flags & MSG_CTRUNC ? -EMFILE : 0;
}

/* Asks, and waits for the answer: 0 or a negative errno.  Late answers to earlier requests are
 * passed over. */
static int ask(struct broker *broker, enum broker_command command, unsigned int path, int *fd)
{
	struct broker_request request = {.sequence = ++broker->sequence,
		.command = (uint16_t)command,
		.path = (uint16_t)path};

	*fd = -1;
	/* A broker that hears nothing any more leaves no room at last. */
	if (send(broker->fd, &request, sizeof(request), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	for (;;) {
		struct broker_answer answer;
		int status = receive_answer(broker, &answer, fd);

		if (status < 0)
			return status;
		if (answer.sequence == request.sequence)
			return answer.status;
		if (*fd >= 0)
			close(*fd);
	}
}

static int number_of(const struct broker *broker, const char *path)
{
	for (unsigned int i = 0; i < broker->n_paths; i++)
		if (!strcmp(broker->paths[i], path))
			return (int)i;
	return -ENOENT;
}

/* --- Listening -------------------------------------------------------------------------------- */

int broker_lock_folder(const char *path)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
	const char *end = strrchr(path, '/');
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path) + 1] = ".";
	size_t length = end ? (size_t)(end - path) + 1 : 0;
	int fd;

	if (length >= sizeof(folder))
		return -1;
	if (length)
		memcpy(folder, path, length);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		nanosleep(&pause, NULL);
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool is_socket(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* Whether the socket at `address` was left by a process that is gone. */
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool stale;

	if (fd < 0)
		return false;
	/* An ordinary file would refuse as well. */
	stale = is_socket(address->sun_path) &&
		connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static int bind_and_listen(int fd, const struct sockaddr_un *address, struct hv_error *error)
{
	const struct sockaddr *generic = (const struct sockaddr *)address;
	int result = bind(fd, generic, sizeof(*address));

	if (result < 0 && errno == EADDRINUSE && is_stale(address)) {
		unlink(address->sun_path);
		result = bind(fd, generic, sizeof(*address));
	}
	if (result < 0 && errno == EADDRINUSE && is_socket(address->sun_path))
		return hv_fail(error, EADDRINUSE,
			"another process listens at '%s': choose another socket, or end that "
			"process",
			address->sun_path);
	if (result < 0)
		return hv_fail(error, errno, "the socket '%s' cannot be made: %s%s",
			address->sun_path, strerror(errno),
			errno == EADDRINUSE ? " (it is there, and is no socket)" : "");
	if (listen(fd, BACKLOG) < 0)
		return hv_fail(error, errno, "nobody can listen at '%s': %s", address->sun_path,
			strerror(errno));
	return 0;
}

/* The mode is set before there is a name, so that nobody else gets in between. */
static int make_listener(const struct sockaddr_un *address, struct hv_error *error)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int status;

	if (fd < 0 || fchmod(fd, 0600) < 0) {
		status = hv_fail(error, errno, "the socket '%s' cannot be made: %s",
			address->sun_path, strerror(errno));
	} else {
		int lock = broker_lock_folder(address->sun_path);

		status = bind_and_listen(fd, address, error);
		if (lock >= 0)
			close(lock);
	}
	if (status < 0) {
		if (fd >= 0)
			close(fd);
		return status;
	}
	return fd;
}

int broker_listen(struct broker *broker, const char *path, struct hv_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int number = number_of(broker, path), fd, none, status;

	if (strlen(path) >= sizeof(address.sun_path))
		return hv_fail(error, ENAMETOOLONG,
			"the path of the socket '%s' has %zu bytes, and %zu are the most that a "
			"socket's path may have",
			path, strlen(path), sizeof(address.sun_path) - 1);
	if (number < 0)
		return hv_fail(error, -number, "the broker does not know the socket '%s'", path);
	strcpy(address.sun_path, path);
	fd = make_listener(&address, error);
	if (fd < 0)
		return fd;
	status = ask(broker, BROKER_OWN, (unsigned int)number, &none);
	if (status < 0) {
		unlink(path);
		close(fd);
		return hv_fail(error, -status,
			"the broker, which looks after this guest's sockets, does not take '%s': "
			"%s",
			path, strerror(-status));
	}
	return fd;
}

/* --- Connecting, and the end ------------------------------------------------------------------ */

int broker_connect(struct broker *broker, const char *path, struct hv_error *error)
{
	int number = number_of(broker, path), fd = -1;
	int status = number < 0 ? number : ask(broker, BROKER_CONNECT, (unsigned int)number, &fd);

	if (status == 0 && fd < 0)
		status = -EPROTO;
	if (status < 0 && fd >= 0)
		close(fd);
	if (status < 0)
		return hv_fail(error, -status, "the socket '%s' cannot be connected to: %s", path,
			strerror(-status));
	return fd;
}

void broker_destroy(struct broker *broker)
{
	int none;

	if (!broker)
		return;
	/* If it does not answer, it is gone, and there is nothing else to be done. */
	ask(broker, BROKER_FINISH, 0, &none);
	close(broker->fd);
	free(broker);
}
