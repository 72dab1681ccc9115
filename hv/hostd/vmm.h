/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest's cordon-vmm: starting it, taking over one that runs, its control socket, and what it
 * says of itself.
 *
 *	DIRECTORY/control.sock	the VMM listens
 *	DIRECTORY/vnicN.sock	the VMM listens, the switch connects
 *	DIRECTORY/diskN.sock	a storage daemon listens, the VMM connects
 *	DIRECTORY/pid		its number
 *	DIRECTORY/outcome	how it ended, by itself
 *	DIRECTORY/log		what it had to say
 *
 * Main thread; nothing waits.
 */
#ifndef HV_HOSTD_VMM_H
#define HV_HOSTD_VMM_H

#include "hv/hostd/control_client.h"
#include "hv/hostd/counts.h"
#include "hv/hostd/decide.h"
#include "hv/hostd/detached.h"
#include "hv/hostd/wish.h"

/* What it has told of its balloon last.  All zeros: nothing yet. */
struct vmm_balloon {
	bool known;
	bool present; /* It has one, */
	bool driver;  /* which its guest drives. */
	int64_t target_bytes, given_bytes;
	char *refusal; /* Why it did not take `refused_bytes` for its target, or NULL. */
	int64_t refused_bytes;
};

struct vmm {
	/* Immutable. */
	char *directory;
	char *program;
	/* Read by others. */
	enum vmm_presence presence;
	enum vmm_machine machine;
	bool linked;	      /* The switch has connected to every vNIC. */
	bool silent;	      /* It does not answer, or does not speak the protocol. */
	char *refusal;	      /* A sentence: what it has refused last, or NULL. */
	struct counts counts; /* As it said last. */
	struct vmm_balloon balloon;
	struct detached process;
	long long int started_ms; /* time_msec(), of ours; of one taken over, of that moment. */
	/* Its own. */
	struct control_client *control;
	char *uuid; /* Whose it must be. */
	long long int next_connect, next_status;
	bool metrics_wanted;
	int64_t balloon_asked;
};

void vmm_init(struct vmm *vmm, const char *program, const char *directory, const char *uuid);
void vmm_destroy(struct vmm *vmm); /* Lets it run on. */

/* The arguments, ended by NULL, of a guest; the caller frees with vmm_free_arguments(). */
char **vmm_arguments(const char *program, const char *directory, const struct vm_wish *wish);
void vmm_free_arguments(char **arguments);

/* Starts it, paused.  `groups` as in struct detached_start.  0, or a negative errno. */
int vmm_start(
	struct vmm *vmm, const struct vm_wish *wish, const int *groups, unsigned int n_groups);

/* How the last one ended is told no more: another one is being started. */
void vmm_forget_outcome(const struct vmm *vmm);

/* Looks whether one runs, and takes it over: presence is VMM_ABSENT or VMM_UNKNOWN then. */
void vmm_probe(struct vmm *vmm);

/* Takes in what it says.  True once it has ended: presence is VMM_ABSENT, and *end says how. */
bool vmm_run(struct vmm *vmm, struct detached_end *end);
void vmm_wait(const struct vmm *vmm);

/* Has it tell what it counts, and of its balloon. */
void vmm_ask_metrics(struct vmm *vmm);
/* True until it has. */
bool vmm_owes_metrics(const struct vmm *vmm);

/* Tells how much its guest is to give back, unless that was refused or is under way. */
void vmm_set_balloon(struct vmm *vmm, int64_t bytes);

/* "resume", "pause", "power-button", "stop".  One that does not answer cannot be told. */
void vmm_tell(struct vmm *vmm, const char *command);

#endif
