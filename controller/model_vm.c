/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests as they are wanted: making, changing, starting, stopping and removing VMs.  Called by the
 * model's user, on its one thread.
 *
 * A VM's row owns the rows of its vNICs and disks, which go with it.  The ports of its vNICs are
 * made by cordon-hostd, and refer to the VM: the database lets no VM go and leave ports behind.
 */
#include "controller/model_private.h"

#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "util.h"
#include "zones/address.h"

enum { MEMORY_MIB_DEFAULT = 256, PORT_NAME_BYTES = 80 };

/* --- Checks against other rows -------------------------------------------------------------- */

static enum model_result find_vm(struct model *model, const char *host, const char *name,
	const struct cordonrec_vm **vm, struct model_error *error)
{
	*vm = model_vm(model, host, name);
	if (*vm)
		return MODEL_OK;
	return model_fail(error, MODEL_NOT_FOUND,
		"there is no VM '%s' on host %s; `cordon vm list` shows those that are", name,
		host);
}

/* cordon-hostd will make a port of this name. */
static bool check_port_name(struct model *model, const struct model_vm_change *change,
	const struct cordonrec_vm *self, size_t place, struct model_error *error)
{
	char name[PORT_NAME_BYTES];
	const struct cordonrec_port *port;

	snprintf(name, sizeof(name), "%s.%zu", change->name, place);
	port = model_port(model, change->host, name);
	if (!port || (self && port->vm == self))
		return true;
	model_fail(error, MODEL_EXISTS,
		"VM %s: its vNIC %zu is to be port %s, and there is another port of that name; "
		"remove it, or choose another name for the VM",
		change->name, place, name);
	return false;
}

/* Two vNICs of the VM itself. */
static bool check_unique_within(
	const struct model_vm_columns *columns, size_t place, struct model_error *error)
{
	const struct model_port_columns *one = &columns->vnics[place];
	const char *word;
	size_t j;

	for (size_t i = 0; i < place; i++) {
		const struct model_port_columns *other = &columns->vnics[i];

		SVEC_FOR_EACH (j, word, &one->macs) {
			if (svec_contains_unsorted(&other->macs, word)) {
				model_fail(error, MODEL_INVALID,
					"vNIC %zu: MAC %s is vNIC %zu's; give it another one",
					place, word, i);
				return false;
			}
		}
		SVEC_FOR_EACH (j, word, &one->addresses) {
			if (svec_contains_unsorted(&other->addresses, word)) {
				model_fail(error, MODEL_INVALID,
					"vNIC %zu: address %s is vNIC %zu's; give it another one",
					place, word, i);
				return false;
			}
		}
	}
	return true;
}

static bool check_vnics(struct model *model, const struct model_vm_columns *columns,
	const struct cordonrec_vm *self, struct model_error *error)
{
	const struct model_vm_change *change = columns->change;
	bool good = true;

	for (size_t i = 0; i < columns->n_vnics && good; i++) {
		char *who = xasprintf("vNIC %zu of VM %s", i, change->name);
		struct model_endpoint endpoint = {.who = who,
			.host = change->host,
			.macs = &columns->vnics[i].macs,
			.addresses = &columns->vnics[i].addresses,
			.vm = self};

		good = check_port_name(model, change, self, i, error) &&
		       check_unique_within(columns, i, error) &&
		       model_check_unique(model, &endpoint, error);
		free(who);
	}
	return good;
}

/* --- MACs ----------------------------------------------------------------------------------- */

static bool mac_is_used(struct model *model, const char *mac)
{
	const struct cordonrec_vm_vnic *vnic;
	const struct cordonrec_port *port;

	CORDONREC_VM_VNIC_FOR_EACH(vnic, model->idl)
	{
		if (!strcmp(vnic->mac, mac))
			return true;
	}
	CORDONREC_PORT_FOR_EACH (port, model->idl) {
		for (size_t i = 0; i < port->n_macs; i++) {
			if (!strcmp(port->macs[i], mac))
				return true;
		}
	}
	return false;
}

/* Locally administered, of the range that other hypervisors use too. */
static void make_mac(struct model *model, char text[MAC_TEXT_MAX])
{
	uint8_t mac[6] = {0x52, 0x54, 0x00};

	do {
		random_bytes(mac + 3, 3);
		mac_format(mac, text);
	} while (mac_is_used(model, text));
}

/* --- Writing -------------------------------------------------------------------------------- */

static void write_limits(
	const struct cordonrec_vm_vnic *row, const struct model_port_change *change)
{
	struct model_limit limits[MODEL_LIMITS];

	model_limits(change, limits);
	for (size_t i = 0; i < MODEL_LIMITS; i++) {
		if (limits[i].value >= 0)
			cordonrec_vm_vnic_update_limits_setkey(row, limits[i].key, limits[i].value);
	}
}

static void write_trunks(const struct cordonrec_vm_vnic *row, const bool vlans[4096])
{
	size_t n;
	int64_t *trunks = model_trunks(vlans, &n);

	cordonrec_vm_vnic_set_trunks(row, trunks, n);
	free(trunks);
}

/* The MAC of the vNIC that is at this place now, or NULL. */
static const char *mac_at(const struct cordonrec_vm *vm, size_t place)
{
	for (size_t i = 0; vm && i < vm->n_vnics; i++) {
		if (vm->vnics[i]->position == (int64_t)place)
			return vm->vnics[i]->mac;
	}
	return NULL;
}

/* A vNIC's row; NULL with a message if its network does not exist. */
static struct cordonrec_vm_vnic *write_vnic(struct model *model, struct ovsdb_idl_txn *transaction,
	const struct model_vm_columns *columns, size_t place, const char *mac,
	struct model_error *error)
{
	const struct model_vnic *vnic = &columns->change->vnics[place];
	const struct model_port_columns *port = &columns->vnics[place];
	const struct cordonrec_network *network = NULL;
	struct cordonrec_vm_vnic *row;
	char made[MAC_TEXT_MAX];

	if (vnic->port.network && *vnic->port.network) {
		network = model_need_network(model, vnic->port.network, error);
		if (!network)
			return NULL;
	}
	if (port->macs.n)
		mac = port->macs.names[0];
	if (!mac)
		make_mac(model, made);
	row = cordonrec_vm_vnic_insert(transaction);
	cordonrec_vm_vnic_set_position(row, (int64_t)place);
	cordonrec_vm_vnic_set_network(row, network);
	cordonrec_vm_vnic_set_mac(row, mac ? mac : made);
	cordonrec_vm_vnic_set_addresses(
		row, (const char **)port->addresses.names, port->addresses.n);
	cordonrec_vm_vnic_set_tags(row, (const char **)port->tags.names, port->tags.n);
	cordonrec_vm_vnic_set_serves(row, (const char **)port->serves.names, port->serves.n);
	write_trunks(row, port->vlans);
	write_limits(row, &vnic->port);
	cordonrec_vm_vnic_set_queues(row, vnic->queues > 0 ? vnic->queues : 1);
	if (vnic->mtu > 0)
		cordonrec_vm_vnic_set_mtu(row, &vnic->mtu, 1);
	return row;
}

static enum model_result write_vnics(struct model *model, struct ovsdb_idl_txn *transaction,
	const struct cordonrec_vm *vm, const struct cordonrec_vm *old,
	const struct model_vm_columns *columns, struct model_error *error)
{
	struct cordonrec_vm_vnic *rows[MODEL_VNICS_MAX];
	const struct model_vm_change *change = columns->change;

	if (!change->vnics)
		return MODEL_OK;
	for (size_t i = 0; i < change->n_vnics; i++) {
		rows[i] = write_vnic(model, transaction, columns, i, mac_at(old, i), error);
		if (!rows[i])
			return error->result;
	}
	cordonrec_vm_set_vnics(vm, rows, change->n_vnics);
	return MODEL_OK;
}

static void write_disks(struct ovsdb_idl_txn *transaction, const struct cordonrec_vm *vm,
	const struct model_vm_change *change)
{
	struct cordonrec_vm_disk *rows[MODEL_DISKS_MAX];

	if (!change->disks)
		return;
	for (size_t i = 0; i < change->n_disks; i++) {
		const struct model_disk *disk = &change->disks[i];

		rows[i] = cordonrec_vm_disk_insert(transaction);
		cordonrec_vm_disk_set_position(rows[i], (int64_t)i);
		cordonrec_vm_disk_set_format(rows[i], disk->format ? disk->format : "raw");
		cordonrec_vm_disk_set_path(rows[i], disk->path);
		cordonrec_vm_disk_set_direct(rows[i], disk->direct ? disk->direct : "auto");
		cordonrec_vm_disk_set_serial(rows[i], disk->serial ? disk->serial : "");
		cordonrec_vm_disk_set_read_only(rows[i], disk->read_only);
	}
	cordonrec_vm_set_disks(vm, rows, change->n_disks);
}

static void write_options(
	const struct cordonrec_vm *vm, const struct cordonrec_vm *old, const struct smap *changes)
{
	const struct smap_node *node;
	struct smap options;

	if (old)
		smap_clone(&options, &old->options);
	else
		smap_init(&options);
	SMAP_FOR_EACH (node, changes) {
		if (*node->value)
			smap_replace(&options, node->key, node->value);
		else
			smap_remove(&options, node->key);
	}
	cordonrec_vm_set_options(vm, &options);
	smap_destroy(&options);
}

static void write_texts(const struct cordonrec_vm *vm, const struct model_vm_change *change)
{
	if (change->pages)
		cordonrec_vm_set_pages(vm, change->pages);
	if (change->kernel)
		cordonrec_vm_set_kernel(vm, change->kernel);
	if (change->initrd)
		cordonrec_vm_set_initrd(vm, change->initrd);
	if (change->command_line)
		cordonrec_vm_set_command_line(vm, change->command_line);
	if (change->cpu_mask)
		cordonrec_vm_set_cpu_mask(vm, change->cpu_mask);
	if (change->restart)
		cordonrec_vm_set_restart(vm, change->restart);
	if (change->vcpus > 0)
		cordonrec_vm_set_vcpus(vm, change->vcpus);
	if (change->memory_mib > 0)
		cordonrec_vm_set_memory_mib(vm, change->memory_mib);
}

/* A VM as it is to be has that much to give. */
static bool check_balloon(const struct cordonrec_vm *vm, int64_t mib, struct model_error *error)
{
	if (mib && !strcmp(smap_get_def(&vm->options, "balloon", "on"), "off"))
		model_fail(error, MODEL_INVALID,
			"VM %s is to give %lld MiB back, and to have no balloon; `cordon vm set %s "
			"--option balloon=on` gives it one, `cordon vm balloon %s 0` leaves it its "
			"memory",
			vm->name, (long long int)mib, vm->name, vm->name);
	else if (mib && mib >= vm->memory_mib)
		model_fail(error, MODEL_INVALID,
			"VM %s is to give %lld MiB back, and has %lld MiB of memory; it must keep "
			"some of it",
			vm->name, (long long int)mib, (long long int)vm->memory_mib);
	else
		return true;
	return false;
}

/* --- Creating and changing ------------------------------------------------------------------ */

static enum model_result build_create(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct model_vm_columns *columns = context;
	const struct model_vm_change *change = columns->change;
	const struct cordonrec_host *host = model_need_host(model, change->host, error);
	struct cordonrec_vm *vm;

	if (!host)
		return error->result;
	if (model_vm(model, change->host, change->name))
		return model_fail(error, MODEL_EXISTS,
			"VM %s exists on host %s already; `cordon vm set %s` changes it",
			change->name, change->host, change->name);
	if (!check_vnics(model, columns, NULL, error))
		return error->result;
	vm = cordonrec_vm_insert(transaction);
	cordonrec_vm_set_name(vm, change->name);
	cordonrec_vm_set_host(vm, host);
	cordonrec_vm_set_vcpus(vm, 1);
	cordonrec_vm_set_memory_mib(vm, MEMORY_MIB_DEFAULT);
	cordonrec_vm_set_pages(vm, "auto");
	cordonrec_vm_set_restart(vm, "no");
	cordonrec_vm_set_wanted(vm, "stopped");
	write_texts(vm, change);
	write_options(vm, NULL, &columns->options);
	write_disks(transaction, vm, change);
	return write_vnics(model, transaction, vm, NULL, columns, error);
}

static enum model_result build_set(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct model_vm_columns *columns = context;
	const struct model_vm_change *change = columns->change;
	const struct cordonrec_vm *vm;
	enum model_result result = find_vm(model, change->host, change->name, &vm, error);

	if (result != MODEL_OK)
		return result;
	if (!check_vnics(model, columns, vm, error))
		return error->result;
	write_texts(vm, change);
	if (change->options)
		write_options(vm, vm, &columns->options);
	if (!check_balloon(vm, vm->balloon_mib, error))
		return error->result;
	write_disks(transaction, vm, change);
	return write_vnics(model, transaction, vm, vm, columns, error);
}

static enum model_result commit(struct model *model, const char *name, void *context,
	enum model_result (*build)(
		struct model *, struct ovsdb_idl_txn *, void *, struct model_error *),
	struct model_error *error)
{
	char *what = xasprintf("VM %s", name);
	struct model_change change = {
		.build = build, .context = context, .what = what, .retry = true};
	enum model_result result = model_commit(model, &change, error);

	free(what);
	return result;
}

static enum model_result change_vm(struct model *model, const struct model_vm_change *change,
	bool adding, struct model_error *error)
{
	struct model_vm_columns columns;
	enum model_result result;

	if (model_vm_columns_read(&columns, change, adding, error))
		result = commit(
			model, change->name, &columns, adding ? build_create : build_set, error);
	else
		result = error->result;
	model_vm_columns_destroy(&columns);
	return result;
}

enum model_result model_vm_create(
	struct model *model, const struct model_vm_change *change, struct model_error *error)
{
	return change_vm(model, change, true, error);
}

enum model_result model_vm_set(
	struct model *model, const struct model_vm_change *change, struct model_error *error)
{
	return change_vm(model, change, false, error);
}

/* --- Removing ------------------------------------------------------------------------------- */

struct vm_change {
	const char *host, *name;
	bool force;
	const struct model_vm_wish *wish;
};

/* One that has ended or failed does not run, and will not unless a start was asked for since. */
static bool is_at_rest(const struct cordonrec_vm *vm)
{
	bool has_ended = vm->state && (!strcmp(vm->state, "ended") || !strcmp(vm->state, "failed"));

	if (!strcmp(vm->wanted, "stopped"))
		return has_ended || !vm->state || !strcmp(vm->state, "stopped");
	return has_ended && vm->start_reached == vm->start_request;
}

static enum model_result build_delete(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct vm_change *change = context;
	const struct cordonrec_port *port, *next;
	const struct cordonrec_vm *vm;
	enum model_result result = find_vm(model, change->host, change->name, &vm, error);

	(void)transaction;
	if (result != MODEL_OK)
		return result;
	if (!change->force && !is_at_rest(vm))
		return model_fail(error, MODEL_INVALID,
			"VM %s is %s; stop it first with `cordon vm stop %s`, or delete it with "
			"--force",
			vm->name, vm->state ? vm->state : "wanted to run", vm->name);
	CORDONREC_PORT_FOR_EACH_SAFE (port, next, model->idl) {
		if (port->vm == vm)
			cordonrec_port_delete(port);
	}
	cordonrec_vm_delete(vm);
	return MODEL_OK;
}

enum model_result model_vm_delete(struct model *model, const char *host, const char *name,
	bool force, struct model_error *error)
{
	struct vm_change change = {.host = host, .name = name, .force = force};

	return commit(model, name, &change, build_delete, error);
}

/* --- Starting and stopping ------------------------------------------------------------------ */

static enum model_result build_want(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct vm_change *change = context;
	const struct model_vm_wish *wish = change->wish;
	bool run = !strcmp(wish->wanted, "running") && !wish->only_resume;
	const struct cordonrec_vm *vm;
	enum model_result result = find_vm(model, change->host, change->name, &vm, error);

	(void)transaction;
	if (result != MODEL_OK)
		return result;
	if (!run && strcmp(wish->wanted, "stopped") &&
		(!strcmp(vm->wanted, "stopped") ||
			(vm->state &&
				(!strcmp(vm->state, "ended") || !strcmp(vm->state, "failed")))))
		return model_fail(error, MODEL_INVALID,
			"VM %s is %s, so it cannot be %s; `cordon vm start %s` starts it", vm->name,
			vm->state ? vm->state : "stopped",
			strcmp(wish->wanted, "paused") ? "resumed" : "paused", vm->name);
	cordonrec_vm_set_wanted(vm, wish->wanted);
	cordonrec_vm_set_at_once(vm, wish->at_once);
	if (run)
		cordonrec_vm_set_start_request(vm, vm->start_request + 1);
	return MODEL_OK;
}

enum model_result model_vm_want(struct model *model, const char *host, const char *name,
	const struct model_vm_wish *wish, struct model_error *error)
{
	struct vm_change change = {.host = host, .name = name, .wish = wish};

	return commit(model, name, &change, build_want, error);
}

/* --- The balloon ---------------------------------------------------------------------------- */

struct balloon_change {
	const char *host, *name;
	int64_t mib;
};

static enum model_result build_balloon(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct balloon_change *change = context;
	const struct cordonrec_vm *vm;
	enum model_result result = find_vm(model, change->host, change->name, &vm, error);

	(void)transaction;
	if (result != MODEL_OK)
		return result;
	if (!check_balloon(vm, change->mib, error))
		return error->result;
	cordonrec_vm_set_balloon_mib(vm, change->mib);
	return MODEL_OK;
}

enum model_result model_vm_set_balloon(struct model *model, const char *host, const char *name,
	int64_t mib, struct model_error *error)
{
	struct balloon_change change = {.host = host, .name = name, .mib = mib};

	return commit(model, name, &change, build_balloon, error);
}
