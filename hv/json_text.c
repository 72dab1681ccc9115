/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a JSON string (RFC 8259, 7).  Called by outcome.c, also from a signal's handler.
 */
#include "hv/json_text.h"

#include <string.h>

/* The length of the UTF-8 sequence (RFC 3629, 4) that `n` bytes begin with; 0 if they begin with
 * none. */
static size_t sequence_length(const uint8_t *bytes, size_t n)
{
	uint8_t first = bytes[0];
	size_t length = first < 0x80 ? 1 : (first < 0xe0 ? 2 : (first < 0xf0 ? 3 : 4));
	uint8_t least = 0x80, most = 0xbf;

	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4 || length > n)
		return 0;
	/* No overlong forms, no surrogates, nothing beyond U+10FFFF. */
	if (first == 0xe0)
		least = 0xa0;
	else if (first == 0xed)
		most = 0x9f;
	else if (first == 0xf0)
		least = 0x90;
	else if (first == 0xf4)
		most = 0x8f;
	if (bytes[1] < least || bytes[1] > most)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (bytes[i] < 0x80 || bytes[i] > 0xbf)
			return 0;
	return length;
}

static size_t quote_ascii(char *to, uint8_t byte)
{
	static const char digits[] = "0123456789abcdef";

	if (byte == '"' || byte == '\\') {
		to[0] = '\\';
		to[1] = (char)byte;
		return 2;
	}
	if (byte >= 0x20 && byte != 0x7f) {
		to[0] = (char)byte;
		return 1;
	}
	memcpy(to, "\\u00", 4);
	to[4] = digits[byte >> 4];
	to[5] = digits[byte & 15];
	return 6;
}

size_t json_text_quote(char *to, const void *bytes, size_t n)
{
	const uint8_t *from = bytes;
	size_t at = 0;

	to[at++] = '"';
	while (n) {
		size_t length = sequence_length(from, n);

		if (length == 1 && *from) {
			at += quote_ascii(to + at, *from);
		} else if (length > 1) {
			memcpy(to + at, from, length);
			at += length;
		} else {
			memcpy(to + at, "\\ufffd", 6);
			at += 6;
			length = 1;
		}
		from += length;
		n -= length;
	}
	to[at++] = '"';
	return at;
}
