/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes IPFIX messages (RFC 7011) of records, with libfixbuf: bytes out, no sockets.
 *
 *      encoder = ipfix_encoder_create(...)
 *      ipfix_encoder_begin_announcement(encoder)       at first, and when templates are due again
 *      ipfix_encoder_announce(encoder)                 until it does not say -ENOBUFS
 *      ipfix_encoder_add(encoder, record)              likewise, for each record
 *      ipfix_encoder_take(encoder, &message)           when one said -ENOBUFS, and at the end
 *
 * A message holds either templates or data, is never longer than `message_max`, and ends with a
 * whole record.  Texts that do not fit one are cut short, the longest first, and end in "…"; what
 * is not UTF-8 in them becomes '?', for that is what the type `string` stands for.
 *
 * GLib, which libfixbuf stands on, ends the process when there is no memory.  All of it is taken
 * when the encoder is made and when a template is used for the first time.
 *
 * One thread's.
 */
#ifndef SINKS_IPFIX_ENCODER_H
#define SINKS_IPFIX_ENCODER_H

#include <stddef.h>
#include <stdint.h>

#include "log/record.h"

enum { IPFIX_MESSAGE_LEAST = 512, IPFIX_MESSAGE_MOST = 65535 };

struct ipfix_encoder_options {
	uint32_t enterprise; /* Whose elements ours are; neither 0 nor RFC 5103's 29305. */
	uint32_t domain;     /* The observation domain. */
	uint32_t process;    /* The exporting process: unique on the host. */
	size_t message_max;  /* From IPFIX_MESSAGE_LEAST to IPFIX_MESSAGE_MOST. */
};

struct ipfix_encoder;

/* Returns 0 with *out, or a negative errno with a sentence in error[]. */
int ipfix_encoder_create(const struct ipfix_encoder_options *options, struct ipfix_encoder **out,
	char *error, size_t error_size);
void ipfix_encoder_free(struct ipfix_encoder *encoder); /* Accepts NULL. */

/* From now on ipfix_encoder_announce() gives all templates, the types of our own elements (RFC
 * 5610) and the names of the interfaces that were used, from the beginning. */
void ipfix_encoder_begin_announcement(struct ipfix_encoder *encoder);

/* Adds what is still to be announced.  Returns 0 when nothing is left; -ENOBUFS: take the message,
 * and call it again; or another negative errno, with a sentence in error[]. */
int ipfix_encoder_announce(struct ipfix_encoder *encoder, char *error, size_t error_size);

/* Adds a record.  Returns 0; -ENOBUFS, after which nothing of it is added: take the message, and
 * add it again; or -EINVAL with a sentence in error[]: it cannot be told in IPFIX. */
int ipfix_encoder_add(struct ipfix_encoder *encoder, const struct log_record *record, char *error,
	size_t error_size);

/* The message under way, which is complete with this.  *message is valid until the next call.
 * Returns its length; 0: there is none. */
size_t ipfix_encoder_take(struct ipfix_encoder *encoder, const uint8_t **message);

#endif
