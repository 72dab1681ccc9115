/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a weekly window is open.  Called when a policy is read and compiled, on that thread; GLib
 * knows the time zones.
 */
#include "zones/schedule.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "zones/policy_time.h"

#define ZONEINFO "/usr/share/zoneinfo/"

/* --- Time zones ----------------------------------------------------------------------------- */

/* A name that leads nowhere but below the directory of time zones.  Those below right/ count leap
 * seconds, which nobody's clock does; `localtime` and `posixrules` are what a host was set to, and
 * so another zone on each. */
static bool is_plain_name(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_+-/";
	size_t length = strlen(name);

	return length && length <= SCHEDULE_ZONE_NAME_MAX && strspn(name, allowed) == length &&
	       name[0] != '/' && strncmp(name, "right/", 6) != 0 &&
	       strcmp(name, "localtime") != 0 && strcmp(name, "posixrules") != 0;
}

/* GLib would also take POSIX's own descriptions of a zone, which nobody can check by reading. */
static bool is_installed(const char *name)
{
	char path[sizeof ZONEINFO + SCHEDULE_ZONE_NAME_MAX], magic[4] = "";
	FILE *file;
	size_t n;

	snprintf(path, sizeof path, ZONEINFO "%s", name);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(magic, 1, sizeof magic, file);
	fclose(file);
	return n == sizeof magic && !memcmp(magic, "TZif", sizeof magic);
}

struct schedule_zone *schedule_zone_open(const char *name)
{
	if (!strcmp(name, "UTC"))
		return (struct schedule_zone *)g_time_zone_new_utc();
	if (!is_plain_name(name) || !is_installed(name))
		return NULL;
	return (struct schedule_zone *)g_time_zone_new_identifier(name);
}

void schedule_zone_close(struct schedule_zone *zone)
{
	if (zone)
		g_time_zone_unref((GTimeZone *)zone);
}

void schedule_zone_each_name(void (*each)(const char *name, void *context), void *context)
{
	char line[512], name[SCHEDULE_ZONE_NAME_MAX + 1];
	FILE *file = fopen(ZONEINFO "zone.tab", "re");

	each("UTC", context);
	while (file && fgets(line, sizeof line, file)) {
		/* A country, a place on the globe, the name. */
		if (line[0] != '#' && sscanf(line, "%*[^\t]\t%*[^\t]\t%63[^\t\n]", name) == 1)
			each(name, context);
	}
	if (file)
		fclose(file);
}

/* The stretch of time around a moment in which the clocks of a zone are not touched. */
static gint interval_at(struct schedule_zone *zone, int64_t at)
{
	return g_time_zone_find_interval((GTimeZone *)zone, G_TIME_TYPE_UNIVERSAL, at);
}

static int64_t offset_at(struct schedule_zone *zone, int64_t at)
{
	return zone ? g_time_zone_get_offset((GTimeZone *)zone, interval_at(zone, at)) : 0;
}

/* The first second in (at, until] in which the clocks have been touched, else `until`. */
static int64_t clock_change(struct schedule_zone *zone, int64_t at, int64_t until)
{
	gint interval;

	if (!zone)
		return until;
	interval = interval_at(zone, at);
	if (interval_at(zone, until) == interval)
		return until;
	while (until - at > 1) {
		int64_t middle = at + (until - at) / 2;

		if (interval_at(zone, middle) == interval)
			at = middle;
		else
			until = middle;
	}
	return until;
}

/* --- Windows -------------------------------------------------------------------------------- */

/* What a clock on the wall shows: days since 1970, and seconds of the day. */
struct wall_clock {
	int64_t day;
	uint32_t second;
};

static struct wall_clock wall_clock_at(const struct schedule *schedule, int64_t at)
{
	int64_t local = at + offset_at(schedule->zone, at), second = local % DAY_SECONDS;

	if (second < 0)
		second += DAY_SECONDS;
	return (struct wall_clock){(local - second) / DAY_SECONDS, (uint32_t)second};
}

static bool is_its_day(const struct schedule *schedule, int64_t day)
{
	/* 1970 began on a Thursday. */
	int64_t weekday = (day % 7 + 7 + 3) % 7;

	return schedule->days >> weekday & 1;
}

bool schedule_is_open(const struct schedule *schedule, int64_t at)
{
	struct wall_clock wall = wall_clock_at(schedule, at);
	bool today = is_its_day(schedule, wall.day) && wall.second >= schedule->from;

	if (schedule->from < schedule->to)
		return today && wall.second < schedule->to;
	return today || (is_its_day(schedule, wall.day - 1) && wall.second < schedule->to);
}

/* The next moment at which the wall's clock shows `from`, `to` or midnight, or is touched. */
static int64_t next_moment(const struct schedule *schedule, int64_t at)
{
	uint32_t second = wall_clock_at(schedule, at).second, next = DAY_SECONDS;

	if (schedule->from > second)
		next = schedule->from;
	if (schedule->to > second && schedule->to < next)
		next = schedule->to;
	return clock_change(schedule->zone, at, at + next - second);
}

int64_t schedule_next_change(const struct schedule *schedule, int64_t at)
{
	/* Any window opens and closes within a week; when clocks leap over it, within two.  Days
	 * that a zone leaves out when it moves to the other side of the date line included. */
	const int64_t horizon = at + 30 * DAY_SECONDS;
	bool open = schedule_is_open(schedule, at);

	if (schedule->days == SCHEDULE_EVERY_DAY && schedule->from == 0 &&
		schedule->to == DAY_SECONDS)
		return SCHEDULE_NEVER;
	while (at < horizon) {
		at = next_moment(schedule, at);
		if (schedule_is_open(schedule, at) != open)
			return at;
	}
	return SCHEDULE_NEVER;
}
