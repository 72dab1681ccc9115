/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which revision is to be in force, as a table of moments: what the database says, what the two
 * clocks say, and what follows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "datapath/policy_intent.h"

#define NEVER INT64_MAX

/* One moment: the database is read if `wanted` is not 0, then both questions are asked. */
struct moment {
	const char *what;
	int64_t wanted, confirmed, confirm_by;
	int64_t now, now_ms;
	int64_t target, return_at;
};

static void play(const struct moment *moments, size_t n)
{
	struct policy_intent intent = {0};

	for (size_t i = 0; i < n; i++) {
		const struct moment *m = &moments[i];
		int64_t target, return_at;

		if (m->wanted)
			policy_intent_read(
				&intent, m->wanted, m->confirmed, m->confirm_by, m->now, m->now_ms);
		target = policy_intent_target(&intent, m->now, m->now_ms);
		return_at = policy_intent_return_at(&intent, m->now, m->now_ms);
		if (target != m->target || return_at != m->return_at)
			fail_msg("%s: revision %lld, return at %lld; expected %lld and %lld",
				m->what, (long long int)target, (long long int)return_at,
				(long long int)m->target, (long long int)m->return_at);
	}
}

#define PLAY(moments) play(moments, sizeof(moments) / sizeof((moments)[0]))

static void test_confirmed_at_once(void **state)
{
	static const struct moment moments[] = {
		{"nothing is known", 0, 0, 0, 1000, 50, 0, NEVER},
		{"first", 1, 1, 0, 1000, 50, 1, NEVER},
		{"second", 2, 2, 0, 1001, 1050, 2, NEVER},
		{"an old database knows no confirmation", 3, 0, 0, 1002, 2050, 3, NEVER},
	};

	(void)state;
	PLAY(moments);
}

static void test_confirmed_in_time(void **state)
{
	static const struct moment moments[] = {
		{"first", 1, 1, 0, 1000, 0, 1, NEVER},
		{"second waits", 2, 1, 1300, 1000, 0, 2, 1300},
		{"last moment", 0, 0, 0, 1299, 299000, 2, 1300},
		{"confirmed", 2, 2, 0, 1299, 299500, 2, NEVER},
		{"stays", 0, 0, 0, 1400, 400000, 2, NEVER},
	};

	(void)state;
	PLAY(moments);
}

static void test_not_confirmed(void **state)
{
	static const struct moment moments[] = {
		{"second waits", 2, 1, 1300, 1000, 0, 2, 1300},
		{"the second itself", 0, 0, 0, 1300, 300000, 1, NEVER},
		{"the database still says so", 2, 1, 1300, 1301, 301000, 1, NEVER},
		{"it was written down", 1, 1, 0, 1302, 302000, 1, NEVER},
		{"the next one", 3, 3, 0, 1303, 303000, 3, NEVER},
	};

	(void)state;
	PLAY(moments);
}

static void test_confirmed_elsewhere_meanwhile(void **state)
{
	static const struct moment moments[] = {
		{"second waits", 2, 1, 1300, 1000, 0, 2, 1300},
		{"without a database it goes back", 0, 0, 0, 1300, 300000, 1, NEVER},
		{"it had been confirmed", 2, 2, 0, 1400, 400000, 2, NEVER},
	};

	(void)state;
	PLAY(moments);
}

static void test_restart_within(void **state)
{
	static const struct moment late[] = {
		{"read after the time", 2, 1, 1300, 1350, 10, 1, NEVER},
	};
	static const struct moment in_time[] = {
		{"read before it", 2, 1, 1300, 1290, 10, 2, 1300},
		{"and at it", 0, 0, 0, 1300, 10010, 1, NEVER},
	};

	(void)state;
	PLAY(late);
	PLAY(in_time);
}

static void test_clock_set(void **state)
{
	static const struct moment back[] = {
		{"second waits", 2, 1, 1300, 1000, 0, 2, 1300},
		{"an hour back", 0, 0, 0, -2600, 10000, 2, -2310},
		{"not an hour longer", 0, 0, 0, -2310, 300000, 1, NEVER},
		{"set right again", 0, 0, 0, 1299, 300001, 1, NEVER},
	};
	static const struct moment ahead[] = {
		{"second waits", 2, 1, 1300, 1000, 0, 2, 1300},
		{"an hour ahead", 0, 0, 0, 4700, 10000, 1, NEVER},
		{"back again: it does not go forth", 0, 0, 0, 1110, 20000, 1, NEVER},
	};

	(void)state;
	PLAY(back);
	PLAY(ahead);
}

static void test_confirmation_that_has_centuries(void **state)
{
	static const struct moment moments[] = {
		{"first", 1, 1, 0, 1000, 50, 1, NEVER},
		{"no second is later", 2, 1, INT64_MAX, 1000, 50, 2, 1000 + (int64_t)INT32_MAX},
		{"it still waits", 0, 0, 0, 2000, 1000050, 2, 1000 + (int64_t)INT32_MAX},
	};

	(void)state;
	PLAY(moments);
}

static void test_replaced_while_waiting(void **state)
{
	static const struct moment moments[] = {
		{"second waits", 2, 1, 1300, 1000, 0, 2, 1300},
		{"third waits longer", 3, 1, 1500, 1200, 200000, 3, 1500},
		{"past the second's time", 0, 0, 0, 1301, 301000, 3, 1500},
		{"past the third's", 0, 0, 0, 1500, 500000, 1, NEVER},
	};

	(void)state;
	PLAY(moments);
}

static void test_no_way_back(void **state)
{
	static const struct moment moments[] = {
		{"nothing was confirmed before", 2, 0, 1300, 1000, 0, 2, NEVER},
		{"so it stays", 0, 0, 0, 1301, 301000, 2, NEVER},
	};

	(void)state;
	PLAY(moments);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_confirmed_at_once),
		cmocka_unit_test(test_confirmed_in_time),
		cmocka_unit_test(test_not_confirmed),
		cmocka_unit_test(test_confirmed_elsewhere_meanwhile),
		cmocka_unit_test(test_restart_within),
		cmocka_unit_test(test_clock_set),
		cmocka_unit_test(test_confirmation_that_has_centuries),
		cmocka_unit_test(test_replaced_while_waiting),
		cmocka_unit_test(test_no_way_back),
	};

	return cmocka_run_group_tests_name("policy_intent", tests, NULL, NULL);
}
