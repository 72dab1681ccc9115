/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stored traffic under another policy: which records count, in which zone each end is, what is
 * gathered, and what is said of what the log does not have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

#include <cmocka.h>

#include "tests/unit/log_fixture.h"
#include "log/replay.h"

#define ZONES                                                                                      \
	"zones: {web: {match: tier=web}, db: {match: tier=db}, internet: {cidrs: [0.0.0.0/0, "     \
	"\"::/0\"]}}\n"
#define RULES(rules) ZONES "policies: [{id: p, rules: [" rules "]}]\n"
#define WEB_TO_DB    "{id: a, from: web, to: db, service: tcp/5432, action: allow}"
#define DB_OUT	     "{id: b, from: db, to: internet, service: tcp/443, action: allow}"

/* The ports of today: web-1 and db-1 as in the fixture's records, and an uplink. */
static const char *const web_tags[] = {"app=shop", "tier=web"}, *const db_tags[] = {"tier=db"};
static struct in6_addr web_addresses[1], db_addresses[2];
static struct view_endpoint endpoints[] = {
	{.host = "host-a",
		.port = "vm-web-1",
		.vm_name = "web-1",
		.vm_id = "7f5c",
		.tags = web_tags,
		.n_tags = 2,
		.addresses = web_addresses,
		.n_addresses = 1},
	{.host = "host-a",
		.port = "vm-db-1",
		.vm_name = "db-1",
		.vm_id = "8a01",
		.tags = db_tags,
		.n_tags = 1,
		.addresses = db_addresses,
		.n_addresses = 2},
	{.host = "host-a", .port = "uplink0", .vm_name = "", .vm_id = "", .is_uplink = true},
};

static int set_up(void **state)
{
	web_addresses[0] = address("10.0.1.5");
	db_addresses[0] = address("10.0.2.7");
	db_addresses[1] = address("2001:db8:2::7");
	return make_directory(state);
}

static struct zone_policy *policy_of(const char *text)
{
	struct policy_errors errors = {0};
	struct zone_policy *policy =
		zone_policy_create(text, strlen(text), 1, (int64_t)NOON, &errors);

	if (!policy)
		fail_msg("%u: %s", errors.at[0].line, errors.at[0].message);
	return policy;
}

/* What a replay found. */
struct outcome {
	struct zone_policy *before, *after;
	struct policy_view before_view, after_view;
	struct policy_impact impact;
	struct log_replay replay;
	char error[256];
	int rc;
};

static void replay(
	struct outcome *outcome, const char *before, const char *after, uint64_t since_ns)
{
	size_t n = sizeof endpoints / sizeof *endpoints;

	memset(outcome, 0, sizeof *outcome);
	outcome->before = policy_of(before);
	outcome->after = policy_of(after);
	policy_view_init(&outcome->before_view, outcome->before, endpoints, n);
	policy_view_init(&outcome->after_view, outcome->after, endpoints, n);
	policy_impact_init(&outcome->impact);
	outcome->replay = (struct log_replay){.directory = directory,
		.since_ns = since_ns,
		.before = &outcome->before_view,
		.after = &outcome->after_view,
		.impact = &outcome->impact};
	outcome->rc = log_replay_run(&outcome->replay, outcome->error, sizeof outcome->error);
	policy_impact_sort(&outcome->impact);
}

static void forget(struct outcome *outcome)
{
	policy_impact_free(&outcome->impact);
	policy_view_free(&outcome->before_view);
	policy_view_free(&outcome->after_view);
	zone_policy_destroy(outcome->before);
	zone_policy_destroy(outcome->after);
}

/* "denied tcp/5432 web->db p/a p/b 2" for each row. */
static void expect_rows(struct outcome *outcome, const char *expected)
{
	char text[2048] = "";
	size_t n = 0;

	for (size_t i = 0; i < outcome->impact.n; i++) {
		const struct impact_row *row = outcome->impact.rows[i];
		struct impact_row_names names;

		impact_row_names(row, outcome->before, outcome->after, &names);
		n += (size_t)snprintf(text + n, sizeof text - n, "%s %s %s->%s %s %s %llu\n",
			impact_kind_name(row->kind), names.service, names.source_zone,
			names.destination_zone, names.rule_before, names.rule_after,
			(unsigned long long)row->connections);
	}
	assert_string_equal(text, expected);
}

static void write_records(const struct log_record *records, size_t n)
{
	struct log_store *store = open_store(NULL);

	for (size_t i = 0; i < n; i++)
		write_one(store, &records[i]);
	commit(store, T0 + n * SECOND);
	log_store_close(store);
}

static struct log_record start_of(uint64_t sequence, uint64_t time_ns)
{
	struct log_record record = record_of(sequence, time_ns);

	record.kind = LOG_START;
	record.start_ns = time_ns;
	record.reason = "";
	return record;
}

static void test_connections_that_would_be_refused(void **state)
{
	struct log_record records[] = {start_of(1, T0), start_of(2, T0 + SECOND)};
	struct outcome outcome;

	(void)state;
	write_records(records, 2);
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	assert_int_equal(outcome.rc, 0);
	expect_rows(&outcome, "denied tcp/5432 web->db p/a baseline/web->db 2\n");
	assert_int_equal(outcome.impact.rows[0]->n_examples, 1);
	assert_string_equal(outcome.impact.rows[0]->examples[0].source_name, "web-1");
	assert_string_equal(outcome.impact.rows[0]->examples[0].destination_name, "db-1");
	assert_true(outcome.impact.rows[0]->last_ns == T0 + SECOND);
	assert_int_equal(outcome.replay.connections, 2);
	forget(&outcome);
}

static void test_refusals_that_would_be_allowed(void **state)
{
	struct log_record records[] = {denial_of(1, T0), denial_of(2, T0 + SECOND)};
	struct outcome outcome;

	(void)state;
	records[1].suppressed = 40;
	write_records(records, 2);
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	expect_rows(&outcome, "allowed tcp/443 db->internet baseline/db->internet p/b 2\n");
	assert_string_equal(outcome.impact.rows[0]->examples[0].destination_name, "");
	assert_int_equal(outcome.replay.refusals, 2);
	assert_int_equal(outcome.replay.held_back, 40);
	forget(&outcome);
}

static void test_what_the_log_said_of_the_verdict_does_not_matter(void **state)
{
	struct log_record records[] = {start_of(1, T0)};
	struct outcome outcome;

	(void)state;
	records[0].policy = "something";
	records[0].rule = "else";
	write_records(records, 1);
	replay(&outcome, RULES(DB_OUT), RULES(DB_OUT), T0);
	expect_rows(&outcome, "");
	assert_int_equal(outcome.impact.judged, 1);
	forget(&outcome);
}

/* An end counts once: for its start, or if that was before the span, for its end. */
static void test_a_connection_counts_once(void **state)
{
	struct log_record records[] = {start_of(1, T0), record_of(2, T0 + 10 * SECOND),
		record_of(3, T0 + 11 * SECOND), record_of(4, T0 + 12 * SECOND)};
	struct outcome outcome;

	(void)state;
	records[1].start_ns = T0;
	records[2].start_ns = T0 - HOUR;
	records[3].start_ns = T0 - HOUR;
	records[3].kind = LOG_UPDATE;
	write_records(records, 4);
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	expect_rows(&outcome, "denied tcp/5432 web->db p/a baseline/web->db 2\n");
	forget(&outcome);
}

static void test_records_that_no_policy_made_do_not_count(void **state)
{
	struct log_record records[] = {start_of(1, T0), start_of(2, T0), start_of(3, T0)};
	struct outcome outcome;

	(void)state;
	records[0].kind = LOG_SPOOFED;
	records[1].kind = LOG_LIMIT;
	records[2].kind = LOG_GAP;
	records[2].packets_forward = 17;
	write_records(records, 3);
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	expect_rows(&outcome, "");
	assert_int_equal(outcome.impact.judged, 0);
	assert_int_equal(outcome.replay.lost, 17);
	assert_int_equal(outcome.replay.records, 3);
	forget(&outcome);
}

static void test_a_vnic_is_in_the_zone_of_its_tags_as_they_were(void **state)
{
	struct log_record records[] = {start_of(1, T0)};
	struct outcome outcome;

	(void)state;
	records[0].source.tags = "tier=db"; /* It is a web server only today. */
	write_records(records, 1);
	replay(&outcome, ZONES, RULES(WEB_TO_DB), T0);
	expect_rows(&outcome, "");
	forget(&outcome);
	replay(&outcome, ZONES, ZONES "baseline: {within_zone: deny}\n", T0);
	expect_rows(&outcome, "denied tcp/5432 db->db baseline/db->db baseline/db->db 1\n");
	forget(&outcome);
}

static void test_a_vnic_that_is_gone_is_still_one(void **state)
{
	struct log_record records[] = {start_of(1, T0)};
	struct outcome outcome;

	(void)state;
	records[0].source.port = "vm-web-9";
	records[0].source.address = address("10.0.1.99");
	write_records(records, 1);
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	expect_rows(&outcome, "denied tcp/5432 web->db p/a baseline/web->db 1\n");
	forget(&outcome);
}

/* Behind an uplink, an address that a vNIC of today owns is that vNIC's zone. */
static void test_an_outside_end_is_judged_by_its_address(void **state)
{
	struct log_record records[] = {denial_of(1, T0)};
	struct outcome outcome;

	(void)state;
	records[0].destination.address = address("10.0.1.5");
	write_records(records, 1);
	replay(&outcome, ZONES, RULES("{id: c, from: db, to: web, action: allow}"), T0);
	expect_rows(&outcome, "allowed tcp/443 db->web baseline/db->web p/c 1\n");
	forget(&outcome);
}

/* The frame went by db-1 to an address that web-1 owns: db-1 is a router, and both ends are asked.
 */
static void test_a_router_is_judged_by_its_own_zone(void **state)
{
	struct log_record records[] = {start_of(1, T0)};
	struct outcome outcome;

	(void)state;
	records[0].source = (struct log_party){.address = address("192.0.2.1"),
		.port = "uplink0",
		.vm_id = "",
		.vm_name = "",
		.zone = "",
		.tags = ""};
	records[0].destination.address = address("10.0.1.5");
	write_records(records, 1);
	replay(&outcome, RULES("{id: i, from: internet, to: db, action: allow}"), ZONES, T0);
	expect_rows(&outcome, "denied tcp/5432 internet->db p/i baseline/internet->db 1\n");
	forget(&outcome);
	records[0] = start_of(2, T0 + SECOND);
	records[0].destination.address = address("10.0.2.8"); /* Nobody's of today. */
	write_records(records, 1);
	replay(&outcome, RULES(WEB_TO_DB), RULES("{id: x, from: web, to: db, action: reject}"),
		T0 + SECOND);
	expect_rows(&outcome, "denied tcp/5432 web->db p/a p/x 1\n");
	forget(&outcome);
}

static void test_quarantine_is_named(void **state)
{
	struct log_record records[] = {start_of(1, T0)};
	struct outcome outcome;

	(void)state;
	records[0].source.tags = "";
	write_records(records, 1);
	replay(&outcome, RULES(WEB_TO_DB),
		"zones: {any-vnic: {match: \"not tier=db\"}, db: {match: tier=db}}\n"
		"baseline: {between_zones: allow}\n",
		T0);
	expect_rows(&outcome, "allowed tcp/5432 any-vnic->db quarantine baseline/any-vnic->db 1\n");
	forget(&outcome);
}

static void test_simulation_is_told_apart(void **state)
{
	struct log_record records[] = {start_of(1, T0)};
	struct outcome outcome;

	(void)state;
	write_records(records, 1);
	replay(&outcome, RULES(WEB_TO_DB),
		ZONES "policies: [{id: p, rules: [" WEB_TO_DB
		      "]}, {id: try, tier: emergency, mode: "
		      "simulate, rules: [{id: no, from: any, to: db, action: reject}]}]\n",
		T0);
	expect_rows(&outcome, "would-deny tcp/5432 web->db p/a try/no 1\n");
	assert_int_equal(outcome.impact.rows[0]->action_after, ZONE_REJECT);
	forget(&outcome);
	replay(&outcome, ZONES "policies: [{id: try, mode: simulate, rules: [" WEB_TO_DB "]}]\n",
		RULES(DB_OUT), T0);
	expect_rows(&outcome, "now-would-allow tcp/5432 web->db baseline/web->db try/a 1\n");
	forget(&outcome);
}

static void test_examples_and_what_is_beyond_them(void **state)
{
	enum { CLIENTS = 2 * IMPACT_EXAMPLES_MAX };
	struct log_store *store = open_store(NULL);
	struct outcome outcome;
	char text[32];

	(void)state;
	for (uint64_t i = 0; i < 2 * CLIENTS; i++) {
		struct log_record record = start_of(i + 1, T0 + i * SECOND);

		snprintf(text, sizeof text, "10.0.9.%u", (unsigned int)(i % CLIENTS));
		record.source.address = address(text);
		write_one(store, &record);
	}
	commit(store, T0 + HOUR);
	log_store_close(store);
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	assert_int_equal(outcome.impact.n, 1);
	assert_int_equal(outcome.impact.rows[0]->n_examples, IMPACT_EXAMPLES_MAX);
	assert_int_equal(outcome.impact.rows[0]->connections, 2 * CLIENTS);
	assert_int_equal(outcome.impact.rows[0]->others, CLIENTS);
	forget(&outcome);
}

/* A scan of every port: rows are bounded, and what finds no place is counted. */
static void test_rows_are_bounded(void **state)
{
	enum { PORTS = IMPACT_ROWS_MAX + 500 };
	struct log_store *store = open_store(NULL);
	struct outcome outcome;

	(void)state;
	for (uint64_t i = 0; i < PORTS; i++) {
		struct log_record record = start_of(i + 1, T0);

		record.destination.transport_port = (uint16_t)(i + 1);
		write_one(store, &record);
	}
	commit(store, T0 + HOUR);
	log_store_close(store);
	replay(&outcome, RULES("{id: a, from: web, to: db, action: allow}"), ZONES, T0);
	assert_int_equal(outcome.impact.n, IMPACT_ROWS_MAX);
	assert_int_equal(outcome.impact.changed[IMPACT_DENIED], PORTS);
	assert_int_equal(outcome.impact.left_out, 500);
	forget(&outcome);
}

static void test_only_the_span_counts(void **state)
{
	struct log_record records[] = {start_of(1, T0), start_of(2, T0 + 100 * SECOND)};
	struct outcome outcome;

	(void)state;
	write_records(records, 2);
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0 + 50 * SECOND);
	assert_int_equal(outcome.replay.records, 1);
	assert_true(outcome.replay.first_ns == T0 + 100 * SECOND);
	forget(&outcome);
}

static void test_a_log_that_is_missing_or_damaged(void **state)
{
	struct log_record records[] = {start_of(1, T0)};
	struct outcome outcome;

	(void)state;
	write_records(records, 1);
	write_garbage("traffic-20261001T110000Z.db");
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	assert_int_equal(outcome.rc, -EIO);
	assert_non_null(strstr(outcome.error, "traffic-20261001T110000Z.db"));
	assert_int_equal(outcome.replay.connections, 1);
	forget(&outcome);
	strcat(directory, "/none");
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	assert_int_equal(outcome.rc, -ENOENT);
	forget(&outcome);
	*strrchr(directory, '/') = '\0';
}

/* As JSON: names of VMs may hold anything. */
static void test_json_is_sound(void **state)
{
	struct log_record records[] = {start_of(1, T0)};
	struct outcome outcome;
	char *text = NULL;
	size_t size;
	FILE *stream;

	(void)state;
	records[0].source.vm_name = "a\"b\\c\nd";
	write_records(records, 1);
	replay(&outcome, RULES(WEB_TO_DB), RULES(DB_OUT), T0);
	stream = open_memstream(&text, &size);
	policy_impact_write(&outcome.impact, outcome.before, outcome.after, 10, 10, stream);
	fclose(stream);
	assert_non_null(strstr(text, "\"source_name\": \"a\\\"b\\\\c\\u000ad\""));
	assert_non_null(strstr(text, "\"denied\": 1"));
	assert_non_null(strstr(text, "\"rows_left_out\": 0}"));
	free(text);
	forget(&outcome);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, remove_directory)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_connections_that_would_be_refused),
		TEST(test_refusals_that_would_be_allowed),
		TEST(test_what_the_log_said_of_the_verdict_does_not_matter),
		TEST(test_a_connection_counts_once),
		TEST(test_records_that_no_policy_made_do_not_count),
		TEST(test_a_vnic_is_in_the_zone_of_its_tags_as_they_were),
		TEST(test_a_vnic_that_is_gone_is_still_one),
		TEST(test_an_outside_end_is_judged_by_its_address),
		TEST(test_a_router_is_judged_by_its_own_zone),
		TEST(test_quarantine_is_named),
		TEST(test_simulation_is_told_apart),
		TEST(test_examples_and_what_is_beyond_them),
		TEST(test_rows_are_bounded),
		TEST(test_only_the_span_counts),
		TEST(test_a_log_that_is_missing_or_damaged),
		TEST(test_json_is_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
