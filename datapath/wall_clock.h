/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waking up at a second of the wall clock, and when somebody sets that clock.
 *
 * The main loop's own timers follow a clock that nobody sets, so that without this one it would
 * oversleep a second that was moved towards it.
 */
#ifndef DATAPATH_WALL_CLOCK_H
#define DATAPATH_WALL_CLOCK_H

#include <stdint.h>

struct wall_clock;

/* Ends the process if the system has no such timer. */
struct wall_clock *wall_clock_create(void);
void wall_clock_destroy(struct wall_clock *clock); /* Accepts NULL. */

/* Takes note of whatever woke the loop up.  Before wall_clock_wait(). */
void wall_clock_run(struct wall_clock *clock);

/* Has poll_block() return at second `at` since 1970, and when the clock is set.  INT64_MAX: only
 * the latter. */
void wall_clock_wait(struct wall_clock *clock, int64_t at);

#endif
