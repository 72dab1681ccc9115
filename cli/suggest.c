/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log suggest`: the rules that would allow what a zone was seen to do, as policy to edit.
 * Called by main.c, on its one thread.
 */
#include "cli/suggest.h"

#include "cli/policy.h"

#include <stdlib.h>
#include <string.h>

#include "timeval.h"
#include "util.h"

enum { AT_LEAST_DEFAULT = 3 };

#define WEEK_NS (7 * 86400000000000ull)

const struct cli_option cli_log_suggest_options[] = {
	{"since", 's', "TIME", "what was seen from then on: 10m, 2h, 1d, or \"2026-01-31\" (7d)"},
	{"until", 'u', "TIME", "up to then"},
	{"at-least", 0, "N", "refused attempts count from so many on (3)"},
	{"policy", 0, "FILE", "the policy that it is to fit (the one wanted)"},
	{"rules", 0, NULL, "only what belongs below `policies`"},
	{"directory", 'd', "DIR", "the log's files (STATEDIR/log)"},
	{0},
};

/* --- The policy that it is to fit ----------------------------------------------------------- */

static enum cli_status load_file(struct cli *cli, const char *path, struct cli_revision *reference)
{
	struct policy_errors *errors;
	enum cli_status status;

	*reference = (struct cli_revision){.author = "", .comment = ""};
	reference->policy = cli_policy_compile(cli, path, &reference->text, &status);
	if (!reference->policy)
		return status;
	errors = xzalloc(sizeof(*errors));
	if (policy_document_read(
		    &reference->document, reference->text, strlen(reference->text), errors))
		policy_document_check(&reference->document, errors);
	free(errors);
	return CLI_OK;
}

static enum cli_status load_wanted(
	struct cli *cli, struct cli_revision *reference, struct model **model)
{
	enum cli_status status;

	*reference = (struct cli_revision){.author = "", .comment = ""};
	*model = cli_model(cli, &status);
	if (!*model) {
		fprintf(cli->err, "A suggestion uses the names of a policy; --policy FILE gives it "
				  "one without the database.\n");
		return status;
	}
	return cli_revision_load(cli, *model, -1, reference);
}

static enum cli_status check_zone(struct cli *cli, const struct cli_revision *reference)
{
	const char *zone = cli->arguments[0], *guess;
	size_t n = zone_count(reference->policy);
	const char **names;

	if (zone_find(reference->policy, zone) > ZONE_QUARANTINE)
		return CLI_OK;
	names = xcalloc(n + 1, sizeof(*names));
	for (size_t i = 1; i < n; i++)
		names[i - 1] = zone_info(reference->policy, (uint16_t)i).name;
	guess = cli_did_you_mean(zone, names);
	cli_fail(cli, CLI_NOT_FOUND, "the policy has no zone '%s'%s%s%s", zone,
		guess ? "; did you mean '" : "", guess ? guess : "", guess ? "'?" : "");
	free(names);
	return CLI_NOT_FOUND;
}

/* --- The command ---------------------------------------------------------------------------- */

static void free_suggestion(struct suggestion *suggestion)
{
	for (size_t i = 0; i < suggestion->n_points; i++)
		free(suggestion->points[i].example);
	for (size_t i = 0; i < suggestion->n_rules; i++)
		suggest_rule_free(&suggestion->rules[i]);
	free(suggestion->points);
	free(suggestion->rules);
	shash_destroy_free_data(&suggestion->left_out);
	svec_destroy(&suggestion->outside);
}

static void show(struct suggestion *suggestion)
{
	struct cli_log_answer *answer = suggestion->answer;
	struct cli *cli = answer->cli;
	bool any = suggestion->seen.allowed || suggestion->seen.denied;

	if (cli->json)
		cli_print_json(cli, suggest_json(suggestion));
	else if (any)
		suggest_print(suggestion, cli->out, cli_flag(cli, "rules"));
	/* That there is something is what keeps the sentence from being said that there is not. */
	if (any)
		json_array_add(answer->rows, json_null_create());
}

/* A zone that there is not yet; the command keeps the name. */
static const char *free_zone_name(struct cli *cli, const struct zone_policy *policy)
{
	char *name = xstrdup("suggested-outside");

	for (int i = 2; zone_find(policy, name) >= 0; i++) {
		free(name);
		name = xasprintf("suggested-outside-%d", i);
	}
	return cli_keep(cli, name);
}

static enum cli_status suggest(struct cli_log_answer *answer, const struct cli_revision *reference)
{
	struct suggestion suggestion = {
		.answer = answer,
		.reference = reference,
		.zone = answer->cli->arguments[0],
		.at_least = AT_LEAST_DEFAULT,
		.outside_zone = free_zone_name(answer->cli, reference->policy),
		.left_out = SHASH_INITIALIZER(&suggestion.left_out),
		.outside = SVEC_EMPTY_INITIALIZER,
	};
	enum cli_status status = check_zone(answer->cli, reference);

	if (status == CLI_OK &&
		!cli_option_number(answer->cli, "at-least", 1, INT32_MAX, &suggestion.at_least))
		status = CLI_USAGE;
	if (status == CLI_OK) {
		suggest_observe(&suggestion);
		suggest_make_rules(&suggestion);
		show(&suggestion);
	}
	free_suggestion(&suggestion);
	return status;
}

enum cli_status cli_log_suggest(struct cli *cli)
{
	const char *path = cli_option(cli, "policy");
	struct cli_log_answer answer;
	struct cli_revision reference;
	struct model *model = NULL;
	enum cli_status status;

	if (cli_log_answer_begin(cli, &answer, 0) != CLI_OK)
		return CLI_USAGE;
	cli_log_answer_default_since(&answer, WEEK_NS);
	status = path ? load_file(cli, path, &reference) : load_wanted(cli, &reference, &model);
	if (status == CLI_OK)
		status = suggest(&answer, &reference);
	cli_revision_free(&reference);
	model_close(model);
	if (status == CLI_OK)
		return cli_log_answer_end(&answer, "traffic of the zone");
	cli_log_answer_free(&answer);
	return status;
}
