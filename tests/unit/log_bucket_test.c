/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the traffic log finds in its directory: files that a crash has left, damaged ones, those of
 * something else, and those of another format.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "tests/unit/log_fixture.h"

/* Runs `child` in a process of its own, which then dies as if killed. */
static void in_a_process_that_crashes(void (*child)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		child();
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void write_and_leave_one_open(void)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(1001, T0 + HOUR);

	write_many(store, 1, 1000, T0, SECOND);
	write_one(store, &record);
}

static void test_a_crash_loses_nothing_committed(void **state)
{
	struct log_store *store;

	(void)state;
	in_a_process_that_crashes(write_and_leave_one_open);
	assert_int_equal(count_files("-wal"), 1);
	assert_int_equal(query_all()->n, 1000);
	store = open_store(NULL);
	assert_int_equal(log_store_last_sequence(store), 1000);
	assert_int_equal(count_files("-wal"), 0);
	write_many(store, 1001, 1010, T0 + 1100 * SECOND, SECOND);
	log_store_close(store);
	assert_int_equal(query_all()->n, 1010);
}

static void test_sets_a_damaged_file_aside(void **state)
{
	struct log_store *store;

	(void)state;
	for (int round = 1; round <= 2; round++) {
		write_garbage("traffic-20261001T120000Z.db");
		store = open_store(NULL);
		assert_int_equal(log_store_last_sequence(store), 0);
		write_many(store, 1, 10, T0, SECOND);
		log_store_close(store);
		assert_int_equal(count_files(".damaged"), round);
		assert_int_equal(query_all()->n, 10);
		assert_int_equal(unlink(path_of("traffic-20261001T120000Z.db")), 0);
	}
	assert_int_equal(access(path_of("traffic-20261001T120000Z.db.damaged"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T120000Z.db.damaged.2"), F_OK), 0);
}

static void test_sets_a_foreign_database_aside(void **state)
{
	struct log_store *store;
	sqlite3 *db;

	(void)state;
	assert_int_equal(sqlite3_open(path_of("traffic-20261001T120000Z.db"), &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db, "CREATE TABLE precious (x)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	store = open_store(NULL);
	write_many(store, 1, 10, T0, SECOND);
	log_store_close(store);
	assert_int_equal(access(path_of("traffic-20261001T120000Z.db.damaged"), F_OK), 0);
	assert_int_equal(query_all()->n, 10);
}

static void test_leaves_a_file_of_another_format_alone(void **state)
{
	struct log_store *store = open_store(NULL);
	struct found *found;
	sqlite3 *db;

	(void)state;
	write_many(store, 1, 10, T0, SECOND);
	log_store_close(store);
	assert_int_equal(sqlite3_open(path_of("traffic-20261001T120000Z.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	store = open_store(NULL);
	write_many(store, 11, 15, T0, SECOND);
	log_store_close(store);
	assert_int_equal(access(path_of("traffic-20261001T120000Z-2.db"), F_OK), 0);
	found = query(&(struct log_filter)LOG_FILTER_ANY);
	assert_int_equal(found->rc, -EIO);
	assert_int_equal(found->n, 5);
	assert_non_null(strstr(found->error, "traffic-20261001T120000Z.db has format 99"));
}

/* As it was before there were simulated policies. */
static void make_format_1(const char *name)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path_of(name), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db,
				 "DROP VIEW traffic;"
				 "ALTER TABLE contexts DROP COLUMN simulated;"
				 "ALTER TABLE contexts DROP COLUMN simulated_policy;"
				 "ALTER TABLE contexts DROP COLUMN simulated_rule;"
				 "ALTER TABLE bucket DROP COLUMN filtered;"
				 "DROP TABLE segments; DROP TABLE postings; DROP TABLE slices;"
				 "PRAGMA user_version = 1",
				 NULL, NULL, NULL),
		SQLITE_OK);
	sqlite3_close(db);
}

static void test_reads_format_1_and_goes_on_in_another_file(void **state)
{
	struct log_filter filter = LOG_FILTER_ANY;
	struct log_store *store = open_store(NULL);
	struct log_record record;
	struct found *found;

	(void)state;
	write_many(store, 1, 10, T0, SECOND);
	log_store_close(store);
	make_format_1("traffic-20261001T120000Z.db");
	store = open_store(NULL);
	assert_int_equal(log_store_last_sequence(store), 10);
	record = record_of(11, T0 + 11 * SECOND);
	record.simulated = 1 + ZONE_DENY;
	record.simulated_policy = record.simulated_rule = "s";
	write_one(store, &record);
	log_store_close(store);
	assert_int_equal(access(path_of("traffic-20261001T120000Z-2.db"), F_OK), 0);
	found = query(&filter);
	assert_int_equal(found->rc, 0);
	assert_int_equal(found->n, 11);
	filter.simulated = ZONE_DENY;
	found = query(&filter);
	assert_int_equal(found->rc, 0);
	assert_int_equal(found->n, 1);
	assert_int_equal(found->sequences[0], 11);
}

static void overwrite_pages(const char *name, int first, int last)
{
	int fd = open(path_of(name), O_RDWR);
	char junk[4096];

	assert_true(fd >= 0);
	memset(junk, 0xa5, sizeof(junk));
	for (int page = first; page <= last; page++)
		assert_int_equal(pwrite(fd, junk, sizeof(junk), (page - 1) * 4096L), sizeof(junk));
	close(fd);
}

/* The page where a table of the bucket begins. */
static int root_of(const char *name, const char *table)
{
	char sql[100];
	sqlite3_stmt *statement;
	sqlite3 *db;
	int page;

	snprintf(sql, sizeof(sql), "SELECT rootpage FROM sqlite_schema WHERE name = '%s'", table);
	assert_int_equal(sqlite3_open(path_of(name), &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	page = sqlite3_column_int(statement, 0);
	sqlite3_finalize(statement);
	sqlite3_close(db);
	return page;
}

/* Damage within, which shows only when the table is used: the file is set aside, at the cost of one
 * transaction at most, and every record of the others is kept. */
static void test_sets_a_file_aside_that_is_damaged_within(void **state)
{
	static const char *const tables[] = {"records", "parties", "contexts", "strings", "bucket"};
	static const char name[] = "traffic-20261001T120000Z.db";
	uint64_t sequence = 1;

	(void)state;
	for (unsigned int i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		struct log_store *store = open_store(NULL);
		size_t n_kept = 0;
		int page;

		write_many(store, sequence, sequence + 9999, T0, 1000);
		sequence += 10000;
		log_store_close(store);
		page = root_of(name, tables[i]);
		overwrite_pages(name, page, page);
		store = open_store(NULL);
		sequence += 10000;
		for (int batch = 0; batch < 3; batch++) {
			struct log_record record = record_of(sequence++, T0 + SECOND);
			int rc = log_store_write(store, &record);
			size_t n_lost;

			n_kept += !log_store_commit(store, T0 + SECOND, &n_lost) && !rc;
		}
		log_store_close(store);
		assert_in_range(n_kept, 2, 3);
		assert_int_equal(count_files(".damaged"), i + 1);
		assert_int_equal(query_all()->n, n_kept);
		assert_int_equal(unlink(path_of(name)), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_crash_loses_nothing_committed),
		TEST(test_sets_a_damaged_file_aside),
		TEST(test_sets_a_foreign_database_aside),
		TEST(test_leaves_a_file_of_another_format_alone),
		TEST(test_reads_format_1_and_goes_on_in_another_file),
		TEST(test_sets_a_file_aside_that_is_damaged_within),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
