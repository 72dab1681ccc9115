/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon policy apply`, `confirm` and `rollback`: what is in force from now on.  Called by main.c,
 * on its one thread.
 *
 * A document is checked here before the database sees it, so that one with errors changes nothing.
 * The database is read before that: what somebody else applies while this command thinks counts as
 * having come in between.
 */
#include "cli/policy.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "timeval.h"
#include "util.h"

enum { APPLY_TIMEOUT_MS = 30000, CONFIRM_SECONDS_MAX = 7 * 86400 };

#define APPLY_OPTIONS                                                                              \
	{"confirm", 0, "TIME", "go back by itself unless it is confirmed within TIME (5m)"},       \
		{"expect", 0, "N", "only if revision N is still the one wanted"},                  \
	{                                                                                          \
		"no-wait", 0, NULL, "do not wait until it is in force"                             \
	}

const struct cli_option cli_policy_apply_options[] = {
	{"message", 'm', "TEXT", "why, for the history (must be given)"},
	APPLY_OPTIONS,
	{0},
};

const struct cli_option cli_policy_rollback_options[] = {
	{"message", 'm', "TEXT", "why, for the history"},
	APPLY_OPTIONS,
	{0},
};

/* The person, even behind sudo; the caller frees. */
static char *author(void)
{
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *entry = getpwuid(getuid());

	if (sudo && *sudo)
		return xstrdup(sudo);
	return entry ? xstrdup(entry->pw_name) : xasprintf("uid %ld", (long int)getuid());
}

/* --- Options ---------------------------------------------------------------------------------- */

/* "90s", "5m", "1h", "1d" as seconds; 0 if it is none of these or out of bounds. */
static unsigned int parse_duration(const char *text)
{
	static const struct {
		char letter;
		unsigned int seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	size_t digits = strspn(text, "0123456789");
	unsigned long int count;

	if (!digits || digits > 6 || strlen(text) != digits + 1)
		return 0;
	count = strtoul(text, NULL, 10);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (text[digits] == units[i].letter &&
			count <= CONFIRM_SECONDS_MAX / units[i].seconds)
			return (unsigned int)count * units[i].seconds;
	}
	return 0;
}

/* What the line says.  The replica says what is expected if the line does not. */
static bool read_options(struct cli *cli, struct model *model, struct model_policy_change *change)
{
	const char *confirm = cli_option(cli, "confirm");

	change->expected = model_policy_wanted(model);
	if (!cli_option_number(cli, "expect", 0, INT64_MAX, &change->expected))
		return false;
	if (!confirm)
		return true;
	change->confirm_seconds = parse_duration(confirm);
	if (change->confirm_seconds)
		return true;
	cli_fail(cli, CLI_USAGE,
		"--confirm '%s': give how long to wait for the confirmation, with its unit: 90s, "
		"5m or 1h, at most 7d",
		confirm);
	return false;
}

/* --- Reports ---------------------------------------------------------------------------------- */

static char *pending_text(struct cli *cli, struct model *model)
{
	const char *confirm = cli_option(cli, "confirm");

	return cli_policy_pending_text(model, confirm ? parse_duration(confirm) : 0);
}

/* A negative time: it was not waited for. */
static enum cli_status report_applied(
	struct cli *cli, struct model *model, int64_t number, long long int took_ms)
{
	char *pending = pending_text(cli, model);

	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "revision", json_integer_create(number));
		if (took_ms >= 0)
			json_object_put(answer, "took_ms", json_integer_create(took_ms));
		cli_policy_put_pending(answer, model);
		cli_print_json(cli, answer);
	} else if (took_ms >= 0) {
		fprintf(cli->out, "Revision %lld is in force on all hosts after %lld ms.\n",
			(long long int)number, took_ms);
	} else {
		fprintf(cli->out, "Revision %lld is the one wanted.\n", (long long int)number);
	}
	if (pending && !cli->json)
		fprintf(cli->out, "Mind: %s.\n", pending);
	free(pending);
	return CLI_OK;
}

/* Waits until every host has it in force, unless nobody wants to know. */
static enum cli_status finish(
	struct cli *cli, struct model *model, int64_t number, long long int start)
{
	unsigned int timeout_ms = cli->timeout_given ? cli->timeout_ms : APPLY_TIMEOUT_MS;
	struct model_error error;
	enum model_result result;
	char *pending;

	if (cli_flag(cli, "no-wait"))
		return report_applied(cli, model, number, -1);
	result = model_policy_wait(model, number, timeout_ms, &error);
	if (result == MODEL_OK)
		return report_applied(cli, model, number, time_msec() - start);
	pending = pending_text(cli, model);
	if (pending)
		fprintf(cli->err, "cordon: %s\n", pending);
	free(pending);
	if (result == MODEL_UNREACHABLE)
		return cli_fail(cli, CLI_TIMEOUT, "%s", error.message);
	return cli_fail_model(cli, &error);
}

static enum cli_status commit(struct cli *cli, struct model *model,
	struct model_policy_change *change, long long int start)
{
	struct model_error error;
	enum model_result result;
	int64_t number;
	char *who = author();

	change->author = who;
	result = model_policy_apply(model, change, &number, &error);
	free(who);
	return result == MODEL_OK ? finish(cli, model, number, start) : cli_fail_model(cli, &error);
}

/* --- policy apply ----------------------------------------------------------------------------- */

static enum cli_status apply(struct cli *cli, struct model *model, const char *message)
{
	struct model_policy_change change = {.comment = message};
	long long int start = time_msec();
	enum cli_status status;
	char *text;

	if (!read_options(cli, model, &change))
		return CLI_USAGE;
	if (cli_policy_read(cli, cli->arguments[0], &text, &status)) {
		change.document = text;
		status = commit(cli, model, &change, start);
	}
	free(text);
	return status;
}

enum cli_status cli_policy_apply(struct cli *cli)
{
	const char *message = cli_option(cli, "message");
	enum cli_status status;
	struct model *model;

	if (!message || !*message)
		return cli_fail(cli, CLI_USAGE,
			"say why with -m, e.g. -m \"open the shop\"; the history keeps it");
	model = cli_model(cli, &status);
	if (model)
		status = apply(cli, model, message);
	model_close(model);
	return status;
}

/* --- policy rollback -------------------------------------------------------------------------- */

/* A document that an older version accepted need not be valid any more. */
static enum cli_status roll_back_to(
	struct cli *cli, struct model *model, int64_t number, struct model_policy_change *change)
{
	char *name = xasprintf("revision %lld", (long long int)number);
	long long int start = time_msec();
	struct model_error error;
	enum cli_status status;
	char *document = model_policy_document(model, number, &error);

	if (!document) {
		status = cli_fail_model(cli, &error);
	} else if (cli_policy_check_text(cli, name, document, &status)) {
		change->document = document;
		status = commit(cli, model, change, start);
	}
	free(document);
	free(name);
	return status;
}

static enum cli_status roll_back(struct cli *cli, struct model *model, int64_t number)
{
	const char *message = cli_option(cli, "message");
	struct model_policy_change change = {.rollback = true};
	enum cli_status status;
	char *comment;

	if (!read_options(cli, model, &change))
		return CLI_USAGE;
	if (number == model_policy_wanted(model))
		return cli_fail(cli, CLI_CONFLICT,
			"revision %lld is the one wanted already; nothing was changed",
			(long long int)number);
	comment = xasprintf("Rollback to revision %lld%s%s", (long long int)number,
		message && *message ? ": " : "", message ? message : "");
	change.comment = comment;
	status = roll_back_to(cli, model, number, &change);
	free(comment);
	return status;
}

enum cli_status cli_policy_rollback(struct cli *cli)
{
	enum cli_status status;
	struct model *model;
	int64_t number;

	if (!cli_policy_read_number(cli, cli->arguments[0], &number))
		return CLI_USAGE;
	model = cli_model(cli, &status);
	if (model)
		status = roll_back(cli, model, number);
	model_close(model);
	return status;
}

/* --- policy confirm --------------------------------------------------------------------------- */

static enum cli_status confirm(struct cli *cli, struct model *model, int64_t number)
{
	char *who = author();
	struct model_error error;
	enum model_result result = model_policy_confirm(model, who, &number, &error);

	free(who);
	if (result != MODEL_OK)
		return cli_fail_model(cli, &error);
	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "confirmed", json_integer_create(number));
		return cli_print_json(cli, answer);
	}
	fprintf(cli->out, "Revision %lld is confirmed, and stays.\n", (long long int)number);
	return CLI_OK;
}

enum cli_status cli_policy_confirm(struct cli *cli)
{
	int64_t number = -1;
	enum cli_status status;
	struct model *model;

	if (cli->n_arguments && !cli_policy_read_number(cli, cli->arguments[0], &number))
		return CLI_USAGE;
	model = cli_model(cli, &status);
	if (model)
		status = confirm(cli, model, number);
	model_close(model);
	return status;
}
