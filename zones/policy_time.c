/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading dates and times of day.  Called by the reader of policy documents.
 */
#include "zones/policy_time.h"

#include <stddef.h>

/* Compares text with a form in which '0' stands for any digit, '+' for either sign, a capital
 * letter for itself and its small one (RFC 3339, 5.6), and all else for itself. */
static bool has_form(const char *text, const char *form)
{
	for (; *form; form++, text++) {
		bool fits = *text == *form;

		if (*form == '0')
			fits = *text >= '0' && *text <= '9';
		else if (*form == '+')
			fits = *text == '+' || *text == '-';
		else if (*form >= 'A' && *form <= 'Z')
			fits = fits || *text == *form - 'A' + 'a';
		if (!fits)
			return false;
	}
	return !*text;
}

/* The number that two digits make. */
static unsigned int two(const char *text)
{
	return (unsigned int)(text[0] - '0') * 10 + (unsigned int)(text[1] - '0');
}

/* The days from 1970-01-01 to a day of the Gregorian calendar: of 400 years there are 146097, and
 * years that begin in March end with the leap day. */
static int64_t days_since_1970(int64_t year, unsigned int month, unsigned int day)
{
	unsigned int from_march = (month + 9) % 12;

	year -= month <= 2;
	/* 719468 days lie between 0000-03-01 and 1970-01-01; a year before 0 is -1. */
	return (year + 400) / 400 * 146097 - 146097 + (year + 400) % 400 * 365 +
	       (year + 400) % 400 / 4 - (year + 400) % 400 / 100 + (153 * from_march + 2) / 5 +
	       day - 1 - 719468;
}

static bool read_day(const char *text, int64_t *days)
{
	static const unsigned char length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	unsigned int year = two(text) * 100 + two(text + 2);
	unsigned int month = two(text + 5), day = two(text + 8);
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	if (month < 1 || month > 12 || day < 1 ||
		day > length[month - 1] + (month == 2 && leap ? 1U : 0U))
		return false;
	*days = days_since_1970(year, month, day);
	return true;
}

/* What stands behind the seconds: "Z", or the distance to UTC. */
static bool read_offset(const char *text, int64_t *seconds)
{
	*seconds = 0;
	if (*text == 'Z' || *text == 'z')
		return true;
	if (two(text + 1) > 23 || two(text + 4) > 59)
		return false;
	*seconds = (int64_t)(two(text + 1) * 3600 + two(text + 4) * 60) * (*text == '-' ? -1 : 1);
	return true;
}

bool policy_time_read_end(const char *text, int64_t *end)
{
	unsigned int hour, minute, second;
	int64_t days, offset;

	if (has_form(text, "0000-00-00")) {
		if (!read_day(text, &days))
			return false;
		*end = (days + 1) * DAY_SECONDS;
		return true;
	}
	if (!has_form(text, "0000-00-00T00:00:00Z") && !has_form(text, "0000-00-00T00:00:00+00:00"))
		return false;
	hour = two(text + 11);
	minute = two(text + 14);
	second = two(text + 17);
	if (hour > 23 || minute > 59 || second > 60 || !read_day(text, &days) ||
		!read_offset(text + 19, &offset))
		return false;
	*end = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset;
	/* A leap second is counted as the first one of the day that it precedes. */
	return second < 60 || *end % DAY_SECONDS == 0;
}

bool policy_time_read_clock(const char *text, uint32_t *seconds)
{
	bool with_seconds = has_form(text, "00:00:00");

	if (!with_seconds && !has_form(text, "00:00"))
		return false;
	if (two(text + 3) > 59 || (with_seconds && two(text + 6) > 59))
		return false;
	*seconds = two(text) * 3600 + two(text + 3) * 60 + (with_seconds ? two(text + 6) : 0);
	return *seconds <= DAY_SECONDS;
}
