/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The questions of `cordon log`, asked of records that the test has written: the answers, and what
 * is said where there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <time.h>

#include "cli/log.h"
#include "log_fixture.h"
#include "openvswitch/json.h"

#define MINUTE (60 * SECOND)

/* What a command has said, and its status. */
static struct {
	char *out, *err;
	enum cli_status status;
} said;

static char report_words[600];

static void forget(void)
{
	free(said.out);
	free(said.err);
	said.out = said.err = NULL;
}

/* Runs `cordon WORDS --directory DIRECTORY`; words are separated by single spaces. */
static const char *run_in(const char *place, const char *words)
{
	char *copy = strdup(words), *save = NULL;
	char *argv[32] = {(char *)"cordon"};
	struct cli cli = {0};
	size_t n_out, n_err;
	int argc = 1;

	forget();
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	argv[argc++] = (char *)"--directory";
	argv[argc++] = (char *)place;
	cli.out = open_memstream(&said.out, &n_out);
	cli.err = open_memstream(&said.err, &n_err);
	said.status = cli_parse(&cli, argc, argv);
	if (said.status == CLI_OK)
		said.status = cli.command->run(&cli);
	fclose(cli.out);
	fclose(cli.err);
	cli_destroy(&cli);
	free(copy);
	return said.out;
}

static const char *run(const char *words)
{
	return run_in(directory, words);
}

/* The answer of `cordon WORDS --json`, which must be an array of `n` rows; the caller destroys it.
 */
static struct json *rows_of(const char *words, size_t n)
{
	char line[256];
	struct json *rows;

	snprintf(line, sizeof(line), "%s --json", words);
	rows = json_from_string(run(line));
	if (said.status != CLI_OK || rows->type != JSON_ARRAY)
		fail_msg("%s: %d: %s%s", words, said.status, said.out, said.err);
	if (rows->array.n != n)
		fail_msg("%s: %zu rows: %s", words, rows->array.n, said.out);
	return rows;
}

static void expect_text(const struct json *row, const char *name, const char *text)
{
	if (strcmp(cli_json_text(row, name), text) != 0)
		fail_msg("%s is '%s', not '%s'", name, cli_json_text(row, name), text);
}

static void expect_number(const struct json *row, const char *name, int64_t number)
{
	if (cli_json_number(row, name) != number)
		fail_msg("%s is %lld, not %lld", name, (long long)cli_json_number(row, name),
			(long long)number);
}

static bool mentions(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

/* --- The traffic ---------------------------------------------------------------------------- */

/* Of one hour: web-1 asks db-1 three times, db-1 is denied an address outside 21 times, web-2 asks
 * web-1 by default, and web-1 claims another's address. */
static void write_traffic(void)
{
	struct log_store *store = open_store(NULL);
	struct log_record record;
	uint64_t n = 0;

	for (int i = 0; i < 3; i++) {
		n++;
		record = record_of(n, T0 + n * MINUTE);
		write_one(store, &record);
	}
	for (int i = 0; i < 2; i++) {
		n++;
		record = denial_of(n, T0 + n * MINUTE);
		record.suppressed = i ? 19 : 0;
		write_one(store, &record);
	}
	n++;
	record = record_of(n, T0 + n * MINUTE);
	record.destination = record.source;
	record.destination.transport_port = 5432;
	record.source.vm_name = "web-2";
	record.source.vm_id = "9999";
	record.source.port = "vm-web-2";
	record.source.address = address("10.0.1.6");
	record.policy = record.tier = "baseline";
	record.rule = "web->web";
	write_one(store, &record);
	n++;
	record = record_of(n, T0 + n * MINUTE);
	record.kind = LOG_SPOOFED;
	record.verdict = ZONE_DENY;
	record.reason = "spoofed-address";
	record.policy = record.rule = record.tier = "";
	record.source.address = address("10.0.1.66");
	record.packets_forward = 1;
	record.packets_reverse = record.bytes_reverse = 0;
	write_one(store, &record);
	commit(store, T0 + n * MINUTE);
	log_store_close(store);
}

static int make_traffic(void **state)
{
	setenv("TZ", "UTC", 1);
	setenv("CORDON_RUNDIR", "/nonexistent/cordon", 1);
	if (make_directory(state))
		return -1;
	write_traffic();
	return 0;
}

static int remove_traffic(void **state)
{
	forget();
	return remove_directory(state);
}

/* --- The answers ---------------------------------------------------------------------------- */

static void test_denied(void **state)
{
	struct json *rows = rows_of("log denied --since 2026-10-01T12:00:00Z", 2);
	const struct json *spoofed = rows->array.elems[0], *denied = rows->array.elems[1];

	(void)state;
	expect_text(spoofed, "kind", "spoofed"); /* The newest first. */
	expect_text(denied, "kind", "denied");
	expect_text(denied, "source_vm_name", "db-1");
	expect_text(denied, "source_address", "2001:db8:2::7");
	expect_text(denied, "destination_zone", "internet");
	expect_text(denied, "rule", "no-internet");
	expect_text(denied, "reason", "policy");
	expect_number(denied, "refused", 21);
	expect_number(denied, "held_back", 19);
	expect_number(denied, "destination_transport_port", 443);
	expect_text(denied, "first", "2026-10-01T12:04:00.000000000Z");
	expect_text(denied, "last", "2026-10-01T12:05:00.000000000Z");
	json_destroy(rows);
	rows = rows_of("log denied --since 2026-10-01T12:00:00Z --kind spoofed", 1);
	json_destroy(rows);
	/* Nothing was refused in the hour that has just passed. */
	rows = rows_of("log denied", 0);
	json_destroy(rows);
	run("log denied");
	assert_int_equal(said.status, CLI_OK);
	assert_string_equal(said.out, "");
	assert_true(mentions(said.err, "No refusals found"));
	assert_true(mentions(said.err, "from 2026-10-01 12:01:00.000 to 2026-10-01 12:07:00.000"));
}

static void test_talks(void **state)
{
	struct json *rows = rows_of("log talks db-1", 3);
	const struct json *row;

	(void)state;
	row = rows->array.elems[0];
	expect_text(row, "direction", "out");
	expect_text(row, "verdict", "denied");
	expect_number(row, "refused", 21);
	row = rows->array.elems[1];
	expect_text(row, "direction", "in");
	expect_text(row, "source_vm_name", "web-1");
	expect_text(row, "rule", "web-to-db");
	expect_number(row, "connections", 3);
	expect_number(row, "bytes", 3 * 65200);
	json_destroy(rows);
	json_destroy(rows_of("log talks 8a01", 3));	     /* The VM's id. */
	json_destroy(rows_of("log talks vm-db-1", 3));	     /* The port. */
	json_destroy(rows_of("log talks db", 3));	     /* The zone. */
	json_destroy(rows_of("log talks 10.0.2.0/24", 2));   /* Without its IPv6 address. */
	json_destroy(rows_of("log talks 2001:db8::/32", 1)); /* Both ends are in it. */
	json_destroy(rows_of("log talks 10.0.2.7 --verdict allowed", 1));
	rows = rows_of("log talks --zone web --verdict allowed", 2);
	expect_text(rows->array.elems[1], "direction", "within");
	json_destroy(rows);
	json_destroy(rows_of("log talks nobody", 0));
	assert_true(mentions(said.err, "No traffic of a VM, port or zone 'nobody' found"));
	run("log talks");
	assert_int_equal(said.status, CLI_USAGE);
	run("log talks web-1 --vm db-1");
	assert_int_equal(said.status, CLI_USAGE);
}

static void test_matrix(void **state)
{
	struct json *rows = rows_of("log matrix", 3);
	const struct json *row = rows->array.elems[0];

	(void)state;
	expect_text(row, "source_zone", "db"); /* The most first. */
	expect_number(row, "denied", 21);
	row = rows->array.elems[1];
	expect_text(row, "source_zone", "web");
	expect_text(row, "destination_zone", "db");
	expect_number(row, "allowed", 3);
	expect_number(row, "denied", 1);
	expect_number(row, "unprotected", 0);
	row = rows->array.elems[2];
	expect_text(row, "destination_zone", "web");
	expect_number(row, "unprotected", 1);
	expect_number(row, "allowed", 0);
	json_destroy(rows);
	assert_string_equal(run("log matrix"), "FROM  TO              db  internet    web\n"
					       "db    denied           .        21      .\n"
					       "web   allowed          3         .      .\n"
					       "      unprotected      .         .      1\n"
					       "      denied           1         .      .\n");
}

static void test_top(void **state)
{
	struct json *rows = rows_of("log top", 4);
	const struct json *row = rows->array.elems[0];

	(void)state;
	expect_text(row, "name", "web-1");
	expect_number(row, "opened", 3);
	expect_number(row, "accepted", 1);
	expect_number(row, "refused", 1);
	expect_number(row, "bytes_sent", 3 * 1200 + 64000 + 1200);
	expect_number(row, "bytes_received", 3 * 64000 + 1200);
	json_destroy(rows);
	rows = rows_of("log top --by refused", 4);
	expect_text(rows->array.elems[0], "name", "db-1");
	json_destroy(rows);
	rows = rows_of("log top --of zone --by connections", 3);
	expect_text(rows->array.elems[0], "name", "web");
	expect_number(rows->array.elems[0], "connections", 4); /* One within it counts once. */
	json_destroy(rows);
	rows = rows_of("log top --of address --by connections -n 1", 1);
	expect_text(rows->array.elems[0], "name", "10.0.1.5");
	json_destroy(rows);
	rows = rows_of("log top --of service", 2);
	expect_text(rows->array.elems[0], "name", "tcp/5432");
	json_destroy(rows);
	rows = rows_of("log top --of rule --by refused", 4);
	expect_text(rows->array.elems[0], "name", "egress/no-internet");
	json_destroy(rows);
}

static void test_new(void **state)
{
	struct json *rows = rows_of("log new --since 2026-10-01T12:05:30Z", 1);

	(void)state;
	expect_text(rows->array.elems[0], "source_vm_name", "web-2");
	assert_true(mentions(said.err, "from 2026-10-01 12:01:00.000 on"));
	json_destroy(rows);
	json_destroy(rows_of("log new --since 2026-10-01T12:05:30Z --addresses", 2));
	json_destroy(rows_of("log new --since 2026-10-01T11:00:00Z", 3));
	assert_true(mentions(said.err, "everything in it counts as new"));
	json_destroy(rows_of("log new", 0));
}

static void test_spoofed(void **state)
{
	struct json *rows = rows_of("log spoofed", 1);
	const struct json *row = rows->array.elems[0];

	(void)state;
	expect_text(row, "vm_name", "web-1");
	expect_text(row, "claimed_address", "10.0.1.66");
	expect_text(row, "claimed_mac", "02:00:00:00:01:05");
	expect_text(row, "reason", "spoofed-address");
	expect_number(row, "attempts", 1);
	json_destroy(rows);
}

static void test_simulated(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = denial_of(100, T0 + 10 * MINUTE);
	struct json *rows;

	(void)state;
	json_destroy(rows_of("log simulated", 0));
	record.simulated = 1 + ZONE_ALLOW;
	record.simulated_policy = "trial";
	record.simulated_rule = "open";
	write_one(store, &record);
	record = record_of(101, T0 + 11 * MINUTE);
	record.kind = LOG_WOULD_DENY;
	record.simulated = 1 + ZONE_DENY;
	record.simulated_policy = "trial";
	record.simulated_rule = "close";
	record.suppressed = 4;
	write_one(store, &record);
	commit(store, T0 + 11 * MINUTE);
	log_store_close(store);
	rows = rows_of("log simulated", 2);
	expect_text(rows->array.elems[0], "simulated_rule", "close");
	expect_text(rows->array.elems[0], "verdict", "allowed");
	expect_text(rows->array.elems[0], "simulated_verdict", "denied");
	expect_number(rows->array.elems[0], "times", 5);
	expect_text(rows->array.elems[1], "simulated_verdict", "allowed");
	json_destroy(rows);
}

/* web-1 is cut off from db-1 by revision 13, which is in force for four minutes. */
static void write_revisions(void)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = record_of(50, T0 + 8 * MINUTE);

	record.kind = LOG_DENIED;
	record.verdict = ZONE_DENY;
	record.reason = "policy";
	record.policy_revision = 13;
	record.rule = "no-web";
	record.suppressed = 5;
	write_one(store, &record);
	record = denial_of(51, T0 + 9 * MINUTE);
	record.policy_revision = 13;
	write_one(store, &record);
	record = record_of(52, T0 + 10 * MINUTE);
	record.policy_revision = 13;
	record.destination.transport_port = 80;
	write_one(store, &record);
	record = record_of(53, T0 + 12 * MINUTE);
	record.policy_revision = 14;
	write_one(store, &record);
	commit(store, T0 + 12 * MINUTE);
	log_store_close(store);
}

static void test_compare(void **state)
{
	struct json *answer;
	const struct json *rows, *row;

	(void)state;
	write_revisions();
	answer = json_from_string(run("log compare 13 --json"));
	assert_int_equal(said.status, CLI_OK);
	expect_text(answer, "time", "2026-10-01T12:08:00.000000000Z");
	expect_text(answer, "time_known_from", "log");
	/* Revision 14 ends it, so that no more than four minutes before it count. */
	expect_text(cli_json_member(answer, "before"), "since", "2026-10-01T12:04:00.000000000Z");
	expect_text(cli_json_member(answer, "after"), "until", "2026-10-01T12:12:00.000000000Z");
	rows = cli_json_member(answer, "rows");
	assert_int_equal(rows->array.n, 4);
	row = rows->array.elems[0];
	expect_text(row, "change", "newly denied");
	expect_text(row, "source_vm_name", "web-1");
	expect_number(row, "after_denied", 6);
	row = rows->array.elems[1];
	expect_text(row, "change", "still denied");
	expect_number(row, "before_denied", 21);
	expect_number(row, "after_denied", 1);
	expect_text(rows->array.elems[2], "change", "newly allowed");
	expect_text(rows->array.elems[3], "change", "allowed before");
	json_destroy(answer);
	assert_true(mentions(run("log compare 13"), "4m00s on either side"));
	assert_true(mentions(said.out, "6 denied by db-access/no-web"));
	assert_true(mentions(run("log compare 13 --csv"), "\nnewly denied,web-1,"));
	run("log compare 99");
	assert_int_equal(said.status, CLI_NOT_FOUND);
	run("log compare x");
	assert_int_equal(said.status, CLI_USAGE);
	run("log compare 13 --window 2026-10-01");
	assert_int_equal(said.status, CLI_USAGE);
}

/* --- Gaps ----------------------------------------------------------------------------------- */

static void test_gaps(void **state)
{
	struct log_store *store;
	struct log_record record;
	struct json *rows;

	(void)state;
	json_destroy(rows_of("log gaps --until 2026-10-01T12:30:00Z", 0));
	run("log gaps --until 2026-10-01T12:30:00Z");
	assert_true(mentions(said.err, "No gaps found"));
	store = open_store(NULL);
	log_record_gap(&record, "host-a", "ring-full", 1234);
	record.sequence = 8;
	record.time_ns = T0 + 8 * MINUTE;
	write_one(store, &record);
	write_many(store, 20, 21, T0 + 9 * MINUTE, MINUTE); /* 9 to 19 are missing. */
	write_many(store, 22, 22, T0 + 3 * HOUR, 0);	    /* Hours without a record. */
	write_many(store, 23, 24, T0 + 2 * HOUR, 0);	    /* The clock was set back... */
	write_many(store, 25, 30, T0 + 2 * HOUR, 0);	    /* ...and another file begun. */
	log_store_close(store);
	write_garbage("traffic-20261001T160000Z.db");
	write_garbage("traffic-20261001T170000Z.db.damaged");
	run("log gaps --json --until 2026-10-01T18:00:00Z");
	assert_int_equal(said.status, CLI_FAILED); /* A file could not be read. */
	assert_true(mentions(said.err, "traffic-20261001T160000Z.db"));
	rows = json_from_string(said.out);
	if (rows->array.n != 7)
		fail_msg("%s", said.out);
	expect_text(rows->array.elems[0], "what", "lost");
	expect_text(rows->array.elems[0], "reason", "ring-full");
	expect_number(rows->array.elems[0], "lost", 1234);
	expect_text(rows->array.elems[1], "what", "hole");
	expect_number(rows->array.elems[1], "lost", 11);
	expect_text(rows->array.elems[2], "what", "silence");
	expect_text(rows->array.elems[2], "reason", "no records, and none is missing");
	expect_text(rows->array.elems[3], "what", "clock");
	expect_text(rows->array.elems[4], "what", "silence");
	expect_text(rows->array.elems[4], "reason", "no records since");
	expect_text(rows->array.elems[5], "what", "damaged");
	expect_text(rows->array.elems[6], "file", "traffic-20261001T170000Z.db.damaged");
	json_destroy(rows);
	/* The others say what they can, that something is missing, and how many. */
	run("log matrix");
	assert_int_equal(said.status, CLI_FAILED);
	assert_true(mentions(said.out, "unprotected"));
	assert_true(mentions(said.err, "1,234 records of this time were lost"));
}

/* --- Where there is nothing, or too much ---------------------------------------------------- */

static const char *const questions[] = {"log denied", "log talks web-1", "log matrix", "log top",
	"log new", "log spoofed", "log simulated", "log gaps", "log summary"};

static void test_no_log(void **state)
{
	char place[100], line[100];

	(void)state;
	snprintf(place, sizeof(place), "%s/none", directory);
	for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++) {
		run_in(place, questions[i]);
		assert_true(mentions(said.err, place));
		snprintf(line, sizeof(line), "%s --json", questions[i]);
		run_in(place, line);
		assert_string_equal(said.out, "[]\n");
	}
}

static void test_a_span_without_data(void **state)
{
	char line[100];

	(void)state;
	for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++) {
		if (strstr(questions[i], "gaps"))
			continue;
		snprintf(line, sizeof(line), "%s --since 2026-09-30 --until 2026-10-01 --json",
			questions[i]);
		run(line);
		assert_string_equal(said.out, "[]\n");
		assert_int_equal(said.status, CLI_OK);
		assert_true(mentions(said.err, "found") || mentions(said.err, "matches"));
		snprintf(line, sizeof(line), "%s --since 2026-10-02 --until 2026-10-01",
			questions[i]);
		run(line);
		assert_int_equal(said.status, CLI_USAGE);
		assert_true(mentions(said.err, "later than --until"));
	}
}

/* A report takes the place of a file, and of nothing else. */
static void test_report_replaces_files_only(void **state)
{
	struct stat status;

	(void)state;
	write_garbage("other");
	assert_int_equal(symlink("other", path_of("report.new")), 0);
	assert_int_equal(mkfifo(path_of("pipe"), 0600), 0);
	snprintf(report_words, sizeof(report_words), "report -o %s", path_of("report"));
	run(report_words);
	assert_int_equal(said.status, CLI_OK);
	assert_int_equal(lstat(path_of("report"), &status), 0);
	assert_true(S_ISREG(status.st_mode));
	assert_int_equal(stat(path_of("other"), &status), 0);
	assert_int_equal(status.st_size, 2000 * strlen("This is not a database. "));
	/* Somebody must listen, or opening it would wait. */
	int reader = open(path_of("pipe"), O_RDONLY | O_NONBLOCK);
	fcntl(reader, F_SETPIPE_SZ, 1 << 20);
	snprintf(report_words, sizeof(report_words), "report -o %s", path_of("pipe"));
	run(report_words);
	close(reader);
	assert_int_equal(said.status, CLI_OK);
	assert_int_equal(lstat(path_of("pipe"), &status), 0);
	assert_true(S_ISFIFO(status.st_mode));
	assert_int_equal(count_files("report."), 1);
}

static void test_csv(void **state)
{
	struct log_store *store = open_store(NULL);
	struct log_record record = denial_of(100, T0 + 10 * MINUTE);
	const char *text;

	(void)state;
	record.source.vm_name = "=HYPERLINK(\"http://x\",\"a\")";
	record.source.tags = "a,b\nc";
	record.source.port = "caf\xe9";
	write_one(store, &record);
	commit(store, T0 + 10 * MINUTE);
	log_store_close(store);
	text = run("log denied --since 2026-10-01T12:08:00Z --csv");
	assert_int_equal(said.status, CLI_OK);
	assert_true(mentions(text, "last_ns,refused,source_vm_name,"));
	assert_true(mentions(text, "\"'=HYPERLINK(\"\"http://x\"\",\"\"a\"\")\""));
	assert_true(mentions(text, "\"a,b\nc\""));
	assert_true(mentions(text, "caf\\xe9"));
	text = run("log matrix --since 2026-10-01T12:08:00Z --csv");
	assert_true(mentions(text, "source_zone,destination_zone,allowed,unprotected,denied,"));
	text = run("log denied --csv");
	assert_true(mentions(text, "last_ns,refused,"));
	run("log denied --csv --json");
	assert_int_equal(said.status, CLI_USAGE);
	/* A name cannot speak to the terminal either. */
	assert_false(mentions(run("log denied --since 2026-10-01T12:08:00Z"), "\xe9"));
}

int main(void)
{
#define OF_TRAFFIC(test) cmocka_unit_test_setup_teardown(test, make_traffic, remove_traffic)
	const struct CMUnitTest tests[] = {
		OF_TRAFFIC(test_denied),
		OF_TRAFFIC(test_talks),
		OF_TRAFFIC(test_matrix),
		OF_TRAFFIC(test_top),
		OF_TRAFFIC(test_new),
		OF_TRAFFIC(test_spoofed),
		OF_TRAFFIC(test_simulated),
		OF_TRAFFIC(test_compare),
		OF_TRAFFIC(test_gaps),
		OF_TRAFFIC(test_no_log),
		OF_TRAFFIC(test_a_span_without_data),
		OF_TRAFFIC(test_csv),
		OF_TRAFFIC(test_report_replaces_files_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
