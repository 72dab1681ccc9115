/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading one bucket file: which of its records match a filter, and these as struct log_record.
 * Used by query.c; one thread each.
 *
 * No read transaction is open while the caller looks at a record: a reader who stops for an hour (a
 * pager on a terminal) must not keep the writer from emptying its WAL.  So records are taken in
 * batches, and since rows never change, batches of one file fit together.
 */
#ifndef LOG_READER_H
#define LOG_READER_H

#include "log/bucket.h"
#include "log/store.h"

struct log_reader;

/* Opens a file and finds its records that match; `filter` must outlive the reader.  Returns 0;
 * -ENOENT: the file is gone or empty; or a negative errno with the reason, naming the file, in
 * error[]. */
int log_reader_open(const char *path, const struct log_filter *filter, struct log_reader **reader,
	char *error, size_t error_size);
void log_reader_close(struct log_reader *reader); /* Accepts NULL. */

/* The highest sequence number in the file. */
uint64_t log_reader_last(const struct log_reader *reader);

/* Counts the matching records from the newest back, but not past `limit`.  The range of their
 * sequence numbers is stored in *low and *high. */
int log_reader_newest(struct log_reader *reader, size_t limit, size_t *n, uint64_t *low,
	uint64_t *high, char *error, size_t error_size);

/* Calls `each` for every match from `low` to `high`, ascending, until it returns false, which is
 * noted in *stopped.  Returns 0 or a negative errno as above. */
int log_reader_each(struct log_reader *reader, uint64_t low, uint64_t high,
	bool (*each)(const struct log_record *record, void *context), void *context, bool *stopped,
	char *error, size_t error_size);

/* --- names.c: rows that records share ------------------------------------------------------
 */

/* A row of `parties` and of `contexts`, with its names. */
struct log_party_row {
	int64_t id;
	struct log_party party;
	bool has_address;
};

struct log_context_row {
	int64_t id;
	struct log_record record; /* Only the fields that a context has. */
};

enum { LOG_NAMES_ROWS = 4096 };

/* What was read of a file's names.  Texts stay where they are until log_names_close(). */
struct log_names {
	sqlite3 *db;
	sqlite3_stmt *texts_from, *party, *context;
	int64_t *ids; /* Ascending, beside `texts`. */
	char **texts;
	size_t n, allocated;
	/* Rows by id modulo the size; 0: none. */
	struct log_party_row parties[LOG_NAMES_ROWS];
	struct log_context_row contexts[LOG_NAMES_ROWS];
};

/* Both return SQLite's result. */
int log_names_open(struct log_names *names, sqlite3 *db);
void log_names_close(struct log_names *names);

/* The row with this id; one without names if the file has none.  Valid until the next call. */
const struct log_party_row *log_names_party(struct log_names *names, int64_t id);
const struct log_context_row *log_names_context(struct log_names *names, int64_t id);

/* An address or MAC from a column; all zero if it is not one. */
void log_names_address(sqlite3_stmt *statement, int column, struct in6_addr *address);

#endif
