/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader of syslog messages for tests, written from the grammar of RFC 5424, 6, and as strict as
 * that: whatever it does not allow fails the test.  Included after cmocka's header.
 */
#ifndef TESTS_UNIT_SYSLOG_READER_H
#define TESTS_UNIT_SYSLOG_READER_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/utf8.h"

enum { READER_PARAMETERS_MAX = 80, READER_TEXT_MAX = 1 << 16 };

struct syslog_read {
	unsigned int facility, severity;
	char time[40], host[256], application[49], process[129], kind[33];
	size_t n;
	struct {
		char element[40], name[33], *value; /* Without escapes. */
	} parameters[READER_PARAMETERS_MAX];
	bool has_mark;
	char sentence[READER_TEXT_MAX]; /* Without the mark. */
	char values[READER_TEXT_MAX];
	size_t used;
};

/* What is left to be read. */
struct syslog_cursor {
	const char *at, *end;
};

static void reader_expect(struct syslog_cursor *cursor, const char *text)
{
	size_t length = strlen(text);

	if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, text, length) != 0)
		fail_msg("'%s' expected at: %.*s", text, (int)(cursor->end - cursor->at),
			cursor->at);
	cursor->at += length;
}

/* A word of 1 to `most` characters of PRINTUSASCII, other than those in `never`. */
static void reader_word(struct syslog_cursor *cursor, const char *never, char *word, size_t most)
{
	size_t n = 0;

	while (cursor->at<cursor->end && * cursor->at> ' ' && *cursor->at < 0x7f &&
		!strchr(never, *cursor->at)) {
		assert_true(n < most);
		word[n++] = *cursor->at++;
	}
	assert_true(n > 0);
	word[n] = '\0';
}

static void reader_priority(struct syslog_cursor *cursor, struct syslog_read *read)
{
	char digits[4];
	int number;

	reader_expect(cursor, "<");
	reader_word(cursor, ">", digits, 3);
	number = atoi(digits);
	assert_true(number <= 191 && (number > 0) == (digits[0] != '0'));
	read->facility = (unsigned int)number / 8;
	read->severity = (unsigned int)number % 8;
	reader_expect(cursor, ">1 ");
}

static void reader_time(struct syslog_cursor *cursor, char *time)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd.ddddddZ";

	reader_word(cursor, "", time, 32);
	if (strcmp(time, "-") == 0)
		return;
	assert_int_equal(strlen(time), sizeof(form) - 1);
	for (size_t i = 0; form[i]; i++)
		assert_true(form[i] == 'd' ? time[i] >= '0' && time[i] <= '9' : time[i] == form[i]);
}

/* Returns the bytes of the character at the cursor. */
static size_t reader_character(const struct syslog_cursor *cursor)
{
	uint32_t character;
	size_t n = utf8_decode(cursor->at, (size_t)(cursor->end - cursor->at), &character);

	if (n == 0)
		fail_msg("no UTF-8: %.*s", (int)(cursor->end - cursor->at), cursor->at);
	assert_true(character >= ' ' && character != 0x7f);
	return n;
}

static void reader_value(struct syslog_cursor *cursor, struct syslog_read *read)
{
	while (cursor->at < cursor->end && *cursor->at != '"') {
		size_t n;

		assert_int_not_equal(*cursor->at, ']');
		if (*cursor->at == '\\') {
			cursor->at++;
			assert_non_null(strchr("\"\\]", *cursor->at));
		}
		n = reader_character(cursor);
		memcpy(read->values + read->used, cursor->at, n);
		read->used += n;
		cursor->at += n;
	}
	read->values[read->used++] = '\0';
}

static void reader_element(struct syslog_cursor *cursor, struct syslog_read *read)
{
	char element[33];

	reader_expect(cursor, "[");
	reader_word(cursor, "= ]\"", element, 32);
	while (cursor->at < cursor->end && *cursor->at == ' ') {
		size_t n = read->n++;

		assert_true(n < READER_PARAMETERS_MAX);
		cursor->at++;
		strcpy(read->parameters[n].element, element);
		reader_word(cursor, "= ]\"", read->parameters[n].name, 32);
		reader_expect(cursor, "=\"");
		read->parameters[n].value = read->values + read->used;
		reader_value(cursor, read);
		reader_expect(cursor, "\"");
	}
	reader_expect(cursor, "]");
}

static void reader_sentence(struct syslog_cursor *cursor, struct syslog_read *read)
{
	size_t length = (size_t)(cursor->end - cursor->at), n = 0;

	read->has_mark = length >= 3 && memcmp(cursor->at, "\xef\xbb\xbf", 3) == 0;
	if (read->has_mark)
		cursor->at += 3;
	while (cursor->at < cursor->end) {
		size_t bytes = reader_character(cursor);

		assert_true(read->has_mark || bytes == 1);
		memcpy(read->sentence + n, cursor->at, bytes);
		n += bytes;
		cursor->at += bytes;
	}
	read->sentence[n] = '\0';
}

/* Reads a message, which must be right to its last byte. */
static void syslog_read(const char *message, size_t length, struct syslog_read *read)
{
	struct syslog_cursor cursor = {message, message + length};

	memset(read, 0, offsetof(struct syslog_read, sentence));
	read->used = 0;
	reader_priority(&cursor, read);
	reader_time(&cursor, read->time);
	reader_expect(&cursor, " ");
	reader_word(&cursor, "", read->host, 255);
	reader_expect(&cursor, " ");
	reader_word(&cursor, "", read->application, 48);
	reader_expect(&cursor, " ");
	reader_word(&cursor, "", read->process, 128);
	reader_expect(&cursor, " ");
	reader_word(&cursor, "", read->kind, 32);
	reader_expect(&cursor, " ");
	while (cursor.at < cursor.end && *cursor.at == '[')
		reader_element(&cursor, read);
	reader_expect(&cursor, " ");
	reader_sentence(&cursor, read);
}

/* The value of the parameter, or "" if it is not there. */
static const char *syslog_value(const struct syslog_read *read, const char *name)
{
	for (size_t i = 0; i < read->n; i++)
		if (strcmp(read->parameters[i].name, name) == 0)
			return read->parameters[i].value;
	return "";
}

__attribute__((unused)) static uint64_t syslog_sequence(const struct syslog_read *read)
{
	return strtoull(syslog_value(read, "sequence"), NULL, 10);
}

#endif
