/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon policy show` and `cordon policy history`: the revisions that there were, and what waits
 * for confirmation.  Called by main.c and by status.c, on their one thread.
 */
#include "cli/policy.h"

#include <stdlib.h>
#include <string.h>

#include "timeval.h"
#include "util.h"

#define SECOND_NS 1000000000ll

/* --- What waits ----------------------------------------------------------------------------- */

static int64_t milliseconds_left(const struct model_policy_pending *pending)
{
	int64_t left = pending->confirm_by * 1000 - time_wall_msec();

	return left > 0 ? left : 0;
}

/* Whole ones: nobody is promised more time than there is. */
static int64_t seconds_left(const struct model_policy_pending *pending)
{
	return milliseconds_left(pending) / 1000;
}

char *cli_policy_pending_text(struct model *model, unsigned int asked_seconds)
{
	struct model_policy_pending pending;
	char left[CLI_TEXT_MAX];

	if (!model_policy_pending(model, &pending))
		return NULL;
	/* The time ends at a full second, so there is a little more than was asked for. */
	int64_t seconds = asked_seconds
				  ? MIN((milliseconds_left(&pending) + 500) / 1000, asked_seconds)
				  : seconds_left(&pending);
	return xasprintf("revision %lld waits for confirmation: `cordon policy confirm` within %s "
			 "keeps it, else every host goes back to revision %lld",
		(long long int)pending.revision, cli_format_age((uint64_t)seconds, left),
		(long long int)pending.returns_to);
}

void cli_policy_put_pending(struct json *object, struct model *model)
{
	struct model_policy_pending pending;
	struct json *member;

	if (!model_policy_pending(model, &pending))
		return;
	member = json_object_create();
	json_object_put(member, "revision", json_integer_create(pending.revision));
	json_object_put(member, "returns_to", json_integer_create(pending.returns_to));
	json_object_put(
		member, "confirm_by_ns", json_integer_create(pending.confirm_by * SECOND_NS));
	json_object_put(member, "seconds_left", json_integer_create(seconds_left(&pending)));
	json_object_put(object, "pending", member);
}

/* --- One revision ---------------------------------------------------------------------------- */

static void put_outcome(
	struct json *row, struct model *model, const struct cordonrec_policy_revision *revision)
{
	const struct cordonrec_cordon *root = model_root(model);
	struct model_policy_pending pending;

	if (root && root->policy_wanted == revision->number &&
		model_policy_wanted(model) != revision->number) {
		/* No switch has written it down yet. */
		json_object_put_string(row, "outcome", "returned");
	} else if (revision->outcome) {
		json_object_put_string(row, "outcome", revision->outcome);
		json_object_put_string(row, "outcome_author", revision->outcome_author);
		json_object_put(row, "outcome_time_ns",
			json_integer_create(revision->outcome_time * SECOND_NS));
	} else if (model_policy_pending(model, &pending) && pending.revision == revision->number) {
		json_object_put_string(row, "outcome", "waiting");
		cli_policy_put_pending(row, model);
	}
}

static struct json *revision_json(
	struct model *model, const struct cordonrec_policy_revision *revision)
{
	struct json *row = json_object_create();

	json_object_put(row, "revision", json_integer_create(revision->number));
	json_object_put(row, "time_ns", json_integer_create(revision->time * SECOND_NS));
	json_object_put_string(row, "author", revision->author);
	json_object_put_string(row, "comment", revision->comment);
	json_object_put(
		row, "wanted", json_boolean_create(model_policy_wanted(model) == revision->number));
	put_outcome(row, model, revision);
	return row;
}

static enum cli_status show_revision(struct cli *cli, struct model *model, int64_t number)
{
	struct model_error error;
	char *document;
	size_t length;

	if (!number)
		return cli_fail(cli, CLI_NOT_FOUND,
			"there is no policy yet, and nothing passes; `cordon policy apply FILE -m "
			"WHY` makes one");
	document = model_policy_document(model, number, &error);
	if (!document)
		return cli_fail_model(cli, &error);
	if (cli->json) {
		struct json *answer = revision_json(model, model_revision(model, number));

		json_object_put(answer, "document", json_string_create_nocopy(document));
		return cli_print_json(cli, answer);
	}
	length = strlen(document);
	fputs(document, cli->out);
	if (length && document[length - 1] != '\n')
		fputc('\n', cli->out);
	free(document);
	return CLI_OK;
}

enum cli_status cli_policy_show(struct cli *cli)
{
	enum cli_status status;
	struct model *model;
	int64_t number = -1;

	if (cli->n_arguments && !cli_policy_read_number(cli, cli->arguments[0], &number))
		return CLI_USAGE;
	model = cli_model(cli, &status);
	if (!model)
		return status;
	if (number < 0)
		number = model_policy_wanted(model);
	status = show_revision(cli, model, number);
	model_close(model);
	return status;
}

/* --- All of them ------------------------------------------------------------------------------ */

static char *mark_text(const struct json *row)
{
	return xstrdup(cli_json_true(row, "wanted") ? "*" : "");
}

/* Of a revision, the second is known. */
static char *time_text(const struct json *row)
{
	char text[CLI_TEXT_MAX];

	cli_format_time((uint64_t)cli_json_number(row, "time_ns"), text);
	return xmemdup0(text, strlen("2026-01-31 14:00:00"));
}

static char *outcome_text(const struct json *row)
{
	const char *outcome = cli_json_text(row, "outcome");
	const struct json *pending = cli_json_member(row, "pending");
	char left[CLI_TEXT_MAX];

	if (!strcmp(outcome, "waiting"))
		return xasprintf("waits for confirmation, %s left",
			cli_format_age((uint64_t)cli_json_number(pending, "seconds_left"), left));
	if (!strcmp(outcome, "returned"))
		return xstrdup("returned: not confirmed in time");
	if (!strcmp(outcome, "replaced"))
		return xasprintf(
			"replaced by %s, unconfirmed", cli_json_text(row, "outcome_author"));
	if (!strcmp(outcome, "confirmed"))
		return xasprintf("confirmed by %s", cli_json_text(row, "outcome_author"));
	return xstrdup(outcome);
}

enum cli_status cli_policy_history(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"", "wanted", CLI_AUTO, 0, 0, mark_text},
		{"revision", "revision", CLI_AUTO, 0, 0, NULL},
		{"time", "time_ns", CLI_AUTO, 1, 16, time_text},
		{"author", "author", CLI_AUTO, 2, 6, NULL},
		{"outcome", "outcome", CLI_AUTO, 1, 12, outcome_text},
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
