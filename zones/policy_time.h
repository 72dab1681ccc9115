/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forms in which a policy gives times.
 */
#ifndef ZONES_POLICY_TIME_H
#define ZONES_POLICY_TIME_H

#include <stdbool.h>
#include <stdint.h>

enum { DAY_SECONDS = 86400 };

/* Reads when something ends: *end becomes the first second behind it, since 1970.  "2027-01-31" is
 * the last day, in UTC; RFC 3339's "2027-01-31T18:00:00Z" and "2027-01-31T18:00:00+01:00" are the
 * second itself.  The day must be in the calendar, and a leap second at the end of a day. */
bool policy_time_read_end(const char *text, int64_t *end);

/* Reads "00:00" to "24:00", or with seconds "00:00:00", as seconds since midnight. */
bool policy_time_read_clock(const char *text, uint32_t *seconds);

#endif
