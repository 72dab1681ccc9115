/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a policy document's things as words.  Called by policy_diff.c, on its caller's
 * thread.
 *
 * A key that has a default is given its value even where the document leaves it out, so that
 * writing the default down is no change.
 */
#include "zones/policy_diff.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "zones/policy_time.h"

void policy_values_add(struct policy_values *values, const char *text)
{
	values->texts =
		zone_grow(values->texts, values->n, &values->allocated, sizeof *values->texts);
	values->texts[values->n++] = text;
}

static void add_copy(struct policy_values *values, const char *text)
{
	policy_values_add(values, arena_copy_text(values->arena, text, strlen(text)));
}

static void add_choice(struct policy_values *values, const char *const *names, unsigned int value)
{
	policy_values_add(values, names[value]);
}

static const char *const action_names[] = {[ZONE_ALLOW] = "allow",
	[ZONE_DENY] = "deny",
	[ZONE_REJECT] = "reject",
	[ZONE_PASS] = "pass"};
static const char *const log_names[] = {[ZONE_LOG_NONE] = "none",
	[ZONE_LOG_DENIED] = "denied",
	[ZONE_LOG_SESSION] = "session",
	[ZONE_LOG_ALL] = "all"};

static void add_limits(struct policy_values *values, const struct zone_limits *limits)
{
	const struct {
		const char *name;
		uint32_t value;
	} of[] = {{"connections", limits->connections}, {"new_per_second", limits->new_per_second},
		{"half_open", limits->half_open}};
	char text[40];

	for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
		snprintf(text, sizeof text, "%s %u", of[i].name, of[i].value);
		if (of[i].value)
			add_copy(values, text);
	}
}

/* A moment as it is written in a policy: a day that counts to its end, or the second. */
static void add_expires(struct policy_values *values, int64_t end)
{
	time_t shown = end % DAY_SECONDS ? end : end - 1;
	struct tm utc;
	char text[40];

	if (end == POLICY_NEVER || !gmtime_r(&shown, &utc))
		return;
	strftime(text, sizeof text, end % DAY_SECONDS ? "%Y-%m-%dT%H:%M:%SZ" : "%Y-%m-%d", &utc);
	add_copy(values, text);
}

/* "22:00", with seconds if there are any. */
static size_t put_clock(char *text, size_t size, uint32_t second)
{
	int n = snprintf(text, size, "%02u:%02u", second / 3600, second / 60 % 60);

	if (second % 60)
		n += snprintf(text + n, size - (size_t)n, ":%02u", second % 60);
	return (size_t)n;
}

/* "mon tue 22:00-06:00 Europe/Berlin". */
static void add_schedule(
	struct policy_values *values, const struct policy_document *document, uint32_t number)
{
	static const char days[][5] = {"mon ", "tue ", "wed ", "thu ", "fri ", "sat ", "sun "};
	const struct document_schedule *schedule;
	char text[160] = "";
	size_t n = 0;

	if (!number)
		return;
	schedule = &document->schedules[number - 1];
	for (unsigned int day = 0; day < 7 && schedule->window.days != SCHEDULE_EVERY_DAY; day++) {
		if (schedule->window.days >> day & 1)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s", days[day]);
	}
	n += put_clock(text + n, sizeof text - n, schedule->window.from);
	text[n++] = '-';
	n += put_clock(text + n, sizeof text - n, schedule->window.to);
	snprintf(text + n, sizeof text - n, " %s",
		schedule->time_zone ? schedule->time_zone : "UTC");
	add_copy(values, text);
}

/* --- Zones ---------------------------------------------------------------------------------- */

static void read_match(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	const struct document_zone *zone = thing;

	(void)document;
	if (zone->match)
		policy_values_add(values, zone->match);
}

static void read_cidrs(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	const struct document_zone *zone = thing;
	char text[IP_TEXT_MAX];

	(void)document;
	for (uint32_t i = 0; i < zone->n_prefixes; i++)
		add_copy(values, ip_prefix_format(&zone->prefixes[i].prefix, text));
}

/* Most zones stay as they are, and some have a million prefixes. */
static bool same_cidrs(const void *before, const void *after)
{
	const struct document_zone *a = before, *b = after;

	if (a->n_prefixes != b->n_prefixes)
		return false;
	for (uint32_t i = 0; i < a->n_prefixes; i++) {
		if (a->prefixes[i].prefix.length != b->prefixes[i].prefix.length ||
			memcmp(&a->prefixes[i].prefix.address, &b->prefixes[i].prefix.address,
				sizeof a->prefixes[i].prefix.address))
			return false;
	}
	return true;
}

static void read_intra(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	static const char *const names[] = {[INTRA_AS_BASELINE] = "as the baseline",
		[INTRA_ALLOW] = "allow",
		[INTRA_DENY] = "deny"};
	const struct document_zone *zone = thing;

	(void)document;
	if (zone->intra != INTRA_AS_BASELINE)
		add_choice(values, names, zone->intra);
}

static void read_pickup(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	if (((const struct document_zone *)thing)->pickup)
		policy_values_add(values, "true");
}

static void read_zone_limits(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	add_limits(values, &((const struct document_zone *)thing)->limits);
}

static const struct policy_value_key zone_keys[] = {
	{"match", read_match, NULL},
	{"cidrs", read_cidrs, same_cidrs},
	{"intra", read_intra, NULL},
	{"pickup", read_pickup, NULL},
	{"limits", read_zone_limits, NULL},
	{0},
};

/* --- Services ------------------------------------------------------------------------------- */

static void read_ranges(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	const struct document_service *service = thing;
	char text[SERVICE_TEXT_MAX];

	(void)document;
	for (uint32_t i = 0; i < service->n_ranges; i++)
		add_copy(values, service_format(&service->ranges[i], text));
}

static const struct policy_value_key service_keys[] = {
	{POLICY_KEY_ONLY, read_ranges, NULL},
	{0},
};

/* --- Policies ------------------------------------------------------------------------------- */

static void read_tier(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	const struct document_policy *policy = thing;

	policy_values_add(values, document->tiers[policy->tier.index].text);
}

static void read_mode(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	static const char *const names[] = {
		[MODE_ENFORCE] = "enforce", [MODE_SIMULATE] = "simulate", [MODE_OFF] = "off"};
	const struct document_policy *policy = thing;

	(void)document;
	add_choice(values, names, policy->mode);
}

static void read_policy_expires(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	add_expires(values, ((const struct document_policy *)thing)->expires);
}

static void read_policy_schedule(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	add_schedule(values, document, ((const struct document_policy *)thing)->schedule);
}

static const struct policy_value_key policy_keys[] = {
	{"tier", read_tier, NULL},
	{"mode", read_mode, NULL},
	{"expires", read_policy_expires, NULL},
	{"schedule", read_policy_schedule, NULL},
	{0},
};

/* --- Rules ---------------------------------------------------------------------------------- */

static void add_names(struct policy_values *values, const struct document_names *names)
{
	if (names->any)
		policy_values_add(values, "any");
	for (uint32_t i = 0; !names->any && i < names->n; i++)
		policy_values_add(values, names->names[i].text);
}

static void read_from(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	add_names(values, &((const struct document_rule *)thing)->from);
}

static void read_to(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	add_names(values, &((const struct document_rule *)thing)->to);
}

static void read_services(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	add_names(values, &((const struct document_rule *)thing)->services);
}

static void read_action(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	add_choice(values, action_names, ((const struct document_rule *)thing)->action);
}

static void read_log(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	const struct document_rule *rule = thing;

	(void)document;
	if (rule->action != ZONE_PASS) /* The rule that decides logs. */
		add_choice(values, log_names, rule->log);
}

static void read_label(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	const struct document_rule *rule = thing;

	(void)document;
	if (rule->label)
		policy_values_add(values, rule->label);
}

static void read_expires(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	add_expires(values, ((const struct document_rule *)thing)->expires);
}

static void read_schedule(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	add_schedule(values, document, ((const struct document_rule *)thing)->schedule);
}

static void read_limits(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)document;
	add_limits(values, &((const struct document_rule *)thing)->limits);
}

static void read_helper(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	static const char *const names[] = {[ZONE_HELPER_NONE] = "none",
		[ZONE_HELPER_FTP] = "ftp",
		[ZONE_HELPER_TFTP] = "tftp"};
	const struct document_rule *rule = thing;

	(void)document;
	if (rule->helper != ZONE_HELPER_NONE)
		add_choice(values, names, rule->helper);
}

static const struct policy_value_key rule_keys[] = {
	{"from", read_from, NULL},
	{"to", read_to, NULL},
	{"service", read_services, NULL},
	{"action", read_action, NULL},
	{"log", read_log, NULL},
	{"label", read_label, NULL},
	{"expires", read_expires, NULL},
	{"schedule", read_schedule, NULL},
	{"limits", read_limits, NULL},
	{"helper", read_helper, NULL},
	{0},
};

/* --- Baseline ------------------------------------------------------------------------------- */

static void read_between_zones(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)thing;
	add_choice(values, action_names, document->between_zones);
}

static void read_within_zone(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)thing;
	add_choice(values, action_names, document->within_zone);
}

static void read_baseline_log(
	const struct policy_document *document, const void *thing, struct policy_values *values)
{
	(void)thing;
	add_choice(values, log_names, document->baseline_log);
}

static const struct policy_value_key baseline_keys[] = {
	{"between_zones", read_between_zones, NULL},
	{"within_zone", read_within_zone, NULL},
	{"log", read_baseline_log, NULL},
	{0},
};

const struct policy_value_key *policy_value_keys(enum policy_part part)
{
	static const struct policy_value_key none[] = {{0}};

	switch (part) {
	case POLICY_PART_ZONE: return zone_keys;
	case POLICY_PART_SERVICE: return service_keys;
	case POLICY_PART_POLICY: return policy_keys;
	case POLICY_PART_RULE: return rule_keys;
	case POLICY_PART_BASELINE: return baseline_keys;
	case POLICY_PART_TIERS: break;
	}
	return none;
}
