/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring of captured frames: order, room, taking back, the end of the memory, two threads.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "datapath/capture_ring.h"

enum { SIZE = 4096, HEAD = 8, MANY = 200000 };

static void put(struct capture_ring *ring, uint32_t value)
{
	uint32_t *entry = capture_ring_reserve(ring, sizeof(value));

	assert_non_null(entry);
	*entry = value;
}

static void expect(struct capture_ring *ring, uint32_t value)
{
	const uint32_t *entry = capture_ring_first(ring);

	assert_non_null(entry);
	assert_int_equal(*entry, value);
	capture_ring_release(ring);
}

static void test_order(void **state)
{
	struct capture_ring *ring = capture_ring_create(1);

	(void)state;
	assert_null(capture_ring_first(ring));
	put(ring, 1);
	put(ring, 2);
	assert_null(capture_ring_first(ring)); /* Not published yet. */
	capture_ring_publish(ring);
	expect(ring, 1);
	expect(ring, 2);
	assert_null(capture_ring_first(ring));
	capture_ring_destroy(ring);
}

static void test_take_back(void **state)
{
	struct capture_ring *ring = capture_ring_create(SIZE);

	(void)state;
	put(ring, 1);
	uint64_t mark = capture_ring_mark(ring);
	put(ring, 2);
	put(ring, 3);
	capture_ring_rewind(ring, mark);
	put(ring, 4);
	capture_ring_publish(ring);
	expect(ring, 1);
	expect(ring, 4);
	assert_null(capture_ring_first(ring));
	capture_ring_destroy(ring);
}

static void test_room(void **state)
{
	struct capture_ring *ring = capture_ring_create(SIZE);

	(void)state;
	assert_null(capture_ring_reserve(ring, SIZE));
	assert_null(capture_ring_reserve(ring, SIZE - HEAD + 1));
	assert_non_null(capture_ring_reserve(ring, SIZE - HEAD));
	assert_null(capture_ring_reserve(ring, 0));
	capture_ring_publish(ring);
	assert_non_null(capture_ring_first(ring));
	capture_ring_release(ring);
	assert_non_null(capture_ring_reserve(ring, 0));
	capture_ring_destroy(ring);
}

/* An entry is never in two pieces: what is left at the end is passed over. */
static void test_end_of_memory(void **state)
{
	struct capture_ring *ring = capture_ring_create(SIZE);
	uint8_t pattern[600];

	(void)state;
	for (unsigned int round = 0; round < 100; round++) {
		memset(pattern, (int)round, sizeof(pattern));
		memcpy(capture_ring_reserve(ring, sizeof(pattern)), pattern, sizeof(pattern));
		capture_ring_publish(ring);
		const void *entry = capture_ring_first(ring);
		assert_int_equal((uintptr_t)entry % 8, 0);
		assert_memory_equal(entry, pattern, sizeof(pattern));
		capture_ring_release(ring);
	}
	assert_null(capture_ring_first(ring));
	capture_ring_destroy(ring);
}

/* Entries of all lengths, each of which says its number and length. */
static void *produce(void *ring_)
{
	struct capture_ring *ring = ring_;

	for (uint32_t i = 0; i < MANY;) {
		uint32_t bytes = 8 + i * 7 % 600;
		uint32_t *entry = capture_ring_reserve(ring, bytes);

		if (entry == NULL)
			continue;
		memset(entry, (int)i, bytes);
		entry[0] = i++;
		entry[1] = bytes;
		capture_ring_publish(ring);
	}
	return NULL;
}

static void test_two_threads(void **state)
{
	struct capture_ring *ring = capture_ring_create(SIZE);
	pthread_t producer;

	(void)state;
	assert_int_equal(pthread_create(&producer, NULL, produce, ring), 0);
	for (uint32_t i = 0; i < MANY;) {
		const uint32_t *entry = capture_ring_first(ring);

		if (entry == NULL)
			continue;
		assert_int_equal(entry[0], i);
		assert_int_equal(entry[1], 8 + i * 7 % 600);
		if (entry[1] > 8)
			assert_int_equal(((const uint8_t *)entry)[entry[1] - 1], i & 0xff);
		capture_ring_release(ring);
		i++;
	}
	pthread_join(producer, NULL);
	assert_null(capture_ring_first(ring));
	capture_ring_destroy(ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_take_back),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_end_of_memory),
		cmocka_unit_test(test_two_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
