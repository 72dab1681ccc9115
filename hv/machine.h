/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest: its memory, its processors, its devices, and what has become of it.
 *
 * Threads.  Each vCPU has one, which is in KVM_RUN or handles the exit that KVM_RUN ended with. The
 * main thread runs the event loop: devices' queues, back ends, the control socket.  There is one
 * lock, the machine's: a vCPU thread takes it for an access to a device (rare: notifications and
 * interrupts go through KVM's eventfds), the event loop holds it while it calls a source.  Frames
 * and disks of vhost-user back ends never pass through this process.
 */
#ifndef HV_MACHINE_H
#define HV_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/bus.h"
#include "hv/error.h"
#include "hv/event_loop.h"
#include "hv/guest_memory.h"
#include "hv/interrupts.h"
#include "hv/options.h"
#include "hv/seccomp.h"

/* How a guest ended: the process's exit status (docs/hv.md). */
enum machine_outcome {
	MACHINE_SHUTDOWN = 0, /* The guest switched itself off. */
	MACHINE_NOT_STARTED =
		1,	    /* Something that was asked for cannot be: no guest instruction ran. */
	MACHINE_USAGE = 2,  /* The command line is wrong. */
	MACHINE_RESET = 10, /* The guest asked for a reset: start it again. */
	MACHINE_GUEST_FAULT = 11, /* Triple fault, or an instruction that this host cannot run. */
	MACHINE_VMM_FAULT = 12,	  /* KVM or the host failed under the guest. */
	MACHINE_STOPPED = 13,	  /* `stop` on the control socket, SIGTERM or SIGINT. */
};

enum { MACHINE_REPORT_BYTES = 4096 };

enum machine_state { MACHINE_STARTING, MACHINE_RUNNING, MACHINE_PAUSED, MACHINE_ENDING };

struct ioapic;
struct vcpu;
struct pci_root;
struct power;

struct machine {
	/* Immutable once the guest runs. */
	int kvm_fd, vm_fd;
	unsigned int n_vcpus;
	struct vcpu **vcpus;
	struct guest_memory memory;
	struct event_loop *loop;
	struct interrupts *interrupts;
	struct ioapic *ioapic; /* NULL: KVM has it. */
	struct pci_root *pci;
	struct power *power; /* ACPI's sleep and reset registers, and its power button. */
	/* Held for everything below, and for all devices. */
	pthread_mutex_t lock;
	struct bus ports; /* I/O ports. */
	struct bus mmio;  /* Memory that is not the guest's. */
	enum machine_state state;
	enum machine_outcome outcome;	   /* In state MACHINE_ENDING. */
	char reason[HV_ERROR_BYTES];	   /* Why it ended, a sentence. */
	char report[MACHINE_REPORT_BYTES]; /* Registers, after a fault; or "". */
	/* vCPUs are to be out of KVM_RUN; written with the lock held, read by them without. */
	_Atomic bool held;
	pthread_cond_t vcpus_changed; /* One has stopped, or all may run, or `state` is another. */
	/* Processor time that this process had used when the first vCPU was let go, in nanoseconds,
	 * and the time of day then. */
	uint64_t start_cpu_ns;
	uint64_t start_ms;
};

/*
 * Opens KVM and makes the guest's memory, processors, interrupts and event loop, with nothing on
 * its buses.  `machine` is all zeros before; after a failure it may be destroyed, and needs not be.
 * 0, or a negative errno and a sentence.  Main thread.
 */
int machine_create(
	struct machine *machine, const struct vmm_options *options, struct hv_error *error);
void machine_destroy(struct machine *machine);

/*
 * Starts the vCPUs' threads, which confine themselves to what `seccomp` (or NULL) lets them do, and
 * wait.  To be called when everything is on the buses, from within the sandbox.
 */
int machine_start(struct machine *machine, const struct seccomp *seccomp, struct hv_error *error);

/*
 * Lets the guest run, or waits for machine_resume() first if `paused`; runs the event loop until
 * the machine ends, and returns when no vCPU runs any more.  Main thread; lock not held.
 */
enum machine_outcome machine_run(struct machine *machine, bool paused);

/* All with the machine's lock held. */

/* Ends the machine: vCPUs leave, the loop stops.  The first call counts; the format is the reason.
 */
void machine_end(struct machine *machine, enum machine_outcome outcome, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* vCPUs leave KVM_RUN and stay out of it; returns when all have.  And back.  -EINVAL in another
 * state. */
int machine_pause(struct machine *machine);
int machine_resume(struct machine *machine);

/* ACPI's power button is pressed: the guest shuts down if it cares for it. */
void machine_press_power_button(struct machine *machine);

const char *machine_state_name(enum machine_state state);
const char *machine_outcome_name(enum machine_outcome outcome); /* "shutdown", "reset", ... */

#endif
