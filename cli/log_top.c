/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log top`: who and what makes most of the traffic.  Called by main.c and by the report, on
 * their one thread.
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>

#include "log/flow_rows.h"
#include "openvswitch/shash.h"
#include "util.h"

enum { LIMIT_DEFAULT = 20 };

const struct cli_option cli_log_top_options[] = {
	CLI_LOG_FILTERS,
	CLI_LOG_SPAN,
	{"by", 'b', "bytes|connections|packets|refused", "the most of these first (bytes)"},
	{"of", 'o', "vm|address|zone|service|rule", "what is compared (vm)"},
	{"limit", 'n', "N", "at most so many rows (20; 0: all)"},
	{0},
};

/* What can be compared: fields of flows, and which of them make a name. */
static const struct kind {
	const char *name;
	unsigned int by;
	bool ends; /* A row is one end, as a source and as a destination. */
} kinds[] = {
	{"vm",
		LOG_FLOW_SOURCE | LOG_FLOW_DESTINATION | LOG_FLOW_SOURCE_ZONE |
			LOG_FLOW_DESTINATION_ZONE,
		true},
	{"address",
		LOG_FLOW_SOURCE_ADDRESS | LOG_FLOW_DESTINATION_ADDRESS | LOG_FLOW_SOURCE_ZONE |
			LOG_FLOW_DESTINATION_ZONE,
		true},
	{"zone", LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE, true},
	{"service", LOG_FLOW_SERVICE | LOG_FLOW_TYPE, false},
	{"rule", LOG_FLOW_RULE | LOG_FLOW_VERDICT, false},
};

/* One row under way. */
struct talker {
	struct json *row; /* Its names. */
	struct log_flow_counts total;
	uint64_t opened, accepted; /* Connections as their source, and as their destination. */
	uint64_t bytes_sent, bytes_received, packets_sent, packets_received;
};

struct top {
	const struct kind *kind;
	struct shash talkers;
};

/* --- Adding up ------------------------------------------------------------------------------ */

/* What tells a row from the others; the caller frees. */
static char *end_key(const struct kind *kind, const struct log_flow_end *end)
{
	char address[IP_TEXT_MAX] = "";

	if (!strcmp(kind->name, "zone"))
		return xstrdup(end->zone);
	cli_log_addresses_text(&end->addresses, address);
	if (!strcmp(kind->name, "address"))
		return xasprintf("%s\n%s", address, end->zone);
	return xasprintf("%s\n%s\n%s", end->vm_id, end->vm_name, end->port);
}

/* The name that people know it by. */
static char *end_name(const struct kind *kind, const struct log_flow_end *end, bool lumped)
{
	char address[IP_TEXT_MAX] = "";
	const char *name = *end->vm_name ? end->vm_name : *end->vm_id ? end->vm_id : end->port;

	if (!strcmp(kind->name, "zone"))
		return cli_log_clean_text(*end->zone ? end->zone : "(no zone)");
	if (strcmp(kind->name, "address") != 0)
		return cli_log_clean_text(*name ? name : lumped ? "(others)" : "(unknown)");
	if (!end->addresses.length)
		return xstrdup(lumped ? "(others)" : "(unknown)");
	return xstrdup(cli_log_addresses_text(&end->addresses, address));
}

static struct json *end_row(const struct kind *kind, const struct log_flow_end *end, bool lumped)
{
	struct json *row = json_object_create();

	json_object_put(row, "name", json_string_create_nocopy(end_name(kind, end, lumped)));
	if (strcmp(kind->name, "zone") != 0)
		json_object_put(
			row, "zone", json_string_create_nocopy(cli_log_clean_text(end->zone)));
	if (!strcmp(kind->name, "vm")) {
		json_object_put(
			row, "vm_id", json_string_create_nocopy(cli_log_clean_text(end->vm_id)));
		json_object_put(
			row, "port", json_string_create_nocopy(cli_log_clean_text(end->port)));
	}
	return row;
}

static struct talker *find_end(struct top *top, const struct log_flow_end *end, bool lumped)
{
	char *key = end_key(top->kind, end);
	struct talker *talker = shash_find_data(&top->talkers, key);

	if (!talker) {
		talker = xzalloc(sizeof(*talker));
		talker->row = end_row(top->kind, end, lumped);
		shash_add_nocopy(&top->talkers, key, talker);
		return talker;
	}
	free(key);
	return talker;
}

static void add_ends(struct top *top, const struct log_flow *flow)
{
	const struct log_flow_counts *counts = &flow->counts;
	uint64_t connections = log_flow_connections(counts);
	struct talker *source = find_end(
		top, &flow->source, flow->lumped & (LOG_FLOW_SOURCE | LOG_FLOW_SOURCE_ADDRESS));
	struct talker *destination = find_end(top, &flow->destination,
		flow->lumped & (LOG_FLOW_DESTINATION | LOG_FLOW_DESTINATION_ADDRESS));

	log_flow_add(&source->total, counts, true);
	if (destination != source)
		log_flow_add(&destination->total, counts, true);
	source->opened += connections;
	source->bytes_sent += counts->bytes_forward;
	source->bytes_received += counts->bytes_reverse;
	source->packets_sent += counts->packets_forward;
	source->packets_received += counts->packets_reverse;
	destination->accepted += connections;
	destination->bytes_sent += counts->bytes_reverse;
	destination->bytes_received += counts->bytes_forward;
	destination->packets_sent += counts->packets_reverse;
	destination->packets_received += counts->packets_forward;
}

static void add_other(struct top *top, const struct log_flow *flow)
{
	struct json *row = cli_log_flow_json(flow, top->kind->by);
	char *name = strcmp(top->kind->name, "rule") ? cli_log_service_cell(row)
						     : cli_log_rule_cell(row);
	char *key;
	struct talker *talker;

	json_object_put(row, "name", json_string_create_nocopy(name ? name : xstrdup("(no rule)")));
	key = xasprintf("%s\n%s", cli_json_text(row, "name"), cli_json_text(row, "verdict"));
	talker = shash_find_data(&top->talkers, key);
	if (talker) {
		json_destroy(row);
		free(key);
	} else {
		talker = xzalloc(sizeof(*talker));
		talker->row = row;
		shash_add_nocopy(&top->talkers, key, talker);
	}
	log_flow_add(&talker->total, &flow->counts, true);
}

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct top *top = context;

	if (top->kind->ends)
		add_ends(top, flow);
	else
		add_other(top, flow);
	return true;
}

/* --- Rows ----------------------------------------------------------------------------------- */

/* What is forward for one peer is reverse for another. */
static void put_directions(struct json *row, const struct talker *talker)
{
	static const char *const meaningless[] = {
		"bytes_forward", "bytes_reverse", "packets_forward", "packets_reverse"};

	for (size_t i = 0; i < ARRAY_SIZE(meaningless); i++)
		json_destroy(shash_find_and_delete(row->object, meaningless[i]));
	cli_log_put_number(row, "opened", talker->opened);
	cli_log_put_number(row, "accepted", talker->accepted);
	cli_log_put_number(row, "bytes_sent", talker->bytes_sent);
	cli_log_put_number(row, "bytes_received", talker->bytes_received);
	cli_log_put_number(row, "packets_sent", talker->packets_sent);
	cli_log_put_number(row, "packets_received", talker->packets_received);
}

/* Moves what was added up into the answer. */
static void give_rows(struct top *top, struct cli_log_answer *answer)
{
	struct shash_node *node;

	SHASH_FOR_EACH (node, &top->talkers) {
		struct talker *talker = node->data;

		cli_log_put_counts(talker->row, &talker->total);
		if (top->kind->ends)
			put_directions(talker->row, talker);
		json_array_add(answer->rows, talker->row);
	}
	shash_destroy_free_data(&top->talkers);
}

void cli_log_top_rows(struct cli_log_answer *answer, const char *of, const char *most)
{
	struct top top = {.kind = &kinds[0], .talkers = SHASH_INITIALIZER(&top.talkers)};
	struct log_flow_query query = {.filter = answer->query.filter};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kinds[i].name, of))
			top.kind = &kinds[i];
	}
	query.by = top.kind->by;
	cli_log_answer_ask(answer, &query, add_flow, &top);
	give_rows(&top, answer);
	/* Equal ones stay in the order of their names, whatever the hash. */
	cli_json_sort(answer->rows, "name");
	cli_json_sort_most(answer->rows, most);
}

/* --- The command ---------------------------------------------------------------------------- */

static const struct cli_column end_columns[] = {
	{"name", "name", CLI_AUTO, 1, 16, NULL},
	{"zone", "zone", CLI_AUTO, 2, 8, NULL},
	{"bytes", "bytes", CLI_BYTES, 0, 0, NULL},
	{"sent", "bytes_sent", CLI_BYTES, 2, CLI_LOG_UNCUT, NULL},
	{"received", "bytes_received", CLI_BYTES, 2, CLI_LOG_UNCUT, NULL},
	{"packets", "packets", CLI_COUNT, 3, CLI_LOG_UNCUT, NULL},
	{"opened", "opened", CLI_COUNT, 0, 0, NULL},
	{"accepted", "accepted", CLI_COUNT, 0, 0, NULL},
	{"refused", "refused", CLI_COUNT, 0, 0, NULL},
	{"last", "last_ns", CLI_AUTO, 4, CLI_LOG_UNCUT, cli_log_last_cell},
};

/* A service has no verdict. */
static const struct cli_column other_columns[] = {
	{"verdict", "verdict", CLI_STATE, 1, 8, NULL},
	{"name", "name", CLI_AUTO, 1, 16, NULL},
	{"bytes", "bytes", CLI_BYTES, 0, 0, NULL},
	{"packets", "packets", CLI_COUNT, 3, CLI_LOG_UNCUT, NULL},
	{"connections", "connections", CLI_COUNT, 0, 0, NULL},
	{"refused", "refused", CLI_COUNT, 0, 0, NULL},
	{"first", "first_ns", CLI_AUTO, 4, CLI_LOG_UNCUT, cli_log_first_cell},
	{"last", "last_ns", CLI_AUTO, 3, CLI_LOG_UNCUT, cli_log_last_cell},
};

enum cli_status cli_log_top(struct cli *cli)
{
	const char *of = cli_option(cli, "of"), *most = cli_option(cli, "by");
	struct cli_log_answer answer;

	if (cli_log_answer_begin(cli, &answer, LIMIT_DEFAULT) != CLI_OK)
		return CLI_USAGE;
	of = of ? of : "vm";
	cli_log_top_rows(&answer, of, most ? most : "bytes");
	if (!strcmp(of, "service"))
		return cli_log_answer_finish(
			&answer, other_columns + 1, ARRAY_SIZE(other_columns) - 1, "traffic");
	if (!strcmp(of, "rule"))
		return cli_log_answer_finish(
			&answer, other_columns, ARRAY_SIZE(other_columns), "traffic");
	return cli_log_answer_finish(&answer, end_columns, ARRAY_SIZE(end_columns), "traffic");
}
