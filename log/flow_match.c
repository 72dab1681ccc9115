/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a row of sums meets a filter.  Called by flows.c and timeline.c on the thread of whoever
 * asks.  log_filter_prepare() has found the parties and contexts that match; here they become sets
 * of bits.
 */
#include "log/flow_match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/filter.h"

/* --- Sets ----------------------------------------------------------------------------------- */

static bool ids_have(const struct log_ids *ids, uint32_t id)
{
	return id / 64 < ids->n_words && ids->bits[id / 64] >> id % 64 & 1;
}

static bool ids_add(struct log_ids *ids, uint32_t id)
{
	uint32_t n_words = (id / 64 + 1) * 2;
	uint64_t *bits;

	if (id / 64 >= ids->n_words) {
		bits = realloc(ids->bits, n_words * sizeof(*bits));
		if (!bits)
			return false;
		memset(bits + ids->n_words, 0, (n_words - ids->n_words) * sizeof(*bits));
		ids->bits = bits;
		ids->n_words = n_words;
	}
	ids->bits[id / 64] |= UINT64_C(1) << id % 64;
	return true;
}

/* Fills a set by a SELECT, whose parameter is `text`. */
static int ids_read(
	struct log_ids *ids, sqlite3 *db, bool wanted, const char *sql, const char *text)
{
	sqlite3_stmt *statement;
	int rc;

	if (!wanted)
		return SQLITE_OK;
	rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
	if (rc != SQLITE_OK)
		return rc;
	if (text)
		sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
	while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
		int64_t id = sqlite3_column_int64(statement, 0);

		if (id >= 0 && id <= INT32_MAX && !ids_add(ids, (uint32_t)id)) {
			rc = SQLITE_NOMEM;
			break;
		}
	}
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static bool asks_for_context(const struct log_filter *filter)
{
	return filter->kind >= 0 || filter->verdict >= 0 || filter->protocol >= 0;
}

static bool asks_for_simulation(const struct log_filter *filter)
{
	return filter->simulated >= 0 || filter->simulation;
}

int log_flow_match_open(
	struct log_flow_match *match, struct log_reader *reader, const struct log_filter *filter)
{
	sqlite3 *db = log_reader_db(reader);
	const struct {
		struct log_ids *ids;
		bool wanted;
		const char *sql, *text;
	} sets[] = {
		{&match->in_zone, filter->zone, "SELECT id FROM wanted_zone", NULL},
		{&match->of_vm, filter->vm, "SELECT id FROM wanted_vm", NULL},
		{&match->of_port, filter->port, "SELECT id FROM wanted_port", NULL},
		{&match->in_prefix, filter->prefix, "SELECT id FROM wanted_address", NULL},
		{&match->in_peer, filter->prefix && filter->peer, "SELECT id FROM wanted_peer",
			NULL},
		{&match->of_rule, filter->rule, "SELECT id FROM wanted_rule", NULL},
		{&match->of_context, asks_for_context(filter), "SELECT id FROM wanted_context",
			NULL},
		{&match->of_simulation,
			asks_for_simulation(filter) &&
				log_bucket_format(db) >= LOG_BUCKET_FORMAT_SIMULATED,
			"SELECT id FROM wanted_simulated", NULL},
		{&match->zone_names, filter->zone, "SELECT id FROM strings WHERE text = ?",
			filter->zone},
	};
	int rc = SQLITE_OK;

	*match = (struct log_flow_match){.filter = filter, .names = log_reader_names(reader)};
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]) && rc == SQLITE_OK; i++)
		rc = ids_read(sets[i].ids, db, sets[i].wanted, sets[i].sql, sets[i].text);
	return rc;
}

void log_flow_match_close(struct log_flow_match *match)
{
	free(match->in_zone.bits);
	free(match->of_vm.bits);
	free(match->of_port.bits);
	free(match->in_prefix.bits);
	free(match->in_peer.bits);
	free(match->of_rule.bits);
	free(match->of_context.bits);
	free(match->of_simulation.bits);
	free(match->zone_names.bits);
}

/* --- Rows ----------------------------------------------------------------------------------- */

static enum log_meets both(enum log_meets a, enum log_meets b)
{
	return a < b ? a : b;
}

static enum log_meets either(enum log_meets a, enum log_meets b)
{
	return a > b ? a : b;
}

/* One of an end's names.  A row that stands for several parties only might be about it. */
static enum log_meets party_meets(
	const struct log_ids *ids, uint32_t party, uint32_t lumped, unsigned int field)
{
	if (lumped & field)
		return LOG_MEETS_IN_PART;
	return ids_have(ids, party) ? LOG_MEETS : LOG_MEETS_NOT;
}

static enum log_meets either_party(const struct log_ids *ids, const struct log_flow_key *key)
{
	return either(party_meets(ids, key->source, key->lumped, LOG_FLOW_SOURCE),
		party_meets(ids, key->destination, key->lumped, LOG_FLOW_DESTINATION));
}

/* One end's addresses, of which there may be several. */
static enum log_meets address_meets(const struct log_ids *ids, const struct ip_prefix *wanted,
	uint32_t party, const struct ip_prefix *addresses, bool lumped)
{
	if (ids_have(ids, party))
		return LOG_MEETS;
	if (!addresses->length)
		return lumped ? LOG_MEETS_IN_PART : LOG_MEETS_NOT;
	if (addresses->length >= wanted->length)
		return ip_prefix_contains(wanted, &addresses->address) ? LOG_MEETS : LOG_MEETS_NOT;
	return ip_prefix_contains(addresses, &wanted->address) ? LOG_MEETS_IN_PART : LOG_MEETS_NOT;
}

static enum log_meets source_meets(
	const struct log_ids *ids, const struct ip_prefix *wanted, const struct log_flow_key *key)
{
	const struct ip_prefix addresses = {key->source_address, key->source_length};

	return address_meets(
		ids, wanted, key->source, &addresses, key->lumped & LOG_FLOW_SOURCE_ADDRESS);
}

static enum log_meets destination_meets(
	const struct log_ids *ids, const struct ip_prefix *wanted, const struct log_flow_key *key)
{
	const struct ip_prefix addresses = {key->destination_address, key->destination_length};

	return address_meets(ids, wanted, key->destination, &addresses,
		key->lumped & LOG_FLOW_DESTINATION_ADDRESS);
}

static enum log_meets prefix_meets(
	const struct log_flow_match *match, const struct log_flow_key *key)
{
	const struct ip_prefix *prefix = match->filter->prefix, *peer = match->filter->peer;
	enum log_meets from = source_meets(&match->in_prefix, prefix, key);
	enum log_meets to = destination_meets(&match->in_prefix, prefix, key);

	if (!peer)
		return either(from, to);
	return either(both(from, destination_meets(&match->in_peer, peer, key)),
		both(source_meets(&match->in_peer, peer, key), to));
}

static enum log_meets service_meets(
	const struct log_flow_match *match, const struct log_flow_key *key)
{
	if (key->lumped & LOG_FLOW_SERVICE)
		return LOG_MEETS_IN_PART;
	return key->port == match->filter->transport_port ? LOG_MEETS : LOG_MEETS_NOT;
}

static bool decision_meets(const struct log_flow_match *match, uint32_t decision)
{
	const struct log_filter *filter = match->filter;

	return (!filter->rule || ids_have(&match->of_rule, decision)) &&
	       (!asks_for_context(filter) || ids_have(&match->of_context, decision)) &&
	       (!asks_for_simulation(filter) || ids_have(&match->of_simulation, decision));
}

enum log_meets log_flow_match_row(
	const struct log_flow_match *match, const struct log_flow_key *key)
{
	const struct log_filter *filter = match->filter;
	enum log_meets meets = decision_meets(match, key->decision) ? LOG_MEETS : LOG_MEETS_NOT;

	/* Lumped parties keep their zone. */
	if (meets && filter->zone && !ids_have(&match->in_zone, key->source) &&
		!ids_have(&match->in_zone, key->destination))
		return LOG_MEETS_NOT;
	if (meets && filter->vm)
		meets = both(meets, either_party(&match->of_vm, key));
	if (meets && filter->port)
		meets = both(meets, either_party(&match->of_port, key));
	if (meets && filter->prefix)
		meets = both(meets, prefix_meets(match, key));
	if (meets && filter->transport_port >= 0)
		meets = both(meets, service_meets(match, key));
	return meets;
}

bool log_flow_match_minute(const struct log_flow_match *match, const struct log_flow_key *key)
{
	bool in_zone = !match->filter->zone ||
		       (key->source && ids_have(&match->zone_names, key->source - 1)) ||
		       (key->destination && ids_have(&match->zone_names, key->destination - 1));

	return in_zone && decision_meets(match, key->decision);
}
