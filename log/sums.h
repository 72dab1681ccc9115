/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the sums of a bucket file (slice.h): those of the slices that lie within a filter's span,
 * and the records of all others.  Used by flows.c and timeline.c; one thread each.
 */
#ifndef LOG_SUMS_H
#define LOG_SUMS_H

#include "log/reader.h"
#include "log/slice.h"

enum log_sums_kind { LOG_SUMS_FLOWS, LOG_SUMS_MINUTES };

/* Who wants to know. */
struct log_sums_visitor {
	enum log_sums_kind kind;
	/* Whether these rows, all of a slice, can answer; else its records are gone through. */
	bool (*can_use)(const struct log_flow_row *rows, size_t n, void *context);
	/* Takes a row, or a record that matches the reader's filter.  False ends it all. */
	bool (*row)(const struct log_flow_row *row, void *context);
	bool (*record)(const struct log_row *row, void *context);
	void *context;
};

/* Goes through one file, with what the reader's `filter` says of time and sequence.  *stopped: the
 * visitor has ended it.  Returns 0 or a negative errno as log_reader_each(). */
int log_sums_visit(struct log_reader *reader, const struct log_filter *filter,
	const struct log_sums_visitor *visitor, bool *stopped, char *error, size_t error_size);

#endif
