/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user front end when back ends come and go: where the next one begins in the rings, and
 * what is said while one is there.
 */
#include "hv/vhost_user.h"
#include "tests/unit/vhost_user_fixture.h"

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

/* One that went before all was said may have worked the rings already. */
static void test_gone_before_all_was_said(void **state)
{
	struct back_end first = good_back_end(), second = good_back_end();
	struct fixture fixture;

	(void)state;
	first.fault_at = VHOST_USER_SET_VRING_ENABLE;
	first.fault = FAULT_LEAVES;
	fixture_open(&fixture, VHOST_USER_MAY_LOSE);
	plug(&fixture, &first);
	start(&fixture);
	await_hang_up(&fixture);
	set_ring(&fixture, 0, 3, 2);
	back_end_join(&first);
	plug(&fixture, &second);
	await(&fixture, &fixture.started, 1);
	assert_int_equal(fixture.again, 1);
	assert_int_equal(base_told(&second, 0), 2);
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
		cmocka_unit_test(test_next_back_end),
		cmocka_unit_test(test_gone_before_all_was_said),
		cmocka_unit_test(test_requests_in_flight),
		cmocka_unit_test(test_no_account),
		cmocka_unit_test(test_back_end_without_driver),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_channel_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
