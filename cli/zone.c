/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon zone`: the zones of the policy in force, and which endpoints are in them.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

/* What makes an endpoint or an address a member. */
static char *members_text(const struct json *row)
{
	const struct json *prefixes = cli_json_member(row, "prefixes");
	struct ds text = DS_EMPTY_INITIALIZER;

	ds_put_cstr(&text, cli_json_text(row, "match"));
	for (size_t i = 0; prefixes && prefixes->type == JSON_ARRAY && i < prefixes->array.n; i++) {
		if (prefixes->array.elems[i]->type == JSON_STRING)
			ds_put_format(&text, "%s%s", text.length ? ", " : "",
				prefixes->array.elems[i]->string);
	}
	return text.string ? ds_steal_cstr(&text) : NULL;
}

enum cli_status cli_zone_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"zone", "zone", CLI_STATE, 0, 0, NULL},
		{"members", "match", CLI_AUTO, 2, 12, members_text},
		{"intra", "intra", CLI_STATE, 3, 6, NULL},
		{"endpoints", "endpoints", CLI_AUTO, 1, 16, NULL},
		{"conflicts", "conflicts", CLI_AUTO, 1, 9, NULL},
	};
	enum cli_status status;
	struct json *rows = cli_ask_switch(cli, false, &status, "zone/list", 0, NULL);

	if (!rows)
		return status;
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows,
		"No zones; `cordon policy apply FILE` makes them.");
}

static enum cli_status say_unknown_zone(struct cli *cli, const struct json *zones)
{
	const char **names = xcalloc(zones->array.n + 1, sizeof(*names));
	const char *guess;

	for (size_t i = 0; i < zones->array.n; i++)
		names[i] = cli_json_text(zones->array.elems[i], "zone");
	guess = cli_did_you_mean(cli->arguments[0], names);
	cli_fail(cli, CLI_NOT_FOUND, "there is no zone '%s'%s%s%s", cli->arguments[0],
		guess ? "; did you mean '" : "; `cordon zone list` shows those that are",
		guess ? guess : "", guess ? "'?" : "");
	free(names);
	return CLI_NOT_FOUND;
}

/* What its members have open, and what they may. */
static void print_limits(struct cli *cli, const struct json *limits)
{
	if (!limits)
		return;
	cli_print_member(cli, limits, "connections", "connections", CLI_COUNT);
	cli_print_member(cli, limits, "  at most", "max_connections", CLI_COUNT);
	cli_print_member(cli, limits, "half-open", "half_open", CLI_COUNT);
	cli_print_member(cli, limits, "  at most", "max_half_open", CLI_COUNT);
	cli_print_member(cli, limits, "new a second, at most", "max_new_per_second", CLI_COUNT);
	cli_print_member(cli, limits, "refused", "refused", CLI_COUNT);
}

static void print_zone(struct cli *cli, const struct json *zone)
{
	fprintf(cli->out, "%szone %s%s\n", cli_colour_start(cli, CLI_BOLD),
		cli_json_text(zone, "zone"), cli_colour_end(cli));
	cli_print_member(cli, zone, "number", "number", CLI_AUTO);
	cli_print_member(cli, zone, "match", "match", CLI_AUTO);
	cli_print_member(cli, zone, "prefixes", "prefixes", CLI_AUTO);
	cli_print_member(cli, zone, "among its own", "intra", CLI_STATE);
	if (cli_json_true(zone, "pickup"))
		cli_print_member(cli, zone, "pickup", "pickup", CLI_AUTO);
	print_limits(cli, cli_json_member(zone, "limits"));
	cli_print_member(cli, zone, "endpoints", "endpoints", CLI_AUTO);
	cli_print_member(cli, zone, "conflicts", "conflicts", CLI_AUTO);
}

enum cli_status cli_zone_show(struct cli *cli)
{
	enum cli_status status;
	struct json *zones = cli_ask_switch(cli, false, &status, "zone/list", 0, NULL);
	const struct json *zone = NULL;

	if (!zones)
		return status;
	for (size_t i = 0; zones->type == JSON_ARRAY && i < zones->array.n && !zone; i++) {
		if (!strcmp(cli_json_text(zones->array.elems[i], "zone"), cli->arguments[0]))
			zone = zones->array.elems[i];
	}
	if (!zone)
		status = say_unknown_zone(cli, zones);
	else if (cli->json)
		cli_print_json(cli, json_clone(zone));
	else
		print_zone(cli, zone);
	json_destroy(zones);
	return status;
}
