/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader's shortcut: what it lifts out of a text, and that a document is the same with it and
 * without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/policy_same.h"
#include "zones/policy_lift.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- What is lifted ------------------------------------------------------------------------- */

static const struct {
	const char *text, *left;
	size_t n_runs;
} texts[] = {
	{"", "", 0},
	{"zones: {}\n", "zones: {}\n", 0},
	{"- {a: b}", "- ''", 1},
	{"- {a: b}\n", "- ''\n", 1},
	{"a:\n  - {a: b, c: [d, e], f: {g: \"h i\", j: 'k'}, l: 22:00}  \n  - {a: b}\nz:\n",
		"a:\n  - ''\n\nz:\n", 1},
	{"- {a: []}\n- {}\n", "- ''\n\n", 1},
	/* A key to the line. */
	{"- a: b\n  c: d e\n  f: [g, h]\n- a: b\n", "- ''\n\n\n\n", 1},
	{"- a: b\n  c: d\ne: f\n", "- ''\n\ne: f\n", 1},
	/* Other lines end a run, and lists of another depth. */
	{"- {a: b}\n\n- {a: b}\n# c\n- {a: b}\n", "- ''\n\n- ''\n# c\n- ''\n", 3},
	{"- {a: b}\n  - {a: b}\n", "- ''\n  - ''\n", 2},
	/* What is left to the parser. */
	{"- {a: b} # why\n", "- {a: b} # why\n", 0},
	{"- {a: b}\r\n", "- {a: b}\r\n", 0},
	{"- {a: \"\\u00e4\"}\n", "- {a: \"\\u00e4\"}\n", 0},
	{"- {a: \xc3\xa4}\n", "- {a: \xc3\xa4}\n", 0},
	{"- {a: 'b''c'}\n", "- {a: 'b''c'}\n", 0},
	{"- {a: b,}\n", "- {a: b,}\n", 0},
	{"- {a: [b,]}\n", "- {a: [b,]}\n", 0},
	{"- {a: }\n", "- {a: }\n", 0},
	{"- {a:b}\n", "- {a:b}\n", 0},
	{"- {a: b: c}\n", "- {a: b: c}\n", 0},
	{"- {a: b #c}\n", "- {a: b #c}\n", 0},
	{"- {a: *b}\n", "- {a: *b}\n", 0},
	{"- {a: &b c}\n", "- {a: &b c}\n", 0},
	{"- {a: !b c}\n", "- {a: !b c}\n", 0},
	{"- {a: -}\n", "- {a: -}\n", 0},
	{"- {a: b\n   }\n", "- {a: b\n   }\n", 0},
	{"- {a: b}}\n", "- {a: b}}\n", 0},
	{"- {a: b]\n", "- {a: b]\n", 0},
	{"- {a: [b}\n", "- {a: [b}\n", 0},
	{"- {\"a\": b}\n", "- {\"a\": b}\n", 0},
	{"- {A: b}\n", "- {A: b}\n", 0},
	{"-  {a: b}\n", "-  {a: b}\n", 0},
	{"-\t{a: b}\n", "-\t{a: b}\n", 0},
	{"- a: b\n\n  c: d\n", "- a: b\n\n  c: d\n", 0},
	{"- a: b\n  # c\n  d: e\n", "- a: b\n  # c\n  d: e\n", 0},
	{"- a: b\n   c: d\n", "- a: b\n   c: d\n", 0},
	{"- a: b\n  c:\n    - {d: e}\n", "- a: b\n  c:\n    - ''\n", 1},
	{"- a: b\n    c\n", "- a: b\n    c\n", 0},
	{"- a: b, c\n", "- a: b, c\n", 0},
	{"- b\n- c\n", "- b\n- c\n", 0},
	{"- {a: {a: {a: {a: {a: {a: {a: {a: b}}}}}}}}\n", "- ''\n", 1},
	{"- {a: {a: {a: {a: {a: {a: {a: {a: {a: b}}}}}}}}}\n",
		"- {a: {a: {a: {a: {a: {a: {a: {a: {a: b}}}}}}}}}\n", 0},
};

static void what_is_plain_is_lifted(void **state)
{

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct lifted_text lifted = {.text = NULL};

		policy_lift(&lifted, texts[i].text, strlen(texts[i].text));
		if (lifted.n_runs != texts[i].n_runs || lifted.length != strlen(texts[i].left) ||
			memcmp(lifted.text, texts[i].left, lifted.length) != 0)
			fail_msg("%s\nleft %zu runs and\n%.*s", texts[i].text, lifted.n_runs,
				(int)lifted.length, lifted.text);
		policy_lift_free(&lifted);
	}
}

static void long_words_are_left_to_the_parser(void **state)
{
	char text[LIFTED_WORD_MAX + 64], *word = text + sprintf(text, "- {a: ");

	(void)state;
	for (size_t extra = 0; extra < 2; extra++) {
		struct lifted_text lifted = {.text = NULL};

		memset(word, 'b', LIFTED_WORD_MAX + extra);
		strcpy(word + LIFTED_WORD_MAX + extra, "}\n");
		policy_lift(&lifted, text, strlen(text));
		assert_int_equal(lifted.n_runs, 1 - extra);
		policy_lift_free(&lifted);
	}
}

/* --- The same with and without -------------------------------------------------------------- */

static void check_same(const char *text, bool valid)
{
	struct policy_errors lifted_errors = {0}, errors = {0};
	struct policy_document lifted, document;
	bool lifted_whole, whole;

	lifted_whole = policy_document_read(&lifted, text, strlen(text), &lifted_errors);
	whole = policy_document_read_unlifted(&document, text, strlen(text), &errors);
	if (lifted_whole != whole || !same_errors(&lifted_errors, &errors) ||
		!same_documents(&lifted, &document))
		fail_msg("%s\nis read otherwise", text);
	if (!errors.n_total != valid)
		fail_msg("%s\nis %svalid: %s", text, valid ? "not " : "",
			valid ? errors.at[0].message : "");
	policy_document_free(&lifted);
	policy_document_free(&document);
}

#define HEAD "zones: {a: {match: a}, b: {match: b}}\npolicies:\n- id: p\n  rules:\n"

static const struct {
	const char *text;
	bool valid;
} documents[] = {
	{HEAD "  - {id: r, from: a, to: b, action: allow}\n", true},
	{HEAD "  - {id: r, from: a, to: b, action: allow}\n"
	      "  - {id: s, from: [a, b], to: any, service: tcp/1-2, action: deny, label: "
	      "\"one # two\"}\n"
	      "- {id: q, tier: emergency, rules: []}\n"
	      "- id: t\n"
	      "  schedule: {days: [mon], from: 22:00, to: 06:00, time_zone: UTC}\n"
	      "  rules:\n"
	      "  - id: u\n"
	      "    from: a\n"
	      "    to: [a, b]\n"
	      "    label: a change: none\n"
	      "    action: allow\n",
		false},
	{HEAD "  - id: u\n"
	      "    from: a\n"
	      "    to: [a, b]\n"
	      "    service: udp/69\n"
	      "    label: (why) not=this; that\n"
	      "    limits: {half_open: 3}\n"
	      "    helper: tftp\n"
	      "    action: allow\n"
	      "  # between\n"
	      "  - {id: r, from: a, to: b, action: allow, expires: 2027-01-31T00:00:00Z}\n"
	      "\n"
	      "- {id: q, tier: emergency, rules: [{id: x, from: a, to: b, action: "
	      "pass}]}\n",
		true},
	/* Within a longer text it is no item. */
	{"zones:\n  a:\n    match: \"a or\n      - {b: c}\"\n", false},
	{"zones:\n  a:\n    match: |\n      - {b: c}\n", false},
	{"zones: {a: {match: a}}\ntiers:\n- one\n  - {b: c}\n", false},
	{"zones: {a: {match: a}}\nservices: {x: [\n- {b: c}\n]}\n", false},
	/* Where no mapping belongs. */
	{"zones: {a: {match: a}}\ntiers:\n- {b: c}\n", false},
	{"zones: {a: {match: a}}\nservices:\n  s:\n  - {b: c}\n", false},
	{"- {a: b}\n", false},
	/* The empty word itself is none that was left behind. */
	{HEAD "  - ''\n  - {id: r, from: a, to: b, action: allow}\n", false},
	/* Mistakes are told as ever. */
	{HEAD "  - {id: r, from: a, to: b, action: alow}\n", false},
	{HEAD "  - {id: r, from: a, to: b, action: allow, id: r}\n", false},
	{HEAD "  - {id: r, from: a, to: b, action: allow}\n    more\n", false},
	{HEAD "  - {id: r, from: a, to: b, action: allow}\n  - x: [\n", false},
	/* A line that ends otherwise has a number for the parser, but not for the run. */
	{"zones: {a: {match: a}, b: {match: b}}\rpolicies:\n- id: p\n  rules:\n"
	 "  - {id: r, from: a, to: b, action: allow}\n",
		true},
	{"zones: {a: {match: a}}\n---\n- {a: b}\n", false},
	{"? zones\n: {a: {match: a}}\n? policies\n:\n  - id: p\n    rules: []\n", true},
};

static void a_document_is_the_same_with_and_without(void **state)
{

	(void)state;
	for (size_t i = 0; i < COUNT(documents); i++)
		check_same(documents[i].text, documents[i].valid);
}

/* Pieces of YAML put together at random: mostly nonsense, and never read otherwise. */
static void random_texts_are_the_same_with_and_without(void **state)
{
	static const char *const pieces[] = {"- {id: r1, from: a, to: b, action: allow}\n",
		"  - {id: r2, from: a, to: [a, b], action: deny}\n", "- id: p1\n", "  rules:\n",
		"- id: p2\n  rules: []\n", "  - id: r3\n    from: a\n    to: b\n",
		"    action: deny\n", "    label: |\n", "    label: \"\n", "\"\n", "  - ''\n", "\n",
		"# - {a: b}\n", "]\n", "  - [\n",
		"- {id: q1, rules: [{id: x, from: a, to: a, action: pass}]}\n",
		"tiers:\n- application\n", "baseline: {log: all}\n", "  tier: application\n",
		"    service: [tcp/1,\n    tcp/2]\n"};
	uint64_t dice = 42;

	(void)state;
	for (unsigned int round = 0; round < 20000; round++) {
		char text[2048] = "zones: {a: {match: a}, b: {match: b}}\npolicies:\n";
		struct policy_errors lifted_errors = {0}, errors = {0};
		struct policy_document lifted, document;

		for (unsigned int n = 0; n < 2 + round % 9; n++) {
			dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407;
			strcat(text, pieces[(dice >> 33) % COUNT(pieces)]);
		}
		policy_document_read(&lifted, text, strlen(text), &lifted_errors);
		policy_document_read_unlifted(&document, text, strlen(text), &errors);
		if (!same_errors(&lifted_errors, &errors) || !same_documents(&lifted, &document))
			fail_msg("%s\nis read otherwise", text);
		policy_document_free(&lifted);
		policy_document_free(&document);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_plain_is_lifted),
		cmocka_unit_test(long_words_are_left_to_the_parser),
		cmocka_unit_test(a_document_is_the_same_with_and_without),
		cmocka_unit_test(random_texts_are_the_same_with_and_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
