/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The drop reasons: names that scripts can rely on, and docs/packet-path.md in step with them.  To
 * be run from the top of the source tree.
 */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "datapath/drop.h"

#define DOCUMENT "docs/packet-path.md"

static void test_names(void **state)
{
	(void)state;
	for (unsigned int reason = DROP_NONE + 1; reason < DROP_N_REASONS; reason++) {
		const char *name = drop_name(reason);

		assert_in_range(strlen(name), 3, 32);
		for (const char *c = name; *c != '\0'; c++)
			if (!islower(*c) && !isdigit(*c) && (*c != '-' || c == name))
				fail_msg("%s is not lower-case-with-hyphens", name);
		assert_in_range(strlen(drop_text(reason)), 10, 80);
		for (unsigned int other = DROP_NONE; other < reason; other++)
			assert_string_not_equal(drop_name(other), name);
	}
}

static void test_no_reason(void **state)
{
	(void)state;
	assert_string_equal(drop_name(DROP_NONE), "none");
	assert_string_equal(drop_name(DROP_N_REASONS), "?");
	assert_string_equal(drop_name(UINT32_MAX), "?");
	assert_string_equal(drop_text(DROP_N_REASONS), "no such reason");
}

/* Reads lines up to the next row of a table of reasons: "| `name` | text | note |". */
static bool next_row(FILE *document, char name[64], char text[128])
{
	char line[1024];

	while (fgets(line, sizeof(line), document) != NULL)
		if (sscanf(line, "| `%63[^`]` | %127[^|]", name, text) == 2) {
			size_t n = strlen(text);

			while (n > 0 && text[n - 1] == ' ')
				text[--n] = '\0';
			return true;
		}
	return false;
}

/* The document has a row for each reason, in the order of the list, with the same words. */
static void test_document(void **state)
{
	FILE *document = fopen(DOCUMENT, "r");
	char name[64], text[128];

	(void)state;
	if (document == NULL) {
		fail_msg("%s: %s; run this from the top of the source tree", DOCUMENT,
			strerror(errno));
		return;
	}
	for (unsigned int reason = DROP_NONE + 1; reason < DROP_N_REASONS; reason++) {
		if (!next_row(document, name, text))
			fail_msg("%s ends before %s", DOCUMENT, drop_name(reason));
		assert_string_equal(name, drop_name(reason));
		assert_string_equal(text, drop_text(reason));
	}
	if (next_row(document, name, text))
		fail_msg("%s has %s, which is no reason", DOCUMENT, name);
	fclose(document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_no_reason),
		cmocka_unit_test(test_document),
	};

	return cmocka_run_group_tests_name("drop", tests, NULL, NULL);
}
