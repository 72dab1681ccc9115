/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cap on records of denials; see the header.  Called by a worker on the miss path, for each
 * packet that is denied: so it must cost a few nanoseconds also while a scan is going on.
 *
 * A key's budget is counted in whole seconds of the clock: `second` is the one that `admitted`
 * counts in.  That needs one comparison and no division by the rate, at the price that a burst
 * across the turn of a second may see twice the budget.
 */
#include "log/cap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
	WAYS = 4,
	SWEEP_ENTRIES = 16, /* Looked at by one log_cap_overdue(). */
	QUIET_SECONDS = 2,
};

/* Two to a cache line.  `admitted` is at least 1 in an entry in use. */
struct entry {
	struct in6_addr source;
	uint32_t rule;
	uint32_t second;
	uint32_t suppressed;
	uint16_t admitted;
	uint16_t spare;
};

struct log_cap {
	uint64_t secret[3];
	uint64_t displaced;	/* Held back, of keys no longer known. */
	uint32_t sweep;		/* The next entry to look at. */
	uint32_t second, n_new; /* Keys taken in, in this second. */
	struct entry entries[LOG_CAP_ENTRIES] __attribute__((aligned(64)));
};

_Static_assert(!(LOG_CAP_ENTRIES & (LOG_CAP_ENTRIES - 1)), "the hash is masked");
_Static_assert(sizeof(struct entry) == 32, "two entries share a cache line");

struct log_cap *log_cap_create(void)
{
	struct log_cap *cap = aligned_alloc(64, sizeof(*cap));

	if (!cap)
		return NULL;
	memset(cap, 0, sizeof(*cap));
	/* Without a secret a sender could aim at one set; that would cost detail, not records, so
	 * a kernel that has no randomness to give is no reason to fail. */
	if (getrandom(cap->secret, sizeof(cap->secret), GRND_NONBLOCK) < 0)
		cap->secret[0] = (uintptr_t)cap;
	return cap;
}

void log_cap_destroy(struct log_cap *cap)
{
	free(cap);
}

static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The first entry of the key's set. */
static struct entry *set_of(struct log_cap *cap, uint32_t rule, const struct in6_addr *source)
{
	uint64_t half[2], hash;

	memcpy(half, source, sizeof(half));
	hash = fold(half[0] ^ cap->secret[0], half[1] ^ cap->secret[1]);
	hash = fold(hash ^ rule, cap->secret[2] | 1);
	return &cap->entries[hash & (LOG_CAP_ENTRIES - WAYS)];
}

static bool same_key(const struct entry *entry, uint32_t rule, const struct in6_addr *source)
{
	return entry->admitted && entry->rule == rule &&
	       !memcmp(&entry->source, source, sizeof(*source));
}

/* True if `a` is the better one to give up: unused, then nothing held back, then longest quiet. */
static bool cheaper(const struct entry *a, const struct entry *b, uint32_t second)
{
	if (!a->admitted != !b->admitted)
		return !a->admitted;
	if (!a->suppressed != !b->suppressed)
		return !a->suppressed;
	return second - a->second > second - b->second;
}

static void replace(struct log_cap *cap, struct entry *set, uint32_t rule,
	const struct in6_addr *source, uint32_t second)
{
	struct entry *victim = set;

	for (int way = 1; way < WAYS; way++)
		if (cheaper(&set[way], victim, second))
			victim = &set[way];
	cap->displaced += victim->suppressed;
	*victim = (struct entry){
		.source = *source,
		.rule = rule,
		.second = second,
		.admitted = 1,
	};
}

/* May one more key be taken in? */
static bool room_for_new(struct log_cap *cap, uint32_t second)
{
	if (cap->second != second) {
		cap->second = second;
		cap->n_new = 0;
	}
	return cap->n_new++ < LOG_CAP_NEW;
}

bool log_cap_admit(struct log_cap *cap, uint32_t rule, const struct in6_addr *source,
	uint64_t now_ns, uint32_t *suppressed)
{
	struct entry *set = set_of(cap, rule, source), *entry = set;
	uint32_t second = (uint32_t)(now_ns / 1000000000u);

	*suppressed = 0;
	while (entry < set + WAYS && !same_key(entry, rule, source))
		entry++;
	if (entry == set + WAYS) {
		if (!room_for_new(cap, second)) {
			cap->displaced++;
			return false;
		}
		replace(cap, set, rule, source, second);
		return true;
	}
	if (entry->second == second && entry->admitted >= LOG_CAP_PER_SECOND) {
		if (entry->suppressed < UINT32_MAX)
			entry->suppressed++;
		else
			cap->displaced++;
		return false;
	}
	entry->admitted = entry->second == second ? entry->admitted + 1 : 1;
	entry->second = second;
	*suppressed = entry->suppressed;
	entry->suppressed = 0;
	return true;
}

/* Takes the count out of one entry.  The entry stays, with its budget. */
static bool take(struct entry *entry, struct log_cap_overdue *overdue)
{
	if (!entry->suppressed)
		return false;
	*overdue = (struct log_cap_overdue){
		.rule = entry->rule,
		.source = entry->source,
		.suppressed = entry->suppressed,
	};
	entry->suppressed = 0;
	return true;
}

static bool take_displaced(struct log_cap *cap, struct log_cap_overdue *overdue)
{
	if (!cap->displaced)
		return false;
	*overdue = (struct log_cap_overdue){.suppressed = cap->displaced};
	cap->displaced = 0;
	return true;
}

bool log_cap_overdue(struct log_cap *cap, uint64_t now_ns, struct log_cap_overdue *overdue)
{
	uint32_t second = (uint32_t)(now_ns / 1000000000u);

	for (int i = 0; i < SWEEP_ENTRIES; i++) {
		struct entry *entry = &cap->entries[cap->sweep];

		cap->sweep = (cap->sweep + 1) & (LOG_CAP_ENTRIES - 1);
		/* Once round: the displaced ones come out at most that often. */
		if (!cap->sweep && take_displaced(cap, overdue))
			return true;
		if (second - entry->second >= QUIET_SECONDS && take(entry, overdue))
			return true;
	}
	return false;
}

bool log_cap_drain(struct log_cap *cap, struct log_cap_overdue *overdue)
{
	for (size_t i = 0; i < LOG_CAP_ENTRIES; i++)
		if (take(&cap->entries[i], overdue))
			return true;
	return take_displaced(cap, overdue);
}
