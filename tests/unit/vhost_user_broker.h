/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker without a process of its own, for tests of devices that have vhost-user back ends: real
 * sockets, at paths of the test's.
 */
#ifndef TESTS_UNIT_VHOST_USER_BROKER_H
#define TESTS_UNIT_VHOST_USER_BROKER_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hv/broker.h"

/* Nobody looks into it. */
struct broker {
	int nothing;
};

static inline struct sockaddr_un test_address(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

int broker_listen(struct broker *broker, const char *path, struct hv_error *error)
{
	struct sockaddr_un address = test_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)broker;
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 4) == 0)
		return fd;
	close(fd);
	return hv_fail(error, errno, "cannot listen at %s: %s", path, strerror(errno));
}

int broker_connect(struct broker *broker, const char *path, struct hv_error *error)
{
	struct sockaddr_un address = test_address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)broker;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return hv_fail(error, errno, "cannot connect to %s: %s", path, strerror(errno));
}

#endif
