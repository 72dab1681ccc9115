/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker: a process of its own, forked by broker_start(), that outlives the virtual machine
 * monitor by a moment.
 *
 * It keeps its user and the right to pass over file permissions, and nothing else.  What it is
 * asked for is a command and the number of a path that was on the command line; whoever has taken
 * over the virtual machine monitor gets no further through it than to the sockets that the guest
 * was given.
 */
#include "hv/broker_process.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "hv/broker.h"

/* Sockets that were made here are known again by their inodes: their places may be others' by
 * then. */
struct owned {
	bool is;
	dev_t device;
	ino_t inode;
};

struct broker_process {
	int fd;
	const char *const *paths;
	unsigned int n_paths;
	struct owned owned[BROKER_PATHS];
	const struct termios *terminal; /* Settings of stdin before the guest had it, or NULL. */
};

static int own(struct broker_process *process, unsigned int path)
{
	struct owned *owned = &process->owned[path];
	struct stat status;

	if (lstat(process->paths[path], &status) < 0)
		return -errno;
	*owned = (struct owned){
		.is = S_ISSOCK(status.st_mode), .device = status.st_dev, .inode = status.st_ino};
	return owned->is ? 0 : -ENOTSOCK;
}

static void remove_owned(struct broker_process *process, unsigned int path)
{
	const struct owned *owned = &process->owned[path];
	struct stat status;
	int lock;

	if (!owned->is)
		return;
	lock = broker_lock_folder(process->paths[path]);
	if (lstat(process->paths[path], &status) == 0 && status.st_dev == owned->device &&
		status.st_ino == owned->inode)
		unlink(process->paths[path]);
	if (lock >= 0)
		close(lock);
}

static void clean_up(struct broker_process *process)
{
	for (unsigned int i = 0; i < process->n_paths; i++)
		remove_owned(process, i);
	if (process->terminal)
		tcsetattr(STDIN_FILENO, TCSANOW, process->terminal);
}

/* Who listens there may be slow: he is not waited for. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int status = -errno;

		close(fd);
		return status;
	}
	return fd;
}

/* Answers, with a descriptor if it is not negative. */
static void answer(const struct broker_process *process, uint32_t sequence, int status, int fd)
{
	struct broker_answer answer = {.sequence = sequence, .status = status};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr aligned;
	} control = {0};
	struct iovec data = {.iov_base = &answer, .iov_len = sizeof(answer)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *header;

		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	/* Nobody there: seen with the next receive. */
	if (sendmsg(process->fd, &message, MSG_NOSIGNAL) < 0)
		return;
}

/* False at the end. */
static bool serve(struct broker_process *process, const struct broker_request *request)
{
	int result = 0;

	if (request->command == BROKER_FINISH) {
		clean_up(process);
		answer(process, request->sequence, 0, -1);
		return false;
	}
	if (request->path >= process->n_paths)
		result = -EINVAL;
	else if (request->command == BROKER_OWN)
		result = own(process, request->path);
	else if (request->command == BROKER_CONNECT)
		result = connect_to(process->paths[request->path]);
	else
		result = -EINVAL;
	if (request->command == BROKER_CONNECT && result >= 0) {
		answer(process, request->sequence, 0, result);
		close(result);
	} else {
		answer(process, request->sequence, result, -1);
	}
	return true;
}

/* Leaves the session, so that no key pressed there ends it, and all descriptors but two. */
static void withdraw(struct broker_process *process)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	setsid();
	sigaction(SIGINT, &ignore, NULL);
	sigaction(SIGTERM, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	sigaction(SIGTTOU, &ignore, NULL);
	if (!process->terminal)
		close(STDIN_FILENO);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	if (process->fd > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned int)process->fd - 1, 0);
	close_range((unsigned int)process->fd + 1, UINT_MAX, 0);
}

/* Sockets of other users are to be connected to, and folders of theirs to be cleaned. */
static bool confine(const struct seccomp *seccomp)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (geteuid() == 0)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_DAC_OVERRIDE);
	if (capng_apply(geteuid() == 0 ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) < 0)
		return false;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
	       seccomp_enter(seccomp, SECCOMP_BROKER, NULL) == 0;
}

_Noreturn void broker_run(int fd, const char *const *paths, unsigned int n,
	const struct termios *terminal, const struct seccomp *seccomp)
{
	struct broker_process process = {
		.fd = fd, .paths = paths, .n_paths = n, .terminal = terminal};
	struct broker_request request;
	ssize_t received;

	prctl(PR_SET_NAME, "cordon-broker", 0, 0, 0);
	withdraw(&process);
	/* It says nothing if it fails: its end of the socket is closed, and main says so. */
	if (seccomp && !confine(seccomp))
		_exit(1);
	for (;;) {
		received = recv(fd, &request, sizeof(request), 0);
		if (received == sizeof(request) && !serve(&process, &request))
			_exit(0);
		if (received == 0 || (received < 0 && errno != EINTR))
			break;
	}
	clean_up(&process);
	_exit(0);
}
