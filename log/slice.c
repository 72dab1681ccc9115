/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sums of a bucket file, as they are written.  Called by the writer's indexer, for every
 * record, on the thread that writes the log.
 */
#include "log/slice.h"

#include <stdlib.h>
#include <string.h>

void log_slice_init(struct log_slice *slice)
{
	memset(slice, 0, sizeof(*slice));
	log_flow_rows_init(&slice->flows);
	log_flow_rows_init(&slice->minutes);
	log_flow_rows_init(&slice->scratch);
}

void log_slice_free(struct log_slice *slice)
{
	log_flow_rows_free(&slice->flows);
	log_flow_rows_free(&slice->minutes);
	log_flow_rows_free(&slice->scratch);
}

void log_slice_clear(struct log_slice *slice)
{
	log_flow_rows_clear(&slice->flows);
	log_flow_rows_clear(&slice->minutes);
	slice->first = slice->last = 0;
	slice->n_records = slice->n_new = 0;
	slice->minutes_overflowed = false;
	memset(&slice->lump, 0, sizeof(slice->lump));
}

bool log_slice_is_full(const struct log_slice *slice)
{
	return slice->n_records >= LOG_SLICE_RECORDS;
}

void log_slice_add_gap(struct log_slice *slice, uint64_t sequence, int64_t time)
{
	if (!slice->first) {
		slice->first = sequence;
		slice->first_time = slice->last_time = time;
	}
	slice->last = sequence;
	slice->n_records++;
	if (time < slice->first_time)
		slice->first_time = time;
	if (time > slice->last_time)
		slice->last_time = time;
}

/* The row that a record of this flow is counted in. */
static struct log_flow_row *find_flow(struct log_slice *slice, const struct log_flow_key *key)
{
	struct log_flow_row *row = log_flow_rows_find(&slice->flows, key);
	const struct log_lump *lump = &slice->lump;
	bool lumps = lump->addresses || lump->ports || lump->parties;
	struct log_flow_key lumped = *key;

	if (row)
		return row;
	if (slice->flows.n >= LOG_SLICE_FLOWS && !log_slice_make_room(slice))
		return NULL;
	if (lumps && slice->n_new++ % LOG_SLICE_HELD)
		log_slice_lump(slice, lump, &lumped);
	return log_flow_rows_get(&slice->flows, &lumped);
}

/* More minutes, decisions and zones than there is room for: then there are none, and whoever wants
 * them goes through the records. */
static bool count_minute(
	struct log_slice *slice, const struct log_record *record, const struct log_flow_key *minute)
{
	struct log_flow_row *row;

	if (slice->minutes.n >= LOG_SLICE_MINUTES)
		slice->minutes_overflowed = true;
	if (slice->minutes_overflowed)
		return true;
	row = log_flow_rows_get(&slice->minutes, minute);
	if (row)
		log_flow_count(&row->counts, record);
	return row;
}

bool log_slice_add(struct log_slice *slice, const struct log_record *record, int64_t time,
	const struct log_flow_key *key, const struct log_flow_key *minute)
{
	struct log_flow_row *row = find_flow(slice, key);

	if (!row || !count_minute(slice, record, minute))
		return false;
	log_flow_count(&row->counts, record);
	log_slice_add_gap(slice, record->sequence, time);
	return true;
}

/* --- Writing -------------------------------------------------------------------------------- */

static int bind_rows(
	sqlite3_stmt *insert, int at, const struct log_flow_rows *rows, uint64_t start_ns)
{
	size_t length;
	uint8_t *bytes = log_slice_pack(rows, start_ns, &length);

	return bytes ? sqlite3_bind_blob64(insert, at, bytes, length, free) : SQLITE_NOMEM;
}

/* When a minute was counted is no news: it is in its key. */
static void drop_times(struct log_flow_rows *minutes)
{
	for (uint32_t i = 0; i < minutes->n; i++) {
		struct log_flow_counts *counts = &minutes->at[i].counts;

		counts->first_ns = counts->last_ns = 0;
		counts->packets_forward = counts->packets_reverse = 0;
		counts->bytes_forward = counts->bytes_reverse = 0;
	}
}

int log_slice_write(struct log_slice *slice, sqlite3 *db, uint64_t start_ns)
{
	sqlite3_stmt *insert;
	int rc;

	if (!slice->n_records)
		return SQLITE_OK;
	rc = sqlite3_prepare_v2(db, "INSERT INTO slices VALUES (?,?,?,?,?,?,?)", -1, &insert, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(insert, 1, (int64_t)slice->first);
	sqlite3_bind_int64(insert, 2, (int64_t)slice->last);
	sqlite3_bind_int64(insert, 3, slice->n_records);
	sqlite3_bind_int64(insert, 4, slice->first_time);
	sqlite3_bind_int64(insert, 5, slice->last_time);
	drop_times(&slice->minutes);
	rc = bind_rows(insert, 6, &slice->flows, start_ns);
	if (rc == SQLITE_OK && !slice->minutes_overflowed)
		rc = bind_rows(insert, 7, &slice->minutes, start_ns);
	if (rc == SQLITE_OK)
		sqlite3_step(insert);
	if (rc == SQLITE_OK)
		rc = sqlite3_finalize(insert);
	else
		sqlite3_finalize(insert);
	log_slice_clear(slice);
	return rc;
}
