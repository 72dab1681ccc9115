/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAC learning: who is learned, moved, refused, aged and forgotten; and that a reader never sees
 * the address of one entry with the port of another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "datapath/mac_table.h"

enum { CAPACITY = 1000 };

struct mac {
	uint8_t bytes[6];
};

static struct mac mac(uint32_t i)
{
	struct mac mac = {{2, 0, i >> 24, i >> 16, i >> 8, i}};

	return mac;
}

static int create(void **state)
{
	*state = mac_table_create(CAPACITY);
	return *state ? 0 : -1;
}

static int destroy(void **state)
{
	mac_table_destroy(*state);
	return 0;
}

/* Learns without a limit at time 100. */
static enum mac_learn_result learn(
	struct mac_table *table, uint16_t vlan, uint32_t i, uint16_t port)
{
	return mac_learn(table, vlan, mac(i).bytes, port, 0, 100);
}

static uint16_t find(const struct mac_table *table, uint16_t vlan, uint32_t i)
{
	return mac_lookup(table, vlan, mac(i).bytes);
}

static void test_learning_and_moving(void **state)
{
	struct mac_table *table = *state;

	assert_int_equal(find(table, 1, 7), 0);
	assert_int_equal(learn(table, 1, 7, 3), MAC_LEARNED);
	assert_int_equal(find(table, 1, 7), 3);
	assert_int_equal(find(table, 2, 7), 0); /* Another VLAN is another network. */
	assert_int_equal(learn(table, 1, 7, 3), MAC_KNOWN);
	assert_int_equal(learn(table, 1, 7, 4), MAC_MOVED);
	assert_int_equal(find(table, 1, 7), 4);
	assert_int_equal(learn(table, 2, 7, 9), MAC_LEARNED);
	assert_int_equal(find(table, 1, 7), 4);
	assert_int_equal(find(table, 2, 7), 9);
	assert_int_equal(mac_count(table), 2);
	/* All zero bits are an address like any other. */
	assert_int_equal(mac_learn(table, 0, (uint8_t[6]){0}, 5, 0, 1), MAC_LEARNED);
	assert_int_equal(mac_lookup(table, 0, (uint8_t[6]){0}), 5);
}

/* What learning would say is what it then says, and asking changes nothing. */
static void test_asking_learns_nothing(void **state)
{
	static const struct {
		uint32_t i;
		uint16_t port;
		uint32_t limit;
		enum mac_learn_result result;
	} story[] = {
		{7, 3, 0, MAC_LEARNED},
		{7, 3, 0, MAC_KNOWN},
		{7, 4, 0, MAC_MOVED},
		{8, 4, 1, MAC_LIMIT},
		{9, 4, 0, MAC_STATIC},
	};
	struct mac_table *table = *state;

	assert_true(mac_add_static(table, 1, mac(9).bytes, 6));
	for (size_t n = 0; n < sizeof(story) / sizeof(story[0]); n++) {
		const struct mac it = mac(story[n].i);
		const uint8_t *bytes = it.bytes;
		uint16_t before = mac_lookup(table, 1, bytes);
		size_t count = mac_count(table);

		for (unsigned int twice = 0; twice < 2; twice++)
			assert_int_equal(
				mac_would_learn(table, 1, bytes, story[n].port, story[n].limit),
				story[n].result);
		assert_int_equal(mac_lookup(table, 1, bytes), before);
		assert_int_equal(mac_count(table), count);
		assert_int_equal(mac_learn(table, 1, bytes, story[n].port, story[n].limit, 100),
			story[n].result);
	}
	for (uint32_t i = 100; mac_count(table) < CAPACITY; i++)
		learn(table, 1, i, 3);
	assert_int_equal(mac_would_learn(table, 1, mac(5000).bytes, 3, 0), MAC_FULL);
	assert_int_equal(learn(table, 1, 5000, 3), MAC_FULL);
}

static void test_a_port_has_its_limit(void **state)
{
	struct mac_table *table = *state;

	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(mac_learn(table, 1, mac(i).bytes, 3, 4, 0),
			i < 4 ? MAC_LEARNED : MAC_LIMIT);
	assert_int_equal(mac_learn(table, 1, mac(0).bytes, 3, 4, 0), MAC_KNOWN);
	assert_int_equal(mac_learn(table, 1, mac(50).bytes, 4, 4, 0), MAC_LEARNED);
	/* Moving here is refused too, moving away makes room. */
	assert_int_equal(mac_learn(table, 1, mac(50).bytes, 3, 4, 0), MAC_LIMIT);
	assert_int_equal(find(table, 1, 50), 4);
	assert_int_equal(mac_learn(table, 1, mac(0).bytes, 4, 4, 0), MAC_MOVED);
	assert_int_equal(mac_learn(table, 1, mac(50).bytes, 3, 4, 0), MAC_MOVED);
	/* Configured addresses do not count. */
	assert_true(mac_add_static(table, 1, mac(50).bytes, 3));
	assert_int_equal(mac_learn(table, 1, mac(60).bytes, 3, 4, 0), MAC_LEARNED);
	assert_int_equal(mac_learn(table, 1, mac(61).bytes, 3, 4, 0), MAC_LIMIT);
	/* Neither do forgotten ones. */
	mac_flush_port(table, 3);
	assert_int_equal(mac_learn(table, 1, mac(61).bytes, 3, 1, 0), MAC_LEARNED);
	assert_int_equal(mac_learn(table, 1, mac(62).bytes, 3, 1, 0), MAC_LIMIT);
	assert_int_equal(mac_expire(table, 100, 50), 2);
	assert_int_equal(mac_learn(table, 1, mac(62).bytes, 3, 1, 0), MAC_LEARNED);
}

static void test_configured_addresses_stay(void **state)
{
	struct mac_table *table = *state;

	assert_true(mac_add_static(table, 1, mac(7).bytes, 3));
	assert_true(mac_add_static(table, 1, mac(7).bytes, 3));
	assert_false(mac_add_static(table, 1, mac(7).bytes, 4));
	assert_int_equal(learn(table, 1, 7, 4), MAC_STATIC);
	assert_int_equal(learn(table, 1, 7, 3), MAC_KNOWN);
	assert_int_equal(find(table, 1, 7), 3);
	assert_int_equal(mac_expire(table, 1000000, 1), 0);
	assert_int_equal(find(table, 1, 7), 3);

	/* One that was learned behind another port comes home. */
	assert_int_equal(learn(table, 1, 8, 4), MAC_LEARNED);
	assert_true(mac_add_static(table, 1, mac(8).bytes, 3));
	assert_int_equal(find(table, 1, 8), 3);

	mac_remove_static(table, 1, mac(7).bytes);
	assert_int_equal(find(table, 1, 7), 0);
	assert_int_equal(learn(table, 1, 9, 4), MAC_LEARNED);
	mac_remove_static(table, 1, mac(9).bytes); /* Learned, not configured. */
	mac_remove_static(table, 1, mac(10).bytes);
	assert_int_equal(find(table, 1, 9), 4);
	assert_int_equal(mac_count(table), 2);
}

static void test_ageing(void **state)
{
	struct mac_table *table = *state;

	for (uint32_t i = 0; i < 4; i++)
		mac_learn(table, 1, mac(i).bytes, 3, 0, 100);
	mac_learn(table, 1, mac(1).bytes, 3, 0, 150); /* Seen by the miss path. */
	mac_refresh(table, 1, mac(2).bytes, 3, 200);  /* Seen by the sweep. */
	mac_refresh(table, 1, mac(3).bytes, 4, 200);  /* Behind another port: not this one. */
	mac_refresh(table, 1, mac(2).bytes, 3, 120);  /* Time does not run backwards. */
	mac_refresh(table, 1, mac(99).bytes, 3, 200);
	assert_int_equal(mac_expire(table, 220, 100), 2);
	assert_int_equal(find(table, 1, 0) | find(table, 1, 3), 0);
	assert_int_equal(find(table, 1, 1), 3);
	assert_int_equal(mac_expire(table, 299, 100), 1);
	assert_int_equal(find(table, 1, 2), 3);
	assert_int_equal(mac_expire(table, 300, 100), 1);
	assert_int_equal(mac_count(table), 0);
}

static void test_forgetting_a_port(void **state)
{
	struct mac_table *table = *state;

	for (uint32_t i = 0; i < 100; i++)
		learn(table, 1, i, 3 + i % 2);
	mac_add_static(table, 1, mac(200).bytes, 3);
	mac_add_static(table, 1, mac(201).bytes, 4);
	mac_flush_learned(table, 4);
	assert_int_equal(mac_count(table), 52);
	assert_int_equal(find(table, 1, 201), 4);
	for (uint32_t i = 1; i < 100; i += 2)
		learn(table, 1, i, 4);
	mac_flush_port(table, 3);
	assert_int_equal(mac_count(table), 51);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(find(table, 1, i), i % 2 ? 4 : 0);
	assert_int_equal(find(table, 1, 200), 0);
	assert_int_equal(find(table, 1, 201), 4);
}

/* The table holds what it says it holds, whatever the secret, and refuses the rest. */
static void test_filling_up(void **state)
{
	(void)state;
	for (unsigned int round = 0; round < 20; round++) {
		struct mac_table *table = mac_table_create(CAPACITY);

		for (uint32_t i = 0; i < CAPACITY; i++)
			assert_int_equal(learn(table, 1, i, 1 + i % 100), MAC_LEARNED);
		assert_int_equal(learn(table, 1, CAPACITY, 1), MAC_FULL);
		assert_false(mac_add_static(table, 1, mac(CAPACITY).bytes, 1));
		assert_int_equal(learn(table, 1, 5, 99), MAC_MOVED);
		for (uint32_t i = 0; i < CAPACITY; i++)
			assert_int_equal(find(table, 1, i), i == 5 ? 99 : 1 + i % 100);
		mac_table_destroy(table);
	}
}

struct seen {
	uint32_t n, n_static;
	uint64_t sum;
};

static void look(const struct mac_entry *entry, void *seen_)
{
	struct seen *seen = seen_;

	seen->n++;
	seen->n_static += entry->is_static;
	seen->sum += entry->mac[5];
	assert_int_equal(entry->vlan, 4095);
	assert_int_equal(entry->port, 3);
	assert_int_equal(entry->last_seen, entry->is_static ? 0 : 100);
}

static void test_for_each(void **state)
{
	struct mac_table *table = *state;
	struct seen seen = {0};

	for (uint32_t i = 1; i <= 100; i++)
		learn(table, 4095, i, 3);
	mac_add_static(table, 4095, mac(101).bytes, 3);
	mac_for_each(table, look, &seen);
	assert_int_equal(seen.n, 101);
	assert_int_equal(seen.n_static, 1);
	assert_int_equal(seen.sum, 101 * 102 / 2);
}

static void test_creating_and_destroying(void **state)
{
	struct mac_table *table = mac_table_create(1);

	(void)state;
	assert_non_null(table);
	assert_int_equal(learn(table, 1, 1, 1), MAC_LEARNED);
	assert_int_equal(learn(table, 1, 2, 1), MAC_FULL);
	mac_table_destroy(table);
	assert_null(mac_table_create(0));
	mac_table_destroy(NULL);
}

/* --- Several threads ----------------------------------------------------------------------------
 */

/* MAC i lives behind port 1 + i or 501 + i, never elsewhere. */
enum { MACS = 24, WRITERS = 2, READERS = 2, ROUNDS = 1000000, SMALL = 4 };

struct shared {
	struct mac_table *table;
	_Atomic uint32_t writing, torn, found;
};

static void *write_all(void *shared_)
{
	struct shared *shared = shared_;
	static _Atomic uint32_t seed = 1;
	uint32_t random = atomic_fetch_add(&seed, 12345);

	for (uint32_t round = 0; round < ROUNDS; round++) {
		uint32_t i = (random >> 16) % MACS, what = (random >> 24) % 16;

		if (what < 4) /* Often, so that slots change hands. */
			mac_flush_port(shared->table, 1 + i);
		else if (what == 4)
			mac_expire(shared->table, round, 3);
		else if (what == 5)
			mac_add_static(shared->table, 1, mac(i).bytes, 501 + i);
		else if (what == 6)
			mac_remove_static(shared->table, 1, mac(i).bytes);
		else
			mac_learn(
				shared->table, 1, mac(i).bytes, (what & 1 ? 1 : 501) + i, 2, round);
		random = random * 1103515245 + 12345;
	}
	atomic_fetch_sub(&shared->writing, 1);
	return NULL;
}

static void count_torn(struct shared *shared, uint32_t i, uint16_t port)
{
	if (port != 1 + i && port != 501 + i)
		atomic_fetch_add(&shared->torn, 1);
	atomic_fetch_add(&shared->found, 1);
}

static void look_for_torn(const struct mac_entry *entry, void *shared)
{
	count_torn(shared, entry->mac[5], entry->port);
}

static void *read_all(void *shared_)
{
	struct shared *shared = shared_;

	while (atomic_load(&shared->writing)) {
		for (uint32_t i = 0; i < MACS; i++) {
			uint16_t port = find(shared->table, 1, i);

			if (port)
				count_torn(shared, i, port);
			mac_refresh(shared->table, 1, mac(i).bytes, 1 + i, i);
		}
		mac_for_each(shared->table, look_for_torn, shared);
	}
	return NULL;
}

static void test_no_entry_is_torn(void **state)
{
	struct shared shared = {.table = mac_table_create(SMALL), .writing = WRITERS};
	pthread_t threads[WRITERS + READERS];
	struct seen seen = {0};

	(void)state;
	for (size_t i = 0; i < WRITERS + READERS; i++)
		pthread_create(&threads[i], NULL, i < WRITERS ? write_all : read_all, &shared);
	for (size_t i = 0; i < WRITERS + READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(shared.torn, 0);
	assert_true(shared.found > 100);
	for (uint32_t i = 0; i < MACS; i++)
		seen.n += find(shared.table, 1, i) != 0;
	assert_int_equal(seen.n, mac_count(shared.table));
	mac_table_destroy(shared.table);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, create, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_learning_and_moving),
		TEST(test_a_port_has_its_limit),
		TEST(test_asking_learns_nothing),
		TEST(test_configured_addresses_stay),
		TEST(test_ageing),
		TEST(test_forgetting_a_port),
		cmocka_unit_test(test_filling_up),
		TEST(test_for_each),
		cmocka_unit_test(test_creating_and_destroying),
		cmocka_unit_test(test_no_entry_is_torn),
	};

	return cmocka_run_group_tests_name("mac_table", tests, NULL, NULL);
}
