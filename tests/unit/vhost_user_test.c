/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front end: what it tells a back end, and what it does with one that answers
 * wrongly, or not at all, at each message.
 */
#include <sys/resource.h>
#include <sys/un.h>

#include "hv/vhost_user.h"
#include "tests/unit/vhost_user_fixture.h"

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

/* What is wrong at the end, another ring's base included: the rings are given up all the same. */
static void test_faults_at_the_stop(void **state)
{
	static const enum vhost_user_request at[] = {
		VHOST_USER_GET_VRING_BASE, VHOST_USER_RESET_DEVICE};

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		for (enum back_end_fault fault = FAULT_LEAVES; fault < FAULT_TWICE; fault++) {
			struct back_end bad = good_back_end(), good = good_back_end();
			struct fixture fixture;

			bad.fault_at = at[i];
			bad.fault = fault;
			fixture_open(&fixture, VHOST_USER_EXACT);
			plug(&fixture, &bad);
			start(&fixture);
			await(&fixture, &fixture.started, 1);
			vhost_user_stop(fixture.vhost);
			assert_false(fixture.vhost->connection.added);
			assert_false(fixture.vhost->told);
			assert_int_equal(fixture.left, 1);
			if (at[i] == VHOST_USER_GET_VRING_BASE && fault == FAULT_REFUSES)
				assert_non_null(strstr(fixture.vhost->trouble,
					"was asked to stop ring 0 and stopped ring 1"));
			plug(&fixture, &good);
			start(&fixture);
			await(&fixture, &fixture.started, 2);
			assert_int_equal(fixture.again, 0);
			fixture_close(&fixture);
			back_end_join(&bad);
			back_end_join(&good);
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
		be_impatient(&fixture);
		plug(&fixture, &bad);
		start(&fixture);
		await_hang_up(&fixture);
		snprintf(name, sizeof(name), "it has not answered %s within %d ms",
			vhost_user_request_name(asked[i]), SILENT_MS);
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
		be_impatient(&fixture);
		plug(&fixture, &bad);
		await(&fixture, &fixture.met, 1);
		start(&fixture);
		for (unsigned int n = 0; n < 50; n++)
			turn(&fixture);
		begin = vhost_user_now_ms();
		vhost_user_stop(fixture.vhost);
		assert_in_range(vhost_user_now_ms() - begin, 0, 20 * SILENT_MS);
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

/* A listener of the front end's, and somebody who has connected to it: his end. */
static int knock(struct fixture *fixture)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t bytes = sizeof(address.sun_family);
	struct event_source *listener = &fixture->vhost->listener;
	int knocking = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* In the abstract namespace, by a name of the kernel's. */
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener->fd, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(listener->fd, 1), 0);
	bytes = sizeof(address);
	assert_int_equal(getsockname(listener->fd, (struct sockaddr *)&address, &bytes), 0);
	assert_int_equal(connect(knocking, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(event_loop_add(fixture->loop, listener, EPOLLIN), 0);
	return knocking;
}

/* Who cannot be let in is not looked at again at once, and is let in when he can be. */
static void test_no_descriptor_for_a_back_end(void **state)
{
	struct fixture fixture;
	struct rlimit limit, none;
	struct event_source *listener;
	int knocking;

	(void)state;
	fixture_open(&fixture, VHOST_USER_MAY_LOSE);
	listener = &fixture.vhost->listener;
	knocking = knock(&fixture);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	listener->ready(listener, EPOLLIN);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_false(listener->added);
	assert_false(fixture.vhost->connection.added);
	assert_non_null(strstr(fixture.vhost->trouble, "cannot be let in: Too many open files"));
	for (unsigned int i = 0; !listener->added && i < WAIT_MS; i++) {
		turn(&fixture);
		poll(NULL, 0, 1);
	}
	assert_true(listener->added);
	listener->ready(listener, EPOLLIN);
	assert_true(fixture.vhost->connection.added);
	close(knocking);
	fixture_close(&fixture);
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
		cmocka_unit_test(test_faults_at_the_stop),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_stop_is_bounded),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_descriptor_for_a_back_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
