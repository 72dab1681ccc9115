/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A type of sink: how records are brought to one sort of place.  sink.c owns the thread, the queue,
 * the filter, the retries and the count of what is lost, and calls these functions; each type is a
 * file of its own.
 *
 * One thread calls them all, for one sink: its own, which nobody waits for but a shutdown.  A call
 * may block, but not for longer than `time_limit_ms` of its place without getting on, and returns
 * early when sink_place_is_ending() says so.  A type keeps nothing outside `state`.
 *
 *      open ---> write, write, ... flush, write, ... flush ... ---> close
 *
 * What was written since the last successful flush is not yet delivered.  If a call fails, sink.c
 * closes the state, opens it anew after a while, and writes those records once more: so a place
 * that can take back what was not flushed (a transaction) must do so in close(), and others may get
 * records twice, never silently too few.  Whoever reads tells them by host and sequence.
 */
#ifndef SINKS_SINK_TYPE_H
#define SINKS_SINK_TYPE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/record.h"
#include "log/sink_options.h"

enum { SINK_ERROR_MAX = 256, SINK_TIME_LIMIT_MS = 5000 };

/* What a type is told of the sink that it works for.  Valid until close() has returned. */
struct sink_place {
	const char *name;		      /* The sink's. */
	const char *host;		      /* The host that writes the records. */
	const char *directory;		      /* For state and files that are given no path. */
	const struct sink_settings *settings; /* Checked. */
	unsigned int time_limit_ms;
	const _Atomic bool *ending;
	/* No record gets a sequence number that is not higher: a place that keeps records raises it
	 * to the highest that it has.  See sink_place_knows(). */
	_Atomic uint64_t *known_sequence;
};

static inline bool sink_place_is_ending(const struct sink_place *place)
{
	return atomic_load_explicit(place->ending, memory_order_relaxed);
}

static inline void sink_place_knows(const struct sink_place *place, uint64_t sequence)
{
	uint64_t known = atomic_load(place->known_sequence);

	while (known < sequence &&
		!atomic_compare_exchange_weak(place->known_sequence, &known, sequence))
		continue;
}

struct sink_type {
	const struct sink_kind *kind;

	/* Opens the place: connects, or begins a file.  Returns 0 with *state, or a negative errno
	 * with a sentence in error[] that names the place and says what to do about it. */
	int (*open)(const struct sink_place *place, void **state, char *error, size_t error_size);

	/* Takes one record.  Returns 0; -EINVAL: this record cannot be brought there, and is lost
	 * (the next one may be tried); or another negative errno: the place is out of order, as
	 * error[] says. */
	int (*write)(void *state, const struct log_record *record, char *error, size_t error_size);

	/* Delivers what was taken: when it returns 0 it is there, as far as this sort of place lets
	 * anyone know.  Called after each batch of records, and once a second without any, for what
	 * must be done by time.  `now_ns` is the wall clock. */
	int (*flush)(void *state, uint64_t now_ns, char *error, size_t error_size);

	/* Takes back what was not flushed, where that can be, and ends.  Accepts NULL. */
	void (*close)(void *state);
};

/* In the order in which docs/log.md has them. */
extern const struct sink_type sink_sqlite, sink_json, sink_syslog, sink_ipfix, sink_postgresql;

#endif
