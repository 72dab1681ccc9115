/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record of the traffic log as a syslog message of RFC 5424: the header, one element [meta] and
 * one element [cordon@...] of structured data with the names of docs/log.md, and a sentence for
 * people.  Used by sinks/syslog.c alone.
 *
 * A message is valid whatever the record's strings hold and however little room there is.  A byte
 * that is no UTF-8, or a control character, becomes the four characters \xNN.
 */
#ifndef SINKS_SYSLOG_MESSAGE_H
#define SINKS_SYSLOG_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

#include "log/record.h"

enum {
	/* What every receiver takes (RFC 5424, 6.1), and what any record can be told in. */
	SYSLOG_MESSAGE_LEAST = 480,
	SYSLOG_HOSTNAME_MAX = 255,
	SYSLOG_SEQUENCE_MAX = INT32_MAX, /* Of `sequenceId` (RFC 5424, 7.3.1). */
};

/* What is the same in all messages of a sink. */
struct syslog_form {
	unsigned int facility; /* 0 to 23 (RFC 5424, 6.2.1). */
	uint32_t enterprise;   /* In the names of our own elements. */
	uint32_t process;      /* PROCID. */
	char host[SYSLOG_HOSTNAME_MAX + 1];
};

/* `host` may be any text: what HOSTNAME cannot hold is replaced. */
void syslog_form_init(struct syslog_form *form, const char *host, unsigned int facility,
	uint32_t enterprise, uint32_t process);

/* Writes the message to `text` of `size` bytes, SYSLOG_MESSAGE_LEAST or more, and returns its
 * length; no NUL is written.  Where the room is too small the sentence is cut short first, between
 * two characters, then parameters are left out whole, the less important ones first, and
 * `left_out` says how many.  `sequence_id` counts the messages of one connection, from 1 on. */
size_t syslog_message(const struct syslog_form *form, const struct log_record *record,
	uint32_t sequence_id, char *text, size_t size);

/* 0 to 7 (RFC 5424, 6.2.1), for an enum log_kind. */
unsigned int syslog_severity(unsigned int kind);

#endif
