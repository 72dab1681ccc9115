/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is missing in a log: gap records, and holes in the sequence that none explains.  Called by
 * `cordon log`, `cordon report` and tests, on their own thread.
 */
#include "log/flows.h"

struct gaps {
	bool (*each)(const struct log_gap *gap, void *context);
	void *context;
	uint64_t since_ns;
	uint64_t last_sequence, last_ns; /* Of the record before; 0: none. */
};

static bool add_record(const struct log_record *record, void *context)
{
	struct gaps *gaps = context;
	uint64_t next = gaps->last_sequence + 1;
	struct log_gap gap = {
		.from_ns = gaps->last_ns,
		.until_ns = record->time_ns,
		.sequence = record->sequence,
		.reason = "",
		.host = record->host,
		.recorded = record->kind == LOG_GAP,
	};

	if (gaps->last_sequence && record->sequence > next)
		gap.lost = gap.missing = record->sequence - next;
	if (gap.recorded) {
		gap.lost = record->packets_forward;
		gap.reason = record->reason;
	}
	/* After the clock was set back, files are not in the order of their making. */
	if (record->sequence > gaps->last_sequence)
		gaps->last_sequence = record->sequence;
	gaps->last_ns = record->time_ns;
	if ((!gap.recorded && !gap.missing) || record->time_ns < gaps->since_ns)
		return true;
	return gaps->each(&gap, gaps->context);
}

int log_gaps(const char *directory, uint64_t since_ns, uint64_t until_ns,
	bool (*each)(const struct log_gap *gap, void *context), void *context, char *error,
	size_t error_size)
{
	struct gaps gaps = {.each = each, .context = context, .since_ns = since_ns};
	struct log_filter filter = LOG_FILTER_ANY;

	/* From a little earlier on, so that a hole at the edge of the span has a record before. */
	filter.since_ns =
		since_ns > 600 * UINT64_C(1000000000) ? since_ns - 600 * UINT64_C(1000000000) : 0;
	filter.until_ns = until_ns;
	return log_query(directory, &filter, add_record, &gaps, error, error_size);
}
