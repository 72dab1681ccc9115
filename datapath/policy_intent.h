/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which revision of the policy is to be in force at a moment, as far as the database has said.
 *
 * A revision may be wanted until it is confirmed.  If it is not, everybody goes back to the one
 * that was, at a second that the database names; this host keeps to it without the database, since
 * the policy may be what has cut it off.
 *
 * Whose clock is set back in between does not wait longer than it was to wait at first, and having
 * gone back it does not go forth again.  One whose clock is set ahead goes back early.
 *
 * No clock is read here: `now` is in seconds since 1970, `now_ms` in milliseconds of a clock that
 * nobody sets.  One thread.
 */
#ifndef DATAPATH_POLICY_INTENT_H
#define DATAPATH_POLICY_INTENT_H

#include <stdbool.h>
#include <stdint.h>

struct policy_intent {
	int64_t wanted, confirmed; /* 0: none. */
	int64_t confirm_by;	   /* 0: nothing waits for confirmation. */
	int64_t return_ms; /* The latest moment to go back, by the clock that nobody sets. */
	bool returned;	   /* The revision wanted was not confirmed in time. */
};

/* Takes over what the database says. */
void policy_intent_read(struct policy_intent *intent, int64_t wanted, int64_t confirmed,
	int64_t confirm_by, int64_t now, int64_t now_ms);

/* The revision that is to be in force; 0: the database has named none. */
int64_t policy_intent_target(struct policy_intent *intent, int64_t now, int64_t now_ms);

/* The second at which the policy goes back, if nothing comes between; INT64_MAX: never. */
int64_t policy_intent_return_at(const struct policy_intent *intent, int64_t now, int64_t now_ms);

#endif
