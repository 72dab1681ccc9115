/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon port add|set|del`: from options to one transaction of the model, and what to do next.
 */
#include "cli/port.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "smap.h"
#include "util.h"

#define PORT_OPTIONS                                                                               \
	{"type", 't', "vhost|kernel|internal|dpdk", "what is behind it"},                          \
		{"role", 'r', "vnic|uplink|internal", "endpoint, the outside, or the host"},       \
		{"network", 'n', "NETWORK", "whose VLAN it is in (none: untagged)"},               \
		{"vlan-mode", 0, "access|trunk", "one VLAN, or tagged frames too"},                \
		{"trunks", 0, "LIST", "VLANs of a trunk: 10,20-29 (none: all)"},                   \
		{"mac", 0, "LIST", "the guest's MACs"},                                            \
		{"address", 0, "LIST", "the guest's IPv4 and IPv6 addresses"},                     \
		{"tag", 0, "LIST", "KEY=VALUE or KEY: they choose its zone"},                      \
		{"vm-id", 0, "TEXT", "the guest's id, for the log"},                               \
		{"vm-name", 0, "TEXT", "the guest's name, for the log"},                           \
		{"spoof-guard", 0, "on|off", "drop what is not from its own addresses"},           \
		{"serves", 0, "dhcp|router|dhcp,router|none", "what it may answer as"},            \
		{"device", 0, "NAME", "type kernel: the network device (the port's name)"},        \
		{"socket", 0, "FILE", "type vhost: the socket of the guest's VMM"},                \
		{"devargs", 0, "TEXT", "type dpdk: the device, e.g. 0000:03:00.0"},                \
		{"queues", 0, "N", "queues"},                                                      \
		{"option", 'o', "KEY=VALUE", "another option of its type"},                        \
		{"ingress-kbps", 0, "N", "limit on what it sends, kbit/s; 0: none"},               \
		{"mac-limit", 0, "N", "MACs learned behind it; 0: none"},                          \
		{"storm-limit", 0, "N", "flooded frames/s let in; 0: none"},                       \
		{"connection-limit", 0, "N", "connections that it opens; 0: none"},                \
		{"half-open-limit", 0, "N", "of them unanswered; 0: none"},                        \
	{                                                                                          \
		"new-connection-limit", 0, "N", "of them new in a second; 0: none"                 \
	}

const struct cli_option cli_port_add_options[] = {
	PORT_OPTIONS,
	{"no-wait", 0, NULL, "do not wait until the switch has opened it"},
	{0},
};

const struct cli_option cli_port_set_options[] = {
	PORT_OPTIONS,
	{0},
};

/* --- From options to a change --------------------------------------------------------------- */

/* A list may be given in one option or in several: joins them.  NULL: not given. */
static const char *joined(struct cli *cli, const char *name)
{
	struct ds list = DS_EMPTY_INITIALIZER;
	bool given = false;

	for (size_t i = 0; i < cli->n_values; i++) {
		if (strcmp(cli->values[i].option->name, name))
			continue;
		ds_put_format(&list, "%s%s", given ? "," : "", cli->values[i].value);
		given = true;
	}
	return given ? cli_keep(cli, ds_steal_cstr(&list)) : NULL;
}

/* Appends KEY=VALUE, the value's commas kept from the list's reader. */
static void put_option(struct ds *list, const char *key, const char *value)
{
	if (!value)
		return;
	ds_put_format(list, "%s%s%s", list->length ? "," : "", key ? key : "", key ? "=" : "");
	for (; *value; value++) {
		if (*value == ',')
			ds_put_char(list, '\\');
		ds_put_char(list, *value);
	}
}

/* The options of the port's type, as the model reads them.  NULL: none given. */
static const char *type_options(struct cli *cli)
{
	static const char *const named[] = {"device", "socket", "devargs", "queues"};
	struct ds list = DS_EMPTY_INITIALIZER;

	for (size_t i = 0; i < ARRAY_SIZE(named); i++)
		put_option(&list, named[i], cli_option(cli, named[i]));
	for (size_t i = 0; i < cli->n_values; i++) {
		if (!strcmp(cli->values[i].option->name, "option"))
			put_option(&list, NULL, cli->values[i].value);
	}
	return list.string ? cli_keep(cli, ds_steal_cstr(&list)) : NULL;
}

static bool is_given(const struct cli *cli, const char *key)
{
	size_t length = strlen(key);

	for (size_t i = 0; i < cli->n_values; i++) {
		const struct cli_value *given = &cli->values[i];

		if (!strcmp(given->option->name, key) ||
			(!strcmp(given->option->name, "option") &&
				!strncmp(given->value, key, length) && given->value[length] == '='))
			return true;
	}
	return false;
}

/* `port set --queues 4` keeps the other options: those that are not given are written again. */
static const char *merged_options(
	struct cli *cli, const struct cordonrec_port *port, const char *given)
{
	struct ds list = DS_EMPTY_INITIALIZER;
	const struct smap_node *node;

	if (!given)
		return NULL;
	SMAP_FOR_EACH (node, &port->options) {
		if (!is_given(cli, node->key))
			put_option(&list, node->key, node->value);
	}
	ds_put_format(&list, "%s%s", list.length && *given ? "," : "", given);
	return cli_keep(cli, ds_steal_cstr(&list));
}

/* A number, or "default". */
static bool read_limit(struct cli *cli, const char *name, int64_t *value)
{
	const char *text = cli_option(cli, name);

	if (text && !strcmp(text, "default")) {
		*value = MODEL_LIMIT_DEFAULT;
		return true;
	}
	return cli_option_number(cli, name, 0, UINT32_MAX, value);
}

static bool read_limits(struct cli *cli, struct model_port_change *change)
{
	return read_limit(cli, "ingress-kbps", &change->ingress_kbps) &&
	       read_limit(cli, "mac-limit", &change->mac_limit) &&
	       read_limit(cli, "storm-limit", &change->storm_pps) &&
	       read_limit(cli, "connection-limit", &change->connection_limit) &&
	       read_limit(cli, "half-open-limit", &change->half_open_limit) &&
	       read_limit(cli, "new-connection-limit", &change->new_connection_limit);
}

static bool read_change(struct cli *cli, struct model_port_change *change)
{
	const char *guard = cli_option(cli, "spoof-guard");

	*change = (struct model_port_change){
		.name = cli->arguments[0],
		.host = cli->host,
		.type = cli_option(cli, "type"),
		.role = cli_option(cli, "role"),
		.options = type_options(cli),
		.network = cli_option(cli, "network"),
		.vlan_mode = cli_option(cli, "vlan-mode"),
		.trunks = joined(cli, "trunks"),
		.macs = joined(cli, "mac"),
		.addresses = joined(cli, "address"),
		.tags = joined(cli, "tag"),
		.serves = joined(cli, "serves"),
		.vm_id = cli_option(cli, "vm-id"),
		.vm_name = cli_option(cli, "vm-name"),
		.spoof_guard = guard ? !strcmp(guard, "on") : -1,
		.ingress_kbps = -1,
		.mac_limit = -1,
		.storm_pps = -1,
		.connection_limit = -1,
		.half_open_limit = -1,
		.new_connection_limit = -1,
	};
	return read_limits(cli, change);
}

/* --- What to do next ------------------------------------------------------------------------ */

char *cli_port_socket(const struct cli *cli, const struct cordonrec_port *port)
{
	const char *given = smap_get(&port->options, "socket");

	return given ? xstrdup(given)
		     : xasprintf("%s/vhost/%s.sock", cli->run_directory, port->name);
}

static void advise_vhost(const struct cli *cli, const struct cordonrec_port *port)
{
	char *socket = cli_port_socket(cli, port);
	const char *mac = port->n_macs ? port->macs[0] : NULL;

	fprintf(cli->out,
		"The guest's VMM is to listen at %s; the switch connects to it.\nWith QEMU:\n"
		"  -object memory-backend-memfd,id=mem0,size=2G,share=on -numa node,memdev=mem0 "
		"\\\n"
		"  -chardev socket,id=%s,path=%s,server=on,wait=off \\\n"
		"  -netdev vhost-user,id=net-%s,chardev=%s \\\n"
		"  -device virtio-net-pci,netdev=net-%s%s%s\n",
		socket, port->name, socket, port->name, port->name, port->name, mac ? ",mac=" : "",
		mac ? mac : "");
	free(socket);
}

static void advise(const struct cli *cli, const struct cordonrec_port *port)
{
	if (!strcmp(port->role, "vnic") && !port->n_tags)
		fprintf(cli->out,
			"It has no tags, so it is in no zone and nothing passes: cordon port set "
			"%s --tag "
			"KEY=VALUE\n",
			port->name);
	if (!strcmp(port->role, "vnic") && !port->n_macs && !port->n_addresses &&
		!port->n_spoof_guard)
		fprintf(cli->out, "It has neither --mac nor --address, so the spoof guard has "
				  "nothing to go by.\n");
	if (!strcmp(port->type, "vhost"))
		advise_vhost(cli, port);
	if (!strcmp(port->type, "internal"))
		fprintf(cli->out, "The host's device is %s: ip link set %s up\n", port->name,
			port->name);
}

static enum cli_status report_added(
	struct cli *cli, struct model *model, const struct model_port_change *change)
{
	const struct cordonrec_port *port = model_port(model, change->host, change->name);

	if (!port)
		return cli_fail(cli, CLI_NOT_FOUND, "port %s was removed again by somebody else",
			change->name);
	if (cli->json)
		return cli_print_json(cli, cli_port_json(port));
	fprintf(cli->out, "Port %s is number %lld of host %s.\n", port->name,
		port->n_number ? (long long int)*port->number : 0, change->host);
	advise(cli, port);
	return CLI_OK;
}

/* --- The commands --------------------------------------------------------------------------- */

static enum cli_status wait_for_switch(
	struct cli *cli, struct model *model, const struct model_port_change *change)
{
	struct model_error error;
	enum model_result result =
		model_port_wait(model, change->host, change->name, cli->timeout_ms, &error);

	if (result == MODEL_UNREACHABLE)
		return cli_fail(cli, CLI_TIMEOUT, "%s", error.message);
	if (result != MODEL_OK)
		return cli_fail_model(cli, &error);
	return report_added(cli, model, change);
}

enum cli_status cli_port_add(struct cli *cli)
{
	struct model_port_change change;
	struct model_error error;
	enum cli_status status;
	struct model *model;

	if (!read_change(cli, &change))
		return CLI_USAGE;
	if (!change.type)
		return cli_fail(cli, CLI_USAGE, "port %s: say what is behind it with --type: %s",
			change.name, cli_port_add_options[0].argument);
	model = cli_model(cli, &status);
	if (!model)
		return status;
	if (model_port_add(model, &change, &error) != MODEL_OK)
		status = cli_fail_model(cli, &error);
	else if (cli_flag(cli, "no-wait"))
		status = report_added(cli, model, &change);
	else
		status = wait_for_switch(cli, model, &change);
	model_close(model);
	return status;
}

enum cli_status cli_port_set(struct cli *cli)
{
	struct model_port_change change;
	const struct cordonrec_port *port;
	struct model_error error;
	enum cli_status status;
	struct model *model;

	if (!read_change(cli, &change))
		return CLI_USAGE;
	if (!cli->n_values)
		return cli_fail(cli, CLI_USAGE,
			"say what to change of port %s, e.g. --tag tier=web; see `cordon help port "
			"set`",
			change.name);
	model = cli_model(cli, &status);
	if (!model)
		return status;
	port = model_port(model, change.host, change.name);
	if (port)
		change.options = merged_options(cli, port, change.options);
	if (model_port_set(model, &change, &error) != MODEL_OK)
		status = cli_fail_model(cli, &error);
	else if (cli->json)
		cli_print_json(cli, cli_port_json(model_port(model, change.host, change.name)));
	model_close(model);
	return status;
}

enum cli_status cli_port_delete(struct cli *cli)
{
	struct model_error error;
	enum cli_status status;
	struct model *model = cli_model(cli, &status);

	if (!model)
		return status;
	if (model_port_delete(model, cli->host, cli->arguments[0], &error) != MODEL_OK)
		status = cli_fail_model(cli, &error);
	model_close(model);
	return status;
}
