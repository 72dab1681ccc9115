/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queries on the traffic log: each filter, the newest N, following by sequence, files that are out
 * of the question or cannot be read, readers beside a writer, the summary, and the view for people.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "tests/unit/log_fixture.h"

/* --- Filters -------------------------------------------------------------------------------- */

/* 1..10: sessions web -> db.  11..15: denials db -> internet, IPv6.  16: a gap.  17: rejected UDP.
 */
static void write_mixture(void)
{
	struct log_store *store = open_store(NULL);
	struct log_record record;

	write_many(store, 1, 10, T0, SECOND);
	for (uint64_t sequence = 11; sequence <= 15; sequence++) {
		record = denial_of(sequence, T0 + sequence * SECOND);
		record.suppressed = sequence == 15 ? 7 : 0;
		write_one(store, &record);
	}
	record = (struct log_record){.time_ns = T0 + 16 * SECOND,
		.sequence = 16,
		.kind = LOG_GAP,
		.packets_forward = 1234,
		.host = "host-a",
		.reason = "",
		.tier = "",
		.policy = "",
		.rule = "",
		.label = "",
		.simulated_policy = "",
		.simulated_rule = "",
		.source = {.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""},
		.destination = {.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""}};
	write_one(store, &record);
	record = denial_of(17, T0 + 17 * SECOND);
	record.verdict = ZONE_REJECT;
	record.protocol = IPPROTO_UDP;
	record.policy = "baseline";
	record.rule = "db->internet";
	record.destination.transport_port = 53;
	write_one(store, &record);
	commit(store, T0 + 18 * SECOND);
	log_store_close(store);
}

static void assert_finds(struct log_filter filter, size_t n, uint64_t first, uint64_t last)
{
	struct found *found = query(&filter);

	if (found->rc)
		fail_msg("log_query: %d: %s", found->rc, found->error);
	assert_int_equal(found->n, n);
	assert_int_equal(found->sequences[0], n ? first : 0);
	assert_int_equal(found->last.sequence, n ? last : 0);
}

#define ANY .kind = -1, .verdict = -1, .simulated = -1, .protocol = -1, .transport_port = -1
#define FINDS(condition, n, first, last)                                                           \
	assert_finds((struct log_filter){ANY, condition}, n, first, last)

#pragma GCC diagnostic ignored "-Woverride-init"
#ifdef __clang__
#pragma clang diagnostic ignored "-Winitializer-overrides"
#endif

static void test_filters_by_numbers(void **state)
{
	(void)state;
	write_mixture();
	FINDS(.kind = -1, 17, 1, 17);
	FINDS(.kind = LOG_END, 10, 1, 10);
	FINDS(.kind = LOG_DENIED, 6, 11, 17);
	FINDS(.kind = LOG_GAP, 1, 16, 16);
	FINDS(.kind = LOG_SPOOFED, 0, 0, 0);
	FINDS(.verdict = ZONE_DENY, 5, 11, 15);
	FINDS(.verdict = ZONE_REJECT, 1, 17, 17);
	FINDS(.verdict = ZONE_ALLOW, 10, 1, 10);
	FINDS(.protocol = IPPROTO_UDP, 1, 17, 17);
	FINDS(.protocol = IPPROTO_TCP, 15, 1, 15);
	FINDS(.transport_port = 5432, 10, 1, 10);
	FINDS(.transport_port = 50000, 6, 11, 17);
	FINDS(.transport_port = 1, 0, 0, 0);
	FINDS(.since_ns = T0 + 5 * SECOND, 12, 6, 17);
	FINDS(.until_ns = T0 + 5 * SECOND, 6, 1, 6);
	FINDS(.after_sequence = 12, 5, 13, 17);
	FINDS(.after_sequence = 17, 0, 0, 0);
	FINDS(.limit = 3, 3, 15, 17);
	FINDS(.limit = 100, 17, 1, 17);
}

static void test_filters_by_names_of_either_end(void **state)
{
	(void)state;
	write_mixture();
	FINDS(.zone = "web", 10, 1, 10);
	FINDS(.zone = "db", 16, 1, 17);
	FINDS(.zone = "internet", 6, 11, 17);
	FINDS(.zone = "x' OR '1'='1", 0, 0, 0);
	FINDS(.vm = "web-1", 10, 1, 10);
	FINDS(.vm = "8a01", 16, 1, 17);
	FINDS(.port = "uplink0", 6, 11, 17);
	FINDS(.port = "web-1", 0, 0, 0);
	FINDS(.rule = "web-to-db", 10, 1, 10);
	FINDS(.rule = "db-access/web-to-db", 10, 1, 10);
	FINDS(.rule = "egress/web-to-db", 0, 0, 0);
	FINDS(.rule = "egress/no-internet", 5, 11, 15);
	FINDS(.rule = "db->internet", 1, 17, 17);
}

/* 1: allowed, would be denied.  2: its note.  3: denied, would be allowed.  4: denied, would be. */
static void write_simulated(void)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(1, T0);

	record.simulated = 1 + ZONE_DENY;
	record.simulated_policy = "audit";
	record.simulated_rule = "no-db";
	write_one(store, &record);
	record.kind = LOG_WOULD_DENY;
	record.sequence = 2;
	record.suppressed = 4;
	write_one(store, &record);
	record = denial_of(3, T0 + SECOND);
	record.simulated = 1 + ZONE_ALLOW;
	record.simulated_policy = "audit";
	record.simulated_rule = "open";
	write_one(store, &record);
	record.simulated = 1 + ZONE_DENY;
	record.sequence = 4;
	write_one(store, &record);
	commit(store, T0 + 2 * SECOND);
	log_store_close(store);
}

static void test_filters_by_what_is_simulated(void **state)
{
	(void)state;
	write_simulated();
	FINDS(.kind = -1, 4, 1, 4);
	FINDS(.simulated = ZONE_DENY, 3, 1, 4);
	FINDS(.simulated = ZONE_ALLOW, 1, 3, 3);
	FINDS(.simulated = ZONE_REJECT, 0, 0, 0);
	FINDS(.simulation = true, 2, 2, 3);
	FINDS(.rule = "audit/no-db", 2, 1, 2); /* It would have decided. */
	FINDS(.rule = "no-db", 2, 1, 2);
	FINDS(.rule = "db-access/open", 0, 0, 0);
}

static void test_filters_by_prefix(void **state)
{
	static const struct {
		const char *prefix;
		size_t n;
		uint64_t first, last;
	} cases[] = {
		{"10.0.1.0/24", 10, 1, 10},
		{"10.0.2.7", 10, 1, 10},
		{"10.0.3.0/24", 0, 0, 0},
		{"0.0.0.0/0", 10, 1, 10},
		{"2001:db8::99", 6, 11, 17},
		{"2001:db8:2::/48", 6, 11, 17},
		{"::/0", 6, 11, 17},
	};

	(void)state;
	write_mixture();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ip_prefix prefix;

		assert_true(ip_prefix_parse(cases[i].prefix, &prefix));
		FINDS(.prefix = &prefix, cases[i].n, cases[i].first, cases[i].last);
	}
}

static void test_filters_by_both_ends(void **state)
{
	static const struct {
		const char *prefix, *peer;
		size_t n;
		uint64_t first, last;
	} cases[] = {
		{"10.0.1.5", "10.0.2.7", 10, 1, 10},
		{"10.0.2.0/24", "10.0.1.0/24", 10, 1, 10},
		{"10.0.1.5", "10.0.1.5", 0, 0, 0},
		{"10.0.1.5", "2001:db8::99", 0, 0, 0},
		{"2001:db8:2::7", "2001:db8::99", 6, 11, 17},
		{"::/0", "::/0", 6, 11, 17},
	};

	(void)state;
	write_mixture();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ip_prefix prefix, peer;

		assert_true(ip_prefix_parse(cases[i].prefix, &prefix));
		assert_true(ip_prefix_parse(cases[i].peer, &peer));
		assert_finds((struct log_filter){ANY, .prefix = &prefix, .peer = &peer}, cases[i].n,
			cases[i].first, cases[i].last);
	}
}

static void test_all_conditions_must_hold(void **state)
{
	struct log_filter filter = LOG_FILTER_ANY;

	(void)state;
	write_mixture();
	filter.zone = "db";
	filter.vm = "web-1";
	filter.protocol = IPPROTO_TCP;
	filter.since_ns = T0 + 2 * SECOND;
	filter.until_ns = T0 + 8 * SECOND;
	filter.limit = 4;
	assert_finds(filter, 4, 6, 9);
	filter.verdict = ZONE_DENY;
	assert_finds(filter, 0, 0, 0);
}

static void test_gaps_are_seen_beside_what_was_asked_for(void **state)
{
	struct log_filter filter = LOG_FILTER_ANY;

	(void)state;
	write_mixture();
	filter.zone = "web";
	filter.with_gaps = true;
	assert_finds(filter, 11, 1, 16);
	assert_int_equal(query(&filter)->last.packets_forward, 1234);
	filter.limit = 2;
	assert_finds(filter, 2, 10, 16);
	filter.until_ns = T0 + 15 * SECOND;
	assert_finds(filter, 2, 9, 10);
}

/* --- Files ---------------------------------------------------------------------------------- */

/* Five hours of a hundred records each. */
static void write_hours(void)
{
	struct log_store *store = open_store(NULL);

	for (uint64_t hour = 0; hour < 5; hour++)
		write_many(store, hour * 100 + 1, hour * 100 + 100, T0 + hour * HOUR, 30 * SECOND);
	log_store_close(store);
	assert_int_equal(count_files(".db"), 5);
}

static void test_the_newest_over_several_files(void **state)
{
	(void)state;
	write_hours();
	FINDS(.limit = 50, 50, 451, 500);
	FINDS(.limit = 250, 250, 251, 500);
	FINDS(.limit = 5000, 500, 1, 500);
	FINDS(.after_sequence = 350, 150, 351, 500);
	FINDS(.after_sequence = 100, 400, 101, 500);
	FINDS(.since_ns = T0 + 2 * HOUR, 300, 201, 500);
	FINDS(.since_ns = T0 + 2 * HOUR + 1500 * SECOND, 250, 251, 500);
	FINDS(.until_ns = T0 + HOUR - 1, 100, 1, 100);
}

static void test_many_records_in_the_order_of_their_numbers(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_filter filter = LOG_FILTER_ANY;
	struct found *found;

	(void)state;
	/* Times a few seconds out of order, as workers' rings are emptied in turn. */
	for (uint64_t i = 1; i <= 2000; i++) {
		struct log_record record = record_of(i, T0 + i * SECOND - (i % 7) * SECOND);

		write_one(store, &record);
	}
	commit(store, T0 + 2000 * SECOND);
	log_store_close(store);
	found = query_all();
	assert_int_equal(found->n, 2000);
	for (uint64_t i = 0; i < 2000; i++)
		assert_int_equal(found->sequences[i], i + 1);
	filter.since_ns = T0 + 1000 * SECOND;
	found = query(&filter);
	/* Those with i - i % 7 >= 1000. */
	assert_int_equal(found->sequences[0], 1001);
	assert_int_equal(found->n, 1000);
}

static void test_a_bad_file_is_named_and_passed_over(void **state)
{
	struct found *found;

	(void)state;
	write_hours();
	write_garbage("traffic-20261001T140000Z.db");
	found = query(&(struct log_filter){ANY});
	assert_int_equal(found->rc, -EIO);
	assert_int_equal(found->n, 400);
	assert_non_null(strstr(found->error, "traffic-20261001T140000Z.db"));
	assert_null(strstr(found->error, "more files"));
	write_garbage("traffic-20261001T150000Z.db");
	found = query(&(struct log_filter){ANY, .limit = 150});
	assert_int_equal(found->rc, -EIO);
	assert_int_equal(found->n, 150);
	assert_int_equal(found->sequences[0], 151);
	assert_non_null(strstr(found->error, "(and 1 more files)"));
}

static void assert_finds_span(void)
{
	struct log_filter filter = {ANY, .since_ns = T0 + 2 * HOUR, .until_ns = T0 + 3 * HOUR};

	assert_finds(filter, 101, 201, 301);
}

static void test_files_outside_the_span_are_not_opened(void **state)
{
	(void)state;
	write_hours();
	write_garbage("traffic-20261001T120000Z.db");
	write_garbage("traffic-20261001T160000Z.db");
	assert_finds_span();
}

static void test_names_that_are_not_ours_are_ignored(void **state)
{
	(void)state;
	write_hours();
	write_garbage("traffic-20261001T140000Z.db.bak");
	write_garbage("traffic-20261001T140000Z-0.db");
	write_garbage("traffic-20261001T140000Z-1.db");
	write_garbage("traffic-20269901T140000Z.db");
	write_garbage("traffic-.db");
	write_garbage("traffic-20261001T140000Z.db.damaged");
	assert_int_equal(query_all()->n, 500);
	assert_finds_span();
}

static void test_no_directory_and_no_records(void **state)
{
	struct found *found;
	char error[256];
	uint64_t last;

	(void)state;
	assert_int_equal(query_all()->n, 0);
	fclose(fopen(path_of("traffic-20261001T140000Z.db"), "w"));
	assert_int_equal(query_all()->n, 0);
	assert_int_equal(log_last_sequence(directory, &last, error, sizeof(error)), 0);
	assert_int_equal(last, 0);
	remove_directory(NULL);
	assert_int_equal(log_last_sequence(directory, &last, error, sizeof(error)), -ENOENT);
	found = query(&(struct log_filter){ANY});
	assert_int_equal(found->rc, -ENOENT);
	assert_non_null(strstr(found->error, directory));
}

static void test_a_caller_may_stop(void **state)
{
	struct found found = {.stop_after = 130};
	struct log_filter filter = LOG_FILTER_ANY;
	char error[256];

	(void)state;
	write_hours();
	assert_int_equal(
		log_query(directory, &filter, note_record, &found, error, sizeof(error)), 0);
	assert_int_equal(found.n, 130);
}

/* --- Beside a writer ------------------------------------------------------------------------ */

/* What another process sees. */
static size_t count_in_another_process(void)
{
	int ends[2], status;
	size_t n = 0;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		n = query_all()->n;
		_exit(write(ends[1], &n, sizeof(n)) != sizeof(n));
	}
	assert_int_equal(read(ends[0], &n, sizeof(n)), sizeof(n));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ends[0]);
	close(ends[1]);
	return n;
}

static void test_other_processes_see_what_is_committed(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(11, T0);

	(void)state;
	write_many(store, 1, 10, T0, 0);
	write_one(store, &record);
	assert_int_equal(count_in_another_process(), 10);
	commit(store, T0);
	assert_int_equal(count_in_another_process(), 11);
	log_store_close(store);
	assert_int_equal(count_in_another_process(), 11);
}

struct slow_reader {
	struct log_store *store;
	uint64_t next;
	size_t n;
};

/* A reader in the midst of its records, while the writer goes on to write, turn and delete. */
static bool write_while_reading(const struct log_record *record, void *context)
{
	struct slow_reader *slow = context;

	assert_true(record->source.vm_name[0] == 'w');
	slow->n++;
	if (slow->n == 10 || slow->n == 300) {
		write_many(slow->store, slow->next, slow->next + 99,
			T0 + (slow->n == 10 ? 1000 * SECOND : HOUR), 0);
		slow->next += 100;
	}
	if (slow->n == 100) {
		commit(slow->store, T0 + HOUR);
		write_many(slow->store, slow->next, slow->next + 99, T0 + HOUR, 0);
		slow->next += 100;
	}
	return true;
}

static void test_a_reader_in_the_midst_disturbs_nothing(void **state)
{
	struct slow_reader slow = {.next = 1001};
	struct log_filter filter = LOG_FILTER_ANY;
	char error[256];

	(void)state;
	slow.store = open_store(NULL);
	write_many(slow.store, 1, 1000, T0, SECOND);
	assert_int_equal(
		log_query(directory, &filter, write_while_reading, &slow, error, sizeof(error)), 0);
	assert_int_equal(slow.n, 1000);
	/* The file that the reader held could not be finished at once, but is later. */
	assert_int_equal(count_files("-wal"), 2);
	commit(slow.store, T0 + HOUR + 120 * SECOND);
	assert_int_equal(count_files("-wal"), 1);
	log_store_close(slow.store);
	assert_int_equal(count_files("-wal"), 0);
	assert_int_equal(query_all()->n, 1300);
}

/* Like `cordon log follow`: each round asks for what came after the last. */
static void test_follows_by_sequence_over_turning_files(void **state)
{
	struct log_store *store = open_store(&(struct log_store_options){.bucket_seconds = 600});
	struct log_filter filter = LOG_FILTER_ANY;
	uint64_t time = T0, seen = 0, sequence = 1;

	(void)state;
	for (int round = 0; round < 40; round++) {
		struct found *found;
		char error[256];
		uint64_t last;

		/* Once the clock is set back by half an hour. */
		time = round == 20 ? time - 1800 * SECOND : time + 100 * SECOND;
		commit(store, time);
		write_many(store, sequence, sequence + 4, time, SECOND);
		filter.after_sequence = seen;
		found = query(&filter);
		assert_int_equal(found->rc, 0);
		assert_int_equal(found->n, 5);
		assert_int_equal(found->sequences[0], sequence);
		assert_int_equal(log_last_sequence(directory, &last, error, sizeof(error)), 0);
		assert_int_equal(last, sequence + 4);
		seen = found->last.sequence;
		sequence += 5;
	}
	log_store_close(store);
	/* Files come in the order of their times, not of their making. */
	assert_int_equal(query(&(struct log_filter){ANY})->n, 200);
}

/* --- The summary ---------------------------------------------------------------------------- */

static struct log_summary_row rows[8];
static char row_texts[8][128];
static size_t n_rows;

static bool note_row(const struct log_summary_row *row, void *context)
{
	(void)context;
	assert_true(n_rows < 8);
	snprintf(row_texts[n_rows], sizeof(row_texts[0]), "%s %s %s/%s", row->source_zone,
		row->destination_zone, row->policy, row->rule);
	rows[n_rows++] = *row;
	return true;
}

static void summarize(struct log_filter filter)
{
	char error[256];

	n_rows = 0;
	assert_int_equal(
		log_summarize(directory, &filter, note_row, NULL, error, sizeof(error)), 0);
}

static void test_summarizes_a_simulation(void **state)
{
	(void)state;
	write_simulated();
	summarize((struct log_filter){ANY, .simulation = true});
	assert_int_equal(n_rows, 2);
	assert_string_equal(row_texts[0], "web db audit/no-db");
	assert_int_equal(rows[0].simulated, 1 + ZONE_DENY);
	assert_int_equal(rows[0].verdict, ZONE_ALLOW);
	assert_int_equal(rows[0].connections, 5);
	assert_string_equal(row_texts[1], "db internet audit/open");
	assert_int_equal(rows[1].simulated, 1 + ZONE_ALLOW);
	assert_int_equal(rows[1].connections, 1);
	/* Otherwise the note counts nothing: the connection has records of its own. */
	summarize((struct log_filter){ANY, .since_ns = T0 - SECOND});
	assert_int_equal(n_rows, 2);
	assert_string_equal(row_texts[0], "db internet egress/no-internet");
	assert_int_equal(rows[1].packets, 19);
}

static void test_summarizes_by_zones_service_and_rule(void **state)
{
	(void)state;
	write_mixture();
	summarize((struct log_filter){ANY, .with_gaps = true});
	assert_int_equal(n_rows, 3);
	/* Five denials and seven that the cap held back. */
	assert_string_equal(row_texts[0], "db internet egress/no-internet");
	assert_int_equal(rows[0].connections, 12);
	assert_int_equal(rows[0].verdict, ZONE_DENY);
	assert_int_equal(rows[0].destination_port, 443);
	assert_int_equal(rows[0].packets, 5);
	assert_int_equal(rows[0].bytes, 400);
	assert_int_equal(rows[0].last_ns, T0 + 15 * SECOND);
	/* Their ends only, and no start within the log: they were open. */
	assert_string_equal(row_texts[1], "web db db-access/web-to-db");
	assert_int_equal(rows[1].connections, 10);
	assert_int_equal(rows[1].packets, 190);
	assert_int_equal(rows[1].bytes, 652000);
	assert_string_equal(row_texts[2], "db internet baseline/db->internet");
	assert_int_equal(rows[2].connections, 1);
	assert_int_equal(rows[2].protocol, IPPROTO_UDP);
	summarize((struct log_filter){ANY, .since_ns = T0 + 7 * SECOND});
	assert_int_equal(rows[1].connections, 3);
	assert_string_equal(row_texts[1], "web db db-access/web-to-db");
	summarize((struct log_filter){ANY, .limit = 1});
	assert_int_equal(n_rows, 1);
	summarize((struct log_filter){ANY, .zone = "nowhere"});
	assert_int_equal(n_rows, 0);
}

/* What the cap gave out when the source fell silent is no attempt of its own. */
static void test_counts_what_was_held_back_once(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = denial_of(1, T0);

	(void)state;
	write_one(store, &record);
	record.sequence = 2;
	record.suppressed = 40;
	record.packets_forward = record.bytes_forward = 0;
	write_one(store, &record);
	commit(store, T0);
	log_store_close(store);
	summarize((struct log_filter){ANY});
	assert_int_equal(n_rows, 1);
	assert_int_equal(rows[0].connections, 41);
	assert_int_equal(rows[0].packets, 1);
}

static void test_counts_a_session_once(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(1, T0);

	(void)state;
	record.start_ns = T0;
	for (uint64_t i = 0; i < 30; i++) {
		static const uint8_t kinds[] = {LOG_START, LOG_UPDATE, LOG_END};

		record.kind = kinds[i % 3];
		record.sequence = i + 1;
		write_one(store, &record);
	}
	commit(store, T0);
	log_store_close(store);
	summarize((struct log_filter){ANY});
	assert_int_equal(n_rows, 1);
	assert_int_equal(rows[0].connections, 10);
	assert_int_equal(rows[0].packets, 190);
	summarize((struct log_filter){ANY, .kind = LOG_UPDATE});
	assert_int_equal(rows[0].connections, 10);
}

/* --- By hand -------------------------------------------------------------------------------- */

static void assert_view(const char *column, const char *sequence, const char *wanted)
{
	char sql[200];
	sqlite3_stmt *statement;
	sqlite3 *db;

	snprintf(sql, sizeof(sql), "SELECT \"%s\" FROM traffic WHERE sequence = %s", column,
		sequence);
	assert_int_equal(sqlite3_open_v2(path_of("traffic-20261001T120000Z.db"), &db,
				 SQLITE_OPEN_READONLY, NULL),
		SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(statement, 0), wanted);
	sqlite3_finalize(statement);
	sqlite3_close(db);
}

static void test_the_view_spells_everything_out(void **state)
{
	static const char *const cases[][3] = {
		{"time", "2", "2026-10-01 12:00:01.000"},
		{"start", "2", "2026-10-01 11:59:56.000"},
		{"kind", "2", "end"},
		{"verdict", "2", "allowed"},
		{"protocol", "2", "tcp"},
		{"source_address", "2", "10.0.1.5"},
		{"destination_address", "2", "10.0.2.7"},
		{"source_transport_port", "2", "40000"},
		{"destination_transport_port", "2", "5432"},
		{"source_zone", "2", "web"},
		{"destination_vm_name", "2", "db-1"},
		{"source_vm_id", "2", "7f5c"},
		{"source_port", "2", "vm-web-1"},
		{"source_tags", "2", "app=shop tier=web"},
		{"source_mac", "2", "02:00:00:00:01:05"},
		{"reason", "2", "fin"},
		{"tier", "2", "environment"},
		{"policy", "2", "db-access"},
		{"rule", "2", "web-to-db"},
		{"label", "2", "CHG-4711"},
		{"policy_revision", "2", "12"},
		{"bytes_reverse", "2", "64000"},
		{"host", "2", "host-a"},
		{"vlan", "2", "10"},
		{"source_address", "12", "2001:0db8:0002:0000:0000:0000:0000:0007"},
		{"destination_address", "12", "2001:0db8:0000:0000:0000:0000:0000:0099"},
		{"destination_vm_name", "12", ""},
		{"destination_mac", "12", ""},
		{"verdict", "12", "denied"},
		{"suppressed", "15", "7"},
		{"kind", "16", "gap"},
		{"verdict", "16", ""},
		{"source_address", "16", ""},
		{"start", "16", ""},
		{"packets_forward", "16", "1234"},
		{"protocol", "17", "udp"},
		{"verdict", "17", "rejected"},
	};

	(void)state;
	write_mixture();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_view(cases[i][0], cases[i][1], cases[i][2]);
}

static void test_kinds_have_names(void **state)
{
	(void)state;
	for (int kind = 0; kind < LOG_N_KINDS; kind++)
		assert_int_equal(log_kind_parse(log_kind_name(kind)), kind);
	assert_string_equal(log_kind_name(LOG_N_KINDS), "?");
	assert_int_equal(log_kind_parse("nothing"), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_filters_by_numbers),
		TEST(test_filters_by_names_of_either_end),
		TEST(test_filters_by_prefix),
		TEST(test_filters_by_both_ends),
		TEST(test_all_conditions_must_hold),
		TEST(test_gaps_are_seen_beside_what_was_asked_for),
		TEST(test_the_newest_over_several_files),
		TEST(test_many_records_in_the_order_of_their_numbers),
		TEST(test_a_bad_file_is_named_and_passed_over),
		TEST(test_files_outside_the_span_are_not_opened),
		TEST(test_names_that_are_not_ours_are_ignored),
		TEST(test_no_directory_and_no_records),
		TEST(test_a_caller_may_stop),
		TEST(test_other_processes_see_what_is_committed),
		TEST(test_a_reader_in_the_midst_disturbs_nothing),
		TEST(test_follows_by_sequence_over_turning_files),
		TEST(test_filters_by_what_is_simulated),
		TEST(test_summarizes_a_simulation),
		TEST(test_summarizes_by_zones_service_and_rule),
		TEST(test_counts_what_was_held_back_once),
		TEST(test_counts_a_session_once),
		TEST(test_the_view_spells_everything_out),
		cmocka_unit_test(test_kinds_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
