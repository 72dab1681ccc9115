/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets: what they let through over time, at any rate and by any number of threads.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "datapath/storm.h"

#define SECOND UINT64_C(1000000000)
/* The switch's clock may be the wall's: it begins anywhere. */
#define NOW (UINT64_C(1800000000) * SECOND)

/* How many of n costs pass at one moment. */
static unsigned int admitted(_Atomic uint64_t *bucket, uint64_t rate, uint64_t burst, uint64_t cost,
	uint64_t now_ns, unsigned int n)
{
	unsigned int passed = 0;

	for (unsigned int i = 0; i < n; i++)
		passed += storm_admit(bucket, rate, burst, cost, now_ns);
	return passed;
}

static void test_asking_takes_nothing(void **state)
{
	_Atomic uint64_t bucket = 0;

	(void)state;
	for (unsigned int i = 0; i < 200; i++)
		assert_true(storm_would_admit(&bucket, 1000, 50, 1, NOW));
	assert_int_equal(bucket, 0);
	assert_int_equal(admitted(&bucket, 1000, 50, 1, NOW, 49), 49);
	assert_true(storm_would_admit(&bucket, 1000, 50, 1, NOW));
	assert_false(storm_would_admit(&bucket, 1000, 50, 2, NOW));
	assert_int_equal(admitted(&bucket, 1000, 50, 1, NOW, 200), 1);
	assert_false(storm_would_admit(&bucket, 1000, 50, 1, NOW));
	assert_true(storm_would_admit(&bucket, 0, 50, 1, NOW)); /* No limit. */
}

static void test_burst_then_rate(void **state)
{
	_Atomic uint64_t bucket = 0;

	(void)state;
	assert_int_equal(admitted(&bucket, 1000, 50, 1, NOW, 200), 50);
	assert_int_equal(admitted(&bucket, 1000, 50, 1, NOW + SECOND / 100, 200), 10);
	assert_int_equal(admitted(&bucket, 1000, 50, 1, NOW + SECOND / 100, 200), 0);
	assert_int_equal(admitted(&bucket, 1000, 50, 1, NOW + SECOND, 200), 50);
}

static void test_no_limit(void **state)
{
	_Atomic uint64_t bucket = 0;

	(void)state;
	assert_int_equal(admitted(&bucket, 0, 0, 1000000, NOW, 1000), 1000);
	assert_int_equal(bucket, 0);
}

/* Refusals take nothing, so a steady flood gets exactly the rate. */
static void test_flood(void **state)
{
	_Atomic uint64_t bucket = 0;
	unsigned int passed = 0;

	(void)state;
	for (uint64_t t = 0; t < 10 * SECOND; t += 20000)
		passed += storm_admit(&bucket, 1000, 100, 1, NOW + t);
	assert_in_range(passed, 10000 + 99, 10000 + 100);
}

/* 64-byte frames at 100 Gbit/s take five nanoseconds each: rounding must not eat the rate. */
static void test_high_rate(void **state)
{
	const uint64_t rate = UINT64_C(100000000000);
	_Atomic uint64_t bucket = 0;
	uint64_t bits = 0;

	(void)state;
	for (uint64_t t = 0; t < SECOND / 100; t += 4)
		bits += 512 * (uint64_t)storm_admit(&bucket, rate, 100000, 512, NOW + t);
	assert_in_range(bits, rate / 100 / 1000 * 990, rate / 100 / 1000 * 1010);
}

static void test_low_rate(void **state)
{
	_Atomic uint64_t bucket = 0;

	(void)state;
	assert_int_equal(admitted(&bucket, 1, 1, 1, NOW, 10), 1);
	assert_int_equal(admitted(&bucket, 1, 1, 1, NOW + SECOND - 1, 10), 0);
	assert_int_equal(admitted(&bucket, 1, 1, 1, NOW + SECOND, 10), 1);
}

/* Numbers that 64 bits do not hold on the way. */
static void test_extremes(void **state)
{
	_Atomic uint64_t bucket = 0;

	(void)state;
	assert_true(storm_admit(&bucket, UINT64_MAX, UINT64_MAX, UINT64_MAX, NOW));
	bucket = 0;
	assert_true(storm_admit(&bucket, 1, UINT64_MAX, UINT64_MAX / 2, NOW));
	bucket = 0;
	assert_int_equal(
		admitted(&bucket, UINT64_C(1) << 40, UINT64_C(1) << 40, 1 << 30, NOW, 2000), 1024);
}

/* A frame larger than the bucket passes when the bucket is full, and is paid off. */
static void test_larger_than_burst(void **state)
{
	_Atomic uint64_t bucket = 0;

	(void)state;
	assert_int_equal(admitted(&bucket, 1000, 100, 3000, NOW, 5), 1);
	assert_int_equal(admitted(&bucket, 1000, 100, 1, NOW + 2 * SECOND, 5), 0);
	assert_int_equal(admitted(&bucket, 1000, 100, 1, NOW + 3 * SECOND, 5), 5);
	bucket = 0;
	for (uint64_t t = 0, passed = 0; t < 60; t++) {
		passed += storm_admit(&bucket, 1000, 100, 3000, NOW + t * SECOND);
		assert_int_equal(passed, t / 3 + 1);
	}
}

/* A clock that is set back, however far, blocks nothing for long. */
static void test_clock_set_back(void **state)
{
	_Atomic uint64_t bucket = 0;
	uint64_t blocked = 0;

	(void)state;
	assert_int_equal(admitted(&bucket, 1000, 100, 1, NOW, 200), 100);
	assert_int_equal(admitted(&bucket, 1000, 100, 1, NOW - 3600 * SECOND, 200), 100);
	assert_int_equal(admitted(&bucket, 1000, 100, 1, NOW - 3605 * SECOND, 200), 0);
	for (uint64_t t = 0; t < 60; t++)
		blocked += admitted(&bucket, 1000, 1, 1, NOW - (3605 - t) * SECOND, 1) == 0;
	assert_in_range(blocked, 1, STORM_DEBT_SECONDS);
}

/* The first use of a bucket finds it full, whatever the clock. */
static void test_any_start(void **state)
{
	static const uint64_t starts[] = {0, 1, UINT64_C(1) << 32, UINT64_C(1) << 59,
		UINT64_C(1) << 60, UINT64_C(3) << 59, UINT64_MAX / 2};

	(void)state;
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		_Atomic uint64_t bucket = 0;
		assert_int_equal(admitted(&bucket, 1000, 50, 1, starts[i], 60), 50);
		assert_int_equal(admitted(&bucket, 1000, 50, 1, starts[i] + SECOND / 1000, 60), 1);
	}
}

/* --- Many threads --------------------------------------------------------------------------- */

enum { THREADS = 4, TRIES = 200000 };

struct shared {
	_Atomic uint64_t bucket, clock;
	_Atomic unsigned int passed;
};

static void *take(void *shared_)
{
	struct shared *shared = shared_;
	unsigned int passed = 0;

	for (unsigned int i = 0; i < TRIES; i++) {
		uint64_t now = NOW + atomic_fetch_add(&shared->clock, 100);
		passed += storm_admit(&shared->bucket, 100000, 1000, 1, now);
	}
	atomic_fetch_add(&shared->passed, passed);
	return NULL;
}

/* All together get what one would, though their clocks are a little apart. */
static void test_threads(void **state)
{
	struct shared shared = {0};
	pthread_t threads[THREADS];
	const unsigned int expected = (unsigned int)(100000 * 1e-7 * THREADS * TRIES) + 1000;

	(void)state;
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take, &shared), 0);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_in_range(atomic_load(&shared.passed), expected - expected / 50, expected + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst_then_rate),
		cmocka_unit_test(test_asking_takes_nothing),
		cmocka_unit_test(test_no_limit),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_high_rate),
		cmocka_unit_test(test_low_rate),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_larger_than_burst),
		cmocka_unit_test(test_clock_set_back),
		cmocka_unit_test(test_any_start),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("storm", tests, NULL, NULL);
}
