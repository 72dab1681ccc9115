/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon mac`: what the switch has learned.
 */
#include "cli/cordon.h"

#include "util.h"

static char *kind_text(const struct json *row)
{
	return xstrdup(cli_json_true(row, "static") ? "configured" : "learned");
}

enum cli_status cli_mac_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"mac", "mac", CLI_AUTO, 0, 0, NULL},
		{"vlan", "vlan", CLI_AUTO, 0, 0, NULL},
		{"port", "port", CLI_AUTO, 1, 8, NULL},
		{"kind", "static", CLI_AUTO, 2, 0, kind_text},
		{"age", "age_s", CLI_AGE, 3, 0, NULL},
	};
	enum cli_status status;
	struct json *rows = cli_ask_switch(cli, false, &status, "mac/list", 0, NULL);

	if (!rows)
		return status;
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows, "No MAC addresses.");
}
