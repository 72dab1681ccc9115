/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index and sums of the bucket file that is being written (log/segment.h, log/slice.h), and what
 * the writer needs to know of rows by their number to make them.  Part of the writer; one thread.
 */
#ifndef LOG_INDEXER_H
#define LOG_INDEXER_H

#include "log/memo.h"
#include "log/segment.h"
#include "log/slice.h"

struct log_indexer {
	struct log_segment segment;
	struct log_slice slice;
	uint32_t next_segment; /* Number of the next row of `segments`; 0: not known yet. */
	uint64_t start_ns;
	struct log_memo decisions;    /* Of a context: the context that is its decision. */
	struct log_memo zones;	      /* Of a party: its zone (-> strings.id) + 1. */
	struct log_memo zone_parties; /* Of a zone: the party that has no more than it. */
};

void log_indexer_init(struct log_indexer *indexer);
void log_indexer_free(struct log_indexer *indexer);

/* Forgets everything: the file or its last transaction is gone. */
void log_indexer_forget(struct log_indexer *indexer);

/* A record that was inserted, and the rows that it refers to. */
struct log_inserted {
	const struct log_record *record;
	uint32_t decision, source, destination;
	bool source_apart, destination_apart; /* The address is kept with the record. */
};

/* Adds it, and writes to the file what is complete.  The zones of both parties are noted.  Returns
 * SQLite's result. */
int log_indexer_add(struct log_indexer *indexer, sqlite3 *db, const struct log_inserted *inserted);

/* The same for a part of it: what a file already has of one of the two. */
int log_indexer_add_to_segment(
	struct log_indexer *indexer, sqlite3 *db, const struct log_inserted *inserted);
int log_indexer_add_to_slice(
	struct log_indexer *indexer, sqlite3 *db, const struct log_inserted *inserted);

/* Writes what there is, complete or not: the file is done with. */
int log_indexer_finish(struct log_indexer *indexer, sqlite3 *db);

/* The record of a decision: what the contexts have in common that it stands for.  Allowed ones are
 * LOG_START, whatever becomes of them. */
struct log_record log_indexer_decision(const struct log_record *record);

#endif
