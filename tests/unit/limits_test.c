/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of zones and rules: what is admitted and by whom it is refused, counts that go on by name
 * over revisions with other numbers, and counts that are exact whatever happens to connections in
 * whatever order: against a plain model, and from several threads at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/limits.h"

static const uint64_t second = UINT64_C(1000000000);

/* Zones a, b and c; a has limits of its own, and rules have theirs. */
static const char document[] = "zones:\n"
			       "  a: {match: \"zone=a\", limits: {connections: 5, half_open: 3}}\n"
			       "  b: {match: \"zone=b\"}\n"
			       "  c: {match: \"zone=c\"}\n"
			       "policies:\n"
			       "- id: p\n"
			       "  rules:\n"
			       "  - {id: both, from: [a, b], to: c, service: tcp/1, action: allow, "
			       "limits: {connections: 4}}\n"
			       "  - {id: slow, from: b, to: c, service: tcp/2, action: allow, "
			       "limits: {new_per_second: 2}}\n"
			       "  - {id: free, from: b, to: c, service: tcp/3, action: allow}\n";

/* The same names under other numbers, and with other limits. */
static const char renumbered[] = "zones:\n"
				 "  c: {match: \"zone=c\"}\n"
				 "  new: {match: \"zone=new\"}\n"
				 "  a: {match: \"zone=a\", limits: {connections: 2}}\n"
				 "  b: {match: \"zone=b\"}\n"
				 "policies:\n"
				 "- id: other\n"
				 "  rules:\n"
				 "  - {id: first, from: new, to: c, action: deny}\n"
				 "- id: p\n"
				 "  rules:\n"
				 "  - {id: slow, from: b, to: c, service: tcp/2, action: allow, "
				 "limits: {new_per_second: 2}}\n"
				 "  - {id: both, from: [a, b], to: c, service: tcp/1, action: "
				 "allow, limits: {connections: 9}}\n";

struct fixture {
	struct limits *limits;
	struct limit_cache *cache;
	struct zone_policy *policy, *newer;
};

static struct zone_policy *compile(const char *text, uint32_t revision)
{
	struct policy_errors errors;
	struct zone_policy *policy = zone_policy_create(text, strlen(text), revision, 0, &errors);

	if (policy == NULL)
		fail_msg("line %u: %s", errors.at[0].line, errors.at[0].message);
	return policy;
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->limits = limits_create();
	fixture->cache = limit_cache_create();
	fixture->policy = compile(document, 1);
	fixture->newer = compile(renumbered, 2);
	*state = fixture;
	return fixture->limits == NULL || fixture->cache == NULL;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	limits_destroy(fixture->limits);
	limit_cache_destroy(fixture->cache);
	zone_policy_destroy(fixture->policy);
	zone_policy_destroy(fixture->newer);
	free(fixture);
	return 0;
}

static uint32_t rule_named(const struct zone_policy *policy, const char *name)
{
	for (uint32_t rule = 1; rule <= zone_rule_count(policy); rule++) {
		struct zone_rule_info info;
		char text[160];

		if (zone_rule_info(policy, rule, &info, text) && strcmp(info.rule, name) == 0)
			return rule;
	}
	fail_msg("no rule %s", name);
	return 0;
}

static struct limit_question ask(
	const struct zone_policy *policy, const char *zone, const char *rule)
{
	return (struct limit_question){
		.policy = policy,
		.pairs = {{.rule = rule_named(policy, rule),
			.zone = (uint16_t)zone_find(policy, zone)}},
		.n = 1,
	};
}

static struct limit_question ask_twice(const struct zone_policy *policy, const char *zone,
	const char *rule, const char *second_zone, const char *second_rule)
{
	struct limit_question question = ask(policy, zone, rule);

	question.pairs[1] = ask(policy, second_zone, second_rule).pairs[0];
	question.n = 2;
	return question;
}

static enum limit_result admit(struct fixture *fixture, struct limit_question question,
	uint64_t now_ns, uint16_t *set, struct limit_refusal *refusal)
{
	struct limit_refusal foreseen;
	enum limit_result would =
		limits_would_admit(fixture->limits, fixture->cache, &question, now_ns, &foreseen);
	enum limit_result result =
		limits_admit(fixture->limits, fixture->cache, &question, now_ns, set, refusal);

	assert_int_equal(would, result);
	if (result != LIMIT_ADMITTED) {
		assert_int_equal(foreseen.kind, refusal->kind);
		assert_int_equal(foreseen.pair, refusal->pair);
	}
	return result;
}

static void expect_use(
	struct fixture *fixture, enum limit_kind kind, const char *name, uint32_t n, uint32_t half)
{
	struct limit_use use = limits_use(fixture->limits, kind, name);

	assert_int_equal(use.connections, n);
	assert_int_equal(use.half_open, half);
}

/* --- stories ------------------------------------------------------------------------------------
 */

static void test_a_zone_is_limited_in_all_its_rules(void **state)
{
	struct fixture *fixture = *state;
	struct limit_question question = ask(fixture->policy, "a", "free");
	struct limit_refusal refusal;
	uint16_t set, other;

	for (int i = 0; i < 3; i++)
		assert_int_equal(admit(fixture, question, 0, &set, &refusal), LIMIT_ADMITTED);
	assert_int_not_equal(set, 0);
	expect_use(fixture, LIMIT_ZONE, "a", 3, 3);
	assert_int_equal(admit(fixture, question, 0, &other, &refusal), LIMIT_HALF_OPEN);
	assert_int_equal(refusal.kind, LIMIT_ZONE);
	assert_int_equal(other, 0);
	limits_confirm(fixture->limits, set, 3);
	expect_use(fixture, LIMIT_ZONE, "a", 3, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(admit(fixture, question, 0, &set, &refusal), LIMIT_ADMITTED);
	assert_int_equal(admit(fixture, question, 0, &other, &refusal), LIMIT_CONNECTIONS);
	assert_int_equal(limits_use(fixture->limits, LIMIT_ZONE, "a").refused, 2);
	limits_give_back(fixture->limits, set, 5, 2);
	expect_use(fixture, LIMIT_ZONE, "a", 0, 0);
}

static void test_a_rule_is_limited_for_all_its_zones(void **state)
{
	struct fixture *fixture = *state;
	struct limit_refusal refusal;
	uint16_t of_a, of_b, other;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(
			admit(fixture, ask(fixture->policy, "a", "both"), 0, &of_a, &refusal),
			LIMIT_ADMITTED);
		assert_int_equal(
			admit(fixture, ask(fixture->policy, "b", "both"), 0, &of_b, &refusal),
			LIMIT_ADMITTED);
	}
	assert_int_not_equal(of_a, of_b);
	expect_use(fixture, LIMIT_RULE, "p/both", 4, 4);
	expect_use(fixture, LIMIT_ZONE, "a", 2, 2);
	assert_int_equal(admit(fixture, ask(fixture->policy, "a", "both"), 0, &other, &refusal),
		LIMIT_CONNECTIONS);
	assert_int_equal(refusal.kind, LIMIT_RULE);
	/* Who is refused by the one is not left in the other. */
	expect_use(fixture, LIMIT_ZONE, "a", 2, 2);
	limits_give_back(fixture->limits, of_a, 2, 2);
	limits_give_back(fixture->limits, of_b, 2, 2);
	expect_use(fixture, LIMIT_RULE, "p/both", 0, 0);
	expect_use(fixture, LIMIT_ZONE, "a", 0, 0);
}

static void test_new_ones_per_second(void **state)
{
	struct fixture *fixture = *state;
	struct limit_question question = ask(fixture->policy, "b", "slow");
	struct limit_refusal refusal;
	uint64_t now = 100 * second;
	uint16_t set;

	for (int i = 0; i < 2; i++)
		assert_int_equal(admit(fixture, question, now, &set, &refusal), LIMIT_ADMITTED);
	assert_int_equal(admit(fixture, question, now, &set, &refusal), LIMIT_RATE);
	assert_int_equal(
		admit(fixture, question, now + second / 2, &set, &refusal), LIMIT_ADMITTED);
	assert_int_equal(admit(fixture, question, now + second / 2, &set, &refusal), LIMIT_RATE);
	/* That they have ended gives no tokens back. */
	question = ask(fixture->policy, "b", "slow");
	expect_use(fixture, LIMIT_RULE, "p/slow", 3, 3);
	assert_int_equal(limits_use(fixture->limits, LIMIT_RULE, "p/slow").refused, 2);
}

static void test_no_limits_hold_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct limit_question question = ask(fixture->policy, "b", "free");
	struct limit_refusal refusal;
	uint16_t set = 7;

	assert_int_equal(admit(fixture, question, 0, &set, &refusal), LIMIT_ADMITTED);
	assert_int_equal(set, 0);
	assert_int_equal(limits_hold(fixture->limits, fixture->cache, &question), 0);
	assert_true(limits_is_held(fixture->limits, fixture->cache, &question, 0));
	limits_confirm(fixture->limits, 0, 1);
	limits_give_back(fixture->limits, 0, 1, 1);
}

static void test_both_ends_count_once_each(void **state)
{
	struct fixture *fixture = *state;
	struct limit_refusal refusal;
	uint16_t set;

	/* The same rule and zone at both ends is one of each... */
	assert_int_equal(admit(fixture, ask_twice(fixture->policy, "a", "both", "a", "both"), 0,
				 &set, &refusal),
		LIMIT_ADMITTED);
	expect_use(fixture, LIMIT_RULE, "p/both", 1, 1);
	expect_use(fixture, LIMIT_ZONE, "a", 1, 1);
	limits_give_back(fixture->limits, set, 1, 1);
	/* ...and two rules are two.  The second one's refusal is told as such. */
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			admit(fixture, ask_twice(fixture->policy, "b", "both", "b", "slow"), 0,
				&set, &refusal),
			LIMIT_ADMITTED);
	expect_use(fixture, LIMIT_RULE, "p/slow", 2, 2);
	uint16_t other;
	assert_int_equal(admit(fixture, ask_twice(fixture->policy, "b", "both", "b", "slow"), 0,
				 &other, &refusal),
		LIMIT_RATE);
	assert_int_equal(refusal.pair, 1);
	expect_use(fixture, LIMIT_RULE, "p/both", 2, 2);
	limits_give_back(fixture->limits, set, 2, 2);
	expect_use(fixture, LIMIT_RULE, "p/both", 0, 0);
	expect_use(fixture, LIMIT_RULE, "p/slow", 0, 0);
}

static void test_counts_go_on_by_name(void **state)
{
	struct fixture *fixture = *state;
	struct limit_question old = ask(fixture->policy, "a", "both"),
			      newer = ask(fixture->newer, "a", "both");
	struct limit_refusal refusal;
	uint16_t set, other;

	assert_int_not_equal(old.pairs[0].rule, newer.pairs[0].rule);
	assert_int_not_equal(old.pairs[0].zone, newer.pairs[0].zone);
	for (int i = 0; i < 3; i++)
		assert_int_equal(admit(fixture, old, 0, &set, &refusal), LIMIT_ADMITTED);
	/* The same names are the same set, and a limit that shrank admits no more... */
	assert_true(limits_is_held(fixture->limits, fixture->cache, &newer, set));
	assert_int_equal(admit(fixture, newer, 0, &other, &refusal), LIMIT_CONNECTIONS);
	assert_int_equal(refusal.kind, LIMIT_ZONE);
	/* ...but cuts nobody. */
	other = limits_hold(fixture->limits, fixture->cache, &newer);
	assert_int_equal(other, set);
	expect_use(fixture, LIMIT_ZONE, "a", 4, 4);
	limits_give_back(fixture->limits, set, 4, 4);
	assert_int_equal(admit(fixture, newer, 0, &other, &refusal), LIMIT_ADMITTED);
	limits_give_back(fixture->limits, other, 1, 1);
}

/* --- a plain model ------------------------------------------------------------------------------
 */

/* A connection: what it was judged by, and whether it is answered. */
struct model_connection {
	bool open, half_open;
	uint16_t set;
	bool of_a, of_both, of_slow; /* What it counts in. */
};

enum { MODEL_CONNECTIONS = 64, MODEL_STEPS = 200000 };

static uint32_t random_next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	return *state ^= *state << 5;
}

static void expect_model(struct fixture *fixture, const struct model_connection *model)
{
	uint32_t n[3] = {0}, half[3] = {0};

	for (int i = 0; i < MODEL_CONNECTIONS; i++) {
		const bool in[3] = {model[i].of_a, model[i].of_both, model[i].of_slow};

		for (int c = 0; c < 3 && model[i].open; c++) {
			n[c] += in[c];
			half[c] += in[c] && model[i].half_open;
		}
	}
	expect_use(fixture, LIMIT_ZONE, "a", n[0], half[0]);
	expect_use(fixture, LIMIT_RULE, "p/both", n[1], half[1]);
	expect_use(fixture, LIMIT_RULE, "p/slow", n[2], half[2]);
}

static void model_step(
	struct fixture *fixture, struct model_connection *conn, uint32_t *random, uint64_t now)
{
	static const char *const zones[] = {"a", "b"};
	static const char *const rules[] = {"both", "slow"};
	const struct zone_policy *policy =
		random_next(random) % 2 ? fixture->policy : fixture->newer;
	uint32_t zone = random_next(random) % 2, rule = random_next(random) % 2;
	struct limit_question question = ask(policy, zones[zone], rules[rule]);
	struct limit_refusal refusal;
	uint16_t before = conn->set;

	switch (random_next(random) % 4) {
	case 0: /* It begins, if it may. */
		if (conn->open ||
			admit(fixture, question, now, &conn->set, &refusal) != LIMIT_ADMITTED)
			return;
		conn->open = conn->half_open = true;
		break;
	case 1: /* It is answered. */
		if (conn->open && conn->half_open)
			limits_confirm(fixture->limits, conn->set, 1);
		conn->half_open = false;
		return;
	case 2: /* It is judged anew. */
		if (!conn->open)
			return;
		conn->set = limits_hold(fixture->limits, fixture->cache, &question);
		if (!conn->half_open)
			limits_confirm(fixture->limits, conn->set, 1);
		limits_give_back(fixture->limits, before, 1, conn->half_open);
		break;
	default: /* It ends. */
		if (conn->open)
			limits_give_back(fixture->limits, conn->set, 1, conn->half_open);
		conn->open = false;
		return;
	}
	conn->of_a = zone == 0;
	conn->of_both = rule == 0;
	conn->of_slow = rule == 1;
}

static void test_counts_are_those_of_a_plain_model(void **state)
{
	struct fixture *fixture = *state;
	struct model_connection model[MODEL_CONNECTIONS] = {0};
	uint32_t random = 12345;

	for (int step = 0; step < MODEL_STEPS; step++) {
		uint64_t now = (uint64_t)step * second / 100;

		model_step(fixture, &model[random_next(&random) % MODEL_CONNECTIONS], &random, now);
		if (step % 16 == 0)
			expect_model(fixture, model);
	}
	for (int i = 0; i < MODEL_CONNECTIONS; i++) {
		if (model[i].open)
			limits_give_back(fixture->limits, model[i].set, 1, model[i].half_open);
		model[i].open = false;
	}
	expect_model(fixture, model);
}

/* --- more names than numbers ------------------------------------------------------------------ */

enum { MANY_RULES = 300, MANY_ZONES = 300 };

static struct zone_policy *compile_many(uint32_t revision)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);

	fprintf(out, "zones:\n");
	for (int i = 0; i < MANY_ZONES; i++)
		fprintf(out, "  z%d: {match: \"z=%d\", limits: {connections: 1000000}}\n", i, i);
	fprintf(out, "policies:\n- id: p\n  rules:\n");
	for (int i = 0; i < MANY_RULES; i++)
		fprintf(out,
			"  - {id: r%d, from: any, to: z0, service: tcp/%d, action: allow, "
			"limits: {connections: 1000000}}\n",
			i, i + 1);
	fclose(out);
	struct zone_policy *policy = compile(text, revision);
	free(text);
	return policy;
}

static struct limit_question many_question(const struct zone_policy *policy, uint32_t i)
{
	return (struct limit_question){
		.policy = policy,
		.pairs = {{.rule = 1 + i % MANY_RULES,
			.zone = (uint16_t)(1 + i / MANY_RULES % MANY_ZONES)}},
		.n = 1,
	};
}

/* 90,000 combinations in turn, a few of them held, go through 65,535 numbers. */
static void test_numbers_of_sets_that_nobody_holds_are_used_again(void **state)
{
	struct fixture *fixture = *state;
	struct zone_policy *policy = compile_many(3);
	uint16_t sets[100] = {0}, n = 0;
	struct limit_refusal refusal;

	for (uint32_t i = 0; i < 2 * MANY_RULES * MANY_ZONES; i++) {
		struct limit_question question = many_question(policy, i);
		uint16_t set;

		assert_int_equal(
			limits_admit(fixture->limits, fixture->cache, &question, 0, &set, &refusal),
			LIMIT_ADMITTED);
		if (i % 1801 == 0 && n < 100)
			sets[n++] = set;
		else
			limits_give_back(fixture->limits, set, 1, 1);
	}
	uint32_t held = 0;
	for (int zone = 0; zone < MANY_ZONES; zone++) {
		char name[16];

		snprintf(name, sizeof(name), "z%d", zone);
		held += limits_use(fixture->limits, LIMIT_ZONE, name).connections;
	}
	assert_int_equal(held, n);
	for (uint16_t i = 0; i < n; i++)
		limits_give_back(fixture->limits, sets[i], 1, 1);
	expect_use(fixture, LIMIT_ZONE, "z0", 0, 0);
	zone_policy_destroy(policy);
}

static void test_too_many_at_once_are_refused_by_name(void **state)
{
	struct fixture *fixture = *state;
	struct zone_policy *policy = compile_many(3);
	struct limit_refusal refusal;
	uint16_t set, last = 0;
	uint32_t n = 0;
	enum limit_result result;

	for (;; n++) {
		struct limit_question question = many_question(policy, n);

		result =
			limits_admit(fixture->limits, fixture->cache, &question, 0, &set, &refusal);
		if (result != LIMIT_ADMITTED)
			break;
		last = set;
	}
	assert_int_equal(result, LIMIT_NO_ROOM);
	assert_int_equal(n, LIMIT_SETS_MAX - 1);
	/* One that exists is not cut for it: it counts nowhere. */
	struct limit_question question = many_question(policy, n);
	assert_int_equal(limits_hold(fixture->limits, fixture->cache, &question), 0);
	limits_give_back(fixture->limits, last, 1, 1);
	/* The one that is free is found, though it takes some looking. */
	for (int i = 0; i < 20 && result != LIMIT_ADMITTED; i++)
		result =
			limits_admit(fixture->limits, fixture->cache, &question, 0, &set, &refusal);
	assert_int_equal(result, LIMIT_ADMITTED);
	zone_policy_destroy(policy);
}

/* --- threads ------------------------------------------------------------------------------------
 */

enum { THREADS = 4, THREAD_STEPS = 60000, HELD_MAX = 8 };

struct opener {
	struct fixture *fixture;
	struct limit_cache *cache;
	pthread_t thread;
	uint32_t random;
	_Atomic uint32_t *above; /* Times that a limit was seen exceeded. */
	uint64_t admitted;
};

static void open_and_end(struct opener *opener)
{
	struct limits *limits = opener->fixture->limits;
	uint16_t held[HELD_MAX];
	bool half_open[HELD_MAX];
	uint32_t n = 0;

	for (int step = 0; step < THREAD_STEPS; step++) {
		const struct zone_policy *policy = opener->fixture->policy;
		const struct limit_question question =
			ask(policy, random_next(&opener->random) % 2 ? "a" : "b",
				random_next(&opener->random) % 2 ? "both" : "free");
		struct limit_refusal refusal;
		uint32_t dice = random_next(&opener->random) % 3, which;

		if (dice == 0 && n < HELD_MAX) {
			if (limits_admit(limits, opener->cache, &question, 0, &held[n], &refusal) ==
				LIMIT_ADMITTED) {
				half_open[n++] = true;
				opener->admitted++;
			}
			if (limits_use(limits, LIMIT_ZONE, "a").connections > 5 ||
				limits_use(limits, LIMIT_RULE, "p/both").connections > 4)
				atomic_fetch_add(opener->above, 1);
		} else if (n != 0) {
			which = random_next(&opener->random) % n;
			if (dice == 1) {
				limits_confirm(limits, half_open[which] ? held[which] : 0, 1);
				half_open[which] = false;
			} else {
				limits_give_back(limits, held[which], 1, half_open[which]);
				held[which] = held[--n];
				half_open[which] = half_open[n];
			}
		}
	}
	while (n-- != 0)
		limits_give_back(limits, held[n], 1, half_open[n]);
}

static void *opener_main(void *opener)
{
	open_and_end(opener);
	return NULL;
}

static void test_no_limit_is_exceeded_and_no_count_is_left(void **state)
{
	struct fixture *fixture = *state;
	struct opener openers[THREADS];
	_Atomic uint32_t above = 0;
	uint64_t admitted = 0;

	for (uint32_t i = 0; i < THREADS; i++) {
		openers[i] = (struct opener){.fixture = fixture,
			.cache = limit_cache_create(),
			.random = 17 + i,
			.above = &above};
		assert_non_null(openers[i].cache);
		assert_int_equal(
			pthread_create(&openers[i].thread, NULL, opener_main, &openers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(openers[i].thread, NULL);
		limit_cache_destroy(openers[i].cache);
		admitted += openers[i].admitted;
	}
	assert_int_equal(above, 0);
	assert_true(admitted > THREADS * THREAD_STEPS / 100);
	expect_use(fixture, LIMIT_ZONE, "a", 0, 0);
	expect_use(fixture, LIMIT_RULE, "p/both", 0, 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_a_zone_is_limited_in_all_its_rules),
		TEST(test_a_rule_is_limited_for_all_its_zones),
		TEST(test_new_ones_per_second),
		TEST(test_no_limits_hold_nothing),
		TEST(test_both_ends_count_once_each),
		TEST(test_counts_go_on_by_name),
		TEST(test_counts_are_those_of_a_plain_model),
		TEST(test_numbers_of_sets_that_nobody_holds_are_used_again),
		TEST(test_too_many_at_once_are_refused_by_name),
		TEST(test_no_limit_is_exceeded_and_no_count_is_left),
	};

	return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
