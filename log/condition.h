/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a filter the index of a bucket file can answer: each condition is a list of terms, one of
 * which a record must have.  And the parts ("pieces") of a file that have to be looked at, each
 * with the records of it that may match.  Used by reader.c; one thread each.
 */
#ifndef LOG_CONDITION_H
#define LOG_CONDITION_H

#include "log/segment.h"
#include "log/store.h"

enum {
	LOG_CONDITION_TERMS = 64, /* A condition with more would not narrow much. */
	LOG_CONDITIONS_MAX = 8,
};

struct log_condition {
	uint64_t terms[LOG_CONDITION_TERMS];
	size_t n;
};

struct log_conditions {
	struct log_condition at[LOG_CONDITIONS_MAX]; /* All must hold. */
	size_t n;
	struct log_condition gaps; /* Or one of these. */
	bool nothing;		   /* No record that there was can match. */
};

/* Finds the conditions, after log_filter_prepare() on the same `db`.  Returns SQLite's result. */
int log_conditions_find(
	sqlite3 *db, const struct log_filter *filter, struct log_conditions *conditions);

/* A part of a file. */
struct log_piece {
	uint64_t low, high; /* Sequence numbers. */
	uint32_t number;    /* Of its segment; 0: it is not indexed. */
	uint32_t n_shared, n_records;
};

struct log_pieces {
	struct log_piece *at; /* Ascending. */
	size_t n, allocated;
};

/* The pieces from `first` to `last` with records of the time from `since` to `until`, from the
 * bucket's start.  Returns SQLite's result. */
int log_pieces_find(sqlite3 *db, int64_t first, int64_t last, int64_t since, int64_t until,
	struct log_pieces *pieces);
void log_pieces_free(struct log_pieces *pieces);

/* The records of a piece that may match: offsets from its `low`.  *all: too many for looking each
 * up to be worth while, or the piece is not indexed.  `statement` as for log_posting_read().
 * Returns SQLite's result. */
int log_piece_candidates(const struct log_piece *piece, const struct log_conditions *conditions,
	sqlite3_stmt *statement, struct log_offsets *candidates, bool *all);

#endif
