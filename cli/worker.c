/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon worker`: the threads that forward, how busy they are, and which queues each polls.
 */
#include "cli/cordon.h"

#include "openvswitch/dynamic-string.h"
#include "util.h"

/* "web1/0, web1/1, up0/0" */
static char *queues_text(const struct json *row)
{
	const struct json *queues = cli_json_member(row, "queues");
	struct ds text = DS_EMPTY_INITIALIZER;

	if (queues && queues->type == JSON_ARRAY) {
		for (size_t i = 0; i < queues->array.n; i++) {
			const struct json *queue = queues->array.elems[i];

			ds_put_format(&text, "%s%s/%lld", i ? ", " : "",
				cli_json_text(queue, "port"),
				(long long int)cli_json_number(queue, "queue"));
		}
	}
	return text.string ? ds_steal_cstr(&text) : NULL;
}

/* A worker that is not pinned has CPU -1. */
static char *cpu_text(const struct json *row)
{
	int64_t cpu = cli_json_number(row, "cpu");

	return cpu < 0 ? xstrdup("any") : xasprintf("%lld", (long long int)cpu);
}

enum cli_status cli_worker_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"worker", "worker", CLI_AUTO, 0, 0, NULL},
		{"cpu", "cpu", CLI_AUTO, 1, 0, cpu_text},
		{"state", "state", CLI_STATE, 1, 0, NULL},
		{"busy %", "busy_percent", CLI_AUTO, 1, 0, NULL},
		{"polls", "polls", CLI_COUNT, 4, 0, NULL},
		{"packets", "packets", CLI_COUNT, 2, 0, NULL},
		{"queues (port/queue)", "queues", CLI_AUTO, 3, 12, queues_text},
	};
	enum cli_status status;
	struct json *rows = cli_ask_switch(cli, false, &status, "worker/list", 0, NULL);

	if (!rows)
		return status;
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows, "No workers.");
}
