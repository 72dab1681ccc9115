/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a change of policy does to traffic.  Filled by the replay of the stored log, on the command
 * line's thread, and by the switch's evaluation of live connections, on a thread of its own.
 */
#include "zones/policy_impact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/arena.h"

const char *impact_kind_name(unsigned int kind)
{
	static const char *const names[] = {[IMPACT_DENIED] = "denied",
		[IMPACT_ALLOWED] = "allowed",
		[IMPACT_WOULD_DENY] = "would-deny",
		[IMPACT_WOULD_ALLOW] = "would-allow",
		[IMPACT_NOW_WOULD_DENY] = "now-would-deny",
		[IMPACT_NOW_WOULD_ALLOW] = "now-would-allow"};

	return kind < IMPACT_N_KINDS ? names[kind] : "?";
}

void policy_impact_init(struct policy_impact *impact)
{
	*impact = (struct policy_impact){0};
	dictionary_init(&impact->by_key);
}

void policy_impact_free(struct policy_impact *impact)
{
	for (size_t i = 0; i < impact->n; i++)
		free(impact->rows[i]);
	free(impact->rows);
	dictionary_free(&impact->by_key);
}

/* --- Rows ----------------------------------------------------------------------------------- */

/* What tells rows apart.  No padding: it is compared as it is. */
struct row_key {
	uint32_t rule_before, rule_after, point;
	uint16_t source_zone, destination_zone;
	uint32_t kind;
};

/* The row with this key, made if there is room for it; else NULL. */
static struct impact_row *find_row(struct policy_impact *impact, const struct row_key *key)
{
	uint32_t hash, id = dictionary_find(&impact->by_key, key, sizeof *key, &hash);
	struct impact_row *row;

	if (id)
		return impact->rows[id - 1];
	if (impact->n == IMPACT_ROWS_MAX)
		return NULL;
	impact->rows = zone_grow(impact->rows, impact->n, &impact->allocated, sizeof *impact->rows);
	if (dictionary_add(&impact->by_key, key, sizeof *key, hash, (uint32_t)impact->n + 1))
		return NULL;
	row = zone_allocate(1, sizeof *row);
	row->kind = (uint8_t)key->kind;
	row->point = key->point;
	row->rule_before = key->rule_before;
	row->rule_after = key->rule_after;
	row->source_zone = key->source_zone;
	row->destination_zone = key->destination_zone;
	impact->rows[impact->n++] = row;
	return row;
}

/* Cuts a name that is too long, before a character of several bytes and not within it. */
static void copy_name(char to[IMPACT_NAME_MAX], const char *name)
{
	size_t n = strlen(name);

	if (n >= IMPACT_NAME_MAX) {
		for (n = IMPACT_NAME_MAX - 1; n && ((unsigned char)name[n] & 0xc0) == 0x80;)
			n--;
	}
	memcpy(to, name, n);
	to[n] = '\0';
}

static bool is_example(const struct impact_example *example, const struct impact_end *source,
	const struct impact_end *destination)
{
	return !memcmp(&example->source, &source->address, sizeof example->source) &&
	       !memcmp(&example->destination, &destination->address, sizeof example->destination) &&
	       !strcmp(example->source_name, source->name) &&
	       !strcmp(example->destination_name, destination->name);
}

/* The example with these ends, whose names fit, made if there is room for it; else NULL. */
static struct impact_example *find_example(struct impact_row *row, const struct impact_end *source,
	const struct impact_end *destination)
{
	struct impact_example *example;

	for (size_t i = 0; i < row->n_examples; i++) {
		if (is_example(&row->examples[i], source, destination))
			return &row->examples[i];
	}
	if (row->n_examples == IMPACT_EXAMPLES_MAX)
		return NULL;
	example = &row->examples[row->n_examples++];
	example->source = source->address;
	example->destination = destination->address;
	strcpy(example->source_name, source->name);
	strcpy(example->destination_name, destination->name);
	return example;
}

/* --- Counting ------------------------------------------------------------------------------- */

/* A group of connections that are alike. */
struct counted {
	const struct impact_end *source, *destination;
	uint32_t point;
	uint64_t connections, last_ns;
};

static void count(struct policy_impact *impact, enum impact_kind kind,
	const struct both_ends_verdict *before, const struct both_ends_verdict *after,
	const struct counted *counted)
{
	const struct row_key key = {.rule_before = before->verdict.rule,
		.rule_after = after->verdict.rule,
		.point = counted->point,
		.source_zone = after->source_zone,
		.destination_zone = after->destination_zone,
		.kind = kind};
	struct impact_row *row = find_row(impact, &key);
	struct impact_example *example;

	impact->changed[kind] += counted->connections;
	if (!row) {
		impact->left_out += counted->connections;
		return;
	}
	row->action_before = before->verdict.action;
	row->action_after = after->verdict.action;
	row->connections += counted->connections;
	if (counted->last_ns > row->last_ns)
		row->last_ns = counted->last_ns;
	example = find_example(row, counted->source, counted->destination);
	if (!example) {
		row->others += counted->connections;
		return;
	}
	example->connections += counted->connections;
	if (counted->last_ns > example->last_ns)
		example->last_ns = counted->last_ns;
}

/* Counts a difference, as refused or as allowed, if there is one. */
static void compare(struct policy_impact *impact, enum impact_kind denied,
	const struct both_ends_verdict *before, const struct both_ends_verdict *after,
	const struct counted *counted)
{
	bool was_allowed = before->verdict.action == ZONE_ALLOW;
	bool is_allowed = after->verdict.action == ZONE_ALLOW;

	if (was_allowed && !is_allowed)
		count(impact, denied, before, after, counted);
	else if (!was_allowed && is_allowed)
		count(impact, denied + 1, before, after, counted);
}

/* The same with what one policy simulates. */
static void compare_simulated(struct policy_impact *impact, enum impact_kind denied,
	const struct impact_question *question, const struct both_ends_verdict *enforced,
	const struct counted *counted)
{
	struct both_ends_verdict simulated;

	if (both_ends_decide_simulated(
		    question->policy, question->questions, question->n, &simulated))
		compare(impact, denied, enforced, &simulated, counted);
}

void policy_impact_add(struct policy_impact *impact, const struct impact_question *before,
	const struct impact_question *after, const struct impact_end *source,
	const struct impact_end *destination, uint64_t connections, uint64_t last_ns)
{
	const struct zone_question *service = before->questions;
	char source_name[IMPACT_NAME_MAX], destination_name[IMPACT_NAME_MAX];
	const struct impact_end from = {.name = source_name, .address = source->address};
	const struct impact_end to = {.name = destination_name, .address = destination->address};
	struct both_ends_verdict old, new;
	struct counted counted = {.source = &from,
		.destination = &to,
		.connections = connections,
		.last_ns = last_ns};

	impact->judged += connections;
	if (!before->n || !after->n)
		return; /* From uplink to uplink: no zone is asked. */
	counted.point = service_point(
		service->protocol, service->type, service->code, service->destination_port);
	copy_name(source_name, source->name);
	copy_name(destination_name, destination->name);
	both_ends_decide(before->policy, before->questions, before->n, &old);
	both_ends_decide(after->policy, after->questions, after->n, &new);
	compare(impact, IMPACT_DENIED, &old, &new, &counted);
	compare_simulated(impact, IMPACT_WOULD_DENY, after, &new, &counted);
	compare_simulated(impact, IMPACT_NOW_WOULD_DENY, before, &old, &counted);
}

/* --- Order and names ------------------------------------------------------------------------ */

static int compare_examples(const void *a_, const void *b_)
{
	const struct impact_example *a = a_, *b = b_;

	if (a->connections != b->connections)
		return a->connections > b->connections ? -1 : 1;
	return a->last_ns > b->last_ns ? -1 : a->last_ns < b->last_ns;
}

static int compare_rows(const void *a_, const void *b_)
{
	const struct impact_row *a = *(struct impact_row *const *)a_;
	const struct impact_row *b = *(struct impact_row *const *)b_;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->connections != b->connections)
		return a->connections > b->connections ? -1 : 1;
	if (a->last_ns != b->last_ns)
		return a->last_ns > b->last_ns ? -1 : 1;
	return a->point < b->point ? -1 : a->point > b->point;
}

void policy_impact_sort(struct policy_impact *impact)
{
	for (size_t i = 0; i < impact->n; i++)
		qsort(impact->rows[i]->examples, impact->rows[i]->n_examples,
			sizeof *impact->rows[i]->examples, compare_examples);
	if (impact->n)
		qsort(impact->rows, impact->n, sizeof *impact->rows, compare_rows);
}

static void name_rule(const struct zone_policy *policy, uint32_t rule, char text[IMPACT_RULE_MAX])
{
	struct zone_rule_info info;
	char name[160];

	if (zone_rule_info(policy, rule, &info, name))
		snprintf(text, IMPACT_RULE_MAX, "%.63s/%.159s", info.policy, info.rule);
	else
		snprintf(text, IMPACT_RULE_MAX, "quarantine");
}

void impact_row_names(const struct impact_row *row, const struct zone_policy *before,
	const struct zone_policy *after, struct impact_row_names *names)
{
	bool of_old = row->kind == IMPACT_NOW_WOULD_DENY || row->kind == IMPACT_NOW_WOULD_ALLOW;
	bool of_both = row->kind == IMPACT_DENIED || row->kind == IMPACT_ALLOWED;
	const struct service_range range = {row->point, row->point};
	const struct zone_policy *last = of_old ? before : after;

	if (row->point)
		service_format(&range, names->service);
	else
		snprintf(names->service, sizeof names->service, "not IP");
	name_rule(of_both || of_old ? before : after, row->rule_before, names->rule_before);
	name_rule(last, row->rule_after, names->rule_after);
	names->source_zone = zone_info(last, row->source_zone).name;
	names->destination_zone = zone_info(last, row->destination_zone).name;
}
