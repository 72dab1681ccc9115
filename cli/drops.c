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

enum cli_status cli_drops(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"reason", "reason", CLI_AUTO, 0, 0, NULL},
		{"packets", "packets", CLI_COUNT, 0, 0, NULL},
		{"meaning", "text", CLI_AUTO, 1, 20, NULL},
	};
	const char *words[2];
	enum cli_status status;
	struct json *rows;
	size_t n = 0;

	if (cli->n_arguments)
		words[n++] = cli->arguments[0];
	if (cli_flag(cli, "all"))
		words[n++] = "--all";
	rows = cli_ask_switch(cli, false, &status, "drops/show", n, words);
	if (!rows)
		return status;
	return cli_print_table(
		cli, columns, ARRAY_SIZE(columns), rows, "No packet has been dropped.");
}
