/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Token buckets: so much per second and no more, counted in whatever the caller counts in (frames,
 * bits).  A bucket is one 64-bit word, 0 when new, shared by any number of threads without a lock.
 */
#ifndef DATAPATH_STORM_H
#define DATAPATH_STORM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Takes `cost` from the bucket, which fills at `rate_per_s` up to `burst`.  True if it was there;
 * otherwise nothing is taken.  A rate of 0 is no limit.  A single cost above `burst` (a frame
 * larger than the bucket) passes when the bucket is full, and is paid off afterwards, so that it is
 * neither free nor stuck for ever.
 *
 * `now_ns` is the same clock in every call for a bucket.  If that clock is set back, or the rate
 * lowered, the bucket refuses for no longer than STORM_DEBT_SECONDS and the time of one burst.
 * Any thread.  The method is ITU-T I.371's generic cell rate algorithm. */
bool storm_admit(_Atomic uint64_t *bucket, uint64_t rate_per_s, uint64_t burst, uint64_t cost,
	uint64_t now_ns);

/* What storm_admit() would say, with nothing taken.  Any thread. */
bool storm_would_admit(const _Atomic uint64_t *bucket, uint64_t rate_per_s, uint64_t burst,
	uint64_t cost, uint64_t now_ns);

/* Gives back what storm_admit() took, for something that another limit has refused.  Any thread. */
void storm_give_back(_Atomic uint64_t *bucket, uint64_t rate_per_s, uint64_t cost);

enum { STORM_DEBT_SECONDS = 10 };

#endif
