/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a bucket file, as it is read.  Called by the readers of the log on their own
 * threads. A file may have come from anywhere: nothing in it is trusted.
 */
#include "log/segment.h"

#include <endian.h>
#include <string.h>

const char log_posting_sql[] = "SELECT offsets FROM postings WHERE id = ?";

static void set(struct log_offsets *offsets, uint16_t offset)
{
	offsets->bits[offset / 64] |= UINT64_C(1) << offset % 64;
}

static uint16_t offset_at(const uint8_t *bytes, size_t i)
{
	uint16_t offset;

	memcpy(&offset, bytes + i * sizeof(offset), sizeof(offset));
	return le16toh(offset);
}

size_t log_offsets_count(const struct log_offsets *offsets)
{
	size_t n = 0;

	for (size_t i = 0; i < LOG_SEGMENT_SPAN / 64; i++)
		n += (size_t)__builtin_popcountll(offsets->bits[i]);
	return n;
}

static int read_own_row(const uint8_t *bytes, size_t length, struct log_offsets *offsets)
{
	if (length % sizeof(uint16_t) || length > LOG_POSTING_BITMAP)
		return SQLITE_MISMATCH;
	if (length < LOG_POSTING_BITMAP) {
		for (size_t i = 0; i < length / sizeof(uint16_t); i++)
			set(offsets, offset_at(bytes, i));
		return SQLITE_OK;
	}
	for (size_t i = 0; i < LOG_SEGMENT_SPAN / 64; i++) {
		uint64_t word;

		memcpy(&word, bytes + i * sizeof(word), sizeof(word));
		offsets->bits[i] |= le64toh(word);
	}
	return SQLITE_OK;
}

static int read_shared_row(
	const uint8_t *bytes, size_t length, uint8_t mark, struct log_offsets *offsets)
{
	size_t n = length / 3;

	if (length % 3)
		return SQLITE_MISMATCH;
	for (size_t i = 0; i < n; i++)
		if (bytes[i] == mark)
			set(offsets, offset_at(bytes + n, i));
	return SQLITE_OK;
}

/* Steps to the row; returns its bytes, or NULL if there is none or it has none. */
static const uint8_t *find_row(sqlite3_stmt *statement, int64_t id, size_t *length, int *rc)
{
	const uint8_t *bytes = NULL;

	sqlite3_bind_int64(statement, 1, id);
	*rc = sqlite3_step(statement);
	if (*rc == SQLITE_ROW) {
		bytes = sqlite3_column_blob(statement, 0);
		*length = (size_t)sqlite3_column_bytes(statement, 0);
	}
	if (*rc == SQLITE_ROW || *rc == SQLITE_DONE)
		*rc = SQLITE_OK;
	return bytes;
}

int log_posting_read(sqlite3_stmt *statement, uint32_t number, uint32_t n_shared, uint64_t term,
	struct log_offsets *offsets)
{
	size_t length = 0;
	uint8_t mark;
	uint32_t row = log_term_shared_row(term, n_shared, &mark);
	int rc;
	const uint8_t *bytes = find_row(statement, log_posting_id(number, term), &length, &rc);

	if (bytes)
		rc = read_own_row(bytes, length, offsets);
	sqlite3_reset(statement);
	if (bytes || rc != SQLITE_OK)
		return rc;
	bytes = find_row(
		statement, log_posting_id(number, log_term_of(LOG_TERM_SHARED, row)), &length, &rc);
	if (bytes)
		rc = read_shared_row(bytes, length, mark, offsets);
	sqlite3_reset(statement);
	return rc;
}
