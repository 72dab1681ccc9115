/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As few rules as say what was seen.  Called by suggest.c, on the one thread.
 *
 * Ports beside one another become a range, services that the policy names are called by that name,
 * and rules that differ in one list only become one rule with a longer list.
 */
#include "cli/suggest.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

enum { HIGH_PORT = 32768, HIGH_PORTS_APART = 16 };

static bool has_ports(const struct service_range *range)
{
	uint32_t protocol = range->first >> 16;

	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static int compare_points(const void *left, const void *right)
{
	const struct suggest_point *a = left, *b = right;
	int order = strcmp(a->from, b->from);

	if (!order)
		order = strcmp(a->to, b->to);
	if (order)
		return order;
	return a->range.first < b->range.first ? -1 : a->range.first > b->range.first;
}

/* --- Services of one pair of zones ---------------------------------------------------------- */

/* Points of one pair of zones, in order, as ranges. */
struct ranges {
	struct service_range *at;
	size_t n;
};

static bool is_high(const struct service_range *range)
{
	return has_ports(range) && (range->first & 0xffff) >= HIGH_PORT;
}

/* How many high ports of this protocol there are from here on. */
static size_t count_high(const struct ranges *ranges, size_t i)
{
	size_t n = 0;

	while (i + n < ranges->n && is_high(&ranges->at[i + n]) &&
		ranges->at[i + n].first >> 16 == ranges->at[i].first >> 16)
		n++;
	return n;
}

/* Where a server hands out ports as it likes, there is no sense in listing them.  Returns how many
 * ports became ranges. */
static size_t join_high_ports(struct ranges *ranges)
{
	size_t n = 0, joined = 0;

	for (size_t i = 0; i < ranges->n;) {
		size_t high = count_high(ranges, i);

		ranges->at[n] = ranges->at[i];
		if (high > HIGH_PORTS_APART) {
			ranges->at[n].last = ranges->at[i + high - 1].last;
			joined += high;
			i += high;
		} else {
			i++;
		}
		n++;
	}
	ranges->n = n;
	return joined;
}

static void join_neighbours(struct ranges *ranges)
{
	size_t n = 0;

	for (size_t i = 0; i < ranges->n; i++) {
		struct service_range *last = n ? &ranges->at[n - 1] : NULL;

		if (last && has_ports(last) && ranges->at[i].first == last->last + 1 &&
			ranges->at[i].first >> 16 == last->first >> 16)
			last->last = ranges->at[i].last;
		else
			ranges->at[n++] = ranges->at[i];
	}
	ranges->n = n;
}

/* How many of the ranges lie within the service; 0 unless they make up all of it.  `whole` are the
 * same, joined. */
static size_t part_of_service(const struct ranges *ranges, const struct ranges *whole,
	const struct document_service *service)
{
	size_t n = 0;

	for (uint32_t s = 0; s < service->n_ranges; s++) {
		const struct service_range *wanted = &service->ranges[s];
		bool covered = false;

		for (size_t i = 0; i < whole->n && !covered; i++)
			covered = whole->at[i].first <= wanted->first &&
				  whole->at[i].last >= wanted->last;
		if (!covered)
			return 0;
		for (size_t i = 0; i < ranges->n; i++)
			n += ranges->at[i].first >= wanted->first &&
			     ranges->at[i].last <= wanted->last;
	}
	return n;
}

static void take_out(struct ranges *ranges, const struct document_service *service)
{
	for (uint32_t s = 0; s < service->n_ranges; s++) {
		const struct service_range *wanted = &service->ranges[s];
		size_t n = 0;

		for (size_t i = 0; i < ranges->n; i++) {
			if (ranges->at[i].first < wanted->first ||
				ranges->at[i].last > wanted->last)
				ranges->at[n++] = ranges->at[i];
		}
		ranges->n = n;
	}
}

/* Calls what was seen by the policy's names, the largest services first, where all of a service was
 * seen; takes it out of the ranges. */
static void name_services(
	const struct policy_document *document, struct ranges *ranges, struct svec *services)
{
	struct ranges whole = {xmemdup(ranges->at, ranges->n * sizeof(*ranges->at)), ranges->n};

	join_neighbours(&whole);
	for (;;) {
		const struct document_service *best = NULL;
		size_t most = 0;

		for (size_t i = 0; i < document->n_services; i++) {
			const struct document_service *service = &document->services[i];
			size_t n = service_is_literal(service->name.text)
					   ? 0
					   : part_of_service(ranges, &whole, service);

			if (n > most) {
				best = service;
				most = n;
			}
		}
		if (!best)
			break;
		svec_add(services, best->name.text);
		take_out(ranges, best);
	}
	svec_sort(services);
	free(whole.at);
}

/* --- Rules ---------------------------------------------------------------------------------- */

static void add_rule(struct suggestion *suggestion, const struct suggest_point *points, size_t n)
{
	struct suggest_rule *rule = &suggestion->rules[suggestion->n_rules++];
	struct ranges ranges = {xcalloc(n, sizeof(*ranges.at)), n};

	*rule = (struct suggest_rule){.example = xstrdup(points[0].example)};
	svec_add(&rule->from, points[0].from);
	svec_add(&rule->to, points[0].to);
	for (size_t i = 0; i < n; i++) {
		ranges.at[i] = points[i].range;
		suggest_add(&rule->counts, &points[i].counts);
		rule->n_pairs += points[i].n_pairs;
	}
	name_services(&suggestion->reference->document, &ranges, &rule->services);
	rule->n_high = join_high_ports(&ranges);
	join_neighbours(&ranges);
	for (size_t i = 0; i < ranges.n; i++) {
		char text[SERVICE_TEXT_MAX];

		svec_add(&rule->services, service_format(&ranges.at[i], text));
	}
	free(ranges.at);
}

void suggest_rule_free(struct suggest_rule *rule)
{
	svec_destroy(&rule->from);
	svec_destroy(&rule->to);
	svec_destroy(&rule->services);
	free(rule->example);
	free(rule->id);
}

/* Rule `from` says the same of other zones: its list is added to that of `to`. */
static void merge(struct suggest_rule *to, struct suggest_rule *from, bool sources)
{
	svec_append(sources ? &to->from : &to->to, sources ? &from->from : &from->to);
	svec_sort_unique(sources ? &to->from : &to->to);
	suggest_add(&to->counts, &from->counts);
	to->n_pairs += from->n_pairs;
	to->n_high = MAX(to->n_high, from->n_high);
	suggest_rule_free(from);
}

/* Makes one rule of those that differ only in `from` (or in `to`). */
static void merge_rules(struct suggestion *suggestion, bool sources)
{
	size_t n = 0;

	for (size_t i = 0; i < suggestion->n_rules; i++) {
		struct suggest_rule *rule = &suggestion->rules[i], *same = NULL;

		for (size_t j = 0; j < n && !same; j++) {
			struct suggest_rule *other = &suggestion->rules[j];

			if (svec_equal(&rule->services, &other->services) &&
				(sources ? svec_equal(&rule->to, &other->to)
					 : svec_equal(&rule->from, &other->from)))
				same = other;
		}
		if (same)
			merge(same, rule, sources);
		else
			suggestion->rules[n++] = *rule;
	}
	suggestion->n_rules = n;
}

/* "web-to-db", or a number where that would be long, or taken. */
static void name_rules(struct suggestion *suggestion)
{
	for (size_t i = 0; i < suggestion->n_rules; i++) {
		struct suggest_rule *rule = &suggestion->rules[i];
		bool taken = rule->from.n > 1 || rule->to.n > 1;

		rule->id = xasprintf("%s-to-%s", rule->from.names[0], rule->to.names[0]);
		for (size_t j = 0; j < i && !taken; j++)
			taken = !strcmp(suggestion->rules[j].id, rule->id);
		if (taken || strlen(rule->id) > POLICY_NAME_MAX) {
			free(rule->id);
			rule->id = xasprintf("suggested.%zu", i + 1);
		}
	}
}

void suggest_make_rules(struct suggestion *suggestion)
{
	if (suggestion->n_points)
		qsort(suggestion->points, suggestion->n_points, sizeof(*suggestion->points),
			compare_points);
	suggestion->rules = xcalloc(suggestion->n_points + 1, sizeof(*suggestion->rules));
	for (size_t i = 0, end; i < suggestion->n_points; i = end) {
		for (end = i + 1; end < suggestion->n_points; end++) {
			if (strcmp(suggestion->points[i].from, suggestion->points[end].from) ||
				strcmp(suggestion->points[i].to, suggestion->points[end].to))
				break;
		}
		add_rule(suggestion, &suggestion->points[i], end - i);
	}
	merge_rules(suggestion, true);
	merge_rules(suggestion, false);
	name_rules(suggestion);
}
