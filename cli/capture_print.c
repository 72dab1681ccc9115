/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is captured, on the terminal: a line for each packet, in words.  Called by capture.c.
 */
#include "cli/capture.h"

#include "cli/log.h"
#include "util.h"

static char *time_text(const struct json *row)
{
	return cli_log_short_time((uint64_t)cli_json_number(row, "time_ns"));
}

/* "from web1", "to db1". */
static char *where_text(const struct json *row)
{
	bool in = cli_json_text(row, "point")[0] == 'i';

	return xasprintf("%s %s", in ? "from" : "to", cli_json_text(row, "port"));
}

/* What decided: the reason of a drop, and the rule. */
static char *why_text(const struct json *row)
{
	const char *reason = cli_json_text(row, "reason"), *rule = cli_json_text(row, "rule");

	return xasprintf("%s%s%s", reason, *reason && *rule ? ": " : "", rule);
}

static const struct cli_column columns[] = {
	{"TIME", "time_ns", CLI_AUTO, 0, 0, time_text},
	{"WHERE", "port", CLI_AUTO, 0, 0, where_text},
	{"VERDICT", "verdict", CLI_STATE, 0, 0, NULL},
	{"PACKET", "packet", CLI_AUTO, 1, 40, NULL},
	{"OUT", "out", CLI_AUTO, 3, 0, NULL},
	{"BY", "rule", CLI_AUTO, 2, 12, why_text},
};

struct cli_table *capture_table(struct cli *cli)
{
	return cli_table_create(cli, columns, ARRAY_SIZE(columns));
}
