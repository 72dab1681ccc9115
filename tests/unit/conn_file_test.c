/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table's file: what the next process finds when the former one closed it, was
 * killed, or left something damaged or foreign.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "datapath/conn_internal.h"
#include "tests/unit/conn_fixture.h"

enum { CAPACITY = 1024 };

struct fixture {
	char path[64];
	struct conn_table *table;
	struct conn_cache cache;
	struct conn_open_report report;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	make_path(fixture->path);
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	conn_table_close(fixture->table);
	unlink(fixture->path);
	free(fixture);
	return 0;
}

static void open_as(struct fixture *fixture, uint32_t capacity, enum conn_open_result wanted)
{
	conn_table_close(fixture->table);
	fixture->cache.n = 0;
	fixture->table = conn_table_open(fixture->path, capacity, boot_id, &fixture->report);
	if (fixture->report.result != wanted)
		print_error("%s\n", fixture->report.why);
	assert_int_equal(fixture->report.result, wanted);
	assert_true((wanted == CONN_OPEN_FAILED) == !fixture->table);
}

/* Adds connections first .. first + n - 1, every third without its reverse. */
static void add_many(struct fixture *fixture, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		struct conn_key key = i & 1 ? key_ipv4(i) : key_ipv6(i);
		uint32_t flow = add_to(fixture->table, &fixture->cache, &key, i % 3 ? 2 : 0);

		assert_int_not_equal(flow, CONN_FLOW_NONE);
	}
}

/* Checks that connection i is there, in both directions if it has two, with its state. */
static void assert_there(const struct fixture *fixture, uint32_t i)
{
	struct conn_key key = i & 1 ? key_ipv4(i) : key_ipv6(i);
	struct conn_key reverse = conn_key_reverse(&key, 2);
	uint32_t flow = find_in(fixture->table, &key);

	assert_int_not_equal(flow, CONN_FLOW_NONE);
	assert_int_equal(conn_of_flow(fixture->table, flow)->rule, i);
	assert_int_equal(find_in(fixture->table, &reverse), i % 3 ? flow + 1 : CONN_FLOW_NONE);
}

/* Checks that an empty table works. */
static void assert_empty_and_usable(struct fixture *fixture)
{
	assert_int_equal(conn_count(fixture->table), 0);
	assert_int_equal(conn_high_water(fixture->table), 0);
	add_many(fixture, 0, CAPACITY);
	for (uint32_t i = 0; i < CAPACITY; i++)
		assert_there(fixture, i);
}

static void test_a_closed_table_is_adopted(void **state)
{
	struct fixture *fixture = *state;
	struct conn_key key = key_ipv4(601);
	struct flow *flow;

	open_as(fixture, CAPACITY, CONN_OPEN_NEW);
	add_many(fixture, 0, 700);
	for (uint32_t conn = 0; conn < 700; conn += 7) /* Holes. */
		assert_true(conn_unlink(fixture->table, conn));
	flow = conn_flow(fixture->table, find_in(fixture->table, &key));
	flow->program = 5;
	flow->forwarding_revision = 6;
	flow->policy_epoch = 7;
	flow->last_seen = conn_clock() - 10;
	flow[1].last_seen = conn_clock() + 1000000;

	open_as(fixture, CAPACITY, CONN_OPEN_ADOPTED);
	assert_int_equal(fixture->report.adopted, 600);
	assert_int_equal(fixture->report.dropped, 0);
	assert_int_equal(conn_count(fixture->table), 600);
	assert_int_equal(conn_high_water(fixture->table), 700);
	for (uint32_t i = 0; i < 700; i++) {
		if (i % 7)
			assert_there(fixture, i);
	}
	flow = conn_flow(fixture->table, find_in(fixture->table, &key));
	assert_int_equal(flow->program | flow->forwarding_revision | flow->policy_epoch, 0);
	assert_in_range(conn_clock() - flow[0].last_seen, 10, 20);
	assert_in_range(conn_clock() - flow[1].last_seen, 0, 10);

	/* The holes are filled first, and little more is taken ahead. */
	add_many(fixture, 10000, 100);
	assert_in_range(conn_high_water(fixture->table), 700, 732);
	add_many(fixture, 20000, CAPACITY - 700);
	assert_int_equal(conn_count(fixture->table), CAPACITY);
}

static void test_a_full_table_is_adopted(void **state)
{
	struct fixture *fixture = *state;

	open_as(fixture, CAPACITY, CONN_OPEN_NEW);
	add_many(fixture, 0, CAPACITY);
	open_as(fixture, CAPACITY, CONN_OPEN_ADOPTED);
	assert_int_equal(fixture->report.adopted, CAPACITY);
	for (uint32_t i = 0; i < CAPACITY; i++)
		assert_there(fixture, i);
}

/* --- Damage --------------------------------------------------------------------------------- */

/* What lies where in a file of CAPACITY connections. */
static struct conn_store *store_of(struct fixture *fixture)
{
	return fixture->table->store;
}

static void test_locks_and_the_index_are_made_anew(void **state)
{
	struct fixture *fixture = *state;

	open_as(fixture, CAPACITY, CONN_OPEN_NEW);
	add_many(fixture, 0, CAPACITY);
	memset(fixture->table->buckets, 0xff,
		(fixture->table->n_buckets + store_of(fixture)->n_overflow) *
			sizeof(struct conn_bucket));
	for (uint32_t conn = 0; conn < CAPACITY; conn++)
		fixture->table->conns[conn].lock = 1;

	open_as(fixture, CAPACITY, CONN_OPEN_ADOPTED);
	assert_int_equal(fixture->report.adopted, CAPACITY);
	for (uint32_t i = 0; i < CAPACITY; i++)
		assert_there(fixture, i);
	for (uint32_t conn = 0; conn < CAPACITY; conn++)
		assert_true(conn_unlink(fixture->table, conn));
}

/* Ways to damage connection 1, whose flows are 2 and 3. */
static void damage_kind(struct conn_table *table)
{
	table->flows[2].key.kind = 9;
}

static void damage_port(struct conn_table *table)
{
	table->flows[2].key.in_port = CONN_PORTS_MAX;
	table->flows[2].hash = conn_hash(table, &table->flows[2].key);
}

static void damage_no_port(struct conn_table *table)
{
	table->flows[2].key.in_port = 0;
	table->flows[2].hash = conn_hash(table, &table->flows[2].key);
}

static void damage_net(struct conn_table *table)
{
	table->flows[2].key.net = 2 << 24;
	table->flows[2].hash = conn_hash(table, &table->flows[2].key);
}

static void damage_address(struct conn_table *table)
{
	table->flows[2].key.source.s6_addr[0] = 1; /* Said to be IPv4. */
	table->flows[2].hash = conn_hash(table, &table->flows[2].key);
}

static void damage_hash(struct conn_table *table)
{
	table->flows[2].hash++;
}

static void damage_reverse(struct conn_table *table)
{
	table->flows[3].key.source_port ^= 1;
	table->flows[3].hash = conn_hash(table, &table->flows[3].key);
}

static void damage_reverse_hash(struct conn_table *table)
{
	table->flows[3].hash++;
}

static void damage_no_verdict(struct conn_table *table)
{
	table->conns[1].verdict = 0;
}

static void damage_verdict(struct conn_table *table)
{
	table->conns[1].verdict = CONN_DENIED + 1;
}

static void damage_flags(struct conn_table *table)
{
	table->conns[1].flags |= 1 << 7;
}

static void damage_out_port(struct conn_table *table)
{
	table->conns[1].out_port = CONN_PORTS_MAX;
}

static void damage_quota_port(struct conn_table *table)
{
	table->conns[1].quota_port = CONN_PORTS_MAX;
}

static void damage_tcp(struct conn_table *table)
{
	table->conns[1].flags |= CONN_TCP;
	table->conns[1].dir[1].tcp.progress = TCP_SIDE_N_PROGRESS;
}

static void damage_tcp_scale(struct conn_table *table)
{
	table->conns[1].flags |= CONN_TCP;
	table->conns[1].dir[0].tcp.flags = 15 << TCP_SIDE_SCALE_SHIFT;
}

static void damage_twice_the_same(struct conn_table *table)
{
	table->flows[2] = table->flows[0];
	table->conns[1].flags = 0;
}

static void test_a_damaged_connection_is_left_out(void **state)
{
	struct fixture *fixture = *state;
	static void (*const damages[])(struct conn_table * table) = {damage_kind, damage_port,
		damage_no_port, damage_net, damage_address, damage_hash, damage_reverse,
		damage_reverse_hash, damage_no_verdict, damage_verdict, damage_flags,
		damage_out_port, damage_quota_port, damage_tcp, damage_tcp_scale,
		damage_twice_the_same};

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct conn_key key = key_ipv4(1);

		unlink(fixture->path);
		open_as(fixture, CAPACITY, CONN_OPEN_NEW);
		add_many(fixture, 0, 10);
		damages[i](fixture->table);
		open_as(fixture, CAPACITY, CONN_OPEN_ADOPTED);
		if (fixture->report.dropped != 1)
			print_error("damage %zu went unnoticed\n", i);
		assert_int_equal(fixture->report.dropped, 1);
		assert_int_equal(fixture->report.adopted, 9);
		assert_int_equal(find_in(fixture->table, &key), CONN_FLOW_NONE);
		for (uint32_t other = 0; other < 10; other++) {
			if (other != 1)
				assert_there(fixture, other);
		}
		add_many(fixture, 1, 1); /* Its place is free again. */
		assert_int_equal(conn_high_water(fixture->table), 10);
	}
}

/* The only bytes of a file that are not written through the table: where they are, and what the
 * refusal must speak of. */
struct header_damage {
	size_t offset;
	const char *word;
};

static void test_a_foreign_header_is_refused_by_name(void **state)
{
	struct fixture *fixture = *state;
	static const struct header_damage damages[] = {
		{0, "not a connection table"}, /* Magic. */
		{8, "version"},
		{12, "checksum"}, /* Sizes. */
		{24, "checksum"}, /* Capacity. */
		{48, "checksum"}, /* Boot. */
		{80, "checksum"}, /* Secrets. */
		{160, "checksum"},
	};

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		uint8_t *map;

		unlink(fixture->path);
		open_as(fixture, CAPACITY, CONN_OPEN_NEW);
		add_many(fixture, 0, 10);
		map = store_of(fixture)->map;
		map[damages[i].offset] ^= 1;
		open_as(fixture, CAPACITY, CONN_OPEN_REFUSED);
		assert_non_null(strstr(fixture->report.why, damages[i].word));
		assert_empty_and_usable(fixture);
		open_as(fixture, CAPACITY, CONN_OPEN_ADOPTED);
		assert_int_equal(fixture->report.adopted, CAPACITY);
	}
}

static void test_another_capacity_is_refused_by_name(void **state)
{
	struct fixture *fixture = *state;

	open_as(fixture, 2 * CAPACITY, CONN_OPEN_NEW);
	add_many(fixture, 0, 10);
	open_as(fixture, CAPACITY, CONN_OPEN_REFUSED);
	assert_non_null(strstr(fixture->report.why, "made for 2048 connections, not 1024"));
	assert_empty_and_usable(fixture);
}

static void test_another_boot_is_refused_by_name(void **state)
{
	struct fixture *fixture = *state;
	const uint8_t other[16] = {9};

	open_as(fixture, CAPACITY, CONN_OPEN_NEW);
	add_many(fixture, 0, 10);
	conn_table_close(fixture->table);
	fixture->table = conn_table_open(fixture->path, CAPACITY, other, &fixture->report);
	fixture->cache.n = 0;
	assert_int_equal(fixture->report.result, CONN_OPEN_REFUSED);
	assert_non_null(strstr(fixture->report.why, "boot"));
	assert_empty_and_usable(fixture);
}

static void test_another_length_is_refused_by_name(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		off_t by;
		const char *why;
	} cases[] = {
		{4096, "bytes long"},
		{-4096, "bytes long"},
		{-1, "bytes long"},
	};
	struct stat status;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unlink(fixture->path);
		open_as(fixture, CAPACITY, CONN_OPEN_NEW);
		add_many(fixture, 0, 10);
		conn_table_close(fixture->table);
		fixture->table = NULL;
		assert_int_equal(stat(fixture->path, &status), 0);
		assert_int_equal(truncate(fixture->path, status.st_size + cases[i].by), 0);
		open_as(fixture, CAPACITY, CONN_OPEN_REFUSED);
		assert_non_null(strstr(fixture->report.why, cases[i].why));
		assert_empty_and_usable(fixture);
	}
}

static void test_other_files_are_refused_by_name(void **state)
{
	struct fixture *fixture = *state;
	static const off_t sizes[] = {1, 100, 4096, 1 << 20};
	FILE *file;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		conn_table_close(fixture->table);
		fixture->table = NULL;
		unlink(fixture->path);
		file = fopen(fixture->path, "w");
		for (off_t at = 0; at < sizes[i]; at++)
			fputc('x', file);
		fclose(file);
		open_as(fixture, CAPACITY, CONN_OPEN_REFUSED);
		assert_non_null(strstr(fixture->report.why, "connection table"));
		assert_empty_and_usable(fixture);
	}
}

static void test_a_wild_live_byte_is_refused_by_name(void **state)
{
	struct fixture *fixture = *state;

	open_as(fixture, CAPACITY, CONN_OPEN_NEW);
	add_many(fixture, 0, 10);
	store_of(fixture)->live[77] = 2;
	open_as(fixture, CAPACITY, CONN_OPEN_REFUSED);
	assert_non_null(strstr(fixture->report.why, "connection 77 has a live byte of 2"));
	assert_empty_and_usable(fixture);
}

/* --- Failing -------------------------------------------------------------------------------- */

static void assert_fails(struct fixture *fixture, const char *path, const char *why)
{
	struct conn_open_report report;

	(void)fixture;
	assert_null(conn_table_open(path, CAPACITY, boot_id, &report));
	assert_int_equal(report.result, CONN_OPEN_FAILED);
	assert_non_null(strstr(report.why, path));
	if (!strstr(report.why, why))
		print_error("%s\n", report.why);
	assert_non_null(strstr(report.why, why));
}

static void test_a_table_in_use_is_left_alone(void **state)
{
	struct fixture *fixture = *state;

	open_as(fixture, CAPACITY, CONN_OPEN_NEW);
	add_many(fixture, 0, 10);
	assert_fails(fixture, fixture->path, "in use by another process");
	for (uint32_t i = 0; i < 10; i++)
		assert_there(fixture, i);
}

static void test_what_is_no_file_is_left_alone(void **state)
{
	struct fixture *fixture = *state;
	char link[80];

	assert_fails(fixture, "/dev/shm", "directory");
	assert_fails(fixture, "/dev/shm/no-such-directory/connections", "No such file");
	snprintf(link, sizeof(link), "%s-link", fixture->path);
	assert_int_equal(symlink(fixture->path, link), 0);
	assert_fails(fixture, link, "symbolic links");
	unlink(link);
	assert_int_equal(mkfifo(link, 0600), 0);
	assert_fails(fixture, link, "not a regular file");
	unlink(link);
}

static void test_a_capacity_out_of_range_fails(void **state)
{
	struct fixture *fixture = *state;
	static const uint32_t capacities[] = {0, 1023, (1 << 28) + 1, UINT32_MAX};

	for (size_t i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
		open_as(fixture, capacities[i], CONN_OPEN_FAILED);
		assert_non_null(strstr(fixture->report.why, "capacity"));
	}
}

static void test_want_of_memory_says_how_much(void **state)
{
	struct fixture *fixture = *state;
	struct rlimit unlimited, limit;
	void (*former)(int) = signal(SIGXFSZ, SIG_IGN);

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	limit = unlimited;
	limit.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	open_as(fixture, 1 << 16, CONN_OPEN_FAILED);
	setrlimit(RLIMIT_FSIZE, &unlimited);
	signal(SIGXFSZ, former);
	assert_non_null(strstr(fixture->report.why, "16 MiB cannot be reserved"));
	assert_non_null(strstr(fixture->report.why, fixture->path));
}

/* --- Huge pages, in a mount namespace of the test's own ----------------------------------------
 */

/* Runs in a child process.  0: passed; 77: no huge pages here. */
static int use_huge_pages(void)
{
	static const char path[] = "/dev/shm/connections";
	struct conn_open_report report;
	struct conn_cache cache = {.n = 0};
	struct conn_key key = key_ipv4(1);
	struct conn_table *table;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("cordon-test", "/dev/shm", "hugetlbfs", 0, "pagesize=2M"))
		return 77;
	table = conn_table_open(path, CAPACITY, boot_id, &report);
	if (!table)
		return strstr(report.why, "huge pages of 2048 KiB cannot be had") ? 77 : 1;
	if (!report.huge_pages || add_to(table, &cache, &key, 2) == CONN_FLOW_NONE)
		return 2;
	conn_table_close(table);
	table = conn_table_open(path, CAPACITY, boot_id, &report);
	if (report.result != CONN_OPEN_ADOPTED || find_in(table, &key) == CONN_FLOW_NONE)
		return 3;
	conn_table_close(table);
	table = conn_table_open(path, 1 << 28, boot_id, &report); /* 65 GB. */
	if (table || !strstr(report.why, "raise vm.nr_hugepages"))
		return 4;
	return 0;
}

static void test_huge_pages(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (!child)
		_exit(use_huge_pages());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- kill -9 -------------------------------------------------------------------------------- */

enum { KEYS = 600, ROUNDS = 60 };

/* What the child has done so far with each key, in memory shared with the test. */
enum fate { ABSENT, IN_FLIGHT, PRESENT };

static uint32_t next_random(uint32_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	return *random ^= *random << 5;
}

/* Adds and ends connections until it is killed. */
static void churn(struct fixture *fixture, _Atomic uint8_t *fates, uint32_t random)
{
	for (;;) {
		uint32_t i = next_random(&random) % KEYS, conn;
		struct conn_key key = i & 1 ? key_ipv4(i) : key_ipv6(i);
		uint8_t before = fates[i];

		fates[i] = IN_FLIGHT;
		if (before == ABSENT) {
			add_many(fixture, i, 1);
		} else {
			conn = find_in(fixture->table, &key) / 2;
			if (!conn_unlink(fixture->table, conn))
				abort();
			conn_free(fixture->table, &conn, 1);
		}
		fates[i] = before == ABSENT ? PRESENT : ABSENT;
	}
}

/* What was there is there, what had gone is gone, and what was being done is one of both. */
static void check_fates(struct fixture *fixture, _Atomic uint8_t *fates)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < KEYS; i++) {
		struct conn_key key = i & 1 ? key_ipv4(i) : key_ipv6(i);
		bool there = find_in(fixture->table, &key) != CONN_FLOW_NONE;

		if (fates[i] != IN_FLIGHT)
			assert_int_equal(there, fates[i] == PRESENT);
		if (there)
			assert_there(fixture, i);
		fates[i] = there ? PRESENT : ABSENT;
		n += there;
	}
	assert_int_equal(conn_count(fixture->table), n);
	assert_int_equal(fixture->report.dropped, 0);
}

static void test_a_killed_process_loses_nothing(void **state)
{
	struct fixture *fixture = *state;
	_Atomic uint8_t *fates =
		mmap(NULL, KEYS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t random = 12345;

	assert_ptr_not_equal(fates, MAP_FAILED);
	open_as(fixture, CAPACITY, CONN_OPEN_NEW);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		pid_t child;

		conn_table_close(fixture->table);
		fixture->table = NULL;
		child = fork();
		if (!child) {
			open_as(fixture, CAPACITY, CONN_OPEN_ADOPTED);
			churn(fixture, fates, next_random(&random) | 1);
		}
		assert_true(child > 0);
		usleep(2000 + next_random(&random) % 5000);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		next_random(&random);
		open_as(fixture, CAPACITY, CONN_OPEN_ADOPTED);
		check_fates(fixture, fates);
	}
	munmap((void *)fates, KEYS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_closed_table_is_adopted),
		TEST(test_a_full_table_is_adopted),
		TEST(test_locks_and_the_index_are_made_anew),
		TEST(test_a_damaged_connection_is_left_out),
		TEST(test_a_foreign_header_is_refused_by_name),
		TEST(test_another_capacity_is_refused_by_name),
		TEST(test_another_boot_is_refused_by_name),
		TEST(test_another_length_is_refused_by_name),
		TEST(test_other_files_are_refused_by_name),
		TEST(test_a_wild_live_byte_is_refused_by_name),
		TEST(test_a_table_in_use_is_left_alone),
		TEST(test_what_is_no_file_is_left_alone),
		TEST(test_a_capacity_out_of_range_fails),
		TEST(test_want_of_memory_says_how_much),
		TEST(test_huge_pages),
		TEST(test_a_killed_process_loses_nothing),
	};

	return cmocka_run_group_tests_name("conn_file", tests, NULL, NULL);
}
