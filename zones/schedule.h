/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weekly windows of time.
 *
 * A schedule goes by the clock on the wall in its time zone: it is open whenever that clock shows a
 * time between `from` and `to`.  So where clocks are put forward past `from`, it opens at that
 * moment; and what the clock shows twice, when they are put back, it shows twice.  A window that
 * ends at or before its beginning ends on the day after, and belongs to the day on which it begins.
 *
 * All of it may be called from any thread.
 */
#ifndef ZONES_SCHEDULE_H
#define ZONES_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

/* A time zone of the IANA data base, as installed in /usr/share/zoneinfo. */
struct schedule_zone;

enum { SCHEDULE_ZONE_NAME_MAX = 63 };

/* Opens a time zone by its name, such as "Europe/Berlin"; NULL if there is none of that name. */
struct schedule_zone *schedule_zone_open(const char *name);
void schedule_zone_close(struct schedule_zone *zone); /* Accepts NULL. */

/* Calls `each` with the names of the time zones in use in the world today. */
void schedule_zone_each_name(void (*each)(const char *name, void *context), void *context);

enum { SCHEDULE_EVERY_DAY = 0x7f };

struct schedule {
	struct schedule_zone *zone; /* Borrowed.  NULL: UTC. */
	uint32_t from, to;	    /* Seconds of the day: below, and up to, 86400; not alike. */
	uint8_t days;		    /* Bit 0 is Monday; at least one. */
};

#define SCHEDULE_NEVER INT64_MAX

/* Whether the schedule is open in that second, since 1970. */
bool schedule_is_open(const struct schedule *schedule, int64_t at);

/* The first second after `at` in which that is otherwise; SCHEDULE_NEVER: there is none. */
int64_t schedule_next_change(const struct schedule *schedule, int64_t at);

#endif
