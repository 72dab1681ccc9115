/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer of the traffic log: what is written is read back, files turn and are deleted when they
 * should, and what goes wrong is counted and mended.
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
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/unit/log_fixture.h"

/* --- Fields ------------------------------------------------------------------------------------
 */

static struct log_record expected;

static void assert_same_party(const struct log_party *a, const struct log_party *b)
{
	assert_memory_equal(&a->address, &b->address, sizeof(a->address));
	assert_memory_equal(a->mac, b->mac, 6);
	assert_int_equal(a->transport_port, b->transport_port);
	assert_string_equal(a->port, b->port);
	assert_string_equal(a->vm_id, b->vm_id);
	assert_string_equal(a->vm_name, b->vm_name);
	assert_string_equal(a->zone, b->zone);
	assert_string_equal(a->tags, b->tags);
}

static bool compare_record(const struct log_record *a, void *context)
{
	const struct log_record *b = &expected;

	assert_int_equal(a->time_ns, b->time_ns);
	assert_int_equal(a->start_ns, b->start_ns);
	assert_int_equal(a->sequence, b->sequence);
	assert_string_equal(a->host, b->host);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->protocol, b->protocol);
	assert_int_equal(a->icmp_type, b->icmp_type);
	assert_int_equal(a->icmp_code, b->icmp_code);
	assert_int_equal(a->tcp_flags, b->tcp_flags);
	assert_int_equal(a->verdict, b->verdict);
	assert_int_equal(a->ethertype, b->ethertype);
	assert_int_equal(a->vlan, b->vlan);
	assert_int_equal(a->vni, b->vni);
	assert_same_party(&a->source, &b->source);
	assert_same_party(&a->destination, &b->destination);
	assert_string_equal(a->reason, b->reason);
	assert_string_equal(a->tier, b->tier);
	assert_string_equal(a->policy, b->policy);
	assert_string_equal(a->rule, b->rule);
	assert_string_equal(a->label, b->label);
	assert_int_equal(a->simulated, b->simulated);
	assert_string_equal(a->simulated_policy, b->simulated_policy);
	assert_string_equal(a->simulated_rule, b->simulated_rule);
	assert_int_equal(a->policy_revision, b->policy_revision);
	assert_int_equal(a->suppressed, b->suppressed);
	assert_int_equal(a->packets_forward, b->packets_forward);
	assert_int_equal(a->bytes_forward, b->bytes_forward);
	assert_int_equal(a->packets_reverse, b->packets_reverse);
	assert_int_equal(a->bytes_reverse, b->bytes_reverse);
	++*(unsigned int *)context;
	return true;
}

/* Writes `expected` into a fresh log, reads it back before and after the file is closed. */
static void assert_kept(void)
{
	struct log_store *store = open_store(NULL);
	struct log_filter filter = LOG_FILTER_ANY;
	unsigned int n = 0;
	char error[256];

	expected.sequence = log_store_last_sequence(store) + 1;
	filter.after_sequence = log_store_last_sequence(store);
	write_one(store, &expected);
	commit(store, expected.time_ns);
	assert_int_equal(
		log_query(directory, &filter, compare_record, &n, error, sizeof(error)), 0);
	log_store_close(store);
	assert_int_equal(
		log_query(directory, &filter, compare_record, &n, error, sizeof(error)), 0);
	assert_int_equal(n, 2);
}

static void test_keeps_every_field(void **state)
{
	(void)state;
	expected = record_of(1, T0 + 123456789);
	assert_kept();
	expected = denial_of(1, T0 + 987654321);
	expected.suppressed = UINT32_MAX;
	assert_kept();
	/* A spoofed address is no part of the party. */
	expected.kind = LOG_SPOOFED;
	expected.source.address = address("192.0.2.66");
	assert_kept();
}

static void test_keeps_extremes(void **state)
{
	static char long_tags[6000];

	(void)state;
	memset(long_tags, 'x', sizeof(long_tags) - 1);
	expected = record_of(1, T0 + 1);
	expected.kind = LOG_LIMIT;
	expected.protocol = expected.icmp_type = expected.icmp_code = expected.tcp_flags = 255;
	expected.verdict = ZONE_REJECT;
	expected.ethertype = expected.vlan = 0xffff;
	expected.vni = expected.policy_revision = UINT32_MAX;
	expected.source.transport_port = expected.destination.transport_port = 0xffff;
	expected.packets_forward = expected.bytes_forward = UINT64_MAX;
	expected.packets_reverse = expected.bytes_reverse = INT64_MAX;
	expected.start_ns = 0;
	expected.destination.tags = long_tags;
	expected.simulated = 1 + ZONE_REJECT;
	expected.simulated_policy = "audit";
	expected.simulated_rule = "no-db";
	expected.label = "'; DROP TABLE records; -- \xc3\xa9\xe2\x82\xac";
	memset(expected.source.mac, 0xff, 6);
	assert_kept();
	/* A clock that stepped back between the first packet and the event. */
	expected.start_ns = expected.time_ns + HOUR;
	assert_kept();
}

static void test_keeps_what_is_not_ip(void **state)
{
	(void)state;
	expected = record_of(1, T0);
	expected.protocol = expected.tcp_flags = 0;
	expected.ethertype = 0x88cc;
	expected.source.address = expected.destination.address = in6addr_any;
	expected.source.transport_port = expected.destination.transport_port = 0;
	expected.destination.port = expected.destination.vm_id = expected.destination.vm_name = "";
	expected.destination.zone = expected.destination.tags = "";
	memset(expected.destination.mac, 0, 6);
	expected.policy = expected.rule = expected.tier = expected.label = expected.reason = "";
	assert_kept();
}

/* More parties than the writer remembers: rows are made twice, and all is read back right. */
static void test_survives_more_parties_than_it_remembers(void **state)
{
	enum { N = 150000 };
	struct log_store *store = open_store(NULL);
	struct log_filter filter = LOG_FILTER_ANY;
	struct ip_prefix prefix;
	struct found *found;

	(void)state;
	for (uint32_t i = 1; i <= N; i++) {
		struct log_record record = record_of(i, T0 + i);

		memcpy(&record.source.mac[2], &i, sizeof(i));
		memcpy(&record.source.address.s6_addr[12], &i, sizeof(i));
		write_one(store, &record);
	}
	commit(store, T0 + N);
	filter.after_sequence = N - 10;
	found = query(&filter);
	assert_int_equal(found->n, 10);
	assert_memory_equal(&found->last.source.mac[2], &(uint32_t){N}, 4);
	assert_memory_equal(&found->last.source.address.s6_addr[12], &(uint32_t){N}, 4);
	/* Found by address, wherever it is kept. */
	for (uint32_t i = 1; i <= N; i += 74999) {
		filter = (struct log_filter)LOG_FILTER_ANY;
		prefix = (struct ip_prefix){.address = address("0.0.0.0"), .length = 128};
		memcpy(&prefix.address.s6_addr[12], &i, sizeof(i));
		filter.prefix = &prefix;
		found = query(&filter);
		assert_int_equal(found->n, 1);
		assert_int_equal(found->sequences[0], i);
	}
	log_store_close(store);
}

/* --- Sequence ------------------------------------------------------------------------------------
 */

static void test_goes_on_after_a_restart(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	assert_int_equal(log_store_last_sequence(store), 0);
	write_many(store, 1, 500, T0, SECOND);
	assert_int_equal(log_store_last_sequence(store), 500);
	log_store_close(store);
	store = open_store(NULL);
	assert_int_equal(log_store_last_sequence(store), 500);
	write_many(store, 501, 510, T0 + 600 * SECOND, SECOND);
	log_store_close(store);
	assert_int_equal(count_files(".db"), 1);
	assert_int_equal(query_all()->n, 510);
}

static void test_refuses_a_sequence_that_does_not_go_up(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(7, T0);

	(void)state;
	write_one(store, &record);
	assert_int_equal(log_store_write(store, &record), -EINVAL);
	assert_non_null(strstr(log_store_error(store), "record 7 does not follow record 7"));
	record.sequence = UINT64_MAX;
	assert_int_equal(log_store_write(store, &record), -EINVAL);
	commit(store, T0);
	assert_int_equal(query_all()->n, 1);
	log_store_close(store);
}

static void test_refuses_a_second_writer(void **state)
{
	struct log_store_options options = {.directory = directory};
	struct log_store *store = open_store(NULL), *second;
	char error[256];

	(void)state;
	assert_int_equal(log_store_open(&options, &second, error, sizeof(error)), -EBUSY);
	assert_null(second);
	assert_non_null(strstr(error, directory));
	log_store_close(store);
	log_store_close(open_store(NULL));
}

/* --- Files ---------------------------------------------------------------------------------------
 */

static void test_turns_buckets(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	write_many(store, 1, 5, T0 + 10 * SECOND, SECOND);
	write_many(store, 6, 9, T0 + HOUR + 10 * SECOND, SECOND);
	commit(store, T0 + 2 * HOUR);
	write_many(store, 10, 10, T0 + 3 * HOUR, SECOND);
	assert_int_equal(access(path_of("traffic-20261001T120000Z.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T130000Z.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T150000Z.db"), F_OK), 0);
	/* Only the one under way has a WAL. */
	assert_int_equal(count_files("-wal"), 1);
	assert_int_equal(access(path_of("traffic-20261001T150000Z.db-wal"), F_OK), 0);
	log_store_close(store);
	assert_int_equal(count_files("-wal"), 0);
	assert_int_equal(count_files(".db"), 3);
	assert_int_equal(query_all()->n, 10);
}

static void test_files_are_not_for_everybody(void **state)
{
	struct log_store *store;
	struct stat status;

	(void)state;
	assert_int_equal(rmdir(directory), 0);
	store = open_store(NULL);
	write_many(store, 1, 1, T0, 0);
	assert_int_equal(stat(directory, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0750 & ~022);
	assert_int_equal(stat(path_of("traffic-20261001T120000Z.db"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	assert_int_equal(stat(path_of("traffic-20261001T120000Z.db-wal"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0640);
	log_store_close(store);
}

static void test_another_bucket_length_takes_over(void **state)
{
	struct log_store *store = open_store(&(struct log_store_options){.bucket_seconds = 600});

	(void)state;
	write_many(store, 1, 10, T0, SECOND);
	write_many(store, 11, 20, T0 + 601 * SECOND, SECOND);
	log_store_close(store);
	store = open_store(NULL);
	write_many(store, 21, 30, T0 + 1800 * SECOND, SECOND);
	log_store_close(store);
	/* The hour goes on in the file of 12:10, so names still tell the span. */
	assert_int_equal(count_files(".db"), 2);
	assert_int_equal(query_all()->n, 30);
}

static void test_a_clock_set_back_begins_another_part(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_filter filter = LOG_FILTER_ANY;

	(void)state;
	write_many(store, 1, 10, T0 + 3000 * SECOND, SECOND);
	commit(store, T0 + 600 * SECOND);
	write_many(store, 11, 20, T0 + 601 * SECOND, SECOND);
	commit(store, T0 - 1800 * SECOND);
	write_many(store, 21, 30, T0 - 1800 * SECOND, SECOND);
	write_many(store, 31, 40, T0 + 10 * SECOND, SECOND);
	log_store_close(store);
	assert_int_equal(access(path_of("traffic-20261001T120000Z.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T120000Z-2.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T120000Z-3.db"), F_OK), 0);
	assert_int_equal(access(path_of("traffic-20261001T110000Z.db"), F_OK), 0);
	filter.since_ns = T0 + 3005 * SECOND;
	assert_int_equal(query(&filter)->n, 5);
	filter.since_ns = T0 - 1800 * SECOND;
	filter.until_ns = T0 - 1795 * SECOND;
	assert_int_equal(query(&filter)->n, 6);
}

static void test_retention_by_age(void **state)
{
	struct log_store *store = open_store(&(struct log_store_options){.retention_days = 2});

	(void)state;
	for (uint64_t hour = 0; hour < 60; hour++)
		write_many(store, hour + 1, hour + 1, T0 + hour * HOUR, 0);
	/* 48 whole hours, the one under way, and the one that ended just now. */
	assert_in_range(count_files("Z.db") - count_files("-wal") - count_files("-shm"), 49, 50);
	assert_int_not_equal(access(path_of("traffic-20261001T120000Z.db"), F_OK), 0);
	log_store_close(store);
	assert_in_range(query_all()->n, 49, 50);
	assert_int_equal(query_all()->last.sequence, 60);
}

static uint64_t directory_bytes(void)
{
	DIR *stream = opendir(directory);
	struct dirent *entry;
	struct stat status;
	uint64_t bytes = 0;

	while ((entry = readdir(stream)))
		if (strstr(entry->d_name, ".db") && !stat(path_of(entry->d_name), &status))
			bytes += (uint64_t)status.st_blocks * 512;
	closedir(stream);
	return bytes;
}

/* One hour outgrows the whole budget: its oldest parts go, the newest stay. */
static void test_retention_by_size(void **state)
{
	struct log_store_options options = {.retention_bytes = 24 << 20};
	struct log_store *store = open_store(&options);
	uint64_t time = T0;

	(void)state;
	write_garbage("traffic-20260101T000000Z.db.damaged");
	write_garbage("unrelated.txt");
	for (uint64_t batch = 0; batch < 60; batch++) {
		time = write_many(store, batch * 10000 + 1, batch * 10000 + 10000, time, 1000);
		assert_in_range(directory_bytes(), 0, 24 << 20);
	}
	assert_true(directory_bytes() > 16 << 20);
	log_store_close(store);
	assert_int_not_equal(access(path_of("traffic-20261001T120000Z.db"), F_OK), 0);
	assert_int_not_equal(access(path_of("traffic-20260101T000000Z.db.damaged"), F_OK), 0);
	assert_int_equal(access(path_of("unrelated.txt"), F_OK), 0);
	assert_int_equal(query_all()->last.sequence, 600000);
	assert_in_range(query_all()->n, 200000, 599999);
}

/* --- What goes wrong ------------------------------------------------------------------------ */

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
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 3", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	store = open_store(NULL);
	write_many(store, 11, 15, T0, SECOND);
	log_store_close(store);
	assert_int_equal(access(path_of("traffic-20261001T120000Z-2.db"), F_OK), 0);
	found = query(&(struct log_filter)LOG_FILTER_ANY);
	assert_int_equal(found->rc, -EIO);
	assert_int_equal(found->n, 5);
	assert_non_null(strstr(found->error, "traffic-20261001T120000Z.db has format 3"));
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

static void test_says_why_a_directory_cannot_be_written(void **state)
{
	struct log_store_options options = {.directory = "/proc/self/cordon"};
	struct log_store *store;
	char error[256] = "", path[128];

	(void)state;
	assert_int_equal(log_store_open(&options, &store, error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, "/proc/self/cordon"));
	write_garbage("file");
	snprintf(path, sizeof(path), "%s/file", directory);
	options.directory = path;
	assert_int_equal(log_store_open(&options, &store, error, sizeof(error)), -ENOTDIR);
	assert_non_null(strstr(error, path));
}

/* The same as an ordinary user, in a child if the test runs as root. */
static void test_says_why_permission_is_missing(void **state)
{
	struct log_store_options options = {.directory = directory};
	struct log_store *store;
	char error[256] = "";
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(chmod(directory, 0555), 0);
	pid = fork();
	if (!pid) {
		if (!getuid() && (setgid(65534) || setuid(65534)))
			_exit(2);
		_exit(log_store_open(&options, &store, error, sizeof(error)) != -EACCES ||
			!strstr(error, directory));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(directory, 0700), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The directory vanishes under the writer: what is written after the next commit is kept. */
static void test_makes_a_removed_directory_again(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	write_many(store, 1, 10, T0, SECOND);
	remove_directory(NULL);
	commit(store, T0 + 20 * SECOND);
	write_many(store, 11, 15, T0 + 21 * SECOND, SECOND);
	log_store_close(store);
	assert_int_equal(query_all()->n, 5);
}

/* Writes batches of 1000 until `enough` have failed; every record is stored or counted. */
static void fill_until_it_fails(struct log_store *store, uint64_t *sequence, uint64_t *time,
	uint64_t *n_stored, int enough, int errno_expected)
{
	for (int batch = 0, failures = 0; failures < enough; batch++) {
		size_t n_accepted = 0, n_lost;
		int rc;

		assert_true(batch < 200);
		for (int i = 0; i < 1000; i++) {
			struct log_record record = record_of((*sequence)++, *time += 1000);

			rc = log_store_write(store, &record);
			if (rc)
				assert_int_equal(rc, -errno_expected);
			n_accepted += !rc;
		}
		rc = log_store_commit(store, *time, &n_lost);
		if (rc) {
			failures++;
			assert_int_equal(rc, -errno_expected);
			assert_int_equal(n_lost, n_accepted);
			assert_true(strlen(log_store_error(store)) > 0);
		} else {
			assert_int_equal(n_lost, 0);
			assert_int_equal(n_accepted, 1000);
			*n_stored += n_accepted;
		}
	}
}

/* A file may not grow past a limit, as on a file system that is full. */
static void test_a_file_that_cannot_grow(void **state)
{
	struct log_store *store = open_store(NULL);
	uint64_t sequence = 1, time = T0, n_stored = 0;
	struct rlimit was, limit;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = was;
	limit.rlim_cur = 1 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	fill_until_it_fails(store, &sequence, &time, &n_stored, 3, EFBIG);
	assert_true(n_stored > 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	write_many(store, sequence, sequence + 499, time, 1000);
	assert_int_equal(log_store_last_sequence(store), sequence + 499);
	log_store_close(store);
	assert_int_equal(query_all()->n, n_stored + 500);
}

/* In a mount namespace of its own: a file system of 3 MiB, which a second file fills. */
static int use_a_small_disk(void)
{
	struct log_store *store;
	uint64_t sequence = 1, time = T0, n_stored = 0;
	int fd;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("tmpfs", directory, "tmpfs", 0, "size=3m"))
		return 77;
	fd = open(path_of("ballast"), O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(posix_fallocate(fd, 0, 1 << 20), 0);
	store = open_store(NULL);
	fill_until_it_fails(store, &sequence, &time, &n_stored, 3, ENOSPC);
	assert_true(n_stored > 0);
	assert_int_equal(unlink(path_of("ballast")), 0);
	close(fd);
	write_many(store, sequence, sequence + 499, time, 1000);
	log_store_close(store);
	assert_int_equal(query_all()->n, n_stored + 500);
	return 0;
}

static void test_a_full_disk(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (!pid)
		_exit(use_a_small_disk());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A disk that is full from the start, so that not even a file can be begun. */
static void test_a_file_that_cannot_be_begun(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(1, T0);
	struct rlimit was, limit;
	size_t n_lost;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	limit = was;
	limit.rlim_cur = 8192;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(log_store_write(store, &record), -EFBIG);
	assert_int_equal(log_store_write(store, &record), -EFBIG);
	assert_int_equal(log_store_commit(store, T0, &n_lost), -EFBIG);
	assert_int_equal(n_lost, 0);
	assert_non_null(strstr(log_store_error(store), directory));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	write_one(store, &record);
	commit(store, T0);
	log_store_close(store);
	assert_int_equal(query_all()->n, 1);
	assert_int_equal(count_files(".damaged"), 0);
}

static void test_close_commits_and_accepts_null(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(1, T0);

	(void)state;
	write_one(store, &record);
	log_store_close(store);
	assert_int_equal(query_all()->n, 1);
	log_store_close(NULL);
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
		TEST(test_keeps_every_field),
		TEST(test_keeps_extremes),
		TEST(test_keeps_what_is_not_ip),
		TEST(test_survives_more_parties_than_it_remembers),
		TEST(test_goes_on_after_a_restart),
		TEST(test_refuses_a_sequence_that_does_not_go_up),
		TEST(test_refuses_a_second_writer),
		TEST(test_turns_buckets),
		TEST(test_files_are_not_for_everybody),
		TEST(test_another_bucket_length_takes_over),
		TEST(test_a_clock_set_back_begins_another_part),
		TEST(test_retention_by_age),
		TEST(test_retention_by_size),
		TEST(test_a_crash_loses_nothing_committed),
		TEST(test_sets_a_damaged_file_aside),
		TEST(test_sets_a_foreign_database_aside),
		TEST(test_leaves_a_file_of_another_format_alone),
		TEST(test_reads_format_1_and_goes_on_in_another_file),
		TEST(test_sets_a_file_aside_that_is_damaged_within),
		TEST(test_says_why_a_directory_cannot_be_written),
		TEST(test_says_why_permission_is_missing),
		TEST(test_makes_a_removed_directory_again),
		TEST(test_a_file_that_cannot_grow),
		TEST(test_a_full_disk),
		TEST(test_a_file_that_cannot_be_begun),
		TEST(test_close_commits_and_accepts_null),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
