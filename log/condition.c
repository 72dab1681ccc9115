/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a filter the index of a bucket file can answer.  Called by reader.c on the thread of
 * whoever asks.
 *
 * Only what narrows is worth a condition: nearly all records are of allowed connections, so a
 * filter for these is left to the look at each record, as are conditions with too many terms.
 */
#include "log/condition.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/bucket.h"
#include "zones/zone.h"

enum {
	FEW_CANDIDATES = 128, /* Looking at these costs less than narrowing on. */
	WORTH_LOOKING_UP = 3, /* At most one record in so many. */
};

/* --- Conditions ----------------------------------------------------------------------------- */

/* The condition that comes next; it counts only once it is kept. */
static struct log_condition *begin(struct log_conditions *conditions)
{
	struct log_condition *condition = &conditions->at[conditions->n];

	condition->n = 0;
	return condition;
}

static bool add_term(struct log_condition *condition, uint64_t term)
{
	if (condition->n == LOG_CONDITION_TERMS)
		return false;
	condition->terms[condition->n++] = term;
	return true;
}

/* Adds a term for each id that the SELECT gives.  *fits: there was room for all. */
static int add_ids(sqlite3 *db, const char *sql, enum log_term_kind kind,
	struct log_condition *condition, bool *fits)
{
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

	*fits = true;
	if (rc != SQLITE_OK)
		return rc;
	while (*fits && (rc = sqlite3_step(statement)) == SQLITE_ROW)
		*fits = add_term(
			condition, log_term_of(kind, (uint32_t)sqlite3_column_int64(statement, 0)));
	sqlite3_finalize(statement);
	return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Without a term nothing can match. */
static void keep(struct log_conditions *conditions, const struct log_condition *condition)
{
	if (condition->n)
		conditions->n++;
	else
		conditions->nothing = true;
}

/* One of the ids that the SELECT gives must occur. */
static int require_ids(sqlite3 *db, struct log_conditions *conditions, bool wanted, const char *sql,
	enum log_term_kind kind)
{
	struct log_condition *condition = begin(conditions);
	bool fits;
	int rc;

	if (!wanted)
		return SQLITE_OK;
	rc = add_ids(db, sql, kind, condition, &fits);
	if (rc == SQLITE_OK && fits)
		keep(conditions, condition);
	return rc;
}

/* Of contexts only decisions are indexed, which have no more than log_indexer_decision() leaves. */
#define DECISIONS_OF(table)                                                                        \
	"SELECT id FROM contexts WHERE id IN " table " AND tcp_flags = 0 AND vlan = 0 AND vni = 0" \
	" AND kind NOT IN (SELECT number FROM names WHERE class = 'kind'"                          \
	" AND name IN ('update', 'end'))"

/* Records whose kind and verdict the filter asks for, if these are few. */
static void require_class(struct log_conditions *conditions, const struct log_filter *filter)
{
	struct log_condition *condition = begin(conditions);
	bool refused = filter->verdict == ZONE_DENY || filter->verdict == ZONE_REJECT;

	if (!refused && filter->kind <= LOG_END && !filter->simulation)
		return;
	for (unsigned int kind = 0; kind < LOG_N_KINDS; kind++) {
		if (filter->kind >= 0 && kind != (unsigned int)filter->kind)
			continue;
		if (filter->simulation && kind != LOG_WOULD_DENY && kind != LOG_DENIED)
			continue;
		for (unsigned int verdict = ZONE_ALLOW; verdict <= ZONE_PASS; verdict++)
			if (filter->verdict < 0 || verdict == (unsigned int)filter->verdict)
				add_term(condition, log_term_class(kind, verdict));
	}
	keep(conditions, condition);
}

static void require_service(struct log_conditions *conditions, int port)
{
	struct log_condition *condition = begin(conditions);

	if (port <= 0 || port >= LOG_PORTS_INDEXED)
		return;
	add_term(condition, log_term_of(LOG_TERM_PORT, (uint32_t)port));
	keep(conditions, condition);
}

/* An address within the prefix: of a party, or of a record if the prefix is no wider than what is
 * indexed. */
static int require_prefix(sqlite3 *db, struct log_conditions *conditions,
	const struct ip_prefix *prefix, const char *table)
{
	struct log_condition *condition = begin(conditions);
	char sql[80];
	bool fits;
	int rc;

	if (!prefix || prefix->length < log_term_network_length(&prefix->address))
		return SQLITE_OK;
	add_term(condition, prefix->length == 128 ? log_term_address(&prefix->address)
						  : log_term_network(&prefix->address));
	snprintf(sql, sizeof(sql), "SELECT id FROM %s", table);
	rc = add_ids(db, sql, LOG_TERM_PARTY, condition, &fits);
	if (rc == SQLITE_OK && fits)
		keep(conditions, condition);
	return rc;
}

/* Those with the fewest terms are looked up first. */
static int compare(const void *left, const void *right)
{
	const struct log_condition *a = left, *b = right;

	return (a->n > b->n) - (a->n < b->n);
}

int log_conditions_find(
	sqlite3 *db, const struct log_filter *filter, struct log_conditions *conditions)
{
	int rc;

	memset(conditions, 0, sizeof(*conditions));
	if (log_bucket_format(db) < LOG_BUCKET_FORMAT_INDEXED)
		return SQLITE_OK;
	require_class(conditions, filter);
	require_service(conditions, filter->transport_port);
	rc = require_ids(db, conditions, filter->vm, "SELECT id FROM wanted_vm", LOG_TERM_PARTY);
	if (rc == SQLITE_OK)
		rc = require_ids(
			db, conditions, filter->port, "SELECT id FROM wanted_port", LOG_TERM_PARTY);
	if (rc == SQLITE_OK)
		rc = require_ids(
			db, conditions, filter->zone, "SELECT id FROM wanted_zone", LOG_TERM_PARTY);
	if (rc == SQLITE_OK)
		rc = require_prefix(db, conditions, filter->prefix, "wanted_address");
	if (rc == SQLITE_OK && filter->prefix)
		rc = require_prefix(db, conditions, filter->peer, "wanted_peer");
	if (rc == SQLITE_OK)
		rc = require_ids(db, conditions, filter->rule, DECISIONS_OF("wanted_rule"),
			LOG_TERM_DECISION);
	if (rc == SQLITE_OK)
		rc = require_ids(db, conditions, filter->simulated >= 0,
			DECISIONS_OF("wanted_simulated"), LOG_TERM_DECISION);
	if (filter->with_gaps)
		for (unsigned int verdict = ZONE_ALLOW; verdict <= ZONE_PASS; verdict++)
			add_term(&conditions->gaps, log_term_class(LOG_GAP, verdict));
	qsort(conditions->at, conditions->n, sizeof(conditions->at[0]), compare);
	return rc;
}

/* --- Pieces --------------------------------------------------------------------------------- */

void log_pieces_free(struct log_pieces *pieces)
{
	free(pieces->at);
	memset(pieces, 0, sizeof(*pieces));
}

static int append(struct log_pieces *pieces, const struct log_piece *piece)
{
	if (piece->low > piece->high)
		return SQLITE_OK;
	if (pieces->n == pieces->allocated) {
		size_t allocated = pieces->allocated ? pieces->allocated * 2 : 64;
		struct log_piece *at = realloc(pieces->at, allocated * sizeof(*at));

		if (!at)
			return SQLITE_NOMEM;
		pieces->at = at;
		pieces->allocated = allocated;
	}
	pieces->at[pieces->n++] = *piece;
	return SQLITE_OK;
}

/* A row of `segments`; number 0 if it is none that the writer would make. */
static struct log_piece read_segment(sqlite3_stmt *row)
{
	int64_t number = sqlite3_column_int64(row, 0), n_shared = sqlite3_column_int64(row, 6);
	struct log_piece piece = {
		.low = (uint64_t)sqlite3_column_int64(row, 1),
		.high = (uint64_t)sqlite3_column_int64(row, 2),
		.number = (uint32_t)number,
		.n_shared = (uint32_t)n_shared,
		.n_records = (uint32_t)sqlite3_column_int64(row, 3),
	};

	if (number <= 0 || number >= LOG_SEGMENT_NUMBER_MAX || n_shared <= 0 ||
		n_shared > LOG_SEGMENT_SPAN || (n_shared & (n_shared - 1)) ||
		piece.high - piece.low >= LOG_SEGMENT_SPAN)
		piece.number = 0;
	return piece;
}

/* Adds what lies before the segment and is not indexed, and the segment itself if its time is asked
 * for.  *next is the number after what is added, *end the last one of a segment. */
static int add_segment(sqlite3_stmt *row, int64_t since, int64_t until, uint64_t *next,
	uint64_t *end, struct log_pieces *pieces)
{
	struct log_piece piece = read_segment(row), before = {.low = *next};
	bool outside = sqlite3_column_int64(row, 5) < since || sqlite3_column_int64(row, 4) > until;
	int rc = SQLITE_OK;

	/* Not in order, or not the writer's: its records are gone through with what follows. */
	if (!piece.number || piece.low <= *end)
		return SQLITE_OK;
	before.high = piece.low - 1;
	if (piece.low > *next)
		rc = append(pieces, &before);
	*next = piece.high + 1;
	*end = piece.high;
	return rc == SQLITE_OK && !outside ? append(pieces, &piece) : rc;
}

int log_pieces_find(sqlite3 *db, int64_t first, int64_t last, int64_t since, int64_t until,
	struct log_pieces *pieces)
{
	uint64_t next = (uint64_t)first, end = 0;
	sqlite3_stmt *statement;
	int rc = SQLITE_OK;

	if (log_bucket_format(db) >= LOG_BUCKET_FORMAT_INDEXED)
		rc = sqlite3_prepare_v2(db,
			"SELECT number, first, last, records, first_time, last_time, shared"
			" FROM segments WHERE last >= ? AND first <= ? ORDER BY number",
			-1, &statement, NULL);
	else
		return append(pieces, &(struct log_piece){.low = next, .high = (uint64_t)last});
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(statement, 1, first);
	sqlite3_bind_int64(statement, 2, last);
	while (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW)
		rc = add_segment(statement, since, until, &next, &end, pieces);
	sqlite3_finalize(statement);
	if (rc != SQLITE_DONE)
		return rc;
	return append(pieces, &(struct log_piece){.low = next, .high = (uint64_t)last});
}

/* --- Candidates ----------------------------------------------------------------------------- */

static int read_condition(const struct log_piece *piece, const struct log_condition *condition,
	sqlite3_stmt *statement, struct log_offsets *offsets)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; i < condition->n && rc == SQLITE_OK; i++)
		rc = log_posting_read(
			statement, piece->number, piece->n_shared, condition->terms[i], offsets);
	return rc;
}

/* Those that all conditions let pass. */
static int narrow(const struct log_piece *piece, const struct log_conditions *conditions,
	sqlite3_stmt *statement, struct log_offsets *candidates)
{
	int rc = SQLITE_OK;

	for (size_t i = 0; i < conditions->n && rc == SQLITE_OK; i++) {
		struct log_offsets more = {0};

		if (i && log_offsets_count(candidates) <= FEW_CANDIDATES)
			break;
		rc = read_condition(piece, &conditions->at[i], statement, i ? &more : candidates);
		for (size_t word = 0; i && word < LOG_SEGMENT_SPAN / 64; word++)
			candidates->bits[word] &= more.bits[word];
	}
	return rc;
}

int log_piece_candidates(const struct log_piece *piece, const struct log_conditions *conditions,
	sqlite3_stmt *statement, struct log_offsets *candidates, bool *all)
{
	int rc = SQLITE_OK;

	*all = !piece->number || (!conditions->n && !conditions->nothing);
	memset(candidates, 0, sizeof(*candidates));
	if (*all)
		return SQLITE_OK;
	if (!conditions->nothing)
		rc = narrow(piece, conditions, statement, candidates);
	if (rc == SQLITE_OK)
		rc = read_condition(piece, &conditions->gaps, statement, candidates);
	*all = rc == SQLITE_MISMATCH ||
	       log_offsets_count(candidates) > piece->n_records / WORTH_LOOKING_UP;
	return rc == SQLITE_MISMATCH ? SQLITE_OK : rc;
}
