/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtqueue and a driver that it cannot trust: by the sections of virtio 1.2, 2.7, what an honest
 * driver may do and is served, and what a dishonest one may try and breaks the queue with.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/virtio_queue.h"
#include "tests/unit/virtio_driver.h"

enum {
	MEMORY = 2 << 20,
	DESCRIPTORS = 0x1000,
	AVAILABLE = 0x2000,
	USED = 0x3000,
	TABLE = 0x4000, /* An indirect one. */
	DATA = 0x10000,
	SIZE = 8,
};

struct fixture {
	struct guest_memory memory;
	struct virtio_queue queue;
	struct driver_ring driver;
	struct virtio_chain chain;
};

static int set_up(void **state)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	if (guest_memory_create(&fixture.memory, MEMORY, GUEST_PAGES_SMALL, NULL) != 0)
		return -1;
	fixture.queue = (struct virtio_queue){
		.memory = &fixture.memory,
		.size = SIZE,
		.descriptors = DESCRIPTORS,
		.available = AVAILABLE,
		.used = USED,
		.enabled = true,
		.notify_fd = eventfd(0, EFD_NONBLOCK),
		.interrupt_fd = eventfd(0, EFD_NONBLOCK),
	};
	fixture.driver = (struct driver_ring){
		.memory = &fixture.memory,
		.descriptors = DESCRIPTORS,
		.available = AVAILABLE,
		.used = USED,
		.size = SIZE,
	};
	*state = &fixture;
	return virtio_queue_start(&fixture.queue) ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	close(fixture->queue.notify_fd);
	close(fixture->queue.interrupt_fd);
	guest_memory_destroy(&fixture->memory);
	return 0;
}

/* How often the driver was interrupted since it was asked last. */
static unsigned int interrupts(struct fixture *fixture)
{
	eventfd_t count = 0;

	return eventfd_read(fixture->queue.interrupt_fd, &count) == 0 ? (unsigned int)count : 0;
}

/* --- 2.7: where rings may be ----------------------------------------------------------------- */

struct place {
	const char *name;
	uint16_t size;
	uint64_t descriptors, available, used;
	bool good;
};

static const struct place places[] = {
	{"as a driver would", 8, 0x1000, 0x2000, 0x3000, true},
	{"the smallest", 1, 0x10, 0x2, 0x24, true},
	{"the largest", 1024, 0, 0x4000, 0x5000, true},
	{"all in one place", 8, 0x1000, 0x1000, 0x1000, true},
	{"up to memory's end", 8, MEMORY - 128, 0x2000, MEMORY - 72, true},
	{"no descriptors", 0, 0x1000, 0x2000, 0x3000, false},
	{"no power of two", 12, 0x1000, 0x2000, 0x3000, false},
	{"larger than offered", 2048, 0x1000, 0x2000, 0x3000, false},
	{"largest number", 65535, 0x1000, 0x2000, 0x3000, false},
	{"descriptors askew", 8, 0x1008, 0x2000, 0x3000, false},
	{"available ring askew", 8, 0x1000, 0x2001, 0x3000, false},
	{"used ring askew", 8, 0x1000, 0x2000, 0x3002, false},
	{"descriptors behind memory", 8, MEMORY, 0x2000, 0x3000, false},
	{"descriptors across memory's end", 8, MEMORY - 112, 0x2000, 0x3000, false},
	{"available ring across memory's end", 8, 0x1000, MEMORY - 20, 0x3000, false},
	{"used ring across memory's end", 8, 0x1000, 0x2000, MEMORY - 68, false},
	{"descriptors at the end of numbers", 8, UINT64_MAX - 15, 0x2000, 0x3000, false},
	{"available ring at the end of numbers", 8, 0x1000, UINT64_MAX - 1, 0x3000, false},
	{"used ring in the hole", 8, 0x1000, 0x2000, 0xd0000000, false},
};

static void rings_lie_in_memory_and_are_aligned(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		const struct place *place = &places[i];
		struct virtio_queue *queue = &fixture->queue;

		queue->size = place->size;
		queue->descriptors = place->descriptors;
		queue->available = place->available;
		queue->used = place->used;
		if (virtio_queue_start(queue) != place->good)
			fail_msg("%s: %s", place->name, queue->error ? queue->error : "accepted");
		assert_int_equal(queue->error == NULL, place->good);
		if (!place->good)
			assert_int_equal(virtio_queue_pop(queue, &fixture->chain), -EBADMSG);
	}
}

/* --- 2.7.5: descriptors ---------------------------------------------------------------------- */

enum { N = DRIVER_NEXT, W = DRIVER_WRITE, I = DRIVER_INDIRECT };

struct chain_story {
	const char *name;
	struct driver_descriptor direct[SIZE], indirect[SIZE];
	uint16_t head;
	bool no_indirect;
	/* What comes of it: a rule that is broken, or so many buffers and bytes. */
	const char *rule;
	unsigned int n_readable, n_writable;
	uint64_t readable_bytes, writable_bytes;
};

static const struct chain_story chain_stories[] = {
	{"one readable buffer", {{DATA, 100, 0, 0}}, .n_readable = 1, .readable_bytes = 100},
	{"one writable buffer", {{DATA, 100, W, 0}}, .n_writable = 1, .writable_bytes = 100},
	{"a header, data, a status",
		{{DATA, 16, N, 3}, [3] = {DATA + 16, 512, N | W, 2}, [2] = {DATA + 600, 1, W, 0}},
		.n_readable = 1, .n_writable = 2, .readable_bytes = 16, .writable_bytes = 513},
	{"a chain that begins at the last descriptor", {{DATA, 1, 0, 0}, [7] = {DATA, 2, N, 0}},
		.head = 7, .n_readable = 2, .readable_bytes = 3},
	{"up to memory's end", {{MEMORY - 16, 16, 0, 0}}, .n_readable = 1, .readable_bytes = 16},
	{"an empty buffer is passed over", {{UINT64_MAX, 0, N, 1}, {DATA, 4, W, 0}},
		.n_writable = 1, .writable_bytes = 4},
	{"nothing at all", .n_readable = 0},
	{"all descriptors",
		{{DATA, 1, N, 1}, {DATA, 1, N, 2}, {DATA, 1, N, 3}, {DATA, 1, N, 4},
			{DATA, 1, N, 5}, {DATA, 1, N, 6}, {DATA, 1, N, 7}, {DATA, 1, 0, 0}},
		.n_readable = 8, .readable_bytes = 8},
	{"a loop", {{DATA, 1, N, 1}, {DATA, 1, N, 0}},
		.rule = "a chain is longer than the queue, or loops"},
	{"a loop of empty buffers", {{DATA, 0, N, 0}},
		.rule = "a chain is longer than the queue, or loops"},
	{"next outside of the table", {{DATA, 1, N, SIZE}},
		.rule = "a descriptor is outside of its table"},
	{"next far outside of the table", {{DATA, 1, N, 65535}},
		.rule = "a descriptor is outside of its table"},
	{"head outside of the table", {{0}}, .head = SIZE,
		.rule = "the available ring names a descriptor outside of the table"},
	{"a buffer behind memory", {{MEMORY, 1, 0, 0}}, .rule = "a buffer is not in memory"},
	{"a buffer across memory's end", {{MEMORY - 15, 16, W, 0}},
		.rule = "a buffer is not in memory"},
	{"a buffer that wraps", {{UINT64_MAX - 7, 16, 0, 0}}, .rule = "a buffer is not in memory"},
	{"a huge buffer", {{0, UINT32_MAX, 0, 0}}, .rule = "a buffer is not in memory"},
	{"a buffer in the hole", {{0xe0000000, 4, W, 0}}, .rule = "a buffer is not in memory"},
	{"readable after writable", {{DATA, 1, N | W, 1}, {DATA, 1, 0, 0}},
		.rule = "a readable buffer follows a writable one"},
	/* 2.7.5.3: indirect descriptors. */
	{"an indirect table", {{TABLE, 32, I, 0}}, {{DATA, 8, N, 1}, {DATA + 8, 8, W, 0}},
		.n_readable = 1, .n_writable = 1, .readable_bytes = 8, .writable_bytes = 8},
	{"the write flag of an indirect table says nothing", {{TABLE, 16, I | W, 0}},
		{{DATA, 8, 0, 0}}, .n_readable = 1, .readable_bytes = 8},
	{"an indirect table behind a buffer", {{DATA, 3, N, 5}, [5] = {TABLE, 16, I, 0}},
		{{DATA, 4, W, 0}}, .n_readable = 1, .n_writable = 1, .readable_bytes = 3,
		.writable_bytes = 4},
	{"an indirect table that was not negotiated", {{TABLE, 16, I, 0}}, {{DATA, 8, 0, 0}},
		.no_indirect = true, .rule = "an indirect table, which was not negotiated"},
	{"an empty indirect table", {{TABLE, 0, I, 0}},
		.rule = "an indirect table is not of whole descriptors"},
	{"an indirect table of a part", {{TABLE, 17, I, 0}},
		.rule = "an indirect table is not of whole descriptors"},
	{"an indirect table outside of memory", {{MEMORY - 16, 32, I, 0}},
		.rule = "an indirect table is not in memory"},
	{"an indirect table at the end of numbers", {{UINT64_MAX - 15, 16, I, 0}},
		.rule = "an indirect table is not in memory"},
	{"a huge indirect table", {{TABLE, UINT32_MAX - 15, I, 0}},
		.rule = "an indirect table is not in memory"},
	{"an indirect table in an indirect table", {{TABLE, 16, I, 0}}, {{TABLE, 16, I, 0}},
		.rule = "an indirect table names another one"},
	{"an indirect table with a next", {{TABLE, 16, I | N, 1}}, {{DATA, 8, 0, 0}},
		.rule = "an indirect table is followed by a descriptor"},
	{"next outside of an indirect table", {{TABLE, 16, I, 0}}, {{DATA, 8, N, 1}},
		.rule = "a descriptor is outside of its table"},
	{"a loop in an indirect table", {{TABLE, 32, I, 0}}, {{DATA, 8, N, 1}, {DATA, 8, N, 0}},
		.rule = "a chain is longer than the queue, or loops"},
	{"readable after writable, across tables", {{DATA, 1, N | W, 1}, {TABLE, 16, I, 0}},
		{{DATA, 8, 0, 0}}, .rule = "a readable buffer follows a writable one"},
};

static void tell_chain(struct fixture *fixture, const struct chain_story *story)
{
	struct virtio_queue *queue = &fixture->queue;
	const struct virtio_chain *chain = &fixture->chain;
	int popped;

	queue->indirect = !story->no_indirect;
	for (unsigned int i = 0; i < SIZE; i++) {
		driver_describe(&fixture->driver, DESCRIPTORS, i, &story->direct[i]);
		driver_describe(&fixture->driver, TABLE, i, &story->indirect[i]);
	}
	driver_offer(&fixture->driver, story->head);
	popped = virtio_queue_pop(queue, &fixture->chain);
	if (popped != (story->rule ? -EBADMSG : 1))
		fail_msg("%s: %d, %s", story->name, popped, queue->error ? queue->error : "fine");
	if (story->rule) {
		assert_string_equal(queue->error, story->rule);
		return;
	}
	assert_int_equal(chain->head, story->head);
	assert_int_equal(chain->n_readable, story->n_readable);
	assert_int_equal(chain->n_writable, story->n_writable);
	assert_int_equal(chain->readable_bytes, story->readable_bytes);
	assert_int_equal(chain->writable_bytes, story->writable_bytes);
}

static void chains_are_checked(void **state)
{
	for (size_t i = 0; i < sizeof(chain_stories) / sizeof(chain_stories[0]); i++) {
		assert_int_equal(tear_down(state), 0);
		assert_int_equal(set_up(state), 0);
		tell_chain(*state, &chain_stories[i]);
	}
}

/* More than VIRTIO_CHAIN_MAX buffers are in no chain, however large queue and table are. */
static void long_chains_are_refused(void **state)
{
	struct fixture *fixture = *state;
	struct driver_descriptor descriptor = {TABLE, (VIRTIO_CHAIN_MAX + 1) * 16, I, 0};

	fixture->queue.indirect = true;
	driver_describe(&fixture->driver, DESCRIPTORS, 0, &descriptor);
	for (unsigned int i = 0; i <= VIRTIO_CHAIN_MAX; i++) {
		descriptor = (struct driver_descriptor){DATA, 1, N, (uint16_t)(i + 1)};
		if (i == VIRTIO_CHAIN_MAX - 1)
			descriptor.flags = 0;
		driver_describe(&fixture->driver, TABLE, i, &descriptor);
	}
	driver_offer(&fixture->driver, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
	assert_int_equal(fixture->chain.n_readable, VIRTIO_CHAIN_MAX);
	descriptor = (struct driver_descriptor){DATA, 1, N, VIRTIO_CHAIN_MAX};
	driver_describe(&fixture->driver, TABLE, VIRTIO_CHAIN_MAX - 1, &descriptor);
	driver_offer(&fixture->driver, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), -EBADMSG);
}

/* --- 2.7.6: the available ring --------------------------------------------------------------- */

static void an_empty_queue_gives_nothing(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 0);
	fixture->queue.enabled = false;
	driver_offer_buffer(&fixture->driver, 0, DATA, 1, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 0);
}

static void an_index_that_is_too_far_ahead_breaks_the_queue(void **state)
{
	struct fixture *fixture = *state;

	driver_put16(&fixture->driver, AVAILABLE + 2, SIZE + 1);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), -EBADMSG);
	/* For good: though the index is right again. */
	driver_put16(&fixture->driver, AVAILABLE + 2, 1);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), -EBADMSG);
	virtio_queue_push(&fixture->queue, 0, 0);
	assert_int_equal(driver_used_index(&fixture->driver), 0);
	virtio_queue_signal(&fixture->queue);
	assert_int_equal(interrupts(fixture), 0);
	assert_false(virtio_queue_enable_notify(&fixture->queue));
	/* Until it is set up anew. */
	assert_true(virtio_queue_start(&fixture->queue));
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
}

static void an_index_that_goes_back_breaks_the_queue(void **state)
{
	struct fixture *fixture = *state;

	driver_offer_buffer(&fixture->driver, 0, DATA, 1, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
	driver_put16(&fixture->driver, AVAILABLE + 2, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), -EBADMSG);
}

/* However often a driver makes the same descriptors available, no more requests than the queue has
 * descriptors are out at once. */
static void requests_in_flight_are_bounded(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned int i = 0; i < SIZE; i++) {
		driver_offer_buffer(&fixture->driver, 0, DATA, 1, 0);
		assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
	}
	driver_offer_buffer(&fixture->driver, 0, DATA, 1, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), -EBADMSG);
	assert_string_equal(
		fixture->queue.error, "more requests are made than the queue has descriptors");
}

/* --- 2.7.8: the used ring, and a long life --------------------------------------------------- */

static void requests_are_answered_in_any_order(void **state)
{
	struct fixture *fixture = *state;

	for (uint16_t i = 0; i < 3; i++) {
		driver_offer_buffer(&fixture->driver, i, DATA + i * 64, 64, W);
		assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
		assert_int_equal(fixture->chain.head, i);
	}
	for (uint16_t i = 0; i < 3; i++) {
		virtio_queue_push(&fixture->queue, 2 - i, 10 + i);
		assert_int_equal(driver_used_index(&fixture->driver), i + 1);
		assert_int_equal(driver_used_head(&fixture->driver, i), 2 - i);
		assert_int_equal(driver_used_bytes(&fixture->driver, i), 10 + i);
	}
}

/* Indexes are of 16 bits and run round several times. */
static void indexes_wrap(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned int i = 0; i < 200000; i++) {
		driver_offer_buffer(&fixture->driver, i % SIZE, DATA, 1, 0);
		assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
		assert_int_equal(fixture->chain.head, i % SIZE);
		virtio_queue_push(&fixture->queue, fixture->chain.head, i);
		assert_int_equal(driver_used_index(&fixture->driver), (uint16_t)(i + 1));
		assert_int_equal(driver_used_bytes(&fixture->driver, (uint16_t)i), i);
	}
}

/* --- 2.7.7: who interrupts ------------------------------------------------------------------- */

static void answer(struct fixture *fixture)
{
	driver_offer_buffer(&fixture->driver, 0, DATA, 1, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
	virtio_queue_push(&fixture->queue, fixture->chain.head, 0);
	virtio_queue_signal(&fixture->queue);
}

static void the_flag_suppresses_interrupts(void **state)
{
	struct fixture *fixture = *state;

	answer(fixture);
	assert_int_equal(interrupts(fixture), 1);
	virtio_queue_signal(&fixture->queue);
	assert_int_equal(interrupts(fixture), 0);
	driver_set_no_interrupt(&fixture->driver, 1);
	answer(fixture);
	assert_int_equal(interrupts(fixture), 0);
	driver_set_no_interrupt(&fixture->driver, 0);
	answer(fixture);
	assert_int_equal(interrupts(fixture), 1);
}

/* The interrupt comes when the entry that the driver named is used, and not again before it names
 * another; over the end of the numbers too. */
static void the_event_index_chooses_interrupts(void **state)
{
	struct fixture *fixture = *state;

	fixture->queue.event_index = true;
	answer(fixture);
	assert_int_equal(interrupts(fixture), 1);
	for (unsigned int i = 1; i < 140000; i++) {
		uint16_t event = (uint16_t)((i / 5 + 1) * 5 - 1);

		driver_set_used_event(&fixture->driver, event);
		/* The flag counts for nothing here. */
		driver_set_no_interrupt(&fixture->driver, i & 1);
		answer(fixture);
		assert_int_equal(interrupts(fixture), i % 5 == 4);
	}
}

/* Several answers, one signal: an event anywhere among them interrupts. */
static void an_event_among_several_answers_interrupts(void **state)
{
	for (uint16_t event = 0; event < 6; event++) {
		struct fixture *fixture;

		assert_int_equal(tear_down(state), 0);
		assert_int_equal(set_up(state), 0);
		fixture = *state;
		fixture->queue.event_index = true;
		answer(fixture);
		assert_int_equal(interrupts(fixture), 1);
		driver_set_used_event(&fixture->driver, event);
		for (uint16_t i = 0; i < 4; i++) {
			driver_offer_buffer(&fixture->driver, i, DATA, 1, 0);
			assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
			virtio_queue_push(&fixture->queue, i, 0);
		}
		virtio_queue_signal(&fixture->queue);
		assert_int_equal(interrupts(fixture), event >= 1 && event <= 4);
	}
}

/* Once around without a signal: the difference of indexes is 0, yet there is something to tell. */
static void a_whole_round_without_an_interrupt_is_told(void **state)
{
	struct fixture *fixture = *state;

	answer(fixture);
	interrupts(fixture);
	for (unsigned int i = 0; i < 65536; i++) {
		driver_offer_buffer(&fixture->driver, 0, DATA, 1, 0);
		assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
		virtio_queue_push(&fixture->queue, 0, 0);
	}
	virtio_queue_signal(&fixture->queue);
	assert_int_equal(interrupts(fixture), 1);
}

/* --- 2.7.10: who notifies -------------------------------------------------------------------- */

static void the_flag_suppresses_notifications(void **state)
{
	struct fixture *fixture = *state;

	virtio_queue_disable_notify(&fixture->queue);
	assert_int_equal(driver_no_notify(&fixture->driver), 1);
	assert_false(virtio_queue_enable_notify(&fixture->queue));
	assert_int_equal(driver_no_notify(&fixture->driver), 0);
	virtio_queue_disable_notify(&fixture->queue);
	driver_offer_buffer(&fixture->driver, 0, DATA, 1, 0);
	assert_true(virtio_queue_enable_notify(&fixture->queue));
}

static void the_event_index_asks_for_the_next_notification(void **state)
{
	struct fixture *fixture = *state;

	fixture->queue.event_index = true;
	assert_false(virtio_queue_enable_notify(&fixture->queue));
	assert_int_equal(driver_available_event(&fixture->driver), 0);
	driver_offer_buffer(&fixture->driver, 0, DATA, 1, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, &fixture->chain), 1);
	virtio_queue_disable_notify(&fixture->queue);
	assert_int_equal(driver_no_notify(&fixture->driver), 0);
	assert_int_equal(driver_available_event(&fixture->driver), 0);
	assert_false(virtio_queue_enable_notify(&fixture->queue));
	assert_int_equal(driver_available_event(&fixture->driver), 1);
	driver_offer_buffer(&fixture->driver, 1, DATA, 1, 0);
	assert_true(virtio_queue_enable_notify(&fixture->queue));
}

/* --- What is in a request -------------------------------------------------------------------- */

static void buffers_are_read_and_written_from_any_place(void **state)
{
	static const struct driver_descriptor descriptors[] = {{DATA, 3, N, 1},
		{DATA + 0x100, 4, N, 2}, {DATA + 0x200, 2, N | W, 3}, {DATA + 0x300, 5, W, 0}};
	struct fixture *fixture = *state;
	struct virtio_chain *chain = &fixture->chain;
	char text[16] = {0};

	for (unsigned int i = 0; i < 4; i++)
		driver_describe(&fixture->driver, DESCRIPTORS, i, &descriptors[i]);
	guest_memory_write(&fixture->memory, DATA, "abc?", 4);
	guest_memory_write(&fixture->memory, DATA + 0x100, "defg?", 5);
	driver_offer(&fixture->driver, 0);
	assert_int_equal(virtio_queue_pop(&fixture->queue, chain), 1);

	assert_int_equal(virtio_chain_read(chain, 0, text, sizeof(text)), 7);
	assert_string_equal(text, "abcdefg");
	assert_int_equal(virtio_chain_read(chain, 2, text, 3), 3);
	assert_memory_equal(text, "cde", 3);
	assert_int_equal(virtio_chain_read(chain, 3, text, 1), 1);
	assert_memory_equal(text, "d", 1);
	assert_int_equal(virtio_chain_read(chain, 7, text, 1), 0);
	assert_int_equal(virtio_chain_read(chain, UINT64_MAX, text, 1), 0);
	assert_int_equal(virtio_chain_read(chain, 0, text, 0), 0);

	assert_int_equal(virtio_chain_write(chain, 1, "vwxyz", 5), 5);
	assert_int_equal(virtio_chain_write(chain, 6, "!??", 3), 1);
	guest_memory_read(&fixture->memory, DATA + 0x200, text, 3);
	assert_memory_equal(text, "\0v\0", 3);
	guest_memory_read(&fixture->memory, DATA + 0x300, text, 6);
	assert_memory_equal(text, "wxyz!\0", 6);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		STORY(rings_lie_in_memory_and_are_aligned),
		STORY(chains_are_checked),
		STORY(long_chains_are_refused),
		STORY(an_empty_queue_gives_nothing),
		STORY(an_index_that_is_too_far_ahead_breaks_the_queue),
		STORY(an_index_that_goes_back_breaks_the_queue),
		STORY(requests_in_flight_are_bounded),
		STORY(requests_are_answered_in_any_order),
		STORY(indexes_wrap),
		STORY(the_flag_suppresses_interrupts),
		STORY(the_event_index_chooses_interrupts),
		STORY(an_event_among_several_answers_interrupts),
		STORY(a_whole_round_without_an_interrupt_is_told),
		STORY(the_flag_suppresses_notifications),
		STORY(the_event_index_asks_for_the_next_notification),
		STORY(buffers_are_read_and_written_from_any_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
