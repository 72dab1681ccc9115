/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sink of the traffic log: a thread that brings records to one place, and the queue in front of
 * it.
 *
 * The queue
 *	Batches wait until they are delivered, not only until they are written: if the place fails,
 *	they are written once more when it is back.  The memory that they may take is the sink's
 *	`backlog-bytes`.  What comes when it is full is lost: counted, and told by a gap record in
 *	the lost records' place, with the sequence number of the last of them.
 *
 * The place
 *	Its functions (sink_type.h) are called by the sink's thread only.  When one fails, the place
 *	is closed and opened anew after a while, longer each time, up to half a minute.
 *
 * Threads
 *	sink_push() is the log thread's, the others are those of whoever configures and asks.  The
 *	mutex is held to move entries and to copy numbers, never while the place is called, so
 *	nobody ever waits for a place.
 */
#ifndef SINKS_SINK_H
#define SINKS_SINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "log/batch.h"
#include "sinks/sink_type.h"

enum { SINK_NAME_MAX = 64 };

struct sink;

/* What all sinks of a switch have in common. */
struct sink_context {
	const char *host, *directory; /* See struct sink_place.  They outlive the sinks. */
	_Atomic uint64_t *known_sequence;
	uint64_t gap_sequence; /* Of the gap record for what died with the last process. */
	/* Called by each sink's thread when it begins, to take the place among the threads that the
	 * owner wants it to have; or NULL. */
	void (*begin_thread)(void *owner);
	void *owner;
};

/* How a sink does. */
struct sink_statistics {
	uint64_t delivered;	/* Records. */
	uint64_t lost;		/* Records that the filter lets through. */
	uint64_t waiting;	/* Records, before the filter; gap records, too. */
	uint64_t waiting_bytes; /* Memory that they take. */
	uint64_t failures;	/* How often the place was out of order. */
	bool is_open;
	char error[SINK_ERROR_MAX]; /* Why it is out of order; "": it is not. */
};

/* Starts a sink.  The settings are checked, and copied.  `settled` counts the switch's events that
 * are delivered, or told as lost; the sink alone writes it, and it outlives the sink's thread.
 * `missing` events of it died with the last process: they are the first thing that is told.  NULL
 * without memory. */
struct sink *sink_start(const struct sink_context *context, const struct sink_type *type,
	const char *name, const struct sink_settings *settings, _Atomic uint64_t *settled,
	uint64_t missing);

const char *sink_name(const struct sink *sink);
const struct sink_type *sink_type_of(const struct sink *sink);
_Atomic uint64_t *sink_settled(const struct sink *sink);

/* Gives it other settings, checked.  If they differ, the place is opened anew with them; what waits
 * goes on waiting. */
void sink_configure(struct sink *sink, const struct sink_settings *settings);

/* Hands it a batch, of which it takes a reference. */
void sink_push(struct sink *sink, struct log_batch *batch);

void sink_read_statistics(struct sink *sink, struct sink_statistics *statistics);

/* Lets it end: it delivers what waits, if the place is in order, for at most `drain_ms`. */
void sink_end(struct sink *sink, unsigned int drain_ms);

/* True once it has, or, when its time is over, will soon.  Does not wait. */
bool sink_has_ended(struct sink *sink);

/* Waits for its thread and frees it.  Accepts NULL.  After sink_end(). */
void sink_destroy(struct sink *sink);

#endif
