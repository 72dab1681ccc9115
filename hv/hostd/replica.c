/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database as cordon-hostd sees it: rows become wishes, and what was observed is written back.
 * Called by main.c on the main thread.
 *
 * One transaction at a time, never waited for.  It holds all that differs, so that one that failed
 * (somebody else was quicker) is simply built anew.  The database may be away, or be another one
 * that has no row of this host: neither is a wish, and guests go on as they are.
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovsdb-idl.h"
#include "smap.h"
#include "timeval.h"
#include "util.h"
#include "uuid.h"

VLOG_DEFINE_THIS_MODULE(replica);

enum { AGAIN_MS = 1000, SECONDS_MAX = 3600 };

static struct vlog_rate_limit limit = VLOG_RATE_LIMIT_INIT(1, 5);

struct ovsdb_idl *replica_open(const char *remote)
{
	static const struct ovsdb_idl_column *const columns[] = {&cordonrec_host_col_name,
		&cordonrec_network_col_name, &cordonrec_port_col_name, &cordonrec_port_col_host,
		&cordonrec_port_col_type, &cordonrec_port_col_role, &cordonrec_port_col_options,
		&cordonrec_port_col_network, &cordonrec_port_col_vlan_mode,
		&cordonrec_port_col_trunks, &cordonrec_port_col_macs, &cordonrec_port_col_addresses,
		&cordonrec_port_col_tags, &cordonrec_port_col_vm_id, &cordonrec_port_col_vm_name,
		&cordonrec_port_col_vm, &cordonrec_port_col_serves, &cordonrec_port_col_limits,
		&cordonrec_port_col_number, &cordonrec_port_col_error,
		&cordonrec_port_col_link_state};
	struct ovsdb_idl *idl = ovsdb_idl_create(remote, &cordonrec_idl_class, false, true);

	ovsdb_idl_set_leader_only(idl, false);
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		ovsdb_idl_add_column(idl, columns[i]);
	for (size_t i = 0; i < CORDONREC_VM_N_COLUMNS; i++)
		ovsdb_idl_add_column(idl, &cordonrec_vm_columns[i]);
	for (size_t i = 0; i < CORDONREC_VM_VNIC_N_COLUMNS; i++)
		ovsdb_idl_add_column(idl, &cordonrec_vm_vnic_columns[i]);
	for (size_t i = 0; i < CORDONREC_VM_DISK_N_COLUMNS; i++)
		ovsdb_idl_add_column(idl, &cordonrec_vm_disk_columns[i]);
	/* What this process writes itself is no news to it, but for what a new database has
	 * forgotten. */
	ovsdb_idl_omit_alert(idl, &cordonrec_vm_col_statistics);
	return idl;
}

static const struct cordonrec_host *own_host(const struct hostd *hostd)
{
	const struct cordonrec_host *host;

	CORDONREC_HOST_FOR_EACH (host, hostd->idl) {
		if (!strcmp(host->name, hostd->options->host))
			return host;
	}
	return NULL;
}

/* --- From rows to wishes -------------------------------------------------------------------- */

static bool option_is_on(const struct cordonrec_vm *vm, const char *name)
{
	return strcmp(smap_get_def(&vm->options, name, "on"), "off") != 0;
}

static int by_vnic(const void *a_, const void *b_)
{
	const struct vm_vnic_wish *a = a_, *b = b_;

	return (a->position > b->position) - (a->position < b->position);
}

static int by_disk(const void *a_, const void *b_)
{
	const struct vm_disk_wish *a = a_, *b = b_;

	return (a->position > b->position) - (a->position < b->position);
}

static void read_vnics(const struct cordonrec_vm *vm, struct vm_wish *wish)
{
	for (size_t i = 0; i < vm->n_vnics && wish->n_vnics < VM_VNICS_MAX; i++) {
		const struct cordonrec_vm_vnic *row = vm->vnics[i];

		wish->vnics[wish->n_vnics++] = (struct vm_vnic_wish){
			.position = (unsigned int)row->position,
			.mac = xstrdup(row->mac),
			.queues = (unsigned int)row->queues,
			.mtu = row->n_mtu ? (unsigned int)*row->mtu : 0,
		};
	}
	qsort(wish->vnics, wish->n_vnics, sizeof(wish->vnics[0]), by_vnic);
}

static enum vm_disk_format format_of(const char *name)
{
	return !strcmp(name, "qcow2")	     ? VM_DISK_QCOW2
	       : !strcmp(name, "vmdk")	     ? VM_DISK_VMDK
	       : !strcmp(name, "vhost-user") ? VM_DISK_VHOST_USER
					     : VM_DISK_RAW;
}

static void read_disks(const struct cordonrec_vm *vm, struct vm_wish *wish)
{
	for (size_t i = 0; i < vm->n_disks && wish->n_disks < VM_DISKS_MAX; i++) {
		const struct cordonrec_vm_disk *row = vm->disks[i];

		wish->disks[wish->n_disks++] = (struct vm_disk_wish){
			.position = (unsigned int)row->position,
			.format = format_of(row->format),
			.path = xstrdup(row->path),
			.direct = xstrdup(row->direct),
			.serial = xstrdup(row->serial),
			.read_only = row->read_only,
		};
	}
	qsort(wish->disks, wish->n_disks, sizeof(wish->disks[0]), by_disk);
}

static struct vm_wish read_wish(const struct cordonrec_vm *vm)
{
	struct vm_wish wish = {
		.uuid = xasprintf(UUID_FMT, UUID_ARGS(&vm->header_.uuid)),
		.name = xstrdup(vm->name),
		.vcpus = (unsigned int)vm->vcpus,
		.memory_mib = (unsigned int)vm->memory_mib,
		.pages = xstrdup(vm->pages),
		.kernel = xstrdup(vm->kernel),
		.initrd = xstrdup(vm->initrd),
		.command_line = xstrdup(vm->command_line),
		.cpu_mask = xstrdup(vm->cpu_mask),
		.user = xstrdup(smap_get_def(&vm->options, "user", "")),
		.rng = option_is_on(vm, "rng"),
		.balloon = option_is_on(vm, "balloon"),
		.console = option_is_on(vm, "console"),
		.split_irqchip = !strcmp(smap_get_def(&vm->options, "irqchip", ""), "split"),
		.balloon_mib = (unsigned int)vm->balloon_mib,
		.wanted = !strcmp(vm->wanted, "running")  ? VM_WANTED_RUNNING
			  : !strcmp(vm->wanted, "paused") ? VM_WANTED_PAUSED
							  : VM_WANTED_STOPPED,
		.at_once = vm->at_once,
		.start_request = vm->start_request,
		.restart = !strcmp(vm->restart, "always")	? VM_RESTART_ALWAYS
			   : !strcmp(vm->restart, "on-failure") ? VM_RESTART_ON_FAILURE
								: VM_RESTART_NO,
		.stop_ms = MIN(smap_get_uint(&vm->options, "stop-seconds", 60), SECONDS_MAX) * 1000,
		.restart_limit = smap_get_uint(&vm->options, "restart-limit", 5),
		.restart_ms =
			MIN(smap_get_uint(&vm->options, "restart-seconds", 1), SECONDS_MAX) * 1000,
	};

	read_vnics(vm, &wish);
	read_disks(vm, &wish);
	return wish;
}

/* --- From wishes to guests ------------------------------------------------------------------ */

static enum vm_state state_of(const struct cordonrec_vm *vm)
{
	for (int i = 0; vm->state && i < VM_N_STATES; i++) {
		if (!strcmp(vm->state, vm_state_name((enum vm_state)i)))
			return (enum vm_state)i;
	}
	return VM_STOPPED;
}

/* What the process before this one has written is where this one goes on. */
static struct guest *remember(
	struct hostd *hostd, const struct cordonrec_vm *vm, struct vm_wish *wish)
{
	struct guest *guest = guest_create(hostd, wish, state_of(vm));

	guest->start_reached = vm->start_reached;
	guest->restarts = vm->restarts;
	guest->error = vm->error ? xstrdup(vm->error) : NULL;
	guest->has_outcome =
		vm->last_outcome && vm_outcome_from_name(vm->last_outcome, &guest->outcome);
	if (vm->since)
		guest->since_ms = vm->since;
	return guest;
}

/* One that was deleted and still ends has the directory until it is gone. */
static bool name_is_taken(const struct hostd *hostd, const char *name)
{
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &hostd->guests) {
		const struct guest *guest = node->data;

		if (guest->deleted && !strcmp(guest->wish.name, name))
			return true;
	}
	return false;
}

/* A name is a directory's, in which files are made and removed: `cordon vm create` takes no other,
 * but the database would. */
static void read_vm(struct hostd *hostd, const struct cordonrec_vm *vm)
{
	struct vm_wish wish;
	struct guest *guest;

	if (!vm_name_is_usable(vm->name)) {
		VLOG_WARN_RL(
			&limit, "VM '%.100s' is left alone: its name is no file name", vm->name);
		return;
	}
	wish = read_wish(vm);
	guest = shash_find_data(&hostd->guests, wish.uuid);
	if (guest) {
		guest_set_wish(guest, &wish);
	} else if (!name_is_taken(hostd, wish.name)) {
		char *uuid = xstrdup(wish.uuid);

		guest = remember(hostd, vm, &wish);
		shash_add_nocopy(&hostd->guests, uuid, guest);
	}
	vm_wish_destroy(&wish);
	if (!guest)
		return;
	free(guest->ports_trouble);
	guest->ports_trouble = NULL;
	guest->ports_ready = ports_ready(hostd, vm, &guest->ports_trouble);
}

static const struct cordonrec_vm *find_row(const struct hostd *hostd, const char *key)
{
	struct uuid uuid;

	return uuid_from_string(&uuid, key) ? cordonrec_vm_get_for_uuid(hostd->idl, &uuid) : NULL;
}

static void read_replica(struct hostd *hostd)
{
	const struct cordonrec_host *host = own_host(hostd);
	const struct cordonrec_vm *vm;
	struct shash_node *node;

	if (!host) {
		VLOG_WARN_ONCE(
			"the database has no host %s; `cordon up` adds it", hostd->options->host);
		return;
	}
	SHASH_FOR_EACH (node, &hostd->guests) {
		struct guest *guest = node->data;

		vm = find_row(hostd, node->name);
		guest->deleted = !vm || vm->host != host;
	}
	CORDONREC_VM_FOR_EACH(vm, hostd->idl)
	{
		if (vm->host == host)
			read_vm(hostd, vm);
	}
	if (!hostd->read_once)
		guests_find_leftovers(hostd);
	hostd->read_once = true;
	hostd->unwritten = true;
}

/* --- Writing back --------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static void write_statistics(struct guest *guest, const struct cordonrec_vm *vm)
{
	const struct counts *counts = &guest->counts;

	/* A database that was away has forgotten what was in it. */
	if (!guest->counts_changed && !(counts->n && !vm->n_statistics))
		return;
	cordonrec_vm_set_statistics(vm, (const char **)counts->names, counts->values, counts->n);
	guest->counts_changed = false;
	guest->counts_written = true;
}

static bool same_balloon(
	const struct cordonrec_vm *vm, const char **names, const int64_t *values, size_t n)
{
	bool same = vm->n_balloon == n;

	/* Both are in the order of their names, as maps are in the replica. */
	for (size_t i = 0; same && i < n; i++)
		same = !strcmp(vm->key_balloon[i], names[i]) && vm->value_balloon[i] == values[i];
	return same;
}

static void write_balloon(const struct guest *guest, const struct cordonrec_vm *vm)
{
	const struct vmm_balloon *balloon = &guest->balloon;
	const char *names[] = {"driver", "given_bytes", "target_bytes"};
	const int64_t values[] = {balloon->driver, balloon->given_bytes, balloon->target_bytes};
	size_t n = balloon->present ? ARRAY_SIZE(names) : 0;

	if (!same_balloon(vm, names, values, n))
		cordonrec_vm_set_balloon(vm, names, values, n);
}

static void write_vm(struct guest *guest, const struct cordonrec_vm *vm)
{
	const char *state = vm_state_name(guest->state);
	const char *outcome = guest->has_outcome ? vm_outcome_name(guest->outcome) : NULL;
	int64_t pid = guest->vmm.process.pid;

	if (!same_text(vm->state, state))
		cordonrec_vm_set_state(vm, state);
	if (vm->since != guest->since_ms)
		cordonrec_vm_set_since(vm, guest->since_ms);
	if (!same_text(vm->error, guest->error))
		cordonrec_vm_set_error(vm, guest->error);
	if (!same_text(vm->last_outcome, outcome))
		cordonrec_vm_set_last_outcome(vm, outcome);
	if (vm->restarts != guest->restarts)
		cordonrec_vm_set_restarts(vm, guest->restarts);
	if (vm->start_reached != guest->start_reached)
		cordonrec_vm_set_start_reached(vm, guest->start_reached);
	if ((vm->n_pid ? *vm->pid : 0) != pid)
		cordonrec_vm_set_pid(vm, &pid, pid ? 1 : 0);
	write_balloon(guest, vm);
	write_statistics(guest, vm);
}

static void begin_transaction(struct hostd *hostd)
{
	const struct cordonrec_host *host = own_host(hostd);
	const struct shash_node *node;

	if (!host)
		return;
	hostd->txn = ovsdb_idl_txn_create(hostd->idl);
	hostd->written_at = ovsdb_idl_get_seqno(hostd->idl);
	hostd->unwritten = false;
	SHASH_FOR_EACH (node, &hostd->guests) {
		struct guest *guest = node->data;
		const struct cordonrec_vm *vm = find_row(hostd, node->name);

		if (!vm || guest->deleted)
			continue;
		/* The switch is not led to the VMM of another VM that had the name. */
		if (guest->probed && guest->vmm.presence != VMM_UNKNOWN &&
			guest->vmm.presence != VMM_FOREIGN) {
			ports_write(hostd, host, vm, guest_has_run(guest), guest->ask_ports);
			guest->asking_ports = guest->ask_ports;
		}
		if (guest->probed)
			write_vm(guest, vm);
	}
}

/* The replica has what was written by now: the answers that it has are to these questions. */
static void end_writing(struct hostd *hostd, bool done)
{
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &hostd->guests) {
		struct guest *guest = node->data;

		if (done && guest->asking_ports)
			guest->ask_ports = false;
		guest->counts_changed |= guest->counts_written && !done;
		guest->asking_ports = guest->counts_written = false;
	}
}

static void run_transaction(struct hostd *hostd)
{
	enum ovsdb_idl_txn_status status = ovsdb_idl_txn_commit(hostd->txn);

	if (status == TXN_INCOMPLETE)
		return;
	if (status != TXN_SUCCESS && status != TXN_UNCHANGED) {
		/* Somebody else was quicker: when the replica knows, or a little later. */
		hostd->write_again = time_msec() + AGAIN_MS;
		if (status == TXN_ERROR)
			VLOG_INFO(
				"the database refused what was observed, which is tried again: %s",
				ovsdb_idl_txn_get_error(hostd->txn));
	} else {
		hostd->write_again = 0;
	}
	end_writing(hostd, status == TXN_SUCCESS || status == TXN_UNCHANGED);
	ovsdb_idl_txn_destroy(hostd->txn);
	hostd->txn = NULL;
}

static bool write_is_due(const struct hostd *hostd)
{
	if (hostd->txn || !hostd->read_once || !ovsdb_idl_is_connected(hostd->idl))
		return false;
	if (hostd->write_again)
		return time_msec() >= hostd->write_again ||
		       ovsdb_idl_get_seqno(hostd->idl) != hostd->written_at;
	return hostd->unwritten;
}

void replica_note(struct hostd *hostd)
{
	hostd->unwritten = true;
}

void replica_run(struct hostd *hostd)
{
	unsigned int now;

	ovsdb_idl_run(hostd->idl);
	now = ovsdb_idl_get_seqno(hostd->idl);
	if (ovsdb_idl_has_ever_connected(hostd->idl) && now != hostd->seen) {
		hostd->seen = now;
		read_replica(hostd);
	}
	if (write_is_due(hostd))
		begin_transaction(hostd);
	if (hostd->txn)
		run_transaction(hostd);
}

void replica_wait(const struct hostd *hostd)
{
	ovsdb_idl_wait(hostd->idl);
	if (hostd->txn)
		ovsdb_idl_txn_wait(hostd->txn);
	else if (hostd->write_again)
		poll_timer_wait_until(hostd->write_again);
	if (write_is_due(hostd))
		poll_immediate_wake();
}

void replica_close(struct hostd *hostd)
{
	if (hostd->txn)
		ovsdb_idl_txn_destroy(hostd->txn);
	ovsdb_idl_destroy(hostd->idl);
}
