/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going on with a file.  Called by writer.c, on the thread that writes the log, before the first
 * record after a file was opened or a transaction rolled back; and by store.c for a file that
 * nobody will go on with.
 *
 * Index and sums are written by segments and slices, so a file may have records that are in
 * neither: all of them, if another writer was killed over them.  They are read back, which takes a
 * fraction of a second at most.
 */
#include <stdio.h>
#include <stdlib.h>

#include "log/reader.h"
#include "log/writer.h"

struct tail {
	struct log_writer *writer;
	int64_t segments_end, slices_end; /* The last sequence numbers that are in them. */
	sqlite3_stmt *rows, *zone;
	struct log_names names;
};

/* Notes the zone of a party that this writer has not met. */
static int note_zone(struct tail *tail, uint32_t party)
{
	struct log_indexer *indexer = &tail->writer->indexer;
	uint32_t zone = 0;

	if (log_memo_get(&indexer->zones, party))
		return SQLITE_OK;
	sqlite3_bind_int64(tail->zone, 1, party);
	if (sqlite3_step(tail->zone) == SQLITE_ROW)
		zone = (uint32_t)sqlite3_column_int64(tail->zone, 0);
	sqlite3_reset(tail->zone);
	return log_memo_set(&indexer->zones, party, zone + 1) ? SQLITE_OK : SQLITE_NOMEM;
}

static int add_row(struct tail *tail)
{
	struct log_writer *writer = tail->writer;
	struct log_inserted inserted;
	struct log_row row;
	int rc;

	log_row_read(&tail->names, tail->rows, writer->start_ns, &row);
	inserted = (struct log_inserted){.record = &row.record,
		.decision = log_writer_decision(writer, &row.record, row.context, &rc),
		.source = row.source,
		.destination = row.destination,
		.source_apart = row.source_apart,
		.destination_apart = row.destination_apart};
	if (rc == SQLITE_OK)
		rc = note_zone(tail, row.source);
	if (rc == SQLITE_OK)
		rc = note_zone(tail, row.destination);
	if (rc == SQLITE_OK && (int64_t)row.record.sequence > tail->segments_end)
		rc = log_indexer_add_to_segment(&writer->indexer, writer->db, &inserted);
	if (rc == SQLITE_OK && (int64_t)row.record.sequence > tail->slices_end)
		rc = log_indexer_add_to_slice(&writer->indexer, writer->db, &inserted);
	return rc;
}

static int read_tail(struct tail *tail)
{
	sqlite3 *db = tail->writer->db;
	int64_t from =
		tail->segments_end < tail->slices_end ? tail->segments_end : tail->slices_end;
	int rc = sqlite3_prepare_v2(db,
		"SELECT " LOG_ROW_COLUMNS " FROM records WHERE sequence > ? ORDER BY sequence", -1,
		&tail->rows, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(
			db, "SELECT zone FROM parties WHERE id = ?", -1, &tail->zone, NULL);
	if (rc == SQLITE_OK)
		rc = log_names_open(&tail->names, db);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(tail->rows, 1, from);
	while (rc == SQLITE_OK && (rc = sqlite3_step(tail->rows)) == SQLITE_ROW)
		rc = add_row(tail);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* The number that at most LOG_SLICE_RECORDS records follow.  There are never more that are not
 * summed, unless the file is not the writer's; that must not hold the log up. */
static int64_t least_end(sqlite3 *db)
{
	char sql[100];

	snprintf(sql, sizeof(sql),
		"SELECT sequence FROM records ORDER BY sequence DESC LIMIT 1 OFFSET %d",
		LOG_SLICE_RECORDS);
	return log_bucket_number(db, sql, 0);
}

static int read_numbers(struct tail *tail)
{
	sqlite3 *db = tail->writer->db;
	int64_t number = log_bucket_number(db, "SELECT max(number) FROM segments", 0);
	int64_t least = least_end(db);

	if (number >= LOG_SEGMENT_NUMBER_MAX)
		return SQLITE_CORRUPT;
	tail->writer->indexer.next_segment = number < 0 ? 1 : 1 + (uint32_t)number;
	tail->segments_end = log_bucket_number(db, "SELECT max(last) FROM segments", 0);
	tail->slices_end = log_bucket_number(db, "SELECT max(last) FROM slices", 0);
	if (tail->segments_end < least)
		tail->segments_end = least;
	if (tail->slices_end < least)
		tail->slices_end = least;
	return SQLITE_OK;
}

int log_writer_resume(struct log_writer *writer)
{
	struct tail *tail = calloc(1, sizeof(*tail));
	int rc;

	if (!tail)
		return SQLITE_NOMEM;
	tail->writer = writer;
	rc = read_numbers(tail);
	if (rc == SQLITE_OK)
		rc = read_tail(tail);
	sqlite3_finalize(tail->rows);
	sqlite3_finalize(tail->zone);
	log_names_close(&tail->names);
	free(tail);
	writer->resumed = rc == SQLITE_OK;
	return rc;
}

/* True if index and sums have all records. */
static bool is_complete(sqlite3 *db)
{
	int64_t last = log_bucket_number(db, "SELECT max(sequence) FROM records", 0);

	return log_bucket_number(db, "SELECT max(last) FROM segments", 0) >= last &&
	       log_bucket_number(db, "SELECT max(last) FROM slices", 0) >= last;
}

void log_writer_complete(sqlite3 *db)
{
	struct log_writer writer;
	int rc;

	if (is_complete(db) || log_bucket_execute(db, "BEGIN") != SQLITE_OK)
		return;
	log_writer_init(&writer);
	rc = log_writer_attach(&writer, db);
	if (rc == SQLITE_OK)
		rc = log_writer_resume(&writer);
	if (rc == SQLITE_OK)
		rc = log_writer_finish(&writer);
	if (rc == SQLITE_OK)
		log_bucket_execute(db, "COMMIT");
	if (!sqlite3_get_autocommit(db))
		log_bucket_execute(db, "ROLLBACK");
	log_writer_detach(&writer);
	log_writer_free(&writer);
}
