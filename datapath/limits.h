/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of zones and rules on what is opened: connections at one time, those of them that are
 * half-open, and new ones per second.
 *
 * A *counter* is one zone's or one rule's.  Its identity is its name ("web", "shop/web-to-app"), so
 * that counts go on when a new revision of the policy gives zones and rules other numbers.  A *set*
 * is the counters that a connection counts in: its rule's and its source's zone's, and those of the
 * second question where a connection is judged at both ends by two.  Sets are interned, and their
 * 16-bit number, from 1, is all that a connection keeps.
 *
 *      policy, zone, rule --- limit_cache ---> set ---> counter "zone web"
 *                             (a thread's)         \--> counter "rule shop/web-to-app"
 *
 * Threads
 * - All functions may be called by any thread, each with a cache of its own.  Names are looked up
 *   under a mutex, once for each combination of numbers that a thread meets; everything else is
 *   atomic and takes no lock.
 * - A counter's connections and half-open ones are in one word, so that both change at once.  A
 *   connection is admitted by compare and swap: a limit is never exceeded by new connections,
 *   however many threads open them.
 * - A set that nobody holds may be given to other counters when numbers run out.  Its users are
 *   counted in one word together with its generation, so that whoever still knows it by an older
 *   one cannot take it.  A set that is held stays what it is, and so do its counters.
 *
 * No DPDK, no Open vSwitch.
 */
#ifndef DATAPATH_LIMITS_H
#define DATAPATH_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zones/zone.h"

struct limits;
struct limit_cache;

enum { LIMITS_IN_SET = 4, LIMIT_SETS_MAX = 1 << 16 };

enum limit_kind { LIMIT_ZONE, LIMIT_RULE, LIMIT_N_KINDS };

/* Which limit was reached.  NO_ROOM: there are more sets in use than there are numbers. */
enum limit_result {
	LIMIT_ADMITTED,
	LIMIT_CONNECTIONS,
	LIMIT_HALF_OPEN,
	LIMIT_RATE,
	LIMIT_NO_ROOM,
	LIMIT_N_RESULTS
};

/* Whose limits are meant: a rule that allowed, and the zone that it was asked for as the source. */
struct limit_pair {
	uint32_t rule;
	uint16_t zone;
};

/* What was asked of the policy, one question for each end. */
struct limit_question {
	const struct zone_policy *policy;
	struct limit_pair pairs[2];
	uint8_t n; /* 1 or 2. */
};

/* Who refused. */
struct limit_refusal {
	enum limit_kind kind;
	unsigned int pair; /* Which of the question's. */
};

/* NULL without memory. */
struct limits *limits_create(void);
void limits_destroy(struct limits *limits); /* Accepts NULL. */

/* What a thread has found out about numbers of policies.  NULL without memory. */
struct limit_cache *limit_cache_create(void);
void limit_cache_destroy(struct limit_cache *cache); /* Accepts NULL. */

/* May a connection be opened?  LIMIT_ADMITTED: *set is held by it, as a half-open connection; or 0,
 * if the policy sets no limits.  Else nothing is held, the refusal is counted, and *refusal says
 * whose it is.  `now_ns` is a clock that does not go back. */
enum limit_result limits_admit(struct limits *limits, struct limit_cache *cache,
	const struct limit_question *question, uint64_t now_ns, uint16_t *set,
	struct limit_refusal *refusal);

/* What limits_admit() would say, with nothing taken and nothing counted. */
enum limit_result limits_would_admit(struct limits *limits, struct limit_cache *cache,
	const struct limit_question *question, uint64_t now_ns, struct limit_refusal *refusal);

/* The same set without asking: for a connection that exists, and whose rule or zone is another now.
 * It is not cut because a limit has been reached or lowered.  Returns the set, held as a half-open
 * connection, or 0 if there are no limits or no numbers left. */
uint16_t limits_hold(
	struct limits *limits, struct limit_cache *cache, const struct limit_question *question);

/* True if `set`, which a connection holds, is the one that limits_hold() would give. */
bool limits_is_held(struct limits *limits, struct limit_cache *cache,
	const struct limit_question *question, uint16_t set);

/* `n` connections that hold the set are no longer half-open. */
void limits_confirm(struct limits *limits, uint16_t set, uint32_t n);

/* `n` connections, `n_half_open` of them half-open, no longer hold the set. */
void limits_give_back(struct limits *limits, uint16_t set, uint32_t n, uint32_t n_half_open);

/* What a counter holds now. */
struct limit_use {
	uint32_t connections, half_open;
	uint64_t refused; /* Since the counter is there. */
};

/* The use of a zone ("web") or of a rule ("policy/rule"): all 0 if nothing has counted there. */
struct limit_use limits_use(struct limits *limits, enum limit_kind kind, const char *name);

/* True if the limits are any at all. */
static inline bool limits_any(const struct zone_limits *limits)
{
	return limits->connections != 0 || limits->new_per_second != 0 || limits->half_open != 0;
}

#endif
