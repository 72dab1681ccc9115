/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of the traffic log's index and sums when a file is cut, a writer killed, a
 * transaction taken back or a disk full, and what readers see that are in the midst of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "log/flows.h"
#include "tests/unit/log_fixture.h"

static bool add_flow(const struct log_flow *flow, void *context)
{
	*(uint64_t *)context += flow->counts.records;
	return true;
}

/* The records that the flows of a log stand for. */
static uint64_t sum_of_flows(void)
{
	struct log_flow_query query = {.filter = LOG_FILTER_ANY, .by = LOG_FLOW_SERVICE};
	uint64_t n = 0;
	char error[256] = "";

	if (log_flows(directory, &query, add_flow, &n, error, sizeof(error)))
		fail_msg("log_flows: %s", error);
	return n;
}

static bool count_gap(const struct log_gap *gap, void *context)
{
	(void)gap;
	++*(unsigned int *)context;
	return true;
}

static unsigned int count_gaps(void)
{
	unsigned int n = 0;
	char error[256] = "";

	assert_int_equal(log_gaps(directory, 0, 0, count_gap, &n, error, sizeof(error)), 0);
	return n;
}

/* How many records the index finds by a name that all of them have, and by one that none has. */
static void assert_index_finds(size_t n)
{
	struct log_filter filter = LOG_FILTER_ANY;
	struct found *found;

	filter.vm = "web-1";
	found = query(&filter);
	assert_int_equal(found->rc, 0);
	assert_int_equal(found->n, n);
	filter.verdict = ZONE_DENY;
	assert_int_equal(query(&filter)->n, 0);
}

static int64_t number_of(const char *name, const char *sql)
{
	sqlite3_stmt *statement;
	int64_t number;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path_of(name), &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return number;
}

/* --- Damage -------------------------------------------------------------------------------------
 */

static const char first_hour[] = "traffic-20261001T120000Z.db";
static const char second_hour[] = "traffic-20261001T130000Z.db";

static void write_two_hours(uint64_t n)
{
	struct log_store *store = open_store(NULL);

	write_many(store, 1, n, T0, 1000);
	write_many(store, n + 1, 2 * n, T0 + HOUR, 1000);
	log_store_close(store);
}

static void assert_names_the_file(int rc, const char *error)
{
	assert_int_equal(rc, -EIO);
	assert_non_null(strstr(error, second_hour));
}

/* Cut where it hurts: everywhere.  The other file answers, the cut one is named or answers in part,
 * and the writer goes on. */
static void test_a_file_cut_in_half(void **state)
{
	struct log_flow_query flows = {.filter = LOG_FILTER_ANY};
	struct log_store *store;
	struct stat whole;

	(void)state;
	write_two_hours(70000);
	assert_int_equal(stat(path_of(second_hour), &whole), 0);
	for (long eighths = 7; eighths > 0; eighths--) {
		struct log_filter filter = LOG_FILTER_ANY;
		char error[256] = "";
		uint64_t n = 0;
		struct found *found;

		assert_int_equal(truncate(path_of(second_hour), whole.st_size * eighths / 8), 0);
		filter.vm = "web-1";
		found = query(&filter);
		assert_names_the_file(found->rc, found->error);
		assert_true(found->n >= 70000);
		assert_names_the_file(
			log_flows(directory, &flows, add_flow, &n, error, sizeof(error)), error);
		assert_true(n >= 70000);
	}
	store = open_store(NULL);
	write_many(store, 200001, 200010, T0 + HOUR, 1000);
	log_store_close(store);
	assert_int_equal(count_files(".damaged"), 1);
	assert_index_finds(70010);
	assert_int_equal(sum_of_flows(), 70010);
}

/* The writer's own process dies as if killed, again and again, amid segments and turning files. */
static void write_until_killed(void)
{
	struct log_store *store = open_store(&(struct log_store_options){.bucket_seconds = 60});
	uint64_t sequence = log_store_last_sequence(store) + 1;

	for (;;) {
		write_many(store, sequence, sequence + 999, T0 + sequence * 1000000, 1000000);
		sequence += 1000;
	}
}

static void test_killed_at_any_moment(void **state)
{
	uint64_t last = 0;

	(void)state;
	for (long round = 0; round < 8; round++) {
		struct timespec some_time = {.tv_nsec = 60000000 + round * 37000000 % 150000000};
		struct log_store *store;
		pid_t pid = fork();
		int status;

		if (!pid)
			write_until_killed();
		nanosleep(&some_time, NULL);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(sum_of_flows(), query_all()->n);
		store = open_store(&(struct log_store_options){.bucket_seconds = 60});
		assert_true(log_store_last_sequence(store) >= last);
		last = log_store_last_sequence(store);
		log_store_close(store);
		assert_int_equal(query_all()->n, last);
		assert_index_finds(last);
		assert_int_equal(sum_of_flows(), last);
		assert_int_equal(count_gaps(), 0);
	}
	assert_true(last > 1000);
	assert_int_equal(count_files(".damaged"), 0);
}

/* Dies in the midst of changing a finished file, with a journal that tells how to undo it. */
static void die_with_a_journal(void)
{
	sqlite3 *db;

	if (sqlite3_open(path_of(first_hour), &db) != SQLITE_OK ||
		sqlite3_exec(db,
			"PRAGMA journal_mode = DELETE; PRAGMA cache_size = 5; BEGIN;"
			"UPDATE records SET time = time + 1",
			NULL, NULL, NULL) != SQLITE_OK)
		_exit(1);
	kill(getpid(), SIGKILL);
}

/* As an ordinary user, who may read and no more: 0 if told what is wrong. */
static int read_as_nobody(void)
{
	struct log_filter filter = LOG_FILTER_ANY;
	struct found *found;

	if (!getuid() && (setgid(65534) || setuid(65534)))
		return 2;
	found = query(&filter);
	return !(found->rc == -EIO && strstr(found->error, "killed while it finished"));
}

static void test_killed_while_a_file_is_finished(void **state)
{
	struct stat journal;
	int status;
	pid_t pid;

	(void)state;
	write_two_hours(5000);
	for (int round = 0; round < 2; round++) {
		pid = fork();
		if (!pid)
			die_with_a_journal();
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(stat(path_of("traffic-20261001T120000Z.db-journal"), &journal), 0);
		assert_true(journal.st_size > 0);
		assert_int_equal(chmod(directory, 0755), 0);
		assert_int_equal(chmod(path_of(first_hour), 0644), 0);
		assert_int_equal(chmod(path_of(second_hour), 0644), 0);
		assert_int_equal(chmod(path_of("traffic-20261001T120000Z.db-journal"), 0644), 0);
		pid = fork();
		if (!pid)
			_exit(read_as_nobody());
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		/* The next writer mends it, or the next reader who may. */
		if (round)
			log_store_close(open_store(NULL));
		else
			query_all();
		assert_int_equal(count_files("-journal"), 0);
		assert_int_equal(query_all()->n, 10000);
		assert_int_equal(sum_of_flows(), 10000);
	}
}

/* --- Transactions -------------------------------------------------------------------------------
 */

static struct rlimit limit_files(rlim_t bytes)
{
	struct rlimit was, limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = was;
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	return was;
}

/* Writes batches of 1000 from *sequence on until one fails; then *sequence is its first. */
static void fill_up(struct log_store *store, uint64_t *sequence)
{
	for (int batch = 0;; batch++, *sequence += 1000) {
		size_t n_lost;

		assert_true(batch < 1000);
		for (uint64_t i = 0; i < 1000; i++) {
			struct log_record record =
				record_of(*sequence + i, T0 + (*sequence + i) * 1000);

			if (log_store_write(store, &record))
				break;
		}
		if (log_store_commit(store, T0 + *sequence * 1000, &n_lost))
			return;
		assert_int_equal(n_lost, 0);
	}
}

/* What was taken back is written again under the same numbers: by the same store, and by another.
 */
static void test_what_is_lost_is_written_again(void **state)
{
	struct log_store *store = open_store(NULL);
	uint64_t sequence = 1;
	struct rlimit was;

	(void)state;
	for (int round = 1; round <= 4; round++) {
		was = limit_files((rlim_t)round << 20);
		fill_up(store, &sequence);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
		if (round % 2) {
			log_store_close(store);
			store = open_store(NULL);
		}
		assert_int_equal(log_store_last_sequence(store), sequence - 1);
		write_many(store, sequence, sequence + 999, T0 + sequence * 1000, 1000);
		sequence += 1000;
	}
	log_store_close(store);
	assert_int_equal(query_all()->n, sequence - 1);
	assert_index_finds(sequence - 1);
	assert_int_equal(sum_of_flows(), sequence - 1);
	assert_int_equal(count_gaps(), 0);
}

/* Space for the records, and none for their index: the file does without. */
static void test_no_space_for_an_index(void **state)
{
	struct log_store *store = open_store(NULL);
	struct rlimit was;
	struct stat wal;

	(void)state;
	write_many(store, 1, 60000, T0, 1000);
	assert_int_equal(stat(path_of("traffic-20261001T120000Z.db-wal"), &wal), 0);
	was = limit_files((rlim_t)wal.st_size);
	log_store_close(store);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(number_of(first_hour, "SELECT count(*) FROM segments"), 0);
	assert_int_equal(number_of(first_hour, "SELECT count(*) FROM slices"), 0);
	assert_index_finds(60000);
	assert_int_equal(sum_of_flows(), 60000);
	/* Whoever goes on with it makes up for it. */
	store = open_store(NULL);
	write_many(store, 60001, 60010, T0 + SECOND, 1000);
	log_store_close(store);
	assert_int_equal(number_of(first_hour, "SELECT sum(records) FROM slices"), 60010);
	assert_index_finds(60010);
}

/* --- Readers in the midst -----------------------------------------------------------------------
 */

struct midst {
	struct log_store *store;
	size_t n;
	uint64_t n_inner;
};

static bool count_inner(const struct log_record *record, void *context)
{
	(void)record;
	++*(uint64_t *)context;
	return true;
}

/* Two readers hold the file when its hour ends: a second one asks while the first stands still. */
static bool end_the_hour(const struct log_record *record, void *context)
{
	struct midst *midst = context;
	struct log_filter filter = LOG_FILTER_ANY;
	char error[256] = "";

	(void)record;
	if (++midst->n != 100)
		return true;
	write_many(midst->store, 1001, 70000, T0 + SECOND, 1000);
	commit(midst->store, T0 + HOUR);
	write_many(midst->store, 70001, 70100, T0 + HOUR, 1000);
	assert_int_equal(
		log_query(directory, &filter, count_inner, &midst->n_inner, error, sizeof(error)),
		0);
	assert_int_equal(sum_of_flows(), 70100);
	return true;
}

static void test_two_readers_while_an_hour_ends(void **state)
{
	struct log_filter filter = LOG_FILTER_ANY;
	struct midst midst = {.store = open_store(NULL)};
	char error[256] = "";

	(void)state;
	write_many(midst.store, 1, 1000, T0, 1000);
	filter.vm = "web-1";
	assert_int_equal(
		log_query(directory, &filter, end_the_hour, &midst, error, sizeof(error)), 0);
	assert_int_equal(midst.n, 1000);
	assert_int_equal(midst.n_inner, 70100);
	commit(midst.store, T0 + HOUR + 120 * SECOND);
	assert_int_equal(count_files("-wal"), 1);
	log_store_close(midst.store);
	assert_int_equal(number_of(first_hour, "SELECT sum(records) FROM segments"), 70000);
	assert_index_finds(70100);
}

/* Whatever limit a test left behind ends with it. */
static int clean_up(void **state)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_FSIZE, &limit);
	return remove_directory(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, clean_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_file_cut_in_half),
		TEST(test_killed_at_any_moment),
		TEST(test_killed_while_a_file_is_finished),
		TEST(test_what_is_lost_is_written_again),
		TEST(test_no_space_for_an_index),
		TEST(test_two_readers_while_an_hour_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
