/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a bucket file, as it is written.  Called by the writer's indexer on the thread that
 * writes the log: for every record log_segment_add(), and once in LOG_SEGMENT_SPAN of them
 * log_segment_write(), which sorts what has come together and takes some milliseconds.
 */
#include "log/segment.h"

#include <stdlib.h>
#include <string.h>

enum {
	OFFSET_BITS = 16,
	TERM_BITS = 36, /* Kind and value. */
	DIGIT_BITS = 12,
	DIGITS = TERM_BITS / DIGIT_BITS,
	FIRST_POSTINGS = 4096,
};

/* --- Terms ---------------------------------------------------------------------------------- */

/* Kept in files: must stay what it is. */
static uint64_t mix(uint64_t a)
{
	a = (a ^ (a >> 31)) * 0x9e3779b97f4a7c15ull;
	a = (a ^ (a >> 29)) * 0xbf58476d1ce4e5b9ull;
	return a ^ (a >> 32);
}

static uint32_t hash_address(const struct in6_addr *address)
{
	uint64_t words[2];

	memcpy(words, address, sizeof(words));
	return (uint32_t)mix(mix(words[0]) ^ words[1]);
}

unsigned int log_term_network_length(const struct in6_addr *address)
{
	return IN6_IS_ADDR_V4MAPPED(address) ? 96 + 24 : 64;
}

uint64_t log_term_address(const struct in6_addr *address)
{
	return log_term_of(LOG_TERM_ADDRESS, hash_address(address));
}

uint64_t log_term_network(const struct in6_addr *address)
{
	struct in6_addr network = *address;

	if (IN6_IS_ADDR_V4MAPPED(address))
		network.s6_addr[15] = 0;
	else
		memset(&network.s6_addr[8], 0, 8);
	return log_term_of(LOG_TERM_NETWORK, hash_address(&network));
}

uint32_t log_term_shared_row(uint64_t term, uint32_t n_shared, uint8_t *mark)
{
	uint64_t hash = mix(term);

	*mark = (uint8_t)(hash >> 56);
	return (uint32_t)hash & (n_shared - 1);
}

/* --- Collecting ----------------------------------------------------------------------------- */

void log_segment_free(struct log_segment *segment)
{
	free(segment->postings);
	free(segment->other);
	memset(segment, 0, sizeof(*segment));
}

void log_segment_clear(struct log_segment *segment)
{
	segment->first = segment->last = 0;
	segment->n_records = 0;
	segment->n = 0;
}

bool log_segment_is_full(const struct log_segment *segment, uint64_t sequence)
{
	return segment->first && sequence - segment->first >= LOG_SEGMENT_SPAN;
}

static bool make_room(struct log_segment *segment)
{
	size_t allocated = segment->allocated ? segment->allocated * 2 : FIRST_POSTINGS;
	uint64_t *larger;

	if (segment->n + LOG_TERMS_MAX <= segment->allocated)
		return true;
	larger = realloc(segment->postings, allocated * sizeof(*larger));
	if (!larger)
		return false;
	segment->postings = larger;
	larger = realloc(segment->other, allocated * sizeof(*larger));
	if (!larger)
		return false;
	segment->other = larger;
	segment->allocated = allocated;
	return true;
}

bool log_segment_add(struct log_segment *segment, uint64_t sequence, int64_t time,
	const uint64_t *terms, unsigned int n_terms)
{
	if (!make_room(segment))
		return false;
	if (!segment->first) {
		segment->first = sequence;
		segment->first_time = segment->last_time = time;
	}
	for (unsigned int i = 0; i < n_terms; i++)
		segment->postings[segment->n++] =
			terms[i] << OFFSET_BITS | (sequence - segment->first);
	segment->last = sequence;
	segment->n_records++;
	if (time < segment->first_time)
		segment->first_time = time;
	if (time > segment->last_time)
		segment->last_time = time;
	return true;
}

/* --- Writing -------------------------------------------------------------------------------- */

/* Sorts by the bits from `shift` on, keeping the order of equals: once for each digit, least first,
 * makes a radix sort. */
static void sort_by_digit(const uint64_t *from, uint64_t *to, size_t n, unsigned int shift)
{
	size_t at[1 << DIGIT_BITS] = {0}, sum = 0;

	for (size_t i = 0; i < n; i++)
		at[from[i] >> shift & ((1 << DIGIT_BITS) - 1)]++;
	for (size_t digit = 0; digit < 1 << DIGIT_BITS; digit++) {
		size_t count = at[digit];

		at[digit] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		to[at[from[i] >> shift & ((1 << DIGIT_BITS) - 1)]++] = from[i];
}

static void sort(struct log_segment *segment)
{
	for (unsigned int digit = 0; digit < DIGITS; digit++) {
		uint64_t *sorted = segment->other;

		sort_by_digit(
			segment->postings, sorted, segment->n, OFFSET_BITS + digit * DIGIT_BITS);
		segment->other = segment->postings;
		segment->postings = sorted;
	}
}

static int insert_posting(
	sqlite3_stmt *insert, uint32_t number, uint64_t term, const void *bytes, size_t length)
{
	sqlite3_bind_int64(insert, 1, log_posting_id(number, term));
	sqlite3_bind_blob64(insert, 2, bytes, length, SQLITE_STATIC);
	sqlite3_step(insert);
	return sqlite3_reset(insert);
}

/* Writes n ascending offsets, which may repeat. */
static int insert_own_row(sqlite3_stmt *insert, uint32_t number, const uint64_t *postings, size_t n)
{
	uint16_t offsets[LOG_POSTING_BITMAP / sizeof(uint16_t)];
	uint8_t bitmap[LOG_POSTING_BITMAP] = {0};
	uint64_t term = postings[0] >> OFFSET_BITS;
	size_t n_offsets = 0;

	for (size_t i = 0; i < n; i++) {
		uint16_t offset = (uint16_t)postings[i];

		if (i && offset == (uint16_t)postings[i - 1])
			continue;
		bitmap[offset / 8] |= (uint8_t)(1 << offset % 8);
		if (n_offsets < LOG_POSTING_BITMAP / sizeof(uint16_t))
			offsets[n_offsets] = htole16(offset);
		n_offsets++;
	}
	if (n_offsets < LOG_POSTING_BITMAP / sizeof(uint16_t))
		return insert_posting(insert, number, term, offsets, n_offsets * sizeof(uint16_t));
	return insert_posting(insert, number, term, bitmap, sizeof(bitmap));
}

/* Writes the terms that many records have, and leaves those of the others at the front. */
static int insert_own_rows(struct log_segment *segment, sqlite3_stmt *insert, uint32_t number)
{
	uint64_t *postings = segment->postings;
	size_t n_few = 0, end;
	int rc = SQLITE_OK;

	for (size_t i = 0; i < segment->n && rc == SQLITE_OK; i = end) {
		for (end = i + 1; end < segment->n; end++)
			if (postings[end] >> OFFSET_BITS != postings[i] >> OFFSET_BITS)
				break;
		if (end - i >= LOG_POSTING_FEW) {
			rc = insert_own_row(insert, number, postings + i, end - i);
			continue;
		}
		memmove(postings + n_few, postings + i, (end - i) * sizeof(*postings));
		n_few += end - i;
	}
	segment->n = n_few;
	return rc;
}

static uint32_t shared_rows(size_t n)
{
	uint32_t rows = 1;

	while (rows < n / LOG_POSTING_SHARED_ROW)
		rows *= 2;
	return rows;
}

/* Writes one shared row, of n postings. */
static int insert_shared_row(sqlite3_stmt *insert, uint32_t number, uint32_t row,
	const uint64_t *postings, size_t n, uint8_t *bytes)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t mark = (uint8_t)(postings[i] >> OFFSET_BITS);
		uint16_t offset = htole16((uint16_t)postings[i]);

		bytes[i] = mark;
		memcpy(bytes + n + i * sizeof(offset), &offset, sizeof(offset));
	}
	return insert_posting(insert, number, log_term_of(LOG_TERM_SHARED, row), bytes, n * 3);
}

/* Writes what is left: sorted by the row, of each its mark and offset. */
static int insert_shared_rows(
	struct log_segment *segment, sqlite3_stmt *insert, uint32_t number, uint32_t n_shared)
{
	uint8_t *bytes = malloc(segment->n * 3 + 1);
	int rc = bytes ? SQLITE_OK : SQLITE_NOMEM;
	size_t end;

	for (size_t i = 0; i < segment->n; i++) {
		uint64_t posting = segment->postings[i];
		uint8_t mark;
		uint64_t row = log_term_shared_row(posting >> OFFSET_BITS, n_shared, &mark);

		segment->postings[i] = row << (OFFSET_BITS + DIGIT_BITS) |
				       (uint64_t)mark << OFFSET_BITS | (uint16_t)posting;
	}
	/* Two digits hold any number of rows that a segment can have. */
	sort_by_digit(segment->postings, segment->other, segment->n, OFFSET_BITS + DIGIT_BITS);
	sort_by_digit(segment->other, segment->postings, segment->n, OFFSET_BITS + 2 * DIGIT_BITS);
	for (size_t i = 0; i < segment->n && rc == SQLITE_OK; i = end) {
		uint64_t row = segment->postings[i] >> (OFFSET_BITS + DIGIT_BITS);

		for (end = i + 1; end < segment->n; end++)
			if (segment->postings[end] >> (OFFSET_BITS + DIGIT_BITS) != row)
				break;
		rc = insert_shared_row(
			insert, number, (uint32_t)row, segment->postings + i, end - i, bytes);
	}
	free(bytes);
	return rc;
}

static int insert_segment(
	const struct log_segment *segment, sqlite3 *db, uint32_t number, uint32_t n_shared)
{
	sqlite3_stmt *insert;
	int rc = sqlite3_prepare_v2(
		db, "INSERT INTO segments VALUES (?,?,?,?,?,?,?)", -1, &insert, NULL);

	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(insert, 1, number);
	sqlite3_bind_int64(insert, 2, (int64_t)segment->first);
	sqlite3_bind_int64(insert, 3, (int64_t)segment->last);
	sqlite3_bind_int64(insert, 4, segment->n_records);
	sqlite3_bind_int64(insert, 5, segment->first_time);
	sqlite3_bind_int64(insert, 6, segment->last_time);
	sqlite3_bind_int64(insert, 7, n_shared);
	sqlite3_step(insert);
	return sqlite3_finalize(insert);
}

int log_segment_write(struct log_segment *segment, sqlite3 *db, uint32_t number)
{
	sqlite3_stmt *insert;
	uint32_t n_shared;
	int rc;

	if (!segment->n_records)
		return SQLITE_OK;
	rc = sqlite3_prepare_v2(db, "INSERT INTO postings VALUES (?,?)", -1, &insert, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sort(segment);
	rc = insert_own_rows(segment, insert, number);
	n_shared = shared_rows(segment->n);
	if (rc == SQLITE_OK)
		rc = insert_shared_rows(segment, insert, number, n_shared);
	sqlite3_finalize(insert);
	if (rc == SQLITE_OK)
		rc = insert_segment(segment, db, number, n_shared);
	log_segment_clear(segment);
	return rc;
}
