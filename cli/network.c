/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon network`: names for VLANs and VNIs, in the database.
 */
#include "cli/cordon.h"

#include "util.h"

const struct cli_option cli_network_add_options[] = {
	{"vlan", 0, "N", "VLAN id, 0 (untagged) to 4094"},
	{"vni", 0, "N", "VXLAN network id, 1 to 16777215 (no port can be on it)"},
	{"comment", 0, "TEXT", "what it is for"},
	{0},
};

enum cli_status cli_network_add(struct cli *cli)
{
	int64_t vlan = -1, vni = -1;
	struct model_error error;
	enum model_result result;
	enum cli_status status;
	struct model *model;

	if (!cli_option_number(cli, "vlan", 0, 4094, &vlan) ||
		!cli_option_number(cli, "vni", 1, 16777215, &vni))
		return CLI_USAGE;
	model = cli_model(cli, &status);
	if (!model)
		return status;
	result = model_network_add(
		model, cli->arguments[0], vlan, vni, cli_option(cli, "comment"), &error);
	model_close(model);
	return result == MODEL_OK ? CLI_OK : cli_fail_model(cli, &error);
}

enum cli_status cli_network_delete(struct cli *cli)
{
	struct model_error error;
	enum model_result result;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	result = model_network_delete(model, cli->arguments[0], &error);
	model_close(model);
	return result == MODEL_OK ? CLI_OK : cli_fail_model(cli, &error);
}

static size_t count_ports(struct model *model, const struct cordonrec_network *network)
{
	const struct cordonrec_port *port;
	size_t n = 0;

	CORDONREC_PORT_FOR_EACH (port, model_idl(model))
		n += port->network == network;
	return n;
}

enum cli_status cli_network_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"name", "name", CLI_AUTO, 0, 0, NULL},
		{"vlan", "vlan", CLI_AUTO, 0, 0, NULL},
		{"vni", "vni", CLI_AUTO, 0, 0, NULL},
		{"ports", "ports", CLI_AUTO, 1, 0, NULL},
		{"comment", "comment", CLI_AUTO, 2, 10, NULL},
	};
	const struct cordonrec_network *network;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);
	struct json *rows;

	if (!model)
		return status;
	rows = json_array_create_empty();
	CORDONREC_NETWORK_FOR_EACH (network, model_idl(model)) {
		struct json *row = json_object_create();

		json_object_put_string(row, "name", network->name);
		if (network->n_vlan)
			json_object_put(row, "vlan", json_integer_create(*network->vlan));
		if (network->n_vni)
			json_object_put(row, "vni", json_integer_create(*network->vni));
		json_object_put(row, "ports", json_integer_create(count_ports(model, network)));
		json_object_put_string(row, "comment", network->comment);
		json_array_add(rows, row);
	}
	model_close(model);
	cli_json_sort(rows, "name");
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows, "No networks.");
}
