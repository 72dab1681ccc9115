/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index of a bucket file: which records a party, an address, a service, a rule or a verdict
 * occurs in, so that a question about one of them does not go through all records.
 *
 * Records are indexed by segments, once one is complete: LOG_SEGMENT_SPAN sequence numbers, or less
 * where a file ends.  A segment has a row in `segments`; what lies between the rows of segments is
 * not indexed (the one under way, or all of a file of an older format) and is gone through instead.
 *
 * What can be looked for is a term: a kind and a 32 bit value.  A term's postings are the offsets,
 * from the segment's first number, of the records that have it.  One that many records have has a
 * row of its own in `postings`: ascending 16 bit offsets, or a bitmap where that is smaller.  Those
 * that few have share a row with others of the same hash: first a byte of each one's hash, then the
 * offsets.  So postings may tell of records that do not have the term, never too few; whoever reads
 * looks at the record.
 *
 * Used by the parts of the log store only.
 */
#ifndef LOG_SEGMENT_H
#define LOG_SEGMENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

enum {
	LOG_SEGMENT_SPAN = 65536, /* An offset has 16 bits. */
	LOG_POSTING_BITMAP = LOG_SEGMENT_SPAN / 8,
	LOG_POSTING_FEW = 16,	      /* Terms with fewer postings share rows. */
	LOG_POSTING_SHARED_ROW = 128, /* Postings in such a row, on average. */
	LOG_SEGMENT_NUMBER_MAX = 1 << 27,
	LOG_PORTS_INDEXED = 32768, /* Sources' ports from here on are no services. */
};

/* Kinds of term. */
enum log_term_kind {
	LOG_TERM_CLASS,	   /* log_term_class(). */
	LOG_TERM_PARTY,	   /* -> parties.id, either end's. */
	LOG_TERM_DECISION, /* -> contexts.id, of the decision. */
	LOG_TERM_PORT,	   /* The destination's; the source's if less than LOG_PORTS_INDEXED. */
	LOG_TERM_ADDRESS,  /* Hash of an address that is kept with the record. */
	LOG_TERM_NETWORK,  /* Hash of its /24 (IPv4) or /64. */
	LOG_TERM_SHARED,   /* No term: the number of a shared row. */
};

/* A term as a number: kind << 32 | value. */
static inline uint64_t log_term_of(enum log_term_kind kind, uint32_t value)
{
	return (uint64_t)kind << 32 | value;
}

static inline uint64_t log_term_class(unsigned int kind, unsigned int verdict)
{
	return log_term_of(LOG_TERM_CLASS, kind << 8 | verdict);
}

uint64_t log_term_address(const struct in6_addr *address);
uint64_t log_term_network(const struct in6_addr *address);

/* How many bits of an address its network has. */
unsigned int log_term_network_length(const struct in6_addr *address);

/* Where a term with few postings lies: the shared row (less than n_shared, a power of two) and the
 * byte that tells it from others there. */
uint32_t log_term_shared_row(uint64_t term, uint32_t n_shared, uint8_t *mark);

/* The key of a row of `postings`. */
static inline int64_t log_posting_id(uint32_t segment, uint64_t term)
{
	return (int64_t)((uint64_t)segment << 36 | term);
}

/* --- Writing: segment.c --------------------------------------------------------------------- */

enum { LOG_TERMS_MAX = 10 }; /* Of one record. */

/* A segment in the making. */
struct log_segment {
	uint64_t first, last;	       /* Sequence numbers; 0: it has no record yet. */
	int64_t first_time, last_time; /* Least and greatest, from the bucket's start. */
	uint32_t n_records;
	uint64_t *postings,
		*other; /* Term << 16 | offset, in the order of offsets; a second room. */
	size_t n, allocated;
};

void log_segment_free(struct log_segment *segment);
void log_segment_clear(struct log_segment *segment); /* Keeps the memory. */

/* True if a record of this number belongs into the next segment. */
bool log_segment_is_full(const struct log_segment *segment, uint64_t sequence);

/* Adds a record's terms.  False: no memory. */
bool log_segment_add(struct log_segment *segment, uint64_t sequence, int64_t time,
	const uint64_t *terms, unsigned int n_terms);

/* Writes it as segment `number` of the file, and empties it.  Returns SQLite's result. */
int log_segment_write(struct log_segment *segment, sqlite3 *db, uint32_t number);

/* --- Reading: posting.c --------------------------------------------------------------------- */

/* A set of offsets. */
struct log_offsets {
	uint64_t bits[LOG_SEGMENT_SPAN / 64];
};

size_t log_offsets_count(const struct log_offsets *offsets);

/* Adds the postings of a term in segment `number` with `n_shared` shared rows to the set, which it
 * does not clear.  `statement` is log_posting_sql, prepared.  Returns SQLite's result;
 * SQLITE_MISMATCH for postings that the writer cannot have made. */
extern const char log_posting_sql[];
int log_posting_read(sqlite3_stmt *statement, uint32_t number, uint32_t n_shared, uint64_t term,
	struct log_offsets *offsets);

#endif
