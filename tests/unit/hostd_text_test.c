/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What VMMs and storage daemons have written, as cordon-hostd shows and stores it: one line, in
 * bounds, and UTF-8, which is all that the database takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/hostd/text_file.h"

static const struct text {
	const char *text, *readable;
} texts[] = {
	{"", ""},
	{"the kernel /srv/a is no kernel", "the kernel /srv/a is no kernel"},
	{"one\ntwo\tthree\x1b[31m\x7f", "one two three [31m "},
	{"Gr\u00fc\u00dfe, \u65e5\u672c, \U0001f600", "Gr\u00fc\u00dfe, \u65e5\u672c, \U0001f600"},
	{"\xff\xfe", "??"},
	{"\xc3", "?"}, /* Cut off, */
	{"\xe2\x82", "??"},
	{"\xf0\x9f\x98", "???"},
	{"\xc0\xaf \xe0\x80\xaf", "?? ???"}, /* longer than need be, */
	{"\xed\xa0\x80", "???"},	     /* half of a pair, */
	{"\xf4\x90\x80\x80", "????"},	     /* beyond the last character. */
	{"\xe2\x28\xa1", "?(?"},
};

static void test_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *readable = text_readable(texts[i].text);

		assert_string_equal(readable, texts[i].readable);
		free(readable);
	}
}

/* It ends with a whole character. */
static void test_bounds(void **state)
{
	char text[5001] = "";
	char *readable;

	(void)state;
	for (size_t i = 0; i + 3 < sizeof(text); i += 3)
		memcpy(text + i, "\u65e5", 4);
	readable = text_readable(text);
	assert_in_range(strlen(readable), 100, 1000);
	assert_int_equal(strlen(readable) % 3, 0);
	assert_memory_equal(readable, text, strlen(readable));
	free(readable);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
