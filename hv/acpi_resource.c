/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes resource templates: a buffer of descriptors, as ACPI 6.5 has them in 6.4.
 *
 * Called by acpi_dsdt.c on the main thread, before the guest runs.
 */
#include "hv/acpi_resource.h"

enum {
	SIZE_BYTES = 2, /* The buffer's size is always written as a word. */
	WORD_PREFIX = 0x0b,
	PORTS = 0x47,
	END_TAG = 0x79,
	FIXED_MEMORY = 0x86,
	ADDRESS_SPACE_DWORD = 0x87,
	ADDRESS_SPACE_WORD = 0x88,
	EXTENDED_INTERRUPT = 0x89,
	ADDRESS_SPACE_QWORD = 0x8a,
};

enum { DECODE_16_BITS = 1, INTERRUPT_CONSUMED = 1, INTERRUPT_EDGE = 2, READ_WRITE = 1 };

/* Of windows: their kind, and that both of their ends are fixed. */
enum { SPACE_MEMORY = 0, SPACE_BUS_NUMBERS = 2, ENDS_FIXED = 0xc };

static void byte(struct aml *aml, unsigned int value)
{
	aml_number(aml, value, 1);
}

struct resource_template resource_open(struct aml *aml)
{
	struct resource_template resources;

	resources.length_at = aml_open_buffer(aml).length_at;
	byte(aml, WORD_PREFIX);
	resources.size_at = aml->bytes;
	aml_number(aml, 0, SIZE_BYTES);
	return resources;
}

/* The end tag's checksum is 0: it need not be looked at. */
void resource_close(struct aml *aml, struct resource_template resources)
{
	uint32_t size;

	byte(aml, END_TAG);
	byte(aml, 0);
	if (aml->overflow)
		return;
	size = aml->bytes - resources.size_at - SIZE_BYTES;
	aml->code[resources.size_at] = (uint8_t)size;
	aml->code[resources.size_at + 1] = (uint8_t)(size >> 8);
	aml_close(aml, (struct aml_block){resources.length_at});
}

void resource_ports(struct aml *aml, uint16_t first, uint8_t count)
{
	byte(aml, PORTS);
	byte(aml, DECODE_16_BITS);
	aml_number(aml, first, 2);
	aml_number(aml, first, 2);
	byte(aml, 1); /* Alignment. */
	byte(aml, count);
}

/* The length of a large descriptor counts what follows it. */
static void large(struct aml *aml, unsigned int tag, uint16_t bytes)
{
	byte(aml, tag);
	aml_number(aml, bytes, 2);
}

void resource_interrupt(struct aml *aml, uint32_t line)
{
	large(aml, EXTENDED_INTERRUPT, 2 + sizeof(line));
	byte(aml, INTERRUPT_CONSUMED | INTERRUPT_EDGE);
	byte(aml, 1); /* How many follow. */
	aml_number(aml, line, sizeof(line));
}

void resource_memory(struct aml *aml, uint32_t base, uint32_t bytes)
{
	large(aml, FIXED_MEMORY, 1 + 2 * sizeof(base));
	byte(aml, READ_WRITE);
	aml_number(aml, base, sizeof(base));
	aml_number(aml, bytes, sizeof(bytes));
}

/* Granularity, first, last, translation and length, in numbers of `width` bytes. */
static void window(struct aml *aml, unsigned int tag, unsigned int space, uint64_t first,
	uint64_t length, uint32_t width)
{
	large(aml, tag, (uint16_t)(3 + 5 * width));
	byte(aml, space);
	byte(aml, ENDS_FIXED);
	byte(aml, space == SPACE_MEMORY ? READ_WRITE : 0);
	aml_number(aml, 0, width);
	aml_number(aml, first, width);
	aml_number(aml, first + length - 1, width);
	aml_number(aml, 0, width);
	aml_number(aml, length, width);
}

void resource_bus_window(struct aml *aml, uint16_t first, uint16_t last)
{
	window(aml, ADDRESS_SPACE_WORD, SPACE_BUS_NUMBERS, first, (uint64_t)last - first + 1, 2);
}

void resource_memory32_window(struct aml *aml, uint32_t base, uint32_t bytes)
{
	window(aml, ADDRESS_SPACE_DWORD, SPACE_MEMORY, base, bytes, sizeof(bytes));
}

void resource_memory64_window(struct aml *aml, uint64_t base, uint64_t bytes)
{
	window(aml, ADDRESS_SPACE_QWORD, SPACE_MEMORY, base, bytes, sizeof(bytes));
}
