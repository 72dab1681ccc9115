/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tag expressions: what they mean, and what is said of those that mean nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "zones/tag_expression.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One endpoint for all: two values of one key, a key without a value, an empty value. */
static const char *const tags[] = {
	"tier=web", "env=prod", "env=canary", "legacy", "owner=", "path=a=b", "team=Zürich ops"};

static const struct {
	const char *text;
	bool holds;
} truths[] = {
	{"tier=web", true},
	{"tier = web", true},
	{"tier=db", false},
	{"tier=we", false},
	{"tier=webb", false},
	{"tie=web", false},
	{"Tier=web", false},
	{"tier", true},
	{"legacy", true},
	{"legac", false},
	{"legacy=''", false},
	{"owner=''", true},
	{"owner", true},
	{"path='a=b'", true},
	{"team=\"Zürich ops\"", true},
	{"env=prod", true},
	{"env=canary", true},
	{"env!=prod", false},
	{"env!=test", true},
	{"nothing!=test", true},
	{"not tier=web", false},
	{"not not tier=web", true},
	{"tier in (db, web)", true},
	{"tier in (db,app)", false},
	{"tier not in (db, app)", true},
	{"tier not in (web)", false},
	{"nothing not in (web)", true},
	{"tier=web and env=prod", true},
	{"tier=web and env=test", false},
	{"tier=db or env=prod", true},
	{"tier=db or env=test", false},
	/* `and` binds closer than `or`, `not` closer than both. */
	{"tier=web or tier=db and env=test", true},
	{"(tier=web or tier=db) and env=test", false},
	{"not tier=db and env=prod", true},
	{"not (tier=db and env=prod)", true},
	{"not (tier=web and env=prod)", false},
	{"tier=db and env=test or legacy", true},
	{"'tier'=\"web\"", true},
	{"'in'=x or tier=web", true},
	{"((((((((((((((tier=web))))))))))))))", true},
};

static void expressions_hold_or_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(truths); i++) {
		struct arena arena = {0};
		struct tag_problem problem;
		struct tag_expression *expression =
			tag_expression_parse(&arena, truths[i].text, &problem);

		if (!expression)
			fail_msg("%s: %s", truths[i].text, problem.message);
		if (tag_expression_matches(expression, tags, COUNT(tags)) != truths[i].holds)
			fail_msg("%s should be %s", truths[i].text,
				truths[i].holds ? "true" : "false");
		arena_free(&arena);
	}
}

static void an_endpoint_without_tags(void **state)
{
	struct arena arena = {0};
	struct tag_problem problem;

	(void)state;
	assert_false(tag_expression_matches(
		tag_expression_parse(&arena, "tier=web", &problem), NULL, 0));
	assert_true(tag_expression_matches(
		tag_expression_parse(&arena, "tier!=web", &problem), NULL, 0));
	arena_free(&arena);
}

static void mistakes_are_named_where_they_are(void **state)
{
	static const struct {
		const char *text;
		size_t offset;
		const char *message;
	} cases[] = {
		{"", 0, "expected a tag's key, 'not' or '(', found the end"},
		{"   ", 3, "found the end"},
		{"tier=", 5, "expected a value after '=', found the end"},
		{"tier==web", 5, "expected a value after '=', found '='"},
		{"tier=web env=prod", 9, "expected 'and', 'or' or the end, found 'env'"},
		{"tier=web and", 12, "expected a tag's key, 'not' or '(', found the end"},
		{"and tier=web", 0, "found 'and'"},
		{"tier=web && x", 9, "found '&'"},
		{"(tier=web", 9, "expected 'and', 'or' or ')', found the end"},
		{"tier=web)", 8, "found ')'"},
		{"tier in web", 8, "expected '(' and the values after 'in', found 'web'"},
		{"tier in ()", 9, "expected a value, found ')'"},
		{"tier in (a b)", 11, "expected ',' or ')' after a value, found 'b'"},
		{"tier in (a,)", 11, "expected a value after ',', found ')'"},
		{"tier not web", 9, "expected 'in' after 'not', found 'web'"},
		{"tier='web", 5, "the quotation mark is never closed"},
		{"''=web", 0, "a tag's key may not be empty or contain '='"},
		{"'a=b'", 0, "a tag's key may not be empty or contain '='"},
		{"tier!web", 4, "found '!'"},
		{"a = not", 4, "found 'not'"},
		{"((((((((((((((((tier=web))))))))))))))))", 16, "nested too deeply"},
		{"not not not not not not not not not not not not not not not not a", 64,
			"nested too deeply"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena arena = {0};
		struct tag_problem problem;

		assert_null(tag_expression_parse(&arena, cases[i].text, &problem));
		if (!strstr(problem.message, cases[i].message))
			fail_msg("%s: said \"%s\", not \"%s\"", cases[i].text, problem.message,
				cases[i].message);
		if (problem.offset != cases[i].offset)
			fail_msg("%s: at %zu, not %zu", cases[i].text, problem.offset,
				cases[i].offset);
		arena_free(&arena);
	}
}

/* The longest chains that the bound on the text lets through stay within the evaluation's stack. */
static void long_expressions_fit(void **state)
{
	char text[TAG_EXPRESSION_MAX + 2] = "(a or b and c in (d,e) or ";
	struct arena arena = {0};
	struct tag_problem problem;
	struct tag_expression *expression;
	size_t used;

	(void)state;
	for (unsigned int i = 1; i < TAG_NESTING_MAX - 2; i++)
		strcat(text, "(a or b and not c in (d,e) or ");
	strcat(text, "tier");
	for (unsigned int i = 1; i < TAG_NESTING_MAX - 1; i++)
		strcat(text, ")");
	expression = tag_expression_parse(&arena, text, &problem);
	assert_non_null(expression);
	assert_true(tag_expression_matches(expression, tags, COUNT(tags)));

	strcpy(text, "tier");
	for (used = strlen(text); used + 7 <= TAG_EXPRESSION_MAX; used += 7)
		strcpy(text + used, " and a ");
	expression = tag_expression_parse(&arena, text, &problem);
	assert_non_null(expression);
	assert_false(tag_expression_matches(expression, tags, COUNT(tags)));

	memset(text, 'a', TAG_EXPRESSION_MAX + 1);
	text[TAG_EXPRESSION_MAX + 1] = '\0';
	assert_null(tag_expression_parse(&arena, text, &problem));
	assert_string_equal(problem.message, "longer than 4096 bytes");
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expressions_hold_or_not),
		cmocka_unit_test(an_endpoint_without_tags),
		cmocka_unit_test(mistakes_are_named_where_they_are),
		cmocka_unit_test(long_expressions_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
