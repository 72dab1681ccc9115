/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI's tables as a guest finds them: from the RSDP on, each with its length and checksum, and
 * what they say; and all of them read by ACPICA's disassembler and compiler, which have to find
 * nothing wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/acpi.h"
#include "hv/acpi_aml.h"
#include "hv/acpi_resource.h"
#include "hv/layout.h"
#include "hv/options.h"
#include "hv/power.h"

enum { HEADER_BYTES = 36, XSDT_TABLES = 3 };

struct fixture {
	struct machine machine;
	char directory[64];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct hv_error error;

	assert_int_equal(guest_memory_create(
				 &f->machine.memory, UINT64_C(5) << 30, GUEST_PAGES_SMALL, &error),
		0);
	f->machine.n_vcpus = 2;
	strcpy(f->directory, "/tmp/cordon-acpi-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	assert_int_equal(acpi_build(&f->machine, &error), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	guest_memory_destroy(&f->machine.memory);
	rmdir(f->directory);
	free(f);
	return 0;
}

static const uint8_t *at(struct fixture *f, uint64_t address, uint64_t bytes)
{
	const uint8_t *host = guest_memory_at(&f->machine.memory, address, bytes);

	assert_non_null(host);
	return host;
}

static uint64_t number(const uint8_t *bytes, size_t n)
{
	uint64_t value = 0;

	memcpy(&value, bytes, n);
	return value;
}

static void assert_sum(const uint8_t *bytes, size_t n)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + bytes[i]);
	assert_int_equal(sum, 0);
}

static uint32_t length_of(const uint8_t *table)
{
	return (uint32_t)number(table + 4, 4);
}

/* A table whose place is known: inside the reserved part, and whole. */
static const uint8_t *table_at(struct fixture *f, uint64_t address)
{
	const uint8_t *table = at(f, address, HEADER_BYTES);

	assert_in_range(address, ACPI_RSDP, ACPI_END - length_of(table));
	assert_sum(table, length_of(table));
	return table;
}

/* The table of this signature, from the RSDP on. */
static const uint8_t *find(struct fixture *f, const char *signature)
{
	const uint8_t *rsdp = at(f, ACPI_RSDP, 36);
	const uint8_t *xsdt;

	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_sum(rsdp, 20);
	assert_sum(rsdp, 36);
	xsdt = table_at(f, number(rsdp + 24, 8));
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(length_of(xsdt), HEADER_BYTES + XSDT_TABLES * 8);
	for (size_t i = 0; i < XSDT_TABLES; i++) {
		const uint8_t *table = table_at(f, number(xsdt + HEADER_BYTES + i * 8, 8));

		if (memcmp(table, signature, 4) == 0)
			return table;
	}
	fail_msg("there is no %s", signature);
	return NULL;
}

static const uint8_t *find_dsdt(struct fixture *f)
{
	const uint8_t *fadt = find(f, "FACP");

	assert_int_equal(number(fadt + 40, 4), number(fadt + 140, 8));
	return table_at(f, number(fadt + 140, 8));
}

static void fadt_is_hardware_reduced(void **state)
{
	const uint8_t *fadt = find(*state, "FACP");
	uint32_t flags = (uint32_t)number(fadt + 112, 4);

	assert_int_equal(length_of(fadt), 276);
	assert_true(flags & 1 << 20);
	assert_true(flags & 1 << 10);
	/* No 8042, no VGA, no RTC. */
	assert_int_equal(number(fadt + 109, 2) & 0x26, 0x24);
	assert_int_equal(number(fadt + 116, 1), 1);
	assert_int_equal(number(fadt + 120, 8), POWER_PORT_RESET);
	assert_int_equal(number(fadt + 128, 1), POWER_RESET_VALUE);
	assert_int_equal(number(fadt + 248, 8), POWER_PORT_SLEEP_CONTROL);
	assert_int_equal(number(fadt + 260, 8), POWER_PORT_SLEEP_STATUS);
}

/* The entries of the MADT, one after the other, of known types, and exactly to its end. */
static void madt_has_all_apics(void **state)
{
	struct fixture *f = *state;

	for (unsigned int n = 1; n <= OPTIONS_VCPUS; n *= 8) {
		unsigned int processors = 0, io_apics = 0;
		const uint8_t *madt;
		uint32_t offset;

		f->machine.n_vcpus = n;
		assert_int_equal(acpi_build(&f->machine, NULL), 0);
		madt = find(f, "APIC");
		assert_int_equal(number(madt + 36, 4), LAYOUT_LOCAL_APIC_BASE);
		for (offset = 44; offset < length_of(madt); offset += madt[offset + 1]) {
			const uint8_t *entry = madt + offset;

			assert_true(entry[1] > 0);
			if (entry[0] == 0) {
				assert_int_equal(entry[2], processors);
				assert_int_equal(entry[3], processors++);
				assert_int_equal(number(entry + 4, 4), 1);
			} else if (entry[0] == 1) {
				io_apics++;
				assert_int_equal(number(entry + 4, 4), LAYOUT_IOAPIC_BASE);
				assert_int_equal(number(entry + 8, 4), 0);
			} else {
				assert_int_equal(entry[0], 4);
			}
		}
		assert_int_equal(offset, length_of(madt));
		assert_int_equal(processors, n);
		assert_int_equal(io_apics, 1);
	}
}

static void mcfg_is_of_one_bus(void **state)
{
	const uint8_t *mcfg = find(*state, "MCFG");

	assert_int_equal(length_of(mcfg), 60);
	assert_int_equal(number(mcfg + 44, 8), LAYOUT_ECAM_BASE);
	assert_int_equal(number(mcfg + 52, 4), 0);
}

static void too_many_processors_are_refused(void **state)
{
	struct fixture *f = *state;
	struct hv_error error;

	f->machine.n_vcpus = OPTIONS_VCPUS + 1;
	assert_true(acpi_build(&f->machine, &error) < 0);
	assert_non_null(strstr(error.text, "65 processors"));
}

/* --- What ACPICA makes of it --- */

static void path_of(struct fixture *f, const char *name, char *path, size_t n)
{
	snprintf(path, n, "%s/%s", f->directory, name);
}

static void save(struct fixture *f, const char *name, const uint8_t *table)
{
	char path[96];
	FILE *file;

	path_of(f, name, path, sizeof(path));
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(table, 1, length_of(table), file), length_of(table));
	assert_int_equal(fclose(file), 0);
}

/* What a command says, which must succeed.  To be freed. */
static char *said_by(struct fixture *f, const char *command)
{
	char *text = calloc(1, 1 << 16);
	char line[256];
	size_t n;
	FILE *pipe;

	snprintf(line, sizeof(line), "cd %s && { %s; } 2>&1", f->directory, command);
	pipe = popen(line, "r");
	assert_non_null(pipe);
	n = fread(text, 1, (1 << 16) - 1, pipe);
	text[n] = '\0';
	if (pclose(pipe) != 0)
		fail_msg("%s: %s", line, text);
	return text;
}

static void assert_says(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("not said: %s\n%s", part, text);
}

static void clean(struct fixture *f)
{
	free(said_by(f, "rm -f *.dat *.dsl *.aml"));
}

static void tables_disassemble(void **state)
{
	static const char *const signatures[] = {"FACP", "APIC", "MCFG"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++) {
		char *text;

		save(f, "table.dat", find(f, signatures[i]));
		text = said_by(f, "iasl -d table.dat && cat table.dsl");
		assert_says(text, "decoded");
		assert_null(strstr(text, "Error"));
		assert_null(strstr(text, "Warning"));
		assert_null(strstr(text, "Invalid"));
		free(text);
	}
	clean(f);
}

/* The DSDT as ASL says what is meant; and the ASL compiles to the same, without a word. */
static void dsdt_is_good_asl(void **state)
{
	static const char *const parts[] = {
		"Device (PCI0)",
		"EisaId (\"PNP0A08\")",
		"EisaId (\"PNP0A03\")",
		"Method (_OSC, 4, Serialized)",
		"Device (COM1)",
		"EisaId (\"PNP0501\")",
		"Name (_HID, \"ACPI0013\"",
		"EisaId (\"PNP0C0C\")",
		"Method (_EVT, 1, Serialized)",
		"Notify (\\_SB.PWRB, 0x80)",
		"OperationRegion (EVTR, SystemIO, 0x0603, One)",
		"Name (\\_S5, Package (0x04)",
		"0xC0000000,         // Range Minimum",
		"0x0000000180000000, // Range Minimum",
		"0x03F8,             // Range Minimum",
		"0xE0000000,         // Address Base",
		"Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive",
		"\"ACPI0007\"",
	};
	struct fixture *f = *state;
	char *text;

	save(f, "dsdt.dat", find_dsdt(f));
	text = said_by(f, "iasl -d dsdt.dat && cat dsdt.dsl");
	assert_null(strstr(text, "Error"));
	assert_null(strstr(text, "Warning"));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		assert_says(text, parts[i]);
	free(text);
	text = said_by(f, "iasl -p again dsdt.dsl");
	assert_says(text, "0 Errors, 0 Warnings, 0 Remarks");
	free(text);
	clean(f);
}

/* Sixty-four processors, and memory that ends below the hole: the window for 64-bit BARs moves. */
static void largest_dsdt_is_good_too(void **state)
{
	struct fixture *f = *state;
	char *text;

	f->machine.n_vcpus = OPTIONS_VCPUS;
	guest_memory_destroy(&f->machine.memory);
	assert_int_equal(
		guest_memory_create(&f->machine.memory, 2 << 20, GUEST_PAGES_SMALL, NULL), 0);
	assert_int_equal(acpi_build(&f->machine, NULL), 0);
	save(f, "dsdt.dat", find_dsdt(f));
	text = said_by(f, "iasl -d dsdt.dat && cat dsdt.dsl");
	assert_says(text, "Device (C03F)");
	assert_says(text, "0x0000000100000000, // Range Minimum");
	free(text);
	text = said_by(f, "iasl -p again dsdt.dsl");
	assert_says(text, "0 Errors, 0 Warnings, 0 Remarks");
	free(text);
	clean(f);
}

/* --- The encoder --- */

static void encoder_overruns_nothing(void **state)
{
	(void)state;
	for (uint32_t size = 0; size < 40; size++) {
		uint8_t code[64];
		struct aml aml = {.code = code, .size = size};
		struct aml_block scope;
		struct resource_template resources;

		memset(code, 0xee, sizeof(code));
		scope = aml_scope(&aml, "\\_SB");
		aml_name(&aml, "_CRS");
		resources = resource_open(&aml);
		resource_interrupt(&aml, 4);
		resource_close(&aml, resources);
		aml_close(&aml, scope);
		for (size_t i = size; i < sizeof(code); i++)
			assert_int_equal(code[i], 0xee);
		assert_true(aml.overflow == (size < 32));
	}
}

static void integers_take_what_they_need(void **state)
{
	static const struct {
		uint64_t value;
		uint32_t bytes;
	} integers[] = {{0, 1}, {1, 1}, {2, 2}, {0xff, 2}, {0x100, 3}, {0xffff, 3}, {0x10000, 5},
		{UINT32_MAX, 5}, {UINT64_C(1) << 32, 9}};

	(void)state;
	for (size_t i = 0; i < sizeof(integers) / sizeof(integers[0]); i++) {
		uint8_t code[16];
		struct aml aml = {.code = code, .size = sizeof(code)};

		aml_integer(&aml, integers[i].value);
		assert_int_equal(aml.bytes, integers[i].bytes);
		if (aml.bytes > 1)
			assert_int_equal(number(code + 1, aml.bytes - 1), integers[i].value);
	}
}

int main(void)
{
#define STORY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		STORY(fadt_is_hardware_reduced),
		STORY(madt_has_all_apics),
		STORY(mcfg_is_of_one_bus),
		STORY(too_many_processors_are_refused),
		STORY(tables_disassemble),
		STORY(dsdt_is_good_asl),
		STORY(largest_dsdt_is_good_too),
		cmocka_unit_test(encoder_overruns_nothing),
		cmocka_unit_test(integers_take_what_they_need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
