/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading one bucket file: which of its records match a filter, and these as struct log_record.
 * Used by query.c, flows.c, timeline.c and gaps.c; one thread each.
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
struct log_row;
struct log_names;

/* Opens a file and finds its records that match; `filter` must outlive the reader.  Returns 0;
 * -ENOENT: the file is gone or empty; or a negative errno with the reason, naming the file, in
 * error[]. */
int log_reader_open(const char *path, const struct log_filter *filter, struct log_reader **reader,
	char *error, size_t error_size);
void log_reader_close(struct log_reader *reader); /* Accepts NULL. */

/* The highest sequence number in the file. */
uint64_t log_reader_last(const struct log_reader *reader);

/* The highest that is added up in a slice; 0: none is.  Like the one above as of when the file was
 * opened: what is added up later may refer to rows that the filter has not been put to. */
uint64_t log_reader_last_summed(const struct log_reader *reader);

/* Counts the matching records from the newest back, but not past `limit`.  The range of their
 * sequence numbers is stored in *low and *high. */
int log_reader_newest(struct log_reader *reader, size_t limit, size_t *n, uint64_t *low,
	uint64_t *high, char *error, size_t error_size);

/* Calls `each` for every match from `low` to `high`, ascending, until it returns false, which is
 * noted in *stopped.  Returns 0 or a negative errno as above. */
int log_reader_each(struct log_reader *reader, uint64_t low, uint64_t high,
	bool (*each)(const struct log_row *row, void *context), void *context, bool *stopped,
	char *error, size_t error_size);

/* The open file, its names, and where its times count from. */
sqlite3 *log_reader_db(const struct log_reader *reader);
struct log_names *log_reader_names(struct log_reader *reader);
uint64_t log_reader_start_ns(const struct log_reader *reader);

/* What went wrong with the file by SQLite's result `rc`, as above; 0 if nothing. */
int log_reader_complain(const struct log_reader *reader, int rc, char *error, size_t error_size);

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

/* --- row.c: rows of `records` ---------------------------------------------------------------- */

/* The columns of a SELECT whose rows log_row_read() can read. */
#define LOG_ROW_COLUMNS                                                                            \
	"sequence, time, age, context, source, destination, source_address,"                       \
	" destination_address, source_port, destination_port, suppressed,"                         \
	" packets_forward, bytes_forward, packets_reverse, bytes_reverse"

/* A record, and the rows that it refers to; 0: a number that cannot be one. */
struct log_row {
	struct log_record record;
	uint32_t context, source, destination;
	bool source_apart, destination_apart; /* The address is kept with the record. */
};

/* The row that the statement stands on.  Its texts live as long as `names`. */
void log_row_read(
	struct log_names *names, sqlite3_stmt *statement, uint64_t start_ns, struct log_row *row);

/* An address from a column; all zero if it is not one. */
void log_row_address(sqlite3_stmt *row, int column, struct in6_addr *address);

#endif
