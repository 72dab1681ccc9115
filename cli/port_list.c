/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon port list|show`: what is wanted of the ports, from the database, and what the switch
 * observes of them, from both.
 */
#include "cli/port.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "smap.h"
#include "util.h"

const struct cli_option cli_port_list_options[] = {
	{"all-hosts", 'a', NULL, "the ports of all hosts"},
	{0},
};

/* --- From a row to JSON --------------------------------------------------------------------- */

static struct json *texts_json(char **texts, size_t n)
{
	struct json *array = json_array_create_empty();

	for (size_t i = 0; i < n; i++)
		json_array_add(array, json_string_create(texts[i]));
	return array;
}

static struct json *numbers_json(const int64_t *numbers, size_t n)
{
	struct json *array = json_array_create_empty();

	for (size_t i = 0; i < n; i++)
		json_array_add(array, json_integer_create(numbers[i]));
	return array;
}

static struct json *counts_json(char **keys, const int64_t *values, size_t n)
{
	struct json *object = json_object_create();

	for (size_t i = 0; i < n; i++)
		json_object_put(object, keys[i], json_integer_create(values[i]));
	return object;
}

/* What the port may serve: as the row says, or as its role has it. */
static struct json *services_json(const struct cordonrec_port *port)
{
	static char *all[] = {"dhcp", "router"};

	if (port->n_serves == 0)
		return texts_json(all, strcmp(port->role, "uplink") ? 0 : ARRAY_SIZE(all));
	return texts_json(port->serves, strcmp(port->serves[0], "none") ? port->n_serves : 0);
}

/* What was asked for. */
static void put_wanted(struct json *row, const struct cordonrec_port *port)
{
	bool guarded = port->n_spoof_guard ? *port->spoof_guard : strcmp(port->role, "uplink") != 0;

	json_object_put_string(row, "name", port->name);
	if (port->host)
		json_object_put_string(row, "host", port->host->name);
	if (port->n_number)
		json_object_put(row, "number", json_integer_create(*port->number));
	json_object_put_string(row, "type", port->type);
	json_object_put_string(row, "role", port->role);
	if (port->network) {
		json_object_put_string(row, "network", port->network->name);
		if (port->network->n_vlan)
			json_object_put(row, "vlan", json_integer_create(*port->network->vlan));
	}
	json_object_put_string(row, "vlan_mode", port->vlan_mode);
	json_object_put(row, "trunks", numbers_json(port->trunks, port->n_trunks));
	json_object_put(row, "macs", texts_json(port->macs, port->n_macs));
	json_object_put(row, "addresses", texts_json(port->addresses, port->n_addresses));
	json_object_put(row, "tags", texts_json(port->tags, port->n_tags));
	json_object_put_string(row, "vm_id", port->vm_id);
	json_object_put_string(row, "vm_name", port->vm_name);
	json_object_put(row, "spoof_guard", json_boolean_create(guarded));
	json_object_put(row, "serves", services_json(port));
	json_object_put(row, "options", smap_to_json(&port->options));
	json_object_put(
		row, "limits", counts_json(port->key_limits, port->value_limits, port->n_limits));
}

struct json *cli_port_json(const struct cordonrec_port *port)
{
	const char *detail = smap_get_def(&port->status, "detail", "");
	struct json *row = json_object_create();

	put_wanted(row, port);
	json_object_put_string(row, "link",
		port->error	   ? "error"
		: port->link_state ? port->link_state
				   : "waiting");
	if (port->error)
		json_object_put_string(row, "error", port->error);
	if (port->link_state)
		json_object_put_string(row, "link_state", port->link_state);
	json_object_put_string(row, "status", detail);
	json_object_put(row, "statistics",
		counts_json(port->key_statistics, port->value_statistics, port->n_statistics));
	return row;
}

/* --- Zones, as the switch decides them ------------------------------------------------------ */

static bool has_endpoint(const struct json *zone, const char *port)
{
	const struct json *endpoints = cli_json_member(zone, "endpoints");

	for (size_t i = 0; endpoints && endpoints->type == JSON_ARRAY && i < endpoints->array.n;
		i++) {
		const struct json *name = endpoints->array.elems[i];

		if (name->type == JSON_STRING && !strcmp(name->string, port))
			return true;
	}
	return false;
}

/* Adds "zone" to each object of an array of ports, as the switch knows it; without a switch, none.
 */
static void add_zones(struct cli *cli, struct json *ports)
{
	enum cli_status status;
	struct json *zones = cli_ask_switch(cli, true, &status, "zone/list", 0, NULL);

	for (size_t z = 0; zones && zones->type == JSON_ARRAY && z < zones->array.n; z++) {
		const struct json *zone = zones->array.elems[z];

		for (size_t p = 0; p < ports->array.n; p++) {
			struct json *port = ports->array.elems[p];

			if (has_endpoint(zone, cli_json_text(port, "name")))
				json_object_put_string(port, "zone", cli_json_text(zone, "zone"));
		}
	}
	json_destroy(zones);
}

/* --- port list ------------------------------------------------------------------------------ */

static char *statistic_text(const struct json *row, const char *name)
{
	const struct json *statistics = cli_json_member(row, "statistics");
	char text[CLI_TEXT_MAX];

	if (!cli_json_member(statistics, name))
		return NULL;
	return xstrdup(cli_format_count(cli_json_number(statistics, name), text));
}

static char *rx_text(const struct json *row)
{
	return statistic_text(row, "rx_packets");
}

static char *tx_text(const struct json *row)
{
	return statistic_text(row, "tx_packets");
}

/* The error without the port's name, which the row begins with, or else the switch's word. */
static char *status_text(const struct json *row)
{
	const char *error = cli_json_text(row, "error");
	char *start = xasprintf("port %s: ", cli_json_text(row, "name"));
	size_t skip = strncmp(error, start, strlen(start)) ? 0 : strlen(start);

	free(start);
	return xstrdup(*error ? error + skip : cli_json_text(row, "status"));
}

enum cli_status cli_port_list(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"name", "name", CLI_AUTO, 0, 0, NULL},
		{"number", "number", CLI_AUTO, 4, 6, NULL},
		{"type", "type", CLI_AUTO, 2, 8, NULL},
		{"role", "role", CLI_AUTO, 4, 8, NULL},
		{"network", "network", CLI_AUTO, 2, 7, NULL},
		{"zone", "zone", CLI_STATE, 1, 6, NULL},
		{"vm", "vm_name", CLI_AUTO, 4, 6, NULL},
		{"link", "link", CLI_STATE, 0, 0, NULL},
		{"rx packets", "rx", CLI_COUNT, 3, 10, rx_text},
		{"tx packets", "tx", CLI_COUNT, 3, 10, tx_text},
		{"status", "status", CLI_AUTO, 1, 16, status_text},
	};
	const struct cordonrec_port *port;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);
	struct json *rows;

	if (!model)
		return status;
	rows = json_array_create_empty();
	CORDONREC_PORT_FOR_EACH (port, model_idl(model)) {
		if (cli_flag(cli, "all-hosts") ||
			(port->host && !strcmp(port->host->name, cli->host)))
			json_array_add(rows, cli_port_json(port));
	}
	model_close(model);
	cli_json_sort(rows, "number");
	add_zones(cli, rows);
	return cli_print_table(cli, columns, ARRAY_SIZE(columns), rows,
		"No ports; `cordon help port add` tells how to plug one in.");
}

/* --- port show ------------------------------------------------------------------------------ */

static void print_port(struct cli *cli, const struct json *row)
{
	static const struct {
		const char *title, *key;
	} lines[] = {
		{"number", "number"},
		{"host", "host"},
		{"type", "type"},
		{"role", "role"},
		{"options", "options"},
		{"network", "network"},
		{"VLAN", "vlan"},
		{"VLAN mode", "vlan_mode"},
		{"trunks", "trunks"},
		{"zone", "zone"},
		{"tags", "tags"},
		{"MACs", "macs"},
		{"addresses", "addresses"},
		{"spoof guard", "spoof_guard"},
		{"serves", "serves"},
		{"VM name", "vm_name"},
		{"VM id", "vm_id"},
		{"limits", "limits"},
		{"link", "link"},
		{"status", "status"},
		{"error", "error"},
		{"socket", "socket"},
	};

	fprintf(cli->out, "%sport %s%s\n", cli_colour_start(cli, CLI_BOLD),
		cli_json_text(row, "name"), cli_colour_end(cli));
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		cli_print_member(cli, row, lines[i].title, lines[i].key, CLI_STATE);
}

static void print_statistics(struct cli *cli, const struct json *row)
{
	const struct json *statistics = cli_json_member(row, "statistics");
	const struct shash_node **nodes;

	if (!statistics)
		return;
	nodes = shash_sort(statistics->object);
	for (size_t i = 0; i < shash_count(statistics->object); i++)
		cli_print_member(cli, statistics, nodes[i]->name, nodes[i]->name,
			strstr(nodes[i]->name, "bytes") ? CLI_BYTES : CLI_COUNT);
	free(nodes);
}

enum cli_status cli_port_show(struct cli *cli)
{
	const struct cordonrec_port *port;
	struct json *rows, *row;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	port = model_port(model, cli->host, cli->arguments[0]);
	if (!port) {
		model_close(model);
		return cli_fail(cli, CLI_NOT_FOUND,
			"there is no port '%s' on host %s; `cordon port list` shows those that are",
			cli->arguments[0], cli->host);
	}
	row = cli_port_json(port);
	if (!strcmp(port->type, "vhost"))
		json_object_put(
			row, "socket", json_string_create_nocopy(cli_port_socket(cli, port)));
	model_close(model);
	rows = json_array_create_1(row);
	add_zones(cli, rows);
	if (cli->json) {
		cli_print_json(cli, json_clone(row));
	} else {
		print_port(cli, row);
		print_statistics(cli, row);
	}
	json_destroy(rows);
	return CLI_OK;
}
