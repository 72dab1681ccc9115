/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon limit`: what ports, zones and rules have open, and what they may.
 */
#include "cli/cordon.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

const struct cli_option cli_limit_list_options[] = {
	{"kind", 'k', "port|inbound|zone|rule", "only these"},
	{"all", 'a', NULL, "ports without limits and connections as well"},
	{0},
};

/* "12 of 100", or "12" where there is no limit. */
static char *use_text(const struct json *row, const char *use, const char *most)
{
	char count[CLI_TEXT_MAX], limit[CLI_TEXT_MAX];
	int64_t maximum = cli_json_number(row, most);

	cli_format_count((uint64_t)cli_json_number(row, use), count);
	return maximum ? xasprintf("%s of %s", count, cli_format_count((uint64_t)maximum, limit))
		       : xstrdup(count);
}

static char *connections_text(const struct json *row)
{
	return use_text(row, "connections", "max_connections");
}

static char *half_open_text(const struct json *row)
{
	return use_text(row, "half_open", "max_half_open");
}

static char *kind_text(const struct json *row)
{
	const char *kind = cli_json_text(row, "kind");

	return xstrdup(!strcmp(kind, "inbound") ? "from outside" : kind);
}

static bool is_wanted(const struct cli *cli, const struct json *row)
{
	const char *kind = cli_option(cli, "kind");
	bool is_port = cli_json_member(row, "configured") != NULL;

	if (kind && strcmp(kind, cli_json_text(row, "kind")))
		return false;
	return !is_port || cli_flag(cli, "all") || cli_json_true(row, "configured") ||
	       cli_json_number(row, "connections");
}

enum cli_status cli_limit_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"kind", "kind", CLI_AUTO, 0, 0, kind_text},
		{"name", "name", CLI_AUTO, 0, 0, NULL},
		{"connections", "connections", CLI_COUNT, 0, 0, connections_text},
		{"half-open", "half_open", CLI_COUNT, 1, 0, half_open_text},
		{"new/s at most", "max_new_per_second", CLI_COUNT, 2, 0, NULL},
		{"refused", "refused", CLI_COUNT, 3, 0, NULL},
	};
	enum cli_status status;
	struct json *all = cli_ask_switch(cli, false, &status, "limit/list", 0, NULL);
	struct json *rows = json_array_create_empty();

	if (!all) {
		json_destroy(rows);
		return status;
	}
	for (size_t i = 0; all->type == JSON_ARRAY && i < all->array.n; i++) {
		if (is_wanted(cli, all->array.elems[i]))
			json_array_add(rows, json_clone(all->array.elems[i]));
	}
	json_destroy(all);
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows,
		"Nothing is open, and nobody has set a limit.");
}
