/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading one bucket file.  Called by query.c, on the thread of whoever asks.
 *
 * A file has no index by time, but its records are in the order of their times, give or take
 * LOG_BUCKET_SLACK_NS.  So the first record of a span is found by halving the range of sequence
 * numbers, and what is left is filtered row by row.
 */
#include "log/filter.h"
#include "log/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 256 };

#define COLUMNS                                                                                    \
	"sequence, time, age, context, source, destination, source_address,"                       \
	" destination_address, source_port, destination_port, suppressed,"                         \
	" packets_forward, bytes_forward, packets_reverse, bytes_reverse"

struct log_reader {
	sqlite3 *db;
	char *path;
	const struct log_filter *filter;
	uint64_t start_ns;
	int64_t first, last; /* Sequence numbers that there were when it was opened. */
	sqlite3_stmt *rows, *newest, *probe;
	char where[LOG_FILTER_SQL_MAX];
	struct log_names names;
	struct log_record batch[BATCH];
};

static int say(const struct log_reader *reader, int rc, char *error, size_t error_size)
{
	if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
		return 0;
	snprintf(error, error_size, "%s: %s", reader->path, sqlite3_errmsg(reader->db));
	return log_bucket_errno(reader->db, rc);
}

/* The time of the first record from `sequence` on; INT64_MAX if there is none. */
static int64_t time_from(struct log_reader *reader, int64_t sequence, int64_t *found)
{
	int64_t time = INT64_MAX;

	sqlite3_bind_int64(reader->probe, 1, sequence);
	if (sqlite3_step(reader->probe) == SQLITE_ROW) {
		*found = sqlite3_column_int64(reader->probe, 0);
		time = sqlite3_column_int64(reader->probe, 1);
	}
	sqlite3_reset(reader->probe);
	return time;
}

/* Leaves out the records at the front that are certainly older than filter->since_ns. */
static void skip_older(struct log_reader *reader)
{
	uint64_t wanted_ns = reader->filter->since_ns;
	int64_t wanted, low = reader->first, high = reader->last;

	if (wanted_ns <= reader->start_ns + LOG_BUCKET_SLACK_NS)
		return;
	wanted = (int64_t)(wanted_ns - LOG_BUCKET_SLACK_NS - reader->start_ns);
	while (low < high) {
		int64_t middle = low + (high - low) / 2, found = middle;

		if (time_from(reader, middle, &found) < wanted)
			low = found + 1;
		else
			high = middle;
	}
	reader->first = low;
}

static int prepare(struct log_reader *reader)
{
	static const char rows_form[] =
		"SELECT " COLUMNS " FROM records WHERE sequence BETWEEN :low AND :high"
		" AND %s ORDER BY sequence LIMIT %d";
	static const char newest_form[] =
		"SELECT count(*), min(s), max(s) FROM (SELECT sequence AS s FROM records"
		" WHERE sequence BETWEEN :low AND :high AND %s ORDER BY sequence DESC LIMIT "
		":limit)";
	char sql[LOG_FILTER_SQL_MAX + 512];
	int rc;

	rc = log_filter_prepare(reader->db, reader->filter, reader->where);
	snprintf(sql, sizeof(sql), rows_form, reader->where, BATCH);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(reader->db, sql, -1, &reader->rows, NULL);
	snprintf(sql, sizeof(sql), newest_form, reader->where);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(reader->db, sql, -1, &reader->newest, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(reader->db,
			"SELECT sequence, time FROM records WHERE sequence >= ?"
			" ORDER BY sequence LIMIT 1",
			-1, &reader->probe, NULL);
	if (rc == SQLITE_OK)
		rc = log_names_open(&reader->names, reader->db);
	return rc;
}

/* In one read transaction: what there is to read, and which names match. */
static int survey(struct log_reader *reader, char *error, size_t error_size)
{
	int64_t after = (int64_t)reader->filter->after_sequence;
	int rc = log_bucket_execute(reader->db, "BEGIN");

	if (rc == SQLITE_OK)
		rc = prepare(reader);
	if (rc != SQLITE_OK)
		return say(reader, rc, error, error_size);
	reader->start_ns =
		(uint64_t)log_bucket_number(reader->db, "SELECT start_ns FROM bucket", 0);
	reader->first = log_bucket_number(reader->db, "SELECT min(sequence) FROM records", 1);
	reader->last = log_bucket_number(reader->db, "SELECT max(sequence) FROM records", 0);
	skip_older(reader);
	if (after && reader->first <= after)
		reader->first = after + 1;
	log_filter_bind(reader->rows, reader->filter, reader->start_ns);
	log_filter_bind(reader->newest, reader->filter, reader->start_ns);
	return say(reader, log_bucket_execute(reader->db, "COMMIT"), error, error_size);
}

int log_reader_open(const char *path, const struct log_filter *filter, struct log_reader **reader,
	char *error, size_t error_size)
{
	struct log_reader *new = calloc(1, sizeof(*new));
	int rc = -ENOMEM;

	*reader = NULL;
	if (new) {
		new->filter = filter;
		new->path = strdup(path);
	}
	if (new &&new->path)
		rc = log_bucket_open_read(path, &new->db, error, error_size);
	if (!rc)
		rc = survey(new, error, error_size);
	if (rc == -ENOMEM)
		snprintf(error, error_size, "no memory to read %s", path);
	if (rc)
		log_reader_close(new);
	else
		*reader = new;
	return rc;
}

void log_reader_close(struct log_reader *reader)
{
	if (!reader)
		return;
	sqlite3_finalize(reader->rows);
	sqlite3_finalize(reader->newest);
	sqlite3_finalize(reader->probe);
	log_names_close(&reader->names);
	sqlite3_close(reader->db);
	free(reader->path);
	free(reader);
}

uint64_t log_reader_last(const struct log_reader *reader)
{
	return (uint64_t)reader->last;
}

static void bind_range(
	const struct log_reader *reader, sqlite3_stmt *statement, uint64_t low, uint64_t high)
{
	if (low < (uint64_t)reader->first)
		low = (uint64_t)reader->first;
	if (high > (uint64_t)reader->last)
		high = (uint64_t)reader->last;
	sqlite3_bind_int64(
		statement, sqlite3_bind_parameter_index(statement, ":low"), (int64_t)low);
	sqlite3_bind_int64(
		statement, sqlite3_bind_parameter_index(statement, ":high"), (int64_t)high);
}

int log_reader_newest(struct log_reader *reader, size_t limit, size_t *n, uint64_t *low,
	uint64_t *high, char *error, size_t error_size)
{
	sqlite3_stmt *statement = reader->newest;
	int rc;

	bind_range(reader, statement, 0, INT64_MAX);
	sqlite3_bind_int64(statement, sqlite3_bind_parameter_index(statement, ":limit"),
		limit < INT64_MAX ? (int64_t)limit : INT64_MAX);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW) {
		*n = (size_t)sqlite3_column_int64(statement, 0);
		*low = (uint64_t)sqlite3_column_int64(statement, 1);
		*high = (uint64_t)sqlite3_column_int64(statement, 2);
	}
	sqlite3_reset(statement);
	return say(reader, rc, error, error_size);
}

/* --- Rows into records ---------------------------------------------------------------------------
 */

static void read_end(struct log_reader *reader, struct log_party *party, int id_column,
	int address_column, int port_column)
{
	const struct log_party_row *row =
		log_names_party(&reader->names, sqlite3_column_int64(reader->rows, id_column));

	*party = row->party;
	if (!row->has_address)
		log_names_address(reader->rows, address_column, &party->address);
	party->transport_port = (uint16_t)sqlite3_column_int(reader->rows, port_column);
}

static void read_record(struct log_reader *reader, struct log_record *record)
{
	sqlite3_stmt *row = reader->rows;

	*record = log_names_context(&reader->names, sqlite3_column_int64(row, 3))->record;
	record->sequence = (uint64_t)sqlite3_column_int64(row, 0);
	record->time_ns = reader->start_ns + (uint64_t)sqlite3_column_int64(row, 1);
	if (sqlite3_column_type(row, 2) == SQLITE_INTEGER)
		record->start_ns = record->time_ns - (uint64_t)sqlite3_column_int64(row, 2);
	read_end(reader, &record->source, 4, 6, 8);
	read_end(reader, &record->destination, 5, 7, 9);
	record->suppressed = (uint32_t)sqlite3_column_int64(row, 10);
	record->packets_forward = (uint64_t)sqlite3_column_int64(row, 11);
	record->bytes_forward = (uint64_t)sqlite3_column_int64(row, 12);
	record->packets_reverse = (uint64_t)sqlite3_column_int64(row, 13);
	record->bytes_reverse = (uint64_t)sqlite3_column_int64(row, 14);
}

/* Fills the batch with matches from `low` on. */
static int read_batch(struct log_reader *reader, uint64_t low, uint64_t high, size_t *n)
{
	int rc;

	*n = 0;
	bind_range(reader, reader->rows, low, high);
	while ((rc = sqlite3_step(reader->rows)) == SQLITE_ROW && *n < BATCH)
		read_record(reader, &reader->batch[(*n)++]);
	sqlite3_reset(reader->rows);
	return rc;
}

int log_reader_each(struct log_reader *reader, uint64_t low, uint64_t high,
	bool (*each)(const struct log_record *record, void *context), void *context, bool *stopped,
	char *error, size_t error_size)
{
	size_t n = BATCH;

	while (n == BATCH && !*stopped) {
		int rc = read_batch(reader, low, high, &n);

		for (size_t i = 0; i < n && !*stopped; i++)
			*stopped = !each(&reader->batch[i], context);
		if (say(reader, rc, error, error_size))
			return log_bucket_errno(reader->db, rc);
		if (n)
			low = reader->batch[n - 1].sequence + 1;
	}
	return 0;
}
