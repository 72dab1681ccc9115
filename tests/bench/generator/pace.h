/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending evenly: how many frames are due by the clock.
 *
 * What could not be sent in time stays due, but only for a while: longer than that, and it is
 * skipped, so that a device that could not keep up for a moment is not then asked for more than the
 * rate for a long time.
 */
#ifndef GENERATOR_PACE_H
#define GENERATOR_PACE_H

#include <stdint.h>

enum { PACE_BACKLOG_MS = 20 };

struct pace {
	uint64_t begin; /* In ticks. */
	uint64_t sent, skipped;
	uint64_t backlog_max;
	double frames_per_tick; /* 0: as many as can be. */
};

static inline void pace_start(
	struct pace *pace, double frames_per_second, uint64_t now, uint64_t ticks_per_second)
{
	*pace = (struct pace){.begin = now,
		.backlog_max = 1 + (uint64_t)(frames_per_second * PACE_BACKLOG_MS / 1000),
		.frames_per_tick = frames_per_second / (double)ticks_per_second};
}

/* All that the clock has asked for so far.  Without a rate: what was sent. */
static inline uint64_t pace_offered(const struct pace *pace, uint64_t now)
{
	if (pace->frames_per_tick == 0)
		return pace->sent;
	return (uint64_t)((double)(now - pace->begin) * pace->frames_per_tick);
}

/* How many of at most `max` frames are due now; pace_sent() says how many of them went out. */
static inline uint32_t pace_due(struct pace *pace, uint64_t now, uint32_t max)
{
	uint64_t due;

	if (pace->frames_per_tick == 0)
		return max;
	due = pace_offered(pace, now);
	if (due <= pace->sent + pace->skipped)
		return 0; /* Also when `now` is a little before the time of an earlier call. */
	due -= pace->sent + pace->skipped;
	if (due > pace->backlog_max) {
		pace->skipped += due - pace->backlog_max;
		due = pace->backlog_max;
	}
	return due < max ? (uint32_t)due : max;
}

static inline void pace_sent(struct pace *pace, uint32_t n)
{
	pace->sent += n;
}

#endif
