/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which revision is to be in force.  Called by config_policy.c, on the main thread.
 */
#include "datapath/policy_intent.h"

/* Milliseconds from `now` to `second`: none if it is past, and no more than can be told in 32 bits
 * of seconds, whatever the database says. */
static int64_t wait_ms(int64_t now, int64_t second)
{
	if (second <= now)
		return 0;
	return (second - now < INT32_MAX ? second - now : INT32_MAX) * 1000;
}

void policy_intent_read(struct policy_intent *intent, int64_t wanted, int64_t confirmed,
	int64_t confirm_by, int64_t now, int64_t now_ms)
{
	bool same = intent->wanted == wanted && intent->confirm_by == confirm_by;

	intent->wanted = wanted;
	intent->confirmed = confirmed;
	intent->confirm_by = confirmed != 0 ? confirm_by : 0; /* There must be a way back. */
	if (same)
		return;
	intent->returned = false;
	intent->return_ms = now_ms + wait_ms(now, confirm_by);
}

int64_t policy_intent_target(struct policy_intent *intent, int64_t now, int64_t now_ms)
{
	if (intent->confirm_by == 0)
		return intent->wanted;
	if (now >= intent->confirm_by || now_ms >= intent->return_ms)
		intent->returned = true;
	return intent->returned ? intent->confirmed : intent->wanted;
}

int64_t policy_intent_return_at(const struct policy_intent *intent, int64_t now, int64_t now_ms)
{
	int64_t latest;

	if (intent->confirm_by == 0 || intent->returned)
		return INT64_MAX;
	latest = now + (intent->return_ms - now_ms + 999) / 1000;
	return latest < intent->confirm_by ? latest : intent->confirm_by;
}
