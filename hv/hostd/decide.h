/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do next about a guest, as functions of what is wanted and what is known: no time, no
 * process and no socket in here, so that each case is a row of a test.
 *
 *	vm_decide()	again and again, whenever something has changed: one small step at a time
 *	vm_decide_end()	once, when a VMM has ended: is it started again, and when?
 *
 *	stopped -> starting -> running <-> paused
 *	   ^          |  ^        |
 *	   |          v  |        v
 *	stopping   waiting <-- (ended by a failure) --> failed
 *	                       (ended by itself)    --> ended
 */
#ifndef HV_HOSTD_DECIDE_H
#define HV_HOSTD_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/hostd/wish.h"

/* As the database's column VM.state has it. */
enum vm_state {
	VM_STOPPED,  /* As wanted. */
	VM_STARTING, /* No guest instruction has run yet. */
	VM_RUNNING,
	VM_PAUSED,
	VM_STOPPING,
	VM_ENDED,   /* It has switched itself off, and is left so until it is started anew. */
	VM_WAITING, /* It has failed, and is started again after a pause. */
	VM_FAILED,  /* It has failed, and is left so until it is started anew. */
	VM_N_STATES
};

const char *vm_state_name(enum vm_state state);

enum vmm_presence {
	VMM_UNKNOWN, /* Somebody listens at its socket, and has not said yet who he is. */
	VMM_ABSENT,
	VMM_STARTING, /* There is a process, whose control socket does not answer yet. */
	VMM_PRESENT,
	VMM_FOREIGN, /* Another VM's, of the same name, that is gone from the database. */
};

enum vmm_machine { MACHINE_IS_STARTING, MACHINE_IS_RUNNING, MACHINE_IS_PAUSED, MACHINE_IS_ENDING };

enum vm_storage {
	STORAGE_NOT_NEEDED,
	STORAGE_ABSENT,
	STORAGE_STARTING,
	STORAGE_READY,
	STORAGE_ENDING, /* What served the last run still writes to the images. */
	STORAGE_N_STATES
};

struct vm_view {
	/* What is wanted. */
	enum vm_wanted wanted;
	bool at_once;
	bool start_asked; /* It was said since it was started last. */
	bool deleted;	  /* It is gone from the database. */
	/* What is known. */
	enum vm_state state; /* As decided last. */
	enum vmm_presence vmm;
	enum vmm_machine machine; /* Of one that is VMM_PRESENT. */
	enum vm_storage storage;
	bool ports_ready;    /* The switch has taken its vNICs in. */
	bool retry_due;	     /* The pause after a failure is over. */
	bool button_pressed; /* It was asked to shut down, */
	bool stop_overdue;   /* and has had the time for it. */
	bool stop_sent;	     /* Its VMM was told to end, */
	bool kill_due;	     /* and has had the time for it. */
};

enum vm_action {
	VM_NOTHING,
	VM_START_STORAGE,
	VM_START_VMM, /* Paused, before its first instruction. */
	VM_RESUME,
	VM_PAUSE,
	VM_PRESS_BUTTON,
	VM_STOP, /* Tell the VMM to end. */
	VM_KILL,
	VM_STOP_STORAGE,
	VM_FORGET, /* Nothing is left of one that was deleted. */
};

struct vm_decision {
	enum vm_action action;
	enum vm_state state; /* From now on. */
	bool start_done;     /* What was asked by start_asked has been done. */
};

struct vm_decision vm_decide(const struct vm_view *view);

/* How a VMM ended.  As the database's column VM.last_outcome has it. */
enum vm_outcome {
	VM_SHUTDOWN,	/* The guest switched itself off. */
	VM_RESET,	/* It asked for a reset. */
	VM_WAS_STOPPED, /* Somebody told its VMM to end. */
	VM_GUEST_FAULT,
	VM_VMM_FAULT,
	VM_NOT_STARTED,
	VM_N_OUTCOMES
};

const char *vm_outcome_name(enum vm_outcome outcome);
/* By name; false if there is none of that name. */
bool vm_outcome_from_name(const char *name, enum vm_outcome *outcome);
/* Of a process that exited with this status. */
enum vm_outcome vm_outcome_from_status(int status);

enum { VM_GOOD_WHILE_MS = 60000, VM_PAUSE_MAX_MS = 60000 };

struct vm_end {
	enum vm_outcome outcome;
	enum vm_wanted wanted;
	enum vm_restart restart;
	bool deleted, start_asked;
	int64_t ran_ms;	       /* VM_GOOD_WHILE_MS and more makes former failures forgotten. */
	unsigned int failures; /* Quick ends in a row before this one. */
	unsigned int restart_limit, restart_ms; /* As in struct vm_wish. */
};

struct vm_end_decision {
	enum vm_state state;
	unsigned int failures; /* From now on. */
	unsigned int pause_ms; /* In VM_WAITING. */
	bool gave_up;	       /* It would be started again if it had not failed so often. */
};

struct vm_end_decision vm_decide_end(const struct vm_end *end);

#endif
