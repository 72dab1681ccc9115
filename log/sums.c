/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the sums of a bucket file.  Called by flows.c and timeline.c on the thread of whoever
 * asks.  Sums that the writer cannot have made are passed over, and the records gone through.
 */
#include "log/sums.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A slice, or the records between two slices. */
struct part {
	uint64_t low, high; /* Sequence numbers. */
	bool is_slice;
	int64_t first_time, last_time; /* Of a slice, from the bucket's start. */
};

struct visit {
	struct log_reader *reader;
	const struct log_filter *filter;
	const struct log_sums_visitor *visitor;
	struct part *parts;
	size_t n_parts, parts_allocated;
	struct log_flow_row *rows; /* Of one slice. */
	size_t n_rows, rows_allocated;
};

/* --- Parts ---------------------------------------------------------------------------------- */

static int add_part(struct visit *visit, const struct part *part)
{
	if (visit->n_parts == visit->parts_allocated) {
		size_t allocated = visit->parts_allocated ? visit->parts_allocated * 2 : 64;
		struct part *parts = realloc(visit->parts, allocated * sizeof(*parts));

		if (!parts)
			return SQLITE_NOMEM;
		visit->parts = parts;
		visit->parts_allocated = allocated;
	}
	visit->parts[visit->n_parts++] = *part;
	return SQLITE_OK;
}

/* The slice that a row tells of, and what lies between it and *next. */
static int add_slice(struct visit *visit, sqlite3_stmt *row, uint64_t *next)
{
	struct part slice = {
		.low = (uint64_t)sqlite3_column_int64(row, 0),
		.high = (uint64_t)sqlite3_column_int64(row, 1),
		.is_slice = true,
		.first_time = sqlite3_column_int64(row, 2),
		.last_time = sqlite3_column_int64(row, 3),
	};
	int rc = SQLITE_OK;

	if (slice.low < *next || slice.high < slice.low ||
		slice.high > log_reader_last_summed(visit->reader))
		return SQLITE_OK;
	if (slice.low > *next)
		rc = add_part(visit, &(struct part){.low = *next, .high = slice.low - 1});
	*next = slice.high + 1;
	return rc == SQLITE_OK ? add_part(visit, &slice) : rc;
}

static int find_parts(struct visit *visit)
{
	sqlite3 *db = log_reader_db(visit->reader);
	uint64_t next = 0, last = log_reader_last(visit->reader);
	sqlite3_stmt *statement = NULL;
	int rc = SQLITE_DONE;

	if (log_bucket_format(db) >= LOG_BUCKET_FORMAT_INDEXED) {
		rc = sqlite3_prepare_v2(db,
			"SELECT first, last, first_time, last_time FROM slices ORDER BY first", -1,
			&statement, NULL);
		while (rc == SQLITE_OK && (rc = sqlite3_step(statement)) == SQLITE_ROW)
			rc = add_slice(visit, statement, &next);
		sqlite3_finalize(statement);
	}
	if (rc != SQLITE_DONE)
		return rc;
	return next > last ? SQLITE_OK : add_part(visit, &(struct part){.low = next, .high = last});
}

enum place { OUTSIDE, PARTLY, WITHIN };

/* Where a part lies, seen from what the filter asks for. */
static enum place place_of(const struct visit *visit, const struct part *part)
{
	const struct log_filter *filter = visit->filter;
	uint64_t start_ns = log_reader_start_ns(visit->reader);
	int64_t since = filter->since_ns ? (int64_t)(filter->since_ns - start_ns) : INT64_MIN;
	int64_t until = filter->until_ns ? (int64_t)(filter->until_ns - start_ns) : INT64_MAX;

	if (!part->is_slice)
		return PARTLY;
	if (part->last_time < since || part->first_time > until ||
		part->high <= filter->after_sequence)
		return OUTSIDE;
	return part->first_time >= since && part->last_time <= until &&
			       part->low > filter->after_sequence
		       ? WITHIN
		       : PARTLY;
}

/* --- Rows ----------------------------------------------------------------------------------- */

static bool keep_row(const struct log_flow_row *row, void *context)
{
	struct visit *visit = context;

	if (visit->n_rows == visit->rows_allocated) {
		size_t allocated = visit->rows_allocated ? visit->rows_allocated * 2 : 1024;
		struct log_flow_row *rows = realloc(visit->rows, allocated * sizeof(*rows));

		if (!rows)
			return false;
		visit->rows = rows;
		visit->rows_allocated = allocated;
	}
	visit->rows[visit->n_rows++] = *row;
	return true;
}

/* Reads the rows of a slice.  *good: there are rows, and they are what the writer makes. */
static int load(struct visit *visit, const struct part *part, bool *good)
{
	static const char *const sql[] = {
		[LOG_SUMS_FLOWS] = "SELECT flows FROM slices WHERE first = ?",
		[LOG_SUMS_MINUTES] = "SELECT minutes FROM slices WHERE first = ?",
	};
	sqlite3_stmt *statement;
	int rc = sqlite3_prepare_v2(
		log_reader_db(visit->reader), sql[visit->visitor->kind], -1, &statement, NULL);

	*good = false;
	visit->n_rows = 0;
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(statement, 1, (int64_t)part->low);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW && sqlite3_column_type(statement, 0) == SQLITE_BLOB) {
		const void *bytes = sqlite3_column_blob(statement, 0);
		size_t length = (size_t)sqlite3_column_bytes(statement, 0);

		*good = log_slice_unpack(
			bytes, length, log_reader_start_ns(visit->reader), keep_row, visit);
	}
	sqlite3_finalize(statement);
	return rc;
}

static int visit_part(
	struct visit *visit, const struct part *part, bool *stopped, char *error, size_t error_size)
{
	const struct log_sums_visitor *visitor = visit->visitor;
	enum place place = place_of(visit, part);
	bool good = false;
	int rc = 0;

	if (place == OUTSIDE)
		return 0;
	if (place == WITHIN)
		rc = log_reader_complain(
			visit->reader, load(visit, part, &good), error, error_size);
	if (rc)
		return rc;
	if (!good || !visitor->can_use(visit->rows, visit->n_rows, visitor->context))
		return log_reader_each(visit->reader, part->low, part->high, visitor->record,
			visitor->context, stopped, error, error_size);
	for (size_t i = 0; i < visit->n_rows && !*stopped; i++)
		*stopped = !visitor->row(&visit->rows[i], visitor->context);
	return 0;
}

int log_sums_visit(struct log_reader *reader, const struct log_filter *filter,
	const struct log_sums_visitor *visitor, bool *stopped, char *error, size_t error_size)
{
	struct visit visit = {.reader = reader, .filter = filter, .visitor = visitor};
	int rc = log_reader_complain(reader, find_parts(&visit), error, error_size);

	for (size_t i = 0; i < visit.n_parts && !rc && !*stopped; i++)
		rc = visit_part(&visit, &visit.parts[i], stopped, error, error_size);
	free(visit.parts);
	free(visit.rows);
	return rc;
}
