/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration space and BARs as a guest's system meets them (PCI Local Bus 3.0, 6; PCI Firmware
 * 3.0 for ECAM): what it finds, what it may change, and what becomes of accesses that make no
 * sense.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/pci.h"
#include "tests/unit/toy_machine.h"

enum {
	BAR = 0x4000,
	N_FUNCTIONS = 3,
	/* Where they are on the bus: device 1, 2, 3. */
	FIRST = 8,
	SECOND = 16,
	NOBODY = 40,
	MEMORY_ON = PCI_COMMAND_MEMORY,
};

/* A function that remembers what it was told. */
struct toy_function {
	struct pci_function function; /* First. */
	unsigned int n_moved, n_written, n_read, last_offset, last_bytes;
	uint64_t last_value;
	bool destroyed;
};

struct fixture {
	struct toy_machine machine;
	struct toy_function functions[N_FUNCTIONS];
};

static void read_bar(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	struct toy_function *toy = device;

	memset(data, 0x5a, bytes);
	toy->n_read++;
	toy->last_offset = (unsigned int)offset;
}

static void write_bar(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	struct toy_function *toy = device;

	toy->n_written++;
	toy->last_offset = (unsigned int)offset;
	toy->last_bytes = bytes;
	toy->last_value = 0;
	memcpy(&toy->last_value, data, bytes);
}

static void moved(struct pci_function *function)
{
	((struct toy_function *)function)->n_moved++;
}

static void destroyed(struct pci_function *function)
{
	((struct toy_function *)function)->destroyed = true;
}

static const struct pci_function_type toy_type = {
	.bar = {read_bar, write_bar}, .bar_moved = moved, .destroy = destroyed};

static const struct pci_identity identity = {
	.vendor = 0x1af4,
	.device = 0x1041,
	.subsystem_vendor = 0x1234,
	.subsystem = 0x5678,
	.class = 0x020000,
	.revision = 1,
};

static int set_up(void **state)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	if (toy_machine_create(&fixture.machine) != 0)
		return -1;
	for (unsigned int i = 0; i < N_FUNCTIONS; i++) {
		struct pci_function *function = &fixture.functions[i].function;

		function->type = &toy_type;
		function->bar_bytes = BAR;
		pci_config_init(&function->config, &identity);
		if (pci_add_function(fixture.machine.root, function, NULL) != 0)
			return -1;
	}
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	toy_machine_destroy(&fixture->machine);
	for (unsigned int i = 0; i < N_FUNCTIONS; i++)
		if (!fixture->functions[i].destroyed)
			return -1;
	return fixture->machine.mmio.n_regions == 0 && fixture->machine.ports.n_regions == 0 ? 0
											     : -1;
}

/* --- What a guest finds ---------------------------------------------------------------------- */

struct reading {
	const char *name;
	unsigned int function, offset, bytes;
	uint64_t value;
};

static const struct reading readings[] = {
	{"the bridge's identity", 0, PCI_VENDOR_ID, 4, 0x00081b36},
	{"the bridge's class", 0, PCI_CLASS_DEVICE, 2, 0x0600},
	{"the bridge has no BAR", 0, PCI_BASE_ADDRESS_0, 4, 0},
	{"identity", FIRST, PCI_VENDOR_ID, 4, 0x10411af4},
	{"identity, the first byte", FIRST, 0, 1, 0xf4},
	{"identity, the second byte", FIRST, 1, 1, 0x1a},
	{"identity, in the middle", FIRST, 1, 2, 0x411a},
	{"nothing is on", FIRST, PCI_COMMAND, 2, 0},
	{"no capabilities", FIRST, PCI_STATUS, 2, 0},
	{"class and revision", FIRST, PCI_CLASS_REVISION, 4, 0x02000001},
	{"an ordinary header", FIRST, PCI_HEADER_TYPE, 1, 0},
	{"subsystem", FIRST, PCI_SUBSYSTEM_VENDOR_ID, 4, 0x56781234},
	{"no interrupt pin", FIRST, PCI_INTERRUPT_PIN, 1, 0},
	{"a 64-bit BAR", FIRST, PCI_BASE_ADDRESS_0, 4, LAYOUT_PCI32_BASE | 4},
	{"the next one's, behind it", SECOND, PCI_BASE_ADDRESS_0, 4, (LAYOUT_PCI32_BASE + BAR) | 4},
	{"no second BAR", FIRST, PCI_BASE_ADDRESS_2, 4, 0},
	{"no ROM", FIRST, PCI_ROM_ADDRESS, 4, 0},
	{"no extended capabilities", FIRST, 0x100, 4, 0},
	{"the end of 4 KiB", FIRST, 0xffc, 4, 0},
	{"nobody", NOBODY, 0, 4, 0xffffffff},
	{"nobody, one byte", NOBODY, 3, 1, 0xff},
	{"the last function", 255, 0xfff, 1, 0xff},
	{"across dwords: hardware does not", FIRST, 2, 4, 0xffffffff},
	{"across dwords, of two bytes", FIRST, 3, 2, 0xffff},
	{"eight bytes", FIRST, 0, 8, UINT64_MAX},
};

static void a_guest_finds_the_functions(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(readings) / sizeof(readings[0]); i++) {
		const struct reading *reading = &readings[i];
		uint64_t value = toy_read(&fixture->machine,
			toy_ecam(reading->function, reading->offset), reading->bytes);

		if (value != reading->value)
			fail_msg("%s: %#lx, not %#lx", reading->name, (unsigned long)value,
				(unsigned long)reading->value);
	}
}

/* --- What it may change ---------------------------------------------------------------------- */

struct writing {
	const char *name;
	unsigned int offset, bytes;
	uint32_t value, then; /* `then`: what the dword at the offset reads afterwards. */
};

static const struct writing writings[] = {
	{"identity stays", PCI_VENDOR_ID, 4, 0, 0x10411af4},
	{"what can be switched on", PCI_COMMAND, 2, 0xffff, 0x0406},
	{"its high byte alone", PCI_COMMAND + 1, 1, 0xff, 0x0400},
	{"its low byte alone", PCI_COMMAND, 1, 0xff, 0x0006},
	{"status stays", PCI_STATUS, 2, 0xffff, 0},
	{"class stays", PCI_CLASS_REVISION, 4, 0xffffffff, 0x02000001},
	{"the BAR's size", PCI_BASE_ADDRESS_0, 4, 0xffffffff, 0xffffc004},
	{"the BAR's upper half", PCI_BASE_ADDRESS_1, 4, 0xffffffff, 0xffffffff},
	{"the BAR, byte by byte", PCI_BASE_ADDRESS_0 + 1, 1, 0xff, LAYOUT_PCI32_BASE | 0xc004},
	{"there is no other BAR", PCI_BASE_ADDRESS_2, 4, 0xffffffff, 0},
	{"there is no ROM", PCI_ROM_ADDRESS, 4, 0xffffffff, 0},
	{"a register for systems", PCI_INTERRUPT_LINE, 4, 0xffffffff, 0xff},
	{"a pin does not appear", PCI_INTERRUPT_PIN, 1, 1, 0},
	{"behind 256 bytes is nothing", 0x100, 4, 0xffffffff, 0},
	{"across dwords: hardware does not", PCI_COMMAND - 1, 4, 0xffffffff, 0x10411af4},
};

static void masks_say_what_may_be_changed(void **state)
{
	for (size_t i = 0; i < sizeof(writings) / sizeof(writings[0]); i++) {
		const struct writing *writing = &writings[i];
		unsigned int dword = writing->offset & ~3U;
		struct fixture *fixture;
		uint32_t value;

		assert_int_equal(tear_down(state), 0);
		assert_int_equal(set_up(state), 0);
		fixture = *state;
		toy_config_write(
			&fixture->machine, FIRST, writing->offset, writing->value, writing->bytes);
		value = toy_config_read(&fixture->machine, FIRST, dword, 4);
		if (value != writing->then)
			fail_msg("%s: %#x, not %#x", writing->name, value, writing->then);
		/* Nobody else's. */
		assert_int_equal(toy_config_read(&fixture->machine, SECOND, PCI_COMMAND, 2), 0);
	}
}

/* --- The ports ------------------------------------------------------------------------------- */

static uint32_t port_read(struct fixture *fixture, uint16_t port, unsigned int bytes)
{
	uint32_t value = 0;

	bus_read(&fixture->machine.ports, port, (uint8_t *)&value, bytes);
	return value;
}

static void port_write(struct fixture *fixture, uint16_t port, uint32_t value, unsigned int bytes)
{
	bus_write(&fixture->machine.ports, port, (const uint8_t *)&value, bytes);
}

static void the_ports_lead_to_the_same_registers(void **state)
{
	struct fixture *fixture = *state;

	/* Until the address is enabled there is nothing. */
	assert_int_equal(port_read(fixture, 0xcf8, 4), 0);
	assert_int_equal(port_read(fixture, 0xcfc, 4), 0xffffffff);
	/* Linux asks so whether the ports are there: a byte at 0xcfb is not for the address. */
	port_write(fixture, 0xcf8, 0x80000000, 4);
	port_write(fixture, 0xcfb, 0x01, 1);
	assert_int_equal(port_read(fixture, 0xcf8, 4), 0x80000000);
	assert_int_equal(port_read(fixture, 0xcfc, 4), 0x00081b36);
	/* Device 1: reads of every size at every place in the dword. */
	port_write(fixture, 0xcf8, 0x80000800, 4);
	assert_int_equal(port_read(fixture, 0xcfc, 4), 0x10411af4);
	assert_int_equal(port_read(fixture, 0xcfe, 2), 0x1041);
	assert_int_equal(port_read(fixture, 0xcfd, 1), 0x1a);
	assert_int_equal(port_read(fixture, 0xcfd, 2), 0x411a);
	/* Beyond the data port, and half in the address port. */
	assert_int_equal(port_read(fixture, 0xcfd, 4), 0xffffffff);
	assert_int_equal(port_read(fixture, 0xcfa, 4), 0xffffffff);
	/* Writes. */
	port_write(fixture, 0xcf8, 0x80000800 | PCI_COMMAND, 4);
	port_write(fixture, 0xcfc, 0x0006, 2);
	assert_int_equal(toy_config_read(&fixture->machine, FIRST, PCI_COMMAND, 4), 0x0006);
	port_write(fixture, 0xcfd, 0xff, 1);
	assert_int_equal(toy_config_read(&fixture->machine, FIRST, PCI_COMMAND, 4), 0x0406);
	/* Another bus; the two lowest bits of the address are always 0. */
	port_write(fixture, 0xcf8, 0xffffffff, 4);
	assert_int_equal(port_read(fixture, 0xcf8, 4), 0x80fffffc);
	assert_int_equal(port_read(fixture, 0xcfc, 4), 0xffffffff);
	port_write(fixture, 0xcfc, 0, 4);
	assert_int_equal(toy_config_read(&fixture->machine, FIRST, PCI_COMMAND, 4), 0x0406);
	/* Disabled. */
	port_write(fixture, 0xcf8, 0x00000800, 4);
	assert_int_equal(port_read(fixture, 0xcfc, 4), 0xffffffff);
	port_write(fixture, 0xcfc, 0, 4);
	assert_int_equal(toy_config_read(&fixture->machine, FIRST, PCI_VENDOR_ID, 4), 0x10411af4);
}

/* --- BARs ------------------------------------------------------------------------------------ */

static void put_bar(struct fixture *fixture, unsigned int number, uint64_t address)
{
	toy_config_write(&fixture->machine, number, PCI_BASE_ADDRESS_0, (uint32_t)address, 4);
	toy_config_write(
		&fixture->machine, number, PCI_BASE_ADDRESS_1, (uint32_t)(address >> 32), 4);
}

static bool answers(struct fixture *fixture, unsigned int i, uint64_t address)
{
	unsigned int before = fixture->functions[i].n_read;

	toy_read(&fixture->machine, address, 4);
	return fixture->functions[i].n_read == before + 1;
}

static void a_bar_answers_while_memory_is_on(void **state)
{
	struct fixture *fixture = *state;
	struct toy_function *toy = &fixture->functions[0];

	assert_false(answers(fixture, 0, LAYOUT_PCI32_BASE));
	toy_config_write(&fixture->machine, FIRST, PCI_COMMAND, MEMORY_ON, 2);
	assert_true(answers(fixture, 0, LAYOUT_PCI32_BASE));
	assert_true(answers(fixture, 0, LAYOUT_PCI32_BASE + BAR - 4));
	assert_false(answers(fixture, 0, LAYOUT_PCI32_BASE + BAR));
	toy_write(&fixture->machine, LAYOUT_PCI32_BASE + 0x10, 0x1122334455667788, 8);
	assert_int_equal(toy->last_offset, 0x10);
	assert_int_equal(toy->last_bytes, 8);
	assert_int_equal(toy->last_value, 0x1122334455667788);
	assert_int_equal(toy->n_moved, 1);
	toy_config_write(&fixture->machine, FIRST, PCI_COMMAND, 0, 2);
	assert_false(answers(fixture, 0, LAYOUT_PCI32_BASE));
	assert_int_equal(toy->n_moved, 2);
	assert_int_equal(toy->function.bar_address, PCI_NOWHERE);
}

/* As systems do it, with memory decoding left on. */
static void sizing_moves_nothing_for_good(void **state)
{
	struct fixture *fixture = *state;
	uint64_t size;

	toy_config_write(&fixture->machine, FIRST, PCI_COMMAND, MEMORY_ON, 2);
	put_bar(fixture, FIRST, UINT64_MAX);
	size = (uint64_t)toy_config_read(&fixture->machine, FIRST, PCI_BASE_ADDRESS_1, 4) << 32 |
	       (toy_config_read(&fixture->machine, FIRST, PCI_BASE_ADDRESS_0, 4) & ~0xfU);
	assert_int_equal(~size + 1, BAR);
	assert_false(answers(fixture, 0, LAYOUT_PCI32_BASE));
	put_bar(fixture, FIRST, LAYOUT_PCI32_BASE);
	assert_true(answers(fixture, 0, LAYOUT_PCI32_BASE));
}

struct move {
	const char *name;
	uint64_t address;
	uint64_t where; /* It answers then, or PCI_NOWHERE. */
};

static const struct move moves[] = {
	{"elsewhere in the window", 0xc8000000, 0xc8000000},
	{"the window's end", 0xe0000000 - BAR, 0xe0000000 - BAR},
	{"the 64-bit window", TOY_WINDOW_64, TOY_WINDOW_64},
	{"the end of the 64-bit window", TOY_WINDOW_64 + LAYOUT_PCI64_BYTES - BAR,
		TOY_WINDOW_64 + LAYOUT_PCI64_BYTES - BAR},
	{"askew: the lowest bits are not there", 0xc8001230, 0xc8000000},
	{"nowhere", 0, PCI_NOWHERE},
	{"the guest's memory", 0x100000, PCI_NOWHERE},
	{"configuration space", LAYOUT_ECAM_BASE, PCI_NOWHERE},
	{"the I/O APIC", LAYOUT_IOAPIC_BASE, PCI_NOWHERE},
	{"the local APIC", LAYOUT_LOCAL_APIC_BASE, PCI_NOWHERE},
	{"below 4 GiB", 0xffffc000, PCI_NOWHERE},
	{"behind the 64-bit window", TOY_WINDOW_64 + LAYOUT_PCI64_BYTES, PCI_NOWHERE},
	{"the end of numbers", UINT64_MAX, PCI_NOWHERE},
	{"where another one is", LAYOUT_PCI32_BASE + BAR, PCI_NOWHERE},
};

static void a_bar_goes_where_it_is_put(void **state)
{
	struct fixture *fixture = *state;

	toy_config_write(&fixture->machine, FIRST, PCI_COMMAND, MEMORY_ON, 2);
	toy_config_write(&fixture->machine, SECOND, PCI_COMMAND, MEMORY_ON, 2);
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++) {
		const struct move *move = &moves[i];

		put_bar(fixture, FIRST, move->address);
		if (fixture->functions[0].function.bar_address != move->where)
			fail_msg("%s: at %#lx, not %#lx", move->name,
				(unsigned long)fixture->functions[0].function.bar_address,
				(unsigned long)move->where);
		assert_false(answers(fixture, 0, LAYOUT_PCI32_BASE));
		if (move->where != PCI_NOWHERE)
			assert_true(answers(fixture, 0, move->where));
		/* Configuration space and the neighbour stay where they are. */
		assert_int_equal(
			toy_config_read(&fixture->machine, SECOND, PCI_VENDOR_ID, 4), 0x10411af4);
		assert_true(answers(fixture, 1, LAYOUT_PCI32_BASE + BAR));
	}
}

/* Who was there first answers; when he leaves, the other one does. */
static void one_that_was_in_the_way_leaves(void **state)
{
	struct fixture *fixture = *state;

	toy_config_write(&fixture->machine, FIRST, PCI_COMMAND, MEMORY_ON, 2);
	toy_config_write(&fixture->machine, SECOND, PCI_COMMAND, MEMORY_ON, 2);
	put_bar(fixture, SECOND, LAYOUT_PCI32_BASE);
	assert_true(answers(fixture, 0, LAYOUT_PCI32_BASE));
	assert_int_equal(fixture->functions[1].function.bar_address, PCI_NOWHERE);
	put_bar(fixture, FIRST, 0xc8000000);
	assert_true(answers(fixture, 1, LAYOUT_PCI32_BASE));
	toy_config_write(&fixture->machine, SECOND, PCI_COMMAND, 0, 2);
	put_bar(fixture, FIRST, LAYOUT_PCI32_BASE);
	assert_true(answers(fixture, 0, LAYOUT_PCI32_BASE));
}

/* --- Capabilities, and a full bus ------------------------------------------------------------ */

static void capabilities_are_a_list(void **state)
{
	struct pci_config config;
	uint8_t body[20] = {0, 0, 1, 2, 3};
	int first, second;

	(void)state;
	pci_config_init(&config, &identity);
	first = pci_config_add_capability(&config, PCI_CAP_ID_VNDR, body, 5);
	second = pci_config_add_capability(&config, PCI_CAP_ID_MSIX, body, 12);
	assert_int_equal(first, 0x40);
	/* They begin at dwords. */
	assert_int_equal(second, 0x48);
	assert_int_equal(config.bytes[PCI_CAPABILITY_LIST], first);
	assert_int_equal(config.bytes[first], PCI_CAP_ID_VNDR);
	assert_int_equal(config.bytes[first + 1], second);
	assert_int_equal(config.bytes[first + 2], 1);
	assert_int_equal(config.bytes[second + 1], 0);
	assert_int_equal(pci_config_get16(&config, PCI_STATUS), PCI_STATUS_CAP_LIST);
	for (unsigned int i = 0; i < 8; i++)
		assert_true(pci_config_add_capability(&config, PCI_CAP_ID_VNDR, body, 20) > 0);
	/* 0x54 + 8 * 20 is 0xf4: no more. */
	assert_int_equal(pci_config_add_capability(&config, PCI_CAP_ID_VNDR, body, 20), -ENOSPC);
	assert_int_equal(pci_config_add_capability(&config, PCI_CAP_ID_VNDR, body, 12), 0xf4);
	assert_int_equal(pci_config_add_capability(&config, PCI_CAP_ID_VNDR, body, 2), -ENOSPC);
}

/* One function for each device, or as few as it takes, in order; the first of several says so. */
static void fill_bus(struct toy_machine *machine, unsigned int n)
{
	static struct toy_function many[PCI_FUNCTIONS];
	unsigned int of_device = (n + 30) / 31;
	struct hv_error error = {""};

	machine->n_functions = n;
	assert_int_equal(toy_machine_create(machine), 0);
	memset(many, 0, sizeof(many));
	for (unsigned int i = 0; i < 31 * of_device; i++) {
		unsigned int place = (1 + i / of_device) * 8 + i % of_device;

		many[i].function.type = &toy_type;
		pci_config_init(&many[i].function.config, &identity);
		assert_int_equal(toy_config_read(machine, place, PCI_VENDOR_ID, 2), 0xffff);
		assert_int_equal(pci_add_function(machine->root, &many[i].function, NULL), 0);
		assert_int_equal(toy_config_read(machine, place, PCI_VENDOR_ID, 2), 0x1af4);
	}
	for (unsigned int i = 1; i < 32; i++)
		assert_int_equal(toy_config_read(machine, i * 8, PCI_HEADER_TYPE, 1),
			of_device > 1 ? 0x80 : 0);
	assert_int_equal(pci_add_function(machine->root, &many[PCI_FUNCTIONS - 1].function, &error),
		-ENOSPC);
	assert_non_null(strstr(error.text, "the PCI bus has no place for more than"));
	toy_machine_destroy(machine);
}

static void a_bus_takes_as_many_as_were_said(void **state)
{
	static const unsigned int numbers[] = {1, 31, 32, 35, 62, 63, 248};

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct toy_machine machine = {.root = NULL};

		fill_bus(&machine, numbers[i]);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		STORY(a_guest_finds_the_functions),
		STORY(masks_say_what_may_be_changed),
		STORY(the_ports_lead_to_the_same_registers),
		STORY(a_bar_answers_while_memory_is_on),
		STORY(sizing_moves_nothing_for_good),
		STORY(a_bar_goes_where_it_is_put),
		STORY(one_that_was_in_the_way_leaves),
		cmocka_unit_test(capabilities_are_a_list),
		cmocka_unit_test(a_bus_takes_as_many_as_were_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
