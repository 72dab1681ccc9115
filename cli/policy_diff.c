/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon policy diff`: what changed from one revision to another, and how changes are shown.
 * Called by main.c and policy_plan.c, on their one thread.
 */
#include "cli/plan.h"
#include "cli/policy.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

enum { CHANGES_SHOWN = 100, TITLE_WIDTH_MAX = 40 };

void cli_print_heading(struct cli *cli, const char *format, ...)
{
	va_list arguments;

	fprintf(cli->out, "\n%s", cli_colour_start(cli, CLI_BOLD));
	va_start(arguments, format);
	vfprintf(cli->out, format, arguments);
	va_end(arguments);
	fprintf(cli->out, "%s\n", cli_colour_end(cli));
}

void cli_print_clean(struct cli *cli, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		bool control =
			*c < ' ' || *c == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f);

		fputc(control ? '?' : *c, cli->out);
	}
}

static struct json *change_json(const struct policy_change *change)
{
	struct json *object = json_object_create();

	json_object_put_string(object, "part", policy_part_name(change->part));
	json_object_put_string(object, "change", policy_difference_name(change->difference));
	json_object_put_string(object, "policy", change->policy ? change->policy : "");
	json_object_put_string(object, "name", change->name ? change->name : "");
	json_object_put_string(object, "key", change->key ? change->key : "");
	json_object_put_string(object, "before", change->before);
	json_object_put_string(object, "after", change->after);
	json_object_put_string(object, "title", change->title);
	json_object_put_string(object, "words", change->words);
	return object;
}

struct json *cli_changes_json(
	const struct policy_document *before, const struct policy_document *after)
{
	struct json *array = json_array_create_empty();
	struct policy_diff diff;

	policy_diff_make(&diff, before, after);
	for (size_t i = 0; i < diff.n; i++)
		json_array_add(array, change_json(&diff.at[i]));
	policy_diff_free(&diff);
	return array;
}

/* What came is green, what went is red. */
static enum cli_colour colour_of(const struct json *change)
{
	const char *what = cli_json_text(change, "change");

	return !strcmp(what, "added") ? CLI_GREEN : !strcmp(what, "removed") ? CLI_RED : CLI_PLAIN;
}

/* Titles stand under each other, unless they are very long. */
static size_t title_width(const struct json *changes, size_t n)
{
	size_t width = 0;

	for (size_t i = 0; i < n; i++)
		width = MAX(width, cli_text_width(cli_json_text(changes->array.elems[i], "title")));
	return MIN(width, TITLE_WIDTH_MAX);
}

static void print_change(struct cli *cli, const struct json *change, size_t width)
{
	const char *title = cli_json_text(change, "title");
	size_t pad = width - MIN(width, cli_text_width(title));
	enum cli_colour colour = colour_of(change);

	fprintf(cli->out, "  %s%*s  %s", title, (int)pad, "", cli_colour_start(cli, colour));
	cli_print_clean(cli, cli_json_text(change, "words"));
	fprintf(cli->out, "%s\n", colour == CLI_PLAIN ? "" : cli_colour_end(cli));
}

void cli_changes_print(struct cli *cli, const struct json *changes)
{
	size_t n = MIN(changes->array.n, CHANGES_SHOWN), width = title_width(changes, n);
	char count[CLI_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		print_change(cli, changes->array.elems[i], width);
	if (n < changes->array.n)
		fprintf(cli->out, "  and %s more; --json has all of them\n",
			cli_format_count(changes->array.n - n, count));
}

/* --- policy diff ---------------------------------------------------------------------------- */

char *cli_revision_title(const struct cli_revision *revision)
{
	char when[CLI_TEXT_MAX];

	if (!revision->number)
		return xstrdup("no policy");
	cli_format_time((uint64_t)revision->time * 1000000000u, when);
	when[strlen("2026-01-31 14:00")] = '\0';
	return xasprintf("revision %lld (%s, %s: %s)", (long long int)revision->number,
		revision->author, when, revision->comment);
}

static enum cli_status show(
	struct cli *cli, const struct cli_revision *before, const struct cli_revision *after)
{
	struct json *changes =
		cli_changes_json(before->number ? &before->document : NULL, &after->document);
	char *from = cli_revision_title(before), *to = cli_revision_title(after);

	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "before", json_integer_create(before->number));
		json_object_put(answer, "after", json_integer_create(after->number));
		json_object_put(answer, "changes", json_clone(changes));
		cli_print_json(cli, answer);
	} else if (!changes->array.n) {
		fputs("No change from ", cli->out);
		cli_print_clean(cli, from);
		fputs(" to ", cli->out);
		cli_print_clean(cli, to);
		fputs(".\n", cli->out);
	} else {
		fprintf(cli->out, "%sFrom ", cli_colour_start(cli, CLI_BOLD));
		cli_print_clean(cli, from);
		fputs("\nto ", cli->out);
		cli_print_clean(cli, to);
		fprintf(cli->out, "%s\n\n", cli_colour_end(cli));
		cli_changes_print(cli, changes);
	}
	free(from);
	free(to);
	json_destroy(changes);
	return CLI_OK;
}

enum cli_status cli_policy_diff(struct cli *cli)
{
	struct cli_revision before = {0}, after = {0};
	int64_t numbers[2] = {0, -1};
	enum cli_status status;
	struct model *model;

	/* From 0, which is no policy, all of a document is new. */
	for (size_t i = !strcmp(cli->arguments[0], "0"); i < cli->n_arguments; i++) {
		if (!cli_policy_read_number(cli, cli->arguments[i], &numbers[i]))
			return CLI_USAGE;
	}
	model = cli_model(cli, &status);
	if (!model)
		return status;
	status = cli_revision_load(cli, model, numbers[0], &before);
	if (status == CLI_OK)
		status = cli_revision_load(cli, model, numbers[1], &after);
	if (status == CLI_OK)
		status = show(cli, &before, &after);
	cli_revision_free(&before);
	cli_revision_free(&after);
	model_close(model);
	return status;
}
