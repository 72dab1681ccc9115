/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose MAC and whose address: on one host each belongs to one port or vNIC.  Two with the same MAC
 * would take each other's frames, and two with the same address would both land in quarantine.
 * Called by model_port.c and model_vm.c within a transaction.
 */
#include "controller/model_private.h"

#include <stdlib.h>
#include <string.h>

#include "util.h"

static bool refuse(const struct model_endpoint *endpoint, const char *kind, const char *value,
	const char *owner_kind, const char *owner, struct model_error *error)
{
	model_fail(error, MODEL_INVALID, "%s %s belongs to %s %s already; give %s another one",
		kind, value, owner_kind, owner, endpoint->who);
	return false;
}

static bool check_port(const struct model_endpoint *endpoint, const struct cordonrec_port *other,
	struct model_error *error)
{
	for (size_t i = 0; i < other->n_macs; i++) {
		if (svec_contains_unsorted(endpoint->macs, other->macs[i]))
			return refuse(endpoint, "MAC", other->macs[i], "port", other->name, error);
	}
	for (size_t i = 0; i < other->n_addresses; i++) {
		if (svec_contains_unsorted(endpoint->addresses, other->addresses[i]))
			return refuse(endpoint, "address", other->addresses[i], "port", other->name,
				error);
	}
	return true;
}

static bool check_vm(const struct model_endpoint *endpoint, const struct cordonrec_vm *other,
	struct model_error *error)
{
	for (size_t i = 0; i < other->n_vnics; i++) {
		const struct cordonrec_vm_vnic *vnic = other->vnics[i];

		if (svec_contains_unsorted(endpoint->macs, vnic->mac))
			return refuse(endpoint, "MAC", vnic->mac, "VM", other->name, error);
		for (size_t j = 0; j < vnic->n_addresses; j++) {
			if (svec_contains_unsorted(endpoint->addresses, vnic->addresses[j]))
				return refuse(endpoint, "address", vnic->addresses[j], "VM",
					other->name, error);
		}
	}
	return true;
}

bool model_check_unique(
	struct model *model, const struct model_endpoint *endpoint, struct model_error *error)
{
	const struct cordonrec_port *port;
	const struct cordonrec_vm *vm;

	CORDONREC_PORT_FOR_EACH (port, model->idl) {
		if (port == endpoint->port || !port->host ||
			(endpoint->vm && port->vm == endpoint->vm) ||
			strcmp(port->host->name, endpoint->host))
			continue;
		if (!check_port(endpoint, port, error))
			return false;
	}
	CORDONREC_VM_FOR_EACH(vm, model->idl)
	{
		if (vm == endpoint->vm || !vm->host || strcmp(vm->host->name, endpoint->host))
			continue;
		if (!check_vm(endpoint, vm, error))
			return false;
	}
	return true;
}
