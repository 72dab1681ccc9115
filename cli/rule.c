/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon rule`: what the rules of the policy, and the default pairs of zones, have decided.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/log.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/shash.h"
#include "svec.h"
#include "util.h"

#define RULE_SORTS "policy|packets|bytes|connections|last"

const struct cli_option cli_rule_list_options[] = {
	{"policy", 'p', "POLICY", "of this policy (\"baseline\": default pairs)"},
	{"unused", 'u', NULL, "rules in force that were never hit"},
	{"unused-for", 0, "TIME",
		"rules in force, and known, for so long (30d), and not hit since"},
	{"sort", 's', RULE_SORTS, "the most, or latest, first (policy: the policy's order)"},
	{"limit", 'n', "N", "at most so many (all)"},
	{"csv", 0, NULL, "the rows as comma-separated values"},
	{0},
};

static struct json *ask(struct cli *cli, const char *policy, bool quiet, enum cli_status *status)
{
	struct svec words = SVEC_EMPTY_INITIALIZER;
	struct json *rows;

	if (policy)
		svec_add_nocopy(&words, xasprintf("policy=%s", policy));
	rows = cli_ask_switch(
		cli, quiet, status, "cordon/rule-hits", words.n, (const char *const *)words.names);
	svec_destroy(&words);
	if (rows && rows->type != JSON_ARRAY) {
		json_destroy(rows);
		*status = CLI_FAILED;
		if (!quiet)
			cli_fail(cli, CLI_FAILED, "the switch gave an answer of another version");
		return NULL;
	}
	return rows;
}

/* --- Cells ---------------------------------------------------------------------------------- */

/* "shop/web-to-app", "baseline/web->db", "quarantine". */
static char *name_text(const struct json *row)
{
	const char *policy = cli_json_text(row, "policy");

	return xasprintf("%s%s%s", policy, *policy ? "/" : "", cli_json_text(row, "rule"));
}

/* Whether it decides anything now. */
static char *state_text(const struct json *row)
{
	const char *kind = cli_json_text(row, "kind");

	if (strcmp(kind, "rule") != 0)
		return xstrdup(kind);
	if (!cli_json_true(row, "in_force"))
		return xstrdup("not in force");
	return xstrdup(strcmp(cli_json_text(row, "mode"), "simulate") ? "in force" : "simulated");
}

static char *last_text(const struct json *row)
{
	uint64_t last_ns = (uint64_t)cli_json_number(row, "last_ns");

	return last_ns ? cli_log_short_time(last_ns) : xstrdup("never");
}

/* --- list ----------------------------------------------------------------------------------- */

/* A rule that could have been hit: one that passes leaves that to others. */
static bool decides(const struct json *row)
{
	return !strcmp(cli_json_text(row, "kind"), "rule") && cli_json_true(row, "in_force") &&
	       strcmp(cli_json_text(row, "mode"), "simulate") != 0 &&
	       strcmp(cli_json_text(row, "action"), "pass") != 0;
}

static bool is_unused_since(const struct json *row, uint64_t time_ns)
{
	return decides(row) && (uint64_t)cli_json_number(row, "since_ns") <= time_ns &&
	       (uint64_t)cli_json_number(row, "last_ns") <= time_ns;
}

/* The rows that were not hit since then; 0: never.  Consumes `rows`. */
static struct json *keep_unused(struct json *rows, uint64_t time_ns)
{
	struct json *some = json_array_create_empty();

	for (size_t i = 0; i < rows->array.n; i++) {
		const struct json *row = rows->array.elems[i];
		bool unused = time_ns ? is_unused_since(row, time_ns)
				      : decides(row) && !cli_json_number(row, "last_ns");

		if (unused)
			json_array_add(some, json_clone(row));
	}
	json_destroy(rows);
	return some;
}

/* `context`: rows by their names. */
static bool note_use(const struct log_flow *flow, void *context)
{
	char *name = xasprintf("%s%s%s", flow->policy, *flow->policy ? "/" : "", flow->rule);
	struct json *row = shash_find_data(context, name);

	free(name);
	if (row && (int64_t)flow->counts.last_ns > cli_json_number(row, "logged_last_ns")) {
		cli_log_put_number(row, "logged_last_ns", flow->counts.last_ns);
		cli_log_put_time(row, "logged_last", flow->counts.last_ns);
		cli_log_put_number(row, "logged_revision", flow->policy_revision);
	}
	return true;
}

/* The log may remember more than the counts: from before they began, or of another revision. */
static void add_log(struct cli *cli, struct json *rows)
{
	struct log_flow_query query = {
		.filter = LOG_FILTER_ANY, .by = LOG_FLOW_RULE | LOG_FLOW_REVISION};
	struct shash by_name = SHASH_INITIALIZER(&by_name);
	char *directory = cli_log_directory(cli);
	char error[512];

	for (size_t i = 0; i < rows->array.n; i++) {
		struct json *row = rows->array.elems[i];

		cli_log_put_number(row, "logged_last_ns", 0);
		cli_log_put_time(row, "logged_last", 0);
		cli_log_put_number(row, "logged_revision", 0);
		shash_add_nocopy(&by_name, name_text(row), row);
	}
	if (rows->array.n)
		log_flows(directory, &query, note_use, &by_name, error, sizeof(error));
	shash_destroy(&by_name);
	free(directory);
}

struct json *cli_rule_unused(struct cli *cli)
{
	enum cli_status status;
	struct json *rows = ask(cli, NULL, true, &status);

	if (!rows)
		return NULL;
	rows = keep_unused(rows, 0);
	add_log(cli, rows);
	return rows;
}

/* The highest first.  The switch's order is the policy's. */
static void sort_rows(struct json *rows, const char *by)
{
	char key[32];

	if (!by || !strcmp(by, "policy"))
		return;
	snprintf(key, sizeof(key), "%s%s", by, strcmp(by, "last") ? "" : "_ns");
	cli_json_sort_most(rows, key);
}

/* Half of a number is worse than none. */
enum { UNCUT = CLI_TEXT_MAX };

char *cli_rule_since_cell(const struct json *row)
{
	uint64_t since_ns = (uint64_t)cli_json_number(row, "since_ns");

	return since_ns ? cli_log_short_time(since_ns) : NULL;
}

/* "12-31 14:00:05 @3": by revision 3. */
char *cli_rule_logged_cell(const struct json *row)
{
	uint64_t last_ns = (uint64_t)cli_json_number(row, "logged_last_ns");
	char *when = last_ns ? cli_log_short_time(last_ns) : NULL, *text;

	if (!when)
		return xstrdup("never");
	text = xasprintf("%s @%lld", when, (long long int)cli_json_number(row, "logged_revision"));
	free(when);
	return text;
}

/* Of rules without hits the counts say nothing. */
static enum cli_status print_unused(struct cli *cli, struct json *rows)
{
	static const struct cli_column columns[] = {
		{"rule", "rule", CLI_AUTO, 0, 24, name_text},
		{"action", "action", CLI_STATE, 0, 0, NULL},
		{"label", "label", CLI_AUTO, 2, 8, NULL},
		{"counted since", "since_ns", CLI_AUTO, 1, UNCUT, cli_rule_since_cell},
		{"last hit", "last_ns", CLI_AUTO, 0, 0, last_text},
		{"last in the log", "logged_last_ns", CLI_AUTO, 0, 0, cli_rule_logged_cell},
	};

	return cli_print_table(
		cli, columns, ARRAY_SIZE(columns), rows, "Every rule in force has been hit.");
}

static enum cli_status print_list(struct cli *cli, struct json *rows)
{
	static const struct cli_column columns[] = {
		{"rule", "rule", CLI_AUTO, 0, 24, name_text},
		{"action", "action", CLI_STATE, 0, 0, NULL},
		{"state", "kind", CLI_AUTO, 1, UNCUT, state_text},
		{"connections", "connections", CLI_COUNT, 0, 0, NULL},
		{"packets", "packets", CLI_COUNT, 0, 0, NULL},
		{"bytes", "bytes", CLI_BYTES, 2, UNCUT, NULL},
		{"last", "last_ns", CLI_AUTO, 0, 0, last_text},
	};

	return cli_print_table(
		cli, columns, ARRAY_SIZE(columns), rows, "No rules, and nothing was decided.");
}

enum cli_status cli_rule_list(struct cli *cli)
{
	const char *ago = cli_option(cli, "unused-for");
	bool unused = cli_flag(cli, "unused") || ago;
	uint64_t time_ns = 0;
	enum cli_status status;
	struct timespec now;
	int64_t limit = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	if (!cli_option_number(cli, "limit", 0, INT32_MAX, &limit))
		return CLI_USAGE;
	if (ago && !cli_log_parse_time(ago,
			   (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec, &time_ns))
		return cli_fail(cli, CLI_USAGE,
			"--unused-for '%s': give how long (12h, 30d), or since when "
			"(\"2026-01-31\")",
			ago);
	struct json *rows = ask(cli, cli_option(cli, "policy"), false, &status);
	if (!rows)
		return status;
	if (unused) {
		rows = keep_unused(rows, time_ns);
		add_log(cli, rows);
	}
	sort_rows(rows, cli_option(cli, "sort"));
	cli_json_keep(rows, (size_t)limit);
	return unused ? print_unused(cli, rows) : print_list(cli, rows);
}

/* --- show ----------------------------------------------------------------------------------- */

static void print_rule(struct cli *cli, const struct json *row)
{
	char *name = name_text(row), *state = state_text(row);

	fprintf(cli->out, "%srule %s%s\n", cli_colour_start(cli, CLI_BOLD), name,
		cli_colour_end(cli));
	cli_print_member(cli, row, "tier", "tier", CLI_AUTO);
	cli_print_member(cli, row, "action", "action", CLI_STATE);
	cli_print_member(cli, row, "label", "label", CLI_AUTO);
	fprintf(cli->out, "  %-14s %s\n", "state", state);
	cli_print_member(cli, row, "connections", "connections", CLI_COUNT);
	cli_print_member(cli, row, "packets", "packets", CLI_COUNT);
	cli_print_member(cli, row, "bytes", "bytes", CLI_BYTES);
	cli_print_member(cli, row, "taken over", "taken_over", CLI_COUNT);
	cli_print_member(cli, row, "refused", "refused", CLI_COUNT);
	if (cli_json_number(row, "last_ns")) {
		cli_print_member(cli, row, "first hit", "first_ns", CLI_TIME);
		cli_print_member(cli, row, "last hit", "last_ns", CLI_TIME);
	} else {
		fprintf(cli->out, "  %-14s never\n", "hit");
	}
	if (cli_json_number(row, "since_ns"))
		cli_print_member(cli, row, "counted since", "since_ns", CLI_TIME);
	free(name);
	free(state);
}

/* The row of that name; a rule's own name will do if no other has it. */
static const struct json *find_rule(const struct json *rows, const char *wanted, size_t *n)
{
	const struct json *found = NULL;

	*n = 0;
	for (size_t i = 0; i < rows->array.n; i++) {
		const struct json *row = rows->array.elems[i];
		char *name = name_text(row);
		bool whole = !strcmp(name, wanted);

		free(name);
		if (whole || !strcmp(cli_json_text(row, "rule"), wanted)) {
			found = row;
			*n = whole ? 1 : *n + 1;
		}
		if (whole)
			break;
	}
	return found;
}

static enum cli_status say_unknown(struct cli *cli, const struct json *rows, size_t n)
{
	const char *wanted = cli->arguments[0], *guess;
	const char **names = xcalloc(rows->array.n + 1, sizeof(*names));

	if (n > 1) {
		free(names);
		return cli_fail(cli, CLI_USAGE, "%zu policies have a rule '%s': write POLICY/RULE",
			n, wanted);
	}
	for (size_t i = 0; i < rows->array.n; i++)
		names[i] = cli_keep(cli, name_text(rows->array.elems[i]));
	guess = cli_did_you_mean(wanted, names);
	free(names);
	return cli_fail(cli, CLI_NOT_FOUND, "there is no rule '%s'%s%s%s", wanted,
		guess ? "; did you mean '" : "; `cordon rule list` shows those that are",
		guess ? guess : "", guess ? "'?" : "");
}

enum cli_status cli_rule_show(struct cli *cli)
{
	enum cli_status status;
	struct json *rows = ask(cli, NULL, false, &status);
	size_t n;

	if (!rows)
		return status;
	const struct json *row = find_rule(rows, cli->arguments[0], &n);
	if (!row || n > 1)
		status = say_unknown(cli, rows, n);
	else if (cli->json)
		cli_print_json(cli, json_clone(row));
	else
		print_rule(cli, row);
	json_destroy(rows);
	return status;
}
