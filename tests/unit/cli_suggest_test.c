/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log suggest`: rules for what a zone was seen to do, and what they leave out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/log.h"
#include "log_fixture.h"
#include "openvswitch/json.h"

#define MINUTE (60 * SECOND)

static const char reference[] =
	"zones:\n"
	"  web: {match: \"tier=web and not x='a\\\"b'\"}\n"
	"  app: {match: tier=app, limits: {connections: 7}}\n"
	"  db: {match: tier=db, intra: deny}\n"
	"  internet: {cidrs: [\"2001:db8::/32\"]}\n"
	"  \"null\": {match: tier=none}\n"
	"  \"1.0\": {match: tier=one}\n"
	"services:\n"
	"  postgres: tcp/5432\n"
	"  web: [tcp/80, tcp/443]\n"
	"  http: tcp/80\n"
	"policies:\n"
	"  - id: egress\n"
	"    tier: environment\n"
	"    rules: [{id: no-internet, from: db, to: internet, action: deny}]\n"
	"baseline: {between_zones: reject, within_zone: allow, log: all}\n";

static char policy_path[128];
static char *said_out, *said_err;

static enum cli_status run(const char *zone, const char *option)
{
	char *argv[] = {(char *)"cordon", (char *)"log", (char *)"suggest", (char *)zone,
		(char *)"--policy", policy_path, (char *)"--directory", directory,
		(char *)"--since", (char *)"2026-09-01", (char *)option};
	struct cli cli = {0};
	enum cli_status status;
	size_t n_out, n_err;

	free(said_out);
	free(said_err);
	cli.out = open_memstream(&said_out, &n_out);
	cli.err = open_memstream(&said_err, &n_err);
	status = cli_parse(&cli, option ? 11 : 10, argv);
	if (status == CLI_OK)
		status = cli.command->run(&cli);
	fclose(cli.out);
	fclose(cli.err);
	cli_destroy(&cli);
	return status;
}

/* The document, which must be a valid policy. */
static const char *suggest(const char *zone)
{
	struct policy_errors *errors = calloc(1, sizeof(*errors));

	if (run(zone, NULL) != CLI_OK)
		fail_msg("%s", said_err);
	if (!zone_policy_check(said_out, strlen(said_out), errors))
		fail_msg("%u:%u: %s\n%s", errors->at[0].line, errors->at[0].column,
			errors->at[0].message, said_out);
	free(errors);
	return said_out;
}

static void expect(const char *part)
{
	if (!strstr(said_out, part))
		fail_msg("no '%s' in\n%s", part, said_out);
}

static void expect_not(const char *part)
{
	if (strstr(said_out, part))
		fail_msg("'%s' in\n%s", part, said_out);
}

static int prepare(void **state)
{
	FILE *file;

	setenv("TZ", "UTC", 1);
	setenv("CORDON_RUNDIR", "/nonexistent/cordon", 1);
	if (make_directory(state))
		return -1;
	snprintf(policy_path, sizeof(policy_path), "%s/policy.yaml", directory);
	file = fopen(policy_path, "w");
	if (!file)
		return -1;
	fputs(reference, file);
	return fclose(file);
}

static int clean_up(void **state)
{
	free(said_out);
	free(said_err);
	said_out = said_err = NULL;
	return remove_directory(state);
}

static uint64_t sequence;

/* web-1 is refused by default, or allowed, to speak to a port of db-1. */
static struct log_record attempt(uint16_t port, bool allowed)
{
	struct log_record record = record_of(sequence + 1, T0 + (sequence + 1) * MINUTE);

	sequence++;
	record.destination.transport_port = port;
	if (allowed)
		return record;
	record.kind = LOG_DENIED;
	record.verdict = ZONE_REJECT;
	record.reason = "rejected";
	record.tier = record.policy = "baseline";
	record.rule = "web->db";
	record.packets_forward = 1;
	return record;
}

static struct log_store *begin(void)
{
	sequence = 0;
	return open_store(NULL);
}

static void end(struct log_store *store)
{
	commit(store, T0 + (sequence + 1) * MINUTE);
	log_store_close(store);
}

/* --- Stories -------------------------------------------------------------------------------- */

static void test_services_by_the_policys_names(void **state)
{
	static const uint16_t ports[] = {80, 443, 5432, 9000, 9001, 9002};
	struct log_store *store = begin();

	(void)state;
	for (size_t i = 0; i < sizeof(ports) / sizeof(*ports); i++) {
		struct log_record record = attempt(ports[i], true);

		write_one(store, &record);
	}
	end(store);
	suggest("db");
	expect("- {id: web-to-db, from: web, to: db, service: [postgres, web, tcp/9000-9002], "
	       "action: allow, log: session}");
	expect("# 6 connections; 2026-10-01 12:01 to 2026-10-01 12:06.");
	expect("# web-1 10.0.1.5 -> db-1 10.0.2.7, and 5 more");
	expect("  db: {match: \"tier=db\", intra: deny}\n");
	expect("  app: {match: \"tier=app\", limits: {connections: 7}}\n");
	expect("  web: {match: \"tier=web and not x='a\\\"b'\"}\n");
	expect("baseline: {between_zones: reject, within_zone: allow, log: all}\n");
	expect("  web: [tcp/80, tcp/443]\n");
	expect_not("http:");
	assert_int_equal(run("db", "--rules"), CLI_OK);
	expect_not("zones:");
	expect("  - id: suggested-db\n");
}

static void test_what_is_left_out(void **state)
{
	struct log_store *store = begin();
	struct log_record record;

	(void)state;
	for (uint16_t port = 1; port <= 30; port++) { /* A scan. */
		record = attempt(port, false);
		record.source.vm_name = "web-9";
		write_one(store, &record);
	}
	record = attempt(22, false); /* Once. */
	write_one(store, &record);
	for (int i = 0; i < 3; i++) { /* Thrice, which is enough. */
		record = attempt(5432, false);
		write_one(store, &record);
	}
	sequence++;
	record = denial_of(sequence, T0 + sequence * MINUTE); /* By a rule. */
	write_one(store, &record);
	record = attempt(5432, false);
	record.kind = LOG_SPOOFED;
	record.policy = record.rule = "";
	write_one(store, &record);
	record = attempt(5432, true);
	record.destination.zone = "gone";
	write_one(store, &record);
	end(store);
	suggest("db");
	expect("service: postgres, action: allow");
	expect("# 3 refused attempts;");
	expect("a scan: web-9 10.0.1.5 tried 30 services of zone db in vain (30 refused attempts;");
	expect("refused fewer than 3 times: web-1 10.0.1.5 -> db-1 10.0.2.7, tcp/22 (1 refused");
	expect("refused by rule egress/no-internet, which was meant so: db -> internet tcp/443");
	expect("spoofed frames (1 refused attempt;");
	expect_not("tcp/1");
	suggest("web");
	expect("of a zone that the policy has not, or in quarantine: web -> gone (1 connection;");
}

static void test_zones_share_a_rule(void **state)
{
	struct log_store *store = begin();
	struct log_record record;

	(void)state;
	for (int i = 0; i < 2; i++) {
		record = attempt(5432, true);
		record.source.zone = i ? "app" : "web";
		write_one(store, &record);
	}
	record = attempt(0, true);
	record.protocol = IPPROTO_ICMP;
	record.icmp_type = 8;
	record.source.zone = "db";
	write_one(store, &record);
	end(store);
	suggest("db");
	expect("{id: suggested.1, from: [app, web], to: db, service: postgres,");
	expect("{id: db-to-db, from: db, to: db, service: icmp/8,");
}

static void test_outside_addresses(void **state)
{
	struct log_store *store = begin();
	struct log_record record;

	(void)state;
	for (int i = 0; i < 5; i++) {
		record = attempt(443, i < 2);
		record.source = record.destination;
		record.destination =
			(struct log_party){.address = address(i < 2 ? "2001:db8::7" : "192.0.2.7"),
				.transport_port = 443,
				.port = "uplink0",
				.vm_id = "",
				.vm_name = "",
				.tags = "",
				.zone = i < 2 ? "internet" : "quarantine"};
		record.policy = i < 2 ? record.policy : "";
		record.rule = i < 2 ? record.rule : "";
		write_one(store, &record);
	}
	end(store);
	suggest("db");
	expect("  suggested-outside: {cidrs: [\"192.0.2.7\"]}\n");
	expect("from: db, to: [internet, suggested-outside], service: tcp/443,");
}

/* Each of the internet's scanners knocks once; together they would look as if they were meant. */
static void test_the_internets_noise(void **state)
{
	struct log_store *store = begin();

	(void)state;
	for (int i = 1; i < 9; i++) {
		struct log_record record = attempt(22, false);
		char text[32];

		snprintf(text, sizeof(text), "192.0.2.%d", i);
		record.source = (struct log_party){.address = address(text),
			.port = "uplink0",
			.vm_id = "",
			.vm_name = "",
			.tags = "",
			.zone = "quarantine"};
		record.policy = record.rule = "";
		write_one(store, &record);
	}
	end(store);
	suggest("db");
	expect("    rules: []\n");
	expect_not("suggested-outside");
	expect("of outside addresses in no zone, each refused fewer than 3 times (8 refused");
}

static void test_many_high_ports(void **state)
{
	struct log_store *store = begin();

	(void)state;
	for (uint16_t port = 40000; port < 40100; port += 5) {
		struct log_record record = attempt(port, true);

		write_one(store, &record);
	}
	end(store);
	suggest("db");
	expect("service: tcp/40000-40095,");
	expect("# 20 high ports were seen; the range takes in those between.");
}

/* Names are other people's, and comments must stay comments. */
static void test_hostile_names(void **state)
{
	static const char *const names[] = {"a\n  - id: evil\n    rules: [{id: x, from: any}]",
		"b\xc2\x85zones: {}", "c\xe2\x80\xa8zones: {}", "d\xff\xfe", "e\xe2\x80\xaemoc",
		"f\r\tg", "\xef\xbb\xbfh", "b\xc3\xbcro"};
	struct log_store *store = begin();

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct log_record record = attempt((uint16_t)(1000 + i), i == 7);

		record.source.vm_name = names[i];
		write_one(store, &record);
	}
	end(store);
	suggest("db");
	expect_not("\n  - id: evil");
	expect_not("\nzones: {}");
	expect("b\xc3\xbcro");
	assert_int_equal(run("db", "--json"), CLI_OK);
}

static void test_nothing_seen(void **state)
{
	struct json *answer;

	(void)state;
	assert_int_equal(run("db", NULL), CLI_OK);
	assert_string_equal(said_out, "");
	assert_non_null(strstr(said_err, "There is no record"));
	assert_int_equal(run("db", "--json"), CLI_OK);
	answer = json_from_string(said_out);
	assert_int_equal(cli_json_member(answer, "rules")->array.n, 0);
	json_destroy(answer);
	assert_int_equal(run("dba", NULL), CLI_NOT_FOUND);
	assert_non_null(strstr(said_err, "did you mean 'db'?"));
	strcat(policy_path, ".none");
	assert_int_equal(run("db", NULL), CLI_NOT_FOUND);
}

int main(void)
{
#define STORY(test) cmocka_unit_test_setup_teardown(test, prepare, clean_up)
	const struct CMUnitTest tests[] = {
		STORY(test_services_by_the_policys_names),
		STORY(test_what_is_left_out),
		STORY(test_zones_share_a_rule),
		STORY(test_outside_addresses),
		STORY(test_the_internets_noise),
		STORY(test_many_high_ports),
		STORY(test_hostile_names),
		STORY(test_nothing_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
