/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sums of a bucket file: what its records say of flows and of minutes, so that questions about
 * much traffic do not go through all records.
 *
 * Records are added up by slices of LOG_SLICE_RECORDS, or less where a file ends, each with a row
 * in `slices`; what lies between these rows is not added up, and is gone through instead.  A slice
 * has its flows (log/flow_rows.h: ends are rows of `parties`, decisions rows of `contexts`), and
 * counts for each minute, decision and pair of zones, which have names (rows of `strings`) as ends
 * and the minute, from that of the bucket's start, in `lumped`.
 *
 * A slice keeps at most LOG_SLICE_FLOWS flows.  When more come, those that occur least are added
 * up: addresses that are kept with records by /24 or /64, then /16 or /48, then any of the zone;
 * ports; at last parties by zone, so that there cannot be more than the policy has rules and zones.
 * From then on a new flow is added up at once, but for one in LOG_SLICE_HELD records: who has many
 * records gets a row of its own all the same.  A row for several says so; sums are exact.
 *
 * Used by the parts of the log store only.
 */
#ifndef LOG_SLICE_H
#define LOG_SLICE_H

#include <sqlite3.h>

#include "log/flow_rows.h"

enum {
	LOG_SLICE_RECORDS = 262144,
	LOG_SLICE_FLOWS = 8192,
	LOG_SLICE_MINUTES = 16384, /* Rows; if more are wanted, the slice has none. */
	LOG_SLICE_HELD = 16,
};

/* --- Writing: slice.c, slice_lump.c --------------------------------------------------------- */

/* What is added up by now. */
enum { LOG_LUMP_STEPS = 3 };
struct log_lump {
	unsigned int addresses; /* 0: none; 1: /24, /64; 2: /16, /48; 3: all of a zone. */
	bool ports, parties;
};

/* A slice in the making. */
struct log_slice {
	uint64_t first, last;	       /* Sequence numbers; 0: it has no record yet. */
	int64_t first_time, last_time; /* Least and greatest, from the bucket's start. */
	uint32_t n_records;
	struct log_flow_rows flows, minutes;
	bool minutes_overflowed;
	struct log_lump lump;
	uint32_t n_new; /* Records of flows that have no row. */
	struct log_flow_rows scratch;
	/* The party that has the zone of `party` and no more, for a lumped row; 0: none can be
	 * made.  The owner's. */
	uint32_t (*zone_party)(void *owner, uint32_t party);
	void *owner;
};

void log_slice_init(struct log_slice *slice);
void log_slice_free(struct log_slice *slice);
void log_slice_clear(struct log_slice *slice); /* Keeps the memory. */

/* Counts one record, which is no gap, in the flow `key` and the minute `minute`.  False: no memory.
 */
bool log_slice_add(struct log_slice *slice, const struct log_record *record, int64_t time,
	const struct log_flow_key *key, const struct log_flow_key *minute);

/* A gap record only belongs to the slice. */
void log_slice_add_gap(struct log_slice *slice, uint64_t sequence, int64_t time);

bool log_slice_is_full(const struct log_slice *slice);

/* Writes it to a file whose bucket starts at `start_ns`, and empties it.  Returns SQLite's result.
 */
int log_slice_write(struct log_slice *slice, sqlite3 *db, uint64_t start_ns);

/* What of this does not depend on the file: addresses and ports. */
void log_lump_key(const struct log_lump *lump, struct log_flow_key *key);

/* The key of the row that stands for this one among others. */
void log_slice_lump(
	const struct log_slice *slice, const struct log_lump *lump, struct log_flow_key *key);

/* Makes room for more rows.  False: no memory. */
bool log_slice_make_room(struct log_slice *slice);

/* --- Rows as bytes: slice_pack.c ------------------------------------------------------------ */

/* All rows, each a bit for every field that is not 0, and these fields, in a format that takes few
 * bytes for small numbers.  The caller frees.  NULL: no memory. */
uint8_t *log_slice_pack(const struct log_flow_rows *rows, uint64_t start_ns, size_t *length);

/* Reads such bytes: calls `each` for every row until it returns false.  Returns false if they
 * cannot be what log_slice_pack() has made; rows before the fault have been given out. */
bool log_slice_unpack(const uint8_t *bytes, size_t length, uint64_t start_ns,
	bool (*each)(const struct log_flow_row *row, void *context), void *context);

#endif
