/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon policy`: checking a document, making it the next revision, and reading old ones.
 * Called by main.c, on its one thread.
 */
#include "cli/policy.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "openvswitch/dynamic-string.h"
#include "timeval.h"
#include "util.h"
#include "zones/zone.h"

enum { APPLY_TIMEOUT_MS = 30000 };

const struct cli_option cli_policy_apply_options[] = {
	{"message", 'm', "TEXT", "why, for the history (must be given)"},
	{"expect", 0, "N", "only if revision N is still the one wanted"},
	{"no-wait", 0, NULL, "do not wait until it is in force"},
	{0},
};

/* --- policy check --------------------------------------------------------------------------- */

static void report_valid(struct cli *cli, const struct zone_policy *policy)
{
	size_t n_zones = zone_count(policy) - 1; /* Quarantine is always there. */
	char bytes[CLI_TEXT_MAX], rules[CLI_TEXT_MAX];

	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "valid", json_boolean_create(true));
		json_object_put(answer, "zones", json_integer_create(n_zones));
		json_object_put(answer, "rules", json_integer_create(zone_rule_count(policy)));
		json_object_put(answer, "memory_bytes",
			json_integer_create(zone_policy_memory_bytes(policy)));
		cli_print_json(cli, answer);
		return;
	}
	fprintf(cli->out, "%s is valid: %zu zone%s, %s rule%s, %s in memory.\n", cli->arguments[0],
		n_zones, n_zones == 1 ? "" : "s", cli_format_count(zone_rule_count(policy), rules),
		zone_rule_count(policy) == 1 ? "" : "s",
		cli_format_bytes(zone_policy_memory_bytes(policy), bytes));
}

enum cli_status cli_policy_check(struct cli *cli)
{
	enum cli_status status;
	char *text;
	struct zone_policy *policy = cli_policy_compile(cli, cli->arguments[0], &text, &status);

	if (policy)
		report_valid(cli, policy);
	zone_policy_destroy(policy);
	free(text);
	return status;
}

/* --- policy apply --------------------------------------------------------------------------- */

/* The person, even behind sudo. */
static char *author(void)
{
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *entry = getpwuid(getuid());

	if (sudo && *sudo)
		return xstrdup(sudo);
	return entry ? xstrdup(entry->pw_name) : xasprintf("uid %ld", (long int)getuid());
}

static enum cli_status report_applied(struct cli *cli, int64_t number, long long int took_ms)
{
	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "revision", json_integer_create(number));
		if (took_ms >= 0)
			json_object_put(answer, "took_ms", json_integer_create(took_ms));
		return cli_print_json(cli, answer);
	}
	if (took_ms >= 0)
		fprintf(cli->out, "Revision %lld is in force on all hosts after %lld ms.\n",
			(long long int)number, took_ms);
	else
		fprintf(cli->out, "Revision %lld is the one wanted.\n", (long long int)number);
	return CLI_OK;
}

static enum cli_status apply(struct cli *cli, struct model *model, const char *text)
{
	unsigned int timeout_ms = cli->timeout_given ? cli->timeout_ms : APPLY_TIMEOUT_MS;
	int64_t expected = -1, number = 0;
	struct model_error error;
	enum model_result result;
	long long int start;
	char *who;

	if (!cli_option_number(cli, "expect", 0, INT64_MAX, &expected))
		return CLI_USAGE;
	start = time_msec();
	who = author();
	result = model_policy_apply(
		model, text, who, cli_option(cli, "message"), expected, &number, &error);
	free(who);
	if (result != MODEL_OK)
		return cli_fail_model(cli, &error);
	if (cli_flag(cli, "no-wait"))
		return report_applied(cli, number, -1);
	result = model_policy_wait(model, number, timeout_ms, &error);
	if (result == MODEL_UNREACHABLE)
		return cli_fail(cli, CLI_TIMEOUT, "%s", error.message);
	if (result != MODEL_OK)
		return cli_fail_model(cli, &error);
	return report_applied(cli, number, time_msec() - start);
}

enum cli_status cli_policy_apply(struct cli *cli)
{
	const char *message = cli_option(cli, "message");
	struct zone_policy *policy;
	enum cli_status status;
	struct model *model;
	char *text;

	if (!message || !*message)
		return cli_fail(cli, CLI_USAGE,
			"say why with -m, e.g. -m \"open the shop\"; the history keeps it");
	policy = cli_policy_compile(cli, cli->arguments[0], &text, &status);
	if (policy) {
		zone_policy_destroy(policy);
		model = cli_model(cli, &status);
		if (model)
			status = apply(cli, model, text);
		model_close(model);
	}
	free(text);
	return status;
}

/* --- policy show, policy history ------------------------------------------------------------ */

static struct json *revision_json(
	struct model *model, const struct cordonrec_policy_revision *revision)
{
	const struct cordonrec_cordon *root = model_root(model);
	struct json *row = json_object_create();

	json_object_put(row, "revision", json_integer_create(revision->number));
	json_object_put(row, "time_ns", json_integer_create(revision->time * 1000000000));
	json_object_put_string(row, "author", revision->author);
	json_object_put_string(row, "comment", revision->comment);
	json_object_put(row, "wanted",
		json_boolean_create(root && root->policy_wanted == revision->number));
	return row;
}

static enum cli_status show_revision(struct cli *cli, struct model *model, int64_t number)
{
	const struct cordonrec_policy_revision *revision = model_revision(model, number);
	size_t length;

	if (!revision && !number)
		return cli_fail(cli, CLI_NOT_FOUND,
			"there is no policy yet, and nothing passes; `cordon policy apply FILE -m "
			"WHY` "
			"makes one");
	if (!revision)
		return cli_fail(cli, CLI_NOT_FOUND,
			"there is no revision %lld; `cordon policy history` shows those that are",
			(long long int)number);
	if (cli->json) {
		struct json *answer = revision_json(model, revision);

		json_object_put_string(answer, "document", revision->document);
		return cli_print_json(cli, answer);
	}
	length = strlen(revision->document);
	fputs(revision->document, cli->out);
	if (length && revision->document[length - 1] != '\n')
		fputc('\n', cli->out);
	return CLI_OK;
}

enum cli_status cli_policy_show(struct cli *cli)
{
	const struct cordonrec_cordon *root;
	enum cli_status status;
	struct model *model;
	int64_t number = -1;

	if (cli->n_arguments && !cli_policy_read_number(cli, cli->arguments[0], &number))
		return CLI_USAGE;
	model = cli_model(cli, &status);
	if (!model)
		return status;
	root = model_root(model);
	if (number < 0)
		number = root ? root->policy_wanted : 0;
	status = show_revision(cli, model, number);
	model_close(model);
	return status;
}

static char *mark_text(const struct json *row)
{
	return xstrdup(cli_json_true(row, "wanted") ? "*" : "");
}

enum cli_status cli_policy_history(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"", "wanted", CLI_AUTO, 0, 0, mark_text},
		{"revision", "revision", CLI_AUTO, 0, 0, NULL},
		{"time", "time_ns", CLI_TIME, 1, 16, NULL},
		{"author", "author", CLI_AUTO, 2, 6, NULL},
		{"comment", "comment", CLI_AUTO, 1, 12, NULL},
	};
	const struct cordonrec_policy_revision *revision;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);
	struct json *rows;

	if (!model)
		return status;
	rows = json_array_create_empty();
	CORDONREC_POLICY_REVISION_FOR_EACH (revision, model_idl(model))
		json_array_add(rows, revision_json(model, revision));
	model_close(model);
	cli_json_sort(rows, "revision");
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows,
		"No policy yet, so nothing passes; `cordon policy apply FILE -m WHY` makes one.");
}
