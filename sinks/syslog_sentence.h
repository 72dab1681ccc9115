/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a syslog message says to people.  Used by sinks/syslog_message.c alone.
 */
#ifndef SINKS_SYSLOG_SENTENCE_H
#define SINKS_SYSLOG_SENTENCE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#include "log/record.h"
#include "sinks/syslog_text.h"

/* Bytes that must be left for the mark before a sentence that is not plain ASCII. */
enum { SYSLOG_MARK_BYTES = 3 };

/* Writes as much of it as there is room for, SYSLOG_MARK_BYTES at least. */
void syslog_sentence(struct syslog_text *text, const struct log_record *record);

static inline bool syslog_has_mac(const struct log_party *party)
{
	static const uint8_t none[6];

	return memcmp(party->mac, none, sizeof(none)) != 0;
}

static inline bool syslog_is_icmp(const struct log_record *record)
{
	return record->protocol == IPPROTO_ICMP || record->protocol == IPPROTO_ICMPV6;
}

#endif
