/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forms in which a policy gives times.
 */
#ifndef ZONES_POLICY_TIME_H
#define ZONES_POLICY_TIME_H

#include <stdbool.h>

/* "2027-01-31", or RFC 3339: "2027-01-31T18:00:00Z", "2027-01-31T18:00:00+01:00".  The day must be
 * in the calendar. */
bool policy_time_is_date(const char *text);

/* "00:00" to "23:59", or "24:00". */
bool policy_time_is_clock(const char *text);

#endif
