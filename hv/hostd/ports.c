/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ports of VMs' vNICs: rows that the switch reads, made from what a VM says of its vNICs, so
 * that a guest is an endpoint of its zone before its first frame.  Called by replica.c on the main
 * thread, within a transaction.
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/vlog.h"
#include "ovsdb-idl.h"
#include "smap.h"
#include "util.h"
#include "uuid.h"

VLOG_DEFINE_THIS_MODULE(ports);

enum { PORT_NUMBER_MAX = 1023 };

static char *name_of(const struct cordonrec_vm *vm, const struct cordonrec_vm_vnic *vnic)
{
	return xasprintf("%s.%lld", vm->name, (long long int)vnic->position);
}

static const struct cordonrec_port *find_port(
	const struct hostd *hostd, const struct cordonrec_host *host, const char *name)
{
	const struct cordonrec_port *port;

	CORDONREC_PORT_FOR_EACH (port, hostd->idl) {
		if (port->host == host && !strcmp(port->name, name))
			return port;
	}
	return NULL;
}

/* The lowest number that no port of the host has, and none that was inserted just now; 0: none. */
static int64_t free_number(const struct hostd *hostd, const struct cordonrec_host *host)
{
	bool used[PORT_NUMBER_MAX + 1] = {false};
	const struct cordonrec_port *port;

	CORDONREC_PORT_FOR_EACH (port, hostd->idl) {
		if (port->host == host && port->n_number)
			used[*port->number] = true;
	}
	for (int64_t number = 1; number <= PORT_NUMBER_MAX; number++) {
		if (!used[number])
			return number;
	}
	return 0;
}

/* --- Columns, written where they differ ------------------------------------------------------ */

static bool same_texts(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	/* Both are sorted, as sets are in the replica. */
	for (size_t i = 0; i < n_a; i++) {
		if (strcmp(a[i], b[i]))
			return false;
	}
	return true;
}

static bool has_mac(const struct cordonrec_port *port, const struct cordonrec_vm_vnic *vnic)
{
	char *const macs[] = {vnic->mac};

	return same_texts(port->macs, port->n_macs, macs, 1);
}

static void write_mac(const struct cordonrec_port *port, const struct cordonrec_vm_vnic *vnic)
{
	const char *macs[] = {vnic->mac};

	cordonrec_port_set_macs(port, macs, 1);
}

static bool has_texts(const struct cordonrec_port *port, const struct cordonrec_vm_vnic *vnic)
{
	return same_texts(port->addresses, port->n_addresses, vnic->addresses, vnic->n_addresses) &&
	       same_texts(port->tags, port->n_tags, vnic->tags, vnic->n_tags) &&
	       same_texts(port->serves, port->n_serves, vnic->serves, vnic->n_serves);
}

static void write_texts(const struct cordonrec_port *port, const struct cordonrec_vm_vnic *vnic)
{
	cordonrec_port_set_addresses(port, (const char **)vnic->addresses, vnic->n_addresses);
	cordonrec_port_set_tags(port, (const char **)vnic->tags, vnic->n_tags);
	cordonrec_port_set_serves(port, (const char **)vnic->serves, vnic->n_serves);
}

static const char *mode_of(const struct cordonrec_vm_vnic *vnic)
{
	return vnic->n_trunks ? "trunk" : "access";
}

static bool has_vlans(const struct cordonrec_port *port, const struct cordonrec_vm_vnic *vnic)
{
	return port->network == vnic->network && !strcmp(port->vlan_mode, mode_of(vnic)) &&
	       port->n_trunks == vnic->n_trunks &&
	       (!vnic->n_trunks ||
		       !memcmp(port->trunks, vnic->trunks, vnic->n_trunks * sizeof(*vnic->trunks)));
}

static void write_vlans(const struct cordonrec_port *port, const struct cordonrec_vm_vnic *vnic)
{
	cordonrec_port_set_network(port, vnic->network);
	cordonrec_port_set_vlan_mode(port, mode_of(vnic));
	cordonrec_port_set_trunks(port, vnic->trunks, vnic->n_trunks);
}

static bool has_limits(const struct cordonrec_port *port, const struct cordonrec_vm_vnic *vnic)
{
	bool same = port->n_limits == vnic->n_limits;

	for (size_t i = 0; same && i < vnic->n_limits; i++)
		same = !strcmp(port->key_limits[i], vnic->key_limits[i]) &&
		       port->value_limits[i] == vnic->value_limits[i];
	return same;
}

static void write_limits(const struct cordonrec_port *port, const struct cordonrec_vm_vnic *vnic)
{
	cordonrec_port_set_limits(
		port, (const char **)vnic->key_limits, vnic->value_limits, vnic->n_limits);
}

static void make_options(struct smap *options, const struct hostd *hostd,
	const struct cordonrec_vm *vm, const struct cordonrec_vm_vnic *vnic)
{
	smap_init(options);
	smap_add_format(options, "socket", "%s/vm/%s/vnic%lld.sock", hostd->options->run_directory,
		vm->name, (long long int)vnic->position);
	smap_add_format(options, "queues", "%lld", (long long int)vnic->queues);
	if (vnic->n_mtu)
		smap_add_format(options, "mtu", "%lld", (long long int)*vnic->mtu);
}

static bool has_options(const struct hostd *hostd, const struct cordonrec_port *port,
	const struct cordonrec_vm *vm, const struct cordonrec_vm_vnic *vnic)
{
	struct smap options;
	bool same;

	make_options(&options, hostd, vm, vnic);
	same = smap_equal(&options, &port->options);
	smap_destroy(&options);
	return same;
}

static void write_options(const struct hostd *hostd, const struct cordonrec_port *port,
	const struct cordonrec_vm *vm, const struct cordonrec_vm_vnic *vnic)
{
	struct smap options;

	make_options(&options, hostd, vm, vnic);
	cordonrec_port_set_options(port, &options);
	smap_destroy(&options);
}

static bool has_vm(const struct cordonrec_port *port, const struct cordonrec_vm *vm)
{
	char *id = xasprintf(UUID_FMT, UUID_ARGS(&vm->header_.uuid));
	bool same = !strcmp(port->vm_id, id) && !strcmp(port->vm_name, vm->name);

	free(id);
	return same;
}

static void write_vm(const struct cordonrec_port *port, const struct cordonrec_vm *vm)
{
	char *id = xasprintf(UUID_FMT, UUID_ARGS(&vm->header_.uuid));

	cordonrec_port_set_vm_id(port, id);
	cordonrec_port_set_vm_name(port, vm->name);
	free(id);
}

/* What a guest that runs follows at once, and what only from its next start on. */
static bool is_current(const struct cordonrec_port *port, const struct cordonrec_vm *vm,
	const struct cordonrec_vm_vnic *vnic)
{
	return has_vlans(port, vnic) && has_texts(port, vnic) && has_limits(port, vnic) &&
	       has_vm(port, vm);
}

static bool is_current_for_start(const struct hostd *hostd, const struct cordonrec_port *port,
	const struct cordonrec_vm *vm, const struct cordonrec_vm_vnic *vnic)
{
	return has_mac(port, vnic) && has_options(hostd, port, vm, vnic);
}

static void write_current(const struct cordonrec_port *port, const struct cordonrec_vm *vm,
	const struct cordonrec_vm_vnic *vnic)
{
	write_vlans(port, vnic);
	write_texts(port, vnic);
	write_limits(port, vnic);
	write_vm(port, vm);
}

static const struct cordonrec_port *insert_port(struct hostd *hostd,
	const struct cordonrec_host *host, const struct cordonrec_vm *vm, const char *name)
{
	int64_t number = free_number(hostd, host);
	struct cordonrec_port *port;

	if (!number)
		return NULL;
	port = cordonrec_port_insert(hostd->txn);
	cordonrec_port_set_name(port, name);
	cordonrec_port_set_host(port, host);
	cordonrec_port_set_number(port, &number, 1);
	cordonrec_port_set_type(port, "vhost");
	cordonrec_port_set_role(port, "vnic");
	cordonrec_port_set_vlan_mode(port, "access");
	cordonrec_port_set_vm(port, vm);
	return port;
}

static void write_port(struct hostd *hostd, const struct cordonrec_host *host,
	const struct cordonrec_vm *vm, const struct cordonrec_vm_vnic *vnic, bool runs, bool ask)
{
	bool changed;
	char *name = name_of(vm, vnic);
	const struct cordonrec_port *port = find_port(hostd, host, name);
	/* Its guest goes on with the MAC and the queues that it was started with. */
	bool fixed = port && port->n_macs && runs;

	if (!port)
		port = insert_port(hostd, host, vm, name);
	free(name);
	/* Another one's, or no room: ports_ready() tells. */
	if (!port || port->vm != vm)
		return;
	changed = !is_current(port, vm, vnic);
	if (changed)
		write_current(port, vm, vnic);
	if (!fixed && !is_current_for_start(hostd, port, vm, vnic)) {
		write_mac(port, vnic);
		write_options(hostd, port, vm, vnic);
		changed = true;
	}
	/* The switch fills it in again once the port is as its row says now. */
	if ((changed || ask) && port->link_state)
		cordonrec_port_set_link_state(port, NULL);
}

/* Two of one place, as a mistake in the database might have it, are no reason to write their port
 * again and again, now as the one and now as the other. */
static const struct cordonrec_vm_vnic *vnic_at(const struct cordonrec_vm *vm, int64_t position)
{
	for (size_t i = 0; i < vm->n_vnics; i++) {
		if (vm->vnics[i]->position == position)
			return vm->vnics[i];
	}
	return NULL;
}

static bool is_wanted(const struct cordonrec_port *port, const struct cordonrec_vm *vm)
{
	bool wanted = false;

	for (size_t i = 0; i < vm->n_vnics && !wanted; i++) {
		char *name = name_of(vm, vm->vnics[i]);

		wanted = !strcmp(port->name, name);
		free(name);
	}
	return wanted;
}

void ports_write(struct hostd *hostd, const struct cordonrec_host *host,
	const struct cordonrec_vm *vm, bool runs, bool ask)
{
	const struct cordonrec_port *port, *next;

	CORDONREC_PORT_FOR_EACH_SAFE (port, next, hostd->idl) {
		if (port->vm == vm && !is_wanted(port, vm))
			cordonrec_port_delete(port);
	}
	/* In their order, so that the first one gets the lowest number. */
	for (int64_t position = 0; position < VM_VNICS_MAX; position++) {
		const struct cordonrec_vm_vnic *vnic = vnic_at(vm, position);

		if (vnic)
			write_port(hostd, host, vm, vnic, runs, ask);
	}
}

/* --- Are they there? ------------------------------------------------------------------------- */

static char *trouble_of(const struct hostd *hostd, const struct cordonrec_vm *vm,
	const struct cordonrec_vm_vnic *vnic, const struct cordonrec_port *port)
{
	if (!port)
		return xasprintf("one of its ports is not in the database yet");
	if (port->vm != vm)
		return xasprintf("its port %s cannot be made: there is another port of that name; "
				 "remove it with `cordon port del %s`",
			port->name, port->name);
	/* What the switch has said of it is about another one then. */
	if (!is_current(port, vm, vnic) || !is_current_for_start(hostd, port, vm, vnic))
		return xasprintf(
			"its port %s is not in the database yet as it is to be now", port->name);
	if (port->error)
		return xasprintf("port %s: %s", port->name, port->error);
	if (!port->link_state)
		return xasprintf("it waits for the switch to take port %s in; `cordon status` "
				 "shows how the switch is",
			port->name);
	return NULL;
}

bool ports_ready(const struct hostd *hostd, const struct cordonrec_vm *vm, char **trouble)
{
	for (size_t i = 0; i < vm->n_vnics; i++) {
		const struct cordonrec_vm_vnic *vnic = vnic_at(vm, vm->vnics[i]->position);
		char *name = name_of(vm, vnic);

		*trouble = trouble_of(hostd, vm, vnic, find_port(hostd, vm->host, name));
		free(name);
		if (*trouble)
			return false;
	}
	return true;
}
