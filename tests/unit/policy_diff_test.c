/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes from one policy document to another, in words: each kind of thing added, removed,
 * changed and moved, and that nothing is told where nothing changed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "zones/policy_diff.h"

#define ZONES "zones: {web: {match: tier=web}, db: {match: tier=db}}\n"

static void read_document(struct policy_document *document, const char *text)
{
	struct policy_errors errors = {0};

	if (policy_document_read(document, text, strlen(text), &errors))
		policy_document_check(document, &errors);
	if (errors.n_total)
		fail_msg("%u: %s", errors.at[0].line, errors.at[0].message);
}

/* True if no character of UTF-8 was cut in two; the document was checked, so that nothing else can
 * be wrong. */
static bool is_whole(const char *text)
{
	unsigned int left = 0;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool goes_on = (c & 0xc0) == 0x80;

		if (goes_on != (left > 0))
			return false;
		left = goes_on ? left - 1 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
	}
	return !left;
}

/* All differences, a line each: "title: words". */
static char *compare(const char *before_text, const char *after_text)
{
	struct policy_document before, after;
	struct policy_diff diff;
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (before_text)
		read_document(&before, before_text);
	read_document(&after, after_text);
	policy_diff_make(&diff, before_text ? &before : NULL, &after);
	for (size_t i = 0; i < diff.n; i++)
		fprintf(stream, "%s | %s\n", diff.at[i].title, diff.at[i].words);
	fclose(stream);
	policy_diff_free(&diff);
	policy_document_free(&after);
	if (before_text)
		policy_document_free(&before);
	return text;
}

static void expect(const char *before, const char *after, const char *words)
{
	char *text = compare(before, after);

	assert_string_equal(text, words);
	free(text);
}

static void test_same_text_has_no_difference(void **state)
{
	(void)state;
	expect(ZONES, ZONES, "");
}

static void test_writing_a_default_down_is_no_difference(void **state)
{
	(void)state;
	expect(ZONES "policies: [{id: p, rules: [{id: r, from: web, to: db, action: deny}]}]\n",
		ZONES "tiers: [emergency, environment, application]\n"
		      "policies: [{id: p, tier: application, mode: enforce, rules: [{id: r, "
		      "from: web, to: db, service: any, action: deny, log: denied}]}]\n"
		      "baseline: {between_zones: deny, within_zone: allow, log: denied}\n",
		"");
}

static void test_order_and_spelling_of_lists_is_no_difference(void **state)
{
	(void)state;
	expect("zones: {a: {cidrs: [10.0.0.0/8, 192.0.2.1]}}\nservices: {s: [tcp/80, "
	       "tcp/443-443]}\n",
		"services: {s: [tcp/443, tcp/80]}\nzones: {a: {cidrs: [192.0.2.1/32, "
		"10.0.0.0/8]}}\n",
		"");
}

static void test_zones(void **state)
{
	(void)state;
	expect("zones: {web: {match: tier=web}, db: {match: tier=db}, old: {cidrs: 10.0.0.0/8}}\n",
		"zones: {web: {match: tier=www, intra: deny}, db: {match: tier=db, cidrs: "
		"[\"2001:db8::/32\"]}, new: {match: a, cidrs: [0.0.0.0/0, \"::/0\"]}}\n",
		"zone web | match: tier=web -> tier=www\n"
		"zone web | intra: none -> deny\n"
		"zone db | cidrs: none -> 2001:db8::/32\n"
		"zone new | added (match a, cidrs 0.0.0.0/0, ::/0)\n"
		"zone old | removed (cidrs 10.0.0.0/8)\n");
}

static void test_services(void **state)
{
	(void)state;
	expect(ZONES "services: {a: tcp/80, b: udp/53, c: icmp}\n",
		ZONES "services: {a: [tcp/80, tcp/8000-8100], c: icmp/8, d: ip/47}\n",
		"service a | tcp/80 -> tcp/80, tcp/8000-8100\n"
		"service c | icmp -> icmp/8\n"
		"service d | added (ip/47)\n"
		"service b | removed (udp/53)\n");
}

static void test_a_service_written_out_in_a_rule_is_none_of_the_document(void **state)
{
	(void)state;
	expect(ZONES "policies: [{id: p, rules: [{id: r, from: web, to: db, service: tcp/80, "
		     "action: allow}]}]\n",
		ZONES "policies: [{id: p, rules: [{id: r, from: web, to: db, service: [tcp/80, "
		      "udp/53], action: allow}]}]\n",
		"rule p/r | service: tcp/80 -> tcp/80, udp/53\n");
}

static void test_rules(void **state)
{
	(void)state;
	expect(ZONES
		"policies: [{id: p, rules: [{id: a, from: web, to: db, action: allow}, {id: b, "
		"from: any, to: db, service: tcp/1, action: deny, log: all, label: X}]}]\n",
		ZONES "policies: [{id: p, rules: [{id: a, from: [web, db], to: db, action: reject, "
		      "log: none}, {id: c, from: any, to: web, action: pass}]}]\n",
		"rule p/a | from: web -> web, db\n"
		"rule p/a | action: allow -> reject\n"
		"rule p/a | log: denied -> none\n"
		"rule p/c | added (from any, to web, service any, action pass)\n"
		"rule p/b | removed (from any, to db, service tcp/1, action deny, log all, label "
		"X)\n");
}

static void test_policies(void **state)
{
	(void)state;
	expect(ZONES "policies: [{id: p, rules: [{id: a, from: web, to: db, action: allow}]}, {id: "
		     "q, rules: [{id: b, from: any, to: any, action: deny}]}]\n",
		ZONES
		"policies: [{id: p, tier: emergency, mode: 'off', rules: [{id: a, from: web, to: "
		"db, action: allow}]}, {id: n, rules: [{id: c, from: any, to: any, action: "
		"deny}]}]\n",
		"policy p | tier: application -> emergency\n"
		"policy p | mode: enforce -> off\n"
		"policy n | added, with 1 rule (tier application, mode enforce)\n"
		"policy q | removed, with 1 rule (tier application, mode enforce)\n"
		"rule n/c | added (from any, to any, service any, action deny, log denied)\n");
}

static void test_tiers_and_baseline(void **state)
{
	(void)state;
	expect(ZONES, ZONES "tiers: [first, last]\nbaseline: {between_zones: reject, log: all}\n",
		"tiers | emergency, environment, application -> first, last\n"
		"baseline | between_zones: deny -> reject\n"
		"baseline | log: denied -> all\n");
}

#define RULE(id) "{id: " id ", from: web, to: db, action: deny}"

static void test_one_rule_on_top_has_moved_and_not_the_others(void **state)
{
	(void)state;
	expect(ZONES "policies: [{id: p, rules: [" RULE("a") "," RULE("b") "," RULE("c") "," RULE(
		       "d") "]}]\n",
		ZONES "policies: [{id: p, rules: [" RULE("d") "," RULE("a") "," RULE("b") "," RULE(
			"c") "]}]\n",
		"rule p/d | moved: now first\n");
	expect(ZONES "policies: [{id: p, rules: [" RULE("a") "," RULE("b") "," RULE("c") "," RULE(
		       "d") "]}]\n",
		ZONES "policies: [{id: p, rules: [" RULE("b") "," RULE("x") "," RULE("a") "," RULE(
			"c") "," RULE("d") "]}]\n",
		"rule p/x | added (from web, to db, service any, action deny, log denied)\n"
		"rule p/b | moved: now first\n");
}

static void test_policies_move_within_their_tier_only(void **state)
{
	(void)state;
	expect(ZONES "policies: [{id: a, rules: []}, {id: b, rules: []}, {id: e, tier: emergency, "
		     "rules: []}]\n",
		ZONES "policies: [{id: e, tier: emergency, rules: []}, {id: b, rules: []}, {id: a, "
		      "rules: []}]\n",
		"policy b | moved: now first\n");
}

static void test_first_policy(void **state)
{
	(void)state;
	expect(NULL, "zones: {web: {match: tier=web}}\n",
		"tiers | none -> emergency, environment, application\n"
		"zone web | added (match tier=web)\n"
		"baseline | within_zone: deny -> allow\n");
}

static void test_long_lists_are_told_by_what_came_and_went(void **state)
{
	(void)state;
	expect("zones: {a: {cidrs: [10.0.0.0/24, 10.0.1.0/24, 10.0.2.0/24, 10.0.3.0/24, "
	       "10.0.4.0/24, 10.0.5.0/24, 10.0.6.0/24, 10.0.7.0/24, 10.0.8.0/24]}}\n",
		"zones: {a: {cidrs: [10.0.0.0/24, 10.0.1.0/24, 10.0.2.0/24, 10.0.3.0/24, "
		"10.0.4.0/24, 10.0.5.0/24, 10.0.6.0/24, 10.0.9.0/24, 10.0.8.0/24]}}\n",
		"zone a | cidrs: now also 10.0.9.0/24; no longer 10.0.7.0/24\n");
}

#define RULE_WITH(terms)                                                                           \
	ZONES "policies: [{id: p, rules: [{id: r, from: web, to: db, service: tcp/21, action: "    \
	      "allow" terms "}]}]\n"
#define POLICY_WITH(terms) ZONES "policies: [{id: p, rules: []" terms "}]\n"

static void test_terms_of_rules_and_policies(void **state)
{
	(void)state;
	expect(RULE_WITH(""), RULE_WITH(", expires: 2027-01-31, helper: ftp"),
		"rule p/r | expires: none -> 2027-01-31\n"
		"rule p/r | helper: none -> ftp\n");
	expect(RULE_WITH(", expires: 2027-01-31"),
		RULE_WITH(", expires: \"2027-01-31T19:30:00+01:00\""),
		"rule p/r | expires: 2027-01-31 -> 2027-01-31T18:30:00Z\n");
	expect(RULE_WITH(", schedule: {from: \"22:00\", to: \"06:00\"}"),
		RULE_WITH(", schedule: {days: [tue, mon], from: \"22:00:30\", to: \"24:00\", "
			  "time_zone: Europe/Berlin}"),
		"rule p/r | schedule: 22:00-06:00 UTC -> mon tue 22:00:30-24:00 Europe/Berlin\n");
	expect(RULE_WITH(", limits: {connections: 10}"),
		RULE_WITH(", limits: {connections: 20, new_per_second: 5, half_open: 1}"),
		"rule p/r | limits: connections 10 -> connections 20, new_per_second 5, half_open "
		"1\n");
	expect(POLICY_WITH(""),
		POLICY_WITH(", mode: simulate, expires: 2027-01-31, schedule: {from: \"08:00\", "
			    "to: \"18:00\"}"),
		"policy p | mode: enforce -> simulate\n"
		"policy p | expires: none -> 2027-01-31\n"
		"policy p | schedule: none -> 08:00-18:00 UTC\n");
	expect("zones: {a: {match: x}}\n",
		"zones: {a: {match: x, pickup: true, limits: {half_open: 7}}}\n",
		"zone a | pickup: none -> true\n"
		"zone a | limits: none -> half_open 7\n");
}

/* Two documents of many rules, one of them upside down. */
static void test_a_large_policy_turned_around(void **state)
{
	enum { RULES = 20000 };
	struct policy_document before, after;
	char *texts[2] = {NULL, NULL};
	struct policy_diff diff;

	(void)state;
	for (int turned = 0; turned < 2; turned++) {
		size_t size;
		FILE *stream = open_memstream(&texts[turned], &size);

		fputs(ZONES "policies:\n  - id: p\n    rules:\n", stream);
		for (int i = 0; i < RULES; i++)
			fprintf(stream,
				"      - {id: r%d, from: web, to: db, service: tcp/%d, action: "
				"allow}\n",
				turned ? RULES - i : i + 1, turned ? RULES - i : i + 1);
		fclose(stream);
	}
	read_document(&before, texts[0]);
	read_document(&after, texts[1]);
	policy_diff_make(&diff, &before, &after);
	assert_int_equal(diff.n, RULES - 1);
	assert_int_equal(diff.at[0].difference, POLICY_MOVED);
	policy_diff_free(&diff);
	policy_document_free(&before);
	policy_document_free(&after);
	free(texts[0]);
	free(texts[1]);
}

/* Wherever a long value, or a long line of many of them, is cut. */
static void test_no_character_is_cut_in_two(void **state)
{
	char before[8192], after[8192], value[256];

	(void)state;
	for (unsigned int shift = 0; shift < 4; shift++) {
		struct policy_document documents[2];
		struct policy_diff diff;
		size_t used = 0;

		used += (size_t)snprintf(value, sizeof(value), "%.*s", (int)shift, "abc");
		while (used + 4 < sizeof(value) - 8)
			used += (size_t)snprintf(value + used, sizeof(value) - used, "\U0001f98a");
		snprintf(before, sizeof(before), "zones: {web: {match: \"tier=web\"}}");
		used = (size_t)snprintf(
			after, sizeof(after), "zones: {web: {match: \"tier='%s'", value);
		for (unsigned int i = 0; i < 6; i++)
			used += (size_t)snprintf(
				after + used, sizeof(after) - used, " or tier='%s'", value);
		snprintf(after + used, sizeof(after) - used, "\"}, new: {match: \"tier='%s'\"}}",
			value);
		read_document(&documents[0], before);
		read_document(&documents[1], after);
		policy_diff_make(&diff, &documents[0], &documents[1]);
		assert_int_equal(diff.n, 2);
		for (size_t i = 0; i < diff.n; i++) {
			assert_true(is_whole(diff.at[i].words));
			assert_true(is_whole(diff.at[i].before));
			assert_true(is_whole(diff.at[i].after));
		}
		policy_diff_free(&diff);
		policy_document_free(&documents[0]);
		policy_document_free(&documents[1]);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_text_has_no_difference),
		cmocka_unit_test(test_writing_a_default_down_is_no_difference),
		cmocka_unit_test(test_order_and_spelling_of_lists_is_no_difference),
		cmocka_unit_test(test_zones),
		cmocka_unit_test(test_services),
		cmocka_unit_test(test_a_service_written_out_in_a_rule_is_none_of_the_document),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_policies),
		cmocka_unit_test(test_tiers_and_baseline),
		cmocka_unit_test(test_one_rule_on_top_has_moved_and_not_the_others),
		cmocka_unit_test(test_policies_move_within_their_tier_only),
		cmocka_unit_test(test_first_policy),
		cmocka_unit_test(test_long_lists_are_told_by_what_came_and_went),
		cmocka_unit_test(test_terms_of_rules_and_policies),
		cmocka_unit_test(test_a_large_policy_turned_around),
		cmocka_unit_test(test_no_character_is_cut_in_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
