/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stored traffic under another policy.  Called by `cordon policy plan`, on its thread.
 *
 * Who an end was is found out once for each combination of port, tags and VM that the log has, and
 * kept; what is left for every record are a few look-ups and the verdicts.
 */
#include "log/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/arena.h"
#include "log/store.h"
#include "zones/name_table.h"

enum {
	PARTY_KEY_MAX = 1024,
	PARTIES_MAX = DICTIONARY_MAX / 2, /* Kept; past that, all are found out anew. */
	TAGS_MAX = 256,
	PROGRESS_RECORDS = 1 << 16, /* Between two calls of progress(). */
};

/* Who an end was. */
struct party {
	int endpoint; /* Today's port of that name, or VIEW_NO_ENDPOINT. */
	bool is_vnic;
	uint16_t zone_before, zone_after; /* Of a vNIC, by its tags as recorded. */
};

struct replay_state {
	struct log_replay *replay;
	struct name_table hosts, ports; /* Ports in the scope of their host. */
	struct dictionary by_key;	/* Party number + 1. */
	struct party *parties;
	size_t n_parties, allocated;
};

/* --- Who is who ----------------------------------------------------------------------------- */

static void enter_endpoints(struct replay_state *state)
{
	const struct policy_view *view = state->replay->after;

	for (size_t i = 0; i < view->n && i <= INT32_MAX; i++) {
		int host = name_table_find(&state->hosts, 0, view->endpoints[i].host);

		if (host == NAME_NONE) {
			host = (int)i;
			name_table_insert(&state->hosts, 0, view->endpoints[i].host, (uint32_t)i);
		}
		name_table_insert(
			&state->ports, (uint32_t)host, view->endpoints[i].port, (uint32_t)i);
	}
}

static int find_endpoint(const struct replay_state *state, const char *host, const char *port)
{
	int scope = name_table_find(&state->hosts, 0, host);

	return scope == NAME_NONE ? NAME_NONE
				  : name_table_find(&state->ports, (uint32_t)scope, port);
}

/* Splits "app=shop tier=web" in place; no tag holds a blank. */
static size_t split_tags(char *text, const char *tags[TAGS_MAX])
{
	char *rest = NULL;
	size_t n = 0;

	for (char *tag = strtok_r(text, " ", &rest); tag && n < TAGS_MAX;
		tag = strtok_r(NULL, " ", &rest))
		tags[n++] = tag;
	return n;
}

static void find_zones(
	const struct replay_state *state, const struct log_party *from, struct party *party)
{
	const char *tags[TAGS_MAX];
	char *text = strdup(from->tags);
	size_t n = text ? split_tags(text, tags) : 0;

	party->zone_before = zone_of_tags(state->replay->before->policy, tags, n, NULL);
	party->zone_after = zone_of_tags(state->replay->after->policy, tags, n, NULL);
	free(text);
}

/* Of a port that is gone, tags or a VM tell that it was a vNIC. */
static void find_out(const struct replay_state *state, const char *host,
	const struct log_party *from, struct party *party)
{
	int index = find_endpoint(state, host, from->port);

	*party = (struct party){.endpoint = VIEW_NO_ENDPOINT};
	if (index != NAME_NONE) {
		party->endpoint = index;
		party->is_vnic = !state->replay->after->endpoints[index].is_uplink;
	} else {
		party->is_vnic = *from->tags || *from->vm_name || *from->vm_id;
	}
	if (party->is_vnic)
		find_zones(state, from, party);
}

static size_t party_key(const char *host, const struct log_party *from, char key[PARTY_KEY_MAX])
{
	bool has_vm = *from->vm_name || *from->vm_id;
	int n = snprintf(
		key, PARTY_KEY_MAX, "%s%c%s%c%d%s", host, 0, from->port, 0, has_vm, from->tags);

	return n < PARTY_KEY_MAX ? (size_t)n : PARTY_KEY_MAX;
}

static struct party find_party(
	struct replay_state *state, const char *host, const struct log_party *from)
{
	char key[PARTY_KEY_MAX];
	size_t length = party_key(host, from, key);
	struct party party;
	uint32_t hash, id;

	if (length == PARTY_KEY_MAX) { /* Too long to be told from another. */
		find_out(state, host, from, &party);
		return party;
	}
	id = dictionary_find(&state->by_key, key, length, &hash);
	if (id)
		return state->parties[id - 1];
	find_out(state, host, from, &party);
	if (state->n_parties == PARTIES_MAX) {
		dictionary_clear(&state->by_key);
		state->n_parties = 0;
	}
	state->parties = zone_grow(
		state->parties, state->n_parties, &state->allocated, sizeof *state->parties);
	if (!dictionary_add(&state->by_key, key, length, hash, (uint32_t)state->n_parties + 1))
		state->parties[state->n_parties++] = party;
	return party;
}

/* --- Records -------------------------------------------------------------------------------- */

/* How many connections a record stands for that the policy decided on; those that it does not
 * describe are counted apart. */
static uint64_t connections_of(struct log_replay *replay, const struct log_record *record)
{
	switch (record->kind) {
	case LOG_START: replay->connections++; return 1;
	case LOG_END: /* Of one that was open before the span; else its start has counted. */
		if (record->start_ns >= replay->since_ns)
			return 0;
		replay->connections++;
		return 1;
	case LOG_DENIED:
		replay->held_back += record->suppressed;
		if (!record->packets_forward && record->suppressed)
			return 0;
		replay->refusals++;
		return 1;
	case LOG_GAP: replay->lost += record->packets_forward; return 0;
	default: return 0;
	}
}

static struct impact_end example_end(const struct log_party *from, const struct party *party)
{
	return (struct impact_end){.name = *from->vm_name   ? from->vm_name
					   : party->is_vnic ? from->port
							    : "",
		.address = from->address};
}

static void make_questions(const struct policy_view *view, const struct log_record *record,
	const struct party *source, const struct party *destination, bool is_after,
	struct impact_question *question)
{
	const struct zone_question service = {.protocol = record->protocol,
		.type = record->icmp_type,
		.code = record->icmp_code,
		.source_port = record->source.transport_port,
		.destination_port = record->destination.transport_port};
	struct connection_end from = policy_view_end(view, source->endpoint, source->is_vnic,
		is_after ? source->zone_after : source->zone_before, &record->source.address);
	struct connection_end to = policy_view_end(view, destination->endpoint,
		destination->is_vnic, is_after ? destination->zone_after : destination->zone_before,
		&record->destination.address);

	question->policy = view->policy;
	question->n = both_ends_questions(&from, &to, &service, question->questions);
}

static void judge(struct replay_state *state, const struct log_record *record, uint64_t n)
{
	struct log_replay *replay = state->replay;
	struct party source = find_party(state, record->host, &record->source);
	struct party destination = find_party(state, record->host, &record->destination);
	struct impact_end from = example_end(&record->source, &source);
	struct impact_end to = example_end(&record->destination, &destination);
	struct impact_question before, after;

	make_questions(replay->before, record, &source, &destination, false, &before);
	make_questions(replay->after, record, &source, &destination, true, &after);
	policy_impact_add(replay->impact, &before, &after, &from, &to, n, record->time_ns);
}

static bool add_record(const struct log_record *record, void *context)
{
	struct replay_state *state = context;
	struct log_replay *replay = state->replay;
	uint64_t n;

	if (!replay->first_ns)
		replay->first_ns = record->time_ns;
	if (++replay->records % PROGRESS_RECORDS == 0 && replay->progress)
		replay->progress(replay, record->time_ns);
	n = connections_of(replay, record);
	if (n)
		judge(state, record, n);
	return true;
}

int log_replay_run(struct log_replay *replay, char *error, size_t error_size)
{
	struct replay_state state = {.replay = replay};
	struct log_filter filter = LOG_FILTER_ANY;
	int rc;

	filter.since_ns = replay->since_ns;
	filter.until_ns = replay->until_ns;
	dictionary_init(&state.by_key);
	enter_endpoints(&state);
	rc = log_query(replay->directory, &filter, add_record, &state, error, error_size);
	name_table_free(&state.hosts);
	name_table_free(&state.ports);
	dictionary_free(&state.by_key);
	free(state.parties);
	return rc;
}
