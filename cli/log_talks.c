/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log talks`: who talks to a VM, a port, a zone or an address, and to whom it talks.
 * Called by main.c, on its one thread.
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

enum { LIMIT_DEFAULT = 100 };

const struct cli_option cli_log_talks_options[] = {
	CLI_LOG_FILTERS,
	CLI_LOG_SPAN,
	{"limit", 'n', "N", "at most so many rows (100; 0: all)"},
	{0},
};

/* --- Whom the word means -------------------------------------------------------------------- */

static bool note_any(const struct log_record *record, void *context)
{
	(void)record;
	*(bool *)context = true;
	return false;
}

/* Is there a record of this one? */
static bool is_known(
	struct cli_log_answer *answer, const char *vm, const char *port, const char *zone)
{
	struct log_filter filter = answer->query.filter;
	bool any = false;

	filter.vm = vm;
	filter.port = port;
	filter.zone = zone;
	filter.with_gaps = false;
	filter.limit = 1;
	cli_log_answer_note(answer, log_query(answer->directory, &filter, note_any, &any,
					    answer->error, sizeof(answer->error)));
	return any;
}

/* A VM of that name or id, else a port, else a zone; else it stays a VM, which is not found. */
static void find_name(struct cli_log_answer *answer, const char *name)
{
	struct log_filter *filter = &answer->query.filter;
	bool vm = is_known(answer, name, NULL, NULL);
	bool port = !vm && is_known(answer, NULL, name, NULL);

	if ((vm || port) && is_known(answer, NULL, NULL, name))
		fprintf(answer->cli->err,
			"There is a zone '%s', too; `cordon log talks --zone %s` asks for that.\n",
			name, name);
	if (port)
		filter->port = name;
	else if (!vm && is_known(answer, NULL, NULL, name))
		filter->zone = name;
	else
		filter->vm = name;
}

static enum cli_status read_who(struct cli_log_answer *answer)
{
	struct cli *cli = answer->cli;
	struct log_filter *filter = &answer->query.filter;
	const char *who = cli->n_arguments ? cli->arguments[0] : NULL;

	if (!who && !filter->vm && !filter->port && !filter->zone && !filter->prefix)
		return cli_fail(cli, CLI_USAGE,
			"say who: `cordon log talks web-1`, a port, a zone or an address");
	if (!who)
		return CLI_OK;
	if (filter->vm || filter->port || filter->zone || filter->prefix)
		return cli_fail(cli, CLI_USAGE,
			"'%s' says who it is about: leave out --vm, --port, --zone and --address",
			who);
	if (ip_prefix_parse(who, &answer->query.prefix))
		filter->prefix = &answer->query.prefix;
	else
		find_name(answer, who);
	return CLI_OK;
}

/* --- The answer ----------------------------------------------------------------------------- */

/* Whether it is this end that was asked about; all conditions hold for one end or the other. */
static bool is_asked_about(const struct log_filter *filter, const struct log_flow_end *end)
{
	if (filter->vm)
		return !strcmp(end->vm_name, filter->vm) || !strcmp(end->vm_id, filter->vm);
	if (filter->port)
		return !strcmp(end->port, filter->port);
	if (filter->zone)
		return !strcmp(end->zone, filter->zone);
	return end->addresses.length && ip_prefix_contains(filter->prefix, &end->addresses.address);
}

static const unsigned int fields =
	LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_SOURCE | LOG_FLOW_DESTINATION |
	LOG_FLOW_SOURCE_ADDRESS | LOG_FLOW_DESTINATION_ADDRESS | LOG_FLOW_SERVICE | LOG_FLOW_TYPE |
	LOG_FLOW_VERDICT | LOG_FLOW_RULE;

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct cli_log_answer *answer = context;
	const struct log_filter *filter = &answer->query.filter;
	bool out = is_asked_about(filter, &flow->source);
	bool in = is_asked_about(filter, &flow->destination);
	struct json *row = cli_log_flow_json(flow, fields);

	/* Of what is only told with its simulation there is nothing to count. */
	json_object_put_string(row, "direction", out && in ? "within" : out ? "out" : "in");
	json_array_add(answer->rows, row);
	return true;
}

static char *peer_cell(const struct json *row)
{
	return cli_log_end_cell(
		row, strcmp(cli_json_text(row, "direction"), "in") ? "destination" : "source");
}

static char *self_cell(const struct json *row)
{
	return cli_log_end_cell(
		row, strcmp(cli_json_text(row, "direction"), "in") ? "source" : "destination");
}

static char *peer_zone_cell(const struct json *row)
{
	bool in = !strcmp(cli_json_text(row, "direction"), "in");

	return xstrdup(cli_json_text(row, in ? "source_zone" : "destination_zone"));
}

/* One VM or port need not be named in every line. */
static const struct cli_column columns[] = {
	{"of", "direction", CLI_AUTO, 1, 12, self_cell},
	{"way", "direction", CLI_AUTO, 0, 0, NULL},
	{"peer", "source_vm_name", CLI_AUTO, 1, 18, peer_cell},
	{"zone", "source_zone", CLI_AUTO, 2, 8, peer_zone_cell},
	{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},
	{"verdict", "verdict", CLI_STATE, 0, 0, NULL},
	{"times", "connections", CLI_COUNT, 0, 0, cli_log_times_cell},
	{"bytes", "bytes", CLI_BYTES, 3, CLI_LOG_UNCUT, NULL},
	{"rule", "rule", CLI_AUTO, 2, 14, cli_log_rule_cell},
	{"first", "first_ns", CLI_AUTO, 5, CLI_LOG_UNCUT, cli_log_first_cell},
	{"last", "last_ns", CLI_AUTO, 4, CLI_LOG_UNCUT, cli_log_last_cell},
};

enum cli_status cli_log_talks(struct cli *cli)
{
	struct log_flow_query query = {.by = fields};
	struct cli_log_answer answer;
	enum cli_status status;
	char *what;
	bool one;

	if (cli_log_answer_begin(cli, &answer, LIMIT_DEFAULT) != CLI_OK)
		return CLI_USAGE;
	if (read_who(&answer) != CLI_OK) {
		cli_log_answer_free(&answer);
		return CLI_USAGE;
	}
	query.filter = answer.query.filter;
	query.filter.limit = answer.limit ? (size_t)answer.limit + 1 : 0;
	one = query.filter.vm || query.filter.port;
	cli_log_answer_ask(&answer, &query, add_flow, &answer);
	what = cli->n_arguments && !query.filter.prefix
		       ? xasprintf("traffic of a VM, port or zone '%s'", cli->arguments[0])
		       : xstrdup("traffic of this kind");
	status = cli_log_answer_finish(&answer, columns + one, ARRAY_SIZE(columns) - one, what);
	free(what);
	return status;
}
