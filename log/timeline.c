/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts over time.  Called by `cordon log`, `cordon report` and tests, on their own thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/flow_rows.h"
#include "zones/zone.h"

struct timeline {
	uint64_t slot_ns;
	struct log_slot *slots; /* Without a hole, oldest first. */
	size_t n, allocated;
	uint64_t first; /* Number of the first slot, from 1970. */
	int error;
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

	if (!timeline->n)
		timeline->first = number;
	if (number < timeline->first)
		timeline->error = make_room(
			timeline, timeline->n + timeline->first - number, timeline->first - number);
	else if (number - timeline->first >= timeline->n)
		timeline->error = make_room(timeline, number - timeline->first + 1, 0);
	return timeline->error ? NULL : &timeline->slots[number - timeline->first];
}

static bool add_record(const struct log_record *record, void *context)
{
	struct timeline *timeline = context;
	struct log_slot *slot = slot_of(timeline, record->time_ns);
	struct log_flow_counts one = {0};

	if (!slot)
		return false;
	if (record->kind != LOG_GAP)
		log_flow_count(&one, record);
	slot->began += one.began;
	slot->ended += one.ended;
	slot->would_deny += one.would_deny;
	switch (record->kind) {
	case LOG_GAP: slot->lost += record->packets_forward; break;
	case LOG_SPOOFED: slot->spoofed += one.refused; break;
	case LOG_LIMIT: slot->limited += one.refused; break;
	case LOG_DENIED:
		if (record->verdict == ZONE_REJECT)
			slot->rejected += one.refused;
		else
			slot->denied += one.refused;
		break;
	default: break;
	}
	return true;
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
		.slot_ns = (slot_seconds + 59) / 60 * 60 * UINT64_C(1000000000)};
	struct log_filter all = *filter;
	int rc;

	if (!timeline.slot_ns)
		timeline.slot_ns = 60 * UINT64_C(1000000000);
	all.limit = 0;
	all.with_gaps = true;
	rc = log_query(directory, &all, add_record, &timeline, error, error_size);
	if (timeline.error)
		rc = complain(timeline.error, error, error_size);
	for (size_t i = 0; (!rc || rc == -EIO) && i < timeline.n; i++)
		if (!each(&timeline.slots[i], context))
			break;
	free(timeline.slots);
	return rc;
}
