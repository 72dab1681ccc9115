/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest from its making to its end.  Made, run and destroyed by main(), on the main thread;
 * paused and ended by the control socket, by devices and by vCPU threads, with the lock held.
 */
#include "hv/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hv/cpuid.h"
#include "hv/interrupts_kvm.h"
#include "hv/ioapic.h"
#include "hv/kvm.h"
#include "hv/msr.h"
#include "hv/power.h"
#include "hv/vcpu.h"

/* --- making ----------------------------------------------------------------------------------- */

static int create_vcpus(
	struct machine *machine, const struct vmm_options *options, struct hv_error *error)
{
	unsigned int max = kvm_vcpus_max(machine->kvm_fd);

	if (options->n_vcpus > max)
		return hv_fail(error, EINVAL,
			"the guest is to have %u processors, but this host's KVM gives a guest at "
			"most %u; give it less with --vcpus",
			options->n_vcpus, max);
	machine->vcpus = calloc(options->n_vcpus, sizeof(struct vcpu *));
	if (!machine->vcpus)
		return hv_fail(error, ENOMEM, "there is no memory for the guest's processors");
	machine->n_vcpus = options->n_vcpus;
	for (unsigned int i = 0; i < machine->n_vcpus; i++) {
		int status = vcpu_create(&machine->vcpus[i], machine, i, error);

		if (status < 0)
			return status;
	}
	return 0;
}

static int create_events(struct machine *machine, enum kvm_ioapic ioapic, struct hv_error *error)
{
	int status = event_loop_create(&machine->loop, &machine->lock);

	if (status < 0)
		return hv_fail(
			error, -status, "the event loop cannot be made: %s", strerror(-status));
	status = interrupts_kvm_create(
		&machine->interrupts, machine->kvm_fd, machine->vm_fd, ioapic, error);
	if (status == 0 && ioapic == KVM_IOAPIC_SPLIT)
		status = ioapic_create(&machine->ioapic, machine, error);
	return status;
}

/* Whoever reckons with huge pages hears that there were too few. */
static int create_memory(
	struct machine *machine, const struct vmm_options *options, struct hv_error *error)
{
	int status =
		guest_memory_create(&machine->memory, options->memory_bytes, options->pages, error);

	if (status == 0 && options->pages == GUEST_PAGES_AUTO && !machine->memory.huge)
		fprintf(stderr,
			"cordon-vmm: the guest's memory is on small pages: fewer than %llu huge "
			"pages of 2 MiB are free (/proc/sys/vm/nr_hugepages reserves them, --pages "
			"small asks for none)\n",
			(unsigned long long)options->memory_bytes >> 21);
	return status;
}

static int create(
	struct machine *machine, const struct vmm_options *options, struct hv_error *error)
{
	enum kvm_ioapic ioapic;
	int status;

	machine->kvm_fd = kvm_open(error);
	if (machine->kvm_fd < 0)
		return machine->kvm_fd;
	status = create_memory(machine, options, error);
	if (status < 0)
		return status;
	ioapic = options->split_irqchip ? KVM_IOAPIC_SPLIT : kvm_best_ioapic(machine->kvm_fd);
	machine->vm_fd = kvm_create_guest(machine->kvm_fd, ioapic, error);
	if (machine->vm_fd < 0)
		return machine->vm_fd;
	status = kvm_set_memory(machine->vm_fd, &machine->memory, error);
	if (status == 0)
		status = create_vcpus(machine, options, error);
	if (status == 0)
		status = cpuid_set(machine, options->cpu_mask, error);
	if (status == 0)
		status = msr_set(machine, error);
	return status < 0 ? status : create_events(machine, ioapic, error);
}

int machine_create(
	struct machine *machine, const struct vmm_options *options, struct hv_error *error)
{
	int status;

	machine->kvm_fd = machine->vm_fd = -1;
	machine->state = MACHINE_STARTING;
	atomic_init(&machine->held, true);
	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->vcpus_changed, NULL);
	status = create(machine, options, error);
	if (status < 0)
		machine_destroy(machine);
	return status;
}

/* Tells vCPU threads that wait for a start that there will be none. */
static void end_silently(struct machine *machine)
{
	pthread_mutex_lock(&machine->lock);
	machine_end(machine, MACHINE_NOT_STARTED, "the guest was not started");
	pthread_mutex_unlock(&machine->lock);
}

static void join_vcpus(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->n_vcpus; i++)
		vcpu_join(machine->vcpus[i]);
}

void machine_destroy(struct machine *machine)
{
	if (machine->n_vcpus > 0) {
		end_silently(machine);
		join_vcpus(machine);
	}
	for (unsigned int i = 0; i < machine->n_vcpus; i++)
		vcpu_destroy(machine->vcpus[i]);
	free(machine->vcpus);
	ioapic_destroy(machine->ioapic);
	interrupts_kvm_destroy(machine->interrupts);
	event_loop_destroy(machine->loop);
	if (machine->vm_fd >= 0)
		close(machine->vm_fd);
	guest_memory_destroy(&machine->memory);
	if (machine->kvm_fd >= 0)
		close(machine->kvm_fd);
	pthread_cond_destroy(&machine->vcpus_changed);
	pthread_mutex_destroy(&machine->lock);
	memset(machine, 0, sizeof(*machine));
	machine->kvm_fd = machine->vm_fd = -1;
}

/* --- running ---------------------------------------------------------------------------------- */

int machine_start(struct machine *machine, const struct seccomp *seccomp, struct hv_error *error)
{
	for (unsigned int i = 0; i < machine->n_vcpus; i++) {
		int status = vcpu_start(machine->vcpus[i], seccomp, error);

		if (status < 0)
			return status;
	}
	return 0;
}

static uint64_t read_clock(clockid_t clock, uint64_t unit_ns)
{
	struct timespec time = {0};

	clock_gettime(clock, &time);
	return ((uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec) / unit_ns;
}

/* Lock held. */
static void release(struct machine *machine)
{
	if (machine->start_ms == 0) {
		machine->start_cpu_ns = read_clock(CLOCK_PROCESS_CPUTIME_ID, 1);
		machine->start_ms = read_clock(CLOCK_REALTIME, 1000000);
	}
	machine->state = MACHINE_RUNNING;
	atomic_store(&machine->held, false);
	pthread_cond_broadcast(&machine->vcpus_changed);
}

enum machine_outcome machine_run(struct machine *machine, bool paused)
{
	pthread_mutex_lock(&machine->lock);
	if (machine->state == MACHINE_STARTING && paused)
		machine->state = MACHINE_PAUSED;
	else if (machine->state == MACHINE_STARTING)
		release(machine);
	pthread_mutex_unlock(&machine->lock);
	event_loop_run(machine->loop);
	join_vcpus(machine);
	return machine->outcome;
}

/* Lock held. */
static void hold(struct machine *machine)
{
	atomic_store(&machine->held, true);
	for (unsigned int i = 0; i < machine->n_vcpus; i++) {
		if (machine->vcpus[i])
			vcpu_kick(machine->vcpus[i]);
	}
}

static bool all_stopped(const struct machine *machine)
{
	for (unsigned int i = 0; i < machine->n_vcpus; i++) {
		if (!machine->vcpus[i]->stopped)
			return false;
	}
	return true;
}

int machine_pause(struct machine *machine)
{
	if (machine->state != MACHINE_RUNNING)
		return -EINVAL;
	machine->state = MACHINE_PAUSED;
	hold(machine);
	/* A guest that ends meanwhile has no vCPU that would say so. */
	while (machine->state == MACHINE_PAUSED && !all_stopped(machine))
		pthread_cond_wait(&machine->vcpus_changed, &machine->lock);
	return machine->state == MACHINE_PAUSED ? 0 : -EINVAL;
}

int machine_resume(struct machine *machine)
{
	if (machine->state != MACHINE_PAUSED)
		return -EINVAL;
	release(machine);
	return 0;
}

void machine_end(struct machine *machine, enum machine_outcome outcome, const char *format, ...)
{
	va_list arguments;

	if (machine->state == MACHINE_ENDING)
		return;
	machine->state = MACHINE_ENDING;
	machine->outcome = outcome;
	va_start(arguments, format);
	vsnprintf(machine->reason, sizeof(machine->reason), format, arguments);
	va_end(arguments);
	hold(machine);
	pthread_cond_broadcast(&machine->vcpus_changed);
	if (machine->loop)
		event_loop_stop(machine->loop);
}

void machine_press_power_button(struct machine *machine)
{
	power_press_button(machine->power);
}

/* --- names ------------------------------------------------------------------------------------ */

const char *machine_state_name(enum machine_state state)
{
	switch (state) {
	case MACHINE_STARTING: return "starting";
	case MACHINE_RUNNING: return "running";
	case MACHINE_PAUSED: return "paused";
	default: return "ending";
	}
}

const char *machine_outcome_name(enum machine_outcome outcome)
{
	switch (outcome) {
	case MACHINE_SHUTDOWN: return "shutdown";
	case MACHINE_RESET: return "reset";
	case MACHINE_GUEST_FAULT: return "guest-fault";
	case MACHINE_STOPPED: return "stopped";
	case MACHINE_NOT_STARTED:
	case MACHINE_USAGE: return "not-started";
	default: return "vmm-fault";
	}
}
