/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading one bucket file.  Called by query.c, on the thread of whoever asks.
 *
 * Records are in the order of their times, give or take LOG_BUCKET_SLACK_NS, so the first record of
 * a span is found by halving the range of sequence numbers.  Of what is left, the index tells which
 * records may match; where there is none, or nearly all may match, they are gone through in turn.
 * In any case each record is put to the whole filter.
 */
#include "log/condition.h"
#include "log/filter.h"
#include "log/readahead.h"
#include "log/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BATCH = 256,
	FEW_PIECES = 4,	     /* For which no threads are worth while. */
	WAITED_MUCH = 8 * 8, /* Eight pages of 4 KiB; see log_readahead_waited(). */
};

struct log_reader {
	sqlite3 *db;
	char *path;
	const struct log_filter *filter;
	uint64_t start_ns;
	int64_t first, last; /* Sequence numbers that there were when it was opened. */
	int64_t last_summed; /* The last that was in a slice then; 0: none. */
	struct log_conditions conditions;
	struct log_pieces pieces;
	/* Of a range of records, those that match; the newest of these; one record, if it matches;
	 * the first record from a number on; a row of postings. */
	sqlite3_stmt *rows, *newest, *one, *probe, *postings;
	char where[LOG_FILTER_SQL_MAX];
	struct log_names names;
	struct log_offsets candidates;
	struct log_row batch[BATCH];
};

int log_reader_complain(const struct log_reader *reader, int rc, char *error, size_t error_size)
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

static int prepare_one(struct log_reader *reader, const char *form, sqlite3_stmt **statement)
{
	char sql[LOG_FILTER_SQL_MAX + 512];

	snprintf(sql, sizeof(sql), form, reader->where);
	return sqlite3_prepare_v2(reader->db, sql, -1, statement, NULL);
}

static int prepare(struct log_reader *reader)
{
	int rc = log_filter_prepare(reader->db, reader->filter, reader->where);

	if (rc == SQLITE_OK)
		rc = log_conditions_find(reader->db, reader->filter, &reader->conditions);
	if (rc == SQLITE_OK)
		rc = prepare_one(reader,
			"SELECT " LOG_ROW_COLUMNS " FROM records WHERE sequence BETWEEN :low AND "
			":high AND %s ORDER BY sequence",
			&reader->rows);
	if (rc == SQLITE_OK)
		rc = prepare_one(reader,
			"SELECT count(*), min(s), max(s) FROM (SELECT sequence AS s FROM records"
			" WHERE sequence BETWEEN :low AND :high AND %s ORDER BY sequence DESC"
			" LIMIT :limit)",
			&reader->newest);
	if (rc == SQLITE_OK)
		rc = prepare_one(reader,
			"SELECT " LOG_ROW_COLUMNS " FROM records WHERE sequence = :low AND %s",
			&reader->one);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(reader->db,
			"SELECT sequence, time FROM records WHERE sequence >= ?"
			" ORDER BY sequence LIMIT 1",
			-1, &reader->probe, NULL);
	if (rc == SQLITE_OK && log_bucket_format(reader->db) >= LOG_BUCKET_FORMAT_INDEXED)
		rc = sqlite3_prepare_v2(reader->db, log_posting_sql, -1, &reader->postings, NULL);
	if (rc == SQLITE_OK)
		rc = log_names_open(&reader->names, reader->db);
	return rc;
}

/* A time of the filter, from the bucket's start. */
static int64_t time_of(const struct log_reader *reader, uint64_t time_ns, int64_t otherwise)
{
	return time_ns ? (int64_t)(time_ns - reader->start_ns) : otherwise;
}

static int find_pieces(struct log_reader *reader)
{
	const struct log_filter *filter = reader->filter;

	if (reader->conditions.nothing && !filter->with_gaps)
		return SQLITE_OK;
	return log_pieces_find(reader->db, reader->first, reader->last,
		time_of(reader, filter->since_ns, INT64_MIN),
		time_of(reader, filter->until_ns, INT64_MAX), &reader->pieces);
}

/* In one read transaction: what there is to read, and which names match. */
static int survey(struct log_reader *reader, char *error, size_t error_size)
{
	int64_t after = (int64_t)reader->filter->after_sequence;
	int rc = log_bucket_execute(reader->db, "BEGIN");

	if (rc == SQLITE_OK)
		rc = prepare(reader);
	if (rc != SQLITE_OK)
		return log_reader_complain(reader, rc, error, error_size);
	reader->start_ns =
		(uint64_t)log_bucket_number(reader->db, "SELECT start_ns FROM bucket", 0);
	reader->first = log_bucket_number(reader->db, "SELECT min(sequence) FROM records", 1);
	reader->last = log_bucket_number(reader->db, "SELECT max(sequence) FROM records", 0);
	if (log_bucket_format(reader->db) >= LOG_BUCKET_FORMAT_INDEXED)
		reader->last_summed = log_bucket_number(
			reader->db, "SELECT last FROM slices ORDER BY first DESC LIMIT 1", 0);
	skip_older(reader);
	if (after && reader->first <= after)
		reader->first = after + 1;
	log_filter_bind(reader->rows, reader->filter, reader->start_ns);
	log_filter_bind(reader->newest, reader->filter, reader->start_ns);
	log_filter_bind(reader->one, reader->filter, reader->start_ns);
	rc = find_pieces(reader);
	if (rc != SQLITE_OK)
		return log_reader_complain(reader, rc, error, error_size);
	return log_reader_complain(
		reader, log_bucket_execute(reader->db, "COMMIT"), error, error_size);
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
	sqlite3_finalize(reader->one);
	sqlite3_finalize(reader->probe);
	sqlite3_finalize(reader->postings);
	log_names_close(&reader->names);
	log_pieces_free(&reader->pieces);
	sqlite3_close(reader->db);
	free(reader->path);
	free(reader);
}

sqlite3 *log_reader_db(const struct log_reader *reader)
{
	return reader->db;
}

struct log_names *log_reader_names(struct log_reader *reader)
{
	return &reader->names;
}

uint64_t log_reader_start_ns(const struct log_reader *reader)
{
	return reader->start_ns;
}

uint64_t log_reader_last(const struct log_reader *reader)
{
	return (uint64_t)reader->last;
}

uint64_t log_reader_last_summed(const struct log_reader *reader)
{
	return (uint64_t)reader->last_summed;
}

/* The part of a piece that lies from `low` to `high`.  False if there is none. */
static bool cut(const struct log_reader *reader, const struct log_piece *piece, uint64_t *low,
	uint64_t *high)
{
	if (*low < piece->low)
		*low = piece->low;
	if (*low < (uint64_t)reader->first)
		*low = (uint64_t)reader->first;
	if (*high > piece->high)
		*high = piece->high;
	if (*high > (uint64_t)reader->last)
		*high = (uint64_t)reader->last;
	return *low <= *high;
}

static void bind_range(sqlite3_stmt *statement, uint64_t low, uint64_t high)
{
	sqlite3_bind_int64(
		statement, sqlite3_bind_parameter_index(statement, ":low"), (int64_t)low);
	sqlite3_bind_int64(
		statement, sqlite3_bind_parameter_index(statement, ":high"), (int64_t)high);
}

/* The candidate at `offset` or the next one; LOG_SEGMENT_SPAN if there is none. */
static uint64_t candidate_from(const struct log_reader *reader, uint64_t offset)
{
	for (uint64_t word = offset / 64; word < LOG_SEGMENT_SPAN / 64; word++) {
		uint64_t bits = reader->candidates.bits[word];

		if (word == offset / 64)
			bits &= UINT64_MAX << offset % 64;
		if (bits)
			return word * 64 + (uint64_t)__builtin_ctzll(bits);
	}
	return LOG_SEGMENT_SPAN;
}

/* --- The newest ----------------------------------------------------------------------------- */

struct newest {
	size_t limit, n;
	uint64_t low, high;
};

static void note(struct newest *newest, size_t n, uint64_t low, uint64_t high)
{
	if (!n)
		return;
	if (!newest->n)
		newest->high = high;
	newest->low = low;
	newest->n += n;
}

/* Of a range that has to be gone through. */
static int newest_of_range(
	struct log_reader *reader, uint64_t low, uint64_t high, struct newest *newest)
{
	sqlite3_stmt *statement = reader->newest;
	size_t limit = newest->limit - newest->n;
	int rc;

	bind_range(statement, low, high);
	sqlite3_bind_int64(statement, sqlite3_bind_parameter_index(statement, ":limit"),
		limit < INT64_MAX ? (int64_t)limit : INT64_MAX);
	rc = sqlite3_step(statement);
	if (rc == SQLITE_ROW)
		note(newest, (size_t)sqlite3_column_int64(statement, 0),
			(uint64_t)sqlite3_column_int64(statement, 1),
			(uint64_t)sqlite3_column_int64(statement, 2));
	sqlite3_reset(statement);
	return rc;
}

static int newest_of_candidates(struct log_reader *reader, const struct log_piece *piece,
	uint64_t low, uint64_t high, struct newest *newest)
{
	int rc = SQLITE_DONE;

	for (uint64_t sequence = high; sequence >= low && newest->n < newest->limit; sequence--) {
		uint64_t offset = sequence - piece->low;

		if (!(reader->candidates.bits[offset / 64] >> offset % 64 & 1))
			continue;
		bind_range(reader->one, sequence, sequence);
		rc = sqlite3_step(reader->one);
		sqlite3_reset(reader->one);
		if (rc == SQLITE_ROW)
			note(newest, 1, sequence, sequence);
		else if (rc != SQLITE_DONE)
			return rc;
	}
	return SQLITE_DONE;
}

static int newest_of_piece(
	struct log_reader *reader, const struct log_piece *piece, struct newest *newest)
{
	uint64_t low = 0, high = UINT64_MAX;
	bool all;
	int rc;

	if (!cut(reader, piece, &low, &high))
		return SQLITE_OK;
	rc = log_piece_candidates(
		piece, &reader->conditions, reader->postings, &reader->candidates, &all);
	if (rc != SQLITE_OK)
		return rc;
	return all ? newest_of_range(reader, low, high, newest)
		   : newest_of_candidates(reader, piece, low, high, newest);
}

int log_reader_newest(struct log_reader *reader, size_t limit, size_t *n, uint64_t *low,
	uint64_t *high, char *error, size_t error_size)
{
	struct newest newest = {.limit = limit, .low = 1};
	int rc = log_bucket_execute(reader->db, "BEGIN"), result;

	for (size_t i = reader->pieces.n;
		i-- > 0 && newest.n < limit && !log_reader_complain(reader, rc, error, error_size);)
		rc = newest_of_piece(reader, &reader->pieces.at[i], &newest);
	result = log_reader_complain(reader, rc, error, error_size);
	log_bucket_execute(reader->db, "COMMIT");
	*n = newest.n;
	*low = newest.low;
	*high = newest.high;
	return result;
}

/* --- All of a range ------------------------------------------------------------------------- */

/* Fills the batch with matches from *low on, and moves *low behind what was looked at. */
static int read_range(struct log_reader *reader, uint64_t *low, uint64_t high, size_t *n)
{
	int rc;

	bind_range(reader->rows, *low, high);
	while ((rc = sqlite3_step(reader->rows)) == SQLITE_ROW && *n < BATCH)
		log_row_read(
			&reader->names, reader->rows, reader->start_ns, &reader->batch[(*n)++]);
	sqlite3_reset(reader->rows);
	*low = rc == SQLITE_ROW ? reader->batch[*n - 1].record.sequence + 1 : high + 1;
	return rc;
}

/* The same from the candidates. */
static int read_candidates(struct log_reader *reader, const struct log_piece *piece, uint64_t *low,
	uint64_t high, size_t *n)
{
	int rc = SQLITE_DONE;

	while (*low <= high && *n < BATCH) {
		*low = piece->low + candidate_from(reader, *low - piece->low);
		if (*low > high)
			break;
		bind_range(reader->one, *low, *low);
		rc = sqlite3_step(reader->one);
		if (rc == SQLITE_ROW)
			log_row_read(&reader->names, reader->one, reader->start_ns,
				&reader->batch[(*n)++]);
		sqlite3_reset(reader->one);
		if (rc != SQLITE_ROW && rc != SQLITE_DONE)
			return rc;
		++*low;
	}
	return rc;
}

static int candidates_of(struct log_reader *reader, const struct log_piece *piece, bool *all)
{
	int rc = log_bucket_execute(reader->db, "BEGIN");

	if (rc == SQLITE_OK)
		rc = log_piece_candidates(
			piece, &reader->conditions, reader->postings, &reader->candidates, all);
	log_bucket_execute(reader->db, "COMMIT");
	return rc;
}

/* One read transaction, which is over before the caller sees a record. */
static int read_batch(struct log_reader *reader, const struct log_piece *piece, bool all,
	uint64_t *low, uint64_t high, size_t *n)
{
	int rc = log_bucket_execute(reader->db, "BEGIN");

	*n = 0;
	if (rc == SQLITE_OK)
		rc = all ? read_range(reader, low, high, n)
			 : read_candidates(reader, piece, low, high, n);
	log_bucket_execute(reader->db, "COMMIT");
	return rc;
}

static int each_of_piece(struct log_reader *reader, const struct log_piece *piece, uint64_t low,
	uint64_t high, bool (*each)(const struct log_row *row, void *context), void *context,
	bool *stopped)
{
	bool all;
	int rc;

	if (!cut(reader, piece, &low, &high))
		return SQLITE_OK;
	rc = candidates_of(reader, piece, &all);
	if (rc != SQLITE_OK)
		return rc;
	while (low <= high && !*stopped) {
		size_t n;

		rc = read_batch(reader, piece, all, &low, high, &n);
		for (size_t i = 0; i < n && !*stopped; i++)
			*stopped = !each(&reader->batch[i], context);
		if (rc != SQLITE_ROW && rc != SQLITE_DONE)
			return rc;
	}
	return SQLITE_OK;
}

/* Starts reading ahead, if the piece that was read had to come from a disk. */
static struct log_readahead *read_ahead(const struct log_reader *reader, size_t piece, uint64_t low,
	uint64_t high, uint64_t waited_before)
{
	const struct log_readahead_plan plan = {.path = reader->path,
		.conditions = &reader->conditions,
		.pieces = &reader->pieces,
		.from = piece + 1,
		.low = low > (uint64_t)reader->first ? low : (uint64_t)reader->first,
		.high = high < (uint64_t)reader->last ? high : (uint64_t)reader->last};

	if (reader->pieces.n - piece <= FEW_PIECES ||
		log_readahead_waited() - waited_before < WAITED_MUCH)
		return NULL;
	return log_readahead_start(&plan);
}

int log_reader_each(struct log_reader *reader, uint64_t low, uint64_t high,
	bool (*each)(const struct log_row *row, void *context), void *context, bool *stopped,
	char *error, size_t error_size)
{
	struct log_readahead *ahead = NULL;
	int rc = 0;

	for (size_t i = 0; i < reader->pieces.n && !rc && !*stopped; i++) {
		uint64_t waited = log_readahead_waited();

		rc = log_reader_complain(reader,
			each_of_piece(
				reader, &reader->pieces.at[i], low, high, each, context, stopped),
			error, error_size);
		if (!ahead)
			ahead = read_ahead(reader, i, low, high, waited);
	}
	log_readahead_stop(ahead);
	return rc;
}
