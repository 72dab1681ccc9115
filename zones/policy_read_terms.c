/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of policy documents: the terms that rules, policies and zones come with, namely how
 * long they are in force, when, and for how much.  Called by policy_read.c and policy_read_rules.c.
 */
#include "zones/policy_reader.h"

#include <stdio.h>
#include <string.h>

#include "zones/policy_time.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- Expiry --------------------------------------------------------------------------------- */

void policy_read_expires(struct policy_reader *reader, int64_t *expires)
{
	char quoted[POLICY_QUOTE_MAX];
	struct policy_mark at;
	const char *text = policy_read_text(reader, "a date such as 2027-01-31", &at);

	if (text && !policy_time_read_end(text, expires))
		policy_error_add(reader->errors, at,
			"%s is no date: expected one such as 2027-01-31 or 2027-01-31T18:00:00Z",
			policy_quote(text, quoted));
}

/* --- Schedules ------------------------------------------------------------------------------ */

static void read_day(struct policy_reader *reader, void *schedule_)
{
	static const struct policy_choice days[] = {
		{"mon", 0}, {"tue", 1}, {"wed", 2}, {"thu", 3}, {"fri", 4}, {"sat", 5}, {"sun", 6}};
	struct document_schedule *schedule = schedule_;
	struct policy_mark at = policy_here(reader);
	uint8_t day;

	if (!policy_read_choice(reader, "day", days, COUNT(days), &day))
		return;
	if (schedule->window.days >> day & 1)
		policy_error_add(reader->errors, at, "'%s' is in this list twice", days[day].word);
	schedule->window.days |= (uint8_t)(1U << day);
}

static void read_days(struct policy_reader *reader, void *schedule_)
{
	struct document_schedule *schedule = schedule_;
	struct policy_mark at = policy_here(reader);
	size_t errors = reader->errors->n_total;

	schedule->window.days = 0;
	policy_read_sequence(reader, "days such as [mon, tue]", read_day, schedule);
	if (!schedule->window.days && !reader->stopped && reader->errors->n_total == errors)
		policy_error_add(reader->errors, at,
			"the list is empty: name at least one day, or leave 'days' out");
}

static void read_clock(struct policy_reader *reader, uint32_t *seconds, uint32_t max)
{
	char quoted[POLICY_QUOTE_MAX];
	struct policy_mark at;
	const char *text = policy_read_text(reader, "a time of day such as \"22:00\"", &at);

	if (text && (!policy_time_read_clock(text, seconds) || *seconds > max))
		policy_error_add(reader->errors, at,
			"%s is no time of day: expected one from 00:00 to %s",
			policy_quote(text, quoted), max == DAY_SECONDS ? "24:00" : "23:59");
}

static void read_begin(struct policy_reader *reader, void *schedule)
{
	read_clock(reader, &((struct document_schedule *)schedule)->window.from, DAY_SECONDS - 1);
}

static void read_end(struct policy_reader *reader, void *schedule)
{
	read_clock(reader, &((struct document_schedule *)schedule)->window.to, DAY_SECONDS);
}

/* The search for what a misspelt time zone was meant to be; its names do not stay. */
struct time_zone_guess {
	struct policy_guess guess;
	char best[SCHEDULE_ZONE_NAME_MAX + 1];
	unsigned int n;
};

static void offer_time_zone(const char *name, void *search_)
{
	struct time_zone_guess *search = search_;

	search->n++;
	policy_guess_offer(&search->guess, name);
	if (search->guess.best != name)
		return;
	snprintf(search->best, sizeof search->best, "%s", name);
	search->guess.best = search->best;
}

static void fail_time_zone(struct policy_reader *reader, const struct document_name *name)
{
	char quoted[POLICY_QUOTE_MAX], hint[96];
	struct time_zone_guess search = {.n = 0};

	policy_guess_begin(&search.guess, name->text);
	if (policy_errors_have_room(reader->errors))
		schedule_zone_each_name(offer_time_zone, &search);
	policy_error_add(reader->errors, name->at, "no time zone is named %s: expected %s%s",
		policy_quote(name->text, quoted),
		search.n == 1 ? "UTC, since the package tzdata is not installed"
			      : "one such as Europe/Berlin or UTC",
		policy_guess_text(&search.guess, hint));
}

static void read_time_zone(struct policy_reader *reader, void *schedule_)
{
	struct document_schedule *schedule = schedule_;
	struct policy_document *document = reader->document;
	struct document_time_zone zone;
	struct document_name name;
	int known;

	name.text = policy_read_text(reader, "a time zone such as Europe/Berlin", &name.at);
	if (!name.text)
		return;
	schedule->time_zone = name.text;
	known = name_table_find(&document->time_zone_names, 0, name.text);
	if (known != NAME_NONE) {
		schedule->window.zone = document->time_zones[known].zone;
		return;
	}
	zone = (struct document_time_zone){name.text, schedule_zone_open(name.text)};
	if (!zone.zone) {
		fail_time_zone(reader, &name);
		return;
	}
	name_table_insert(
		&document->time_zone_names, 0, name.text, (uint32_t)document->n_time_zones);
	document->time_zones = zone_grow(document->time_zones, document->n_time_zones,
		&document->allocated_time_zones, sizeof *document->time_zones);
	document->time_zones[document->n_time_zones++] = zone;
	schedule->window.zone = zone.zone;
}

/* Enters a schedule, once however often it is written. */
static uint32_t add_schedule(
	struct policy_document *document, const struct document_schedule *schedule)
{
	const struct schedule *window = &schedule->window;
	char key[64 + SCHEDULE_ZONE_NAME_MAX];
	int known;

	snprintf(key, sizeof key, "%x %u %u %s", (unsigned int)window->days, window->from,
		window->to, window->zone ? schedule->time_zone : "UTC");
	known = name_table_find(&document->schedule_names, 0, key);
	if (known != NAME_NONE)
		return (uint32_t)known + 1;
	name_table_insert(&document->schedule_names, 0,
		arena_copy_text(&document->arena, key, strlen(key)),
		(uint32_t)document->n_schedules);
	document->schedules = zone_grow(document->schedules, document->n_schedules,
		&document->allocated_schedules, sizeof *document->schedules);
	document->schedules[document->n_schedules++] = *schedule;
	return (uint32_t)document->n_schedules;
}

void policy_read_schedule(struct policy_reader *reader, uint32_t *number)
{
	static const struct policy_key keys[] = {{"days", false, read_days},
		{"from", true, read_begin}, {"to", true, read_end},
		{"time_zone", false, read_time_zone}};
	struct document_schedule schedule = {
		.window = {.days = SCHEDULE_EVERY_DAY}, .time_zone = "UTC"};
	struct policy_mark at = policy_here(reader);
	size_t errors = reader->errors->n_total;

	policy_read_mapping(reader, "a schedule", keys, COUNT(keys), &schedule);
	if (reader->stopped || reader->errors->n_total != errors)
		return;
	if (schedule.window.from == schedule.window.to)
		policy_error_add(reader->errors, at,
			"the schedule ends when it begins: for whole days, write from 00:00 to "
			"24:00");
	else
		*number = add_schedule(reader->document, &schedule);
}

/* --- Limits --------------------------------------------------------------------------------- */

static void read_count(struct policy_reader *reader, uint32_t *count)
{
	char quoted[POLICY_QUOTE_MAX];
	struct policy_mark at;
	const char *text = policy_read_text(reader, "a number such as 1000", &at);
	uint64_t value = 0;

	if (!text)
		return;
	for (const char *c = text; *c && value <= POLICY_LIMIT_MAX; c++)
		value = *c < '0' || *c > '9' ? UINT64_MAX : value * 10 + (uint64_t)(*c - '0');
	if (!value || value > POLICY_LIMIT_MAX || !*text)
		policy_error_add(reader->errors, at,
			"%s is no limit: expected a number from 1 to %d; for no limit, leave the "
			"key out",
			policy_quote(text, quoted), POLICY_LIMIT_MAX);
	else
		*count = (uint32_t)value;
}

static void read_connections(struct policy_reader *reader, void *limits)
{
	read_count(reader, &((struct zone_limits *)limits)->connections);
}

static void read_new_per_second(struct policy_reader *reader, void *limits)
{
	read_count(reader, &((struct zone_limits *)limits)->new_per_second);
}

static void read_half_open(struct policy_reader *reader, void *limits)
{
	read_count(reader, &((struct zone_limits *)limits)->half_open);
}

void policy_read_limits(struct policy_reader *reader, struct zone_limits *limits)
{
	static const struct policy_key keys[] = {{"connections", false, read_connections},
		{"new_per_second", false, read_new_per_second},
		{"half_open", false, read_half_open}};
	struct policy_mark at = policy_here(reader);
	size_t errors = reader->errors->n_total;

	policy_read_mapping(reader, "limits", keys, COUNT(keys), limits);
	if (!reader->stopped && reader->errors->n_total == errors && !zone_limits_any(limits))
		policy_error_add(reader->errors, at,
			"the limits are empty: expected connections, new_per_second or half_open");
}
