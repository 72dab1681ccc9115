/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The umbrella header of cordon-hostd, which makes the guests of one host match the database.
 *
 *	main.c -> replica.c (rows to wishes)  -> guest.c (decide.c, vmm.c, storage.c, cgroup.c)
 *	       <- replica.c (what was observed, ports.c: the vNICs' ports)
 *	       <- statistics.c (what guests use)
 *
 * One thread, one loop; nothing waits but poll_block().  VMMs and storage daemons outlive this
 * process, and are taken over by the next one.  The database may go away: guests then go on as they
 * are, and what is known of their wishes still holds.
 */
#ifndef HV_HOSTD_HOSTD_H
#define HV_HOSTD_HOSTD_H

#include <stdbool.h>
#include <stdint.h>

#include "cordon-idl.h"
#include "hv/hostd/cgroup.h"
#include "hv/hostd/storage.h"
#include "hv/hostd/vmm.h"
#include "openvswitch/shash.h"

/* From the command line. */
struct hostd_options {
	char *run_directory, *host, *database;
	char *vmm, *storage_daemon; /* Paths of programs. */
};

void hostd_options_parse(int argc, char *argv[], struct hostd_options *options);
void hostd_options_free(struct hostd_options *options);

struct hostd {
	const struct hostd_options *options;
	struct ovsdb_idl *idl;
	struct ovsdb_idl_txn *txn; /* Under way, or NULL. */
	unsigned int seen;	   /* The replica's number when it was read last. */
	unsigned int written_at;   /* Its number when a transaction was begun last, */
	long long int write_again; /* which is tried again then if it failed. */
	bool unwritten;		   /* Something is to be written. */
	bool read_once;		   /* The replica has been there, with this host in it. */
	/* Until then (time_msec()) all guests are to end, and stay as they are wanted: 0, not at
	 * all; LLONG_MAX, for good.  Whoever asks for it asks again and again while he waits, so
	 * that it does not outlive him. */
	long long int leaving_until;
	bool quit;
	struct cgroups *cgroups;
	struct shash guests;		       /* By the VM's UUID. */
	long long int ask_counts_at, count_by; /* count_by 0: nothing was asked. */
	long long int started_ms;
};

/* --- One guest (guest.c) -------------------------------------------------------------------- */

struct guest {
	struct hostd *hostd;
	char *directory;
	struct vm_wish wish;
	bool deleted; /* From the database. */
	/* Observed: what is written back. */
	enum vm_state state;
	char *error; /* A sentence, or NULL. */
	bool has_outcome;
	enum vm_outcome outcome;
	int64_t since_ms; /* Since 1970. */
	int64_t restarts, start_reached;
	struct counts counts;
	bool counts_changed, counts_written; /* Written: in the transaction under way. */
	struct vmm_balloon balloon;	     /* As it is to be written; without the refusal. */
	/*
	 * Its ports, as replica.c has found them.  Before each start the switch is asked anew
	 * whether they are in force: what it has said may be old, and the switch gone since.
	 * "Asking" is while the question is in the transaction that is under way.
	 */
	bool ports_ready, ask_ports, asking_ports;
	char *ports_trouble; /* A sentence, or NULL. */
	/* Its own. */
	struct vmm vmm;
	struct storage storage;
	bool probed;
	bool button_pressed, stop_sent;
	bool ends_for_leaving; /* So it was asked to, and not because somebody wants it to end. */
	long long int stop_deadline; /* For what of these was done last. */
	long long int retry_at, resume_by;
	unsigned int failures; /* Quick ends in a row. */
};

/* Takes `wish` over, for a VM that is new here.  What the database remembers of it is the state
 * that it begins with. */
struct guest *guest_create(struct hostd *hostd, struct vm_wish *wish, enum vm_state remembered);
void guest_destroy(struct guest *guest); /* Lets it run on. */
void guest_set_wish(struct guest *guest, struct vm_wish *wish);

/* Does the next steps.  False once nothing is left of a deleted one, which is then destroyed by the
 * caller. */
bool guest_run(struct guest *guest);
void guest_wait(const struct guest *guest);

/* Has its VMM ask as much memory back as is wanted, and observes what came of it. */
void guest_run_balloon(struct guest *guest);
/* Why nothing is given back that should be, as a sentence that the caller frees; else NULL. */
char *guest_balloon_trouble(const struct guest *guest);

/* When it is to end the next time, its power button is pressed again. */
void guest_ask_anew(struct guest *guest);

/* True if it runs, or is about to. */
bool guest_is_alive(const struct guest *guest);
/* True if a guest instruction has run, and none of a next start will before it has ended. */
bool guest_has_run(const struct guest *guest);

/* What is left in the run directory of VMs that are not in the database any more. */
void guests_find_leftovers(struct hostd *hostd);

/* True while all guests are to end. */
bool hostd_is_leaving(const struct hostd *hostd);

/* --- What guests use (statistics.c) --------------------------------------------------------- */

/* Takes *counts over, and has them written if they are other than before. */
void guest_set_counts(struct guest *guest, struct counts *counts);

void statistics_run(struct hostd *hostd);
void statistics_wait(const struct hostd *hostd);

/* --- The database (replica.c, ports.c) ------------------------------------------------------ */

struct ovsdb_idl *replica_open(const char *remote);
void replica_run(struct hostd *hostd);
void replica_wait(const struct hostd *hostd);
void replica_close(struct hostd *hostd);
/* What guest.c has observed is to be written. */
void replica_note(struct hostd *hostd);

/* Makes, corrects and removes the ports of a VM's vNICs within the transaction that is being built,
 * and clears the state of those that were changed, or of all if `ask`: the switch writes it anew.
 * What a guest that runs cannot follow (MAC, queues, MTU) is left until it is started anew. */
void ports_write(struct hostd *hostd, const struct cordonrec_host *host,
	const struct cordonrec_vm *vm, bool runs, bool ask);
/* Whether the switch has taken them in, or else a sentence, which the caller frees. */
bool ports_ready(const struct hostd *hostd, const struct cordonrec_vm *vm, char **trouble);

/* --- Answers to `cordon` (answers.c) -------------------------------------------------------- */

void answers_register(struct hostd *hostd);

#endif
