/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adding, changing and removing ports.  Called by the model's user, on its one thread.
 *
 * What was asked for is read once into a `struct model_port_columns`, checked, and then written in
 * a transaction that checks what depends on other rows: the host, the network, the name, and which
 * number is free.  The number belongs to the port for its life, whatever is restarted.
 */
#include "controller/model_private.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

enum { PORT_NAME_LENGTH_MAX = 63, PORT_NUMBER_MAX = 1023 };

static const char *const port_types[] = {"vhost", "kernel", "internal", "dpdk", "vxlan", NULL};
static const char *const port_roles[] = {"vnic", "uplink", "internal", NULL};
static const char *const vlan_modes[] = {"access", "trunk", NULL};

/* --- Reading -------------------------------------------------------------------------------- */

void model_port_columns_destroy(struct model_port_columns *columns)
{
	smap_destroy(&columns->options);
	svec_destroy(&columns->macs);
	svec_destroy(&columns->addresses);
	svec_destroy(&columns->tags);
	svec_destroy(&columns->serves);
}

/* What the port may serve: words of the schema, "none" by itself. */
static bool read_services(const char *text, struct svec *serves, struct model_error *error)
{
	static const char *const services[] = {"dhcp", "router", "none", NULL};
	const char *word;
	size_t i;

	model_split(text, serves);
	SVEC_FOR_EACH (i, word, serves) {
		if (!model_check_word("service", word, services, error))
			return false;
	}
	svec_sort_unique(serves);
	if (serves->n > 1 && svec_contains(serves, "none")) {
		model_fail(error, MODEL_INVALID,
			"a port that serves 'none' serves nothing else; leave out one of them");
		return false;
	}
	return true;
}

static bool check_limits(const struct model_port_change *change, struct model_error *error)
{
	const struct {
		const char *name;
		int64_t value;
	} limits[] = {
		{"ingress rate (kbit/s)", change->ingress_kbps},
		{"MAC limit", change->mac_limit},
		{"storm limit (frames/s)", change->storm_pps},
		{"connection limit", change->connection_limit},
		{"half-open limit", change->half_open_limit},
		{"limit on new connections a second", change->new_connection_limit},
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		if (limits[i].value > UINT32_MAX) {
			model_fail(error, MODEL_INVALID,
				"%s %lld is above %lld; use less, or 0 for none", limits[i].name,
				(long long int)limits[i].value, (long long int)UINT32_MAX);
			return false;
		}
	}
	return true;
}

/* Reads and checks all that depends on no other row. */
bool model_port_columns_read(struct model_port_columns *columns,
	const struct model_port_change *change, bool adding, struct model_error *error)
{
	*columns = (struct model_port_columns){.change = change, .adding = adding};
	smap_init(&columns->options);
	svec_init(&columns->macs);
	svec_init(&columns->addresses);
	svec_init(&columns->tags);
	svec_init(&columns->serves);
	if (adding && !change->type) {
		model_fail(error, MODEL_INVALID,
			"port %s has no type; use one of: vhost, kernel, internal, dpdk",
			change->name);
		return false;
	}
	return model_check_name("port", change->name, PORT_NAME_LENGTH_MAX, error) &&
	       model_check_word("port type", change->type, port_types, error) &&
	       model_check_word("port role", change->role, port_roles, error) &&
	       model_check_word("VLAN mode", change->vlan_mode, vlan_modes, error) &&
	       (!change->options ||
		       model_read_options(change->options, &columns->options, error)) &&
	       (!change->trunks || model_read_vlans(change->trunks, columns->vlans, error)) &&
	       (!change->macs || model_read_macs(change->macs, &columns->macs, error)) &&
	       (!change->addresses ||
		       model_read_addresses(change->addresses, &columns->addresses, error)) &&
	       (!change->tags || model_read_tags(change->tags, &columns->tags, error)) &&
	       (!change->serves || read_services(change->serves, &columns->serves, error)) &&
	       (!change->vm_id || model_check_text("VM id", change->vm_id, error)) &&
	       (!change->vm_name || model_check_text("VM name", change->vm_name, error)) &&
	       check_limits(change, error);
}

/* --- Checks against other rows -------------------------------------------------------------- */

static bool check_unique(struct model *model, const struct model_port_columns *columns,
	const struct cordonrec_port *self, struct model_error *error)
{
	char *who = xasprintf("port %s", columns->change->name);
	struct model_endpoint endpoint = {.who = who,
		.host = columns->change->host,
		.macs = &columns->macs,
		.addresses = &columns->addresses,
		.port = self};
	bool good = model_check_unique(model, &endpoint, error);

	free(who);
	return good;
}

/* The lowest free number on the host; 0: none. */
static int64_t free_number(struct model *model, const struct cordonrec_host *host)
{
	bool used[PORT_NUMBER_MAX + 1] = {false};
	const struct cordonrec_port *port;

	CORDONREC_PORT_FOR_EACH (port, model->idl) {
		if (port->host == host && port->n_number)
			used[*port->number] = true;
	}
	for (int64_t number = 1; number <= PORT_NUMBER_MAX; number++) {
		if (!used[number])
			return number;
	}
	return 0;
}

/* --- Writing -------------------------------------------------------------------------------- */

void model_limits(const struct model_port_change *change, struct model_limit limits[MODEL_LIMITS])
{
	const struct model_limit all[MODEL_LIMITS] = {
		{"ingress-kbps", change->ingress_kbps},
		{"macs", change->mac_limit},
		{"storm-pps", change->storm_pps},
		{"connections", change->connection_limit},
		{"half-open", change->half_open_limit},
		{"new-per-second", change->new_connection_limit},
	};

	memcpy(limits, all, sizeof(all));
}

/* A limit that was given replaces the row's, and "default" takes it away.  0 is written too:
 * without a value, the switch has defaults of its own. */
static void write_limits(const struct cordonrec_port *port, const struct model_port_change *change)
{
	struct model_limit limits[MODEL_LIMITS];

	model_limits(change, limits);
	for (size_t i = 0; i < MODEL_LIMITS; i++) {
		if (limits[i].value >= 0)
			cordonrec_port_update_limits_setkey(port, limits[i].key, limits[i].value);
		else if (limits[i].value == MODEL_LIMIT_DEFAULT)
			cordonrec_port_update_limits_delkey(port, limits[i].key);
	}
}

static void write_trunks(const struct cordonrec_port *port, const bool vlans[4096])
{
	size_t n;
	int64_t *trunks = model_trunks(vlans, &n);

	cordonrec_port_set_trunks(port, trunks, n);
	free(trunks);
}

static void write_lists(const struct cordonrec_port *port, struct model_port_columns *columns)
{
	const struct model_port_change *change = columns->change;

	if (change->options)
		cordonrec_port_set_options(port, &columns->options);
	if (change->trunks)
		write_trunks(port, columns->vlans);
	if (change->macs)
		cordonrec_port_set_macs(port, (const char **)columns->macs.names, columns->macs.n);
	if (change->addresses)
		cordonrec_port_set_addresses(
			port, (const char **)columns->addresses.names, columns->addresses.n);
	if (change->tags)
		cordonrec_port_set_tags(port, (const char **)columns->tags.names, columns->tags.n);
	if (change->serves)
		cordonrec_port_set_serves(
			port, (const char **)columns->serves.names, columns->serves.n);
}

static enum model_result write_columns(struct model *model, const struct cordonrec_port *port,
	struct model_port_columns *columns, struct model_error *error)
{
	const struct model_port_change *change = columns->change;

	if (change->network && *change->network) {
		const struct cordonrec_network *network =
			model_need_network(model, change->network, error);

		if (!network)
			return error->result;
		cordonrec_port_set_network(port, network);
	} else if (change->network) {
		cordonrec_port_set_network(port, NULL);
	}
	if (change->type)
		cordonrec_port_set_type(port, change->type);
	if (change->role)
		cordonrec_port_set_role(port, change->role);
	if (change->vlan_mode)
		cordonrec_port_set_vlan_mode(port, change->vlan_mode);
	if (change->vm_id)
		cordonrec_port_set_vm_id(port, change->vm_id);
	if (change->vm_name)
		cordonrec_port_set_vm_name(port, change->vm_name);
	if (change->spoof_guard >= 0) {
		bool on = change->spoof_guard;

		cordonrec_port_set_spoof_guard(port, &on, 1);
	}
	write_lists(port, columns);
	return MODEL_OK;
}

static void write_defaults(
	const struct cordonrec_port *port, const struct model_port_change *change)
{
	const char *role = change->role;

	if (!role)
		role = !strcmp(change->type, "internal") ? "internal"
		       : !strcmp(change->type, "dpdk") || !strcmp(change->type, "vxlan") ? "uplink"
											 : "vnic";
	cordonrec_port_set_role(port, role);
	if (!change->vlan_mode)
		cordonrec_port_set_vlan_mode(port,
			(change->trunks && *change->trunks) || !strcmp(role, "uplink") ? "trunk"
										       : "access");
}

static enum model_result build_port_add(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct model_port_columns *columns = context;
	const struct model_port_change *change = columns->change;
	const struct cordonrec_host *host = model_need_host(model, change->host, error);
	struct cordonrec_port *port;
	int64_t number;
	enum model_result result;

	if (!host)
		return error->result;
	if (model_port(model, change->host, change->name))
		return model_fail(error, MODEL_EXISTS,
			"port %s exists on host %s already; `cordon port set %s` changes it",
			change->name, change->host, change->name);
	if (!check_unique(model, columns, NULL, error))
		return error->result;
	number = free_number(model, host);
	if (!number)
		return model_fail(error, MODEL_INVALID,
			"host %s has %d ports, which is the limit; remove one with `cordon port "
			"del`",
			change->host, PORT_NUMBER_MAX);
	port = cordonrec_port_insert(transaction);
	cordonrec_port_set_name(port, change->name);
	cordonrec_port_set_host(port, host);
	cordonrec_port_set_number(port, &number, 1);
	result = write_columns(model, port, columns, error);
	if (result == MODEL_OK) {
		write_defaults(port, change);
		write_limits(port, change);
	}
	return result;
}

static enum model_result find_port(struct model *model, const char *host, const char *name,
	const struct cordonrec_port **port, struct model_error *error)
{
	*port = model_port(model, host, name);
	if (*port)
		return MODEL_OK;
	return model_fail(error, MODEL_NOT_FOUND,
		"there is no port '%s' on host %s; `cordon port list` shows those that are", name,
		host);
}

/* What a VM's port is, its vNIC says, and cordon-hostd carries over. */
static bool belongs_to_vm(const struct cordonrec_port *port, struct model_error *error)
{
	if (!port->vm)
		return false;
	model_fail(error, MODEL_INVALID,
		"port %s belongs to VM %s and follows its vNIC; use `cordon vm set %s`, or `cordon "
		"vm delete %s`",
		port->name, port->vm->name, port->vm->name, port->vm->name);
	return true;
}

static enum model_result build_port_set(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct model_port_columns *columns = context;
	const struct cordonrec_port *port;
	enum model_result result;

	(void)transaction;
	result = find_port(model, columns->change->host, columns->change->name, &port, error);
	if (result != MODEL_OK)
		return result;
	if (belongs_to_vm(port, error) || !check_unique(model, columns, port, error))
		return error->result;
	result = write_columns(model, port, columns, error);
	if (result == MODEL_OK)
		write_limits(port, columns->change);
	return result;
}

static enum model_result change_port(struct model *model, const struct model_port_change *change,
	bool adding, struct model_error *error)
{
	struct model_port_columns *columns = xmalloc(sizeof(*columns));
	char *what = xasprintf("port %s", change->name);
	struct model_change commit = {
		.build = adding ? build_port_add : build_port_set,
		.context = columns,
		.what = what,
		.retry = true,
	};
	enum model_result result;

	if (model_port_columns_read(columns, change, adding, error))
		result = model_commit(model, &commit, error);
	else
		result = error->result;
	model_port_columns_destroy(columns);
	free(columns);
	free(what);
	return result;
}

enum model_result model_port_add(
	struct model *model, const struct model_port_change *change, struct model_error *error)
{
	return change_port(model, change, true, error);
}

enum model_result model_port_set(
	struct model *model, const struct model_port_change *change, struct model_error *error)
{
	return change_port(model, change, false, error);
}

static enum model_result build_port_delete(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct model_port_change *change = context;
	const struct cordonrec_port *port;
	enum model_result result = find_port(model, change->host, change->name, &port, error);

	(void)transaction;
	if (result != MODEL_OK)
		return result;
	if (belongs_to_vm(port, error))
		return error->result;
	cordonrec_port_delete(port);
	return MODEL_OK;
}

enum model_result model_port_delete(
	struct model *model, const char *host, const char *name, struct model_error *error)
{
	struct model_port_change change = {.host = host, .name = name};
	char *what = xasprintf("port %s", name);
	struct model_change commit = {
		.build = build_port_delete, .context = &change, .what = what, .retry = true};
	enum model_result result = model_commit(model, &commit, error);

	free(what);
	return result;
}
