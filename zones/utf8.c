/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoding UTF-8.  Called by whoever reads a person's text or writes one for a format that takes
 * nothing else; pure, any thread.
 */
#include "zones/utf8.h"

/* The bytes of a character, by its first one; 0: none begins so. */
static size_t length_of(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first < 0xc0)
		return 0;
	if (first < 0xe0)
		return 2;
	if (first < 0xf0)
		return 3;
	return first < 0xf8 ? 4 : 0;
}

size_t utf8_decode(const char *text, size_t length, uint32_t *character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char first = (unsigned char)text[0];
	size_t n = length_of(first);
	uint32_t decoded;

	if (!n || n > length)
		return 0;
	decoded = n == 1 ? first : first & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
		decoded = decoded << 6 | ((unsigned char)text[i] & 0x3f);
	}
	if (decoded < least[n] || decoded > 0x10ffff || (decoded >= 0xd800 && decoded < 0xe000))
		return 0;
	*character = decoded;
	return n;
}
