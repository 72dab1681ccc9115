/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The summary of a traffic log: who talked to whom, by which rule.  Called by `cordon log summary`,
 * on its thread.  Goes through the matching records once and keeps one row for each group, so its
 * memory depends on the number of groups alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/dictionary.h"
#include "log/store.h"

struct group {
	struct log_summary_row row; /* Its names lie in `names`. */
	char *names;
};

struct summary {
	const struct log_filter *filter;
	struct group *groups;
	size_t n, allocated;
	struct dictionary by_key; /* Group number + 1. */
	bool out_of_memory;
};

enum {
	NUMBERS = 5, /* Bytes of a key before its names. */
	NAMES_MAX = 2048,
	PORTS_APART_MAX = DICTIONARY_MAX / 2, /* Groups, before ports are lumped together. */
};

static bool has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_DCCP;
}

/* The group's key: numbers, then the four names with their NULs.  Returns its length. */
static size_t make_key(const struct summary *summary, const struct log_record *record,
	uint16_t port, char key[NAMES_MAX])
{
	bool simulation = summary->filter->simulation;
	int n;

	key[0] = (char)record->protocol;
	key[1] = (char)record->verdict;
	key[2] = (char)(simulation ? record->simulated : 0);
	memcpy(key + 3, &port, sizeof(port));
	n = snprintf(key + NUMBERS, NAMES_MAX - NUMBERS, "%s%c%s%c%s%c%s", record->source.zone, 0,
		record->destination.zone, 0, simulation ? record->simulated_policy : record->policy,
		0, simulation ? record->simulated_rule : record->rule);
	return n < NAMES_MAX - NUMBERS ? NUMBERS + (size_t)n + 1 : NAMES_MAX;
}

/* A row for a new key. */
static struct group *add_group(struct summary *summary, const char *key, size_t length)
{
	struct group *group;
	struct log_summary_row *row;

	if (summary->n == summary->allocated) {
		size_t allocated = summary->allocated ? summary->allocated * 2 : 64;
		struct group *groups = realloc(summary->groups, allocated * sizeof(*groups));

		if (!groups)
			return NULL;
		summary->groups = groups;
		summary->allocated = allocated;
	}
	group = &summary->groups[summary->n];
	memset(group, 0, sizeof(*group));
	/* With NULs behind, should a name have been too long for the key. */
	group->names = calloc(1, length);
	if (!group->names)
		return NULL;
	memcpy(group->names, key + NUMBERS, length - NUMBERS);
	row = &group->row;
	row->protocol = (uint8_t)key[0];
	row->verdict = (uint8_t)key[1];
	row->simulated = (uint8_t)key[2];
	memcpy(&row->destination_port, key + 3, sizeof(row->destination_port));
	row->source_zone = group->names;
	row->destination_zone = row->source_zone + strlen(row->source_zone) + 1;
	row->policy = row->destination_zone + strlen(row->destination_zone) + 1;
	row->rule = row->policy + strlen(row->policy) + 1;
	summary->n++;
	return group;
}

/* What one record says of the number of connections; see the header. */
static uint64_t connections_of(const struct log_filter *filter, const struct log_record *record)
{
	switch (record->kind) {
	case LOG_START: return 1;
	case LOG_DENIED:
	case LOG_SPOOFED:
	case LOG_LIMIT:
	case LOG_WOULD_DENY:
		/* Without a packet it only tells what was held back. */
		return (record->packets_forward || !record->suppressed) +
		       (uint64_t)record->suppressed;
	case LOG_END: return record->start_ns < filter->since_ns || filter->kind == LOG_END;
	default: return filter->kind == record->kind;
	}
}

static void count(struct summary *summary, struct group *group, const struct log_record *record)
{
	struct log_summary_row *row = &group->row;

	row->connections += connections_of(summary->filter, record);
	if (record->kind != LOG_START && record->kind != LOG_UPDATE) {
		row->packets += record->packets_forward + record->packets_reverse;
		row->bytes += record->bytes_forward + record->bytes_reverse;
	}
	if (record->time_ns > row->last_ns)
		row->last_ns = record->time_ns;
}

static struct group *find_group(struct summary *summary, const struct log_record *record)
{
	uint16_t port = has_ports(record->protocol) ? record->destination.transport_port : 0;
	char key[NAMES_MAX];
	size_t length = make_key(summary, record, port, key);
	struct group *group;
	uint32_t hash, id = dictionary_find(&summary->by_key, key, length, &hash);

	if (!id && port && summary->n >= PORTS_APART_MAX) {
		length = make_key(summary, record, 0, key);
		id = dictionary_find(&summary->by_key, key, length, &hash);
	}
	if (id)
		return &summary->groups[id - 1];
	group = add_group(summary, key, length);
	if (group && dictionary_add(&summary->by_key, key, length, hash, (uint32_t)summary->n))
		group = NULL;
	return group;
}

/* What would be denied was allowed: it has other records, or wants none. */
static bool is_counted(const struct log_filter *filter, const struct log_record *record)
{
	return record->kind != LOG_WOULD_DENY || filter->simulation ||
	       filter->kind == LOG_WOULD_DENY;
}

static bool add_record(const struct log_record *record, void *context)
{
	struct summary *summary = context;
	struct group *group;

	if (record->kind == LOG_GAP || !is_counted(summary->filter, record))
		return true;
	group = find_group(summary, record);
	if (group)
		count(summary, group, record);
	else
		summary->out_of_memory = true;
	return group;
}

/* Most connections first; then by what is newest. */
static int compare(const void *left, const void *right)
{
	const struct log_summary_row *a = &((const struct group *)left)->row;
	const struct log_summary_row *b = &((const struct group *)right)->row;

	if (a->connections != b->connections)
		return a->connections > b->connections ? -1 : 1;
	return a->last_ns > b->last_ns ? -1 : a->last_ns < b->last_ns;
}

static void give_out(struct summary *summary,
	bool (*each)(const struct log_summary_row *row, void *context), void *context)
{
	size_t limit = summary->filter->limit ? summary->filter->limit : summary->n;

	if (summary->n)
		qsort(summary->groups, summary->n, sizeof(*summary->groups), compare);
	for (size_t i = 0; i < summary->n && i < limit; i++)
		if (!each(&summary->groups[i].row, context))
			break;
}

int log_summarize(const char *directory, const struct log_filter *filter,
	bool (*each)(const struct log_summary_row *row, void *context), void *context, char *error,
	size_t error_size)
{
	struct summary summary = {.filter = filter};
	struct log_filter all = *filter;
	int rc;

	all.limit = 0;
	all.with_gaps = false;
	dictionary_init(&summary.by_key);
	rc = log_query(directory, &all, add_record, &summary, error, error_size);
	if (summary.out_of_memory) {
		snprintf(error, error_size, "no memory for a summary of so many groups");
		rc = -ENOMEM;
	}
	if (!rc || rc == -EIO)
		give_out(&summary, each, context);
	for (size_t i = 0; i < summary.n; i++)
		free(summary.groups[i].names);
	free(summary.groups);
	dictionary_free(&summary.by_key);
	return rc;
}
