/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts over time.  Called by `cordon log`, `cordon report` and tests, on their own thread.  Taken
 * from what the writer has counted for each minute where the filter can be put to that, and from
 * the records elsewhere.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/walk.h"
#include "log/flow_match.h"
#include "log/sums.h"
#include "zones/zone.h"

#define MINUTE_NS (60 * LOG_SECOND_NS)

struct timeline {
	struct log_filter filter;
	uint64_t slot_ns;
	struct log_slot *slots; /* Without a hole, oldest first. */
	size_t n, allocated;
	uint64_t first; /* Number of the first slot, from 1970. */
	int error;
	/* Of the file being read. */
	struct log_names *names;
	struct log_flow_match match;
	uint64_t file_start_ns;
};

/* Makes room for `n` slots, the present ones being moved up by `up`. */
static int make_room(struct timeline *timeline, uint64_t n, uint64_t up)
{
	if (n > LOG_SLOTS_MAX)
		return -EINVAL;
	if (n > timeline->allocated) {
		size_t allocated = n * 2;
		struct log_slot *slots = realloc(timeline->slots, allocated * sizeof(*slots));

		if (!slots)
			return -ENOMEM;
		timeline->slots = slots;
		timeline->allocated = allocated;
	}
	memmove(timeline->slots + up, timeline->slots, timeline->n * sizeof(*timeline->slots));
	memset(timeline->slots + (up ? 0 : timeline->n), 0,
		(n - timeline->n) * sizeof(*timeline->slots));
	timeline->n = n;
	timeline->first -= up;
	for (size_t i = 0; i < n; i++)
		timeline->slots[i].start_ns = (timeline->first + i) * timeline->slot_ns;
	return 0;
}

/* The slot of a time; NULL, with timeline->error set. */
static struct log_slot *slot_of(struct timeline *timeline, uint64_t time_ns)
{
	uint64_t number = time_ns / timeline->slot_ns;

	if (timeline->error)
		return NULL;
	if (!timeline->n)
		timeline->first = number;
	if (number < timeline->first)
		timeline->error = make_room(
			timeline, timeline->n + timeline->first - number, timeline->first - number);
	else if (number - timeline->first >= timeline->n)
		timeline->error = make_room(timeline, number - timeline->first + 1, 0);
	return timeline->error ? NULL : &timeline->slots[number - timeline->first];
}

/* --- Records and rows of sums ----------------------------------------------------------------- */

static void add_counts(struct log_slot *slot, const struct log_record *decision,
	const struct log_flow_counts *counts)
{
	slot->began += counts->began;
	slot->ended += counts->ended;
	slot->would_deny += counts->would_deny;
	if (decision->kind == LOG_SPOOFED)
		slot->spoofed += counts->refused;
	else if (decision->kind == LOG_LIMIT)
		slot->limited += counts->refused;
	else if (decision->verdict == ZONE_REJECT)
		slot->rejected += counts->refused;
	else
		slot->denied += counts->refused;
}

static bool add_record(const struct log_row *row, void *context)
{
	struct timeline *timeline = context;
	struct log_flow_counts one = {0};
	struct log_slot *slot;

	if (row->record.kind == LOG_GAP)
		return true;
	slot = slot_of(timeline, row->record.time_ns);
	if (!slot)
		return false;
	log_flow_count(&one, &row->record);
	add_counts(slot, &row->record, &one);
	return true;
}

static bool add_minute(const struct log_flow_row *row, void *context)
{
	struct timeline *timeline = context;
	int64_t minute = (int32_t)row->key.lumped;
	uint64_t first = timeline->file_start_ns / MINUTE_NS;
	struct log_slot *slot;

	if (!log_flow_match_minute(&timeline->match, &row->key))
		return true;
	slot = slot_of(timeline, (first + (uint64_t)minute) * MINUTE_NS);
	if (!slot)
		return false;
	add_counts(
		slot, &log_names_context(timeline->names, row->key.decision)->record, &row->counts);
	return true;
}

static bool can_use(const struct log_flow_row *rows, size_t n, void *context)
{
	const struct log_filter *filter = &((struct timeline *)context)->filter;

	(void)rows;
	(void)n;
	return !filter->vm && !filter->port && !filter->prefix && filter->transport_port < 0 &&
	       (filter->kind < 0 || filter->kind > LOG_END);
}

static int read_file(
	struct timeline *timeline, struct log_reader *reader, char *error, size_t error_size)
{
	const struct log_sums_visitor visitor = {.kind = LOG_SUMS_MINUTES,
		.can_use = can_use,
		.row = add_minute,
		.record = add_record,
		.context = timeline};
	bool stopped = false;
	int rc = log_reader_complain(reader,
		log_flow_match_open(&timeline->match, reader, &timeline->filter), error,
		error_size);

	timeline->names = log_reader_names(reader);
	timeline->file_start_ns = log_reader_start_ns(reader);
	if (!rc)
		rc = log_sums_visit(
			reader, &timeline->filter, &visitor, &stopped, error, error_size);
	log_flow_match_close(&timeline->match);
	return rc;
}

static int read_files(
	struct timeline *timeline, const char *directory, char *error, size_t error_size)
{
	const struct log_filter *filter = &timeline->filter;
	struct log_walk files;
	int rc = log_walk_open(&files, directory, error, error_size);

	if (rc)
		return rc;
	for (size_t i = 0; i < files.list.n && !timeline->error; i++) {
		struct log_reader *reader = NULL;
		char reason[512];

		if (log_walk_may_have(&files, i, filter->since_ns, filter->until_ns))
			reader = log_walk_read(&files, i, filter);
		if (reader && read_file(timeline, reader, reason, sizeof(reason)))
			log_walk_note(&files, reason);
		log_reader_close(reader);
	}
	rc = log_walk_result(&files);
	log_walk_close(&files);
	return rc;
}

/* --- What is lost ----------------------------------------------------------------------------- */

static bool add_gap(const struct log_record *record, void *context)
{
	struct timeline *timeline = context;
	struct log_slot *slot = slot_of(timeline, record->time_ns);

	if (slot)
		slot->lost += record->packets_forward;
	return slot;
}

static int read_gaps(
	struct timeline *timeline, const char *directory, char *error, size_t error_size)
{
	struct log_filter gaps = LOG_FILTER_ANY;

	gaps.kind = LOG_GAP;
	gaps.since_ns = timeline->filter.since_ns;
	gaps.until_ns = timeline->filter.until_ns;
	return log_query(directory, &gaps, add_gap, timeline, error, error_size);
}

static int complain(int rc, char *error, size_t error_size)
{
	snprintf(error, error_size,
		rc == -ENOMEM ? "no memory for so many slots of time"
			      : "the span has more than %d slots of time; make these longer",
		LOG_SLOTS_MAX);
	return rc;
}

int log_timeline(const char *directory, const struct log_filter *filter, uint64_t slot_seconds,
	bool (*each)(const struct log_slot *slot, void *context), void *context, char *error,
	size_t error_size)
{
	struct timeline timeline = {
		.filter = *filter, .slot_ns = (slot_seconds + 59) / 60 * MINUTE_NS};
	int rc;

	if (!timeline.slot_ns)
		timeline.slot_ns = MINUTE_NS;
	timeline.filter.limit = 0;
	timeline.filter.with_gaps = false;
	rc = read_files(&timeline, directory, error, error_size);
	/* What could be read counts; the same file is at fault in both, and said so. */
	if (!rc || rc == -EIO) {
		int gaps_rc = read_gaps(&timeline, directory, error, error_size);

		rc = gaps_rc ? gaps_rc : rc;
	}
	if (timeline.error)
		rc = complain(timeline.error, error, error_size);
	for (size_t i = 0; (!rc || rc == -EIO) && i < timeline.n; i++)
		if (!each(&timeline.slots[i], context))
			break;
	free(timeline.slots);
	return rc;
}
