/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking dates and times of day.  Called by the reader of policy documents.
 */
#include "zones/policy_time.h"

#include <stddef.h>
#include <string.h>

/* Compares text with a form in which '0' stands for any digit, all else for itself. */
static bool has_form(const char *text, const char *form)
{
	for (; *form; form++, text++) {
		bool digit = *text >= '0' && *text <= '9';

		if (*form == '0' ? !digit : *text != *form)
			return false;
	}
	return !*text;
}

/* The number that two digits make. */
static unsigned int two(const char *text)
{
	return (unsigned int)(text[0] - '0') * 10 + (unsigned int)(text[1] - '0');
}

static bool is_day(const char *text)
{
	static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	unsigned int year = two(text) * 100 + two(text + 2);
	unsigned int month = two(text + 5), day = two(text + 8);
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	if (month < 1 || month > 12 || day < 1)
		return false;
	return day <= days[month - 1] + (month == 2 && leap ? 1U : 0U);
}

bool policy_time_is_date(const char *text)
{
	static const char *const forms[] = {
		"0000-00-00T00:00:00Z", "0000-00-00T00:00:00+00:00", "0000-00-00T00:00:00-00:00"};

	if (has_form(text, "0000-00-00"))
		return is_day(text);
	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		if (!has_form(text, forms[i]))
			continue;
		/* 60 is a leap second's. */
		if (two(text + 11) > 23 || two(text + 14) > 59 || two(text + 17) > 60)
			return false;
		if (text[19] != 'Z' && (two(text + 20) > 23 || two(text + 23) > 59))
			return false;
		return is_day(text);
	}
	return false;
}

bool policy_time_is_clock(const char *text)
{
	if (!has_form(text, "00:00"))
		return false;
	return (two(text) < 24 && two(text + 3) < 60) || !strcmp(text, "24:00");
}
