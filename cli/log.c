/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log`: the traffic log, read from its files.  Needs neither the switch nor the database,
 * so it works also for a log that was copied from another host (--directory).
 */
#include "cli/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/json.h"
#include "util.h"

enum {
	LIST_LIMIT_DEFAULT = 1000,
	FOLLOW_LIMIT_DEFAULT = 10,
	FLUSH_ROWS = 1000, /* Laid out together; more would only take memory. */
	POLL_MS = 250,	   /* As often as the switch commits. */
};

const struct cli_option cli_log_list_options[] = {
	CLI_LOG_FILTERS,
	CLI_LOG_SPAN,
	{"limit", 'n', "N", "at most so many, the newest (1000; 0: all)"},
	{0},
};

const struct cli_option cli_log_follow_options[] = {
	CLI_LOG_FILTERS,
	{"limit", 'n', "N", "begin with so many of those that are there (10)"},
	{0},
};

const struct cli_option cli_log_summary_options[] = {
	CLI_LOG_FILTERS,
	CLI_LOG_SPAN,
	{"limit", 'n', "N", "at most so many rows (all)"},
	{0},
};

/* Records on their way to the terminal. */
struct printer {
	struct cli *cli;
	struct cli_table *table; /* Made with the first record. */
	size_t n, n_pending;
	uint64_t last_sequence;
	bool refusals; /* Nothing else, but losses: what is lost may have been one. */
};

/* --- Printing ------------------------------------------------------------------------------- */

static void flush(struct printer *printer)
{
	if (printer->n_pending)
		cli_table_flush(printer->table);
	printer->n_pending = 0;
}

/* In a table, a loss is a line of its own that cannot be overlooked. */
static void print_gap(struct printer *printer, const struct log_record *record)
{
	struct cli *cli = printer->cli;
	char count[CLI_TEXT_MAX], when[CLI_TEXT_MAX];

	cli_table_flush(printer->table);
	printer->n_pending = 0;
	fprintf(cli->out, "%s--- %s records lost here, %s ---%s\n", cli_colour_start(cli, CLI_RED),
		cli_format_count(record->packets_forward, count),
		cli_format_time(record->time_ns, when), cli_colour_end(cli));
}

static bool is_refusal(const struct log_record *record)
{
	return record->kind == LOG_DENIED || record->kind == LOG_SPOOFED ||
	       record->kind == LOG_LIMIT;
}

static bool print_record(const struct log_record *record, void *context)
{
	struct printer *printer = context;

	if (printer->refusals && !is_refusal(record) && record->kind != LOG_GAP)
		return true;
	if (!printer->table)
		printer->table = cli_log_record_table(printer->cli);
	printer->n++;
	if (record->sequence > printer->last_sequence)
		printer->last_sequence = record->sequence;
	if (record->kind == LOG_GAP && !printer->cli->json && !printer->cli->csv) {
		print_gap(printer, record);
	} else {
		cli_table_add(printer->table, cli_log_record_json(record));
		printer->n_pending++;
	}
	if (printer->n_pending >= FLUSH_ROWS)
		flush(printer);
	return !ferror(printer->cli->out);
}

static void finish(struct printer *printer)
{
	if (!printer->table)
		return;
	flush(printer);
	cli_table_finish(printer->table, NULL);
}

/* What a query that went wrong means to the person. */
static enum cli_status explain(struct cli *cli, int rc, const char *error)
{
	if (rc == -ENOENT)
		return CLI_OK; /* Said by say_nothing_found(). */
	if (rc == -EIO)
		return cli_fail(cli, CLI_FAILED,
			"a part of the log could not be read, and is missing above: %s", error);
	return cli_fail(cli, CLI_FAILED, "%s", error);
}

static void say_nothing_found(struct cli *cli, const char *directory, int rc)
{
	if (rc == -ENOENT)
		fprintf(cli->err,
			"There is no log in %s yet: cordon-switchd makes it with the first "
			"record.\n",
			directory);
	else if (cli->n_values)
		fprintf(cli->err, "No record in %s matches.\n", directory);
	else
		fprintf(cli->err, "There are no records in %s yet.\n", directory);
}

/* --- list ---------------------------------------------------------------------------------------
 */

enum cli_status cli_log_list(struct cli *cli)
{
	struct printer printer = {.cli = cli};
	int64_t limit = LIST_LIMIT_DEFAULT;
	struct cli_log_query query;
	char error[512], count[CLI_TEXT_MAX];
	char *directory;
	int rc;

	if (cli_log_read_options(cli, &query) != CLI_OK ||
		!cli_option_number(cli, "limit", 0, INT64_MAX, &limit))
		return CLI_USAGE;
	query.filter.limit = (size_t)limit;
	directory = cli_log_place(cli);
	rc = log_query(directory, &query.filter, print_record, &printer, error, sizeof(error));
	if (!printer.n && (!rc || rc == -ENOENT))
		say_nothing_found(cli, directory, rc);
	finish(&printer);
	if (limit && printer.n == (size_t)limit && !cli_option(cli, "limit"))
		fprintf(cli->err, "These are the newest %s records; --limit 0 shows all.\n",
			cli_format_count(printer.n, count));
	free(directory);
	return rc ? explain(cli, rc, error) : CLI_OK;
}

/* --- follow -------------------------------------------------------------------------------------
 */

/* Waits for the next look.  False: somebody wants an end, or nobody reads any more. */
static bool wait_for_more(const struct cli *cli, const sigset_t *signals)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	struct pollfd output = {.fd = fileno(cli->out)};

	if (sigtimedwait(signals, NULL, &pause) > 0 || ferror(cli->out))
		return false;
	return poll(&output, 1, 0) < 1 || !(output.revents & (POLLERR | POLLNVAL));
}

/* One look at what is new.  Where the log ends is asked first: what is written in between is then
 * seen by the query, now or the next time, and once only. */
static int look(const char *directory, struct log_filter *filter, struct printer *printer,
	char *error, size_t error_size)
{
	uint64_t end;
	int rc = log_last_sequence(directory, &end, error, error_size);

	if ((!rc || rc == -EIO) && (end > filter->after_sequence || filter->limit))
		rc = log_query(directory, filter, print_record, printer, error, error_size);
	flush(printer);
	fflush(printer->cli->out);
	filter->limit = 0;
	if (end > filter->after_sequence)
		filter->after_sequence = end;
	if (printer->last_sequence > filter->after_sequence)
		filter->after_sequence = printer->last_sequence;
	return rc;
}

static int follow(struct cli *cli, const char *directory, struct log_filter *filter,
	struct printer *printer, char *error, size_t error_size)
{
	bool said_none = false, said_bad = false;
	sigset_t signals;
	int rc;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	do {
		rc = look(directory, filter, printer, error, error_size);
		if (rc == -ENOENT && !said_none) {
			say_nothing_found(cli, directory, rc);
			said_none = true;
		}
		if (rc == -EIO && !said_bad) {
			explain(cli, rc, error);
			said_bad = true;
		}
		/* Not before the first look, which may take long: it may be broken off. */
		sigprocmask(SIG_BLOCK, &signals, NULL);
	} while ((!rc || rc == -ENOENT || rc == -EIO) && wait_for_more(cli, &signals));
	return rc == -EIO ? 0 : rc;
}

static bool add_object(const struct log_record *record, void *rows)
{
	json_array_add(rows, cli_log_record_json(record));
	return true;
}

/* The newest refusals, of each kind by itself: to go through all records for them would take long
 * where much is allowed. */
static int begin_with_refusals(const char *directory, struct log_filter *filter,
	struct printer *printer, char *error, size_t error_size)
{
	static const int kinds[] = {LOG_DENIED, LOG_SPOOFED, LOG_LIMIT};
	int rc = log_last_sequence(directory, &filter->after_sequence, error, error_size);
	struct json *rows = json_array_create_empty();
	struct log_filter one = *filter;

	one.after_sequence = 0;
	one.with_gaps = false;
	for (size_t i = 0; (!rc || rc == -EIO) && i < ARRAY_SIZE(kinds); i++) {
		one.kind = kinds[i];
		if (filter->kind < 0 || filter->kind == kinds[i])
			rc = log_query(directory, &one, add_object, rows, error, error_size);
	}
	cli_json_sort_most(rows, "sequence");
	cli_json_keep(rows, filter->limit);
	printer->table = cli_log_record_table(printer->cli);
	for (size_t i = rows->array.n; i-- > 0;) {
		const struct json *row = rows->array.elems[i];

		cli_table_add(printer->table, json_clone(row));
		/* One that came in between is not to be shown again. */
		printer->last_sequence = (uint64_t)cli_json_number(row, "sequence");
		printer->n_pending++;
	}
	filter->after_sequence = MAX(filter->after_sequence, printer->last_sequence);
	filter->limit = 0;
	json_destroy(rows);
	flush(printer);
	return rc;
}

static enum cli_status follow_from(struct cli *cli, struct printer *printer)
{
	int64_t limit = FOLLOW_LIMIT_DEFAULT;
	struct cli_log_query query;
	char error[512];
	char *directory;
	int rc = 0;

	if (cli_log_read_options(cli, &query) != CLI_OK ||
		!cli_option_number(cli, "limit", 1, 1000000, &limit))
		return CLI_USAGE;
	query.filter.limit = (size_t)limit;
	directory = cli_log_place(cli);
	if (printer->refusals)
		rc = begin_with_refusals(directory, &query.filter, printer, error, sizeof(error));
	if (!rc || rc == -ENOENT || rc == -EIO)
		rc = follow(cli, directory, &query.filter, printer, error, sizeof(error));
	finish(printer);
	free(directory);
	return rc ? explain(cli, rc, error) : CLI_OK;
}

enum cli_status cli_log_follow_refusals(struct cli *cli)
{
	struct printer printer = {.cli = cli, .refusals = true};

	if (cli_option(cli, "until"))
		return cli_fail(cli, CLI_USAGE, "--follow has no end: leave out --until");
	return follow_from(cli, &printer);
}

enum cli_status cli_log_follow(struct cli *cli)
{
	struct printer printer = {.cli = cli};

	return follow_from(cli, &printer);
}

/* --- summary ------------------------------------------------------------------------------------
 */

static bool add_row(const struct log_summary_row *row, void *context)
{
	struct printer *printer = context;

	if (!printer->table)
		printer->table = cli_log_summary_table(printer->cli);
	cli_table_add(printer->table, cli_log_summary_json(row));
	return true;
}

enum cli_status cli_log_summary(struct cli *cli)
{
	struct printer printer = {.cli = cli};
	struct cli_log_query query;
	int64_t limit = 0;
	char error[512];
	char *directory;
	int rc;

	if (cli_log_read_options(cli, &query) != CLI_OK ||
		!cli_option_number(cli, "limit", 0, INT64_MAX, &limit))
		return CLI_USAGE;
	query.filter.limit = (size_t)limit;
	directory = cli_log_place(cli);
	rc = log_summarize(directory, &query.filter, add_row, &printer, error, sizeof(error));
	if (!printer.table && (!rc || rc == -ENOENT))
		say_nothing_found(cli, directory, rc);
	if (!printer.table && (cli->json || cli->csv))
		printer.table = cli_log_summary_table(cli);
	if (printer.table)
		cli_table_finish(printer.table, NULL);
	fflush(cli->out);
	cli_log_say_losses(cli, directory, query.filter.since_ns, query.filter.until_ns);
	free(directory);
	return rc ? explain(cli, rc, error) : CLI_OK;
}
