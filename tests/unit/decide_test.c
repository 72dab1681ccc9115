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

/* --- A model -------------------------------------------------------------------------------- */

/* Random policies from few words, so that rules often meet.  A named service, then its parts. */
static const char *const named_services[][4] = {
	{"one", "tcp/80"},
	{"range", "tcp/79-81"},
	{"mixed", "udp/53", "tcp/53", "icmp/8"},
	{"wide", "tcp", "sctp"},
	{"nested", "tcp/1-65535", "tcp/80", "tcp/81-90"},
	{"all", "any", "udp/1"},
};

static const char *const literal_services[] = {"tcp/80", "tcp/0-79", "udp", "icmp/8/0", "icmpv6",
	"ip/47", "ip/6", "sctp/80", "tcp/65535", "ip/255", "ip/0"};

struct random_text {
	uint64_t state;
	char text[32768];
	size_t length;
};

static uint32_t draw(struct random_text *random, uint32_t below)
{
	random->state = random->state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)((random->state >> 33) % below);
}

static void write_text(struct random_text *random, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void write_text(struct random_text *random, const char *format, ...)
{
	size_t room = sizeof random->text - random->length;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(random->text + random->length, room, format, arguments);
	va_end(arguments);
	assert_true(n >= 0 && (size_t)n < room);
	random->length += (size_t)n;
}

static void write_zones(struct random_text *random, unsigned int n_zones)
{
	uint32_t pick = draw(random, n_zones + 1);

	if (pick == n_zones) {
		write_text(random, "any");
		return;
	}
	write_text(random, "[z%u", pick);
	for (uint32_t zone = pick + 1; zone < n_zones && !draw(random, 3); zone++)
		write_text(random, ", z%u", zone);
	write_text(random, "]");
}

static void write_service(struct random_text *random)
{
	switch (draw(random, 4)) {
	case 0: write_text(random, "any"); break;
	case 1:
		write_text(random, "%s", literal_services[draw(random, COUNT(literal_services))]);
		break;
	case 2:
		write_text(random, "%s", named_services[draw(random, COUNT(named_services))][0]);
		break;
	default:
		write_text(random, "[%s, %s]",
			named_services[draw(random, COUNT(named_services))][0],
			literal_services[draw(random, COUNT(literal_services))]);
		break;
	}
}

static void write_rules(struct random_text *random, unsigned int n_zones)
{
	static const char *const actions[] = {
		"allow, log: none", "deny, log: all", "reject", "pass", "allow, log: session"};
	uint32_t n_rules = draw(random, 12);

	for (uint32_t i = 0; i < n_rules; i++) {
		write_text(random, "  - {id: r%u, from: ", i);
		write_zones(random, n_zones);
		write_text(random, ", to: ");
		write_zones(random, n_zones);
		write_text(random, ", service: ");
		write_service(random);
		write_text(random, ", action: %s}\n", actions[draw(random, COUNT(actions))]);
	}
}

static void write_policy(struct random_text *random, unsigned int n_zones)
{
	static const char *const verdicts[] = {"allow", "deny", "reject"};
	static const char *const intra[] = {"", ", intra: allow", ", intra: deny"};
	uint32_t n_tiers = 1 + draw(random, 4), n_policies = draw(random, 6);

	random->length = 0;
	write_text(random, "zones:\n");
	for (unsigned int i = 0; i < n_zones; i++)
		write_text(random, "  z%u: {match: z%u%s}\n", i, i, intra[draw(random, 3)]);
	write_text(random, "services:\n");
	for (size_t i = 0; i < COUNT(named_services); i++) {
		write_text(random, "  %s: [%s", named_services[i][0], named_services[i][1]);
		for (size_t j = 2; j < 4 && named_services[i][j]; j++)
			write_text(random, ", %s", named_services[i][j]);
		write_text(random, "]\n");
	}
	write_text(random, "tiers: [t0");
	for (uint32_t i = 1; i < n_tiers; i++)
		write_text(random, ", t%u", i);
	write_text(random, "]\npolicies:\n");
	for (uint32_t i = 0; i < n_policies; i++) {
		write_text(random, "- id: p%u\n  tier: t%u\n  mode: %s\n  rules:\n", i,
			draw(random, n_tiers), draw(random, 6) ? "enforce" : "off");
		write_rules(random, n_zones);
	}
	write_text(random, "baseline: {between_zones: %s, within_zone: %s}\n",
		verdicts[draw(random, 3)], verdicts[draw(random, 3)]);
}

/* Whether a service as written takes a question in, by the words of the manual. */
static bool text_matches(const char *text, const struct zone_question *question)
{
	static const struct {
		const char *word;
		uint8_t protocol;
	} words[] = {{"tcp", 6}, {"udp", 17}, {"sctp", 132}, {"icmp", 1}, {"icmpv6", 58}};
	char word[16];
	unsigned int a, b;
	int n = sscanf(text, "%15[^/]/%u%*1[-/]%u", word, &a, &b);

	if (!strcmp(word, "any"))
		return true;
	if (!strcmp(word, "ip"))
		return question->protocol == a;
	for (size_t i = 0; i < COUNT(words); i++) {
		if (strcmp(word, words[i].word))
			continue;
		if (question->protocol != words[i].protocol || n == 1)
			return question->protocol == words[i].protocol;
		if (word[0] == 'i')
			return question->type == a && (n == 2 || question->code == b);
		return question->destination_port >= a &&
		       question->destination_port <= (n == 2 ? a : b);
	}
	fail_msg("%s", text);
	return false;
}

static bool service_matches(const char *name, const struct zone_question *question)
{
	for (size_t i = 0; i < COUNT(named_services); i++) {
		if (strcmp(name, named_services[i][0]))
			continue;
		for (size_t j = 1; j < 4 && named_services[i][j]; j++) {
			if (text_matches(named_services[i][j], question))
				return true;
		}
		return false;
	}
	return text_matches(name, question);
}

static bool zones_match(const struct document_names *names, uint16_t zone)
{
	for (uint32_t i = 0; i < names->n; i++) {
		if (!strcmp(names->names[i].text, "any") ||
			(unsigned int)atoi(names->names[i].text + 1) + 1 == zone)
			return true;
	}
	return false;
}

static bool rule_matches(const struct document_rule *rule, const struct zone_question *question)
{
	if (!zones_match(&rule->from, question->source_zone) ||
		!zones_match(&rule->to, question->destination_zone))
		return false;
	for (uint32_t i = 0; i < rule->services.n; i++) {
		if (service_matches(rule->services.names[i].text, question))
			return true;
	}
	return false;
}

/* Tier by tier, policy by policy, rule by rule. */
static struct zone_verdict interpret(
	const struct policy_document *document, const struct zone_question *question)
{
	bool same = question->source_zone == question->destination_zone;
	const struct document_zone *zone = &document->zones[question->source_zone - 1];
	struct zone_verdict verdict = {
		.log = document->baseline_log, .action = document->between_zones};
	uint32_t number = 0;

	for (size_t t = 0; t < document->n_tiers; t++) {
		bool passed = false;

		for (size_t i = 0; i < document->n_policies; i++) {
			const struct document_policy *policy = &document->policies[i];

			if (strcmp(policy->tier.text, document->tiers[t].text))
				continue;
			for (uint32_t j = 0; j < policy->n_rules; j++) {
				const struct document_rule *rule =
					&document->rules[policy->first_rule + j];

				number++;
				if (passed || policy->mode == MODE_OFF ||
					!rule_matches(rule, question))
					continue;
				if (rule->action != ZONE_PASS)
					return (struct zone_verdict){.action = rule->action,
						.log = rule->log,
						.rule = number};
				passed = true;
			}
		}
	}
	if (same)
		verdict.action = document->within_zone;
	if (same && zone->intra != INTRA_AS_BASELINE)
		verdict.action = zone->intra == INTRA_ALLOW ? ZONE_ALLOW : ZONE_DENY;
	verdict.rule = number + 1 + question->source_zone * ((uint32_t)document->n_zones + 1) +
		       question->destination_zone;
	return verdict;
}

static struct zone_question random_question(struct random_text *random, unsigned int n_zones)
{
	static const uint8_t protocols[] = {6, 6, 6, 17, 132, 1, 58, 47, 0, 255};
	static const uint16_t ports[] = {0, 1, 52, 53, 54, 78, 79, 80, 81, 82, 90, 91, 65535};
	static const uint8_t types[] = {0, 7, 8, 9, 128, 255};

	return (struct zone_question){
		.source_zone = (uint16_t)(1 + draw(random, n_zones)),
		.destination_zone = (uint16_t)(1 + draw(random, n_zones)),
		.protocol = protocols[draw(random, COUNT(protocols))],
		.type = types[draw(random, COUNT(types))],
		.code = (uint8_t)draw(random, 2),
		.source_port = (uint16_t)draw(random, 65536),
		.destination_port = ports[draw(random, COUNT(ports))],
	};
}

static void verdicts_are_those_of_a_plain_interpreter(void **state)
{
	static struct random_text random = {.state = 2026};
	unsigned int by_rule = 0;

	(void)state;
	for (unsigned int round = 0; round < 400; round++) {
		unsigned int n_zones = 1 + draw(&random, 5);
		struct policy_errors errors = {0};
		struct policy_document document;
		struct zone_policy *policy;

		write_policy(&random, n_zones);
		policy = create(random.text);
		assert_true(policy_document_read(&document, random.text, random.length, &errors));
		for (unsigned int i = 0; i < 300; i++) {
			struct zone_question question = random_question(&random, n_zones);
			struct zone_verdict expected = interpret(&document, &question), verdict;

			zone_decide(policy, &question, &verdict);
			by_rule += verdict.rule <= zone_rule_count(policy);
			if (verdict.rule == expected.rule && verdict.action == expected.action &&
				verdict.log == expected.log)
				continue;
			fail_msg("%s\n%u -> %u protocol %u type %u code %u port %u: "
				 "rule %u action %u log %u, not %u %u %u",
				random.text, question.source_zone, question.destination_zone,
				question.protocol, question.type, question.code,
				question.destination_port, verdict.rule, verdict.action,
				verdict.log, expected.rule, expected.action, expected.log);
		}
		policy_document_free(&document);
		zone_policy_destroy(policy);
	}
	/* The comparison is worth something: many verdicts are a rule's, many the default. */
	assert_true(by_rule > 30000 && by_rule < 110000);
}

static void the_same_text_has_the_same_numbers(void **state)
{
	static struct random_text random = {.state = 4711};
	struct zone_policy *one, *other;

	(void)state;
	write_policy(&random, 5);
	one = create(random.text);
	other = create(random.text);
	for (unsigned int i = 0; i < 1000; i++) {
		struct zone_question question = random_question(&random, 5);
		struct zone_verdict a, b;

		zone_decide(one, &question, &a);
		zone_decide(other, &question, &b);
		assert_int_equal(a.rule, b.rule);
	}
	zone_policy_destroy(one);
	zone_policy_destroy(other);
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
		cmocka_unit_test(verdicts_are_those_of_a_plain_interpreter),
		cmocka_unit_test(the_same_text_has_the_same_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
