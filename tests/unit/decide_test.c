/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verdicts: tables of questions to policies, and a plain interpreter of the document to compare
 * with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "zones/policy_document.h"
#include "zones/zone.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct zone_policy *create(const char *text)
{
	struct policy_errors errors;
	struct zone_policy *policy = zone_policy_create(text, strlen(text), 1, 0, &errors);

	if (!policy)
		fail_msg("%s\n%u:%u: %s", text, errors.at[0].line, errors.at[0].column,
			errors.at[0].message);
	return policy;
}

/* --- Tables --------------------------------------------------------------------------------- */

/* A question in words: "tcp/80", "icmp/8/0", "47". */
struct expectation {
	const char *from, *to, *service;
	const char *rule; /* "policy/rule", or "" for the built-in verdict. */
	enum zone_action action;
	enum zone_log log;
};

static struct zone_question question_of(
	const struct zone_policy *policy, const char *from, const char *to, const char *service)
{
	struct zone_question question = {
		.source_zone = (uint16_t)zone_find(policy, from),
		.destination_zone = (uint16_t)zone_find(policy, to),
		/* These never matter. */
		.source_port = 4711,
	};
	unsigned int a = 0, b = 0;

	assert_true(zone_find(policy, from) >= 0 && zone_find(policy, to) >= 0);
	if (sscanf(service, "tcp/%u", &a) == 1)
		question.protocol = IPPROTO_TCP;
	else if (sscanf(service, "udp/%u", &a) == 1)
		question.protocol = IPPROTO_UDP;
	else if (sscanf(service, "sctp/%u", &a) == 1)
		question.protocol = IPPROTO_SCTP;
	else if (sscanf(service, "icmp/%u/%u", &a, &b) == 2)
		question.protocol = IPPROTO_ICMP;
	else if (sscanf(service, "icmpv6/%u/%u", &a, &b) == 2)
		question.protocol = IPPROTO_ICMPV6;
	else
		question.protocol = (uint8_t)atoi(service);
	if (strncmp(service, "icmp", 4)) {
		question.destination_port = (uint16_t)a;
	} else {
		question.type = (uint8_t)a;
		question.code = (uint8_t)b;
		question.destination_port = 80;
	}
	return question;
}

static void check(const char *text, const struct expectation *expectations, size_t n)
{
	struct zone_policy *policy = create(text);

	for (size_t i = 0; i < n; i++) {
		const struct expectation *expected = &expectations[i];
		struct zone_question question =
			question_of(policy, expected->from, expected->to, expected->service);
		struct zone_verdict verdict;
		struct zone_rule_info info;
		char name[160], rule[320] = "";

		zone_decide(policy, &question, &verdict);
		if (zone_rule_info(policy, verdict.rule, &info, name)) {
			snprintf(rule, sizeof rule, "%s/%s", info.policy, info.rule);
			assert_int_equal(info.action, verdict.action);
			assert_int_equal(info.log, verdict.log);
		}
		if (strcmp(rule, expected->rule) || verdict.action != expected->action ||
			verdict.log != expected->log)
			fail_msg("%s -> %s %s: rule %s, action %u, log %u", expected->from,
				expected->to, expected->service, rule, verdict.action, verdict.log);
	}
	zone_policy_destroy(policy);
}

static void the_design_example(void **state)
{
	static const char text[] =
		"zones:\n"
		"  web:      {match: \"tier=web\"}\n"
		"  db:       {match: \"tier=db\", intra: deny}\n"
		"  internet: {cidrs: [0.0.0.0/0, \"::/0\"]}\n"
		"services:\n"
		"  postgres: tcp/5432\n"
		"tiers: [emergency, environment, application]\n"
		"policies:\n"
		"  - id: db-access\n"
		"    tier: environment\n"
		"    mode: enforce\n"
		"    rules:\n"
		"      - {id: web-to-db, from: web, to: db, service: postgres, action: allow, "
		"log: session}\n"
		"      - {id: no-internet, from: db, to: internet, action: deny, log: all, "
		"label: CHG-4711}\n"
		"baseline: {between_zones: deny, within_zone: allow, log: denied}\n";
	static const struct expectation expectations[] = {
		{"web", "db", "tcp/5432", "db-access/web-to-db", ZONE_ALLOW, ZONE_LOG_SESSION},
		{"web", "db", "tcp/5433", "baseline/web->db", ZONE_DENY, ZONE_LOG_DENIED},
		{"web", "db", "udp/5432", "baseline/web->db", ZONE_DENY, ZONE_LOG_DENIED},
		{"db", "web", "tcp/5432", "baseline/db->web", ZONE_DENY, ZONE_LOG_DENIED},
		{"db", "internet", "tcp/443", "db-access/no-internet", ZONE_DENY, ZONE_LOG_ALL},
		{"db", "internet", "47", "db-access/no-internet", ZONE_DENY, ZONE_LOG_ALL},
		{"web", "internet", "tcp/443", "baseline/web->internet", ZONE_DENY,
			ZONE_LOG_DENIED},
		{"web", "web", "tcp/80", "baseline/web->web", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"db", "db", "tcp/5432", "baseline/db->db", ZONE_DENY, ZONE_LOG_DENIED},
		{"quarantine", "web", "tcp/80", "", ZONE_DENY, ZONE_LOG_DENIED},
		{"web", "quarantine", "tcp/80", "", ZONE_DENY, ZONE_LOG_DENIED},
		{"quarantine", "quarantine", "tcp/80", "", ZONE_DENY, ZONE_LOG_DENIED},
	};

	(void)state;
	check(text, expectations, COUNT(expectations));
}

static void services_match_what_they_say(void **state)
{
	static const char text[] =
		"zones: {a: {match: a}, b: {match: b}}\n"
		"services:\n"
		"  several: [tcp/80, tcp/8000-8100, udp/53]\n"
		"policies:\n"
		"- id: p\n"
		"  rules:\n"
		"  - {id: several, from: a, to: b, service: several, action: allow}\n"
		"  - {id: echo, from: a, to: b, service: [icmp/8, icmpv6/128], action: allow}\n"
		"  - {id: too-big, from: a, to: b, service: icmp/3/4, action: allow}\n"
		"  - {id: gre, from: a, to: b, service: ip/47, action: allow}\n"
		"  - {id: sctp, from: a, to: b, service: sctp/0-1, action: allow}\n"
		"  - {id: all-icmp6, from: b, to: a, service: icmpv6, action: allow}\n"
		"  - {id: all-tcp, from: b, to: a, service: ip/6, action: allow}\n"
		"  - {id: last, from: b, to: a, service: ip/255, action: allow}\n";
	static const struct expectation expectations[] = {
		{"a", "b", "tcp/80", "p/several", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "tcp/79", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "tcp/81", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "tcp/8000", "p/several", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "tcp/8100", "p/several", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "tcp/7999", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "tcp/8101", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "udp/53", "p/several", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "icmp/8/0", "p/echo", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "icmp/8/255", "p/echo", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "icmp/0/0", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "icmp/9/0", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "icmpv6/128/0", "p/echo", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "icmpv6/8/0", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "icmp/3/4", "p/too-big", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "icmp/3/3", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "icmp/3/5", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "47", "p/gre", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "46", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"a", "b", "sctp/1", "p/sctp", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"a", "b", "sctp/2", "baseline/a->b", ZONE_DENY, ZONE_LOG_DENIED},
		{"b", "a", "icmpv6/135/0", "p/all-icmp6", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"b", "a", "tcp/65535", "p/all-tcp", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"b", "a", "udp/0", "baseline/b->a", ZONE_DENY, ZONE_LOG_DENIED},
		{"b", "a", "255", "p/last", ZONE_ALLOW, ZONE_LOG_DENIED},
		{"b", "a", "0", "baseline/b->a", ZONE_DENY, ZONE_LOG_DENIED},
	};

	(void)state;
	check(text, expectations, COUNT(expectations));
}

static void first_match_wins_and_pass_goes_on(void **state)
{
	static const char text[] =
		"zones: {a: {match: a}, b: {match: b}, c: {match: c}}\n"
		"tiers: [first, second, third]\n"
		"policies:\n"
		/* In the document before the tier that is tried first. */
		"- id: two\n"
		"  tier: second\n"
		"  rules:\n"
		"  - {id: narrow, from: a, to: b, service: tcp/80, action: reject, log: none}\n"
		"  - {id: wide, from: a, to: any, service: tcp, action: allow, log: all}\n"
		"  - {id: never, from: a, to: b, service: tcp/81, action: deny}\n"
		"  - {id: hand-over, from: any, to: c, action: pass}\n"
		"- id: one\n"
		"  tier: first\n"
		"  rules:\n"
		"  - {id: spare, from: any, to: any, service: tcp/22, action: pass}\n"
		"  - {id: stop, from: any, to: any, service: tcp/22-23, action: deny, log: all}\n"
		"- id: off\n"
		"  tier: first\n"
		"  mode: off\n"
		"  rules:\n"
		"  - {id: all, from: any, to: any, action: allow}\n"
		/* No tier given: the last. */
		"- id: three\n"
		"  rules:\n"
		"  - {id: ssh, from: b, to: [a, c], service: tcp/22, action: allow, log: session}\n"
		"  - {id: within, from: c, to: c, service: udp, action: deny, log: session}\n"
		"  - {id: end, from: c, to: c, action: pass}\n"
		"baseline: {between_zones: reject, within_zone: allow, log: session}\n";
	static const struct expectation expectations[] = {
		{"a", "b", "tcp/80", "two/narrow", ZONE_REJECT, ZONE_LOG_NONE},
		{"a", "b", "tcp/81", "two/wide", ZONE_ALLOW, ZONE_LOG_ALL},
		{"a", "c", "tcp/80", "two/wide", ZONE_ALLOW, ZONE_LOG_ALL},
		{"a", "c", "udp/80", "baseline/a->c", ZONE_REJECT, ZONE_LOG_SESSION},
		{"a", "b", "tcp/23", "one/stop", ZONE_DENY, ZONE_LOG_ALL},
		{"a", "b", "tcp/22", "two/wide", ZONE_ALLOW, ZONE_LOG_ALL},
		{"b", "a", "tcp/22", "three/ssh", ZONE_ALLOW, ZONE_LOG_SESSION},
		{"b", "c", "tcp/22", "three/ssh", ZONE_ALLOW, ZONE_LOG_SESSION},
		{"b", "c", "tcp/21", "baseline/b->c", ZONE_REJECT, ZONE_LOG_SESSION},
		{"c", "a", "tcp/22", "baseline/c->a", ZONE_REJECT, ZONE_LOG_SESSION},
		{"c", "c", "udp/1", "three/within", ZONE_DENY, ZONE_LOG_SESSION},
		{"c", "c", "tcp/1", "baseline/c->c", ZONE_ALLOW, ZONE_LOG_SESSION},
	};

	(void)state;
	check(text, expectations, COUNT(expectations));
}

static void numbers_follow_the_order_of_trial(void **state)
{
	static const char text[] =
		"zones: {a: {match: a}, b: {match: b}}\n"
		"policies:\n"
		"- {id: late, rules: [{id: x, from: a, to: b, action: allow, label: why},"
		"   {id: y, from: a, to: b, action: allow}]}\n"
		"- {id: off, mode: off, rules: [{id: x, from: a, to: b, action: allow}]}\n"
		"- {id: early, tier: emergency, rules: [{id: x, from: b, to: a, action: deny}]}\n";
	static const char *const names[] = {"early/x", "late/x", "late/y", "off/x",
		"baseline/quarantine->quarantine", "baseline/quarantine->a",
		"baseline/quarantine->b", "baseline/a->quarantine", "baseline/a->a",
		"baseline/a->b", "baseline/b->quarantine", "baseline/b->a", "baseline/b->b"};
	struct zone_policy *policy = create(text);
	struct zone_rule_info info;
	char name[160], full[320];

	(void)state;
	assert_int_equal(zone_rule_count(policy), 4);
	for (uint32_t i = 0; i < COUNT(names); i++) {
		assert_true(zone_rule_info(policy, i + 1, &info, name));
		snprintf(full, sizeof full, "%s/%s", info.policy, info.rule);
		assert_string_equal(full, names[i]);
		assert_int_equal(info.is_default, i >= 4);
		assert_int_equal(info.in_force, i != 3);
	}
	assert_false(zone_rule_info(policy, RULE_NONE, &info, name));
	assert_false(zone_rule_info(policy, COUNT(names) + 1, &info, name));
	assert_false(zone_rule_info(policy, UINT32_MAX, &info, name));
	assert_true(zone_rule_info(policy, 1, &info, name));
	assert_string_equal(info.tier, "emergency");
	assert_null(info.label);
	assert_true(zone_rule_info(policy, 2, &info, name));
	assert_string_equal(info.tier, "application");
	assert_string_equal(info.label, "why");
	assert_true(zone_rule_info(policy, 10, &info, name));
	assert_string_equal(info.tier, "baseline");
	assert_int_equal(info.source_zone, zone_find(policy, "a"));
	assert_int_equal(info.destination_zone, zone_find(policy, "b"));
	zone_policy_destroy(policy);
}

static void zones_by_tags_and_by_prefix(void **state)
{
	static const char text[] = "zones:\n"
				   "  web: {match: tier=web}\n"
				   "  prod: {match: env=prod and tier!=db, cidrs: 10.1.0.0/16}\n"
				   "  lan: {cidrs: [10.0.0.0/8, 'fd00::/8'], intra: deny}\n"
				   "  host: {cidrs: [10.1.2.3, 'fd00::1']}\n"
				   "  world: {cidrs: 0.0.0.0/0}\n";
	static const struct {
		const char *tags[3];
		size_t n;
		const char *zone, *conflict[2];
	} by_tags[] = {
		{{"tier=web"}, 1, "web", {NULL, NULL}},
		{{"tier=app", "env=prod"}, 2, "prod", {NULL, NULL}},
		{{"tier=db", "env=prod"}, 2, "quarantine", {NULL, NULL}},
		{{"tier=web", "env=prod"}, 2, "quarantine", {"web", "prod"}},
		{{NULL}, 0, "quarantine", {NULL, NULL}},
	};
	static const struct {
		const char *address, *zone;
	} by_prefix[] = {
		{"10.1.2.3", "host"},
		{"10.1.2.4", "prod"},
		{"10.2.0.1", "lan"},
		{"192.0.2.1", "world"},
		{"fd00::1", "host"},
		{"fd00::2", "lan"},
		{"2001:db8::1", "quarantine"},
	};
	struct zone_policy *policy = create(text);

	(void)state;
	for (size_t i = 0; i < COUNT(by_tags); i++) {
		uint16_t conflict[2];
		uint16_t zone = zone_of_tags(policy, by_tags[i].tags, by_tags[i].n, conflict);

		assert_string_equal(zone_info(policy, zone).name, by_tags[i].zone);
		assert_int_equal(zone_of_tags(policy, by_tags[i].tags, by_tags[i].n, NULL), zone);
		for (unsigned int j = 0; j < 2; j++)
			assert_int_equal(conflict[j],
				by_tags[i].conflict[j] ? zone_find(policy, by_tags[i].conflict[j])
						       : ZONE_QUARANTINE);
	}
	for (size_t i = 0; i < COUNT(by_prefix); i++) {
		struct in6_addr address;

		assert_true(ip_address_parse(by_prefix[i].address, &address));
		assert_string_equal(zone_info(policy, zone_of_prefix(policy, &address)).name,
			by_prefix[i].zone);
	}
	assert_int_equal(zone_info(policy, 3).n_prefixes, 2);
	assert_true(zone_info(policy, 3).intra_deny);
	assert_false(zone_info(policy, 1).intra_deny);
	assert_string_equal(zone_info(policy, 1).match, "tier=web");
	assert_null(zone_info(policy, 3).match);
	assert_int_equal(zone_find(policy, "nowhere"), -1);
	assert_int_equal(zone_find(policy, "quarantine"), ZONE_QUARANTINE);
	zone_policy_destroy(policy);
}

static void without_a_document_nothing_passes(void **state)
{
	static const struct zone_question questions[] = {
		{.protocol = IPPROTO_TCP}, {.source_zone = 1, .destination_zone = 1}};
	struct zone_policy *policy = zone_policy_create_empty();

	(void)state;
	assert_int_equal(zone_count(policy), 1);
	assert_int_equal(zone_rule_count(policy), 0);
	assert_int_equal(zone_policy_revision(policy), 0);
	for (size_t i = 0; i < COUNT(questions); i++) {
		struct zone_verdict verdict = {.action = ZONE_ALLOW};

		zone_decide(policy, &questions[i], &verdict);
		assert_int_equal(verdict.action, ZONE_DENY);
		assert_int_equal(verdict.rule, RULE_NONE);
	}
	zone_policy_destroy(policy);
	zone_policy_destroy(NULL);
}

/* --- Simulation, limits, and rules without effect ------------------------------------------- */

static const char simulated_text[] =
	"zones: {a: {match: a}, b: {match: b}}\n"
	"policies:\n"
	"- {id: try, tier: emergency, mode: simulate, rules: [\n"
	"    {id: goes-on, from: a, to: b, service: tcp/22, action: pass},\n"
	"    {id: no, from: a, to: b, action: reject, log: all}]}\n"
	"- {id: now, rules: [{id: yes, from: a, to: b, action: allow, log: session}]}\n";

static void simulated_policies_bite_in_simulation_only(void **state)
{
	static const struct {
		const char *service;
		enum zone_action action;
		uint32_t rule; /* In simulation. */
		size_t n_steps;
		struct zone_step steps[2];
	} cases[] = {
		{"tcp/80", ZONE_REJECT, 2, 1, {{2, ZONE_REJECT}}},
		{"tcp/22", ZONE_ALLOW, 3, 2, {{1, ZONE_PASS}, {3, ZONE_ALLOW}}},
	};
	struct zone_policy *policy = create(simulated_text), *plain;
	struct zone_step steps[ZONE_STEPS_MAX];
	struct zone_question question;
	struct zone_verdict verdict = {.rule = 4711};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		question = question_of(policy, "a", "b", cases[i].service);
		zone_decide(policy, &question, &verdict);
		assert_int_equal(verdict.action, ZONE_ALLOW);
		assert_int_equal(verdict.rule, 3);
		assert_true(zone_decide_simulated(policy, &question, &verdict));
		assert_int_equal(verdict.action, cases[i].action);
		assert_int_equal(verdict.rule, cases[i].rule);
		assert_int_equal(zone_explain(policy, &question, false, steps), 1);
		assert_int_equal(steps[0].rule, 3);
		assert_int_equal(zone_explain(policy, &question, true, steps), cases[i].n_steps);
		for (size_t j = 0; j < cases[i].n_steps; j++) {
			assert_int_equal(steps[j].rule, cases[i].steps[j].rule);
			assert_int_equal(steps[j].action, cases[i].steps[j].action);
		}
	}
	question.source_zone = ZONE_QUARANTINE;
	assert_true(zone_decide_simulated(policy, &question, &verdict));
	assert_int_equal(verdict.action, ZONE_DENY);
	assert_int_equal(verdict.rule, RULE_NONE);
	assert_int_equal(zone_explain(policy, &question, true, steps), 1);
	assert_int_equal(steps[0].rule, RULE_NONE);
	assert_int_equal(steps[0].action, ZONE_DENY);
	zone_policy_destroy(policy);

	plain = create("zones: {a: {match: a}}");
	question = question_of(plain, "a", "a", "tcp/80");
	verdict.rule = 4711;
	assert_false(zone_decide_simulated(plain, &question, &verdict));
	assert_int_equal(verdict.rule, 4711);
	assert_int_equal(zone_explain(plain, &question, true, steps), 1);
	assert_int_equal(steps[0].action, ZONE_ALLOW);
	zone_policy_destroy(plain);
}

static void limits_and_helpers_come_with_the_verdict(void **state)
{
	static const char text[] =
		"zones: {a: {match: a, limits: {half_open: 9}}, b: {match: b}}\n"
		"policies:\n"
		"- {id: p, rules: [\n"
		"    {id: ftp, from: b, to: a, service: tcp/21, action: allow, helper: ftp},\n"
		"    {id: few, from: b, to: any, service: tcp/22, action: allow,\n"
		"     limits: {connections: 2}},\n"
		"    {id: web, from: any, to: any, service: tcp/80, action: allow},\n"
		"    {id: no, from: any, to: any, service: tcp/81, action: deny}]}\n";
	static const struct {
		const char *from, *to, *service;
		enum zone_helper helper;
		bool limited;
	} cases[] = {
		{"b", "a", "tcp/21", ZONE_HELPER_FTP, false},
		{"b", "a", "tcp/22", ZONE_HELPER_NONE, true},
		{"b", "b", "tcp/22", ZONE_HELPER_NONE, true},
		{"b", "a", "tcp/80", ZONE_HELPER_NONE, false},
		{"a", "b", "tcp/80", ZONE_HELPER_NONE, true},
		{"a", "a", "tcp/90", ZONE_HELPER_NONE, true}, /* The baseline allows it. */
		{"a", "b", "tcp/81", ZONE_HELPER_NONE, false},
		{"a", "b", "tcp/90", ZONE_HELPER_NONE, false}, /* The baseline denies it. */
	};
	struct zone_policy *policy = create(text);

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct zone_question question =
			question_of(policy, cases[i].from, cases[i].to, cases[i].service);
		struct zone_verdict verdict;

		zone_decide(policy, &question, &verdict);
		if (verdict.limited != cases[i].limited || verdict.helper != cases[i].helper)
			fail_msg("%s -> %s %s: limited %d, helper %u", cases[i].from, cases[i].to,
				cases[i].service, verdict.limited, verdict.helper);
	}
	zone_policy_destroy(policy);
}

/* Writes "rule<by " for each rule. */
static void write_unreachable(uint32_t rule, uint32_t by, void *text)
{
	sprintf((char *)text + strlen(text), "%u<%u ", rule, by);
}

#define ZONES "zones: {a: {match: a}, b: {match: b}}\n"

static const struct {
	const char *text, *expected;
} unreachable[] = {
	{ZONES, ""},
	{ZONES "policies: [{id: p, rules: [{id: r1, from: any, to: any, action: deny},\n"
	       "{id: r2, from: a, to: b, action: allow},\n"
	       "{id: r3, from: any, to: any, action: deny}]}]",
		"2<1 3<1 "},
	/* Two together take all. */
	{ZONES "policies: [{id: p, rules: [\n"
	       "{id: r1, from: a, to: b, service: tcp/0-80, action: deny},\n"
	       "{id: r2, from: a, to: any, service: [tcp/70-65535, udp], action: deny},\n"
	       "{id: r3, from: a, to: b, service: tcp, action: allow},\n"
	       "{id: r4, from: a, to: b, service: [tcp, sctp], action: allow}]}]",
		"3<1 "},
	/* Every zone by itself, and then any. */
	{ZONES "policies: [{id: p, rules: [{id: r1, from: a, to: any, action: deny},\n"
	       "{id: r2, from: b, to: [b, a], action: deny},\n"
	       "{id: r3, from: any, to: any, action: allow}]}]",
		"3<1 "},
	{ZONES "policies: [{id: p, rules: [{id: r1, from: a, to: any, action: deny},\n"
	       "{id: r2, from: b, to: b, action: deny},\n"
	       "{id: r3, from: any, to: any, action: allow}]}]",
		""},
	/* An earlier tier decides, unless it passes before it does. */
	{ZONES "policies: [{id: p, rules: [{id: r3, from: any, to: b, action: deny}]},\n"
	       "{id: q, tier: emergency, rules: [{id: r1, from: any, to: any, action: "
	       "deny}]}]",
		"2<1 "},
	{ZONES "policies: [{id: p, rules: [{id: r3, from: any, to: b, action: deny},\n"
	       "{id: r4, from: any, to: a, action: deny}]},\n"
	       "{id: q, tier: emergency, rules: [{id: r1, from: a, to: b, service: tcp/1,\n"
	       "action: pass}, {id: r2, from: any, to: any, action: deny}]}]",
		"4<2 "},
	/* Behind its tier's pass a rule is not tried. */
	{ZONES "policies: [{id: p, rules: [{id: r1, from: any, to: any, action: pass},\n"
	       "{id: r2, from: a, to: a, action: deny}]}]",
		"2<1 "},
	/* What is not in force takes nothing away, and is not told of. */
	{ZONES "policies: [{id: p, rules: [{id: r1, from: any, to: any, action: deny, "
	       "expires: 1969-01-01},\n"
	       "{id: r2, from: a, to: a, action: deny}]},\n"
	       "{id: q, mode: off, rules: [{id: r3, from: a, to: a, action: deny}]}]",
		""},
	/* What is simulated takes away from what is simulated only. */
	{ZONES "policies: [{id: p, mode: simulate, rules: [\n"
	       "{id: r1, from: any, to: any, action: deny},\n"
	       "{id: r2, from: a, to: a, action: deny}]},\n"
	       "{id: q, rules: [{id: r3, from: a, to: a, action: deny}]}]",
		"2<1 "},
	{"zones: {}\npolicies: [{id: p, rules: [{id: r, from: any, to: any, action: "
	 "deny}]}]",
		"1<0 "},
};

static void what_nothing_reaches_is_named(void **state)
{

	(void)state;
	for (size_t i = 0; i < COUNT(unreachable); i++) {
		struct zone_policy *policy = create(unreachable[i].text);
		char text[256] = "";

		assert_true(zone_each_unreachable_rule(policy, write_unreachable, text));
		if (strcmp(text, unreachable[i].expected))
			fail_msg("%s\nunreachable: %s", unreachable[i].text, text);
		zone_policy_destroy(policy);
	}
}

static void count_unreachable(uint32_t rule, uint32_t by, void *n)
{
	assert_true(by && by < rule);
	++*(unsigned int *)n;
}

/* Each rule of the second tier would have to be tried at every crossing of a row with a column that
 * the first one passes. */
static void a_search_that_would_take_hours_is_given_up(void **state)
{
	enum { ZONES_PASSED = 1500, RULES = 3000 };
	struct zone_policy *policy;
	unsigned int n = 0;
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	(void)state;
	fputs("zones:\n", stream);
	for (unsigned int i = 1; i <= ZONES_PASSED; i++)
		fprintf(stream, "  z%u: {match: t%u}\n", i, i);
	fputs("policies:\n  - id: first\n    tier: emergency\n    rules:\n", stream);
	for (unsigned int i = 1; i <= ZONES_PASSED; i++)
		fprintf(stream,
			"      - {id: f%u, from: z%u, to: any, service: tcp/%u, action: pass}\n"
			"      - {id: t%u, from: any, to: z%u, service: tcp/%u, action: pass}\n",
			i, i, i, i, i, i);
	fputs("      - {id: all, from: any, to: any, action: deny}\n"
	      "  - id: second\n    rules:\n",
		stream);
	for (unsigned int i = 0; i < RULES; i++)
		fprintf(stream,
			"      - {id: r%u, from: any, to: any, service: tcp, action: allow}\n", i);
	fclose(stream);
	policy = create(text);
	assert_false(zone_each_unreachable_rule(policy, count_unreachable, &n));
	assert_in_range(n, 1, RULES - 1);
	zone_policy_destroy(policy);
	free(text);
}

/* --- Long lists ----------------------------------------------------------------------------- */

enum { LONG_RULES = 700 };

/* One rule of the long list: ports of a protocol. */
struct port_rule {
	uint8_t protocol;
	unsigned int first, last;
};

/* Rules all over the ports of protocols before, between and behind TCP and UDP; every seventh is a
 * range. */
static struct port_rule port_rule_at(unsigned int i)
{
	static const uint8_t protocols[] = {
		IPPROTO_TCP, IPPROTO_UDP, IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_UDP};
	unsigned int first = i * 7919 % 65536, length = i % 7 == 0 ? i * 31 % 1000 : 0;

	return (struct port_rule){.protocol = protocols[i % COUNT(protocols)],
		.first = first,
		.last = first + length > 65535 ? 65535 : first + length};
}

static struct zone_policy *create_long(void)
{
	static char text[LONG_RULES * 100];
	size_t n = (size_t)snprintf(text, sizeof text,
		"zones: {a: {match: a}, b: {match: b}}\npolicies:\n- id: p\n  rules:\n");

	for (unsigned int i = 0; i < LONG_RULES; i++) {
		const struct port_rule rule = port_rule_at(i);
		const char *word = rule.protocol == IPPROTO_TCP	  ? "tcp"
				   : rule.protocol == IPPROTO_UDP ? "udp"
								  : "sctp";

		n += (size_t)snprintf(text + n, sizeof text - n,
			"  - {id: r%u, from: a, to: b, service: %s/%u-%u, action: allow}\n", i,
			word, rule.first, rule.last);
	}
	snprintf(text + n, sizeof text - n,
		"  - {id: gre, from: a, to: b, service: ip/47, action: allow}\n"
		"  - {id: igmp, from: a, to: b, service: ip/2, action: allow}\n");
	return create(text);
}

/* The number of the first rule that has the port, or 0. */
static uint32_t first_rule_of(uint8_t protocol, unsigned int port)
{
	for (unsigned int i = 0; i < LONG_RULES; i++) {
		const struct port_rule rule = port_rule_at(i);

		if (rule.protocol == protocol && rule.first <= port && port <= rule.last)
			return i + 1;
	}
	if (protocol == 47)
		return LONG_RULES + 1;
	return protocol == 2 ? LONG_RULES + 2 : 0;
}

static void check_port(const struct zone_policy *policy, uint8_t protocol, unsigned int port)
{
	struct zone_question question = {.source_zone = (uint16_t)zone_find(policy, "a"),
		.destination_zone = (uint16_t)zone_find(policy, "b"),
		.protocol = protocol,
		.destination_port = (uint16_t)port};
	uint32_t rule = first_rule_of(protocol, port & 0xffff);
	struct zone_verdict verdict;

	zone_decide(policy, &question, &verdict);
	if (verdict.action != (rule ? ZONE_ALLOW : ZONE_DENY) || (rule && verdict.rule != rule))
		fail_msg("protocol %u, port %u: rule %u, not %u", protocol, port & 0xffff,
			verdict.rule, rule);
}

/* The list has a table of where each 256 ports begin: every border of it and of each rule. */
static void a_long_list_decides_as_a_short_one(void **state)
{
	static const uint8_t protocols[] = {
		0, 1, 2, 5, IPPROTO_TCP, 7, 16, IPPROTO_UDP, 18, 47, IPPROTO_SCTP, 133, 254, 255};
	struct zone_policy *policy = create_long();

	(void)state;
	for (size_t i = 0; i < COUNT(protocols); i++) {
		for (unsigned int port = 0; port < 65536; port += 256) {
			check_port(policy, protocols[i], port - 1);
			check_port(policy, protocols[i], port);
			check_port(policy, protocols[i], port + 1);
		}
	}
	for (unsigned int i = 0; i < LONG_RULES; i++) {
		const struct port_rule rule = port_rule_at(i);

		check_port(policy, rule.protocol, rule.first - 1);
		check_port(policy, rule.protocol, rule.first);
		check_port(policy, rule.protocol, rule.last);
		check_port(policy, rule.protocol, rule.last + 1);
	}
	zone_policy_destroy(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_design_example),
		cmocka_unit_test(services_match_what_they_say),
		cmocka_unit_test(first_match_wins_and_pass_goes_on),
		cmocka_unit_test(numbers_follow_the_order_of_trial),
		cmocka_unit_test(zones_by_tags_and_by_prefix),
		cmocka_unit_test(without_a_document_nothing_passes),
		cmocka_unit_test(simulated_policies_bite_in_simulation_only),
		cmocka_unit_test(limits_and_helpers_come_with_the_verdict),
		cmocka_unit_test(what_nothing_reaches_is_named),
		cmocka_unit_test(a_search_that_would_take_hours_is_given_up),
		cmocka_unit_test(a_long_list_decides_as_a_short_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
