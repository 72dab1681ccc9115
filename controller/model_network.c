/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adding and removing networks: a name for a VLAN or a VNI.  Called by the model's user, on its one
 * thread.
 */
#include "controller/model_private.h"

#include <stdlib.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

enum { NETWORK_NAME_LENGTH_MAX = 63, VLAN_MAX = 4094, VNI_MAX = 16777215 };

struct network_columns {
	const char *name, *comment;
	int64_t vlan, vni;
};

static enum model_result build_network_add(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct network_columns *columns = context;
	const struct cordonrec_network *other;
	struct cordonrec_network *network;

	CORDONREC_NETWORK_FOR_EACH (other, model->idl) {
		if (columns->vlan >= 0 && other->n_vlan && *other->vlan == columns->vlan)
			return model_fail(error, MODEL_EXISTS,
				"VLAN %lld is network '%s' already; use that one, or another VLAN",
				(long long int)columns->vlan, other->name);
		if (columns->vni >= 0 && other->n_vni && *other->vni == columns->vni)
			return model_fail(error, MODEL_EXISTS,
				"VNI %lld is network '%s' already; use that one, or another VNI",
				(long long int)columns->vni, other->name);
	}
	if (model_network(model, columns->name))
		return model_fail(error, MODEL_EXISTS,
			"network '%s' exists already; remove it first, or choose another name",
			columns->name);
	network = cordonrec_network_insert(transaction);
	cordonrec_network_set_name(network, columns->name);
	cordonrec_network_set_comment(network, columns->comment ? columns->comment : "");
	if (columns->vlan >= 0)
		cordonrec_network_set_vlan(network, &columns->vlan, 1);
	else
		cordonrec_network_set_vni(network, &columns->vni, 1);
	return MODEL_OK;
}

static bool check_network(const struct network_columns *columns, struct model_error *error)
{
	if (!model_check_name("network", columns->name, NETWORK_NAME_LENGTH_MAX, error))
		return false;
	if (columns->comment && !model_check_text("comment", columns->comment, error))
		return false;
	if ((columns->vlan >= 0) == (columns->vni >= 0)) {
		model_fail(error, MODEL_INVALID, "network '%s' needs either a VLAN or a VNI%s",
			columns->name, columns->vlan >= 0 ? ", not both" : "; give one");
		return false;
	}
	if (columns->vlan > VLAN_MAX || columns->vni > VNI_MAX || !columns->vni) {
		model_fail(error, MODEL_INVALID, "network '%s': %s %lld is out of range; use %s",
			columns->name, columns->vlan >= 0 ? "VLAN" : "VNI",
			(long long int)(columns->vlan >= 0 ? columns->vlan : columns->vni),
			columns->vlan >= 0 ? "0 (untagged) to 4094" : "1 to 16777215");
		return false;
	}
	return true;
}

enum model_result model_network_add(struct model *model, const char *name, int64_t vlan,
	int64_t vni, const char *comment, struct model_error *error)
{
	struct network_columns columns = {
		.name = name, .comment = comment, .vlan = vlan, .vni = vni};
	struct model_change change = {
		.build = build_network_add, .context = &columns, .retry = true};
	enum model_result result;
	char *what;

	if (!check_network(&columns, error))
		return error->result;
	what = xasprintf("network %s", name);
	change.what = what;
	result = model_commit(model, &change, error);
	free(what);
	return result;
}

static enum model_result build_network_delete(struct model *model,
	struct ovsdb_idl_txn *transaction, void *context, struct model_error *error)
{
	const char *name = context;
	const struct cordonrec_network *network = model_network(model, name);
	struct ds users = DS_EMPTY_INITIALIZER;
	const struct cordonrec_port *port;
	const struct cordonrec_vm *vm;
	enum model_result result = MODEL_OK;

	(void)transaction;
	if (!network)
		return model_fail(error, MODEL_NOT_FOUND,
			"there is no network '%s'; `cordon network list` shows those that are",
			name);
	CORDONREC_PORT_FOR_EACH (port, model->idl) {
		if (port->network == network && !port->vm)
			ds_put_format(&users, "%s%s", users.length ? ", " : "", port->name);
	}
	CORDONREC_VM_FOR_EACH(vm, model->idl)
	{
		for (size_t i = 0; i < vm->n_vnics; i++) {
			if (vm->vnics[i]->network == network)
				ds_put_format(
					&users, "%sVM %s", users.length ? ", " : "", vm->name);
		}
	}
	if (users.length)
		result = model_fail(error, MODEL_INVALID,
			"network '%s' is used by: %s; remove these, or move them with `cordon port "
			"set NAME --network OTHER` or `cordon vm set NAME --nic "
			"N,network=OTHER`",
			name, ds_cstr(&users));
	else
		cordonrec_network_delete(network);
	ds_destroy(&users);
	return result;
}

enum model_result model_network_delete(
	struct model *model, const char *name, struct model_error *error)
{
	char *what = xasprintf("network %s", name);
	struct model_change change = {
		.build = build_network_delete,
		.context = CONST_CAST(char *, name),
		.what = what,
		.retry = true,
	};
	enum model_result result = model_commit(model, &change, error);

	free(what);
	return result;
}
