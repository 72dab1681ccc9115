/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guests of a few instructions: how they end, that they can be paused and stopped whatever they do,
 * and what devices see of their accesses.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "hv/machine.h"
#include "tests/unit/vmm_guest.h"

#define NEED_KVM()                                                                                 \
	do {                                                                                       \
		(void)state;                                                                       \
		if (!guest_has_kvm()) {                                                            \
			print_message("there is no /dev/kvm here\n");                              \
			skip();                                                                    \
		}                                                                                  \
	} while (0)

GUEST_ASSEMBLE(power_off, "mov $0x600, %dx; mov $0x34, %al; outb %al, %dx; 1: jmp 1b");
GUEST_ASSEMBLE(other_sleep, "mov $0x600, %dx; mov $0x30, %al; outb %al, %dx\n"
			    "mov $0x602, %dx; mov $1, %al; outb %al, %dx; 1: jmp 1b");
GUEST_ASSEMBLE(keyboard_reset, "1: inb $0x64, %al; test $2, %al; jnz 1b\n"
			       "mov $0xfe, %al; outb %al, $0x64; 2: jmp 2b");
GUEST_ASSEMBLE(triple_fault, "mov $0x12345678, %ebx; ud2");
GUEST_ASSEMBLE(unknown_instruction, "mov $0x90000000, %esp; vmxon 0x7000");
GUEST_ASSEMBLE(jump_nowhere, "mov $0xd0000000, %eax; jmp *%eax");
GUEST_ASSEMBLE(spin, "1: jmp 1b");
GUEST_ASSEMBLE(sleep_for_ever, "cli; 1: hlt; jmp 1b");
GUEST_ASSEMBLE(hypercall, "1: mov $100, %eax; vmcall; jmp 1b");
GUEST_ASSEMBLE(hammer, "mov $0x600, %dx; 1: inb %dx, %al; incl 0x7000; jmp 1b");
GUEST_ASSEMBLE(count, "1: incl 0x7000; jmp 1b");

/* Runs to its own end. */
static enum machine_outcome run_to_end(
	const uint8_t *code, uint64_t bytes, char *reason, char *report)
{
	struct guest *guest = guest_new(1, code, bytes);
	enum machine_outcome outcome = machine_run(&guest->machine, false);

	strcpy(reason, guest->machine.reason);
	strcpy(report, guest->machine.report);
	guest_free(guest);
	return outcome;
}

static void test_ends_are_told_apart(void **state)
{
	char reason[HV_ERROR_BYTES], report[MACHINE_REPORT_BYTES];
	NEED_KVM();

	assert_int_equal(run_to_end(guest_power_off, guest_power_off_bytes, reason, report),
		MACHINE_SHUTDOWN);
	assert_string_equal(reason, "the guest switched itself off");
	assert_string_equal(report, "");
	assert_int_equal(run_to_end(guest_other_sleep, guest_other_sleep_bytes, reason, report),
		MACHINE_RESET);
	assert_non_null(strstr(reason, "ACPI"));
	assert_int_equal(
		run_to_end(guest_keyboard_reset, guest_keyboard_reset_bytes, reason, report),
		MACHINE_RESET);
	assert_non_null(strstr(reason, "keyboard"));
}

static void test_triple_fault_gives_registers(void **state)
{
	char reason[HV_ERROR_BYTES], report[MACHINE_REPORT_BYTES];
	NEED_KVM();

	assert_int_equal(run_to_end(guest_triple_fault, guest_triple_fault_bytes, reason, report),
		MACHINE_GUEST_FAULT);
	assert_non_null(strstr(reason, "triple fault"));
	assert_non_null(strstr(report, "0000000012345678"));
	assert_non_null(strstr(report, "code at rip: 0f 0b"));
	assert_true(strlen(report) < MACHINE_REPORT_BYTES - 1);
}

static void test_instruction_that_cannot_be_run_ends_the_guest(void **state)
{
	char reason[HV_ERROR_BYTES], report[MACHINE_REPORT_BYTES];
	NEED_KVM();

	/* A fault that nobody handles where the processor knows it, else KVM's own trouble. */
	assert_int_equal(run_to_end(guest_unknown_instruction, guest_unknown_instruction_bytes,
				 reason, report),
		MACHINE_GUEST_FAULT);
	assert_non_null(strstr(report, "f3 0f c7"));
}

static void test_code_that_is_not_in_memory_ends_the_guest(void **state)
{
	char reason[HV_ERROR_BYTES], report[MACHINE_REPORT_BYTES];
	NEED_KVM();

	assert_int_equal(run_to_end(guest_jump_nowhere, guest_jump_nowhere_bytes, reason, report),
		MACHINE_GUEST_FAULT);
	assert_non_null(strstr(reason, "not in its memory, at rip 0xd0000000"));
	assert_non_null(strstr(report, "code at rip: not readable"));
}

static void check_stop(const uint8_t *code, uint64_t bytes)
{
	struct guest *guest = guest_new(1, code, bytes);
	uint64_t before;

	guest_run(guest);
	sleep_ms(30);
	before = now_ms();
	guest_stop(guest);
	assert_in_range(now_ms() - before, 0, PATIENCE_MS);
	assert_int_equal(guest->machine.outcome, MACHINE_STOPPED);
	guest_free(guest);
}

static void test_whatever_runs_can_be_stopped(void **state)
{
	NEED_KVM();

	check_stop(guest_spin, guest_spin_bytes);
	check_stop(guest_sleep_for_ever, guest_sleep_for_ever_bytes);
	check_stop(guest_hammer, guest_hammer_bytes);
	check_stop(guest_hypercall, guest_hypercall_bytes);
}

static void pause_and_resume(struct guest *guest, bool moves)
{
	volatile uint32_t *counter = guest_word(guest, GUEST_PAGE);
	uint32_t before;

	pthread_mutex_lock(&guest->machine.lock);
	assert_int_equal(machine_pause(&guest->machine), 0);
	assert_int_equal(machine_pause(&guest->machine), -EINVAL);
	assert_int_equal(guest->machine.state, MACHINE_PAUSED);
	before = *counter;
	pthread_mutex_unlock(&guest->machine.lock);
	sleep_ms(2);
	assert_int_equal(*counter, before);
	pthread_mutex_lock(&guest->machine.lock);
	assert_int_equal(machine_resume(&guest->machine), 0);
	assert_int_equal(machine_resume(&guest->machine), -EINVAL);
	pthread_mutex_unlock(&guest->machine.lock);
	for (uint64_t until = now_ms() + PATIENCE_MS;
		moves && *counter == before && now_ms() < until;)
		sleep_ms(1);
	assert_true(!moves || *counter != before);
}

static void check_pauses(const uint8_t *code, uint64_t bytes, bool moves)
{
	struct guest *guest = guest_new(1, code, bytes);

	guest_run(guest);
	guest_wait_running(guest);
	for (unsigned int i = 0; i < 40; i++)
		pause_and_resume(guest, moves);
	guest_stop(guest);
	guest_free(guest);
}

static void test_paused_guests_stand_still(void **state)
{
	NEED_KVM();

	check_pauses(guest_count, guest_count_bytes, true);
	check_pauses(guest_hammer, guest_hammer_bytes, true);
	check_pauses(guest_sleep_for_ever, guest_sleep_for_ever_bytes, false);
}

/* Pauses come at every moment of a resume, and the other way around. */
static void test_pauses_in_haste_lose_no_wake_up(void **state)
{
	struct guest *guest;
	uint32_t before;
	NEED_KVM();

	guest = guest_new(1, guest_hammer, guest_hammer_bytes);
	guest_run(guest);
	guest_wait_running(guest);
	pthread_mutex_lock(&guest->machine.lock);
	for (unsigned int i = 0; i < 2000; i++) {
		assert_int_equal(machine_pause(&guest->machine), 0);
		assert_int_equal(machine_resume(&guest->machine), 0);
		if (i % 3 == 0) {
			pthread_mutex_unlock(&guest->machine.lock);
			pthread_mutex_lock(&guest->machine.lock);
		}
	}
	before = *guest_word(guest, GUEST_PAGE);
	pthread_mutex_unlock(&guest->machine.lock);
	sleep_ms(50);
	assert_int_not_equal(*guest_word(guest, GUEST_PAGE), before);
	guest_stop(guest);
	guest_free(guest);
}

static void pause_at_the_very_start(void)
{
	struct guest *guest = guest_new(1, guest_count, guest_count_bytes);
	struct machine *machine = &guest->machine;
	uint32_t before;

	/* Without the event loop, so that nothing delays what comes. */
	pthread_mutex_lock(&machine->lock);
	machine->state = MACHINE_PAUSED;
	assert_int_equal(machine_resume(machine), 0);
	pthread_mutex_unlock(&machine->lock);
	for (unsigned int i = 0; i < 3; i++) {
		pthread_mutex_lock(&machine->lock);
		assert_int_equal(machine_pause(machine), 0);
		before = *guest_word(guest, GUEST_PAGE);
		assert_int_equal(machine_resume(machine), 0);
		pthread_mutex_unlock(&machine->lock);
	}
	for (uint64_t until = now_ms() + PATIENCE_MS; *guest_word(guest, GUEST_PAGE) == before;)
		assert_true(now_ms() < until);
	pthread_mutex_lock(&machine->lock);
	machine_end(machine, MACHINE_STOPPED, "stopped by the test");
	pthread_mutex_unlock(&machine->lock);
	assert_int_equal(machine_run(machine, false), MACHINE_STOPPED);
	guest_free(guest);
}

/* A pause may come before the processor's thread has seen that the machine runs. */
static void test_pauses_at_the_very_start_lose_no_wake_up(void **state)
{
	NEED_KVM();

	for (unsigned int i = 0; i < 200; i++)
		pause_at_the_very_start();
}

static void test_paused_from_the_start(void **state)
{
	struct guest *guest;
	NEED_KVM();

	guest = guest_new(1, guest_count, guest_count_bytes);
	sleep_ms(20);
	assert_int_equal(*guest_word(guest, GUEST_PAGE), 0);
	pthread_mutex_lock(&guest->machine.lock);
	assert_int_equal(machine_resume(&guest->machine), -EINVAL);
	machine_end(&guest->machine, MACHINE_STOPPED, "before it began");
	machine_end(&guest->machine, MACHINE_RESET, "too late");
	pthread_mutex_unlock(&guest->machine.lock);
	assert_int_equal(machine_run(&guest->machine, true), MACHINE_STOPPED);
	assert_string_equal(guest->machine.reason, "before it began");
	assert_int_equal(*guest_word(guest, GUEST_PAGE), 0);
	guest_free(guest);
}

/* --- accesses to devices ---------------------------------------------------------------------- */

enum { TOY_PORT = 0x500, TOY_BYTES = 64, LOG_BYTES = 256 };
#define TOY_MEMORY UINT64_C(0xd0000000)

struct toy {
	char log[LOG_BYTES];
	uint8_t next;
};

static void toy_log(
	struct toy *toy, char what, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	size_t used = strlen(toy->log);

	used += (size_t)snprintf(
		toy->log + used, LOG_BYTES - used, "%c%x:", what, (unsigned int)offset);
	for (unsigned int i = 0; i < bytes; i++)
		used += (size_t)snprintf(toy->log + used, LOG_BYTES - used, "%02x", data[i]);
	snprintf(toy->log + used, LOG_BYTES - used, " ");
}

static void toy_read(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	struct toy *toy = device;

	for (unsigned int i = 0; i < bytes; i++)
		data[i] = toy->next++;
	toy_log(toy, 'r', offset, data, bytes);
}

static void toy_write(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	toy_log(device, 'w', offset, data, bytes);
}

GUEST_ASSEMBLE(ports,
	"mov $0x500, %dx; mov $0x11223344, %eax; outb %al, %dx; outw %ax, %dx; outl %eax, %dx\n"
	"mov $0x502, %dx; movl $0x64636261, 0x7000; mov $0x7000, %esi; mov $4, %ecx; cld; rep "
	"outsb\n"
	"mov $0x7010, %edi; mov $3, %ecx; rep insw\n"
	"mov $0x999, %dx; inl %dx, %eax; mov %eax, 0x7020\n"
	"mov $0x600, %dx; mov $0x34, %al; outb %al, %dx; 1: jmp 1b");
GUEST_ASSEMBLE(memory_accesses,
	"mov $0xd0000000, %ebx; movb $0x5a, (%ebx); movw $0x1122, 2(%ebx); movl $0xdeadbeef, "
	"4(%ebx)\n"
	"movl 8(%ebx), %eax; mov %eax, 0x7000; movb 1(%ebx), %al; mov %al, 0x7004\n"
	"movl 0xcfffff00, %eax; mov %eax, 0x7008; movl %eax, 0xcfffff00\n"
	"mov $0x600, %dx; mov $0x34, %al; outb %al, %dx; 1: jmp 1b");

static void test_ports_as_devices_see_them(void **state)
{
	static const struct bus_operations operations = {toy_read, toy_write};
	struct toy toy = {.next = 1};
	struct guest *guest;
	NEED_KVM();

	guest = guest_new(1, guest_ports, guest_ports_bytes);
	assert_int_equal(bus_add(&guest->machine.ports, TOY_PORT, TOY_BYTES, &operations, &toy), 0);
	assert_int_equal(machine_run(&guest->machine, false), MACHINE_SHUTDOWN);
	assert_string_equal(toy.log, "w0:44 w0:4433 w0:44332211 w2:61 w2:62 w2:63 w2:64 r2:0102 "
				     "r2:0304 r2:0506 ");
	assert_int_equal(*guest_word(guest, 0x7010), 0x04030201);
	assert_int_equal(*guest_word(guest, 0x7020), 0xffffffff);
	assert_true(guest->machine.vcpus[0]->exits[VCPU_EXIT_PORT] >= 7);
	guest_free(guest);
}

static void test_memory_of_devices(void **state)
{
	static const struct bus_operations operations = {toy_read, toy_write};
	struct toy toy = {.next = 1};
	struct guest *guest;
	NEED_KVM();

	guest = guest_new(1, guest_memory_accesses, guest_memory_accesses_bytes);
	assert_int_equal(
		bus_add(&guest->machine.mmio, TOY_MEMORY, TOY_BYTES, &operations, &toy), 0);
	assert_int_equal(machine_run(&guest->machine, false), MACHINE_SHUTDOWN);
	assert_string_equal(toy.log, "w0:5a w2:2211 w4:efbeadde r8:01020304 r1:05 ");
	assert_int_equal(*guest_word(guest, 0x7000), 0x04030201);
	assert_int_equal(*guest_word(guest, 0x7004), 5);
	assert_int_equal(*guest_word(guest, 0x7008), 0xffffffff);
	guest_free(guest);
}

/* --- several processors ----------------------------------------------------------------------- */

/* INIT and SIPI to all others, as Linux does it; then what the first one does. */
#define START_OTHERS                                                                               \
	"mov $0xfee00000, %ebx\n"                                                                  \
	"movl $0x1ff, 0xf0(%ebx)\n"                                                                \
	"movl $0x000c4500, 0x300(%ebx)\n"                                                          \
	"mov $1000, %ecx; 1: loop 1b\n"                                                            \
	"movl $0x000c4608, 0x300(%ebx)\n"                                                          \
	"mov $1000, %ecx; 2: loop 2b\n"                                                            \
	"movl $0x000c4608, 0x300(%ebx)\n"

/* Waits until there are three others, and switches off. */
GUEST_ASSEMBLE(count_others,
	START_OTHERS "3: cmpl $3, 0x7000; jne 3b\n"
		     "mov $0x600, %dx; mov $0x34, %al; outb %al, %dx; 4: jmp 4b");
GUEST_ASSEMBLE(hammer_all, START_OTHERS "mov $0x600, %dx; 3: inb %dx, %al; jmp 3b");
/* At SIPI's vector 8: from real mode into protected mode, as a kernel's trampoline goes; counts
 * itself, and asks a port for ever. */
GUEST_ASSEMBLE(other, "guest_other_start:\n"
		      ".code16; xor %bx, %bx; mov %bx, %ds; lgdtl 0x6f00\n"
		      "mov %cr0, %eax; or $1, %al; mov %eax, %cr0; ljmpl $8, $0x8040\n"
		      ".code32; .org guest_other_start + 0x40\n"
		      "mov $16, %bx; mov %bx, %ds; lock incl 0x7000\n"
		      "mov $0x600, %dx; 2: inb %dx, %al; jmp 2b");

enum { PROCESSORS = 4, SIPI_PAGE = 0x8000, GDT_POINTER = 0x6f00 };

static struct guest *new_with_others(const uint8_t *code, uint64_t bytes)
{
	struct guest *guest = guest_new(PROCESSORS, code, bytes);
	const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) pointer = {23, GUEST_GDT};

	assert_true(
		guest_memory_write(&guest->machine.memory, GDT_POINTER, &pointer, sizeof(pointer)));
	assert_true(guest_memory_write(
		&guest->machine.memory, SIPI_PAGE, guest_other, guest_other_bytes));
	guest_run(guest);
	return guest;
}

static void test_other_processors_start_by_init_and_sipi(void **state)
{
	struct guest *guest;
	NEED_KVM();

	guest = new_with_others(guest_count_others, guest_count_others_bytes);
	assert_true(guest_wait_for(guest, GUEST_PAGE, PROCESSORS - 1));
	guest_join(guest);
	assert_int_equal(guest->machine.outcome, MACHINE_SHUTDOWN);
	guest_free(guest);
}

/* All of them want the lock all the time, and yet whoever pauses and ends the machine gets it. */
static void test_hammering_processors_can_be_paused_and_stopped(void **state)
{
	struct guest *guest;
	uint64_t before;
	NEED_KVM();

	guest = new_with_others(guest_hammer_all, guest_hammer_all_bytes);
	assert_true(guest_wait_for(guest, GUEST_PAGE, PROCESSORS - 1));
	for (unsigned int i = 0; i < 20; i++) {
		before = now_ms();
		pthread_mutex_lock(&guest->machine.lock);
		assert_int_equal(machine_pause(&guest->machine), 0);
		assert_int_equal(machine_resume(&guest->machine), 0);
		pthread_mutex_unlock(&guest->machine.lock);
		assert_in_range(now_ms() - before, 0, PATIENCE_MS);
		sleep_ms(5);
	}
	before = now_ms();
	guest_stop(guest);
	assert_in_range(now_ms() - before, 0, PATIENCE_MS);
	guest_free(guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends_are_told_apart),
		cmocka_unit_test(test_triple_fault_gives_registers),
		cmocka_unit_test(test_instruction_that_cannot_be_run_ends_the_guest),
		cmocka_unit_test(test_code_that_is_not_in_memory_ends_the_guest),
		cmocka_unit_test(test_whatever_runs_can_be_stopped),
		cmocka_unit_test(test_paused_guests_stand_still),
		cmocka_unit_test(test_pauses_in_haste_lose_no_wake_up),
		cmocka_unit_test(test_pauses_at_the_very_start_lose_no_wake_up),
		cmocka_unit_test(test_paused_from_the_start),
		cmocka_unit_test(test_ports_as_devices_see_them),
		cmocka_unit_test(test_memory_of_devices),
		cmocka_unit_test(test_other_processors_start_by_init_and_sipi),
		cmocka_unit_test(test_hammering_processors_can_be_paused_and_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
