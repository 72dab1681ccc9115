/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table, one thread: entering, finding, ending, filling up, and what an entry costs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/conn_fixture.h"

enum { CAPACITY = 1024 };

struct fixture {
	char path[64];
	struct conn_table *table;
	struct conn_cache cache;
};

static int open_table(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct conn_open_report report;

	make_path(fixture->path);
	fixture->table = conn_table_open(fixture->path, CAPACITY, boot_id, &report);
	*state = fixture;
	return fixture->table ? 0 : -1;
}

static int close_table(void **state)
{
	struct fixture *fixture = *state;

	conn_table_close(fixture->table);
	unlink(fixture->path);
	free(fixture);
	return 0;
}

static uint32_t add(struct fixture *fixture, const struct conn_key *key, uint16_t out_port)
{
	return add_to(fixture->table, &fixture->cache, key, out_port);
}

static uint32_t find(const struct fixture *fixture, const struct conn_key *key)
{
	return find_in(fixture->table, key);
}

static void end(struct fixture *fixture, uint32_t flow)
{
	uint32_t conn = flow / 2;

	assert_true(conn_unlink(fixture->table, conn));
	conn_free(fixture->table, &conn, 1);
}

static void test_both_directions_are_found(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key keys[] = {key_ipv4(1), key_ipv6(1)};

	for (size_t i = 0; i < 2; i++) {
		struct conn_key reverse = conn_key_reverse(&keys[i], 2);
		uint32_t flow = add(fixture, &keys[i], 2);

		assert_int_not_equal(flow, CONN_FLOW_NONE);
		assert_int_equal(flow & 1, 0);
		assert_int_equal(find(fixture, &keys[i]), flow);
		assert_int_equal(find(fixture, &reverse), flow + 1);
		assert_ptr_equal(
			conn_of_flow(fixture->table, flow), conn_of_flow(fixture->table, flow + 1));
		assert_true(conn_of_flow(fixture->table, flow)->flags & CONN_REVERSE);
	}
	assert_int_equal(conn_count(fixture->table), 2);
}

/* Every field of the key counts. */
static void test_a_neighbour_is_not_found(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key key = key_ipv6(1);

	add(fixture, &key, 2);
	for (size_t bit = 0; bit < 8 * sizeof(key); bit++) {
		struct conn_key other = key;

		((uint8_t *)&other)[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(find(fixture, &other), CONN_FLOW_NONE);
	}
}

static void test_a_new_connection_is_zero(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key key = key_ipv4(1);
	uint32_t flow = add(fixture, &key, 2);
	static const struct conn zero;
	struct conn *conn = conn_of_flow(fixture->table, flow);

	memset(conn, 0xaa, sizeof(*conn));
	conn->lock = 0;
	conn->flags = CONN_REVERSE;
	conn_flow(fixture->table, flow)->program = 9;
	end(fixture, flow);

	/* The cache's numbers are used first; empty it so that the freed one comes back. */
	conn_cache_flush(fixture->table, &fixture->cache);
	for (size_t i = 0; i < CAPACITY; i++) {
		uint32_t next = conn_alloc(fixture->table, &fixture->cache, &key, 5, NULL, 0);

		assert_int_equal(conn_flow(fixture->table, next)->program, 0);
		assert_memory_equal(conn_of_flow(fixture->table, next), &zero, sizeof(zero));
		assert_memory_equal(&conn_flow(fixture->table, next)->key, &key, sizeof(key));
		assert_int_equal(conn_flow(fixture->table, next)->hash, 5);
		assert_int_equal(conn_flow(fixture->table, next + 1)->key.kind, 0);
	}
}

static void test_not_found_until_published(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key key = key_ipv4(1);
	uint32_t hash = conn_hash(fixture->table, &key);
	uint32_t flow = conn_alloc(fixture->table, &fixture->cache, &key, hash, NULL, 0);

	assert_int_equal(find(fixture, &key), CONN_FLOW_NONE);
	assert_int_equal(conn_count(fixture->table), 0);
	assert_int_equal(conn_publish(fixture->table, &fixture->cache, flow), flow);
	assert_int_equal(find(fixture, &key), flow);
}

static void test_the_second_of_one_key_gets_the_first(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key key = key_ipv4(1), mirror = conn_key_reverse(&key, 2);
	uint32_t flow = add(fixture, &key, 2);
	uint32_t cached = fixture->cache.n;

	assert_int_equal(add(fixture, &key, 2), flow);
	/* The responder's first packet, if another worker made the connection just before. */
	assert_int_equal(add(fixture, &mirror, 1), flow + 1);
	assert_int_equal(fixture->cache.n, cached);
	assert_int_equal(conn_count(fixture->table), 1);
}

static void test_a_taken_reverse_is_left_alone(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key key = key_ipv4(1), mirror = conn_key_reverse(&key, 2), other = key;
	uint32_t first, second;

	first = add(fixture, &mirror, 0);
	second = add(fixture, &key, 2);
	assert_int_not_equal(second, first);
	assert_false(conn_of_flow(fixture->table, second)->flags & CONN_REVERSE);
	assert_int_equal(find(fixture, &mirror), first);
	assert_int_equal(find(fixture, &key), second);

	/* Ending the second must not take the first away. */
	end(fixture, second);
	assert_int_equal(find(fixture, &mirror), first);
	other.in_port = 5;
	assert_int_not_equal(add(fixture, &other, 0), CONN_FLOW_NONE);
}

static void test_the_reverse_is_added_later(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key key = key_ipv4(1), reverse = conn_key_reverse(&key, 9);
	uint32_t flow = add(fixture, &key, 0);

	assert_int_equal(find(fixture, &reverse), CONN_FLOW_NONE);
	assert_true(conn_add_reverse(fixture->table, flow, 9));
	assert_int_equal(find(fixture, &reverse), flow + 1);
	assert_false(conn_add_reverse(fixture->table, flow, 9));
	assert_false(conn_add_reverse(fixture->table, flow, 10));

	end(fixture, flow);
	assert_int_equal(find(fixture, &key), CONN_FLOW_NONE);
	assert_int_equal(find(fixture, &reverse), CONN_FLOW_NONE);
	assert_false(conn_add_reverse(fixture->table, flow, 9));
}

static void test_unlinking_is_done_once(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key key = key_ipv4(1);
	uint32_t flow = add(fixture, &key, 2);

	assert_true(conn_unlink(fixture->table, flow / 2));
	assert_false(conn_unlink(fixture->table, flow / 2));
	assert_int_equal(find(fixture, &key), CONN_FLOW_NONE);
	assert_int_equal(conn_count(fixture->table), 0);
	/* A reader that still holds the number sees the key that it had. */
	assert_memory_equal(&conn_flow(fixture->table, flow)->key, &key, sizeof(key));
}

static void test_prefetching_gives_a_hint(void **state)
{
	struct fixture *fixture = *state;

	for (uint32_t i = 0; i < CAPACITY; i++) {
		struct conn_key key = key_ipv4(i);

		add(fixture, &key, 2);
	}
	for (uint32_t i = 0; i < 2 * CAPACITY; i++) {
		struct conn_key key = key_ipv4(i);
		uint32_t hash = conn_hash(fixture->table, &key), hint;

		conn_prefetch_bucket(fixture->table, hash);
		hint = conn_prefetch_flow(fixture->table, hash);
		assert_int_equal(conn_lookup_hinted(fixture->table, &key, hash, hint),
			conn_lookup(fixture->table, &key, hash));
	}
}

/* Full to the last connection, emptied, and filled again; overflow buckets come and go. */
static void test_filling_and_emptying(void **state)
{
	struct fixture *fixture = *state;

	for (unsigned int round = 0; round < 3; round++) {
		struct conn_key one_more = key_ipv6(77777);

		for (uint32_t i = 0; i < CAPACITY; i++) {
			struct conn_key key = key_ipv6(i + round * CAPACITY);

			assert_int_not_equal(add(fixture, &key, 3), CONN_FLOW_NONE);
		}
		assert_int_equal(conn_count(fixture->table), CAPACITY);
		assert_int_equal(add(fixture, &one_more, 3), CONN_FLOW_NONE);
		assert_int_equal(conn_high_water(fixture->table), CAPACITY);
		for (uint32_t i = 0; i < CAPACITY; i++) {
			struct conn_key key = key_ipv6(i + round * CAPACITY);
			struct conn_key reverse = conn_key_reverse(&key, 3);
			uint32_t flow = find(fixture, &key);

			assert_int_not_equal(flow, CONN_FLOW_NONE);
			assert_int_equal(find(fixture, &reverse), flow + 1);
			end(fixture, flow);
			assert_int_equal(find(fixture, &key), CONN_FLOW_NONE);
			assert_int_equal(find(fixture, &reverse), CONN_FLOW_NONE);
		}
		assert_int_equal(conn_count(fixture->table), 0);
	}
}

/* The next key after *i that falls into the first bucket. */
static struct conn_key key_in_first_bucket(const struct fixture *fixture, uint32_t *i)
{
	for (;;) {
		struct conn_key key = key_ipv4(++*i);

		if (!conn_bucket_of(fixture->table, conn_hash(fixture->table, &key)))
			return key;
	}
}

/* All keys fall into one bucket: it takes all overflow buckets, then no more.  What ends gives them
 * back, for another bucket to use. */
static void test_an_index_without_room_refuses(void **state)
{
	struct fixture *fixture = *state;
	uint32_t n_overflow = fixture->table->n_buckets / 8 + 1;
	uint32_t room = (1 + n_overflow) * CONN_BUCKET_SLOTS;

	for (unsigned int round = 0; round < 3; round++) {
		uint32_t i = 0, cached;
		struct conn_key key, reverse;

		for (uint32_t n = 0; n < room; n++) {
			key = key_in_first_bucket(fixture, &i);
			assert_int_not_equal(add(fixture, &key, 0), CONN_FLOW_NONE);
		}
		cached = fixture->cache.n;
		key = key_in_first_bucket(fixture, &i);
		assert_int_equal(add(fixture, &key, 0), CONN_FLOW_NONE);
		assert_int_equal(fixture->cache.n, cached);
		assert_int_equal(conn_count(fixture->table), room);
		assert_int_equal(find(fixture, &key), CONN_FLOW_NONE);
		/* One whose reverse alone finds no room goes in without it. */
		do {
			key = key_in_first_bucket(fixture, &i);
			reverse = conn_key_reverse(&key, 5);
		} while (!conn_bucket_of(fixture->table, conn_hash(fixture->table, &reverse)));
		assert_int_not_equal(add(fixture, &reverse, 1), CONN_FLOW_NONE);
		assert_int_equal(find(fixture, &key), CONN_FLOW_NONE);
		assert_false(conn_add_reverse(fixture->table, find(fixture, &reverse), 1));
		end(fixture, find(fixture, &reverse));

		for (i = 0; conn_count(fixture->table);) {
			key = key_in_first_bucket(fixture, &i);
			assert_int_not_equal(find(fixture, &key), CONN_FLOW_NONE);
			end(fixture, find(fixture, &key));
		}
	}
}

/* A table with little in it stays small, whatever passes through it. */
static void test_numbers_are_used_again(void **state)
{
	struct fixture *fixture = *state;

	for (uint32_t i = 0; i < 100000; i++) {
		struct conn_key key = key_ipv4(i);

		end(fixture, add(fixture, &key, 2));
	}
	assert_in_range(conn_high_water(fixture->table), 1, 64);
}

static void test_a_cache_gives_back(void **state)
{
	struct fixture *fixture = *state;
	struct conn_cache mine = {.n = 0};
	struct conn_key key = key_ipv4(1);
	uint32_t hash = conn_hash(fixture->table, &key);
	uint32_t flows[CAPACITY];

	add(fixture, &key, 2);
	for (uint32_t i = 0; i < 200; i++)
		flows[i] = conn_alloc(fixture->table, &mine, &key, hash, NULL, 0);
	for (uint32_t i = 0; i < 200; i++)
		assert_int_not_equal(conn_publish(fixture->table, &mine, flows[i]), flows[i]);
	assert_in_range(mine.n, 1, sizeof(mine.free) / sizeof(mine.free[0]));
	conn_cache_flush(fixture->table, &mine);
	assert_int_equal(mine.n, 0);
	conn_cache_flush(fixture->table, &fixture->cache);
	for (uint32_t i = 1; i < CAPACITY; i++) {
		flows[i] = conn_alloc(fixture->table, &mine, &key, hash, NULL, 0);
		assert_int_not_equal(flows[i], CONN_FLOW_NONE);
	}
	assert_int_equal(conn_alloc(fixture->table, &mine, &key, hash, NULL, 0), CONN_FLOW_NONE);
}

struct visited {
	uint32_t n, last, first, limit;
	bool unlink;
};

static void visit(struct conn_table *table, uint32_t conn, void *visited_)
{
	struct visited *visited = visited_;

	assert_in_range(conn, visited->first, visited->limit - 1);
	assert_true(!visited->n || conn > visited->last);
	visited->last = conn;
	visited->n++;
	if (visited->unlink)
		assert_true(conn_unlink(table, conn));
}

static void test_for_each_visits_the_live_ones(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		uint32_t first, limit, n;
	} cases[] = {
		{0, CAPACITY, 500},
		{0, 0, 0},
		{0, 1, 1},
		{1, 2, 0},
		{3, 18, 7},
		{17, 500, 241},
		{990, CAPACITY, 5},
		{999, 2000, 0},
	};
	struct visited visited;

	for (uint32_t i = 0; i < 1000; i++) {
		struct conn_key key = key_ipv4(i);

		assert_int_equal(add(fixture, &key, 2), 2 * i);
	}
	for (uint32_t i = 1; i < 1000; i += 2)
		end(fixture, 2 * i);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		visited = (struct visited){.first = cases[i].first, .limit = cases[i].limit};
		conn_for_each(fixture->table, cases[i].first, cases[i].limit, visit, &visited);
		assert_int_equal(visited.n, cases[i].n);
	}
	visited = (struct visited){.limit = CAPACITY, .unlink = true};
	conn_for_each(fixture->table, 0, CAPACITY, visit, &visited);
	assert_int_equal(visited.n, 500);
	assert_int_equal(conn_count(fixture->table), 0);
}

/* The IPv4 shortcut is the same function as the whole sum. */
static void test_the_hash_is_multilinear(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key keys[] = {key_ipv4(5), key_ipv6(5), key_ipv4(0x00ffffff)};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		uint32_t words[CONN_KEY_WORDS];

		memcpy(words, &keys[i], sizeof(words));
		assert_int_equal(conn_hash(fixture->table, &keys[i]),
			keyed_hash(fixture->table->secrets, words, CONN_KEY_WORDS));
	}
}

/* Whatever the secret, keys that count up in any one field fill the table to the last. */
static void test_counting_keys_find_room(void **state)
{
	struct fixture *fixture = *state;
	struct conn_open_report report;

	for (uint32_t round = 0; round < 300; round++) {
		conn_table_close(fixture->table);
		unlink(fixture->path);
		fixture->table = conn_table_open(fixture->path, CAPACITY, boot_id, &report);
		fixture->cache.n = 0;
		for (uint32_t i = 0; i < CAPACITY; i++) {
			struct conn_key key = round & 1 ? key_ipv4(1) : key_ipv6(1);

			switch (round % 3) {
			case 0: key.source_port = htons(i); break;
			case 1: key.destination.s6_addr32[3] += htonl(i); break;
			case 2: key.source.s6_addr32[3] += i; break;
			}
			assert_int_not_equal(add(fixture, &key, 2), CONN_FLOW_NONE);
		}
	}
}

static void test_the_price_of_a_connection(void **state)
{
	char path[64];
	struct conn_open_report report;
	struct conn_table *table;

	(void)state;
	make_path(path);
	table = conn_table_open(path, 65536, boot_id, &report);
	assert_non_null(table);
	print_message("%.1f bytes per connection\n", conn_bytes_per_connection(table));
	assert_true(conn_bytes_per_connection(table) > 224);
	assert_true(conn_bytes_per_connection(table) <= 256);
	conn_table_close(table);
	unlink(path);
}

static void test_the_locks_lock(void **state)
{
	struct conn conn = {.lock = 0};

	(void)state;
	conn_lock(&conn);
	assert_int_equal(conn.lock, 1);
	conn_unlock(&conn);
	assert_int_equal(conn.lock, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_table, close_table)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_both_directions_are_found),
		TEST(test_a_neighbour_is_not_found),
		TEST(test_a_new_connection_is_zero),
		TEST(test_not_found_until_published),
		TEST(test_the_second_of_one_key_gets_the_first),
		TEST(test_a_taken_reverse_is_left_alone),
		TEST(test_the_reverse_is_added_later),
		TEST(test_unlinking_is_done_once),
		TEST(test_prefetching_gives_a_hint),
		TEST(test_filling_and_emptying),
		TEST(test_an_index_without_room_refuses),
		TEST(test_numbers_are_used_again),
		TEST(test_a_cache_gives_back),
		TEST(test_for_each_visits_the_live_ones),
		TEST(test_the_hash_is_multilinear),
		TEST(test_counting_keys_find_room),
		cmocka_unit_test(test_the_price_of_a_connection),
		cmocka_unit_test(test_the_locks_lock),
	};

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
