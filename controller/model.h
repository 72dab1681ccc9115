/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The desired-state model: every transaction by which a person or program changes what Cordon is to
 * do.  Used by `cordon` and by the controller; the switch only reads what is written here, and
 * writes back what it observed.
 *
 * A `struct model` is a connection to the database with a replica of its content (the Open vSwitch
 * IDL).  One thread.  The replica's rows (controller/cordon-idl.h, generated) are read directly.
 * Every function that changes something is one transaction, validated whole before it is sent, and
 * waits for the outcome at most `timeout_ms`.
 */
#ifndef CONTROLLER_MODEL_H
#define CONTROLLER_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "cordon-idl.h"

struct model;

/* Why a call did not do what it should.  The CLI's exit statuses are made from these. */
enum model_result {
	MODEL_OK,
	MODEL_UNREACHABLE, /* No database answered in time. */
	MODEL_INVALID,	   /* What was asked for makes no sense; nothing was sent. */
	MODEL_NOT_FOUND,
	MODEL_EXISTS,
	MODEL_CONFLICT, /* Somebody else changed it meanwhile; nothing was changed. */
	MODEL_FAILED,	/* The database refused it. */
};

struct model_error {
	enum model_result result;
	char message[512]; /* Names the thing, the value and the next step. */
};

/* Connects to `remote` ("unix:/run/cordon/db.sock") and waits for the first whole replica. */
struct model *model_open(const char *remote, unsigned int timeout_ms, struct model_error *error);
void model_close(struct model *model); /* Accepts NULL. */
struct ovsdb_idl *model_idl(struct model *model);

/* The root row, or NULL in a database that nothing has set up. */
const struct cordonrec_cordon *model_root(struct model *model);
const struct cordonrec_host *model_host(struct model *model, const char *name);
const struct cordonrec_port *model_port(struct model *model, const char *host, const char *name);
const struct cordonrec_network *model_network(struct model *model, const char *name);
const struct cordonrec_log_sink *model_sink(struct model *model, const char *name);
const struct cordonrec_vm *model_vm(struct model *model, const char *host, const char *name);
/* Without its document: see model_policy_document(). */
const struct cordonrec_policy_revision *model_revision(struct model *model, int64_t number);

/* Makes the root row, this host's row and the default log sink if they are not there. */
enum model_result model_initialize(
	struct model *model, const char *host, struct model_error *error);

/* What `cordon port add|set` may say.  A NULL string or a negative number leaves the column as it
 * is (its default, on adding).  Lists are comma-separated; "" empties them, and a limit of 0 is
 * none, or MODEL_LIMIT_DEFAULT: what the switch does if nobody says anything.  Within an option's
 * value, a comma is written "\,".
 *
 * Defaults: role by type (dpdk and vxlan: uplink; internal: internal; else vnic); VLAN mode trunk
 * for an uplink or where trunks are given, else access.  A trunk without trunks carries all VLANs.
 * The port's number is the lowest free one on its host, and stays. */
struct model_port_change {
	const char *name, *host, *type, *role;
	const char *options; /* "key=value,..." */
	const char *network;
	const char *vlan_mode, *trunks; /* "access" or "trunk"; "10,20-29" */
	const char *macs, *addresses, *tags, *vm_id, *vm_name;
	const char *serves; /* "dhcp", "router", both, or "none"; "": as its role has it. */
	int spoof_guard;    /* 0, 1, or -1. */
	int64_t ingress_kbps, mac_limit, storm_pps, connection_limit, half_open_limit;
	int64_t new_connection_limit; /* In a second. */
};

enum { MODEL_LIMIT_DEFAULT = -2 };

enum model_result model_port_add(
	struct model *model, const struct model_port_change *change, struct model_error *error);
enum model_result model_port_set(
	struct model *model, const struct model_port_change *change, struct model_error *error);
enum model_result model_port_delete(
	struct model *model, const char *host, const char *name, struct model_error *error);

/* vlan or vni is -1 if not given; exactly one must be. */
enum model_result model_network_add(struct model *model, const char *name, int64_t vlan,
	int64_t vni, const char *comment, struct model_error *error);
enum model_result model_network_delete(
	struct model *model, const char *name, struct model_error *error);

/* Sinks of the traffic log.  Each of the words is "key=value", an option of log/sink_options.h, or
 * "key=", the default again; all are checked before anything is written. */
enum model_result model_sink_add(struct model *model, const char *name, const char *type,
	const char *const *words, size_t n_words, struct model_error *error);
enum model_result model_sink_set(struct model *model, const char *name, const char *const *words,
	size_t n_words, struct model_error *error);
enum model_result model_sink_delete(
	struct model *model, const char *name, struct model_error *error);

/* A revision that is wanted but not confirmed. */
struct model_policy_pending {
	int64_t revision;
	int64_t returns_to; /* Where every host goes back to, by itself... */
	int64_t confirm_by; /* ...at this second since 1970. */
};

/* What waits for confirmation.  False, and nothing in *pending, if nothing does. */
bool model_policy_pending(struct model *model, struct model_policy_pending *pending);

/* The newest revision, if it was not confirmed in time, so that another one is in force; else NULL.
 */
const struct cordonrec_policy_revision *model_policy_returned(struct model *model);

/* The revision that is to be in force at this moment; 0: none.  Not that of the root row if that
 * one was not confirmed in time and nobody has written it down yet. */
int64_t model_policy_wanted(struct model *model);

/* The document of a revision, which the replica leaves out; the caller frees.  NULL with *error. */
char *model_policy_document(struct model *model, int64_t number, struct model_error *error);

/* A new revision.  The document must have been validated by the caller (zone_policy_create()). */
struct model_policy_change {
	const char *document, *author, *comment;
	int64_t expected; /* The revision that the author had seen; -1: he does not care. */
	/* For so long the revision waits for model_policy_confirm(), and then every host goes back
	 * to what was confirmed last.  0: it is confirmed at once. */
	unsigned int confirm_seconds;
	bool rollback; /* It may take the place of one that waits without waiting itself. */
};

/* Makes it the one wanted, under the next number, which *number gets.  MODEL_CONFLICT: another than
 * `expected` is wanted, and the message says what came between; or one waits for confirmation. */
enum model_result model_policy_apply(struct model *model, const struct model_policy_change *change,
	int64_t *number, struct model_error *error);

/* Confirms revision *number, or with -1 whichever waits, which *number gets.  MODEL_CONFLICT if it
 * does not wait, or no longer. */
enum model_result model_policy_confirm(
	struct model *model, const char *author, int64_t *number, struct model_error *error);

/* Waits until every host has put exactly revision `number` into force, or one has refused it
 * (MODEL_FAILED with its reason), or another one is wanted (MODEL_CONFLICT), or the time is over
 * (MODEL_UNREACHABLE, naming the hosts that have not, and what is known of them). */
enum model_result model_policy_wait(
	struct model *model, int64_t number, unsigned int timeout_ms, struct model_error *error);

/* Waits until the switch has opened the port, or says why it could not. */
enum model_result model_port_wait(struct model *model, const char *host, const char *name,
	unsigned int timeout_ms, struct model_error *error);

/* --- Guests (model_vm.c) -------------------------------------------------------------------- */

enum { MODEL_VNICS_MAX = 16, MODEL_DISKS_MAX = 16 };

/* A vNIC.  Of `port`, network, macs (at most one; none: one is made up), addresses, tags, trunks,
 * serves and the limits count, read as for a port; the rest is NULL. */
struct model_vnic {
	struct model_port_change port;
	int64_t queues, mtu; /* -1: one queue; no MTU offered. */
};

struct model_disk {
	const char *path;   /* A file, or for "vhost-user" a socket.  Absolute. */
	const char *format; /* "raw" (NULL), "qcow2", "vmdk", "vhost-user". */
	const char *direct; /* "auto" (NULL), "on", "off". */
	const char *serial; /* At most 20 bytes; NULL: made from its place. */
	bool read_only;
};

/* What `cordon vm create|set` may say.  A NULL string or a negative number leaves the column as it
 * is (its default, on creating: 1 vCPU, 256 MiB, no vNIC, no disk, restart "no"). */
struct model_vm_change {
	const char *name, *host;
	const char *run_directory; /* Of that host, to check the sockets' paths; NULL: unknown. */
	int64_t vcpus, memory_mib;
	const char *pages; /* "auto", "huge", "small". */
	const char *kernel, *initrd, *command_line;
	const char *cpu_mask; /* CPU features to hide, by Linux's names: "xsave,smap". */
	const char *options;  /* "key=value,...", those of model_vm_options[]; "key=": the default.
			       */
	const char *restart;  /* "no", "on-failure", "always". */
	const struct model_vnic *vnics; /* All of them; NULL: as they are. */
	size_t n_vnics;
	const struct model_disk *disks; /* Likewise. */
	size_t n_disks;
};

/* An option of a VM, for help and checks; the array ends with a row of NULLs. */
struct model_vm_option {
	const char *name;
	const char *choices;	  /* "on off", or NULL: */
	int64_t minimum, maximum; /* a number, or if both are 0 a word. */
	const char *otherwise;	  /* The default. */
	const char *meaning;
};

extern const struct model_vm_option model_vm_options[];

enum model_result model_vm_create(
	struct model *model, const struct model_vm_change *change, struct model_error *error);

/* vNICs that keep their place keep their MAC unless they are given another one. */
enum model_result model_vm_set(
	struct model *model, const struct model_vm_change *change, struct model_error *error);

/* With its vNICs, their ports, and its disks' rows.  Refused while it runs, unless `force`. */
enum model_result model_vm_delete(struct model *model, const char *host, const char *name,
	bool force, struct model_error *error);

/* "running", "paused" or "stopped"; `at_once`: without asking the guest.  To be "running" also
 * means to be started once more, if it has ended or failed.  To be "paused", or "running" with
 * `only_resume`, is refused for one that is not wanted to run. */
struct model_vm_wish {
	const char *wanted;
	bool at_once, only_resume;
};
enum model_result model_vm_want(struct model *model, const char *host, const char *name,
	const struct model_vm_wish *wish, struct model_error *error);

/* How much of its memory a guest is to give back while it runs; 0: nothing.  MODEL_INVALID if that
 * is all it has, or more, or if it is to have no balloon. */
enum model_result model_vm_set_balloon(struct model *model, const char *host, const char *name,
	int64_t mib, struct model_error *error);

/* What cordon-hostd has observed of its balloon ("target_bytes", "given_bytes", "driver"); 0 if it
 * does not run, or has none. */
int64_t model_vm_balloon(const struct cordonrec_vm *vm, const char *key);

/* Waits until its VMM has been told, or there is none that could be (MODEL_OK).  MODEL_FAILED: it
 * refuses.  MODEL_UNREACHABLE: not in time. */
enum model_result model_vm_wait_balloon(struct model *model, const char *host, const char *name,
	unsigned int timeout_ms, struct model_error *error);

/* Waits until cordon-hostd has done what is wanted, or says why it could not (MODEL_FAILED).
 * MODEL_UNREACHABLE: not in time, and what it waits for. */
enum model_result model_vm_wait(struct model *model, const char *host, const char *name,
	unsigned int timeout_ms, struct model_error *error);

#endif
