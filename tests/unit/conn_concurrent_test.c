/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table under several threads, as the switch uses it: workers look up, make and end
 * connections on the same few keys, so that they meet all the time, and what is ended is freed only
 * after every worker has been through a quiescent state.  Built with -fsanitize=thread it also
 * proves the memory ordering.
 *
 * The model: each connection carries the number of its key and a stamp, written before it is
 * published and wiped before it is freed.  Whoever finds a flow must see both directions of the key
 * that it asked for and a whole stamp.  At the end, the table holds exactly what was made and not
 * ended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "tests/unit/conn_fixture.h"

enum { WORKERS = 3, KEYS = 400, CAPACITY = 1024, ROUNDS = 12000, RETIRED_MAX = 128 };
enum { UNLINKED_STAMP = 0xdead };

struct test;

struct worker {
	struct test *test;
	unsigned int number;
	pthread_t thread;
	struct conn_cache cache;
	uint32_t random;
	/* Quiescent states gone through; odd while not using the table at all. */
	_Atomic uint64_t quiescent __attribute__((aligned(64)));
	uint32_t retired[RETIRED_MAX];
	uint32_t n_retired;
	uint64_t made, ended, found, lost_races, reversed;
};

struct test {
	struct conn_table *table;
	struct worker workers[WORKERS];
	_Atomic uint32_t failures;
};

static uint32_t next_random(struct worker *worker)
{
	worker->random ^= worker->random << 13;
	worker->random ^= worker->random >> 17;
	return worker->random ^= worker->random << 5;
}

static void quiesce(struct worker *worker)
{
	atomic_fetch_add(&worker->quiescent, 2);
}

/* Waits until all other workers have gone through a quiescent state, then frees what is retired. */
static void free_retired(struct worker *worker)
{
	uint64_t seen[WORKERS];

	for (unsigned int i = 0; i < WORKERS; i++)
		seen[i] = atomic_load(&worker->test->workers[i].quiescent);
	for (unsigned int i = 0; i < WORKERS; i++) {
		struct worker *other = &worker->test->workers[i];

		while (other != worker && !(seen[i] & 1) &&
			atomic_load(&other->quiescent) == seen[i]) {
			quiesce(worker); /* It holds no flow here, and others may wait for it. */
			sched_yield();
		}
	}
	conn_free(worker->test->table, worker->retired, worker->n_retired);
	worker->n_retired = 0;
}

static void expect(struct worker *worker, bool holds)
{
	if (!holds)
		atomic_fetch_add(&worker->test->failures, 1);
}

/* The key of connection i as its initiator sends; a third has its reverse added later. */
static struct conn_key key_of(uint32_t i)
{
	return i & 1 ? key_ipv4(i) : key_ipv6(i);
}

static uint32_t stamp_of(uint32_t i)
{
	return i * 2654435761u | 1;
}

/* A flow that was found must be what was asked for, be it just being ended. */
static void check_found(
	struct worker *worker, uint32_t flow, const struct conn_key *key, uint32_t i)
{
	const struct conn *conn = conn_of_flow(worker->test->table, flow);
	uint32_t stamp = atomic_load_explicit(&conn->policy_revision, memory_order_relaxed);

	expect(worker, memcmp(&conn_flow(worker->test->table, flow)->key, key, sizeof(*key)) == 0);
	expect(worker, atomic_load_explicit(&conn->rule, memory_order_relaxed) == i);
	expect(worker, stamp == stamp_of(i) || stamp == UNLINKED_STAMP);
	worker->found++;
}

static void make(struct worker *worker, uint32_t i)
{
	struct conn_table *table = worker->test->table;
	struct conn_key key = key_of(i), reverse = conn_key_reverse(&key, 2);
	bool from_reverse = i % 3 && next_random(worker) & 1;
	uint32_t flow = conn_alloc(table, &worker->cache, from_reverse ? &reverse : &key,
		conn_hash(table, from_reverse ? &reverse : &key),
		i % 3 ? (from_reverse ? &key : &reverse) : NULL,
		conn_hash(table, from_reverse ? &key : &reverse));
	uint32_t entered;

	expect(worker, flow != CONN_FLOW_NONE);
	if (flow == CONN_FLOW_NONE)
		return;
	conn_of_flow(table, flow)->rule = i;
	conn_of_flow(table, flow)->policy_revision = stamp_of(i);
	entered = conn_publish(table, &worker->cache, flow);
	expect(worker, entered != CONN_FLOW_NONE);
	if (entered == flow) {
		worker->made++;
		return;
	}
	worker->lost_races++;
	check_found(worker, entered, from_reverse ? &reverse : &key, i);
}

static void end(struct worker *worker, uint32_t flow)
{
	struct conn_table *table = worker->test->table;

	if (!conn_unlink(table, flow / 2))
		return;
	worker->ended++;
	atomic_store_explicit(
		&conn_of_flow(table, flow)->policy_revision, UNLINKED_STAMP, memory_order_relaxed);
	worker->retired[worker->n_retired++] = flow / 2;
}

/* One packet of a random key, in a random direction. */
static void step(struct worker *worker)
{
	struct conn_table *table = worker->test->table;
	uint32_t i = next_random(worker) % KEYS, flow, hash;
	struct conn_key key = key_of(i), asked = key;

	if (next_random(worker) & 1)
		asked = conn_key_reverse(&key, 2);
	hash = conn_hash(table, &asked);
	flow = conn_lookup_hinted(table, &asked, hash, conn_prefetch_flow(table, hash));
	if (flow == CONN_FLOW_NONE) {
		make(worker, i);
		return;
	}
	check_found(worker, flow, &asked, i);
	switch (next_random(worker) % 4) {
	case 0: end(worker, flow); break;
	case 1: worker->reversed += i % 3 == 0 && conn_add_reverse(table, flow, 2); break;
	default: break;
	}
}

static void *work(void *worker_)
{
	struct worker *worker = worker_;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (unsigned int i = 0; i < 8; i++)
			step(worker);
		quiesce(worker);
		if (worker->n_retired > RETIRED_MAX - 8)
			free_retired(worker);
	}
	atomic_fetch_or(&worker->quiescent, 1);
	return NULL;
}

struct tally {
	struct test *test;
	uint32_t n, n_found;
	uint8_t seen[KEYS];
};

/* Every live connection is to be found by its keys, and there is one for each key. */
static void tally_one(struct conn_table *table, uint32_t number, void *tally_)
{
	struct tally *tally = tally_;
	uint32_t i = table->conns[number].rule;
	const struct flow *flow = conn_flow(table, 2 * number);

	tally->n++;
	assert_in_range(i, 0, KEYS - 1);
	assert_int_equal(tally->seen[i]++, 0);
	assert_int_equal(table->conns[number].policy_revision, stamp_of(i));
	tally->n_found += find_in(table, &flow->key) == 2 * number;
	if (table->conns[number].flags & CONN_REVERSE)
		assert_int_equal(find_in(table, &flow[1].key), 2 * number + 1);
}

static void test_workers_share_the_table(void **state)
{
	static struct test test;
	struct tally tally = {.test = &test};
	struct conn_open_report report;
	uint64_t made = 0, ended = 0, found = 0, lost = 0, reversed = 0;
	char path[64];

	(void)state;
	make_path(path);
	test.table = conn_table_open(path, CAPACITY, boot_id, &report);
	assert_non_null(test.table);
	for (unsigned int i = 0; i < WORKERS; i++) {
		test.workers[i].test = &test;
		test.workers[i].number = i;
		test.workers[i].random = 77 + i;
	}
	for (unsigned int i = 0; i < WORKERS; i++)
		pthread_create(&test.workers[i].thread, NULL, work, &test.workers[i]);
	for (unsigned int i = 0; i < WORKERS; i++) {
		struct worker *worker = &test.workers[i];

		pthread_join(worker->thread, NULL);
		conn_free(test.table, worker->retired, worker->n_retired);
		conn_cache_flush(test.table, &worker->cache);
		made += worker->made;
		ended += worker->ended;
		found += worker->found;
		lost += worker->lost_races;
		reversed += worker->reversed;
	}
	print_message("made %lu, ended %lu, found %lu, lost %lu races, added %lu reverses\n", made,
		ended, found, lost, reversed);
	assert_int_equal(test.failures, 0);
	assert_true(made > 1000 && ended > 1000 && reversed > 100);
	assert_int_equal(conn_count(test.table), made - ended);
	conn_for_each(test.table, 0, CAPACITY, tally_one, &tally);
	assert_int_equal(tally.n, made - ended);
	assert_int_equal(tally.n_found, tally.n);
	conn_table_close(test.table);
	unlink(path);
}

/* --- One key, many makers ----------------------------------------------------------------------
 */

struct race {
	struct conn_table *table;
	pthread_barrier_t barrier;
	_Atomic uint32_t winners[2];
};

/* All begin at once; odd threads come from the other side. */
static void *make_the_same(void *race_)
{
	struct race *race = race_;
	struct conn_cache cache = {.n = 0};
	static _Atomic unsigned int next;
	bool odd = atomic_fetch_add(&next, 1) & 1;

	for (uint32_t i = 0; i < 300; i++) {
		struct conn_key key = key_ipv4(i), reverse = conn_key_reverse(&key, 2);
		const struct conn_key *mine = odd ? &reverse : &key;
		uint32_t flow;

		pthread_barrier_wait(&race->barrier);
		flow = conn_alloc(race->table, &cache, mine, conn_hash(race->table, mine),
			odd ? &key : &reverse, conn_hash(race->table, odd ? &key : &reverse));
		if (conn_publish(race->table, &cache, flow) == flow)
			atomic_fetch_add(&race->winners[odd], 1);
	}
	conn_cache_flush(race->table, &cache);
	return NULL;
}

static void test_one_of_many_makers_wins(void **state)
{
	struct race race;
	struct conn_open_report report;
	pthread_t threads[4];
	char path[64];

	(void)state;
	memset(&race, 0, sizeof(race));
	make_path(path);
	race.table = conn_table_open(path, CAPACITY, boot_id, &report);
	assert_non_null(race.table);
	pthread_barrier_init(&race.barrier, NULL, 4);
	for (size_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, make_the_same, &race);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(race.winners[0] + race.winners[1], 300);
	assert_int_equal(conn_count(race.table), 300);
	for (uint32_t i = 0; i < 300; i++) {
		struct conn_key key = key_ipv4(i), reverse = conn_key_reverse(&key, 2);

		assert_int_equal(find_in(race.table, &key) ^ 1, find_in(race.table, &reverse));
	}
	pthread_barrier_destroy(&race.barrier);
	conn_table_close(race.table);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_workers_share_the_table),
		cmocka_unit_test(test_one_of_many_makers_wins),
	};

	return cmocka_run_group_tests_name("conn_concurrent", tests, NULL, NULL);
}
