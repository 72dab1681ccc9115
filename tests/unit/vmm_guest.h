/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine of its own for a test, and pieces of machine code for it: 32-bit protected mode, flat,
 * without paging, loaded at GUEST_CODE.
 *
 * Where there is no KVM, or this user may not have it, the tests that need it are skipped.
 */
#ifndef TESTS_UNIT_VMM_GUEST_H
#define TESTS_UNIT_VMM_GUEST_H

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "hv/i8042.h"
#include "hv/machine.h"
#include "hv/power.h"
#include "hv/vcpu.h"

enum { GUEST_CODE = 0x1000, GUEST_GDT = 0x5000, GUEST_PAGE = 0x7000, GUEST_STACK_END = 0x20000 };

/* Code in .rodata, assembled for 32 bits, and its length: GUEST_ASSEMBLE(spin, "1: jmp 1b"). */
#define GUEST_ASSEMBLE(name, text)                                                                 \
	extern const uint8_t guest_##name[];                                                       \
	extern const uint64_t guest_##name##_bytes;                                                \
	__asm__(".pushsection .rodata\n.code32\nguest_" #name ":\n" text "\n1:\n.code64\n"         \
		".balign 8\nguest_" #name "_bytes: .quad 1b - guest_" #name "\n.popsection\n")

struct guest {
	struct machine machine;
	struct i8042 *i8042;
	pthread_t runner;
};

static inline bool guest_has_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static inline struct kvm_segment guest_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1};
}

/* How long anything may take, on a machine that does other things as well. */
enum { PATIENCE_MS = 20000 };

static inline uint64_t now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static inline void sleep_ms(unsigned int milliseconds)
{
	const struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

	nanosleep(&time, NULL);
}

/* The first processor starts at GUEST_CODE with this code. */
static inline struct guest *guest_of(
	const struct vmm_options *options, const uint8_t *code, uint64_t bytes)
{
	struct guest *guest = calloc(1, sizeof(*guest));
	/* Nothing, code, data: what the selectors below are loaded from again, as by IRET. */
	const uint64_t gdt[] = {0, UINT64_C(0xcf9b000000ffff), UINT64_C(0xcf93000000ffff)};
	const struct boot_entry entry = {
		.gdt_base = GUEST_GDT,
		.gdt_limit = sizeof(gdt) - 1,
		.rip = GUEST_CODE,
		.rsp = GUEST_STACK_END,
		.cr0 = 0x11,
		.code = guest_segment(8, 0xb),
		.data = guest_segment(16, 3),
		.task = {.limit = 0x67, .type = 0xb, .present = 1},
	};

	assert_int_equal(machine_create(&guest->machine, options, NULL), 0);
	assert_int_equal(power_create(&guest->machine.power, &guest->machine, NULL), 0);
	assert_int_equal(i8042_create(&guest->i8042, &guest->machine, NULL), 0);
	assert_true(guest_memory_write(&guest->machine.memory, GUEST_CODE, code, bytes));
	assert_true(guest_memory_write(&guest->machine.memory, GUEST_GDT, gdt, sizeof(gdt)));
	assert_int_equal(vcpu_enter_at(guest->machine.vcpus[0], &entry, NULL), 0);
	assert_int_equal(machine_start(&guest->machine, NULL, NULL), 0);
	return guest;
}

static inline struct guest *guest_new(unsigned int n_vcpus, const uint8_t *code, uint64_t bytes)
{
	const struct vmm_options options = {
		.n_vcpus = n_vcpus, .memory_bytes = 4 << 20, .pages = GUEST_PAGES_SMALL};

	return guest_of(&options, code, bytes);
}

static inline void guest_free(struct guest *guest)
{
	i8042_destroy(guest->i8042);
	power_destroy(guest->machine.power);
	machine_destroy(&guest->machine);
	free(guest);
}

static inline void *guest_runner(void *argument)
{
	machine_run(argument, false);
	return NULL;
}

/* Lets it run on a thread of its own, so that the test can pause and end it. */
static inline void guest_run(struct guest *guest)
{
	assert_int_equal(pthread_create(&guest->runner, NULL, guest_runner, &guest->machine), 0);
}

/* Waits until it runs. */
static inline void guest_wait_running(struct guest *guest)
{
	bool runs = false;

	while (!runs) {
		pthread_mutex_lock(&guest->machine.lock);
		runs = guest->machine.state != MACHINE_STARTING;
		pthread_mutex_unlock(&guest->machine.lock);
		sleep_ms(1);
	}
}

static inline void guest_join(struct guest *guest)
{
	pthread_join(guest->runner, NULL);
}

static inline void guest_stop(struct guest *guest)
{
	pthread_mutex_lock(&guest->machine.lock);
	machine_end(&guest->machine, MACHINE_STOPPED, "stopped by the test");
	pthread_mutex_unlock(&guest->machine.lock);
	guest_join(guest);
}

static inline volatile uint32_t *guest_word(struct guest *guest, uint64_t address)
{
	return guest_memory_at(&guest->machine.memory, address, 4);
}

/* Waits until the guest has written `value` there: false after five seconds. */
static inline bool guest_wait_for(struct guest *guest, uint64_t address, uint32_t value)
{
	uint64_t until = now_ms() + PATIENCE_MS;

	while (*guest_word(guest, address) != value) {
		if (now_ms() > until)
			return false;
		sleep_ms(1);
	}
	return true;
}

#endif
