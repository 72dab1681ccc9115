/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records into the rows of one open bucket file: the hot part of the log store's writer.  Knows
 * nothing of files, transactions and time.  One thread.
 */
#ifndef LOG_WRITER_H
#define LOG_WRITER_H

#include "log/bucket.h"
#include "log/indexer.h"
#include "log/record.h"
#include "zones/dictionary.h"

/* What equal rows are made from, laid end to end. */
struct log_key {
	char *bytes;
	size_t n, allocated;
};

enum log_insert { LOG_INSERT_STRING, LOG_INSERT_PARTY, LOG_INSERT_CONTEXT, LOG_INSERT_RECORD };
enum { LOG_N_INSERTS = LOG_INSERT_RECORD + 1, LOG_N_DICTIONARIES = LOG_INSERT_RECORD };

struct log_writer {
	sqlite3 *db; /* NULL: no file is open. */
	uint64_t start_ns;
	sqlite3_stmt *insert[LOG_N_INSERTS];
	/* By enum log_insert: the rows known to be in the file, and the next row's id. */
	struct dictionary known[LOG_N_DICTIONARIES];
	uint32_t next_id[LOG_N_DICTIONARIES];
	struct log_key key;
	/* Addresses of VMs' vNICs are kept with the party, since the spoof guard keeps them few.
	 * Where that has not held, they are kept with the record. */
	bool addresses_apart;
	struct log_indexer indexer;
	bool resumed; /* The indexer has what the file had before. */
};

void log_writer_init(struct log_writer *writer);

/* Takes over an open file, whose records' times count from `start` (seconds).  Returns SQLite's
 * result; on failure the writer has no file, and the caller still has to close it. */
int log_writer_attach(struct log_writer *writer, sqlite3 *db);

/* Lets go of the file and returns it (NULL if there was none). */
sqlite3 *log_writer_detach(struct log_writer *writer);

/* Forgets which rows the file has, because a transaction was rolled back. */
void log_writer_forget(struct log_writer *writer);

/* Inserts the rows of one record.  Returns SQLite's result. */
int log_writer_add(struct log_writer *writer, const struct log_record *record);

/* Completes index and sums, since the file is done with: within a transaction.  Returns SQLite's
 * result. */
int log_writer_finish(struct log_writer *writer);

void log_writer_free(struct log_writer *writer);

/* --- writer_resume.c ------------------------------------------------------------------------ */

/* Gives the indexer what the file has that is not in its index and sums yet: what was under way
 * when the writer was stopped, or rolled back.  Called within a transaction, before the first
 * record. */
int log_writer_resume(struct log_writer *writer);

/* Completes index and sums of an open file that another writer has left so.  Without space for them
 * the file goes without. */
void log_writer_complete(sqlite3 *db);

/* The decision that a context of the file belongs to; 0 with SQLite's result in *rc. */
uint32_t log_writer_decision(
	struct log_writer *writer, const struct log_record *record, uint32_t context, int *rc);

#endif
