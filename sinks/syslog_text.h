/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A syslog message in the making: text that grows as long as there is room.  Once something has not
 * fitted, nothing more is taken, until whoever writes has gone back to where there was room.  Used
 * by sinks/syslog_message.c and sinks/syslog_sentence.c alone; nothing is allocated.
 */
#ifndef SINKS_SYSLOG_TEXT_H
#define SINKS_SYSLOG_TEXT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct syslog_text {
	char *at, *end;
	bool is_full;
	bool has_wide; /* Something beyond ASCII was written. */
};

/* All of it, or nothing. */
static inline void syslog_put(struct syslog_text *text, const char *bytes, size_t length)
{
	if (text->is_full || (size_t)(text->end - text->at) < length) {
		text->is_full = true;
		return;
	}
	memcpy(text->at, bytes, length);
	text->at += length;
}

#define SYSLOG_PUT(text, literal) syslog_put((text), "" literal, sizeof(literal) - 1)

/* ASCII without anything to escape. */
static inline void syslog_put_word(struct syslog_text *text, const char *word)
{
	syslog_put(text, word, strlen(word));
}

void syslog_put_number(struct syslog_text *text, uint64_t number);

/* "2026-01-31T14:00:00.123456Z" (RFC 5424, 6.2.3: no more digits than that); "-" for 0. */
void syslog_put_time(struct syslog_text *text, uint64_t time_ns);

void syslog_put_address(struct syslog_text *text, const struct in6_addr *address);
void syslog_put_mac(struct syslog_text *text, const uint8_t mac[6]);

/* A string from outside.  In the quotes of a parameter `"`, `\` and `]` are escaped; where it does
 * not fit, what has been written of it ends between two characters. */
enum syslog_where { SYSLOG_IN_VALUE, SYSLOG_IN_SENTENCE };
void syslog_put_string(struct syslog_text *text, const char *string, enum syslog_where where);

#endif
