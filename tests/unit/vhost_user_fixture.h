/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user front end under test, the guest's queues, and the event loop's part, which a test
 * plays turn by turn.
 *
 *	fixture_open() -> plug(back end) -> start() -> await(&fixture.started, 1) ... ->
 *	fixture_close(), back_end_join()
 */
#ifndef TESTS_UNIT_VHOST_USER_FIXTURE_H
#define TESTS_UNIT_VHOST_USER_FIXTURE_H

#include "tests/unit/vhost_user_back_end.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "hv/vhost_user.h"
#include "hv/vhost_user_private.h"

enum { RINGS = 4, SIZE = 64, MEMORY = 4 << 20, SILENT_MS = 1000, WAIT_MS = 20000 };

#define BIT(number) (UINT64_C(1) << (number))
#define FEATURES    (BIT(VIRTIO_F_VERSION_1) | BIT(3) | BIT(29) | VHOST_USER_F_PROTOCOL_FEATURES)

/* All that the front end has a use for. */
#define PROTOCOL_FEATURES                                                                          \
	(BIT(VHOST_USER_PROTOCOL_MQ) | BIT(VHOST_USER_PROTOCOL_RARP) |                             \
		BIT(VHOST_USER_PROTOCOL_NET_MTU) | BIT(VHOST_USER_PROTOCOL_BACKEND_REQ) |          \
		BIT(VHOST_USER_PROTOCOL_CONFIG) | BIT(VHOST_USER_PROTOCOL_INFLIGHT_SHMFD))
#define ALL_PROTOCOL_FEATURES                                                                      \
	(PROTOCOL_FEATURES | BIT(VHOST_USER_PROTOCOL_REPLY_ACK) |                                  \
		BIT(VHOST_USER_PROTOCOL_RESET_DEVICE) | BIT(VHOST_USER_PROTOCOL_STATUS))

/* There is no socket in these tests. */
int broker_listen(struct broker *broker, const char *path, struct hv_error *error)
{
	(void)broker;
	return hv_fail(error, EINVAL, "%s", path);
}

int broker_connect(struct broker *broker, const char *path, struct hv_error *error)
{
	(void)broker;
	return hv_fail(error, EINVAL, "%s", path);
}

struct fixture {
	pthread_mutex_t lock;
	struct event_loop *loop;
	struct guest_memory memory;
	struct virtio_queue queues[RINGS];
	struct vhost_user *vhost;
	bool refuse;
	unsigned int met, started, again, left, config_changes, failed;
};

static inline int met(void *owner, struct hv_error *error)
{
	struct fixture *fixture = owner;

	if (fixture->refuse)
		return hv_fail(error, EPROTO, "the test wants none");
	fixture->met++;
	return 0;
}

static inline void started(void *owner, bool again)
{
	struct fixture *fixture = owner;

	fixture->started++;
	fixture->again += again;
}

static inline void left(void *owner)
{
	((struct fixture *)owner)->left++;
}

static inline void config_changed(void *owner)
{
	((struct fixture *)owner)->config_changes++;
}

static inline void failed(void *owner, const char *reason)
{
	assert_non_null(strstr(reason, "INFLIGHT_SHMFD"));
	((struct fixture *)owner)->failed++;
}

static const struct vhost_user_events events = {met, started, left, config_changed, failed};

static inline void open_queues(struct fixture *fixture)
{
	for (unsigned int i = 0; i < RINGS; i++)
		fixture->queues[i] = (struct virtio_queue){
			.memory = &fixture->memory,
			.size = SIZE,
			.descriptors = 0x10000 * (i + 1),
			.available = 0x10000 * (i + 1) + 0x4000,
			.used = 0x10000 * (i + 1) + 0x8000,
			.enabled = true,
			.notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
			.interrupt_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		};
}

static inline void fixture_open(struct fixture *fixture, enum vhost_user_care care)
{
	const struct vhost_user_setup setup = {
		.name = "test0",
		.peer = "the test",
		.socket = "nowhere",
		.listens = true,
		.care = care,
		.needed_features = BIT(29),
		.protocol_features = PROTOCOL_FEATURES,
		.config_bytes = 16,
		/* However busy the machine is: nobody waits for it but in tests of silence. */
		.reply_ms = WAIT_MS,
		.stop_ms = WAIT_MS,
		.memory = &fixture->memory,
		.events = &events,
		.owner = fixture,
	};
	struct vhost_user_setup with_loop = setup;
	struct hv_error error = {""};

	memset(fixture, 0, sizeof(*fixture));
	pthread_mutex_init(&fixture->lock, NULL);
	assert_int_equal(event_loop_create(&fixture->loop, &fixture->lock), 0);
	if (guest_memory_create(&fixture->memory, MEMORY, GUEST_PAGES_SMALL, &error) < 0)
		fail_msg("%s", error.text);
	open_queues(fixture);
	with_loop.loop = fixture->loop;
	assert_int_equal(vhost_user_create(&fixture->vhost, &with_loop, &error), 0);
}

/* Little patience, for a back end that will not answer. */
static inline void be_impatient(struct fixture *fixture)
{
	fixture->vhost->setup.reply_ms = SILENT_MS;
	fixture->vhost->setup.stop_ms = SILENT_MS;
}

static inline void fixture_close(struct fixture *fixture)
{
	vhost_user_destroy(fixture->vhost);
	for (unsigned int i = 0; i < RINGS; i++) {
		close(fixture->queues[i].notify_fd);
		close(fixture->queues[i].interrupt_fd);
	}
	event_loop_destroy(fixture->loop);
	guest_memory_destroy(&fixture->memory);
	pthread_mutex_destroy(&fixture->lock);
}

/* --- The event loop's part -------------------------------------------------------------------- */

/* One look at what is ready. */
static inline void turn(struct fixture *fixture)
{
	struct vhost_user *vhost = fixture->vhost;
	struct event_source *sources[] = {&vhost->connection, &vhost->channel, &vhost->timer};

	for (unsigned int i = 0; i < 3; i++) {
		struct pollfd at = {sources[i]->fd, POLLIN, 0};

		if (sources[i]->added && poll(&at, 1, i == 0) == 1)
			sources[i]->ready(sources[i], (uint32_t)at.revents);
	}
}

/* Until something has happened that is counted. */
static inline void await(struct fixture *fixture, const unsigned int *counter, unsigned int value)
{
	const uint64_t end = vhost_user_now_ms() + WAIT_MS;

	while (*counter < value) {
		turn(fixture);
		if (vhost_user_now_ms() > end)
			fail_msg("it has not happened; trouble: %s", fixture->vhost->trouble);
	}
}

/* Until there is no back end. */
static inline void await_hang_up(struct fixture *fixture)
{
	const uint64_t end = vhost_user_now_ms() + WAIT_MS;

	while (fixture->vhost->connection.added) {
		turn(fixture);
		if (vhost_user_now_ms() > end)
			fail_msg("it is still there");
	}
}

/* Until everything that is to be said was said, and answered. */
static inline void await_silence(struct fixture *fixture)
{
	const uint64_t end = vhost_user_now_ms() + WAIT_MS;

	while (fixture->vhost->script) {
		turn(fixture);
		if (vhost_user_now_ms() > end)
			fail_msg("it goes on talking");
	}
}

static inline struct back_end good_back_end(void)
{
	return (struct back_end){.features = FEATURES,
		.protocol_features = ALL_PROTOCOL_FEATURES,
		.n_queues = RINGS};
}

static inline void plug(struct fixture *fixture, struct back_end *back_end)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	back_end_start(back_end, ends[1]);
	assert_int_equal(vhost_user_take(fixture->vhost, ends[0]), 0);
}

static inline void start(struct fixture *fixture)
{
	vhost_user_start(fixture->vhost, BIT(VIRTIO_F_VERSION_1) | BIT(29) | BIT(5),
		fixture->queues, RINGS, 1500);
}

static inline unsigned int open_descriptors(void)
{
	unsigned int n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

#endif
