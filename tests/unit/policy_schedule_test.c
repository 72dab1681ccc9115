/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in force when: the forms of dates, weekly windows beside the C library's clock, and
 * policies compiled anew second by second.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "zones/policy_time.h"
#include "zones/schedule.h"
#include "zones/zone.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { HOUR = 3600 };

/* Moments at which clocks were touched, or are to be. */
enum {
	BERLIN_FORWARD = 1806195600, /* 2027-03-28: 02:00 becomes 03:00. */
	BERLIN_BACK = 1824944400,    /* 2027-10-31: 03:00 becomes 02:00. */
	HOWE_BACK = 1806764400,	     /* 2027-04-04: 02:00 becomes 01:30. */
	CAIRO_FORWARD = 1745532000,  /* 2025-04-25: 00:00 becomes 01:00. */
	APIA_LEAPS = 1325239200,     /* 2011-12-30 is left out. */
	LEAP_DAY = 1835395200,	     /* 2028-02-29, in UTC. */
};

/* --- Forms ---------------------------------------------------------------------------------- */

static void an_end_is_read(void **state)
{
	static const struct {
		const char *text;
		int64_t end;
	} cases[] = {
		{"1970-01-01", 86400},
		{"1969-12-31", 0},
		{"1970-01-01T00:00:00Z", 0},
		{"1970-01-01t00:00:01z", 1},
		{"1970-01-01T01:00:00+01:00", 0},
		{"1969-12-31T22:30:00-01:30", 0},
		{"1970-01-01T00:00:00-00:00", 0},
		{"2027-01-31", 1801440000},
		{"2027-01-31T18:00:00Z", 1801418400},
		{"2027-01-31T18:00:00+01:00", 1801414800},
		{"2028-02-28", 1835395200},
		{"2028-02-29", 1835481600},
		{"2000-02-29", 951868800},
		{"2016-12-31T23:59:60Z", 1483228800},
		{"2017-01-01T00:59:60+01:00", 1483228800},
		{"9999-12-31", INT64_C(253402300800)},
		{"0000-01-01T00:00:00Z", INT64_C(-62167219200)},
		{"0000-02-29", INT64_C(-62162035200)},
		{"0000-03-01", INT64_C(-62161948800)},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int64_t end;

		if (!policy_time_read_end(cases[i].text, &end) || end != cases[i].end)
			fail_msg("%s: %lld", cases[i].text, (long long)end);
	}
}

static void all_days_follow_one_another(void **state)
{
	int64_t expected = 0;

	(void)state;
	for (time_t day = 0; day < (time_t)60000 * DAY_SECONDS; day += DAY_SECONDS) {
		struct tm tm;
		char text[32];
		int64_t end;

		strftime(text, sizeof text, "%Y-%m-%d", gmtime_r(&day, &tm));
		assert_true(policy_time_read_end(text, &end));
		expected += DAY_SECONDS;
		assert_int_equal(end, expected);
	}
}

/* --- Windows beside the C library's clock --------------------------------------------------- */

/* What the manual says, read off a clock on the wall: hours, minutes, seconds, and the calendar. */
static bool wall_says_open(const struct schedule *schedule, time_t at)
{
	struct tm tm;
	uint32_t second;
	unsigned int today, yesterday;

	localtime_r(&at, &tm);
	second = (uint32_t)(tm.tm_hour * HOUR + tm.tm_min * 60 + tm.tm_sec);
	today = (unsigned int)(tm.tm_wday + 6) % 7;
	yesterday = (today + 6) % 7;
	if (schedule->from < schedule->to)
		return schedule->days >> today & 1 && second >= schedule->from &&
		       second < schedule->to;
	return (schedule->days >> today & 1 && second >= schedule->from) ||
	       (schedule->days >> yesterday & 1 && second < schedule->to);
}

static void check_second(const struct schedule *schedule, const char *zone, int64_t at, bool open)
{
	if (schedule_is_open(schedule, at) != open)
		fail_msg("%s %x %u-%u at %lld: not %s", zone, schedule->days, schedule->from,
			schedule->to, (long long)at, open ? "open" : "closed");
}

static void check_change(
	const struct schedule *schedule, const char *zone, int64_t at, int64_t expected)
{
	int64_t change = schedule_next_change(schedule, at);

	if (change != expected)
		fail_msg("%s %x %u-%u at %lld: changes at %lld, not %lld", zone, schedule->days,
			schedule->from, schedule->to, (long long)at, (long long)change,
			(long long)expected);
}

/* All seconds of two days around a moment, and from some of them the next change. */
static void check_around(struct schedule schedule, const char *zone, int64_t moment)
{
	int64_t begin = moment - 8 * HOUR, end = moment + 40 * HOUR, next = -1;
	bool open = wall_says_open(&schedule, end);

	setenv("TZ", zone, 1);
	tzset();
	schedule.zone = schedule_zone_open(zone);
	assert_non_null(schedule.zone);
	for (int64_t at = end; at >= begin; at--) {
		bool now = wall_says_open(&schedule, at);

		if (at != end && now != open)
			next = at + 1;
		open = now;
		check_second(&schedule, zone, at, now);
		if (next >= 0 && (at % 97 == 0 || next - at < 5 || llabs(at - moment) < 5))
			check_change(&schedule, zone, at, next);
	}
	schedule_zone_close(schedule.zone);
}

static void windows_go_by_the_clock_on_the_wall(void **state)
{
	static const struct {
		const char *zone;
		int64_t moment;
	} moments[] = {{"Europe/Berlin", BERLIN_FORWARD}, {"Europe/Berlin", BERLIN_BACK},
		{"Australia/Lord_Howe", HOWE_BACK}, {"Africa/Cairo", CAIRO_FORWARD},
		{"Pacific/Apia", APIA_LEAPS}, {"UTC", LEAP_DAY}};
	static const struct schedule windows[] = {
		{.from = 22 * HOUR, .to = 6 * HOUR, .days = SCHEDULE_EVERY_DAY},
		{.from = 2 * HOUR + 1800, .to = 5 * HOUR, .days = SCHEDULE_EVERY_DAY},
		{.from = 0, .to = 2 * HOUR + 1800, .days = SCHEDULE_EVERY_DAY},
		{.from = 2 * HOUR + 900, .to = 2 * HOUR + 1801, .days = SCHEDULE_EVERY_DAY},
		{.from = 0, .to = 86400, .days = 1 << 6},
		{.from = 22 * HOUR, .to = 6 * HOUR, .days = 1 << 4 | 1 << 5},
		{.from = 22 * HOUR, .to = 86400, .days = 0x1f},
		{.from = 22 * HOUR, .to = 0, .days = 0x60},
		{.from = 86399, .to = 1, .days = SCHEDULE_EVERY_DAY},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(moments); i++) {
		for (size_t j = 0; j < COUNT(windows); j++)
			check_around(windows[j], moments[i].zone, moments[i].moment);
	}
	unsetenv("TZ");
	tzset();
}

static void what_is_always_open_never_changes(void **state)
{
	struct schedule schedule = {.from = 0, .to = 86400, .days = SCHEDULE_EVERY_DAY};

	(void)state;
	assert_true(schedule_is_open(&schedule, 0));
	assert_true(schedule_next_change(&schedule, 0) == SCHEDULE_NEVER);
	schedule.zone = schedule_zone_open("Europe/Berlin");
	assert_true(schedule_next_change(&schedule, BERLIN_FORWARD - 1) == SCHEDULE_NEVER);
	schedule_zone_close(schedule.zone);
}

/* --- Policies ------------------------------------------------------------------------------- */

static struct zone_policy *create(const char *text, int64_t now)
{
	struct policy_errors errors;
	struct zone_policy *policy = zone_policy_create(text, strlen(text), 1, now, &errors);

	if (!policy)
		fail_msg("%s\n%u:%u: %s", text, errors.at[0].line, errors.at[0].column,
			errors.at[0].message);
	return policy;
}

/* The rules in force, a bit each. */
static uint32_t rules_in_force(const struct zone_policy *policy)
{
	uint32_t set = 0;

	for (uint32_t i = 0; i < zone_rule_count(policy); i++) {
		struct zone_rule_info info;
		char name[160];

		assert_true(zone_rule_info(policy, i + 1, &info, name));
		set |= (uint32_t)info.in_force << i;
	}
	return set;
}

static uint32_t set_at(const char *text, int64_t now, int64_t *change)
{
	struct zone_policy *policy = create(text, now);
	uint32_t set = rules_in_force(policy);

	*change = zone_policy_next_change(policy);
	zone_policy_destroy(policy);
	return set;
}

#define BEGIN "zones: {a: {match: a}}\npolicies:\n"
#define RULE  "from: a, to: a, action: deny"

/* Every second from one moment to another. */
static void check_seconds(const char *text, int64_t begin, int64_t end)
{
	int64_t expected, change;
	uint32_t set = set_at(text, begin, &expected), next;

	for (int64_t now = begin + 1; now < end; now++) {
		next = set_at(text, now, &change);
		if ((next != set) != (now == expected))
			fail_msg("%s\nat %lld: %x after %x, but a change was told for %lld", text,
				(long long)now, next, set, (long long)expected);
		if (next == set && change != expected)
			fail_msg("%s\nat %lld: changes at %lld, not %lld as before", text,
				(long long)now, (long long)change, (long long)expected);
		set = next;
		expected = change;
	}
}

static void policies_change_in_the_second_that_was_told(void **state)
{
	static const char text[] =
		BEGIN "- id: nights\n"
		      "  schedule: {from: '22:00', to: '04:01:07', time_zone: Europe/Berlin}\n"
		      "  rules:\n"
		      "  - {id: early, " RULE ", schedule: {from: '03:59:58', to: '04:00'}}\n"
		      "  - {id: ends, " RULE ", expires: 2027-03-28T01:00:03Z}\n"
		      "  - {id: never, " RULE ", schedule: {from: 12:00, to: 13:00}}\n"
		      "- id: off\n"
		      "  mode: off\n"
		      "  rules: [{id: x, " RULE ", schedule: {from: 01:00:30, to: 01:00:40}}]\n"
		      "- id: trial\n"
		      "  mode: simulate\n"
		      "  expires: 2027-03-28T02:00:00Z\n"
		      "  rules:\n"
		      "  - {id: x, " RULE ", schedule: {from: 00:59:59, to: 01:00}}\n"
		      "  - {id: late, " RULE ", schedule: {from: 02:00, to: 03:00}}\n";

	(void)state;
	check_seconds(text, BERLIN_FORWARD - 300, BERLIN_FORWARD + 300);
	check_seconds(text, BERLIN_FORWARD + HOUR - 300, BERLIN_FORWARD + HOUR + 300);
	check_seconds(text, BERLIN_FORWARD + 2 * HOUR - 300, BERLIN_FORWARD + 2 * HOUR + 300);
}

static const struct {
	const char *text;
	int64_t now, change;
	uint32_t set;
} changes[] = {
	{BEGIN "- {id: p, rules: [{id: r, " RULE "}]}", 0, ZONE_NO_CHANGE, 1},
	{BEGIN "- {id: p, rules: [{id: r, " RULE ", expires: 2027-01-31}]}", 0, 1801440000, 1},
	{BEGIN "- {id: p, rules: [{id: r, " RULE ", expires: 2027-01-31}]}", 1801439999, 1801440000,
		1},
	{BEGIN "- {id: p, rules: [{id: r, " RULE ", expires: 2027-01-31}]}", 1801440000,
		ZONE_NO_CHANGE, 0},
	/* The earlier of the two ends. */
	{BEGIN "- {id: p, expires: 2027-01-30, rules: [{id: r, " RULE ", expires: 2027-01-31}]}", 0,
		1801353600, 1},
	{BEGIN "- {id: p, expires: 2027-01-31, rules: [{id: r, " RULE ", expires: 2027-01-30}]}", 0,
		1801353600, 1},
	/* What is off does not count, and what is simulated does. */
	{BEGIN "- {id: p, mode: off, expires: 2027-01-30, rules: [{id: r, " RULE "}]}", 0,
		ZONE_NO_CHANGE, 0},
	{BEGIN "- {id: p, mode: simulate, expires: 2027-01-31, rules: [{id: r, " RULE "}]}", 0,
		1801440000, 1},
	/* A policy without rules changes nothing. */
	{BEGIN "- {id: p, expires: 2027-01-31, rules: []}", 0, ZONE_NO_CHANGE, 0},
	/* It opens after it has expired. */
	{BEGIN "- {id: p, rules: [{id: r, " RULE
	       ", expires: 1970-01-01, schedule: {days: [sun], from: 00:00, to: 24:00}}]}",
		0, ZONE_NO_CHANGE, 0},
	/* 1970-01-01 was a Thursday. */
	{BEGIN "- {id: p, rules: [{id: r, " RULE
	       ", schedule: {days: [thu], from: 00:00, to: 24:00}}]}",
		0, 86400, 1},
	{BEGIN "- {id: p, rules: [{id: r, " RULE
	       ", schedule: {days: [wed], from: 10:00, to: 11:00}}]}",
		0, 6 * 86400 + 10 * HOUR, 0},
	/* Both have to be open: on Saturday from 22:30. */
	{BEGIN "- {id: p, schedule: {days: [sat, sun], from: 22:00, to: 23:00}, rules: "
	       "[{id: r, " RULE ", schedule: {days: [mon, sat], from: 22:30, to: 06:00}}]}",
		0, 2 * 86400 + 22 * HOUR + 1800, 0},
	{BEGIN "- {id: p, schedule: {from: 00:00, to: 24:00}, rules: [{id: r, " RULE
	       ", schedule: {from: 00:00, to: 24:00}}]}",
		0, ZONE_NO_CHANGE, 1},
	/* Before 1970. */
	{BEGIN "- {id: p, rules: [{id: r, " RULE
	       ", schedule: {days: [wed], from: 10:00, to: 11:00}}]}",
		-12 * HOUR, 6 * 86400 + 10 * HOUR, 0},
};

static void a_change_is_told_from_afar(void **state)
{

	(void)state;
	for (size_t i = 0; i < COUNT(changes); i++) {
		int64_t change;
		uint32_t set = set_at(changes[i].text, changes[i].now, &change);

		if (change != changes[i].change || set != changes[i].set)
			fail_msg("%s\nat %lld: set %x until %lld", changes[i].text,
				(long long)changes[i].now, set, (long long)change);
	}
}

/* Night in Berlin and noon in New York meet for an hour, but only while one of the two has already
 * put its clocks forward and the other has not. */
static void two_schedules_may_meet_seldom(void **state)
{
	static const char text[] =
		BEGIN "- id: p\n"
		      "  schedule: {from: '18:00', to: '19:00', time_zone: Europe/Berlin}\n"
		      "  rules: [{id: r, " RULE
		      ", schedule: {from: '13:00', to: '14:00', time_zone: America/New_York}}]\n";
	int64_t change, meets;

	(void)state;
	/* From 2027-03-14 to 2027-03-28 New York is five hours behind, not six. */
	assert_int_equal(set_at(text, 1801440000, &change), 0);
	meets = change;
	assert_true(meets > 1801440000 && meets < BERLIN_FORWARD);
	assert_int_equal(meets % DAY_SECONDS, 17 * HOUR);
	assert_int_equal(set_at(text, meets - 1, &change), 0);
	assert_int_equal(change, meets);
	assert_int_equal(set_at(text, meets, &change), 1);
	assert_int_equal(change, meets + HOUR);
}

/* Schedules that never meet are looked for up to an end, which is told as a time to ask again. */
static void what_never_meets_is_not_searched_for_ever(void **state)
{
	static const char text[] =
		BEGIN "- id: p\n"
		      "  schedule: {from: '18:00', to: '19:00', time_zone: Europe/Berlin}\n"
		      "  rules: [{id: r, " RULE
		      ", schedule: {from: '18:00', to: '19:00', time_zone: Asia/Tokyo}}]\n";
	int64_t change;

	(void)state;
	assert_int_equal(set_at(text, 1801440000, &change), 0);
	assert_true(change >= 1801440000 + INT64_C(400) * DAY_SECONDS);
	assert_true(change < 1801440000 + INT64_C(402) * DAY_SECONDS);
}

/* Nor for ever by their number: then the next time that something opens is told. */
static void many_schedules_are_told_of_in_time(void **state)
{
	static char text[200000];
	char *end = text;
	int64_t change, now = 1801440000; /* Midnight in UTC. */
	unsigned int n = 0;

	(void)state;
	end += sprintf(end, BEGIN "- id: p\n  schedule: {from: '18:00', to: '18:10', time_zone: "
				  "Europe/Berlin}\n  rules:\n");
	for (unsigned int i = 0; i < 600; i++)
		end += sprintf(end,
			"  - {id: r%u, " RULE ", schedule: {from: '18:%02u:%02u', to: '19:00', "
			"time_zone: Asia/Tokyo}}\n",
			i, i / 60, i % 60);
	/* Each of them opens at nine in the morning in UTC, and Berlin's at five in the evening. */
	for (; n < 5; n++) {
		struct zone_policy *policy = create(text, now);

		change = zone_policy_next_change(policy);
		zone_policy_destroy(policy);
		assert_true(change > now && change < now + INT64_C(402) * DAY_SECONDS);
		now = change;
	}
	/* Without the other, each is told exactly. */
	assert_int_equal(set_at(BEGIN "- {id: p, rules: [{id: r, " RULE
				      ", schedule: {from: 18:00, to: 19:00, time_zone: "
				      "Asia/Tokyo}}]}",
				 1801440000, &change),
		0);
	assert_int_equal(change, 1801440000 + 9 * HOUR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_end_is_read),
		cmocka_unit_test(all_days_follow_one_another),
		cmocka_unit_test(windows_go_by_the_clock_on_the_wall),
		cmocka_unit_test(what_is_always_open_never_changes),
		cmocka_unit_test(policies_change_in_the_second_that_was_told),
		cmocka_unit_test(a_change_is_told_from_afar),
		cmocka_unit_test(two_schedules_may_meet_seldom),
		cmocka_unit_test(what_never_meets_is_not_searched_for_ever),
		cmocka_unit_test(many_schedules_are_told_of_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
