/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon policy check`: whether a document is valid.  Called by main.c, on its one thread.
 */
#include "cli/policy.h"

#include <stdlib.h>
#include <string.h>

static void report_valid(struct cli *cli, const struct zone_policy *policy)
{
	size_t n_zones = zone_count(policy) - 1; /* Quarantine is always there. */
	char bytes[CLI_TEXT_MAX], rules[CLI_TEXT_MAX];

	if (cli->json) {
		struct json *answer = json_object_create();

		json_object_put(answer, "valid", json_boolean_create(true));
		json_object_put(answer, "zones", json_integer_create(n_zones));
		json_object_put(answer, "rules", json_integer_create(zone_rule_count(policy)));
		json_object_put(answer, "memory_bytes",
			json_integer_create(zone_policy_memory_bytes(policy)));
		cli_print_json(cli, answer);
		return;
	}
	fprintf(cli->out, "%s is valid: %zu zone%s, %s rule%s, %s in memory.\n",
		strcmp(cli->arguments[0], "-") ? cli->arguments[0] : "Standard input", n_zones,
		n_zones == 1 ? "" : "s", cli_format_count(zone_rule_count(policy), rules),
		zone_rule_count(policy) == 1 ? "" : "s",
		cli_format_bytes(zone_policy_memory_bytes(policy), bytes));
}

enum cli_status cli_policy_check(struct cli *cli)
{
	enum cli_status status;
	char *text;
	struct zone_policy *policy = cli_policy_compile(cli, cli->arguments[0], &text, &status);

	if (policy)
		report_valid(cli, policy);
	zone_policy_destroy(policy);
	free(text);
	return status;
}
