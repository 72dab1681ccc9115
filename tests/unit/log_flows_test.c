/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic added up: rows by each field, their order and sums, what is seen for the first time,
 * counts over time, and gaps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "log/flows.h"
#include "log/sums.h"
#include "tests/unit/log_fixture.h"

/* --- Questions ------------------------------------------------------------------------------ */

static struct {
	struct log_flow rows[64];
	char names[64][200], texts[64][200];
	size_t n;
} answer;

static bool note_flow(const struct log_flow *flow, void *context)
{
	char from[IP_TEXT_MAX], to[IP_TEXT_MAX];

	(void)context;
	assert_true(answer.n < 64);
	snprintf(answer.names[answer.n], sizeof(answer.names[0]), "%s/%s %s > %s/%s %s %s/%s",
		flow->source.zone, flow->source.vm_name,
		flow->source.addresses.length ? ip_prefix_format(&flow->source.addresses, from)
					      : "",
		flow->destination.zone, flow->destination.vm_name,
		flow->destination.addresses.length
			? ip_prefix_format(&flow->destination.addresses, to)
			: "",
		flow->policy, flow->rule);
	snprintf(answer.texts[answer.n], sizeof(answer.texts[0]), "%s|%s|%s|%s|%s|%s|%s|%s",
		flow->host, flow->reason, flow->tier, flow->label, flow->source.tags,
		flow->source.port, flow->source.vm_id, flow->destination.vm_id);
	answer.rows[answer.n++] = *flow; /* Only its numbers outlive the call. */
	return true;
}

static void ask(const struct log_flow_query *query)
{
	char error[256] = "";
	int rc;

	answer.n = 0;
	rc = log_flows(directory, query, note_flow, NULL, error, sizeof(error));
	if (rc)
		fail_msg("log_flows: %d: %s", rc, error);
}

static void ask_by(unsigned int by)
{
	ask(&(struct log_flow_query){.filter = LOG_FILTER_ANY, .by = by});
}

/* Sessions 1 to 20, each a start and an end, web -> db, one a second; 21 to 25: denials of db, the
 * last of which tells of seven more. */
static void write_mixture(void)
{
	struct log_store *store = open_store(NULL);
	struct log_record record;

	for (uint64_t i = 1; i <= 20; i++) {
		record = record_of(i, T0 + i * SECOND);
		record.kind = i % 2 ? LOG_START : LOG_END;
		record.source.transport_port = (uint16_t)(40000 + i / 2);
		write_one(store, &record);
	}
	for (uint64_t i = 21; i <= 25; i++) {
		record = denial_of(i, T0 + i * SECOND);
		record.suppressed = i == 25 ? 7 : 0;
		record.policy_revision = i < 24 ? 12 : 13;
		write_one(store, &record);
	}
	commit(store, T0 + 30 * SECOND);
	log_store_close(store);
}

static void test_adds_up_by_zones(void **state)
{
	const struct log_flow_counts *counts = &answer.rows[1].counts;

	(void)state;
	write_mixture();
	ask_by(LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_VERDICT);
	assert_int_equal(answer.n, 2);
	assert_string_equal(answer.names[0], "db/  > internet/  /");
	assert_int_equal(answer.rows[0].verdict, ZONE_DENY);
	assert_int_equal(answer.rows[0].counts.refused, 12);
	assert_int_equal(answer.rows[0].counts.held_back, 7);
	assert_int_equal(answer.rows[0].counts.packets_forward, 5);
	assert_string_equal(answer.names[1], "web/  > db/  /");
	assert_int_equal(counts->records, 20);
	assert_int_equal(counts->began, 10);
	assert_int_equal(counts->ended, 10);
	assert_int_equal(log_flow_connections(counts), 10);
	assert_int_equal(counts->packets_forward, 100);
	assert_int_equal(counts->bytes_forward, 12000);
	assert_int_equal(counts->packets_reverse, 90);
	assert_int_equal(counts->bytes_reverse, 640000);
	assert_int_equal(counts->first_ns, T0 + 1 * SECOND);
	assert_int_equal(counts->last_ns, T0 + 20 * SECOND);
}

static void test_tells_apart_what_is_asked_for(void **state)
{
	(void)state;
	write_mixture();
	ask_by(0);
	assert_int_equal(answer.n, 1);
	assert_int_equal(answer.rows[0].counts.records, 25);
	ask_by(LOG_FLOW_REVISION);
	assert_int_equal(answer.n, 2);
	ask_by(LOG_FLOW_SERVICE);
	assert_int_equal(answer.n, 2);
	assert_int_equal(answer.rows[0].port, 443);
	assert_int_equal(answer.rows[0].protocol, IPPROTO_TCP);
	assert_int_equal(answer.rows[1].port, 5432);
	ask_by(LOG_FLOW_KIND);
	assert_int_equal(answer.n, 2);
	assert_int_equal(answer.rows[0].kind, LOG_DENIED);
	assert_int_equal(answer.rows[1].kind, LOG_START);
	ask_by(LOG_FLOW_ALL);
	assert_int_equal(answer.n, 3);
	assert_string_equal(
		answer.names[0], "web/web-1 10.0.1.5/32 > db/db-1 10.0.2.7/32 db-access/web-to-db");
	assert_string_equal(answer.names[1],
		"db/db-1 2001:db8:2::7/128 > internet/ 2001:db8::99/128 egress/no-internet");
	assert_int_equal(answer.rows[1].policy_revision, 13);
	assert_string_equal(answer.texts[0],
		"host-a||environment|CHG-4711|app=shop tier=web|vm-web-1|7f5c|8a01");
	assert_string_equal(
		answer.texts[1], "host-a|policy|environment|CHG-4711|tier=db|vm-db-1|8a01|");
}

static void test_orders_and_limits(void **state)
{
	struct log_flow_query query = {.filter = LOG_FILTER_ANY, .by = LOG_FLOW_VERDICT};

	(void)state;
	write_mixture();
	query.filter.limit = 1;
	ask(&query);
	assert_int_equal(answer.n, 1);
	assert_int_equal(answer.rows[0].verdict, ZONE_DENY);
	query.order = LOG_FLOW_MOST_BYTES;
	ask(&query);
	assert_int_equal(answer.rows[0].verdict, ZONE_ALLOW);
	query.order = LOG_FLOW_NEWEST;
	ask(&query);
	assert_int_equal(answer.rows[0].verdict, ZONE_DENY);
	query.order = LOG_FLOW_FIRST_SEEN;
	ask(&query);
	assert_int_equal(answer.rows[0].verdict, ZONE_ALLOW);
}

static void test_keeps_to_the_filter_and_the_span(void **state)
{
	struct log_flow_query query = {.filter = LOG_FILTER_ANY, .by = LOG_FLOW_VERDICT};

	(void)state;
	write_mixture();
	query.filter.since_ns = T0 + 3 * SECOND;
	query.filter.until_ns = T0 + 6 * SECOND;
	ask(&query);
	assert_int_equal(answer.n, 1);
	assert_int_equal(answer.rows[0].counts.began, 2);
	assert_int_equal(answer.rows[0].counts.ended, 2);
	query.filter = (struct log_filter)LOG_FILTER_ANY;
	query.filter.transport_port = 443;
	ask(&query);
	assert_int_equal(answer.n, 1);
	assert_int_equal(answer.rows[0].counts.refused, 12);
	query.filter.transport_port = 40001; /* A source's is no service. */
	ask(&query);
	assert_int_equal(answer.n, 0);
}

static void test_finds_what_is_seen_for_the_first_time(void **state)
{
	struct log_flow_query query = {.filter = LOG_FILTER_ANY,
		.by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE,
		.first_since_ns = T0 + 20 * SECOND};

	(void)state;
	write_mixture();
	ask(&query);
	assert_int_equal(answer.n, 1);
	assert_string_equal(answer.names[0], "db/  > internet/  /");
	query.first_since_ns = T0 + 22 * SECOND;
	ask(&query);
	assert_int_equal(answer.n, 0);
}

/* Sums that are written while a file is being read may speak of parties that the filter has not
 * been put to. */
static bool add_counts(const struct log_flow_row *row, void *context)
{
	*(uint64_t *)context += row->counts.records;
	return true;
}

static bool add_one(const struct log_row *row, void *context)
{
	(void)row;
	++*(uint64_t *)context;
	return true;
}

static bool take_all(const struct log_flow_row *rows, size_t n, void *context)
{
	(void)rows;
	(void)n;
	(void)context;
	return true;
}

static void test_reads_a_file_as_it_was_when_opened(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_filter filter = LOG_FILTER_ANY;
	struct log_reader *reader;
	uint64_t n = 0;
	const struct log_sums_visitor visitor = {.kind = LOG_SUMS_FLOWS,
		.can_use = take_all,
		.row = add_counts,
		.record = add_one,
		.context = &n};
	char error[256] = "";
	bool stopped = false;

	(void)state;
	write_many(store, 1, 10, T0, SECOND);
	assert_int_equal(log_reader_open(path_of("traffic-20261001T120000Z.db"), &filter, &reader,
				 error, sizeof(error)),
		0);
	write_many(store, 11, 15, T0 + 20 * SECOND, SECOND);
	log_store_close(store);
	assert_int_equal(
		log_sums_visit(reader, &filter, &visitor, &stopped, error, sizeof(error)), 0);
	assert_int_equal(n, 10);
	log_reader_close(reader);
}

static void test_says_that_there_is_no_log(void **state)
{
	struct log_flow_query query = {.filter = LOG_FILTER_ANY};
	char error[256] = "";

	(void)state;
	ask(&query);
	assert_int_equal(answer.n, 0);
	assert_int_equal(
		log_flows("/nonexistent", &query, note_flow, NULL, error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, "/nonexistent"));
}

/* --- Counts over time ----------------------------------------------------------------------- */

static struct log_slot slots[64];
static size_t n_slots;

static bool note_slot(const struct log_slot *slot, void *context)
{
	(void)context;
	assert_true(n_slots < 64);
	slots[n_slots++] = *slot;
	return true;
}

static void draw(const struct log_filter *filter, uint64_t seconds, int expected)
{
	char error[256] = "";

	n_slots = 0;
	assert_int_equal(
		log_timeline(directory, filter, seconds, note_slot, NULL, error, sizeof(error)),
		expected);
	assert_int_equal(expected != 0, *error != '\0');
}

static struct log_record gap_of(uint64_t sequence, uint64_t time_ns, uint64_t lost)
{
	struct log_record record = record_of(sequence, time_ns);

	record.kind = LOG_GAP;
	record.reason = "ring-full";
	record.packets_forward = lost;
	record.source = record.destination =
		(struct log_party){.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""};
	return record;
}

static void test_counts_over_time(void **state)
{
	struct log_filter filter = LOG_FILTER_ANY;
	struct log_store *store = open_store(NULL);
	struct log_record record;

	(void)state;
	for (uint64_t i = 1; i <= 30; i++) {
		record = i % 3 ? denial_of(i, T0 + i * 20 * SECOND)
			       : record_of(i, T0 + i * 20 * SECOND);
		write_one(store, &record);
	}
	record = gap_of(31, T0 + 1500 * SECOND, 99);
	write_one(store, &record);
	commit(store, T0 + 2000 * SECOND);
	log_store_close(store);
	draw(&filter, 300, 0);
	assert_int_equal(n_slots, 6);
	assert_int_equal(slots[0].start_ns, T0);
	assert_int_equal(slots[0].denied, 10); /* 1 to 14. */
	assert_int_equal(slots[0].ended, 4);
	assert_int_equal(slots[1].denied, 10); /* 15 to 29. */
	assert_int_equal(slots[2].ended, 1);
	assert_int_equal(slots[3].denied, 0);
	assert_int_equal(slots[5].lost, 99);
	filter.zone = "web";
	draw(&filter, 300, 0);
	assert_int_equal(slots[0].denied, 0);
	assert_int_equal(slots[n_slots - 1].lost, 99);
	/* Not even whole minutes, and far too many of them. */
	filter = (struct log_filter)LOG_FILTER_ANY;
	draw(&filter, 1, 0);
	assert_int_equal(slots[1].start_ns, T0 + 60 * SECOND);
	/* A file that cannot be read leaves what the others tell of losses. */
	write_garbage("traffic-20261001T110000Z.db");
	draw(&filter, 300, -EIO);
	assert_int_equal(slots[n_slots - 1].lost, 99);
	assert_int_equal(unlink(path_of("traffic-20261001T110000Z.db")), 0);
	store = open_store(NULL);
	record = record_of(32, T0 + 400 * 24 * HOUR);
	write_one(store, &record);
	log_store_close(store);
	draw(&filter, 60, -EINVAL);
}

/* --- Gaps ----------------------------------------------------------------------------------- */

static struct log_gap gaps[16];
static char gap_reasons[16][32];
static size_t n_gaps;

static bool note_gap(const struct log_gap *gap, void *context)
{
	(void)context;
	assert_true(n_gaps < 16);
	snprintf(gap_reasons[n_gaps], sizeof(gap_reasons[0]), "%s", gap->reason);
	gaps[n_gaps++] = *gap;
	return true;
}

static void find_gaps(uint64_t since_ns, uint64_t until_ns)
{
	char error[256] = "";

	n_gaps = 0;
	assert_int_equal(
		log_gaps(directory, since_ns, until_ns, note_gap, NULL, error, sizeof(error)), 0);
}

/* 1 to 10; 15 tells of four that are missing before it; 16 to 20; then 21 to 29 are missing, and
 * nobody says why. */
static void test_finds_gaps(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = gap_of(15, T0 + 15 * SECOND, 4);

	(void)state;
	write_many(store, 1, 10, T0 + SECOND, SECOND);
	write_one(store, &record);
	write_many(store, 16, 20, T0 + 16 * SECOND, SECOND);
	write_many(store, 30, 40, T0 + 30 * SECOND, SECOND);
	log_store_close(store);
	find_gaps(0, 0);
	assert_int_equal(n_gaps, 2);
	assert_true(gaps[0].recorded);
	assert_int_equal(gaps[0].sequence, 15);
	assert_int_equal(gaps[0].lost, 4);
	assert_int_equal(gaps[0].missing, 4);
	assert_string_equal(gap_reasons[0], "ring-full");
	assert_int_equal(gaps[0].from_ns, T0 + 10 * SECOND);
	assert_int_equal(gaps[0].until_ns, T0 + 15 * SECOND);
	assert_false(gaps[1].recorded);
	assert_int_equal(gaps[1].lost, 9);
	assert_int_equal(gaps[1].from_ns, T0 + 20 * SECOND);
	assert_int_equal(gaps[1].until_ns, T0 + 30 * SECOND);
	assert_string_equal(gap_reasons[1], "");
	find_gaps(T0 + 16 * SECOND, T0 + 29 * SECOND);
	assert_int_equal(n_gaps, 0);
	find_gaps(T0 + 30 * SECOND, 0);
	assert_int_equal(n_gaps, 1);
	assert_int_equal(gaps[0].lost, 9);
}

/* What a filter keeps out is no loss; what a gap record tells of is. */
static void test_holes_of_a_filtered_log_are_no_gaps(void **state)
{
	struct log_store *store = open_store(&(struct log_store_options){.filtered = true});
	struct log_record record = gap_of(65, T0 + 65 * SECOND, 4);

	(void)state;
	write_many(store, 1, 10, T0 + SECOND, SECOND);
	write_many(store, 30, 40, T0 + 30 * SECOND, SECOND);
	write_one(store, &record);
	write_many(store, 70, 80, T0 + HOUR, SECOND);
	log_store_close(store);
	find_gaps(0, 0);
	assert_int_equal(n_gaps, 1);
	assert_true(gaps[0].recorded);
	assert_int_equal(gaps[0].lost, 4);
	assert_int_equal(gaps[0].from_ns, T0 + 40 * SECOND);
}

/* Files whose names are not in the order of their making, with a hole between two of them. */
static void test_finds_gaps_after_the_clock_was_set_back(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	write_many(store, 1, 10, T0 + 3000 * SECOND, SECOND);
	commit(store, T0 - 1800 * SECOND);
	write_many(store, 11, 20, T0 - 1800 * SECOND, SECOND);
	commit(store, T0 + 10 * SECOND);
	write_many(store, 26, 30, T0 + 10 * SECOND, SECOND);
	log_store_close(store);
	find_gaps(0, 0);
	assert_int_equal(n_gaps, 1);
	assert_int_equal(gaps[0].missing, 5);
	assert_int_equal(gaps[0].from_ns, T0 - 1791 * SECOND);
	assert_int_equal(gaps[0].until_ns, T0 + 10 * SECOND);
}

/* What lies in a file out of the span is not missing in it. */
static void test_takes_no_file_for_a_hole(void **state)
{
	struct log_store *store = open_store(NULL);

	(void)state;
	write_many(store, 1, 10, T0, SECOND);
	commit(store, T0 + 2 * HOUR);
	write_many(store, 11, 20, T0 + 2 * HOUR, SECOND);
	commit(store, T0 + 10 * SECOND);
	write_many(store, 21, 30, T0 + 10 * SECOND, SECOND);
	log_store_close(store);
	find_gaps(0, T0 + HOUR);
	assert_int_equal(n_gaps, 0);
	find_gaps(0, 0);
	assert_int_equal(n_gaps, 0);
}

/* Another host's file among them: numbers that were given twice make no hole. */
static void test_numbers_given_twice_are_no_hole(void **state)
{
	struct log_store *store = open_store(NULL);
	char aside[100];

	(void)state;
	write_many(store, 40, 60, T0 + HOUR, SECOND);
	log_store_close(store);
	snprintf(aside, sizeof(aside), "%s/aside", directory);
	assert_int_equal(rename(path_of("traffic-20261001T130000Z.db"), aside), 0);
	store = open_store(NULL);
	write_many(store, 1, 100, T0, SECOND);
	commit(store, T0 + 2 * HOUR);
	write_many(store, 101, 110, T0 + 2 * HOUR, SECOND);
	log_store_close(store);
	assert_int_equal(rename(aside, path_of("traffic-20261001T130000Z.db")), 0);
	find_gaps(0, 0);
	assert_int_equal(n_gaps, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_adds_up_by_zones),
		TEST(test_tells_apart_what_is_asked_for),
		TEST(test_orders_and_limits),
		TEST(test_keeps_to_the_filter_and_the_span),
		TEST(test_finds_what_is_seen_for_the_first_time),
		TEST(test_reads_a_file_as_it_was_when_opened),
		TEST(test_says_that_there_is_no_log),
		TEST(test_counts_over_time),
		TEST(test_finds_gaps),
		TEST(test_takes_no_file_for_a_hole),
		TEST(test_numbers_given_twice_are_no_hole),
		TEST(test_holes_of_a_filtered_log_are_no_gaps),
		TEST(test_finds_gaps_after_the_clock_was_set_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
