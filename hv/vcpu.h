/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A processor of the guest: a thread that runs it in KVM, and handles what it leaves KVM for.
 *
 *	vcpu_create -> vcpu_set_cpuid, vcpu_reset, vcpu_enter_at -> vcpu_start -> (vcpu_kick) ->
 *	vcpu_join -> vcpu_destroy
 *
 * How a processor is stopped without a lost wake-up.  Whoever wants it out of KVM_RUN holds the
 * machine's lock, sets machine->held, then immediate_exit, and then sends the thread a signal.  The
 * thread looks at both before each KVM_RUN; if they were set only after that look, immediate_exit
 * makes KVM_RUN return at once, and if KVM_RUN was entered already, the signal ends it.  The thread
 * clears immediate_exit, with the lock held, when the machine runs again; and `stopped`, which it
 * alone writes, so that it is true from the beginning until the thread itself has seen that the
 * machine runs.
 */
#ifndef HV_VCPU_H
#define HV_VCPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/boot.h"
#include "hv/error.h"
#include "hv/machine.h"
#include "hv/seccomp.h"
#include "hv/signal_stack.h"

/* Why processors leave KVM, for metrics. */
enum vcpu_exit {
	VCPU_EXIT_PORT,	       /* An I/O port of a device. */
	VCPU_EXIT_MMIO,	       /* Memory of a device. */
	VCPU_EXIT_INTERRUPTED, /* A signal: pause or stop. */
	VCPU_EXIT_OTHER,
	VCPU_N_EXITS,
};

struct vcpu {
	/* Immutable. */
	struct machine *machine;
	unsigned int index; /* Its APIC id, too. */
	int fd;
	struct kvm_run *run; /* Shared with KVM. */
	uint32_t run_bytes;
	const struct seccomp *seccomp;
	/* The thread's; counters are read by others. */
	pthread_t thread;
	struct signal_stack signal_stack;
	_Atomic uint64_t exits[VCPU_N_EXITS];
	/* With the machine's lock held. */
	bool started;  /* There is a thread to be joined. */
	bool confined; /* It has entered its list of system calls, or could not: */
	int status;    /* a negative errno, and why. */
	bool stopped;  /* It is out of KVM_RUN, and stays out while machine->held. */
	struct hv_error error;
};

/* One of the machine's processors, not running yet.  0, or a negative errno and a sentence. */
int vcpu_create(
	struct vcpu **vcpu, struct machine *machine, unsigned int index, struct hv_error *error);
void vcpu_destroy(struct vcpu *vcpu);

/* The boot processor's registers. */
int vcpu_enter_at(struct vcpu *vcpu, const struct boot_entry *entry, struct hv_error *error);

/* Starts the thread, which waits until machine->held is false.  Machine's lock not held. */
int vcpu_start(struct vcpu *vcpu, const struct seccomp *seccomp, struct hv_error *error);

/* Gets the processor out of KVM_RUN.  Machine's lock held, machine->held set. */
void vcpu_kick(struct vcpu *vcpu);

/* Waits for the thread's end, if there is one.  Machine's lock not held, state MACHINE_ENDING. */
void vcpu_join(struct vcpu *vcpu);

/* Processor time of the thread, in nanoseconds. */
uint64_t vcpu_time_ns(const struct vcpu *vcpu);

/* "port", "mmio", ... */
const char *vcpu_exit_name(enum vcpu_exit reason);

/* Handles what KVM_RUN ended with (vcpu_exit.c).  The thread's. */
void vcpu_handle_exit(struct vcpu *vcpu);

/* Ends the machine because KVM_RUN itself failed (vcpu_exit.c).  The thread's. */
void vcpu_fail(struct vcpu *vcpu, int code);

#endif
