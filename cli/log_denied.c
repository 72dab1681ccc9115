/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log denied`: what is being refused now.  Called by main.c, on its one thread.
 *
 * Without --follow, what was refused in the last hour, added up: who was refused what, by which
 * rule, how often and when last.  With it, each refusal as it is written (log.c).
 */
#include "cli/log.h"

#include "util.h"

enum { LIMIT_DEFAULT = 50 };

#define HOUR_NS 3600000000000ull

const struct cli_option cli_log_denied_options[] = {
	CLI_LOG_FILTERS,
	CLI_LOG_SPAN,
	{"follow", 'f', NULL, "each refusal as it is written, until Ctrl-C"},
	{"limit", 'n', "N",
		"at most so many rows (50; 0: all); to follow: begin with so many (10)"},
	{0},
};

static const struct cli_column columns[] = {
	{"last", "last_ns", CLI_AUTO, 0, 0, cli_log_last_cell},
	{"times", "refused", CLI_COUNT, 0, 0, NULL},
	{"source", "source_vm_name", CLI_AUTO, 1, 16, cli_log_source_cell},
	{"destination", "destination_vm_name", CLI_AUTO, 1, 16, cli_log_destination_cell},
	{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},
	{"zones", "source_zone", CLI_AUTO, 3, 12, cli_log_zones_cell},
	{"reason", "reason", CLI_AUTO, 2, 15, NULL},
	{"rule", "rule", CLI_AUTO, 1, 12, cli_log_rule_cell},
	{"first", "first_ns", CLI_AUTO, 4, CLI_LOG_UNCUT, cli_log_first_cell},
};

/* Each kind by itself, so that what was allowed is not even looked at. */
static void ask(struct cli_log_answer *answer)
{
	static const int kinds[] = {LOG_DENIED, LOG_SPOOFED, LOG_LIMIT};
	const unsigned int by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_SOURCE |
				LOG_FLOW_DESTINATION | LOG_FLOW_SOURCE_ADDRESS |
				LOG_FLOW_DESTINATION_ADDRESS | LOG_FLOW_SERVICE | LOG_FLOW_TYPE |
				LOG_FLOW_VERDICT | LOG_FLOW_KIND | LOG_FLOW_RULE | LOG_FLOW_REASON;
	int wanted = answer->query.filter.kind;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (wanted >= 0 && wanted != kinds[i])
			continue;
		answer->query.filter.kind = kinds[i];
		cli_log_answer_flows(answer, by, LOG_FLOW_NEWEST);
	}
	answer->query.filter.kind = wanted;
	cli_json_sort_most(answer->rows, "last_ns");
}

enum cli_status cli_log_denied(struct cli *cli)
{
	struct cli_log_answer answer;

	if (cli_flag(cli, "follow"))
		return cli_log_follow_refusals(cli);
	if (cli_log_answer_begin(cli, &answer, LIMIT_DEFAULT) != CLI_OK)
		return CLI_USAGE;
	cli_log_answer_default_since(&answer, HOUR_NS);
	ask(&answer);
	return cli_log_answer_finish(&answer, columns, ARRAY_SIZE(columns), "refusals");
}
