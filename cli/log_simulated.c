/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log simulated`: what policies of `mode: simulate` would change.  Called by main.c and by
 * the report, on their one thread.
 */
#include "cli/log.h"

#include "util.h"

enum { LIMIT_DEFAULT = 100 };

const struct cli_option cli_log_simulated_options[] = {
	CLI_LOG_FILTERS,
	CLI_LOG_SPAN,
	{"vms", 0, NULL, "each pair of VMs by itself, not only of zones"},
	{"limit", 'n', "N", "at most so many rows (100; 0: all)"},
	{0},
};

/* Connections that would be refused, or refusals of what would be allowed. */
static uint64_t times_of(const struct log_flow_counts *counts)
{
	return log_flow_connections(counts) + counts->refused + counts->would_deny;
}

struct rows {
	struct cli_log_answer *answer;
	unsigned int by;
};

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct rows *rows = context;
	struct json *row = cli_log_flow_json(flow, rows->by);

	cli_log_put_number(row, "times", times_of(&flow->counts));
	json_array_add(rows->answer->rows, row);
	return true;
}

void cli_log_simulated_rows(struct cli_log_answer *answer)
{
	struct rows rows = {answer, LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE |
					    LOG_FLOW_SERVICE | LOG_FLOW_TYPE | LOG_FLOW_VERDICT |
					    LOG_FLOW_SIMULATED};
	struct log_flow_query query = {.filter = answer->query.filter};

	if (cli_flag(answer->cli, "vms"))
		rows.by |= LOG_FLOW_SOURCE | LOG_FLOW_DESTINATION;
	query.by = rows.by;
	query.filter.simulation = true;
	query.filter.limit = answer->limit ? (size_t)answer->limit + 1 : 0;
	cli_log_answer_ask(answer, &query, add_flow, &rows);
}

static char *by_cell(const struct json *row)
{
	const char *policy = cli_json_text(row, "simulated_policy");

	return xasprintf(
		"%s%s%s", policy, *policy ? "/" : "", cli_json_text(row, "simulated_rule"));
}

enum cli_status cli_log_simulated(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"source", "source_vm_name", CLI_AUTO, 1, 12, cli_log_source_cell},
		{"destination", "destination_vm_name", CLI_AUTO, 1, 12, cli_log_destination_cell},
		{"zones", "source_zone", CLI_AUTO, 1, 12, cli_log_zones_cell},
		{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},
		{"now", "verdict", CLI_STATE, 0, 0, NULL},
		{"would be", "simulated_verdict", CLI_STATE, 0, 0, NULL},
		{"times", "times", CLI_COUNT, 0, 0, NULL},
		{"by", "simulated_rule", CLI_AUTO, 1, 14, by_cell},
		{"first", "first_ns", CLI_AUTO, 3, CLI_LOG_UNCUT, cli_log_first_cell},
		{"last", "last_ns", CLI_AUTO, 2, CLI_LOG_UNCUT, cli_log_last_cell},
	};
	size_t skip = cli_flag(cli, "vms") ? 0 : 2;
	struct cli_log_answer answer;

	if (cli_log_answer_begin(cli, &answer, LIMIT_DEFAULT) != CLI_OK)
		return CLI_USAGE;
	cli_log_simulated_rows(&answer);
	return cli_log_answer_finish(&answer, columns + skip, ARRAY_SIZE(columns) - skip,
		"traffic that policies on trial would decide otherwise");
}
