/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all questions of `cordon log` have in common: reading the options, asking, printing rows,
 * and saying what the person must know beside them.  Called by log_*.c, on the one thread.
 *
 * What is said goes to the error stream, so that --json and --csv stay what they are.  That nothing
 * was found is an answer: an empty table and status 0.
 */
#include "cli/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log/files.h"
#include "util.h"

enum cli_status cli_log_answer_begin(struct cli *cli, struct cli_log_answer *answer, int64_t limit)
{
	*answer = (struct cli_log_answer){.cli = cli, .limit = limit};
	if (cli_log_read_options(cli, &answer->query) != CLI_OK ||
		!cli_option_number(cli, "limit", 0, INT32_MAX, &answer->limit))
		return CLI_USAGE;
	answer->directory = cli_log_place(cli);
	answer->rows = json_array_create_empty();
	return CLI_OK;
}

void cli_log_answer_free(struct cli_log_answer *answer)
{
	json_destroy(answer->rows);
	free(answer->directory);
	answer->rows = NULL;
	answer->directory = NULL;
}

void cli_log_answer_default_since(struct cli_log_answer *answer, uint64_t default_ns)
{
	struct log_filter *filter = &answer->query.filter;
	uint64_t end_ns = filter->until_ns;
	struct timespec now;

	if (cli_option(answer->cli, "since"))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (!end_ns)
		end_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	filter->since_ns = end_ns > default_ns ? end_ns - default_ns : 0;
}

void cli_log_answer_note(struct cli_log_answer *answer, int rc)
{
	/* What is missing counts for more than that there is nothing. */
	if (rc && (!answer->rc || answer->rc == -ENOENT))
		answer->rc = rc;
}

void cli_log_answer_ask(struct cli_log_answer *answer, const struct log_flow_query *query,
	bool (*each)(const struct log_flow *flow, void *context), void *context)
{
	char error[sizeof(answer->error)];
	int rc = log_flows(answer->directory, query, each, context, error, sizeof(error));

	if (rc && (!answer->rc || answer->rc == -ENOENT))
		ovs_strlcpy(answer->error, error, sizeof(answer->error));
	cli_log_answer_note(answer, rc);
}

struct flow_rows {
	struct cli_log_answer *answer;
	unsigned int by;
};

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct flow_rows *rows = context;

	json_array_add(rows->answer->rows, cli_log_flow_json(flow, rows->by));
	return true;
}

void cli_log_answer_flows(struct cli_log_answer *answer, unsigned int by, enum log_flow_order order)
{
	struct log_flow_query query = {.filter = answer->query.filter, .by = by, .order = order};
	struct flow_rows rows = {answer, by};

	/* One more than is shown, to know that there are more. */
	query.filter.limit = answer->limit ? (size_t)answer->limit + 1 : 0;
	cli_log_answer_ask(answer, &query, add_flow, &rows);
}

/* --- What is to be said --------------------------------------------------------------------- */

static bool add_lost(const struct log_record *record, void *context)
{
	*(uint64_t *)context += record->packets_forward;
	return true;
}

void cli_log_say_losses(
	struct cli *cli, const char *directory, uint64_t since_ns, uint64_t until_ns)
{
	struct log_filter gaps = LOG_FILTER_ANY;
	char error[512], count[CLI_TEXT_MAX];
	uint64_t lost = 0;

	gaps.kind = LOG_GAP;
	gaps.since_ns = since_ns;
	gaps.until_ns = until_ns;
	log_query(directory, &gaps, add_lost, &lost, error, sizeof(error));
	if (lost)
		fprintf(cli->err,
			"%s record%s of this time %s lost, and %s not counted; `cordon log gaps` "
			"says when and why.\n",
			cli_format_count(lost, count), lost == 1 ? "" : "s",
			lost == 1 ? "was" : "were", lost == 1 ? "is" : "are");
}

/* Nothing was found: how far the log reaches helps to see whether the question was meant so. */
static void say_nothing_found(struct cli_log_answer *answer, const char *what)
{
	char error[512], from[CLI_TEXT_MAX], to[CLI_TEXT_MAX];
	struct log_files files;
	uint64_t first_ns, last_ns;
	int rc = log_files_read(answer->directory, &files, error, sizeof(error));

	log_files_reach(&files, &first_ns, &last_ns);
	log_files_free(&files);
	if (rc == -ENOENT || !first_ns)
		fprintf(answer->cli->err,
			"There is no record in %s yet: cordon-switchd writes it with the first "
			"traffic that is logged.\n",
			answer->directory);
	else
		fprintf(answer->cli->err,
			"No %s found.  The log in %s has records from %s to %s.\n", what,
			answer->directory, cli_format_time(first_ns, from),
			cli_format_time(last_ns, to));
}

static enum cli_status status_of(struct cli_log_answer *answer)
{
	struct cli *cli = answer->cli;

	if (answer->rc == -ENOENT && cli_option(cli, "directory"))
		return cli_fail(cli, CLI_NOT_FOUND, "there is no directory %s", answer->directory);
	if (!answer->rc || answer->rc == -ENOENT)
		return CLI_OK;
	if (answer->rc == -EIO)
		return cli_fail(cli, CLI_FAILED,
			"a part of the log could not be read, and is missing above: %s",
			answer->error);
	return cli_fail(cli, CLI_FAILED, "%s", answer->error);
}

enum cli_status cli_log_answer_end(struct cli_log_answer *answer, const char *what)
{
	struct cli *cli = answer->cli;
	enum cli_status status;

	fflush(cli->out);
	if (!answer->rows->array.n && (!answer->rc || answer->rc == -ENOENT))
		say_nothing_found(answer, what);
	if (answer->rc != -ENOENT && !answer->tells_losses)
		cli_log_say_losses(cli, answer->directory, answer->query.filter.since_ns,
			answer->query.filter.until_ns);
	status = status_of(answer);
	cli_log_answer_free(answer);
	return status;
}

/* What is kept somewhere must say its date; a terminal has little room, and is looked at now. */
static void print_rows(
	struct cli_log_answer *answer, const struct cli_column *columns, size_t n_columns)
{
	struct cli_column *mine = xmemdup(columns, n_columns * sizeof(*columns));

	for (size_t i = 0; i < n_columns && !answer->cli->width; i++) {
		if (mine[i].text != cli_log_first_cell && mine[i].text != cli_log_last_cell)
			continue;
		mine[i].text = NULL;
		mine[i].format = CLI_TIME;
	}
	cli_print_table(answer->cli, mine, n_columns, json_clone(answer->rows), NULL);
	free(mine);
}

enum cli_status cli_log_answer_finish(struct cli_log_answer *answer,
	const struct cli_column *columns, size_t n_columns, const char *what)
{
	struct cli *cli = answer->cli;
	size_t n = answer->rows->array.n;
	char count[CLI_TEXT_MAX];

	cli_json_keep(answer->rows, (size_t)answer->limit);
	/* An empty table says nothing that the sentence does not say better. */
	if (n || cli->json || cli->csv)
		print_rows(answer, columns, n_columns);
	fflush(cli->out);
	if (answer->limit && n > (size_t)answer->limit)
		fprintf(cli->err, "These are the first %s; --limit 0 shows all.\n",
			cli_format_count((uint64_t)answer->limit, count));
	return cli_log_answer_end(answer, what);
}
