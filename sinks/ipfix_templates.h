/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The templates of the IPFIX sink, as libfixbuf wants them, and their sizes on the wire (RFC 7011,
 * 3.4).
 */
#ifndef SINKS_IPFIX_TEMPLATES_H
#define SINKS_IPFIX_TEMPLATES_H

#include <fixbuf/public.h>
#include <stddef.h>
#include <stdint.h>

#include "sinks/ipfix_element.h"

enum {
	IPFIX_TEMPLATE_HEADER = 4,
	IPFIX_SCOPE_COUNT = 2, /* More, of an options template. */
	IPFIX_SPECIFIER = 4,   /* Of one element of IANA's. */

	/* The template of elements' types as libfixbuf has it, padding included; and a record of it
	 * with two texts of no length. */
	IPFIX_TYPE_TEMPLATE_BYTES =
		IPFIX_TEMPLATE_HEADER + IPFIX_SCOPE_COUNT + 10 * IPFIX_SPECIFIER,
	IPFIX_TYPE_RECORD_BYTES = 32 + 1 + 1,
};

struct ipfix_shape {
	size_t template_bytes; /* Of the template itself. */
	size_t fixed_bytes;    /* Of a record without its texts. */
	uint32_t texts;	       /* Bits: which of the values' texts it has. */
};

struct ipfix_shape ipfix_shape_of(enum ipfix_template template);

/* All elements of IANA's, and our own under that enterprise.  The caller's to free, after the
 * sessions that use it. */
fbInfoModel_t *ipfix_model_create(uint32_t enterprise);

/* Adds all templates to a session, which is of such a model and has its domain: the internal one
 * that describes struct ipfix_values, and those that go on the wire.  Returns 0, or a negative
 * errno with a sentence in error[]. */
int ipfix_templates_add(fbSession_t *session, char *error, size_t error_size);

/* Says in error[] what libfixbuf has complained of, frees that, and returns `failure`. */
int ipfix_complain(GError **complaint, int failure, char *error, size_t error_size);

#endif
