/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user front end's life: back ends come and go, a driver starts and stops.  Called by the
 * devices and by the event loop, with the machine's lock held.
 *
 * Where it listens, it does so while it has no back end: a second one waits in the socket's queue.
 * A back end that was hung up on for what it said or did not say is let in again only after a
 * while, which grows, as the time between two attempts to connect does.
 */
#include "hv/vhost_user.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "hv/vhost_user_private.h"

enum {
	RETRY_FIRST_MS = 50,
	RETRY_MAX_MS = 2000,
};

#define OWNER_OF(source, member)                                                                   \
	((struct vhost_user *)((char *)(source)-offsetof(struct vhost_user, member)))

/* --- Time and words --------------------------------------------------------------------------- */

uint64_t vhost_user_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void vhost_user_set_timer(struct vhost_user *vhost, unsigned int milliseconds)
{
	const struct itimerspec in = {
		.it_value = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000}};

	if (milliseconds == 0 && vhost->deadline_ms == 0)
		return;
	vhost->deadline_ms = milliseconds ? vhost_user_now_ms() + milliseconds : 0;
	/* A timer that is set anew is not readable any more. */
	(void)timerfd_settime(vhost->timer.fd, 0, &in, NULL);
}

/* What has happened to the back end: on stderr, and for status. */
static void tell(struct vhost_user *vhost, const char *what)
{
	snprintf(vhost->trouble, sizeof(vhost->trouble), "%s at %s: %s", vhost->setup.peer,
		vhost->setup.socket ? vhost->setup.socket : "-", what);
	report_line(&vhost->report, vhost->setup.name, vhost->trouble);
}

/* Nobody to connect to.  At the start that is for the owner to say, if it stays so. */
static void note_absence(struct vhost_user *vhost, const char *reason)
{
	snprintf(vhost->trouble, sizeof(vhost->trouble), "%s", reason);
	if (vhost->connections > 0)
		report_line(&vhost->report, vhost->setup.name, reason);
}

void vhost_user_report_return(struct vhost_user *vhost)
{
	tell(vhost, "it is back");
	vhost->trouble[0] = '\0';
}

/* --- Back ends come and go -------------------------------------------------------------------- */

static void close_source(struct vhost_user *vhost, struct event_source *source)
{
	event_loop_remove(vhost->setup.loop, source);
	if (source->fd >= 0)
		close(source->fd);
	source->fd = -1;
}

/* What the next back end must not find. */
static void forget(struct vhost_user *vhost)
{
	vhost_user_reader_reset(&vhost->answer);
	vhost_user_reader_reset(&vhost->request);
	vhost_user_close_given_channel(vhost);
	vhost->script = NULL;
	vhost->sending = vhost->awaiting = vhost->stopping = false;
	/* It may have got at the rings as soon as it was told of any. */
	vhost->begun |= vhost->told;
	vhost->met = vhost->told = vhost->running = false;
	vhost->features = vhost->protocol_features = 0;
	vhost->n_queues = 1;
	vhost->config_stale = false;
	vhost->config_write.bytes = 0;
	vhost->announcement = 0;
	vhost_user_set_timer(vhost, 0);
}

static void await_next(struct vhost_user *vhost)
{
	if (vhost->retry_ms > 0 || !vhost->setup.listens)
		vhost_user_set_timer(vhost, vhost->retry_ms ? vhost->retry_ms : 1);
	else if (vhost->listener.fd >= 0)
		(void)event_loop_add(vhost->setup.loop, &vhost->listener, EPOLLIN);
}

static void wait_longer(struct vhost_user *vhost)
{
	vhost->retry_ms = vhost->retry_ms ? 2 * vhost->retry_ms : RETRY_FIRST_MS;
	if (vhost->retry_ms > RETRY_MAX_MS)
		vhost->retry_ms = RETRY_MAX_MS;
}

void vhost_user_hang_up(struct vhost_user *vhost, const char *reason)
{
	bool met = vhost->met;

	if (!vhost->connection.added)
		return;
	close_source(vhost, &vhost->connection);
	close_source(vhost, &vhost->channel);
	tell(vhost, reason ? reason : "it has gone; waiting for it to come back");
	if (reason || !met)
		wait_longer(vhost);
	forget(vhost);
	if (met)
		vhost->setup.events->left(vhost->setup.owner);
	await_next(vhost);
}

int vhost_user_take(struct vhost_user *vhost, int socket)
{
	int result;

	if (vhost->connection.added)
		return -EBUSY;
	vhost->connection.fd = socket;
	result = event_loop_add(vhost->setup.loop, &vhost->connection, EPOLLIN);
	if (result < 0) {
		vhost->connection.fd = -1;
		return result;
	}
	event_loop_remove(vhost->setup.loop, &vhost->listener);
	vhost_user_set_timer(vhost, 0);
	vhost->connections++;
	vhost_user_begin(vhost, &vhost_user_meeting);
	vhost_user_advance(vhost);
	return 0;
}

/* Nobody can be let in for a while: he waits in the listener, which is not looked at meanwhile. */
static void put_off(struct vhost_user *vhost, int code)
{
	char reason[HV_ERROR_BYTES];

	snprintf(reason, sizeof(reason), "it cannot be let in: %s; tried again", strerror(code));
	tell(vhost, reason);
	event_loop_remove(vhost->setup.loop, &vhost->listener);
	wait_longer(vhost);
	vhost_user_set_timer(vhost, vhost->retry_ms);
}

static void listener_ready(struct event_source *source, uint32_t events)
{
	struct vhost_user *vhost = OWNER_OF(source, listener);
	int socket = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (socket < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			put_off(vhost, errno);
		return;
	}
	if (vhost_user_take(vhost, socket) < 0)
		close(socket);
}

static void try_to_connect(struct vhost_user *vhost)
{
	struct hv_error error;
	int socket;

	if (!vhost->setup.broker)
		return;
	socket = broker_connect(vhost->setup.broker, vhost->setup.socket, &error);
	if (socket >= 0 && vhost_user_take(vhost, socket) == 0)
		return;
	if (socket >= 0)
		close(socket);
	else
		note_absence(vhost, error.text);
	wait_longer(vhost);
	vhost_user_set_timer(vhost, vhost->retry_ms);
}

static void timer_ready(struct event_source *source, uint32_t events)
{
	struct vhost_user *vhost = OWNER_OF(source, timer);
	char reason[HV_ERROR_BYTES];

	(void)events;
	if (vhost->deadline_ms == 0 || vhost_user_now_ms() < vhost->deadline_ms)
		return;
	vhost_user_set_timer(vhost, 0);
	if (vhost->connection.added) {
		vhost->timeouts++;
		snprintf(reason, sizeof(reason), "it has not %s %s within %u ms; hung up",
			vhost->sending ? "taken" : "answered",
			vhost_user_request_name(vhost->out.message.request), vhost->setup.reply_ms);
		vhost_user_hang_up(vhost, reason);
	} else if (!vhost->setup.listens) {
		try_to_connect(vhost);
	} else if (vhost->listener.fd >= 0) {
		(void)event_loop_add(vhost->setup.loop, &vhost->listener, EPOLLIN);
	}
}

/* --- Life ------------------------------------------------------------------------------------- */

static int open_up(struct vhost_user *vhost, struct hv_error *error)
{
	const struct vhost_user_setup *setup = &vhost->setup;

	vhost->timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (vhost->timer.fd < 0 || event_loop_add(setup->loop, &vhost->timer, EPOLLIN) < 0)
		return hv_fail(error, ENOMEM, "%s: no descriptor is left for a timer", setup->name);
	if (!setup->broker)
		return 0;
	if (!setup->listens) {
		try_to_connect(vhost);
		return 0;
	}
	vhost->listener.fd = broker_listen(setup->broker, setup->socket, error);
	if (vhost->listener.fd < 0)
		return vhost->listener.fd;
	if (event_loop_add(setup->loop, &vhost->listener, EPOLLIN) < 0)
		return hv_fail(error, ENOMEM, "%s: not enough memory", setup->name);
	return 0;
}

int vhost_user_create(
	struct vhost_user **created, const struct vhost_user_setup *setup, struct hv_error *error)
{
	struct vhost_user *vhost = calloc(1, sizeof(*vhost));
	int result;

	*created = NULL;
	if (!vhost)
		return hv_fail(error, ENOMEM, "%s: not enough memory", setup->name);
	vhost->setup = *setup;
	if (setup->reply_ms == 0)
		vhost->setup.reply_ms = VHOST_USER_REPLY_MS;
	if (setup->stop_ms == 0)
		vhost->setup.stop_ms = VHOST_USER_STOP_MS;
	vhost->connection = (struct event_source){.fd = -1, .ready = vhost_user_connection_ready};
	vhost->channel = (struct event_source){.fd = -1, .ready = vhost_user_channel_ready};
	vhost->listener = (struct event_source){.fd = -1, .ready = listener_ready};
	vhost->timer = (struct event_source){.fd = -1, .ready = timer_ready};
	vhost->n_queues = 1;
	vhost->inflight_fd = -1;
	for (unsigned int ring = 0; ring < VHOST_USER_RINGS; ring++)
		vhost->enabled[ring] = true;
	result = open_up(vhost, error);
	if (result < 0) {
		vhost_user_destroy(vhost);
		return result;
	}
	*created = vhost;
	return 0;
}

void vhost_user_destroy(struct vhost_user *vhost)
{
	if (!vhost)
		return;
	close_source(vhost, &vhost->connection);
	close_source(vhost, &vhost->channel);
	close_source(vhost, &vhost->listener);
	forget(vhost);
	close_source(vhost, &vhost->timer);
	if (vhost->inflight_fd >= 0)
		close(vhost->inflight_fd);
	free(vhost);
}

void vhost_user_facts(const struct vhost_user *vhost, struct vhost_user_facts *facts)
{
	*facts = (struct vhost_user_facts){
		.met = vhost->met,
		.features = vhost->features,
		.protocol_features = vhost->protocol_features,
		.n_queues = vhost->n_queues,
		.config = vhost->config,
		.trouble = vhost->trouble[0] != '\0' ? vhost->trouble : NULL,
		.connections = vhost->connections,
		.refusals = vhost->refusals,
		.timeouts = vhost->timeouts,
	};
}

/* --- The driver ------------------------------------------------------------------------------- */

void vhost_user_start(struct vhost_user *vhost, uint64_t features,
	const struct virtio_queue *queues, unsigned int n_rings, uint16_t mtu)
{
	vhost->driver_features = features;
	vhost->queues = queues;
	vhost->n_rings = n_rings < VHOST_USER_RINGS ? n_rings : VHOST_USER_RINGS;
	vhost->mtu = mtu;
	vhost->wanted = true;
	vhost_user_advance(vhost);
}

void vhost_user_enable(struct vhost_user *vhost, unsigned int ring, bool enabled)
{
	if (ring >= VHOST_USER_RINGS)
		return;
	vhost->enabled[ring] = enabled;
	vhost_user_advance(vhost);
}

/* Goes on with the conversation, by itself, until the back end has given the rings up. */
static void wait_for_stop(struct vhost_user *vhost)
{
	const uint64_t end = vhost_user_now_ms() + vhost->setup.stop_ms;
	char reason[HV_ERROR_BYTES];

	while (vhost->told) {
		struct pollfd at = {vhost->connection.fd, POLLIN, 0};
		uint64_t now = vhost_user_now_ms();

		if (now >= end) {
			vhost->timeouts++;
			snprintf(reason, sizeof(reason),
				"it has not given up the rings within %u ms; hung up",
				vhost->setup.stop_ms);
			vhost_user_hang_up(vhost, reason);
			return;
		}
		if (poll(&at, 1, (int)(end - now)) > 0)
			vhost_user_connection_ready(&vhost->connection, EPOLLIN);
	}
}

void vhost_user_stop(struct vhost_user *vhost)
{
	vhost->wanted = false;
	if (vhost->told) {
		vhost->stopping = true;
		if (vhost->sending)
			vhost_user_hang_up(vhost, "it does not take what it is told; hung up");
		else if (!vhost->awaiting) {
			vhost_user_begin(vhost, &vhost_user_stopping);
			vhost_user_advance(vhost);
		}
		wait_for_stop(vhost);
	}
	vhost->begun = vhost->lost = false;
	vhost->n_rings = 0;
	if (vhost->inflight_fd >= 0)
		close(vhost->inflight_fd);
	vhost->inflight_fd = -1;
}

void vhost_user_announce(struct vhost_user *vhost, const uint8_t mac[6])
{
	memcpy(&vhost->announcement, mac, 6);
	vhost_user_advance(vhost);
}

int vhost_user_write_config(
	struct vhost_user *vhost, uint32_t offset, const uint8_t *data, unsigned int bytes)
{
	if (bytes == 0 || bytes > vhost->setup.config_bytes ||
		offset > vhost->setup.config_bytes - bytes)
		return -EINVAL;
	if (!vhost->met)
		return -ENOTCONN;
	if (!vhost_user_agreed(vhost, VHOST_USER_PROTOCOL_CONFIG))
		return -EOPNOTSUPP;
	if (vhost->config_write.bytes != 0)
		return -EBUSY;
	vhost->config_write.offset = offset;
	vhost->config_write.bytes = bytes;
	memcpy(vhost->config_write.data, data, bytes);
	vhost_user_advance(vhost);
	return 0;
}

/* --- Before the loop runs --------------------------------------------------------------------- */

enum { SOURCES = 4 };

static unsigned int add_sources(
	struct vhost_user *vhost, struct pollfd *polled, struct event_source **sources)
{
	struct event_source *all[SOURCES] = {
		&vhost->connection, &vhost->channel, &vhost->listener, &vhost->timer};
	unsigned int n = 0;

	for (unsigned int i = 0; i < SOURCES; i++) {
		if (!all[i]->added)
			continue;
		polled[n] = (struct pollfd){.fd = all[i]->fd, .events = POLLIN};
		if (all[i] == &vhost->connection && vhost->sending)
			polled[n].events |= POLLOUT;
		sources[n++] = all[i];
	}
	return n;
}

/* Whom we have connected to, and refused, would be no other the next time. */
static bool is_awaited(const struct vhost_user *vhost)
{
	return !vhost->met && (vhost->setup.listens || vhost->refusals == 0);
}

void vhost_user_wait(struct vhost_user *const *each, unsigned int n, unsigned int milliseconds)
{
	const uint64_t end = vhost_user_now_ms() + milliseconds;
	struct pollfd polled[SOURCES * OPTIONS_NETS];
	struct event_source *sources[SOURCES * OPTIONS_NETS];

	for (;;) {
		unsigned int n_polled = 0;
		uint64_t now = vhost_user_now_ms();

		for (unsigned int i = 0; i < n && i < OPTIONS_NETS; i++) {
			if (is_awaited(each[i]))
				n_polled +=
					add_sources(each[i], &polled[n_polled], &sources[n_polled]);
		}
		if (n_polled == 0 || now >= end || poll(polled, n_polled, (int)(end - now)) <= 0)
			return;
		for (unsigned int i = 0; i < n_polled; i++) {
			/* The numbers of POLLIN and so on are those of EPOLLIN. */
			if (polled[i].revents != 0 && sources[i]->added &&
				sources[i]->fd == polled[i].fd)
				sources[i]->ready(sources[i], (uint32_t)polled[i].revents);
		}
	}
}
