/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An encoder of AML (ACPI 6.5, 20): as much as the DSDT needs.
 *
 * Code is appended to a buffer of the caller's.  What has an end is opened, filled and closed:
 *
 *	struct aml_block device = aml_device(aml, "COM1");
 *	aml_name(aml, "_UID");
 *	aml_integer(aml, 0);
 *	aml_close(aml, device);
 *
 * A buffer that is too small is not overrun: `overflow` is set, and the rest is lost.  Paths are
 * written as in ASL ("\\_SB.PCI0"): one or two segments, from the root on or not.
 */
#ifndef HV_ACPI_AML_H
#define HV_ACPI_AML_H

#include <stdbool.h>
#include <stdint.h>

struct aml {
	uint8_t *code;
	uint32_t bytes, size;
	bool overflow;
};

/* Something opened: where its length is written when it is closed. */
struct aml_block {
	uint32_t length_at;
};

/* Blocks, all ended by aml_close(). */
struct aml_block aml_scope(struct aml *aml, const char *path);
struct aml_block aml_device(struct aml *aml, const char *name);
struct aml_block aml_method(
	struct aml *aml, const char *name, unsigned int arguments, bool serialized);
struct aml_block aml_package(struct aml *aml, unsigned int elements);
/* If (argument == X): the object X follows, then the body.  If (name & bits): the body follows. */
struct aml_block aml_if_argument_is(struct aml *aml, unsigned int argument);
struct aml_block aml_if_bits(struct aml *aml, const char *name, uint64_t bits);
/* A buffer: its size follows as an object, then its bytes. */
struct aml_block aml_open_buffer(struct aml *aml);
/* Fields of an operation region, accessed by bytes. */
struct aml_block aml_field(struct aml *aml, const char *region);
void aml_close(struct aml *aml, struct aml_block block);

/* Name (name, X): the object X follows. */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
void aml_eisa_id(struct aml *aml, const char *id); /* "PNP0A08" as the integer it is packed into. */
void aml_buffer(struct aml *aml, const uint8_t *bytes, uint32_t n);

/* An operation region of I/O ports, and a field of so many bits in it. */
void aml_port_region(struct aml *aml, const char *name, uint16_t port, uint8_t bytes);
void aml_field_bits(struct aml *aml, const char *name, unsigned int bits);

/* Bytes as they are; the lowest `n` bytes of a number, the least significant first. */
void aml_put(struct aml *aml, const void *bytes, uint32_t n);
void aml_number(struct aml *aml, uint64_t value, uint32_t n);

/* Terms of methods. */
void aml_argument(struct aml *aml, unsigned int index);
void aml_dword_field(struct aml *aml, unsigned int argument, uint8_t offset, const char *name);
void aml_or_into(struct aml *aml, const char *name, uint64_t bits); /* name |= bits */
void aml_notify(struct aml *aml, const char *path, uint8_t value);
void aml_return(struct aml *aml); /* The value follows. */

#endif
