/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log gaps`: what is missing in the record, and what else one should know who relies on it.
 * Called by main.c and by the report, on their one thread.
 *
 *      lost        a gap record tells how many records were lost, and why
 *      hole        numbers are missing that no gap record explains
 *      silence     no file has a record of this span; whether any is missing, the numbers tell
 *      clock       the host's clock was set back: these times come twice
 *      damaged     a file that cannot be read, or was set aside as damaged
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log/files.h"
#include "util.h"

enum { LIMIT_DEFAULT = 100 };

/* Files of an idle switch may be an hour apart. */
#define SILENCE_NS (3600 * 1000000000ull)
#define CLOCK_NS   (300 * 1000000000ull) /* A smaller step makes no new file. */

const struct cli_option cli_log_gaps_options[] = {
	CLI_LOG_SPAN,
	{"directory", 'd', "DIR", "the log's files (STATEDIR/log)"},
	{"csv", 0, NULL, "the rows as comma-separated values"},
	{"limit", 'n', "N", "at most so many rows (100; 0: all)"},
	{0},
};

static struct json *make_row(
	const char *what, uint64_t from_ns, uint64_t until_ns, uint64_t lost, const char *reason)
{
	struct json *row = json_object_create();

	json_object_put_string(row, "what", what);
	cli_log_put_number(row, "from_ns", from_ns);
	cli_log_put_time(row, "from", from_ns);
	cli_log_put_number(row, "until_ns", until_ns);
	cli_log_put_time(row, "until", until_ns);
	cli_log_put_number(row, "lost", lost);
	json_object_put(row, "reason", json_string_create_nocopy(cli_log_clean_text(reason)));
	cli_log_put_number(row, "sequence", 0);
	json_object_put_string(row, "host", "");
	json_object_put_string(row, "file", "");
	return row;
}

static bool add_gap(const struct log_gap *gap, void *context)
{
	struct cli_log_answer *answer = context;
	struct json *row = make_row(gap->recorded ? "lost" : "hole", gap->from_ns, gap->until_ns,
		gap->lost, gap->recorded ? gap->reason : "numbers are missing");

	cli_log_put_number(row, "sequence", gap->sequence);
	json_object_put(row, "host", json_string_create_nocopy(cli_log_clean_text(gap->host)));
	json_array_add(answer->rows, row);
	return true;
}

/* --- What the files say --------------------------------------------------------------------- */

static bool is_within(const struct cli_log_answer *answer, uint64_t from_ns, uint64_t until_ns)
{
	const struct log_filter *filter = &answer->query.filter;

	return until_ns >= filter->since_ns && (!filter->until_ns || from_ns <= filter->until_ns);
}

static void add_row(struct cli_log_answer *answer, struct json *row, const char *file)
{
	json_object_put_string(row, "file", file);
	json_array_add(answer->rows, row);
}

/* Between one file and the next, by their records' numbers. */
static void look_between(
	struct cli_log_answer *answer, const struct log_file *before, const struct log_file *after)
{
	uint64_t from_ns = before->last_ns, until_ns = after->first_ns;
	bool complete = after->first_sequence == before->last_sequence + 1;

	if (until_ns + CLOCK_NS < before->newest_ns &&
		is_within(answer, until_ns, before->newest_ns))
		add_row(answer,
			make_row("clock", until_ns, before->newest_ns, 0, "the clock was set back"),
			after->name);
	else if (until_ns > from_ns + SILENCE_NS && is_within(answer, from_ns, until_ns))
		add_row(answer,
			make_row("silence", from_ns, until_ns, 0,
				complete ? "no records, and none is missing" : "no records"),
			after->name);
}

static void look_at_file(struct cli_log_answer *answer, const struct log_files *files, size_t i)
{
	const struct log_file *file = &files->at[i];

	if (file->state == LOG_FILE_GOOD) {
		if (i && files->at[i - 1].state == LOG_FILE_GOOD)
			look_between(answer, &files->at[i - 1], file);
	} else if (file->state != LOG_FILE_EMPTY &&
		   is_within(answer, file->bucket_ns, UINT64_MAX)) {
		add_row(answer,
			make_row("damaged", file->bucket_ns, 0, 0,
				file->state == LOG_FILE_SET_ASIDE ? "set aside as damaged"
								  : "cannot be read"),
			file->name);
	}
}

/* Before the first record, where so much was asked for, and after the last one. */
static void look_at_ends(struct cli_log_answer *answer, const struct log_files *files)
{
	const struct log_filter *filter = &answer->query.filter;
	uint64_t first_ns, last_ns, end_ns = filter->until_ns;
	struct timespec now;

	log_files_reach(files, &first_ns, &last_ns);
	clock_gettime(CLOCK_REALTIME, &now);
	if (!end_ns)
		end_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	if (!first_ns)
		return;
	if (filter->since_ns && filter->since_ns + SILENCE_NS < first_ns)
		add_row(answer,
			make_row("silence", filter->since_ns, first_ns, 0,
				"the log begins only then"),
			"");
	if (end_ns > last_ns + SILENCE_NS)
		add_row(answer, make_row("silence", last_ns, end_ns, 0, "no records since"), "");
}

void cli_log_gap_rows(struct cli_log_answer *answer)
{
	const struct log_filter *filter = &answer->query.filter;
	struct log_files files;

	cli_log_answer_note(answer,
		log_files_read(answer->directory, &files, answer->error, sizeof(answer->error)));
	cli_log_answer_note(answer, log_gaps(answer->directory, filter->since_ns, filter->until_ns,
					    add_gap, answer, answer->error, sizeof(answer->error)));
	for (size_t i = 0; i < files.n; i++)
		look_at_file(answer, &files, i);
	look_at_ends(answer, &files);
	log_files_free(&files);
	cli_json_sort(answer->rows, "from_ns");
}

/* --- The command ---------------------------------------------------------------------------- */

static char *from_cell(const struct json *row)
{
	uint64_t from_ns = (uint64_t)cli_json_number(row, "from_ns");

	return from_ns ? cli_log_short_time(from_ns) : xstrdup("the beginning");
}

static char *until_cell(const struct json *row)
{
	uint64_t until_ns = (uint64_t)cli_json_number(row, "until_ns");

	return until_ns ? cli_log_short_time(until_ns) : NULL;
}

enum cli_status cli_log_gaps(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"what", "what", CLI_STATE, 0, 0, NULL},
		{"from", "from_ns", CLI_AUTO, 0, 0, from_cell},
		{"until", "until_ns", CLI_AUTO, 0, 0, until_cell},
		{"lost", "lost", CLI_COUNT, 0, 0, NULL},
		{"reason", "reason", CLI_AUTO, 1, 16, NULL},
		{"host", "host", CLI_AUTO, 3, 6, NULL},
		{"file", "file", CLI_AUTO, 2, 12, NULL},
	};
	struct cli_log_answer answer;

	if (cli_log_answer_begin(cli, &answer, LIMIT_DEFAULT) != CLI_OK)
		return CLI_USAGE;
	cli_log_gap_rows(&answer);
	answer.tells_losses = true;
	return cli_log_answer_finish(&answer, columns, ARRAY_SIZE(columns), "gaps");
}
