/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts on their way into an IPFIX message: see ipfix_text.h.  Called by the encoder for each
 * record.
 */
#include "sinks/ipfix_text.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

enum {
	SHORT_LENGTH = 254, /* RFC 7011, 7: up to this the length takes one byte, then three. */
	LONG_HEADER = 3,
};

static const char ellipsis[] = "\xe2\x80\xa6"; /* "…" */

enum { ELLIPSIS_LENGTH = sizeof(ellipsis) - 1 };

static size_t wire_length(size_t length)
{
	return length + (length <= SHORT_LENGTH ? 1 : LONG_HEADER);
}

static size_t wire_length_of(fbVarfield_t *const texts[], size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += wire_length(texts[i]->len);
	return total;
}

/* The greatest length that no text may exceed if all are to fit. */
static size_t longest_that_fits(fbVarfield_t *const texts[], size_t n, size_t room)
{
	size_t least = 0, most = room;

	while (least < most) {
		size_t limit = (least + most + 1) / 2, total = 0;

		for (size_t i = 0; i < n; i++)
			total += wire_length(texts[i]->len < limit ? texts[i]->len : limit);
		if (total <= room)
			least = limit;
		else
			most = limit - 1;
	}
	return least;
}

static bool is_ascii(const uint8_t *text, size_t length)
{
	const uint64_t high = UINT64_C(0x8080808080808080);
	uint64_t word;

	for (; length >= sizeof(word); text += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, text, sizeof(word));
		if (word & high)
			return false;
	}
	for (; length > 0; text++, length--)
		if (*text & 0x80)
			return false;
	return true;
}

/* Puts '?' where a byte is no part of a character. */
static void make_valid(char *text, size_t length)
{
	const char *bad;

	while (!g_utf8_validate(text, (gssize)length, &bad)) {
		char *at = text + (bad - text);

		length -= (size_t)(at - text) + 1;
		*at = '?';
		text = at + 1;
	}
}

/* The length of the whole characters within the first `length` bytes. */
static size_t whole_characters(const uint8_t *text, size_t length)
{
	while (length > 0 && (text[length] & 0xc0) == 0x80)
		length--;
	return length;
}

/* Cuts the text to at most `limit` bytes, the dots included, and moves it to scratch[]. */
static void cut(fbVarfield_t *text, size_t limit, uint8_t *scratch)
{
	bool dots = limit >= ELLIPSIS_LENGTH;
	size_t length = whole_characters(text->buf, dots ? limit - ELLIPSIS_LENGTH : limit);

	memcpy(scratch, text->buf, length);
	make_valid((char *)scratch, length);
	if (dots)
		memcpy(scratch + length, ellipsis, ELLIPSIS_LENGTH);
	text->buf = scratch;
	text->len = length + (dots ? ELLIPSIS_LENGTH : 0);
}

static void copy_valid(fbVarfield_t *text, uint8_t *scratch)
{
	memcpy(scratch, text->buf, text->len);
	make_valid((char *)scratch, text->len);
	text->buf = scratch;
}

size_t ipfix_texts_fit(fbVarfield_t *const texts[], size_t n, size_t room, uint8_t *scratch)
{
	size_t total = wire_length_of(texts, n), limit = SIZE_MAX;

	if (total > room)
		limit = longest_that_fits(texts, n, room);
	for (size_t i = 0; i < n; i++) {
		if (texts[i]->len > limit)
			cut(texts[i], limit, scratch);
		else if (!is_ascii(texts[i]->buf, texts[i]->len))
			copy_valid(texts[i], scratch);
		else
			continue;
		scratch += texts[i]->len;
	}
	return limit == SIZE_MAX ? total : wire_length_of(texts, n);
}
