/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rules are in force at a moment.  Called when a policy is compiled, on that thread.
 *
 * A rule is in force while neither it nor its policy has expired, and the schedules of both are
 * open.  One that is in force goes out of it with the first of the four.  When one that is out of
 * force comes into it takes a search only where two schedules have to be open at once.
 */
#include "zones/policy_moment.h"

#include <stdlib.h>

#include "zones/policy_time.h"

/* Two schedules may keep each other out for ever, and be too different to tell: so much is
 * searched, and then the time at which the search ended is to be looked at anew. */
enum { SEARCHES_MAX = 100000, SEARCH_DAYS = 400 };

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void policy_moment_init(
	struct policy_moment *moment, const struct policy_document *document, int64_t now)
{
	*moment = (struct policy_moment){.document = document,
		.now = now,
		.next_change = ZONE_NO_CHANGE,
		.searches_left = SEARCHES_MAX,
		.schedules = zone_allocate(document->n_schedules, sizeof *moment->schedules)};
	for (size_t i = 0; i < document->n_schedules; i++) {
		const struct schedule *window = &document->schedules[i].window;

		moment->schedules[i] = (struct moment_schedule){
			schedule_next_change(window, now), schedule_is_open(window, now)};
	}
}

void policy_moment_free(struct policy_moment *moment)
{
	free(moment->schedules);
}

/* What the schedule of that number does; number 0 is always open. */
static struct moment_schedule state_of(const struct policy_moment *moment, uint32_t number)
{
	if (!number)
		return (struct moment_schedule){SCHEDULE_NEVER, true};
	return moment->schedules[number - 1];
}

/* When the schedule is open for the first time at or after `at`. */
static int64_t first_open(const struct policy_moment *moment, uint32_t number, int64_t at)
{
	const struct schedule *window;
	struct moment_schedule state = state_of(moment, number);

	if (at <= moment->now || at < state.next)
		return state.open ? at : state.next;
	window = &moment->document->schedules[number - 1].window;
	return schedule_is_open(window, at) ? at : schedule_next_change(window, at);
}

/* When both schedules, of which one is closed now, are open for the first time, if it is before
 * `until`. */
static int64_t both_open(struct policy_moment *moment, uint32_t a, uint32_t b, int64_t until)
{
	int64_t horizon = earlier(until, moment->now + SEARCH_DAYS * (int64_t)DAY_SECONDS);
	int64_t at = first_open(moment, b, first_open(moment, a, moment->now)), next;

	if (!a || !b)
		return at;
	while (at < horizon && moment->searches_left) {
		next = first_open(moment, b, first_open(moment, a, at));
		if (next == at)
			return at;
		at = next;
		moment->searches_left--;
	}
	return at;
}

bool policy_moment_has(struct policy_moment *moment, const struct document_policy *policy,
	const struct document_rule *rule)
{
	struct moment_schedule outer = state_of(moment, policy->schedule);
	struct moment_schedule inner = state_of(moment, rule->schedule);
	int64_t end = earlier(policy->expires, rule->expires), change;

	if (moment->now >= end)
		return false;
	if (outer.open && inner.open) {
		change = earlier(end, earlier(outer.next, inner.next));
		moment->next_change = earlier(moment->next_change, change);
		return true;
	}
	change = both_open(
		moment, policy->schedule, rule->schedule, earlier(end, moment->next_change));
	if (change < end)
		moment->next_change = earlier(moment->next_change, change);
	return false;
}
