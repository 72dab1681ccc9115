/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon policy plan`: what a policy would change, before it is applied.  Called by main.c, on its
 * one thread.
 *
 * Nothing is changed anywhere.  Each part of the answer is made as JSON: the changes in words, the
 * endpoints, the rules, the stored traffic, the live connections.  What cannot be asked (the switch
 * is down, the log is missing) is said in its part, and the others are as they are.
 */
#include "cli/plan.h"
#include "cli/policy.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "timeval.h"
#include "util.h"

enum { DAYS_DEFAULT = 7, DAYS_MAX = 3650, LINES_SHOWN = 30, NEVER_HIT_SHOWN = 5 };

const struct cli_option cli_policy_plan_options[] = {
	{"days", 0, "N", "judge the stored traffic of so many days (7; 0: none)"},
	{"directory", 'd', "DIR", "the log's files (STATEDIR/log)"},
	{0},
};

/* The policy wanted now, and the one that is planned. */
struct plan {
	struct cli *cli;
	struct model *model;
	int64_t days;
	char *text;
	struct policy_document document;
	struct zone_policy *policy;
	struct cli_revision before;
	struct cli_endpoints endpoints;
	struct policy_view old_view, new_view;
};

/* --- Endpoints ------------------------------------------------------------------------------ */

/* "in no zone", "in web and in db". */
static char *conflict_text(const struct policy_view *view, size_t i)
{
	const uint16_t *zones = view->conflicts[i];

	if (zones[0] == zones[1])
		return xstrdup("its tags fit no zone");
	return xasprintf("its tags fit %s and %s", zone_info(view->policy, zones[0]).name,
		zone_info(view->policy, zones[1]).name);
}

static const char *zone_name(const struct policy_view *view, size_t i)
{
	return zone_info(view->policy, view->zones[i]).name;
}

static struct json *endpoint_json(const struct plan *plan, size_t i)
{
	const struct view_endpoint *endpoint = &plan->endpoints.at[i];
	struct json *object = json_object_create(), *tags = json_array_create_empty();

	for (size_t t = 0; t < endpoint->n_tags; t++)
		json_array_add(tags, json_string_create(endpoint->tags[t]));
	json_object_put(
		object, "name", json_string_create_nocopy(cli_endpoint_name(plan->cli, endpoint)));
	json_object_put_string(object, "host", endpoint->host);
	json_object_put_string(object, "port", endpoint->port);
	json_object_put(object, "tags", tags);
	json_object_put_string(object, "before", zone_name(&plan->old_view, i));
	json_object_put_string(object, "after", zone_name(&plan->new_view, i));
	if (plan->new_view.zones[i] == ZONE_QUARANTINE)
		json_object_put(object, "why",
			json_string_create_nocopy(conflict_text(&plan->new_view, i)));
	return object;
}

/* The endpoints that change zone, and those that are in none or in two. */
static struct json *endpoints_json(const struct plan *plan)
{
	struct json *answer = json_object_create(), *rows = json_array_create_empty();
	size_t n = 0;

	for (size_t i = 0; i < plan->endpoints.n; i++) {
		if (plan->endpoints.at[i].is_uplink)
			continue;
		n++;
		if (plan->new_view.zones[i] == ZONE_QUARANTINE ||
			strcmp(zone_name(&plan->old_view, i), zone_name(&plan->new_view, i)))
			json_array_add(rows, endpoint_json(plan, i));
	}
	json_object_put(answer, "count", json_integer_create((long long int)n));
	json_object_put(answer, "rows", rows);
	return answer;
}

static void print_endpoint(struct cli *cli, const struct json *row)
{
	const char *before = cli_json_text(row, "before"), *after = cli_json_text(row, "after");
	const char *why = cli_json_text(row, "why");

	fputs("  ", cli->out);
	cli_print_clean(cli, cli_json_text(row, "name"));
	if (strcmp(before, after))
		fprintf(cli->out, ": %s -> %s", before, after);
	else
		fprintf(cli->out, ": stays in %s", after);
	fprintf(cli->out, "%s%s%s\n", *why ? " (" : "", why, *why ? ")" : "");
}

/* Shows as many lines of an array as a person would read. */
static void print_lines(struct cli *cli, const struct json *rows, size_t most,
	void (*print)(struct cli *, const struct json *))
{
	char count[CLI_TEXT_MAX];

	for (size_t i = 0; i < rows->array.n && i < most; i++)
		print(cli, rows->array.elems[i]);
	if (rows->array.n > most)
		fprintf(cli->out, "  and %s more; --json has all of them\n",
			cli_format_count(rows->array.n - most, count));
}

static void print_endpoints(struct cli *cli, const struct json *endpoints)
{
	const struct json *rows = cli_json_member(endpoints, "rows");
	char count[CLI_TEXT_MAX];

	cli_print_heading(cli, "Endpoints: %s",
		cli_format_count((uint64_t)cli_json_number(endpoints, "count"), count));
	if (!rows->array.n)
		fputs("Each stays in its zone.\n", cli->out);
	print_lines(cli, rows, LINES_SHOWN, print_endpoint);
}

/* --- Rules ---------------------------------------------------------------------------------- */

/* "shop/web-to-app", as the log names it.  "" for RULE_NONE. */
static char *rule_name(const struct zone_policy *policy, uint32_t rule)
{
	struct zone_rule_info info;
	char name[160];

	if (!zone_rule_info(policy, rule, &info, name))
		return xstrdup("");
	return xasprintf("%s/%s", info.policy, info.rule);
}

struct unreachable {
	const struct zone_policy *policy;
	struct json *rows;
};

static void add_unreachable(uint32_t rule, uint32_t by, void *context)
{
	struct unreachable *unreachable = context;
	struct json *row = json_object_create();

	json_object_put(
		row, "rule", json_string_create_nocopy(rule_name(unreachable->policy, rule)));
	json_object_put(row, "by", json_string_create_nocopy(rule_name(unreachable->policy, by)));
	json_array_add(unreachable->rows, row);
}

static void put_unreachable(struct json *rules, const struct zone_policy *policy)
{
	struct unreachable unreachable = {policy, json_array_create_empty()};
	bool all = zone_each_unreachable_rule(policy, add_unreachable, &unreachable);

	json_object_put(rules, "unreachable", unreachable.rows);
	json_object_put_string(rules, "unreachable_error",
		all ? "" : "it would take too long to find out for all of them");
}

/* True if the planned policy has a rule of that name. */
static bool is_planned(const struct plan *plan, const char *policy, const char *rule)
{
	int index = name_table_find(&plan->document.policy_names, 0, policy);

	return index != NAME_NONE &&
	       name_table_find(&plan->document.rule_names, (uint32_t)index, rule) != NAME_NONE;
}

/* Rules that stay although nothing has been decided by them, as far as the switch has counted.  One
 * that passes, is simulated or not in force decides nothing, and is none of these. */
static void put_never_hit(struct json *rules, const struct plan *plan)
{
	static const char *const words[] = {"hit=no"};
	struct json *names = json_array_create_empty(), *hits;
	enum cli_status status;

	hits = cli_ask_switch(plan->cli, true, &status, "cordon/rule-hits", 1, words);
	for (size_t i = 0; hits && hits->type == JSON_ARRAY && i < hits->array.n; i++) {
		const struct json *hit = hits->array.elems[i];
		const char *policy = cli_json_text(hit, "policy"),
			   *rule = cli_json_text(hit, "rule");
		struct json *row;

		if (strcmp(cli_json_text(hit, "kind"), "rule") ||
			strcmp(cli_json_text(hit, "mode"), "enforce") ||
			!strcmp(cli_json_text(hit, "action"), "pass") ||
			!cli_json_true(hit, "in_force") || !is_planned(plan, policy, rule))
			continue;
		row = json_object_create();
		json_object_put_format(row, "rule", "%s/%s", policy, rule);
		json_object_put(
			row, "since_ns", json_integer_create(cli_json_number(hit, "since_ns")));
		json_array_add(names, row);
	}
	json_object_put_string(rules, "never_hit_error",
		hits ? "" : "the switch does not run, or does not answer");
	json_object_put(rules, "never_hit", names);
	json_destroy(hits);
}

static void print_never_hit_row(struct cli *cli, const struct json *row)
{
	char when[CLI_TEXT_MAX];

	cli_format_time((uint64_t)cli_json_number(row, "since_ns"), when);
	when[strlen("2026-01-31 14:00")] = '\0';
	fprintf(cli->out, "  %s was never hit, since %s\n", cli_json_text(row, "rule"), when);
}

static void print_unreachable(struct cli *cli, const struct json *row)
{
	const char *by = cli_json_text(row, "by");

	if (*by)
		fprintf(cli->out,
			"  %s can never match: all that it fits is taken before it, first by %s\n",
			cli_json_text(row, "rule"), by);
	else
		fprintf(cli->out, "  %s can never match: there is nothing that it fits\n",
			cli_json_text(row, "rule"));
}

static void print_rules(struct cli *cli, const struct json *rules)
{
	const struct json *unreachable = cli_json_member(rules, "unreachable");
	char count[CLI_TEXT_MAX];

	cli_print_heading(cli, "Rules: %s",
		cli_format_count((uint64_t)cli_json_number(rules, "count"), count));
	if (*cli_json_text(rules, "unreachable_error"))
		fprintf(cli->out, "Which of them can never match is not known: %s.\n",
			cli_json_text(rules, "unreachable_error"));
	else if (!unreachable->array.n)
		fputs("Each can match.\n", cli->out);
	print_lines(cli, unreachable, LINES_SHOWN, print_unreachable);
	print_lines(cli, cli_json_member(rules, "never_hit"), NEVER_HIT_SHOWN, print_never_hit_row);
	if (*cli_json_text(rules, "never_hit_error"))
		fprintf(cli->out, "Which of them were never hit is not known: %s.\n",
			cli_json_text(rules, "never_hit_error"));
}

/* --- What the log cannot know --------------------------------------------------------------- */

/* Rules of the policy of now whose connections, or refusals, leave no record. */
static struct json *unlogged_json(const struct plan *plan, bool refusals)
{
	const struct zone_policy *policy = plan->before.policy;
	const struct policy_document *document = &plan->before.document;
	struct json *names = json_array_create_empty();
	uint8_t level = refusals ? ZONE_LOG_DENIED : ZONE_LOG_SESSION;
	struct zone_rule_info info;
	bool baseline = false;
	char name[160];

	for (uint32_t rule = 1; rule <= zone_rule_count(policy); rule++) {
		if (zone_rule_info(policy, rule, &info, name) && info.in_force && !info.simulated &&
			info.action != ZONE_PASS && (info.action != ZONE_ALLOW) == refusals &&
			info.log < level)
			json_array_add(names, json_string_create_nocopy(rule_name(policy, rule)));
	}
	baseline = (document->within_zone != ZONE_ALLOW) == refusals ||
		   (document->between_zones != ZONE_ALLOW) == refusals;
	for (size_t i = 0; i < document->n_zones; i++)
		baseline |= document->zones[i].intra == (refusals ? INTRA_DENY : INTRA_ALLOW);
	if (document->n_zones && baseline && document->baseline_log < level)
		json_array_add(names, json_string_create("baseline"));
	return names;
}

static void print_unlogged(struct cli *cli, const struct json *names, const char *what)
{
	enum { NAMES_SHOWN = 4 };

	if (!names->array.n)
		return;
	fprintf(cli->out, "%s leave no record: ", what);
	for (size_t i = 0; i < names->array.n && i < NAMES_SHOWN; i++)
		fprintf(cli->out, "%s%s", i ? ", " : "", names->array.elems[i]->string);
	if (names->array.n > NAMES_SHOWN)
		fprintf(cli->out, " and %zu more rules", names->array.n - NAMES_SHOWN);
	fputs(".\n", cli->out);
}

/* --- The whole ------------------------------------------------------------------------------ */

static struct json *stored_json(const struct plan *plan)
{
	const char *given = cli_option(plan->cli, "directory");
	char *directory = given ? xstrdup(given) : cli_log_directory(plan->cli);
	uint64_t span_s = (uint64_t)plan->days * 86400, now_s = (uint64_t)time_wall();
	uint64_t since_s = now_s > span_s ? now_s - span_s : 0;
	struct json *stored = cli_impact_stored(plan->cli, directory,
		since_s * UINT64_C(1000000000), &plan->old_view, &plan->new_view);

	json_object_put(stored, "unlogged_connections", unlogged_json(plan, false));
	json_object_put(stored, "unlogged_refusals", unlogged_json(plan, true));
	free(directory);
	return stored;
}

static struct json *rules_json(const struct plan *plan)
{
	struct json *rules = json_object_create();

	json_object_put(rules, "count", json_integer_create(zone_rule_count(plan->policy)));
	put_unreachable(rules, plan->policy);
	put_never_hit(rules, plan);
	return rules;
}

static struct json *make_answer(struct plan *plan)
{
	struct json *answer = json_object_create();

	json_object_put(answer, "revision", json_integer_create(plan->before.number));
	json_object_put(answer, "changes",
		cli_changes_json(
			plan->before.number ? &plan->before.document : NULL, &plan->document));
	json_object_put(answer, "endpoints", endpoints_json(plan));
	json_object_put(answer, "rules", rules_json(plan));
	if (plan->days)
		json_object_put(answer, "stored", stored_json(plan));
	json_object_put(answer, "live", cli_impact_live(plan->cli, plan->before.text, plan->text));
	return answer;
}

static void print_answer(struct plan *plan, const struct json *answer)
{
	struct cli *cli = plan->cli;
	const struct json *changes = cli_json_member(answer, "changes");
	const struct json *stored = cli_json_member(answer, "stored");
	char *title = cli_revision_title(&plan->before), count[CLI_TEXT_MAX];

	fprintf(cli->out, "%sPlan for %s, against ", cli_colour_start(cli, CLI_BOLD),
		strcmp(cli->arguments[0], "-") ? cli->arguments[0] : "standard input");
	cli_print_clean(cli, title);
	fprintf(cli->out, "%s\n", cli_colour_end(cli));
	free(title);
	cli_print_heading(cli, "Changes: %s", cli_format_count(changes->array.n, count));
	if (!changes->array.n)
		fputs("None: the file says what is wanted already.\n", cli->out);
	cli_changes_print(cli, changes);
	print_endpoints(cli, cli_json_member(answer, "endpoints"));
	print_rules(cli, cli_json_member(answer, "rules"));
	if (stored) {
		cli_impact_print_stored(cli, stored);
		print_unlogged(cli, cli_json_member(stored, "unlogged_connections"),
			"Connections that these rules allow");
		print_unlogged(cli, cli_json_member(stored, "unlogged_refusals"),
			"Attempts that these rules refuse");
	}
	cli_impact_print_live(cli, cli_json_member(answer, "live"));
}

static enum cli_status show(struct plan *plan)
{
	struct json *answer;

	cli_endpoints_load(&plan->endpoints, plan->model);
	policy_view_init(
		&plan->old_view, plan->before.policy, plan->endpoints.at, plan->endpoints.n);
	policy_view_init(&plan->new_view, plan->policy, plan->endpoints.at, plan->endpoints.n);
	answer = make_answer(plan);
	if (plan->cli->json) {
		cli_print_json(plan->cli, answer);
	} else {
		print_answer(plan, answer);
		json_destroy(answer);
	}
	policy_view_free(&plan->old_view);
	policy_view_free(&plan->new_view);
	cli_endpoints_free(&plan->endpoints);
	return CLI_OK;
}

/* Reads the file's things by name; it has been found valid. */
static void read_document(struct plan *plan)
{
	struct policy_errors *errors = xzalloc(sizeof(*errors));

	if (policy_document_read(&plan->document, plan->text, strlen(plan->text), errors))
		policy_document_check(&plan->document, errors);
	free(errors);
}

enum cli_status cli_policy_plan(struct cli *cli)
{
	struct plan plan = {.cli = cli, .days = DAYS_DEFAULT};
	enum cli_status status;

	if (!cli_option_number(cli, "days", 0, DAYS_MAX, &plan.days))
		return CLI_USAGE;
	plan.policy = cli_policy_compile(cli, cli->arguments[0], &plan.text, &status);
	if (plan.policy) {
		read_document(&plan);
		plan.model = cli_model(cli, &status);
	}
	if (plan.model)
		status = cli_revision_load(cli, plan.model, -1, &plan.before);
	if (plan.policy && status == CLI_OK)
		status = show(&plan);
	cli_revision_free(&plan.before);
	policy_document_free(&plan.document);
	zone_policy_destroy(plan.policy);
	model_close(plan.model);
	free(plan.text);
	return status;
}
