/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes AML, byte by byte as ACPI 6.5 has it in 20.2 (terms) and 6.4 (resources).
 *
 * Called by acpi_dsdt.c on the main thread, before the guest runs.
 */
#include "hv/acpi_aml.h"

#include <string.h>

/* Lengths of blocks always take three bytes: the first says that two follow (20.2.4). */
enum { LENGTH_BYTES = 3, LENGTH_FOLLOWING = 2 << 6, SEGMENT_CHARACTERS = 4 };

enum aml_opcode {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_DUAL_NAME = 0x2e,
	OP_EXTENDED = 0x5b,
	OP_ROOT = 0x5c,
	OP_ARGUMENT = 0x68,
	OP_AND = 0x7b,
	OP_OR = 0x7d,
	OP_NOTIFY = 0x86,
	OP_CREATE_DWORD_FIELD = 0x8a,
	OP_EQUAL = 0x93,
	OP_IF = 0xa0,
	OP_RETURN = 0xa4,
	/* Behind OP_EXTENDED. */
	OP_REGION = 0x80,
	OP_FIELD = 0x81,
	OP_DEVICE = 0x82,
};

enum { REGION_PORTS = 1, FIELD_BYTE_ACCESS = 1, METHOD_SERIALIZED = 1 << 3, NO_TARGET = 0 };

void aml_put(struct aml *aml, const void *bytes, uint32_t n)
{
	if (aml->overflow || n > aml->size - aml->bytes) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->code + aml->bytes, bytes, n);
	aml->bytes += n;
}

/* The lowest `n` bytes of a number, the least significant first. */
void aml_number(struct aml *aml, uint64_t value, uint32_t n)
{
	aml_put(aml, &value, n);
}

static void byte(struct aml *aml, unsigned int value)
{
	aml_number(aml, value, 1);
}

/* One segment, padded to its four characters; what follows it. */
static const char *segment(struct aml *aml, const char *path)
{
	size_t n = strcspn(path, ".");

	for (size_t i = 0; i < SEGMENT_CHARACTERS; i++)
		byte(aml, i < n ? (unsigned char)path[i] : '_');
	return path[n] == '.' ? path + n + 1 : path + n;
}

/* One or two segments, perhaps from the root on: deeper paths are not needed. */
static void path_of(struct aml *aml, const char *path)
{
	if (*path == '\\') {
		byte(aml, OP_ROOT);
		path++;
	}
	if (strchr(path, '.')) {
		byte(aml, OP_DUAL_NAME);
		path = segment(aml, path);
	}
	segment(aml, path);
}

static struct aml_block open_block(struct aml *aml)
{
	struct aml_block block = {aml->bytes};

	aml_number(aml, 0, LENGTH_BYTES);
	return block;
}

void aml_close(struct aml *aml, struct aml_block block)
{
	uint32_t length = aml->bytes - block.length_at;
	uint8_t *at = aml->code + block.length_at;

	if (aml->overflow)
		return;
	at[0] = (uint8_t)(LENGTH_FOLLOWING | (length & 0xf));
	at[1] = (uint8_t)(length >> 4);
	at[2] = (uint8_t)(length >> 12);
}

struct aml_block aml_scope(struct aml *aml, const char *path)
{
	struct aml_block block;

	byte(aml, OP_SCOPE);
	block = open_block(aml);
	path_of(aml, path);
	return block;
}

struct aml_block aml_device(struct aml *aml, const char *name)
{
	struct aml_block block;

	byte(aml, OP_EXTENDED);
	byte(aml, OP_DEVICE);
	block = open_block(aml);
	path_of(aml, name);
	return block;
}

struct aml_block aml_method(
	struct aml *aml, const char *name, unsigned int arguments, bool serialized)
{
	struct aml_block block;

	byte(aml, OP_METHOD);
	block = open_block(aml);
	path_of(aml, name);
	byte(aml, arguments | (serialized ? METHOD_SERIALIZED : 0));
	return block;
}

struct aml_block aml_package(struct aml *aml, unsigned int elements)
{
	struct aml_block block;

	byte(aml, OP_PACKAGE);
	block = open_block(aml);
	byte(aml, elements);
	return block;
}

struct aml_block aml_if_argument_is(struct aml *aml, unsigned int argument)
{
	struct aml_block block;

	byte(aml, OP_IF);
	block = open_block(aml);
	byte(aml, OP_EQUAL);
	byte(aml, OP_ARGUMENT + argument);
	return block;
}

struct aml_block aml_if_bits(struct aml *aml, const char *name, uint64_t bits)
{
	struct aml_block block;

	byte(aml, OP_IF);
	block = open_block(aml);
	byte(aml, OP_AND);
	path_of(aml, name);
	aml_integer(aml, bits);
	byte(aml, NO_TARGET);
	return block;
}

struct aml_block aml_field(struct aml *aml, const char *region)
{
	struct aml_block block;

	byte(aml, OP_EXTENDED);
	byte(aml, OP_FIELD);
	block = open_block(aml);
	path_of(aml, region);
	byte(aml, FIELD_BYTE_ACCESS);
	return block;
}

void aml_name(struct aml *aml, const char *name)
{
	byte(aml, OP_NAME);
	path_of(aml, name);
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= OP_ONE) {
		byte(aml, value ? OP_ONE : OP_ZERO);
	} else if (value <= UINT8_MAX) {
		byte(aml, OP_BYTE);
		aml_number(aml, value, 1);
	} else if (value <= UINT16_MAX) {
		byte(aml, OP_WORD);
		aml_number(aml, value, 2);
	} else if (value <= UINT32_MAX) {
		byte(aml, OP_DWORD);
		aml_number(aml, value, 4);
	} else {
		byte(aml, OP_QWORD);
		aml_number(aml, value, 8);
	}
}

void aml_string(struct aml *aml, const char *text)
{
	byte(aml, OP_STRING);
	aml_put(aml, text, (uint32_t)strlen(text) + 1);
}

static uint32_t hexadecimal(const char *digits)
{
	uint32_t value = 0;

	for (; *digits; digits++)
		value = value << 4 |
			(uint32_t)(*digits <= '9' ? *digits - '0' : *digits - 'A' + 10);
	return value;
}

/* Three letters of five bits and four hexadecimal digits, the most significant byte first. */
void aml_eisa_id(struct aml *aml, const char *id)
{
	uint32_t letters = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
			   (uint32_t)(id[2] - '@') << 16;

	byte(aml, OP_DWORD);
	aml_number(aml, __builtin_bswap32(letters | hexadecimal(id + 3)), 4);
}

struct aml_block aml_open_buffer(struct aml *aml)
{
	byte(aml, OP_BUFFER);
	return open_block(aml);
}

void aml_buffer(struct aml *aml, const uint8_t *bytes, uint32_t n)
{
	struct aml_block block = aml_open_buffer(aml);

	aml_integer(aml, n);
	aml_put(aml, bytes, n);
	aml_close(aml, block);
}

void aml_port_region(struct aml *aml, const char *name, uint16_t port, uint8_t bytes)
{
	byte(aml, OP_EXTENDED);
	byte(aml, OP_REGION);
	path_of(aml, name);
	byte(aml, REGION_PORTS);
	aml_integer(aml, port);
	aml_integer(aml, bytes);
}

/* A field's width is written as a length is, but does not count itself: below 64 it is one byte. */
void aml_field_bits(struct aml *aml, const char *name, unsigned int bits)
{
	path_of(aml, name);
	byte(aml, bits);
}

void aml_argument(struct aml *aml, unsigned int index)
{
	byte(aml, OP_ARGUMENT + index);
}

void aml_dword_field(struct aml *aml, unsigned int argument, uint8_t offset, const char *name)
{
	byte(aml, OP_CREATE_DWORD_FIELD);
	aml_argument(aml, argument);
	aml_integer(aml, offset);
	path_of(aml, name);
}

void aml_or_into(struct aml *aml, const char *name, uint64_t bits)
{
	byte(aml, OP_OR);
	path_of(aml, name);
	aml_integer(aml, bits);
	path_of(aml, name);
}

void aml_notify(struct aml *aml, const char *path, uint8_t value)
{
	byte(aml, OP_NOTIFY);
	path_of(aml, path);
	aml_integer(aml, value);
}

void aml_return(struct aml *aml)
{
	byte(aml, OP_RETURN);
}
