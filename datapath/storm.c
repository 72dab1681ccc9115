/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets, for the limits on broadcast storms, on a port's rate, and on what the switch
 * itself sends in answer.  Called by the workers, several at once for one bucket.
 *
 * Instead of a number of tokens and when it was last counted, a bucket holds one time: when it will
 * be full again.  What is spent moves that time on by cost / rate; if that would take it further
 * ahead than burst / rate, the bucket has not enough.  Time does the refilling, so there is one
 * word to change, by compare and swap.
 *
 * Times are in sixteenths of a nanosecond, so that the cost of the smallest frame at 100 Gbit/s is
 * still exact to half a percent.  They wrap around, and are only ever compared by their difference.
 */
#include "datapath/storm.h"

enum { TICKS_PER_NS = 16 };
#define TICKS_PER_S (UINT64_C(1000000000) * TICKS_PER_NS)

/* No more than this may ever be ahead, for any rate: 2^62 ticks are nine years. */
#define TICKS_MAX (UINT64_C(1) << 62)

/* The time in which `amount` flows in, to the nearest tick. */
static uint64_t ticks_of(uint64_t amount, uint64_t rate_per_s)
{
	/* The usual amounts fit into 64 bits, where division is quick. */
	if (amount <= (UINT64_MAX >> 1) / TICKS_PER_S && rate_per_s <= UINT64_MAX >> 1)
		return (amount * TICKS_PER_S + rate_per_s / 2) / rate_per_s;
	unsigned __int128 ticks =
		((unsigned __int128)amount * TICKS_PER_S + rate_per_s / 2) / rate_per_s;
	return ticks < TICKS_MAX ? (uint64_t)ticks : TICKS_MAX;
}

/* How far ahead of now the bucket is full again.  What lies in the past is full; so is what lies
 * further ahead than anything could have taken it, which is another clock's time. */
static uint64_t ticks_ahead(uint64_t full_at, uint64_t now, uint64_t farthest)
{
	uint64_t ahead = full_at - now;

	return full_at == 0 || ahead > farthest ? 0 : ahead;
}

/* One cost, and the bucket that it is to be taken from, in ticks. */
struct withdrawal {
	uint64_t now, capacity, farthest, spent;
};

static inline struct withdrawal withdrawal_of(
	uint64_t rate_per_s, uint64_t burst, uint64_t cost, uint64_t now_ns)
{
	uint64_t capacity = ticks_of(burst, rate_per_s);

	return (struct withdrawal){
		.now = now_ns * TICKS_PER_NS,
		.capacity = capacity,
		.farthest = capacity + STORM_DEBT_SECONDS * TICKS_PER_S,
		.spent = ticks_of(cost, rate_per_s),
	};
}

/* The bucket's next word, or 0 if it has not enough. */
static inline uint64_t spend(const struct withdrawal *w, uint64_t full_at)
{
	uint64_t ahead = ticks_ahead(full_at, w->now, w->farthest), next;

	if (ahead != 0 && (w->spent > w->capacity || ahead > w->capacity - w->spent))
		return 0;
	next = w->now + (ahead + w->spent < w->farthest ? ahead + w->spent : w->farthest);
	return next + (next == 0); /* 0 says that the bucket is new. */
}

bool storm_admit(_Atomic uint64_t *bucket, uint64_t rate_per_s, uint64_t burst, uint64_t cost,
	uint64_t now_ns)
{
	if (rate_per_s == 0)
		return true;
	const struct withdrawal w = withdrawal_of(rate_per_s, burst, cost, now_ns);
	uint64_t full_at = atomic_load_explicit(bucket, memory_order_relaxed), next;

	do {
		next = spend(&w, full_at);
		if (next == 0)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		bucket, &full_at, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

bool storm_would_admit(const _Atomic uint64_t *bucket, uint64_t rate_per_s, uint64_t burst,
	uint64_t cost, uint64_t now_ns)
{
	if (rate_per_s == 0)
		return true;
	const struct withdrawal w = withdrawal_of(rate_per_s, burst, cost, now_ns);

	return spend(&w, atomic_load_explicit(bucket, memory_order_relaxed)) != 0;
}

/* The bucket is full so much earlier.  If it is full already, it stays so: what lies in the past
 * does. */
void storm_give_back(_Atomic uint64_t *bucket, uint64_t rate_per_s, uint64_t cost)
{
	if (rate_per_s != 0)
		atomic_fetch_sub_explicit(bucket, ticks_of(cost, rate_per_s), memory_order_relaxed);
}
