/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the log a suggestion is made of.  Called by suggest.c, on the one thread.
 *
 * Allowed connections count as they are.  Refused attempts count if only a default has refused
 * them, often enough, and not as a part of a scan: whoever tries ten services of a zone in vain
 * wants none of them in particular.  What a rule refuses was meant so.
 */
#include "cli/suggest.h"

#include <stdlib.h>
#include <string.h>

#include "sset.h"
#include "util.h"

enum { SCAN_SERVICES = 10, OUTSIDE_MAX = 64 };

/* A flow that may become a part of a rule. */
struct observed {
	const char *from, *to;
	struct service_range range;
	struct suggest_counts counts;
	char *source, *pair; /* Who; who and whom. */
	char *outside;	     /* The address that is in no zone, or NULL. */
};

struct observing {
	struct suggestion *suggestion;
	struct observed *at;
	size_t n, allocated;
	struct shash points;  /* "FROM\nTO\nSERVICE" -> number of the point, from 1. */
	struct shash refused; /* "SOURCE\nZONE" -> struct sset of services, refused only. */
};

void suggest_add(struct suggest_counts *counts, const struct suggest_counts *more)
{
	counts->allowed += more->allowed;
	counts->denied += more->denied;
	if (!counts->first_ns || (more->first_ns && more->first_ns < counts->first_ns))
		counts->first_ns = more->first_ns;
	counts->last_ns = MAX(counts->last_ns, more->last_ns);
}

void suggest_leave_out(
	struct suggestion *suggestion, char *why, const struct suggest_counts *counts)
{
	struct suggest_counts *sum = shash_find_data(&suggestion->left_out, why);

	if (!sum) {
		sum = xzalloc(sizeof(*sum));
		shash_add(&suggestion->left_out, why, sum);
	}
	suggest_add(sum, counts);
	free(why);
}

/* --- One flow ------------------------------------------------------------------------------- */

/* "web-1 10.0.0.1"; without a VM, the port that owns the address, or the address alone. */
static char *end_name(const struct log_flow_end *end)
{
	const char *name = *end->vm_name ? end->vm_name : *end->tags ? end->port : "";
	char address[IP_TEXT_MAX];

	cli_log_addresses_text(&end->addresses, address);
	return xasprintf("%s%s%s", name, *name && *address ? " " : "", address);
}

/* What the policy of now calls an end's zone: NULL if nothing. */
static const char *zone_of(
	const struct suggestion *suggestion, const struct log_flow_end *end, bool *outside)
{
	const struct zone_policy *policy = suggestion->reference->policy;
	bool is_vnic = *end->vm_name || *end->vm_id || *end->tags;
	int zone = zone_find(policy, end->zone);

	*outside = false;
	if (!is_vnic && end->addresses.length == 128) {
		zone = zone_of_prefix(policy, &end->addresses.address);
		*outside = zone == ZONE_QUARANTINE;
	}
	if (*outside)
		return suggestion->outside_zone;
	return zone <= ZONE_QUARANTINE ? NULL : zone_info(policy, (uint16_t)zone).name;
}

/* All codes of a type of ICMP are one service, and so is all of a protocol without ports. */
static struct service_range range_of(const struct log_flow *flow)
{
	uint32_t point = service_point(flow->protocol, flow->icmp_type, 0, flow->port);

	if (flow->protocol == IPPROTO_ICMP || flow->protocol == IPPROTO_ICMPV6)
		return (struct service_range){point, point | 0xff};
	if (flow->protocol == IPPROTO_TCP || flow->protocol == IPPROTO_UDP ||
		flow->protocol == IPPROTO_SCTP)
		return (struct service_range){point, point};
	return (struct service_range){point, point | 0xffff};
}

/* Why no rule can or should be made for this; the caller frees.  NULL: one may be. */
static char *reason_against(const struct log_flow *flow, const char *from, const char *to)
{
	char service[SERVICE_TEXT_MAX];
	struct service_range range = range_of(flow);

	if (flow->kind == LOG_SPOOFED)
		return xstrdup("spoofed frames");
	if (flow->kind == LOG_LIMIT)
		return xasprintf("refused for want of room (%s)", flow->reason);
	if (!flow->protocol && flow->counts.held_back)
		return xstrdup("attempts that the log has only counted");
	if (!flow->protocol)
		return xstrdup("frames that are not IP: rules need `service: any` for them");
	if (flow->lumped & LOG_FLOW_SERVICE)
		return xstrdup("services that the log has only added up, as there are too many");
	if (!from || !to)
		return xasprintf("of a zone that the policy has not, or in quarantine: %s -> %s",
			flow->source.zone, flow->destination.zone);
	if (flow->counts.refused && *flow->policy && strcmp(flow->policy, "baseline") != 0)
		return xasprintf("refused by rule %s/%s, which was meant so: %s -> %s %s",
			flow->policy, flow->rule, from, to, service_format(&range, service));
	return NULL;
}

static struct sset *refused_by(struct observing *observing, const struct observed *one)
{
	char *key = xasprintf("%s\n%s", one->source, one->to);
	struct sset *services = shash_find_data(&observing->refused, key);

	if (!services) {
		services = xmalloc(sizeof(*services));
		sset_init(services);
		shash_add(&observing->refused, key, services);
	}
	free(key);
	return services;
}

static void note_flow(
	struct observing *observing, const struct log_flow *flow, struct observed *one)
{
	char *destination = end_name(&flow->destination);
	char service[SERVICE_TEXT_MAX], *key;

	one->source = end_name(&flow->source);
	one->pair = xasprintf("%s -> %s", one->source, destination);
	one->range = range_of(flow);
	free(destination);
	if (!one->counts.allowed) {
		key = xasprintf("%s", service_format(&one->range, service));
		sset_add_and_free(refused_by(observing, one), key);
	}
	if (observing->n == observing->allocated)
		observing->at =
			x2nrealloc(observing->at, &observing->allocated, sizeof(*observing->at));
	observing->at[observing->n++] = *one;
}

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct observing *observing = context;
	struct suggestion *suggestion = observing->suggestion;
	const struct log_flow_end *end = NULL;
	bool from_outside, to_outside;
	struct observed one = {
		.from = zone_of(suggestion, &flow->source, &from_outside),
		.to = zone_of(suggestion, &flow->destination, &to_outside),
		.counts = {.allowed = log_flow_connections(&flow->counts),
			.denied = flow->counts.refused,
			.first_ns = flow->counts.first_ns,
			.last_ns = flow->counts.last_ns},
	};
	char *reason = reason_against(flow, one.from, one.to), address[IP_TEXT_MAX];

	if (!one.counts.allowed && !one.counts.denied) {
		free(reason);
		return true;
	}
	suggest_add(&suggestion->seen, &one.counts);
	if (reason) {
		suggest_leave_out(suggestion, cli_log_clean_text(reason), &one.counts);
		free(reason);
		return true;
	}
	end = from_outside ? &flow->source : to_outside ? &flow->destination : NULL;
	if (end)
		one.outside = xstrdup(ip_format(&end->addresses.address, address));
	note_flow(observing, flow, &one);
	return true;
}

/* --- From flows to points ------------------------------------------------------------------- */

static struct suggest_point *find_point(struct observing *observing, const struct observed *one)
{
	struct suggestion *suggestion = observing->suggestion;
	char *key = xasprintf("%s\n%s\n%x", one->from, one->to, one->range.first);
	size_t number = (uintptr_t)shash_find_data(&observing->points, key);

	if (!number) {
		if (suggestion->n_points == suggestion->allocated_points)
			suggestion->points = x2nrealloc(suggestion->points,
				&suggestion->allocated_points, sizeof(*suggestion->points));
		number = ++suggestion->n_points;
		suggestion->points[number - 1] = (struct suggest_point){.from = one->from,
			.to = one->to,
			.range = one->range,
			.example = xstrdup(one->pair)};
		shash_add(&observing->points, key, (void *)number);
	}
	free(key);
	return &suggestion->points[number - 1];
}

static bool is_scan(struct observing *observing, const struct observed *one)
{
	return !one->counts.allowed && sset_count(refused_by(observing, one)) >= SCAN_SERVICES;
}

static void add_point(struct observing *observing, const struct observed *one)
{
	struct suggestion *suggestion = observing->suggestion;
	struct suggest_point *point;

	if (is_scan(observing, one)) {
		suggest_leave_out(suggestion,
			xasprintf("a scan: %s tried %zu services of zone %s in vain", one->source,
				sset_count(refused_by(observing, one)), one->to),
			&one->counts);
		return;
	}
	/* Many who knock once are the noise of the internet, whatever they come to together. */
	if (one->outside && !one->counts.allowed &&
		one->counts.denied < (uint64_t)suggestion->at_least) {
		suggest_leave_out(suggestion,
			xasprintf("of outside addresses in no zone, each refused fewer than %lld "
				  "times",
				(long long int)suggestion->at_least),
			&one->counts);
		return;
	}
	if (one->outside && !svec_contains_unsorted(&suggestion->outside, one->outside)) {
		if (suggestion->outside.n >= OUTSIDE_MAX) {
			suggest_leave_out(suggestion,
				xasprintf("of more than %d outside addresses in no zone",
					OUTSIDE_MAX),
				&one->counts);
			return;
		}
		svec_add(&suggestion->outside, one->outside);
	}
	point = find_point(observing, one);
	suggest_add(&point->counts, &one->counts);
	point->n_pairs++;
}

/* Drops what was refused too seldom to be meant. */
static void drop_rare(struct suggestion *suggestion)
{
	size_t n = 0;

	for (size_t i = 0; i < suggestion->n_points; i++) {
		struct suggest_point *point = &suggestion->points[i];
		char service[SERVICE_TEXT_MAX];

		if (point->counts.allowed ||
			point->counts.denied >= (uint64_t)suggestion->at_least) {
			suggestion->points[n++] = *point;
			continue;
		}
		suggest_leave_out(suggestion,
			xasprintf("refused fewer than %lld times: %s, %s",
				(long long int)suggestion->at_least, point->example,
				service_format(&point->range, service)),
			&point->counts);
		free(point->example);
	}
	suggestion->n_points = n;
}

void suggest_observe(struct suggestion *suggestion)
{
	struct observing observing = {
		.suggestion = suggestion,
		.points = SHASH_INITIALIZER(&observing.points),
		.refused = SHASH_INITIALIZER(&observing.refused),
	};
	struct log_flow_query query = {
		.filter = suggestion->answer->query.filter,
		.by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_SOURCE |
		      LOG_FLOW_DESTINATION | LOG_FLOW_SOURCE_ADDRESS |
		      LOG_FLOW_DESTINATION_ADDRESS | LOG_FLOW_SERVICE | LOG_FLOW_TYPE |
		      LOG_FLOW_RULE | LOG_FLOW_KIND | LOG_FLOW_REASON,
	};
	struct shash_node *node;

	query.filter.zone = suggestion->zone;
	cli_log_answer_ask(suggestion->answer, &query, add_flow, &observing);
	for (size_t i = 0; i < observing.n; i++) {
		add_point(&observing, &observing.at[i]);
		free(observing.at[i].source);
		free(observing.at[i].pair);
		free(observing.at[i].outside);
	}
	drop_rare(suggestion);
	shash_destroy(&observing.points);
	SHASH_FOR_EACH (node, &observing.refused)
		sset_destroy(node->data);
	shash_destroy_free_data(&observing.refused);
	free(observing.at);
}
