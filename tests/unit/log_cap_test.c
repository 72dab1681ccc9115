/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cap on records of denials: what passes, what is held back, and that no count is ever lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "zones/address.h"
#include "log/cap.h"

#define SECOND_NS 1000000000ull

static struct in6_addr address_of(uint32_t number)
{
	struct in6_addr address = IN6ADDR_ANY_INIT;

	address.s6_addr[10] = address.s6_addr[11] = 0xff;
	memcpy(&address.s6_addr[12], &number, sizeof(number));
	return address;
}

static struct log_cap *new_cap(void)
{
	struct log_cap *cap = log_cap_create();

	assert_non_null(cap);
	return cap;
}

/* Asks `n` times within one second; returns how many were admitted. */
static unsigned int ask(struct log_cap *cap, uint32_t rule, uint32_t source, uint64_t second,
	unsigned int n, uint64_t *suppressed)
{
	struct in6_addr address = address_of(source);
	unsigned int admitted = 0;

	for (unsigned int i = 0; i < n; i++) {
		uint32_t held_back = 99;

		if (log_cap_admit(cap, rule, &address, second * SECOND_NS + i, &held_back))
			admitted++;
		else
			assert_int_equal(held_back, 0);
		*suppressed += held_back;
	}
	return admitted;
}

static void test_admits_the_budget_of_each_second(void **state)
{
	struct log_cap *cap = new_cap();
	uint64_t suppressed = 0;

	(void)state;
	assert_int_equal(ask(cap, 7, 1, 100, 10, &suppressed), 10);
	assert_int_equal(ask(cap, 7, 1, 100, 25, &suppressed), 0);
	assert_int_equal(suppressed, 0);
	assert_int_equal(ask(cap, 7, 1, 101, 1, &suppressed), 1);
	assert_int_equal(suppressed, 25);
	assert_int_equal(ask(cap, 7, 1, 101, 12, &suppressed), 9);
	assert_int_equal(suppressed, 25);
	assert_int_equal(ask(cap, 7, 1, 9000, 1, &suppressed), 1);
	assert_int_equal(suppressed, 28);
	log_cap_destroy(cap);
}

static void test_rules_and_sources_do_not_share_a_budget(void **state)
{
	struct log_cap *cap = new_cap();
	uint64_t suppressed = 0;

	(void)state;
	for (uint32_t key = 0; key < 30; key++) {
		assert_int_equal(ask(cap, key, 1, 100, 11, &suppressed), 10);
		assert_int_equal(ask(cap, 1, 100 + key, 100, 11, &suppressed), 10);
	}
	assert_int_equal(suppressed, 0);
	log_cap_destroy(cap);
}

static void test_a_clock_that_steps_back_opens_a_new_second(void **state)
{
	struct log_cap *cap = new_cap();
	uint64_t suppressed = 0;

	(void)state;
	assert_int_equal(ask(cap, 7, 1, 100, 15, &suppressed), 10);
	assert_int_equal(ask(cap, 7, 1, 50, 15, &suppressed), 10);
	assert_int_equal(suppressed, 5);
	log_cap_destroy(cap);
}

static void test_a_count_comes_out_when_the_source_falls_silent(void **state)
{
	struct log_cap *cap = new_cap();
	struct log_cap_overdue overdue;
	struct in6_addr source = address_of(3);
	uint64_t suppressed = 0;
	unsigned int found = 0;

	(void)state;
	ask(cap, 7, 3, 100, 50, &suppressed);
	for (int i = 0; i < 300; i++)
		assert_false(log_cap_overdue(cap, 101 * SECOND_NS, &overdue));
	for (int i = 0; i < 300; i++) {
		if (!log_cap_overdue(cap, 102 * SECOND_NS, &overdue))
			continue;
		found++;
		assert_int_equal(overdue.rule, 7);
		assert_memory_equal(&overdue.source, &source, sizeof(source));
		assert_int_equal(overdue.suppressed, 40);
	}
	assert_int_equal(found, 1);
	/* It is not told twice. */
	assert_int_equal(ask(cap, 7, 3, 103, 1, &suppressed), 1);
	assert_int_equal(suppressed, 0);
	assert_false(log_cap_drain(cap, &overdue));
	log_cap_destroy(cap);
}

/* Many more sources than the table has room for: each question is answered by a record, or counted
 * in exactly one of the places that the header names. */
static void test_no_count_is_lost_under_a_flood_of_sources(void **state)
{
	struct log_cap *cap = new_cap();
	struct log_cap_overdue overdue;
	uint64_t asked = 0, admitted = 0, counted = 0, displaced = 0;

	(void)state;
	for (uint64_t second = 100; second < 104; second++) {
		for (uint32_t source = 0; source < 20000; source++) {
			admitted += ask(cap, source % 3, source, second, 15, &counted);
			asked += 15;
			if (source % 16 == 0 &&
				log_cap_overdue(cap, second * SECOND_NS, &overdue)) {
				counted += overdue.suppressed;
				if (!overdue.rule && IN6_IS_ADDR_UNSPECIFIED(&overdue.source))
					displaced += overdue.suppressed;
			}
		}
	}
	while (log_cap_drain(cap, &overdue))
		counted += overdue.suppressed;
	assert_true(displaced > 0);
	assert_int_equal(admitted + counted, asked);
	log_cap_destroy(cap);
}

static void test_a_busy_source_keeps_its_place_among_many(void **state)
{
	struct log_cap *cap = new_cap();
	uint64_t suppressed = 0, others = 0;
	unsigned int admitted = 0;

	(void)state;
	for (uint32_t i = 0; i < 100000; i++) {
		admitted += ask(cap, 9, 1, 100, 1, &suppressed);
		ask(cap, 5, 1000 + i, 100, 1, &others);
	}
	assert_int_equal(admitted, 10);
	assert_int_equal(suppressed, 0);
	assert_int_equal(ask(cap, 9, 1, 101, 1, &suppressed), 1);
	assert_int_equal(suppressed, 100000 - 10);
	log_cap_destroy(cap);
}

/* New sources are taken in so many a second; the rest is counted. */
static void test_a_flood_of_new_sources_is_held_back(void **state)
{
	struct log_cap *cap = new_cap();
	struct log_cap_overdue overdue;
	uint64_t suppressed = 0, counted = 0;
	unsigned int admitted = 0;

	(void)state;
	for (uint32_t i = 0; i < 20000; i++)
		admitted += ask(cap, 7, 1000 + i, 100, 1, &suppressed);
	assert_int_equal(admitted, LOG_CAP_NEW);
	assert_int_equal(suppressed, 0);
	assert_int_equal(ask(cap, 7, 30000, 101, 1, &suppressed), 1);
	while (log_cap_drain(cap, &overdue))
		counted += overdue.suppressed;
	assert_int_equal(counted, 20000 - admitted);
	log_cap_destroy(cap);
}

static void test_destroy_accepts_null(void **state)
{
	(void)state;
	log_cap_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_admits_the_budget_of_each_second),
		cmocka_unit_test(test_rules_and_sources_do_not_share_a_budget),
		cmocka_unit_test(test_a_clock_that_steps_back_opens_a_new_second),
		cmocka_unit_test(test_a_count_comes_out_when_the_source_falls_silent),
		cmocka_unit_test(test_no_count_is_lost_under_a_flood_of_sources),
		cmocka_unit_test(test_a_busy_source_keeps_its_place_among_many),
		cmocka_unit_test(test_a_flood_of_new_sources_is_held_back),
		cmocka_unit_test(test_destroy_accepts_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
