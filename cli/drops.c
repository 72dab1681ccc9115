/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon drops`: why packets were dropped, by name, on one port or on all.
 */
#include "cli/cordon.h"

#include "util.h"

const struct cli_option cli_drops_options[] = {
	{"all", 'a', NULL, "reasons that have not occurred as well"},
	{0},
};

static struct json *without_zeros(struct json *rows)
{
	struct json *some = json_array_create_empty();

	for (size_t i = 0; rows->type == JSON_ARRAY && i < rows->array.n; i++) {
		if (cli_json_number(rows->array.elems[i], "packets"))
			json_array_add(some, json_clone(rows->array.elems[i]));
	}
	json_destroy(rows);
	return some;
}

enum cli_status cli_drops(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"reason", "reason", CLI_AUTO, 0, 0, NULL},
		{"packets", "packets", CLI_COUNT, 0, 0, NULL},
		{"meaning", "text", CLI_AUTO, 1, 20, NULL},
	};
	enum cli_status status;
	struct json *rows = cli_ask_switch(cli, false, &status, "drops/show", cli->n_arguments,
		(const char *const *)cli->arguments);

	if (!rows) /* The one thing that can be wrong with the question is the port. */
		return status == CLI_FAILED && cli->n_arguments ? CLI_NOT_FOUND : status;
	if (!cli_flag(cli, "all"))
		rows = without_zeros(rows);
	return cli_print_table(
		cli, columns, ARRAY_SIZE(columns), rows, "No packet has been dropped.");
}
