/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interned programs: equal ones are one, unused ones go after their time, used ones never.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "datapath/program.h"

/* Program i: to port i, for frames of MAC i. */
static struct program output(uint32_t i)
{
	struct program program = {
		.n_actions = 1, .actions = {{.type = ACTION_OUTPUT, .argument = i & 0xffff}}};

	memcpy(program.source_mac, &i, sizeof(i));
	return program;
}

static int create(void **state)
{
	*state = program_table_create(100);
	return *state ? 0 : -1;
}

static int destroy(void **state)
{
	program_table_destroy(*state);
	return 0;
}

static void test_equal_programs_are_one(void **state)
{
	struct program_table *table = *state;
	struct program a = output(1), b = output(2), c = output(1);
	uint32_t number = program_intern(table, &a);

	assert_int_not_equal(number, PROGRAM_NONE);
	assert_int_equal(program_intern(table, &c), number);
	assert_int_not_equal(program_intern(table, &b), number);
	/* What the table fills in, and what lies behind the last action, is not looked at. */
	c.hash = 77;
	c.output_only = 9;
	c.output = 9;
	c.actions[1].type = ACTION_DROP;
	assert_int_equal(program_intern(table, &c), number);
	assert_int_equal(program_count(table), 2);
}

static void test_every_field_counts(void **state)
{
	struct program_table *table = *state;
	struct program base = output(1);
	struct program others[5] = {base, base, base, base, base};
	uint32_t number = program_intern(table, &base);

	others[0].destination_mac[5] = 1;
	others[1].source_mac[0] ^= 1;
	others[2].actions[0].argument++;
	others[3].actions[0].type = ACTION_DROP;
	others[4].actions[0].reason = 1;
	for (size_t i = 0; i < 5; i++)
		assert_int_not_equal(program_intern(table, &others[i]), number);
	assert_int_equal(program_count(table), 6);
}

static void test_the_common_case_is_marked(void **state)
{
	struct program_table *table = *state;
	struct program one = output(7), two = output(7), drop = output(7), none = output(7);
	const struct program *got;

	two.n_actions = 2;
	two.actions[1] = (struct action){.type = ACTION_OUTPUT, .argument = 8};
	drop.actions[0] = (struct action){.type = ACTION_DROP, .reason = 3};
	none.n_actions = 0;
	got = program_get(table, program_intern(table, &one));
	assert_true(got->output_only);
	assert_int_equal(got->output, 7);
	got = program_get(table, program_intern(table, &two));
	assert_false(got->output_only);
	assert_int_equal(got->n_actions, 2);
	assert_int_equal(got->actions[1].argument, 8);
	assert_false(program_get(table, program_intern(table, &drop))->output_only);
	got = program_get(table, program_intern(table, &none));
	assert_int_equal(got->n_actions, 0);
	assert_false(got->output_only);
}

static void test_too_many_actions(void **state)
{
	struct program_table *table = *state;
	struct program program = output(1);

	program.n_actions = PROGRAM_ACTIONS_MAX;
	assert_int_not_equal(program_intern(table, &program), PROGRAM_NONE);
	program.n_actions = PROGRAM_ACTIONS_MAX + 1;
	assert_int_equal(program_intern(table, &program), PROGRAM_NONE);
}

static void test_a_full_table_refuses_new_ones(void **state)
{
	struct program_table *table = *state;
	uint32_t numbers[100];

	for (uint32_t i = 0; i < 100; i++) {
		struct program program = output(i);

		numbers[i] = program_intern(table, &program);
		assert_in_range(numbers[i], 1, 100);
	}
	for (uint32_t i = 0; i < 200; i++) {
		struct program program = output(i);

		assert_int_equal(
			program_intern(table, &program), i < 100 ? numbers[i] : PROGRAM_NONE);
	}
}

static void test_the_unused_go_after_their_time(void **state)
{
	struct program_table *table = *state;
	struct program a = output(1), b = output(2);
	uint32_t kept = program_intern(table, &a), gone = program_intern(table, &b), again;

	program_sweep(table); /* Both were interned since the last one. */
	assert_int_equal(program_count(table), 2);
	program_mark(table, kept);
	program_sweep(table);
	assert_int_equal(program_count(table), 1);
	/* A reader may still hold it for two sweeps. */
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(program_get(table, gone)->output, 2);
		again = program_intern(table, &b);
		assert_int_not_equal(again, gone);
		program_mark(table, kept);
		program_sweep(table);
	}
	assert_int_equal(program_intern(table, &a), kept);
}

static void test_all_slots_come_back(void **state)
{
	struct program_table *table = *state;

	for (uint32_t round = 0; round < 10; round++) {
		for (uint32_t i = 0; i < 100; i++) {
			struct program program = output(1000 * round + i);

			assert_int_not_equal(program_intern(table, &program), PROGRAM_NONE);
		}
		for (unsigned int sweep = 0; sweep < 4; sweep++)
			program_sweep(table);
		assert_int_equal(program_count(table), 0);
	}
}

/* A worker found the program in the index just before it was taken out, and its flow shows up late:
 * the slot is not used again for as long as the flow names it. */
static void test_a_late_flow_keeps_its_program(void **state)
{
	struct program_table *table = *state;
	struct program program = output(5), other;
	uint32_t number = program_intern(table, &program);

	program_sweep(table);
	program_sweep(table); /* Retired. */
	assert_int_equal(program_count(table), 0);
	for (unsigned int sweep = 0; sweep < 10; sweep++) {
		program_mark(table, number);
		program_sweep(table);
	}
	for (uint32_t i = 100; i < 300; i++) {
		other = output(i);
		assert_int_not_equal(program_intern(table, &other), number);
	}
	assert_int_equal(program_get(table, number)->output, 5);
}

static void test_marks_out_of_range_are_ignored(void **state)
{
	struct program_table *table = *state;

	program_mark(table, PROGRAM_NONE);
	program_mark(table, 101);
	program_mark(table, UINT32_MAX);
	program_sweep(table);
	assert_int_equal(program_count(table), 0);
	assert_int_equal(program_get(table, PROGRAM_NONE)->n_actions, 0);
}

static void test_odd_capacities(void **state)
{
	struct program_table *table;
	struct program program = output(1);

	(void)state;
	errno = 0;
	assert_null(program_table_create(0));
	assert_int_equal(errno, EINVAL);
	assert_null(program_table_create(UINT32_MAX));
	program_table_destroy(NULL);
	table = program_table_create(1);
	assert_non_null(table);
	assert_int_equal(program_intern(table, &program), 1);
	program_table_destroy(table);
}

/* --- Several threads ----------------------------------------------------------------------------
 */

enum { INTERNERS = 3, KINDS = 60, HOLD = 16, ROUNDS = 30000 };

struct shared {
	struct program_table *table;
	/* The flows: which program each names.  The sweep marks them. */
	_Atomic uint32_t flows[INTERNERS][HOLD];
	_Atomic uint64_t quiescent[INTERNERS];
	_Atomic uint32_t running, failures;
};

struct interner {
	struct shared *shared;
	unsigned int number;
};

/* Interns programs at random and keeps the last ones, which must stay what they were. */
static void *intern_all(void *interner_)
{
	struct interner *interner = interner_;
	struct shared *shared = interner->shared;
	uint32_t kinds[HOLD] = {0}, random = 99 + interner->number;
	_Atomic uint32_t *flows = shared->flows[interner->number];

	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t at = round % HOLD, number = atomic_load(&flows[at]);
		struct program program;

		if (number && program_get(shared->table, number)->output != kinds[at])
			atomic_fetch_add(&shared->failures, 1);
		random = random * 1103515245 + 12345;
		kinds[at] = 1 + (random >> 16) % KINDS;
		program = output(kinds[at]);
		number = program_intern(shared->table, &program);
		if (!number || program_get(shared->table, number)->output != kinds[at])
			atomic_fetch_add(&shared->failures, 1);
		atomic_store(&flows[at], number);
		atomic_fetch_add(&shared->quiescent[interner->number], 1);
	}
	atomic_store(&shared->quiescent[interner->number], UINT64_MAX);
	atomic_fetch_sub(&shared->running, 1);
	return NULL;
}

/* Sweeps, with a grace period between two sweeps. */
static void sweep_while_running(struct shared *shared)
{
	while (atomic_load(&shared->running)) {
		uint64_t seen[INTERNERS];

		for (size_t i = 0; i < INTERNERS; i++) {
			for (size_t flow = 0; flow < HOLD; flow++)
				program_mark(shared->table, atomic_load(&shared->flows[i][flow]));
		}
		program_sweep(shared->table);
		for (size_t i = 0; i < INTERNERS; i++)
			seen[i] = atomic_load(&shared->quiescent[i]);
		for (size_t i = 0; i < INTERNERS; i++) {
			while (seen[i] != UINT64_MAX &&
				atomic_load(&shared->quiescent[i]) == seen[i])
				sched_yield();
		}
	}
}

static void test_workers_intern_while_the_sweep_sweeps(void **state)
{
	static struct shared shared;
	struct interner interners[INTERNERS];
	pthread_t threads[INTERNERS];

	shared.table = *state;
	atomic_store(&shared.running, INTERNERS);
	for (unsigned int i = 0; i < INTERNERS; i++) {
		interners[i] = (struct interner){&shared, i};
		pthread_create(&threads[i], NULL, intern_all, &interners[i]);
	}
	sweep_while_running(&shared);
	for (unsigned int i = 0; i < INTERNERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(shared.failures, 0);
}

static int create_large(void **state)
{
	*state = program_table_create(10 * KINDS);
	return *state ? 0 : -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_equal_programs_are_one),
		TEST(test_every_field_counts),
		TEST(test_the_common_case_is_marked),
		TEST(test_too_many_actions),
		TEST(test_a_full_table_refuses_new_ones),
		TEST(test_the_unused_go_after_their_time),
		TEST(test_all_slots_come_back),
		TEST(test_a_late_flow_keeps_its_program),
		TEST(test_marks_out_of_range_are_ignored),
		cmocka_unit_test(test_odd_capacities),
		cmocka_unit_test_setup_teardown(
			test_workers_intern_while_the_sweep_sweeps, create_large, destroy),
	};

	return cmocka_run_group_tests_name("program", tests, NULL, NULL);
}
