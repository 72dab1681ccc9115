/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether two policy documents, as they were read, are the same in every word and place: for the
 * unit tests and the fuzz target that hold the reader's shortcut to the reader without it.
 */
#ifndef TESTS_POLICY_SAME_H
#define TESTS_POLICY_SAME_H

#include <string.h>

#include "zones/policy_document.h"

static inline bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static inline bool same_mark(struct policy_mark a, struct policy_mark b)
{
	return a.line == b.line && a.column == b.column;
}

static inline bool same_name(const struct document_name *a, const struct document_name *b)
{
	return same_text(a->text, b->text) && (!a->text || same_mark(a->at, b->at));
}

static inline bool same_names(const struct document_names *a, const struct document_names *b)
{
	bool same = a->n == b->n && a->any == b->any;

	for (uint32_t i = 0; same && i < a->n; i++)
		same = same_name(&a->names[i], &b->names[i]);
	return same;
}

static inline bool same_limits(const struct zone_limits *a, const struct zone_limits *b)
{
	return a->connections == b->connections && a->new_per_second == b->new_per_second &&
	       a->half_open == b->half_open;
}

static inline bool same_zone(const struct document_zone *a, const struct document_zone *b)
{
	bool same = same_name(&a->name, &b->name) && same_text(a->match, b->match) &&
		    a->n_prefixes == b->n_prefixes && a->intra == b->intra &&
		    a->pickup == b->pickup && same_limits(&a->limits, &b->limits);

	for (uint32_t i = 0; same && i < a->n_prefixes; i++)
		same = same_mark(a->prefixes[i].at, b->prefixes[i].at) &&
		       !memcmp(&a->prefixes[i].prefix, &b->prefixes[i].prefix,
			       sizeof a->prefixes[i].prefix);
	return same;
}

static inline bool same_service(const struct document_service *a, const struct document_service *b)
{
	bool same = same_name(&a->name, &b->name) && a->n_ranges == b->n_ranges;

	for (uint32_t i = 0; same && i < a->n_ranges; i++)
		same = a->ranges[i].first == b->ranges[i].first &&
		       a->ranges[i].last == b->ranges[i].last;
	return same;
}

static inline bool same_rule(const struct document_rule *a, const struct document_rule *b)
{
	return same_name(&a->id, &b->id) && same_text(a->label, b->label) &&
	       same_names(&a->from, &b->from) && same_names(&a->to, &b->to) &&
	       same_names(&a->services, &b->services) && same_mark(a->helper_at, b->helper_at) &&
	       a->expires == b->expires && a->schedule == b->schedule && a->action == b->action &&
	       a->log == b->log && a->helper == b->helper && same_limits(&a->limits, &b->limits);
}

static inline bool same_policy(const struct document_policy *a, const struct document_policy *b)
{
	return same_name(&a->id, &b->id) && same_name(&a->tier, &b->tier) && a->mode == b->mode &&
	       a->first_rule == b->first_rule && a->n_rules == b->n_rules &&
	       a->expires == b->expires && a->schedule == b->schedule;
}

static inline bool same_schedule(
	const struct document_schedule *a, const struct document_schedule *b)
{
	return a->window.from == b->window.from && a->window.to == b->window.to &&
	       a->window.days == b->window.days && same_text(a->time_zone, b->time_zone) &&
	       !a->window.zone == !b->window.zone;
}

static inline bool same_documents(const struct policy_document *a, const struct policy_document *b)
{
	bool same = a->n_zones == b->n_zones && a->n_services == b->n_services &&
		    a->n_tiers == b->n_tiers && a->n_policies == b->n_policies &&
		    a->n_rules == b->n_rules && a->n_schedules == b->n_schedules &&
		    a->n_prefixes == b->n_prefixes && a->n_words == b->n_words &&
		    a->between_zones == b->between_zones && a->within_zone == b->within_zone &&
		    a->baseline_log == b->baseline_log;

	for (size_t i = 0; same && i < a->n_zones; i++)
		same = same_zone(&a->zones[i], &b->zones[i]);
	for (size_t i = 0; same && i < a->n_services; i++)
		same = same_service(&a->services[i], &b->services[i]);
	for (size_t i = 0; same && i < a->n_tiers; i++)
		same = same_name(&a->tiers[i], &b->tiers[i]);
	for (size_t i = 0; same && i < a->n_policies; i++)
		same = same_policy(&a->policies[i], &b->policies[i]);
	for (size_t i = 0; same && i < a->n_rules; i++)
		same = same_rule(&a->rules[i], &b->rules[i]);
	for (size_t i = 0; same && i < a->n_schedules; i++)
		same = same_schedule(&a->schedules[i], &b->schedules[i]);
	return same;
}

static inline bool same_errors(const struct policy_errors *a, const struct policy_errors *b)
{
	bool same = a->n == b->n && a->n_total == b->n_total;

	for (size_t i = 0; same && i < a->n; i++)
		same = a->at[i].line == b->at[i].line && a->at[i].column == b->at[i].column &&
		       !strcmp(a->at[i].message, b->at[i].message);
	return same;
}

#endif
