/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stored traffic and live connections would meet under another policy: asked for, and shown.
 * Called by policy_plan.c, on its one thread.
 */
#include "cli/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fatal-signal.h"
#include "timeval.h"
#include "util.h"

enum {
	ROWS_MAX = 1000,    /* Of each kind, in JSON. */
	EXAMPLES_MAX = 16,  /* Of each row, in JSON. */
	ROWS_SHOWN = 20,    /* Of each kind, to a person. */
	EXAMPLES_SHOWN = 3, /* Of each row, to a person. */
	LIVE_TIMEOUT_MS = 60000,
	PROGRESS_AFTER_MS = 1000,
	PROGRESS_EVERY_MS = 200,
};

/* --- Stored traffic ------------------------------------------------------------------------- */

/* How far it is: on a terminal, a line says so. */
struct progress {
	struct cli *cli;
	long long int next;
	bool wanted, shown;
};

static void show_progress(const struct log_replay *replay, uint64_t time_ns)
{
	struct progress *progress = replay->context;
	long long int now = time_msec();
	char count[CLI_TEXT_MAX], when[CLI_TEXT_MAX];

	fatal_signal_run(); /* Nobody else looks whether it is to end. */
	if (now < progress->next || !progress->wanted)
		return;
	progress->next = now + PROGRESS_EVERY_MS;
	progress->shown = true;
	cli_format_time(time_ns, when);
	when[strlen("2026-01-31 14:00")] = '\0';
	fprintf(progress->cli->err, "\rReading the log: %s records, up to %s ",
		cli_format_count(replay->records, count), when);
	fflush(progress->cli->err);
}

static void end_progress(const struct progress *progress)
{
	if (progress->shown)
		fprintf(progress->cli->err, "\r\033[K");
}

/* What was written as JSON, as an object. */
static struct json *impact_json(struct policy_impact *impact, const struct zone_policy *before,
	const struct zone_policy *after)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	struct json *json;

	if (!stream)
		out_of_memory();
	policy_impact_write(impact, before, after, ROWS_MAX, EXAMPLES_MAX, stream);
	fclose(stream);
	json = json_from_string(text);
	free(text);
	return json;
}

static void put_number(struct json *object, const char *name, uint64_t number)
{
	json_object_put(object, name, json_integer_create((long long int)number));
}

struct json *cli_impact_stored(struct cli *cli, const char *directory, uint64_t since_ns,
	const struct policy_view *before, const struct policy_view *after)
{
	long long int now = time_msec();
	struct progress progress = {
		.cli = cli, .next = now + PROGRESS_AFTER_MS, .wanted = isatty(fileno(cli->err))};
	struct policy_impact impact;
	struct log_replay replay = {.directory = directory,
		.since_ns = since_ns,
		.before = before,
		.after = after,
		.impact = &impact,
		.progress = show_progress,
		.context = &progress};
	char error[512] = "";
	struct json *answer;
	int rc;

	policy_impact_init(&impact);
	rc = log_replay_run(&replay, error, sizeof(error));
	end_progress(&progress);
	answer = impact_json(&impact, before->policy, after->policy);
	policy_impact_free(&impact);
	if (rc == -ENOENT)
		snprintf(error, sizeof(error),
			"there is no log in %s: cordon-switchd makes it with the first record",
			directory);
	json_object_put_string(answer, "error", rc ? error : "");
	json_object_put_string(answer, "directory", directory);
	put_number(answer, "since_ns", since_ns);
	put_number(answer, "first_ns", replay.first_ns);
	put_number(answer, "records", replay.records);
	put_number(answer, "connections", replay.connections);
	put_number(answer, "refusals", replay.refusals);
	put_number(answer, "held_back", replay.held_back);
	put_number(answer, "lost", replay.lost);
	return answer;
}

/* --- Live connections ----------------------------------------------------------------------- */

static struct json *no_answer(const char *reason)
{
	struct json *answer = json_object_create();

	json_object_put_string(answer, "error", reason);
	return answer;
}

/* Writes a document where the switch can read it.  Documents may be larger than what a control
 * command carries, and are nobody else's business.  The caller unlinks and frees. */
static char *write_document(const struct cli *cli, const char *document)
{
	char *path = xasprintf("%s/plan-XXXXXX", cli->run_directory);
	size_t length = strlen(document);
	int fd = mkstemp(path), error = 0;

	if (fd < 0) {
		free(path);
		return NULL;
	}
	fatal_signal_add_file_to_unlink(path);
	for (size_t at = 0; at < length && !error;) {
		ssize_t n = write(fd, document + at, length - at);

		if (n > 0)
			at += (size_t)n;
		else if (n < 0 && errno != EINTR)
			error = errno;
	}
	if (close(fd) || error) {
		fatal_signal_unlink_file_now(path);
		free(path);
		errno = error ? error : errno;
		return NULL;
	}
	return path;
}

static struct json *ask(struct cli *cli, const char *before, const char *after)
{
	unsigned int timeout_ms = cli->timeout_ms;
	static const char *const members[] = {"connections", "refusals", "unjudged", "took_ms"};
	/* Names within the run directory: the switch opens nothing else. */
	const char *words[] = {strrchr(before, '/') + 1, strrchr(after, '/') + 1};
	enum cli_status status;
	struct json *answer;

	if (!cli->timeout_given)
		cli->timeout_ms = LIVE_TIMEOUT_MS;
	answer = cli_ask_switch(cli, true, &status, "cordon/policy-evaluate", 2, words);
	cli->timeout_ms = timeout_ms;
	if (answer && cli_json_member(answer, "impact")) {
		struct json *impact = json_clone(cli_json_member(answer, "impact"));

		json_object_put_string(impact, "error", "");
		for (size_t i = 0; i < ARRAY_SIZE(members); i++)
			put_number(
				impact, members[i], (uint64_t)cli_json_number(answer, members[i]));
		json_destroy(answer);
		return impact;
	}
	json_destroy(answer);
	return no_answer(status == CLI_NOT_RUNNING
				 ? "the switch does not run, or does not answer in time"
				 : "the switch could not evaluate the policy; its log says more");
}

struct json *cli_impact_live(struct cli *cli, const char *before, const char *after)
{
	char *before_path = write_document(cli, before);
	char *after_path = before_path ? write_document(cli, after) : NULL;
	struct json *answer;

	if (after_path) {
		answer = ask(cli, before_path, after_path);
	} else {
		char *reason = xasprintf("the run directory %s cannot be written: %s",
			cli->run_directory, ovs_strerror(errno));

		answer = no_answer(reason);
		free(reason);
	}
	if (before_path)
		fatal_signal_unlink_file_now(before_path);
	if (after_path)
		fatal_signal_unlink_file_now(after_path);
	free(before_path);
	free(after_path);
	return answer;
}

/* --- Showing it ----------------------------------------------------------------------------- */

/* What is said of each kind, and over the columns of the two rules. */
static const struct kind_words {
	const char *kind, *heading, *unit, *column, *before, *after;
} kinds[] = {
	{"denied", "Newly denied", "connection", "connections", "allowed by", "then refused by"},
	{"allowed", "Newly allowed", "attempt", "attempts", "refused by", "then allowed by"},
	{"would-deny", "Would be denied, if what it simulates were enforced", "connection",
		"connections", "allowed by", "simulated"},
	{"would-allow", "Would be allowed, if what it simulates were enforced", "attempt",
		"attempts", "refused by", "simulated"},
	{"now-would-deny", "Would be denied, if what the policy of now simulates were enforced",
		"connection", "connections", "allowed by", "simulated"},
	{"now-would-allow", "Would be allowed, if what the policy of now simulates were enforced",
		"attempt", "attempts", "refused by", "simulated"},
};

static char *end_text(const struct json *example, const char *end)
{
	char *key = xasprintf("%s_name", end);
	const char *name = cli_json_text(example, key), *address = cli_json_text(example, end);
	char *text = xasprintf("%s%s%s", name, *name && *address ? " " : "", address);

	free(key);
	return text;
}

/* "shop/web-to-app", and that it rejects, which the heading does not say. */
static void put_rule(struct json *shown, const char *name, const char *rule, const char *action)
{
	json_object_put_format(
		shown, name, "%s%s", rule, strcmp(action, "reject") ? "" : " (reject)");
}

/* A row of the table: one example, with its group's service and rules. */
static struct json *example_row(const struct json *row, const struct json *example)
{
	struct json *shown = json_object_create();
	char *zones = xasprintf("%s -> %s", cli_json_text(row, "source_zone"),
		cli_json_text(row, "destination_zone"));

	json_object_put(shown, "source", json_string_create_nocopy(end_text(example, "source")));
	json_object_put(
		shown, "destination", json_string_create_nocopy(end_text(example, "destination")));
	json_object_put_string(shown, "zones", zones);
	json_object_put_string(shown, "service", cli_json_text(row, "service"));
	put_rule(shown, "before", cli_json_text(row, "rule_before"),
		cli_json_text(row, "action_before"));
	put_rule(shown, "after", cli_json_text(row, "rule_after"),
		cli_json_text(row, "action_after"));
	put_number(shown, "connections", (uint64_t)cli_json_number(example, "connections"));
	put_number(shown, "last_ns", (uint64_t)cli_json_number(example, "last_ns"));
	free(zones);
	return shown;
}

/* What a group has beside its examples. */
static void add_others(struct json *shown, const struct json *row, uint64_t n)
{
	struct json *others;

	if (!n)
		return;
	others = example_row(row, row);
	json_object_put_string(others, "source", "others");
	json_object_put_string(others, "destination", "");
	put_number(others, "connections", n);
	json_array_add(shown, others);
}

/* Adds a group: its examples, and what is left.  Returns its connections. */
static uint64_t add_group(struct json *shown, const struct json *row)
{
	const struct json *examples = cli_json_member(row, "examples");
	uint64_t total = (uint64_t)cli_json_number(row, "connections"), rest = total;

	for (size_t i = 0; i < examples->array.n && i < EXAMPLES_SHOWN; i++) {
		const struct json *example = examples->array.elems[i];

		json_array_add(shown, example_row(row, example));
		rest -= (uint64_t)cli_json_number(example, "connections");
	}
	add_others(shown, row, rest);
	return total;
}

static void print_table(struct cli *cli, const struct kind_words *words, struct json *rows)
{
	/* Without a terminal nothing is cut, and times are in full. */
	const struct cli_column columns[] = {
		{"source", "source", CLI_AUTO, 1, 16, NULL},
		{"destination", "destination", CLI_AUTO, 1, 16, NULL},
		{"service", "service", CLI_AUTO, 0, 0, NULL},
		{"zones", "zones", CLI_AUTO, 3, 10, NULL},
		{words->before, "before", CLI_AUTO, 2, 12, NULL},
		{words->after, "after", CLI_AUTO, 2, 12, NULL},
		{words->column, "connections", CLI_COUNT, 0, 0, NULL},
		{"last", "last_ns", CLI_TIME, 4, CLI_TEXT_MAX, NULL},
	};

	cli_print_table(cli, columns, ARRAY_SIZE(columns), rows, NULL);
}

/* Shows one kind.  Returns whether there was any of it. */
static bool print_kind(struct cli *cli, const struct json *impact, const struct kind_words *words)
{
	uint64_t total = (uint64_t)cli_json_number(impact, words->kind), shown = 0;
	const struct json *rows = cli_json_member(impact, "rows");
	struct json *table;
	size_t n = 0;
	char count[CLI_TEXT_MAX];

	if (!total)
		return false;
	fprintf(cli->out, "\n%s%s: %s %s%s%s\n", cli_colour_start(cli, CLI_YELLOW), words->heading,
		cli_format_count(total, count), words->unit, total == 1 ? "" : "s",
		cli_colour_end(cli));
	table = json_array_create_empty();
	for (size_t i = 0; i < rows->array.n && n < ROWS_SHOWN; i++) {
		const struct json *row = rows->array.elems[i];

		if (strcmp(cli_json_text(row, "kind"), words->kind))
			continue;
		shown += add_group(table, row);
		n++;
	}
	print_table(cli, words, table);
	if (shown < total)
		fprintf(cli->out, "and %s of other services or by other rules; --json has more\n",
			cli_format_count(total - shown, count));
	return true;
}

static void print_kinds(struct cli *cli, const struct json *impact)
{
	bool any = false;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		any |= print_kind(cli, impact, &kinds[i]);
	if (!any)
		fputs("All of it would be decided as it is now.\n", cli->out);
}

/* What the stored log cannot tell. */
static void print_gaps(struct cli *cli, const struct json *stored)
{
	uint64_t lost = (uint64_t)cli_json_number(stored, "lost");
	uint64_t held_back = (uint64_t)cli_json_number(stored, "held_back");
	uint64_t since_ns = (uint64_t)cli_json_number(stored, "since_ns");
	uint64_t first_ns = (uint64_t)cli_json_number(stored, "first_ns");
	const char *error = cli_json_text(stored, "error");
	char count[CLI_TEXT_MAX];

	if (lost)
		fprintf(cli->out,
			"%s records of this time were lost: what they would have told is not in "
			"these figures.\n",
			cli_format_count(lost, count));
	if (held_back)
		fprintf(cli->out,
			"Of %s refusals the log has only the number, since it writes ten a second "
			"for one source and rule.\n",
			cli_format_count(held_back, count));
	if (first_ns > since_ns + 3600 * UINT64_C(1000000000))
		fprintf(cli->out, "The log has nothing from before %s.\n",
			cli_format_time(first_ns, count));
	if (*error) {
		fputs("A part of the log could not be read: ", cli->out);
		cli_print_clean(cli, error);
		fputc('\n', cli->out);
	}
}

void cli_impact_print_stored(struct cli *cli, const struct json *stored)
{
	char connections[CLI_TEXT_MAX], refusals[CLI_TEXT_MAX], when[CLI_TEXT_MAX];

	cli_format_time((uint64_t)cli_json_number(stored, "since_ns"), when);
	when[strlen("2026-01-31 14:00")] = '\0';
	cli_print_heading(cli, "Stored traffic since %s: %s allowed, %s refused", when,
		cli_format_count((uint64_t)cli_json_number(stored, "connections"), connections),
		cli_format_count((uint64_t)cli_json_number(stored, "refusals"), refusals));
	if (cli_json_number(stored, "records"))
		print_kinds(cli, stored);
	else if (!*cli_json_text(stored, "error"))
		fputs("There are no records of this time.\n", cli->out);
	print_gaps(cli, stored);
}

void cli_impact_print_live(struct cli *cli, const struct json *live)
{
	const char *error = cli_json_text(live, "error");
	uint64_t unjudged = (uint64_t)cli_json_number(live, "unjudged");
	char count[CLI_TEXT_MAX], refusals[CLI_TEXT_MAX];

	if (*error) {
		cli_print_heading(cli, "Live connections");
		fputs("Not judged: ", cli->out);
		cli_print_clean(cli, error);
		fputs(".\n", cli->out);
		return;
	}
	cli_print_heading(cli, "Live connections: %s allowed, %s refused",
		cli_format_count((uint64_t)cli_json_number(live, "connections"), count),
		cli_format_count((uint64_t)cli_json_number(live, "refusals"), refusals));
	print_kinds(cli, live);
	if (unjudged)
		fprintf(cli->out,
			"%s could not be judged: a port of theirs is gone or not known.\n",
			cli_format_count(unjudged, count));
}
