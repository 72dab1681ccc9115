/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter as the WHERE clause of a query on one bucket file.  Used by reader.c.
 */
#ifndef LOG_FILTER_H
#define LOG_FILTER_H

#include "log/bucket.h"
#include "log/store.h"

enum { LOG_FILTER_SQL_MAX = 2048 };

/* Makes the clause, for rows of `records`, with the parameters :since and :until (nanoseconds from
 * the bucket's start).  What it says of names is looked up here, in temporary tables of `db` that
 * hold the parties and contexts that match: so rows of these made after the call do not match, and
 * the caller must not ask for records written after it.  Returns SQLite's result. */
int log_filter_prepare(
	sqlite3 *db, const struct log_filter *filter, char where[LOG_FILTER_SQL_MAX]);

/* Binds :since and :until.  They may be used more than once, and may be missing. */
void log_filter_bind(
	sqlite3_stmt *statement, const struct log_filter *filter, uint64_t bucket_start_ns);

#endif
