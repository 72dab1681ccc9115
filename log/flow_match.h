/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a row of sums (slice.h) meets a filter: surely, surely not, or only in part because it
 * stands for several.  Used by flows.c and timeline.c; one thread each.
 */
#ifndef LOG_FLOW_MATCH_H
#define LOG_FLOW_MATCH_H

#include "log/reader.h"
#include "log/slice.h"

/* Numbers of rows of one file. */
struct log_ids {
	uint64_t *bits;
	uint32_t n_words;
};

struct log_flow_match {
	const struct log_filter *filter;
	struct log_names *names;
	/* Parties, contexts, and strings: of what is not asked for, empty. */
	struct log_ids in_zone, of_vm, of_port, in_prefix, in_peer;
	struct log_ids of_rule, of_context, of_simulation;
	struct log_ids zone_names;
};

enum log_meets { LOG_MEETS_NOT, LOG_MEETS_IN_PART, LOG_MEETS };

/* For the file that a reader with this filter has open.  Returns SQLite's result; close it in any
 * case. */
int log_flow_match_open(
	struct log_flow_match *match, struct log_reader *reader, const struct log_filter *filter);
void log_flow_match_close(struct log_flow_match *match);

/* A row of flows.  The filter's transport_port is the service's here, and its kind no session's. */
enum log_meets log_flow_match_row(
	const struct log_flow_match *match, const struct log_flow_key *key);

/* A row of minutes; the filter asks for zones and decisions only. */
bool log_flow_match_minute(const struct log_flow_match *match, const struct log_flow_key *key);

#endif
