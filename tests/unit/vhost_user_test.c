/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front end: what it tells a back end, and what it does with one that answers
 * wrongly, not at all, or goes away, at each message.
 */
#include "tests/unit/vhost_user_back_end.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "hv/vhost_user.h"
#include "hv/vhost_user_private.h"

/* A descriptor's number, for what is found open in the end. */
enum { RINGS = 4, SIZE = 64, MEMORY = 4 << 20, REPLY_MS = 60, STOP_MS = 60, WAIT_MS = 10000 };

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

static int met(void *owner, struct hv_error *error)
{
	struct fixture *fixture = owner;

	if (fixture->refuse)
		return hv_fail(error, EPROTO, "the test wants none");
	fixture->met++;
	return 0;
}

static void started(void *owner, bool again)
{
	struct fixture *fixture = owner;

	fixture->started++;
	fixture->again += again;
}

static void left(void *owner)
{
	((struct fixture *)owner)->left++;
}

static void config_changed(void *owner)
{
	((struct fixture *)owner)->config_changes++;
}

static void failed(void *owner, const char *reason)
{
	assert_non_null(strstr(reason, "INFLIGHT_SHMFD"));
	((struct fixture *)owner)->failed++;
}

static const struct vhost_user_events events = {met, started, left, config_changed, failed};

static void open_queues(struct fixture *fixture)
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

static void fixture_open(struct fixture *fixture, enum vhost_user_care care)
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
		.reply_ms = REPLY_MS,
		.stop_ms = STOP_MS,
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

static void fixture_close(struct fixture *fixture)
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
static void turn(struct fixture *fixture)
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
static void await(struct fixture *fixture, const unsigned int *counter, unsigned int value)
{
	const uint64_t end = vhost_user_now_ms() + WAIT_MS;

	while (*counter < value) {
		turn(fixture);
		if (vhost_user_now_ms() > end)
			fail_msg("it has not happened; trouble: %s", fixture->vhost->trouble);
	}
}

/* Until there is no back end. */
static void await_hang_up(struct fixture *fixture)
{
	const uint64_t end = vhost_user_now_ms() + WAIT_MS;

	while (fixture->vhost->connection.added) {
		turn(fixture);
		if (vhost_user_now_ms() > end)
			fail_msg("it is still there");
	}
}

/* Until everything that is to be said was said, and answered. */
static void await_silence(struct fixture *fixture)
{
	const uint64_t end = vhost_user_now_ms() + WAIT_MS;

	while (fixture->vhost->script) {
		turn(fixture);
		if (vhost_user_now_ms() > end)
			fail_msg("it goes on talking");
	}
}

static struct back_end good_back_end(void)
{
	return (struct back_end){.features = FEATURES,
		.protocol_features = ALL_PROTOCOL_FEATURES,
		.n_queues = RINGS};
}

static void plug(struct fixture *fixture, struct back_end *back_end)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	back_end_start(back_end, ends[1]);
	assert_int_equal(vhost_user_take(fixture->vhost, ends[0]), 0);
}

static void start(struct fixture *fixture)
{
	vhost_user_start(fixture->vhost, BIT(VIRTIO_F_VERSION_1) | BIT(29) | BIT(5),
		fixture->queues, RINGS, 1500);
}

static unsigned int open_descriptors(void)
{
	unsigned int n = 0;

	for (int i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

/* --- The conversation ------------------------------------------------------------------------- */

static void test_order_of_messages(void **state)
{
	static const enum vhost_user_request order[] = {
		VHOST_USER_GET_FEATURES,
		VHOST_USER_GET_PROTOCOL_FEATURES,
		VHOST_USER_SET_PROTOCOL_FEATURES,
		VHOST_USER_SET_OWNER,
		VHOST_USER_GET_QUEUE_NUM,
		VHOST_USER_SET_BACKEND_REQ_FD,
		VHOST_USER_GET_CONFIG,
		VHOST_USER_SET_STATUS,
		VHOST_USER_SET_FEATURES,
		VHOST_USER_SET_STATUS,
		VHOST_USER_GET_STATUS,
		VHOST_USER_SET_MEM_TABLE,
		VHOST_USER_NET_SET_MTU,
		VHOST_USER_GET_INFLIGHT_FD,
		VHOST_USER_SET_INFLIGHT_FD,
	};
	struct back_end back_end = good_back_end();
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, VHOST_USER_EXACT);
	plug(&fixture, &back_end);
	start(&fixture);
	await(&fixture, &fixture.started, 1);
	for (unsigned int i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		assert_int_equal(back_end.heard[i].message.request, order[i]);
	for (unsigned int ring = 0; ring < RINGS; ring++) {
		assert_int_equal(back_end_heard(&back_end, VHOST_USER_SET_VRING_NUM, (int)ring)
					 ->message.payload.state.number,
			SIZE);
		assert_int_equal(back_end_heard(&back_end, VHOST_USER_SET_VRING_BASE, (int)ring)
					 ->message.payload.state.number,
			0);
		assert_int_equal(back_end_heard(&back_end, VHOST_USER_SET_VRING_KICK, (int)ring)
					 ->n_descriptors,
			1);
		assert_int_equal(back_end_heard(&back_end, VHOST_USER_SET_VRING_ENABLE, (int)ring)
					 ->message.payload.state.number,
			1);
	}
	assert_int_equal(back_end.status, 15);
	assert_int_equal(fixture.met, 1);
	assert_int_equal(fixture.again, 0);
	fixture_close(&fixture);
	back_end_join(&back_end);
}

/* Features of both, and what is asked for by the protocol; addresses are the guest's. */
static void test_what_is_told(void **state)
{
	struct back_end back_end = good_back_end();
	const struct back_end_message *heard;
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, VHOST_USER_EXACT);
	plug(&fixture, &back_end);
	start(&fixture);
	await(&fixture, &fixture.started, 1);
	heard = back_end_heard(&back_end, VHOST_USER_SET_FEATURES, -1);
	assert_int_equal(heard->message.payload.value,
		BIT(VIRTIO_F_VERSION_1) | BIT(29) | VHOST_USER_F_PROTOCOL_FEATURES);
	heard = back_end_heard(&back_end, VHOST_USER_SET_PROTOCOL_FEATURES, -1);
	assert_int_equal(heard->message.payload.value, ALL_PROTOCOL_FEATURES);
	heard = back_end_heard(&back_end, VHOST_USER_SET_MEM_TABLE, -1);
	assert_int_equal(heard->n_descriptors, 1);
	assert_int_equal(heard->message.bytes, 8 + 32);
	assert_int_equal(heard->message.payload.memory.n, 1);
	assert_int_equal(heard->message.payload.memory.regions[0].bytes, MEMORY);
	assert_int_equal(heard->message.payload.memory.regions[0].guest_address,
		heard->message.payload.memory.regions[0].user_address);
	heard = back_end_heard(&back_end, VHOST_USER_SET_VRING_ADDR, 2);
	assert_int_equal(heard->message.payload.address.descriptors, fixture.queues[2].descriptors);
	assert_int_equal(heard->message.payload.address.available, fixture.queues[2].available);
	assert_int_equal(heard->message.payload.address.used, fixture.queues[2].used);
	heard = back_end_heard(&back_end, VHOST_USER_NET_SET_MTU, -1);
	assert_int_equal(heard->message.payload.value, 1500);
	fixture_close(&fixture);
	back_end_join(&back_end);
}

/* A back end of the first days: no protocol features, no acknowledgements, no enabling. */
static void test_old_back_end(void **state)
{
	struct back_end back_end = {.features = BIT(VIRTIO_F_VERSION_1) | BIT(29)};
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, VHOST_USER_MAY_LOSE);
	plug(&fixture, &back_end);
	start(&fixture);
	await(&fixture, &fixture.started, 1);
	assert_null(back_end_heard(&back_end, VHOST_USER_GET_PROTOCOL_FEATURES, -1));
	vhost_user_stop(fixture.vhost);
	assert_int_equal(back_end_times(&back_end, VHOST_USER_GET_VRING_BASE), RINGS);
	assert_int_equal(back_end_times(&back_end, VHOST_USER_SET_VRING_KICK), RINGS);
	assert_null(back_end_heard(&back_end, VHOST_USER_SET_VRING_ENABLE, -1));
	assert_null(back_end_heard(&back_end, VHOST_USER_SET_STATUS, -1));
	fixture_close(&fixture);
	back_end_join(&back_end);
}

/* Rings that the driver did not set up are not spoken of; those that are to rest are told so. */
static void test_some_rings(void **state)
{
	struct back_end back_end = good_back_end();
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, VHOST_USER_MAY_LOSE);
	fixture.queues[1].enabled = false;
	vhost_user_enable(fixture.vhost, 2, false);
	plug(&fixture, &back_end);
	start(&fixture);
	await(&fixture, &fixture.started, 1);
	await_silence(&fixture);
	assert_null(back_end_heard(&back_end, VHOST_USER_SET_VRING_NUM, 1));
	assert_int_equal(back_end_heard(&back_end, VHOST_USER_SET_VRING_ENABLE, 2)
				 ->message.payload.state.number,
		0);
	vhost_user_enable(fixture.vhost, 2, true);
	vhost_user_enable(fixture.vhost, 3, false);
	vhost_user_enable(fixture.vhost, 1, false);
	await_silence(&fixture);
	assert_int_equal(back_end_heard(&back_end, VHOST_USER_SET_VRING_ENABLE, 2)
				 ->message.payload.state.number,
		1);
	assert_int_equal(back_end_heard(&back_end, VHOST_USER_SET_VRING_ENABLE, 3)
				 ->message.payload.state.number,
		0);
	assert_null(back_end_heard(&back_end, VHOST_USER_SET_VRING_ENABLE, 1));
	fixture_close(&fixture);
	back_end_join(&back_end);
}

static void test_stop_and_start(void **state)
{
	struct back_end back_end = good_back_end();
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, VHOST_USER_EXACT);
	plug(&fixture, &back_end);
	for (unsigned int round = 1; round <= 3; round++) {
		start(&fixture);
		await(&fixture, &fixture.started, round);
		vhost_user_stop(fixture.vhost);
		assert_int_equal(
			back_end_times(&back_end, VHOST_USER_GET_VRING_BASE), RINGS * round);
		assert_int_equal(back_end_times(&back_end, VHOST_USER_RESET_DEVICE), round);
		/* Each start is a first one: another account of what is in flight. */
		assert_int_equal(back_end_times(&back_end, VHOST_USER_GET_INFLIGHT_FD), round);
	}
	assert_int_equal(fixture.again, 0);
	assert_int_equal(fixture.met, 1);
	fixture_close(&fixture);
	back_end_join(&back_end);
}

/* The driver resets the device while the back end is being told of it, at each message. */
static void test_stop_in_between(void **state)
{
	(void)state;
	for (unsigned int turns = 0; turns < 40; turns++) {
		struct back_end back_end = good_back_end();
		struct fixture fixture;

		fixture_open(&fixture, VHOST_USER_EXACT);
		plug(&fixture, &back_end);
		start(&fixture);
		for (unsigned int i = 0; i < turns; i++)
			turn(&fixture);
		vhost_user_stop(fixture.vhost);
		assert_int_equal(fixture.left, 0);
		start(&fixture);
		await(&fixture, &fixture.started, 1);
		fixture_close(&fixture);
		back_end_join(&back_end);
	}
}

/* --- Wrong answers ---------------------------------------------------------------------------- */

static const enum vhost_user_request asked[] = {
	VHOST_USER_GET_FEATURES,
	VHOST_USER_GET_PROTOCOL_FEATURES,
	VHOST_USER_SET_OWNER,
	VHOST_USER_GET_QUEUE_NUM,
	VHOST_USER_SET_BACKEND_REQ_FD,
	VHOST_USER_GET_CONFIG,
	VHOST_USER_SET_FEATURES,
	VHOST_USER_SET_STATUS,
	VHOST_USER_GET_STATUS,
	VHOST_USER_SET_MEM_TABLE,
	VHOST_USER_NET_SET_MTU,
	VHOST_USER_GET_INFLIGHT_FD,
	VHOST_USER_SET_INFLIGHT_FD,
	VHOST_USER_SET_VRING_NUM,
	VHOST_USER_SET_VRING_BASE,
	VHOST_USER_SET_VRING_ADDR,
	VHOST_USER_SET_VRING_CALL,
	VHOST_USER_SET_VRING_KICK,
	VHOST_USER_SET_VRING_ENABLE,
};

enum { ASKED = sizeof(asked) / sizeof(asked[0]) };

/* "No" is a right answer to what is no yes or no. */
static bool is_wrong(enum vhost_user_request request, enum back_end_fault fault)
{
	return fault != FAULT_REFUSES || vhost_user_request_type(request)->answer_bytes == 0;
}

/* At each message, each fault: hung up with a sentence, and the next one works. */
static void test_faults(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ASKED; i++) {
		for (enum back_end_fault fault = FAULT_LEAVES; fault < FAULTS; fault++) {
			struct back_end bad = good_back_end(), good = good_back_end();
			unsigned int before = open_descriptors();
			struct fixture fixture;

			if (!is_wrong(asked[i], fault))
				continue;
			bad.fault_at = asked[i];
			bad.fault = fault;
			fixture_open(&fixture, VHOST_USER_EXACT);
			plug(&fixture, &bad);
			start(&fixture);
			await_hang_up(&fixture);
			if (fixture.vhost->trouble[0] == '\0')
				fail_msg("no sentence for fault %u at %s", fault,
					vhost_user_request_name(asked[i]));
			back_end_join(&bad);
			plug(&fixture, &good);
			await(&fixture, &fixture.started, 1);
			assert_int_equal(fixture.left + 1, fixture.met);
			fixture_close(&fixture);
			back_end_join(&good);
			assert_int_equal(open_descriptors(), before);
		}
	}
}

/* Who does not answer is given time, and then hung up on. */
static void test_silence(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ASKED; i++) {
		struct back_end bad = good_back_end();
		struct fixture fixture;
		char name[64];

		bad.fault_at = asked[i];
		bad.fault = FAULT_SILENT;
		fixture_open(&fixture, VHOST_USER_EXACT);
		plug(&fixture, &bad);
		start(&fixture);
		await_hang_up(&fixture);
		snprintf(name, sizeof(name), "it has not answered %s within %d ms",
			vhost_user_request_name(asked[i]), REPLY_MS);
		assert_non_null(strstr(fixture.vhost->trouble, name));
		assert_int_equal(fixture.vhost->timeouts, 1);
		fixture_close(&fixture);
		back_end_join(&bad);
	}
}

/* A driver that resets its device gets it back, whatever the back end does. */
static void test_stop_is_bounded(void **state)
{
	static const enum vhost_user_request at[] = {VHOST_USER_GET_VRING_BASE,
		VHOST_USER_RESET_DEVICE, VHOST_USER_SET_FEATURES, VHOST_USER_SET_VRING_KICK};

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		struct back_end bad = good_back_end();
		struct fixture fixture;
		uint64_t begin;

		bad.fault_at = at[i];
		bad.fault = FAULT_SILENT;
		fixture_open(&fixture, VHOST_USER_EXACT);
		plug(&fixture, &bad);
		await(&fixture, &fixture.met, 1);
		start(&fixture);
		for (unsigned int n = 0; n < 50; n++)
			turn(&fixture);
		begin = vhost_user_now_ms();
		vhost_user_stop(fixture.vhost);
		assert_in_range(vhost_user_now_ms() - begin, 0, 20 * STOP_MS);
		assert_int_equal(fixture.left, 1);
		assert_false(fixture.vhost->told);
		fixture_close(&fixture);
		back_end_join(&bad);
	}
}

static void test_refusals(void **state)
{
	struct back_end back_end = good_back_end(), lacking = good_back_end(),
			strange = good_back_end();
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, VHOST_USER_MAY_LOSE);
	fixture.refuse = true;
	plug(&fixture, &back_end);
	await_hang_up(&fixture);
	assert_non_null(strstr(fixture.vhost->trouble, "the test wants none"));
	back_end_join(&back_end);
	/* What the driver has accepted in the meantime. */
	fixture.refuse = false;
	lacking.features &= ~BIT(29);
	start(&fixture);
	plug(&fixture, &lacking);
	await_hang_up(&fixture);
	assert_non_null(strstr(fixture.vhost->trouble, "lacks virtio features 0x20000000"));
	assert_int_equal(fixture.met, 0);
	assert_int_equal(fixture.vhost->refusals, 2);
	back_end_join(&lacking);
	/* It does not stand by the features that it has offered. */
	strange.fault_at = VHOST_USER_SET_STATUS;
	strange.fault = FAULT_REFUSES;
	plug(&fixture, &strange);
	await_hang_up(&fixture);
	assert_non_null(strstr(fixture.vhost->trouble, "refused SET_STATUS"));
	back_end_join(&strange);
	fixture_close(&fixture);
}

/* --- Back ends come and go -------------------------------------------------------------------- */

static void set_ring(struct fixture *fixture, unsigned int ring, uint16_t available, uint16_t used)
{
	guest_memory_write(&fixture->memory, fixture->queues[ring].available + 2, &available, 2);
	guest_memory_write(&fixture->memory, fixture->queues[ring].used + 2, &used, 2);
}

/* Entry `at` of both rings. */
static void set_entry(
	struct fixture *fixture, unsigned int ring, uint16_t at, uint16_t available, uint32_t used)
{
	const struct virtio_queue *queue = &fixture->queues[ring];

	guest_memory_write(&fixture->memory, queue->available + 4 + (at % SIZE) * 2, &available, 2);
	guest_memory_write(&fixture->memory, queue->used + 4 + (at % SIZE) * 8, &used, 4);
}

static uint32_t base_told(struct back_end *back_end, int ring)
{
	return back_end_heard(back_end, VHOST_USER_SET_VRING_BASE, ring)
		->message.payload.state.number;
}

/* A network: the next one begins behind what is finished, and is woken; so is the driver. */
static void test_next_back_end(void **state)
{
	struct back_end first = good_back_end(), second = good_back_end();
	struct fixture fixture;
	eventfd_t count;

	(void)state;
	fixture_open(&fixture, VHOST_USER_MAY_LOSE);
	plug(&fixture, &first);
	start(&fixture);
	await(&fixture, &fixture.started, 1);
	set_ring(&fixture, 0, 70, 40);
	set_ring(&fixture, 3, 5, 65535);
	while (eventfd_read(fixture.queues[0].notify_fd, &count) == 0)
		;
	assert_int_equal(eventfd_read(fixture.queues[0].interrupt_fd, &count), -1);
	back_end_join(&first);
	await(&fixture, &fixture.left, 1);
	plug(&fixture, &second);
	await(&fixture, &fixture.started, 2);
	assert_int_equal(fixture.again, 1);
	assert_int_equal(base_told(&second, 0), 40);
	assert_int_equal(base_told(&second, 1), 0);
	assert_int_equal(base_told(&second, 3), 65535);
	assert_int_equal(eventfd_read(fixture.queues[0].notify_fd, &count), 0);
	assert_int_equal(eventfd_read(fixture.queues[0].interrupt_fd, &count), 0);
	/* A driver that starts anew begins at the beginning. */
	vhost_user_stop(fixture.vhost);
	start(&fixture);
	await(&fixture, &fixture.started, 3);
	assert_int_equal(fixture.again, 1);
	assert_int_equal(base_told(&second, 0), 0);
	fixture_close(&fixture);
	back_end_join(&second);
}

/* A disk whose back end keeps account: the next one is given it. */
static void test_requests_in_flight(void **state)
{
	struct back_end first = good_back_end(), second = good_back_end();
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, VHOST_USER_EXACT);
	plug(&fixture, &first);
	start(&fixture);
	await(&fixture, &fixture.started, 1);
	set_ring(&fixture, 0, 9, 4);
	set_entry(&fixture, 0, 2, 1, 2);
	back_end_join(&first);
	await(&fixture, &fixture.left, 1);
	plug(&fixture, &second);
	await(&fixture, &fixture.started, 2);
	assert_int_equal(back_end_times(&second, VHOST_USER_GET_INFLIGHT_FD), 0);
	assert_int_equal(back_end_heard(&second, VHOST_USER_SET_INFLIGHT_FD, -1)->n_descriptors, 1);
	assert_int_equal(back_end_heard(&second, VHOST_USER_SET_INFLIGHT_FD, -1)
				 ->message.payload.inflight.n_queues,
		RINGS);
	assert_int_equal(base_told(&second, 0), 4);
	assert_int_equal(fixture.failed, 0);
	fixture_close(&fixture);
	back_end_join(&second);
}

/* And one that keeps none: taken over if the rings prove it, else failed until the driver resets.
 */
static void test_no_account(void **state)
{
	static const struct {
		uint16_t available, used, swapped;
		bool provable;
	} cases[] = {
		{100, 100, 98, true}, /* Nothing was in flight. */
		{100, 97, 0, true},   /* In order. */
		{100, 97, 95, false}, /* The last two the other way round. */
		{100, 35, 0, false},  /* More than the ring holds. */
		{3, 65533, 0, true},  /* Over the index's end. */
		{3, 65533, 65530, false},
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct back_end first = good_back_end(), second = good_back_end();
		const uint16_t last = cases[i].available, swapped = cases[i].swapped;
		struct fixture fixture;

		first.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_INFLIGHT_SHMFD);
		second.protocol_features &= ~BIT(VHOST_USER_PROTOCOL_INFLIGHT_SHMFD);
		fixture_open(&fixture, VHOST_USER_EXACT);
		plug(&fixture, &first);
		start(&fixture);
		await(&fixture, &fixture.started, 1);
		for (uint16_t at = (uint16_t)(last - SIZE); at != last; at++)
			set_entry(&fixture, 1, at, at % SIZE, at % SIZE);
		if (swapped != 0) {
			set_entry(&fixture, 1, swapped, swapped % SIZE, (swapped + 1) % SIZE);
			set_entry(&fixture, 1, (uint16_t)(swapped + 1), (swapped + 1) % SIZE,
				swapped % SIZE);
		}
		set_ring(&fixture, 1, last, cases[i].used);
		back_end_join(&first);
		await(&fixture, &fixture.left, 1);
		plug(&fixture, &second);
		if (cases[i].provable) {
			await(&fixture, &fixture.started, 2);
			assert_int_equal(base_told(&second, 1), cases[i].used);
		} else {
			await(&fixture, &fixture.failed, 1);
			assert_int_equal(fixture.started, 1);
			vhost_user_stop(fixture.vhost);
			start(&fixture);
			await(&fixture, &fixture.started, 2);
			assert_int_equal(base_told(&second, 1), 0);
		}
		fixture_close(&fixture);
		back_end_join(&second);
	}
}

static void test_back_end_without_driver(void **state)
{
	struct back_end back_end = good_back_end();
	struct fixture fixture;
	int ends[2];

	(void)state;
	fixture_open(&fixture, VHOST_USER_MAY_LOSE);
	vhost_user_stop(fixture.vhost);
	plug(&fixture, &back_end);
	await(&fixture, &fixture.met, 1);
	await_silence(&fixture);
	assert_null(back_end_heard(&back_end, VHOST_USER_SET_MEM_TABLE, -1));
	/* There is one already. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(vhost_user_take(fixture.vhost, ends[0]), -EBUSY);
	close(ends[0]);
	close(ends[1]);
	back_end_join(&back_end);
	await(&fixture, &fixture.left, 1);
	fixture_close(&fixture);
}

/* --- What is said meanwhile ------------------------------------------------------------------- */

static void tell_of_change(struct back_end *back_end, uint32_t request, bool wants_answer)
{
	const struct vhost_user_message message = {
		.request = request,
		.flags = VHOST_USER_VERSION | (wants_answer ? VHOST_USER_NEED_REPLY : 0),
	};

	assert_int_equal(send(back_end->channel, &message, VHOST_USER_HEADER_BYTES, 0),
		VHOST_USER_HEADER_BYTES);
}

static uint64_t answer_on_channel(struct fixture *fixture, struct back_end *back_end)
{
	struct vhost_user_reader reader = {.have = 0};
	const uint64_t end = vhost_user_now_ms() + WAIT_MS;

	while (vhost_user_message_receive(back_end->channel, &reader, NULL) == 0) {
		turn(fixture);
		assert_true(vhost_user_now_ms() < end);
	}
	assert_int_equal(reader.message.bytes, 8);
	return reader.message.payload.value;
}

static void test_configuration(void **state)
{
	const uint8_t mode[] = {1}, mac[6] = {2, 1, 2, 3, 4, 5};
	struct back_end back_end = good_back_end();
	struct vhost_user_facts facts;
	struct fixture fixture;

	(void)state;
	back_end.config[3] = 77;
	fixture_open(&fixture, VHOST_USER_EXACT);
	assert_int_equal(vhost_user_write_config(fixture.vhost, 1, mode, 1), -ENOTCONN);
	plug(&fixture, &back_end);
	start(&fixture);
	await(&fixture, &fixture.started, 1);
	vhost_user_facts(fixture.vhost, &facts);
	assert_int_equal(facts.config[3], 77);
	assert_int_equal(fixture.config_changes, 0);
	back_end.config[3] = 78;
	tell_of_change(&back_end, VHOST_USER_BACK_END_CONFIG_CHANGED, false);
	await(&fixture, &fixture.config_changes, 1);
	assert_int_equal(facts.config[3], 78);
	/* That nothing has changed is no news. */
	tell_of_change(&back_end, VHOST_USER_BACK_END_CONFIG_CHANGED, true);
	assert_int_equal(answer_on_channel(&fixture, &back_end), 0);
	await_silence(&fixture);
	assert_int_equal(fixture.config_changes, 1);
	tell_of_change(&back_end, 3, true);
	assert_int_equal(answer_on_channel(&fixture, &back_end), 1);
	assert_int_equal(vhost_user_write_config(fixture.vhost, 16, mode, 1), -EINVAL);
	assert_int_equal(vhost_user_write_config(fixture.vhost, 15, mode, 1), 0);
	vhost_user_announce(fixture.vhost, mac);
	await_silence(&fixture);
	assert_int_equal(
		back_end_heard(&back_end, VHOST_USER_SET_CONFIG, -1)->message.payload.config.offset,
		15);
	assert_int_equal(back_end_heard(&back_end, VHOST_USER_SEND_RARP, -1)->message.payload.value,
		UINT64_C(0x050403020102));
	fixture_close(&fixture);
	back_end_join(&back_end);
}

/* A channel that goes, or brings nonsense, costs the channel. */
static void test_channel_goes(void **state)
{
	struct back_end back_end = good_back_end();
	struct vhost_user_message message = {.request = 2, .flags = 1, .bytes = 100000};
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, VHOST_USER_EXACT);
	plug(&fixture, &back_end);
	start(&fixture);
	await(&fixture, &fixture.started, 1);
	assert_true(send(back_end.channel, &message, VHOST_USER_HEADER_BYTES, 0) > 0);
	for (unsigned int i = 0; i < 10; i++)
		turn(&fixture);
	assert_false(fixture.vhost->channel.added);
	assert_true(fixture.vhost->running);
	fixture_close(&fixture);
	back_end_join(&back_end);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_of_messages),
		cmocka_unit_test(test_what_is_told),
		cmocka_unit_test(test_old_back_end),
		cmocka_unit_test(test_some_rings),
		cmocka_unit_test(test_stop_and_start),
		cmocka_unit_test(test_stop_in_between),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_stop_is_bounded),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_next_back_end),
		cmocka_unit_test(test_requests_in_flight),
		cmocka_unit_test(test_no_account),
		cmocka_unit_test(test_back_end_without_driver),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_channel_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
