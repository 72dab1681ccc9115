/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts through KVM, as a guest receives them: lines of the I/O APIC and messages, routes that
 * change, vectors that are masked, and a table that grows.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <unistd.h>

#include <cmocka.h>

#include "hv/ioapic.h"
#include "hv/machine.h"
#include "tests/unit/vmm_guest.h"

/*
 * Three handlers, 64 bytes apart behind the first 128: each counts in its own word and ends the
 * interrupt.  The I/O APIC's line 9 is the third's, edge-triggered.  They return without IRET,
 * which a KVM that emulates the guest's kernel may not know in this mode.
 */
GUEST_ASSEMBLE(count_interrupts,
	"guest_interrupts_start:\n"
	"lidt 0x6ff0\n"
	"movl $0x1ff, 0xfee000f0\n"
	"movl $0x22, 0xfec00000; movl $0x42, 0xfec00010\n"
	"movl $0x23, 0xfec00000; movl $0, 0xfec00010\n"
	"movl $1, 0x700c\n"
	"sti; 2: hlt; jmp 2b\n"
	".org guest_interrupts_start + 128\n"
	"incl 0x7000; movl $0, 0xfee000b0; pop %eax; pop %ecx; popf; jmp *%eax\n"
	".org guest_interrupts_start + 192\n"
	"incl 0x7004; movl $0, 0xfee000b0; pop %eax; pop %ecx; popf; jmp *%eax\n"
	".org guest_interrupts_start + 256\n"
	"incl 0x7008; movl $0, 0xfee000b0; pop %eax; pop %ecx; popf; jmp *%eax\n");

enum {
	IDT = 0x6000,
	IDT_POINTER = 0x6ff0,
	FIRST_VECTOR = 0x40,
	HANDLERS = 3,
	FIRST_HANDLER = GUEST_CODE + 128,
	HANDLER_BYTES = 64,
	READY = GUEST_PAGE + 12,
	MESSAGE_ADDRESS = 0xfee00000,
};

static void write_idt(const struct guest_memory *memory)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) pointer = {8 * (FIRST_VECTOR + HANDLERS) - 1, IDT};

	for (unsigned int i = 0; i < HANDLERS; i++) {
		uint32_t handler = FIRST_HANDLER + i * HANDLER_BYTES;
		/* A 32-bit interrupt gate for the code segment. */
		const uint32_t gate[] = {
			8 << 16 | (handler & 0xffff), (handler & 0xffff0000) | 0x8e00};

		assert_true(guest_memory_write(
			memory, IDT + 8 * (FIRST_VECTOR + i), gate, sizeof(gate)));
	}
	assert_true(guest_memory_write(memory, IDT_POINTER, &pointer, sizeof(pointer)));
}

static int set_up_with(void **state, bool split)
{
	const struct vmm_options options = {.n_vcpus = 1,
		.memory_bytes = 4 << 20,
		.pages = GUEST_PAGES_SMALL,
		.split_irqchip = split};
	struct guest *guest;

	*state = NULL;
	if (!guest_has_kvm())
		return 0;
	guest = guest_of(&options, guest_count_interrupts, guest_count_interrupts_bytes);
	assert_int_equal(guest->machine.ioapic != NULL, split);
	write_idt(&guest->machine.memory);
	guest_run(guest);
	assert_true(guest_wait_for(guest, READY, 1));
	*state = guest;
	return 0;
}

static int set_up(void **state)
{
	return set_up_with(state, false);
}

static int set_up_split(void **state)
{
	return set_up_with(state, true);
}

static int tear_down(void **state)
{
	if (*state) {
		guest_stop(*state);
		guest_free(*state);
	}
	return 0;
}

#define NEED_GUEST()                                                                               \
	do {                                                                                       \
		if (!*state) {                                                                     \
			print_message("there is no /dev/kvm here\n");                              \
			skip();                                                                    \
		}                                                                                  \
	} while (0)

static void raise_fd(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void expect(struct guest *guest, unsigned int handler, uint32_t count)
{
	assert_true(guest_wait_for(guest, GUEST_PAGE + 4 * handler, count));
}

/* As devices call them: with the lock held. */
static int reserve(struct guest *guest, unsigned int n)
{
	struct interrupts *interrupts = guest->machine.interrupts;
	int status;

	pthread_mutex_lock(&guest->machine.lock);
	status = interrupts->operations->reserve(interrupts, n);
	pthread_mutex_unlock(&guest->machine.lock);
	return status;
}

static int route(struct guest *guest, int gsi, uint32_t data)
{
	struct interrupts *interrupts = guest->machine.interrupts;
	int status;

	pthread_mutex_lock(&guest->machine.lock);
	status =
		interrupts->operations->route(interrupts, (unsigned int)gsi, MESSAGE_ADDRESS, data);
	pthread_mutex_unlock(&guest->machine.lock);
	return status;
}

static int attach(struct guest *guest, int gsi, int fd)
{
	struct interrupts *interrupts = guest->machine.interrupts;
	int status;

	pthread_mutex_lock(&guest->machine.lock);
	status = interrupts->operations->attach(interrupts, (unsigned int)gsi, fd);
	pthread_mutex_unlock(&guest->machine.lock);
	return status;
}

static void detach(struct guest *guest, int gsi, int fd)
{
	struct interrupts *interrupts = guest->machine.interrupts;

	pthread_mutex_lock(&guest->machine.lock);
	interrupts->operations->detach(interrupts, (unsigned int)gsi, fd);
	pthread_mutex_unlock(&guest->machine.lock);
}

static void press_button(struct guest *guest)
{
	pthread_mutex_lock(&guest->machine.lock);
	machine_press_power_button(&guest->machine);
	pthread_mutex_unlock(&guest->machine.lock);
}

static void test_power_button_interrupts(void **state)
{
	struct guest *guest = *state;
	uint8_t events;
	NEED_GUEST();

	pthread_mutex_lock(&guest->machine.lock);
	machine_press_power_button(&guest->machine);
	pthread_mutex_unlock(&guest->machine.lock);
	expect(guest, 2, 1);
	pthread_mutex_lock(&guest->machine.lock);
	assert_true(bus_read(&guest->machine.ports, POWER_PORT_EVENTS, &events, 1));
	assert_int_equal(events, POWER_EVENT_BUTTON);
	assert_true(bus_read(&guest->machine.ports, POWER_PORT_EVENTS, &events, 1));
	assert_int_equal(events, 0);
	machine_press_power_button(&guest->machine);
	pthread_mutex_unlock(&guest->machine.lock);
	expect(guest, 2, 2);
}

static void test_messages_are_routed_masked_and_not_lost(void **state)
{
	struct guest *guest = *state;
	int fd, gsi;
	uint64_t value;
	NEED_GUEST();

	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	gsi = reserve(guest, 1);
	assert_true(gsi >= 24);
	assert_int_equal(route(guest, gsi, FIRST_VECTOR), 0);
	assert_int_equal(attach(guest, gsi, fd), 0);
	raise_fd(fd);
	expect(guest, 0, 1);
	/* Another vector. */
	assert_int_equal(route(guest, gsi, FIRST_VECTOR + 1), 0);
	raise_fd(fd);
	expect(guest, 1, 1);
	/* Masked: it stays in the eventfd, and comes once it is unmasked. */
	detach(guest, gsi, fd);
	raise_fd(fd);
	sleep_ms(20);
	assert_int_equal(*guest_word(guest, GUEST_PAGE + 4), 1);
	assert_int_equal(attach(guest, gsi, fd), 0);
	expect(guest, 1, 2);
	assert_int_equal(read(fd, &value, sizeof(value)), -1);
	assert_int_equal(*guest_word(guest, GUEST_PAGE), 1);
	detach(guest, gsi, fd);
	close(fd);
}

/* A hundred more, in several steps: what was routed before stays so, and lines do too. */
static void test_growth_loses_no_route(void **state)
{
	struct guest *guest = *state;
	int first, fd;
	NEED_GUEST();

	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	first = reserve(guest, 1);
	assert_int_equal(route(guest, first, FIRST_VECTOR), 0);
	assert_int_equal(attach(guest, first, fd), 0);
	for (unsigned int step = 1; step <= 4; step++) {
		int next = reserve(guest, 25);

		assert_int_equal(next, first + 1 + 25 * ((int)step - 1));
		for (int i = 0; i < 25; i++)
			assert_int_equal(route(guest, next + i, FIRST_VECTOR + 1), 0);
		raise_fd(fd);
		expect(guest, 0, step);
	}
	press_button(guest);
	expect(guest, 2, 1);
	detach(guest, first, fd);
	close(fd);
}

static void test_what_is_impossible_is_refused(void **state)
{
	struct guest *guest = *state;
	NEED_GUEST();

	assert_int_equal(reserve(guest, 1000000), -ENOSPC);
	assert_int_equal(route(guest, 4, 0), -EINVAL);
	assert_int_equal(route(guest, 4000, 0), -EINVAL);
	assert_int_equal(attach(guest, 24, -1), -EBADF);
}

/* --- the I/O APIC of this process --------------------------------------------------------------
 */

static uint32_t ioapic_read(struct guest *guest, uint8_t selected)
{
	uint32_t value;

	assert_true(bus_write(&guest->machine.mmio, LAYOUT_IOAPIC_BASE, &selected, 1));
	assert_true(bus_read(
		&guest->machine.mmio, LAYOUT_IOAPIC_BASE + 0x10, (uint8_t *)&value, sizeof(value)));
	return value;
}

static void ioapic_write(struct guest *guest, uint8_t selected, uint32_t value)
{
	assert_true(bus_write(&guest->machine.mmio, LAYOUT_IOAPIC_BASE, &selected, 1));
	assert_true(bus_write(
		&guest->machine.mmio, LAYOUT_IOAPIC_BASE + 0x10, (uint8_t *)&value, sizeof(value)));
}

static void test_ioapic_registers(void **state)
{
	struct guest *guest = *state;
	NEED_GUEST();

	pthread_mutex_lock(&guest->machine.lock);
	assert_int_equal(ioapic_read(guest, 1), 0x170011);
	ioapic_write(guest, 0, 0xffffffff);
	assert_int_equal(ioapic_read(guest, 0), 0x0f000000);
	/* Masked at first; the status bits cannot be written. */
	assert_int_equal(ioapic_read(guest, 0x10 + 2 * 3), 0x10000);
	ioapic_write(guest, 0x10 + 2 * 3, 0xffffffff);
	assert_int_equal(ioapic_read(guest, 0x10 + 2 * 3), 0x1afff);
	ioapic_write(guest, 0x11 + 2 * 3, 0xffffffff);
	assert_int_equal(ioapic_read(guest, 0x11 + 2 * 3), 0xff000000);
	for (unsigned int selected = 0; selected < 256; selected++) {
		ioapic_write(guest, (uint8_t)selected, 0x10000);
		if (selected >= 0x40 || (selected > 2 && selected < 0x10))
			assert_int_equal(ioapic_read(guest, (uint8_t)selected), 0xffffffff);
	}
	pthread_mutex_unlock(&guest->machine.lock);
}

static void set_power_line(struct guest *guest, uint32_t value)
{
	pthread_mutex_lock(&guest->machine.lock);
	ioapic_write(guest, 0x10 + 2 * LAYOUT_LINE_POWER, value);
	pthread_mutex_unlock(&guest->machine.lock);
}

static void test_ioapic_lines_are_masked_and_moved(void **state)
{
	struct guest *guest = *state;
	NEED_GUEST();

	press_button(guest);
	expect(guest, 2, 1);
	/* Masked: it is lost. */
	set_power_line(guest, 0x10000 | (FIRST_VECTOR + 2));
	press_button(guest);
	sleep_ms(20);
	/* Another vector, and what the guest calls level-triggered. */
	set_power_line(guest, 0x8000 | FIRST_VECTOR);
	press_button(guest);
	expect(guest, 0, 1);
	press_button(guest);
	expect(guest, 0, 2);
	assert_int_equal(*guest_word(guest, GUEST_PAGE + 8), 1);
}

/* A KVM that refuses everything: another file is in the place of its descriptor for a moment. */
static void test_what_kvm_refuses_is_counted(void **state)
{
	struct guest *guest = *state;
	int kept, nothing;
	NEED_GUEST();

	assert_int_equal(ioapic_refused(guest->machine.ioapic), 0);
	kept = dup(guest->machine.vm_fd);
	nothing = open("/dev/null", O_RDWR);
	dup2(nothing, guest->machine.vm_fd);
	set_power_line(guest, 0x8000 | FIRST_VECTOR);
	dup2(kept, guest->machine.vm_fd);
	close(kept);
	close(nothing);
	assert_int_equal(ioapic_refused(guest->machine.ioapic), 1);
	set_power_line(guest, 0x8000 | (FIRST_VECTOR + 1));
	press_button(guest);
	expect(guest, 1, 1);
	assert_int_equal(ioapic_refused(guest->machine.ioapic), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_power_button_interrupts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_messages_are_routed_masked_and_not_lost, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_growth_loses_no_route, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_what_is_impossible_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			test_power_button_interrupts, set_up_split, tear_down),
		cmocka_unit_test_setup_teardown(
			test_messages_are_routed_masked_and_not_lost, set_up_split, tear_down),
		cmocka_unit_test_setup_teardown(
			test_growth_loses_no_route, set_up_split, tear_down),
		cmocka_unit_test_setup_teardown(test_ioapic_registers, set_up_split, tear_down),
		cmocka_unit_test_setup_teardown(
			test_ioapic_lines_are_masked_and_moved, set_up_split, tear_down),
		cmocka_unit_test_setup_teardown(
			test_what_kvm_refuses_is_counted, set_up_split, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
