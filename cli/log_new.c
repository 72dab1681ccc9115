/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log new`: pairs and services that the log has never seen before a time.  Called by main.c
 * and by the report, on their one thread.
 */
#include "cli/log.h"

#include "log/files.h"
#include "util.h"

enum { LIMIT_DEFAULT = 100 };

#define DAY_NS 86400000000000ull

const struct cli_option cli_log_new_options[] = {
	CLI_LOG_FILTERS,
	{"since", 's', "TIME", "never seen before then: 10m, 2h, 1d, or \"2026-01-31\" (1d)"},
	{"until", 'u', "TIME", "up to then"},
	{"addresses", 0, NULL, "each address beyond an uplink by itself, not only its zone"},
	{"limit", 'n', "N", "at most so many rows (100; 0: all)"},
	{0},
};

struct rows {
	struct cli_log_answer *answer;
	unsigned int by;
};

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct rows *rows = context;

	json_array_add(rows->answer->rows, cli_log_flow_json(flow, rows->by));
	return true;
}

/* All of the log is asked, so that what was there before is known. */
void cli_log_new_rows(struct cli_log_answer *answer, bool addresses)
{
	struct rows rows = {answer, LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE |
					    LOG_FLOW_SOURCE | LOG_FLOW_DESTINATION |
					    LOG_FLOW_SERVICE | LOG_FLOW_TYPE};
	struct log_flow_query query = {
		.filter = answer->query.filter, .order = LOG_FLOW_FIRST_SEEN};

	if (addresses)
		rows.by |= LOG_FLOW_SOURCE_ADDRESS | LOG_FLOW_DESTINATION_ADDRESS;
	query.by = rows.by;
	query.first_since_ns = query.filter.since_ns;
	query.filter.since_ns = 0;
	query.filter.limit = answer->limit ? (size_t)answer->limit + 1 : 0;
	cli_log_answer_ask(answer, &query, add_flow, &rows);
}

/* What is new depends on how much is known. */
static void say_reach(const struct cli_log_answer *answer)
{
	uint64_t first_ns, last_ns, since_ns = answer->query.filter.since_ns;
	char error[512], text[CLI_TEXT_MAX];
	struct log_files files;

	if (!log_files_read(answer->directory, &files, error, sizeof(error))) {
		log_files_reach(&files, &first_ns, &last_ns);
		fflush(answer->cli->out);
		if (first_ns && first_ns < since_ns)
			fprintf(answer->cli->err,
				"What was seen before is known from %s on, where the log "
				"begins.\n",
				cli_format_time(first_ns, text));
		else if (first_ns)
			fprintf(answer->cli->err,
				"The log begins only at %s, so everything in it counts as new.\n",
				cli_format_time(first_ns, text));
	}
	log_files_free(&files);
}

enum cli_status cli_log_new(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"first seen", "first_ns", CLI_AUTO, 0, 0, cli_log_first_cell},
		{"source", "source_vm_name", CLI_AUTO, 1, 14, cli_log_source_cell},
		{"destination", "destination_vm_name", CLI_AUTO, 1, 14, cli_log_destination_cell},
		{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},
		{"zones", "source_zone", CLI_AUTO, 2, 12, cli_log_zones_cell},
		{"connections", "connections", CLI_COUNT, 0, 0, NULL},
		{"refused", "refused", CLI_COUNT, 0, 0, NULL},
		{"bytes", "bytes", CLI_BYTES, 4, CLI_LOG_UNCUT, NULL},
		{"last", "last_ns", CLI_AUTO, 3, CLI_LOG_UNCUT, cli_log_last_cell},
	};
	struct cli_log_answer answer;

	if (cli_log_answer_begin(cli, &answer, LIMIT_DEFAULT) != CLI_OK)
		return CLI_USAGE;
	cli_log_answer_default_since(&answer, DAY_NS);
	cli_log_new_rows(&answer, cli_flag(cli, "addresses"));
	say_reach(&answer);
	return cli_log_answer_finish(&answer, columns, ARRAY_SIZE(columns), "new traffic");
}
