/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A processor and its thread.  Made, started and joined by the main thread; kicked by whoever
 * pauses or ends the machine; everything else happens on the processor's own thread.
 */
#include "hv/vcpu.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Room for a device's request, and for what the sanitizers add; only what is touched is used. */
enum { STACK_BYTES = 512 * 1024, VCPU_SIGNAL = SIGUSR1 };

static int map_run(struct vcpu *vcpu)
{
	int bytes = ioctl(vcpu->machine->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *run;

	if (bytes < (int)sizeof(struct kvm_run))
		return bytes < 0 ? -errno : -EPROTO;
	run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	vcpu->run = run;
	vcpu->run_bytes = (uint32_t)bytes;
	return 0;
}

/* The boot processor runs at once, the others wait for INIT and SIPI. */
static int set_state(const struct vcpu *vcpu)
{
	struct kvm_mp_state state = {
		vcpu->index == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED};

	return ioctl(vcpu->fd, KVM_SET_MP_STATE, &state) < 0 ? -errno : 0;
}

int vcpu_create(
	struct vcpu **created, struct machine *machine, unsigned int index, struct hv_error *error)
{
	struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
	int status;

	*created = NULL;
	if (!vcpu)
		return hv_fail(error, ENOMEM, "there is no memory for processor %u", index);
	vcpu->machine = machine;
	vcpu->index = index;
	vcpu->stopped = true;
	vcpu->fd = ioctl(machine->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	status = vcpu->fd < 0 ? -errno : map_run(vcpu);
	if (status == 0)
		status = set_state(vcpu);
	if (status < 0) {
		vcpu_destroy(vcpu);
		return hv_fail(
			error, -status, "KVM makes no processor %u: %s", index, strerror(-status));
	}
	*created = vcpu;
	return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (!vcpu)
		return;
	if (vcpu->run)
		munmap(vcpu->run, vcpu->run_bytes);
	signal_stack_free(&vcpu->signal_stack);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	free(vcpu);
}

static void fill_segments(struct kvm_sregs *sregs, const struct boot_entry *entry)
{
	sregs->cs = entry->code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = entry->data;
	sregs->tr = entry->task;
	sregs->gdt.base = entry->gdt_base;
	sregs->gdt.limit = entry->gdt_limit;
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
	sregs->cr0 = entry->cr0;
	sregs->cr3 = entry->cr3;
	sregs->cr4 = entry->cr4;
	sregs->efer = entry->efer;
}

int vcpu_enter_at(struct vcpu *vcpu, const struct boot_entry *entry, struct hv_error *error)
{
	struct kvm_regs regs = {.rip = entry->rip,
		.rsp = entry->rsp,
		.rbx = entry->rbx,
		.rsi = entry->rsi,
		.rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return hv_fail(error, errno, "KVM gives no registers: %s", strerror(errno));
	fill_segments(&sregs, entry);
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return hv_fail(error, errno,
			"KVM does not take the registers that the guest is to start with: %s",
			strerror(errno));
	return 0;
}

/* --- the thread ------------------------------------------------------------------------------- */

static void set_immediate_exit(struct vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

/* Nobody wants it out, nobody wanted it out that it has not heard of, and it has been let go. */
static bool is_let_go(const struct vcpu *vcpu)
{
	return !vcpu->stopped && !atomic_load(&vcpu->machine->held) &&
	       !__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST);
}

/* Waits while the machine is held; whether it is to run then. */
static bool may_run(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	bool runs;

	if (is_let_go(vcpu))
		return true;
	pthread_mutex_lock(&machine->lock);
	vcpu->stopped = true;
	pthread_cond_broadcast(&machine->vcpus_changed);
	/* Told of the pause, so that its watchdogs do not take it for a hang.  Most guests that are
	 * not Linux have no such clock, and KVM says so. */
	if (machine->state == MACHINE_PAUSED)
		ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
	while (atomic_load(&machine->held) && machine->state != MACHINE_ENDING)
		pthread_cond_wait(&machine->vcpus_changed, &machine->lock);
	runs = machine->state != MACHINE_ENDING;
	if (runs) {
		vcpu->stopped = false;
		set_immediate_exit(vcpu, 0);
	}
	pthread_mutex_unlock(&machine->lock);
	return runs;
}

static void count(struct vcpu *vcpu, enum vcpu_exit reason)
{
	atomic_store_explicit(&vcpu->exits[reason],
		atomic_load_explicit(&vcpu->exits[reason], memory_order_relaxed) + 1,
		memory_order_relaxed);
}

static enum vcpu_exit exit_of(const struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO: return VCPU_EXIT_PORT;
	case KVM_EXIT_MMIO: return VCPU_EXIT_MMIO;
	default: return VCPU_EXIT_OTHER;
	}
}

static void run_once(struct vcpu *vcpu)
{
	if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
		count(vcpu, exit_of(vcpu->run));
		vcpu_handle_exit(vcpu);
		return;
	}
	/* A signal; or INIT or SIPI has come to a processor that waited for it. */
	if (errno == EINTR || errno == EAGAIN)
		count(vcpu, VCPU_EXIT_INTERRUPTED);
	else
		vcpu_fail(vcpu, errno);
}

/* Tells whoever started the thread how that went. */
static void confine(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	int status = signal_stack_enter(&vcpu->signal_stack);

	if (status < 0)
		hv_fail(&vcpu->error, -status,
			"there is no memory for the stack of signals of processor %u: %s",
			vcpu->index, strerror(-status));
	else
		status = seccomp_enter(vcpu->seccomp, SECCOMP_VCPU, &vcpu->error);
	pthread_mutex_lock(&machine->lock);
	vcpu->confined = true;
	vcpu->status = status;
	pthread_cond_broadcast(&machine->vcpus_changed);
	pthread_mutex_unlock(&machine->lock);
}

static void *run_thread(void *argument)
{
	struct vcpu *vcpu = argument;
	char name[16];
	sigset_t kick;

	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	sigemptyset(&kick);
	sigaddset(&kick, VCPU_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	confine(vcpu);
	while (may_run(vcpu))
		run_once(vcpu);
	return NULL;
}

/* Only there so that the signal ends KVM_RUN. */
static void kicked(int signal)
{
	(void)signal;
}

int vcpu_start(struct vcpu *vcpu, const struct seccomp *seccomp, struct hv_error *error)
{
	struct sigaction action = {.sa_handler = kicked};
	struct machine *machine = vcpu->machine;
	pthread_attr_t attributes;
	int code;

	vcpu->seccomp = seccomp;
	sigaction(VCPU_SIGNAL, &action, NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	code = pthread_create(&vcpu->thread, &attributes, run_thread, vcpu);
	pthread_attr_destroy(&attributes);
	if (code)
		return hv_fail(error, code, "the thread of processor %u cannot be started: %s",
			vcpu->index, strerror(code));
	vcpu->started = true;
	pthread_mutex_lock(&machine->lock);
	while (!vcpu->confined)
		pthread_cond_wait(&machine->vcpus_changed, &machine->lock);
	code = vcpu->status;
	pthread_mutex_unlock(&machine->lock);
	if (code < 0 && error)
		*error = vcpu->error;
	return code;
}

void vcpu_kick(struct vcpu *vcpu)
{
	set_immediate_exit(vcpu, 1);
	if (vcpu->started)
		pthread_kill(vcpu->thread, VCPU_SIGNAL);
}

void vcpu_join(struct vcpu *vcpu)
{
	if (!vcpu || !vcpu->started)
		return;
	pthread_join(vcpu->thread, NULL);
	vcpu->started = false;
}

uint64_t vcpu_time_ns(const struct vcpu *vcpu)
{
	struct timespec time;
	clockid_t clock;

	if (!vcpu->started || pthread_getcpuclockid(vcpu->thread, &clock) != 0 ||
		clock_gettime(clock, &time) < 0)
		return 0;
	return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

const char *vcpu_exit_name(enum vcpu_exit reason)
{
	static const char *const names[] = {
		[VCPU_EXIT_PORT] = "port",
		[VCPU_EXIT_MMIO] = "mmio",
		[VCPU_EXIT_INTERRUPTED] = "interrupted",
		[VCPU_EXIT_OTHER] = "other",
	};

	return names[reason];
}
