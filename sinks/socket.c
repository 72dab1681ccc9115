/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to collectors: see socket.h.  Called by sinks that speak over a network, each on its
 * own thread.
 *
 * The resolver cannot be told how long it may take, so that names (not addresses) are looked up by
 * a thread that is left behind when it takes too long; it ends with the resolver's own time limit.
 */
#include "sinks/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	/* What a stream may hold that is not acknowledged: as much as a slow collector takes within
	 * the time limit. */
	STREAM_BUFFER_BYTES = 256 << 10,
	SLICE_MS = 100,	 /* Between two looks at whether the place is ending. */
	REFUSAL_MS = 10, /* How long a refusal of a datagram is waited for. */
	ACKNOWLEDGED_FIRST_US = 50,
	ACKNOWLEDGED_MOST_US = 5000, /* Between two looks at what is acknowledged. */
	/* An idle stream whose other end is gone, or is not to be reached, is found out. */
	KEEPALIVE_IDLE_S = 30,
	KEEPALIVE_PAUSE_S = 10,
	KEEPALIVE_PROBES = 3,
	UNACKNOWLEDGED_MS = 60000,
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t deadline_of(const struct sink_place *place)
{
	return now_ms() + place->time_limit_ms;
}

/* --- Names ------------------------------------------------------------------------------------ */

/* Shared by the sink's thread and the resolving one; the last to let go of it frees it. */
struct lookup {
	_Atomic unsigned int references;
	char host[SINK_HOST_MAX], port[SINK_PORT_MAX];
	struct addrinfo hints;
	pthread_mutex_t mutex;
	pthread_cond_t done_condition;
	bool done;
	int failure; /* EAI_... */
	struct addrinfo *addresses;
};

static void lookup_put(struct lookup *lookup)
{
	if (atomic_fetch_sub(&lookup->references, 1) != 1)
		return;
	if (lookup->addresses)
		freeaddrinfo(lookup->addresses);
	pthread_cond_destroy(&lookup->done_condition);
	pthread_mutex_destroy(&lookup->mutex);
	free(lookup);
}

static void *resolve(void *argument)
{
	struct lookup *lookup = argument;
	struct addrinfo *addresses = NULL;
	int failure = getaddrinfo(lookup->host, lookup->port, &lookup->hints, &addresses);

	pthread_mutex_lock(&lookup->mutex);
	lookup->failure = failure;
	lookup->addresses = failure ? NULL : addresses;
	lookup->done = true;
	pthread_cond_signal(&lookup->done_condition);
	pthread_mutex_unlock(&lookup->mutex);
	lookup_put(lookup);
	return NULL;
}

static struct lookup *lookup_create(const char *host, const char *port, int type)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	pthread_condattr_t attributes;

	if (!lookup)
		return NULL;
	lookup->references = 1;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	snprintf(lookup->port, sizeof(lookup->port), "%s", port);
	lookup->hints = (struct addrinfo){.ai_socktype = type, .ai_flags = AI_NUMERICSERV};
	pthread_mutex_init(&lookup->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&lookup->done_condition, &attributes);
	pthread_condattr_destroy(&attributes);
	return lookup;
}

/* Waits for the resolving thread.  Its answer may be read when true is returned. */
static bool lookup_wait(const struct sink_place *place, struct lookup *lookup, int64_t deadline_ms)
{
	bool done;

	pthread_mutex_lock(&lookup->mutex);
	while (!lookup->done && now_ms() < deadline_ms && !sink_place_is_ending(place)) {
		int64_t until_ms = now_ms() + SLICE_MS;
		struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};

		pthread_cond_timedwait(&lookup->done_condition, &lookup->mutex, &until);
	}
	done = lookup->done;
	pthread_mutex_unlock(&lookup->mutex);
	return done;
}

static int resolve_apart(const struct sink_place *place, struct lookup *lookup, int64_t deadline_ms)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	atomic_fetch_add(&lookup->references, 1);
	error = pthread_create(&thread, &attributes, resolve, lookup);
	pthread_attr_destroy(&attributes);
	if (error) {
		atomic_fetch_sub(&lookup->references, 1);
		return -error;
	}
	return lookup_wait(place, lookup, deadline_ms) ? 0 : -ETIMEDOUT;
}

/* The lookup with the host's addresses, to be put; or NULL with a negative errno in *failure. */
static struct lookup *look_up(const struct sink_place *place, const char *host, const char *port,
	int type, int64_t deadline_ms, int *failure, char *error, size_t error_size)
{
	struct lookup *lookup = lookup_create(host, port, type);

	*failure = -ENOMEM;
	if (!lookup) {
		snprintf(error, error_size, "no memory to connect to %s", host);
		return NULL;
	}
	lookup->hints.ai_flags |= AI_NUMERICHOST;
	if (getaddrinfo(host, port, &lookup->hints, &lookup->addresses) == 0)
		return lookup;
	lookup->addresses = NULL;
	lookup->hints.ai_flags &= ~AI_NUMERICHOST;
	*failure = resolve_apart(place, lookup, deadline_ms);
	if (*failure) {
		snprintf(error, error_size, "the name %s could not be looked up in time: %s", host,
			strerror(-*failure));
	} else if (lookup->failure) {
		*failure = -EHOSTUNREACH;
		snprintf(error, error_size, "the name %s cannot be looked up: %s", host,
			gai_strerror(lookup->failure));
	} else {
		return lookup;
	}
	lookup_put(lookup);
	return NULL;
}

int sink_socket_look_up(
	const struct sink_place *place, const char *host, char *error, size_t error_size)
{
	int failure = 0;
	struct lookup *lookup = look_up(
		place, host, "0", SOCK_STREAM, deadline_of(place), &failure, error, error_size);

	if (!lookup)
		return failure;
	lookup_put(lookup);
	return 0;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

/* Waits until the socket is ready for the events, or in error. */
static int wait_for(const struct sink_place *place, int fd, short events, int64_t deadline_ms)
{
	while (!sink_place_is_ending(place)) {
		struct pollfd one = {.fd = fd, .events = events};
		int64_t left_ms = deadline_ms - now_ms();
		int n = poll(
			&one, 1, left_ms < SLICE_MS ? (left_ms > 0 ? (int)left_ms : 0) : SLICE_MS);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (left_ms <= 0)
			return -ETIMEDOUT;
	}
	return -ECANCELED;
}

/* What has happened to the socket since it was asked last: 0 or a negative errno. */
static int pending_error(int fd)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
		return -errno;
	return -error;
}

static const char *hint(int failure)
{
	return failure == -ECONNREFUSED ? "; is a collector listening there?" : "";
}

/* --- Opening ---------------------------------------------------------------------------------- */

static void prepare_stream(int fd)
{
	int one = 1, buffer = STREAM_BUFFER_BYTES, idle = KEEPALIVE_IDLE_S,
	    pause = KEEPALIVE_PAUSE_S, probes = KEEPALIVE_PROBES;
	unsigned int unacknowledged = UNACKNOWLEDGED_MS;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &pause, sizeof(pause));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged, sizeof(unacknowledged));
}

static int connect_to(const struct sink_place *place, const struct addrinfo *address,
	int64_t deadline_ms, int *out)
{
	int fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
		address->ai_protocol);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (address->ai_socktype == SOCK_STREAM)
		prepare_stream(fd);
	if (connect(fd, address->ai_addr, address->ai_addrlen) != 0)
		error = -errno;
	if (error == -EINPROGRESS) {
		error = wait_for(place, fd, POLLOUT, deadline_ms);
		if (!error)
			error = pending_error(fd);
	}
	if (error)
		close(fd);
	else
		*out = fd;
	return error;
}

static void name_socket(struct sink_socket *socket, const char *host, const char *port)
{
	const char *transport = socket->type == SOCK_STREAM ? "tcp" : "udp";
	const char *format = strchr(host, ':') ? "%s [%s]:%s" : "%s %s:%s";

	snprintf(socket->name, sizeof(socket->name), format, transport, host, port);
}

/* Tries the addresses in turn; those that do not answer share the time. */
static int connect_to_one(const struct sink_place *place, const struct addrinfo *addresses,
	unsigned int first, int64_t deadline_ms, struct sink_socket *out)
{
	int failure = -EHOSTUNREACH;

	for (const struct addrinfo *at = addresses; at; at = at->ai_next)
		out->n_addresses++;
	for (const struct addrinfo *at = addresses; at; at = at->ai_next, out->address++) {
		int64_t left_ms = deadline_ms - now_ms(),
			share_ms = left_ms / (out->n_addresses - out->address);

		if (out->address < first)
			continue;
		failure = connect_to(place, at, now_ms() + share_ms, &out->fd);
		if (failure == 0)
			return 0;
	}
	return failure;
}

int sink_socket_open(const struct sink_place *place, const char *endpoint, const char *default_port,
	int type, unsigned int first, struct sink_socket *out, char *error, size_t error_size)
{
	int64_t deadline_ms = deadline_of(place);
	char host[SINK_HOST_MAX], port[SINK_PORT_MAX];
	struct lookup *lookup;
	int failure;

	sink_endpoint_split(endpoint, host, port);
	if (!*port)
		snprintf(port, sizeof(port), "%s", default_port);
	*out = (struct sink_socket){.fd = -1, .type = type};
	name_socket(out, host, port);
	lookup = look_up(place, host, port, type, deadline_ms, &failure, error, error_size);
	if (!lookup)
		return failure;
	failure = connect_to_one(place, lookup->addresses, first, deadline_ms, out);
	lookup_put(lookup);
	if (failure)
		snprintf(error, error_size, "no connection to %s: %s%s", out->name,
			strerror(-failure), hint(failure));
	return failure;
}

void sink_socket_close(struct sink_socket *socket)
{
	if (socket->fd >= 0)
		close(socket->fd);
	socket->fd = -1;
}

/* --- Sending ---------------------------------------------------------------------------------- */

static int say_failure(
	const struct sink_socket *socket, int failure, char *error, size_t error_size)
{
	if (failure == -EINVAL)
		failure = -EIO; /* That would say that the record is to blame. */
	snprintf(error, error_size, "nothing can be sent to %s: %s%s", socket->name,
		strerror(-failure), hint(failure));
	return failure;
}

int sink_socket_send(const struct sink_place *place, const struct sink_socket *socket,
	const void *data, size_t length, char *error, size_t error_size)
{
	int64_t deadline_ms = 0;
	const char *at = data;

	while (length > 0) {
		ssize_t sent = send(socket->fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		int failure = sent < 0 ? -errno : 0;

		if (sent >= 0) {
			at += sent;
			length -= (size_t)sent;
			deadline_ms = 0;
			continue;
		}
		if (failure == -EAGAIN || failure == -ENOBUFS) {
			deadline_ms = deadline_ms ? deadline_ms : deadline_of(place);
			failure = wait_for(place, socket->fd, POLLOUT, deadline_ms);
		}
		if (failure && failure != -EINTR)
			return say_failure(socket, failure, error, error_size);
	}
	return 0;
}

/* The first of n datagrams that are left; returns how many were sent. */
static unsigned int send_some(
	const struct sink_socket *socket, struct mmsghdr *datagrams, unsigned int n, int *failure)
{
	int sent = sendmmsg(socket->fd, datagrams, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	*failure = sent < 0 ? -errno : 0;
	return sent < 0 ? 0 : (unsigned int)sent;
}

int sink_socket_send_datagrams(const struct sink_place *place, const struct sink_socket *socket,
	struct mmsghdr *datagrams, unsigned int n, char *error, size_t error_size)
{
	int64_t deadline_ms = deadline_of(place);

	for (unsigned int at = 0; at < n;) {
		int failure;

		at += send_some(socket, datagrams + at, n - at, &failure);
		if (failure == -EAGAIN || failure == -ENOBUFS)
			failure = wait_for(place, socket->fd, POLLOUT, deadline_ms);
		if (failure && failure != -EINTR)
			return say_failure(socket, failure, error, error_size);
	}
	return 0;
}

/* --- Receiving -------------------------------------------------------------------------------- */

ssize_t sink_socket_receive(const struct sink_socket *socket, void *data, size_t size)
{
	ssize_t n = recv(socket->fd, data, size, MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return n == 0 ? -EPIPE : n;
}

int sink_socket_await(
	const struct sink_place *place, const struct sink_socket *socket, unsigned int ms)
{
	return wait_for(place, socket->fd, POLLIN | POLLRDHUP, now_ms() + ms);
}

/* --- Settling --------------------------------------------------------------------------------- */

/* The other end neither refuses what came nor has gone. */
static int check(const struct sink_socket *socket)
{
	struct pollfd one = {.fd = socket->fd, .events = POLLRDHUP};
	int failure = pending_error(socket->fd);

	if (!failure && poll(&one, 1, 0) > 0 && one.revents & (POLLRDHUP | POLLHUP | POLLERR))
		failure = pending_error(socket->fd) ?: -EPIPE;
	return failure;
}

int sink_socket_check(const struct sink_socket *socket, char *error, size_t error_size)
{
	int failure = check(socket);

	return failure ? say_failure(socket, failure, error, error_size) : 0;
}

static int settle_datagrams(const struct sink_socket *socket)
{
	struct pollfd one = {.fd = socket->fd};

	poll(&one, 1, REFUSAL_MS);
	return pending_error(socket->fd);
}

static int settle_stream(const struct sink_place *place, const struct sink_socket *socket)
{
	int64_t deadline_ms = deadline_of(place);
	useconds_t pause_us = ACKNOWLEDGED_FIRST_US;
	int unacknowledged = 0, before = INT_MAX, failure;

	for (;;) {
		if (ioctl(socket->fd, SIOCOUTQ, &unacknowledged) != 0)
			return -errno;
		failure = check(socket);
		if (failure || unacknowledged == 0)
			return failure;
		if (unacknowledged < before)
			deadline_ms = deadline_of(place);
		before = unacknowledged;
		if (now_ms() >= deadline_ms)
			return -ETIMEDOUT;
		if (sink_place_is_ending(place))
			return -ECANCELED;
		usleep(pause_us);
		pause_us =
			pause_us * 2 < ACKNOWLEDGED_MOST_US ? pause_us * 2 : ACKNOWLEDGED_MOST_US;
	}
}

int sink_socket_settle(const struct sink_place *place, const struct sink_socket *socket,
	char *error, size_t error_size)
{
	int failure = socket->type == SOCK_STREAM ? settle_stream(place, socket)
						  : settle_datagrams(socket);

	return failure ? say_failure(socket, failure, error, error_size) : 0;
}
