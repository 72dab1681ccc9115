/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic added up: who talked to whom, over which service, as which rule decided it, how often and
 * how much.  The questions of `cordon log` and the report stand on this: the matrix of zones, top
 * talkers, who talks to a VM, unused rules, what is seen for the first time.
 *
 * A flow is what the records of a span say together of two ends, a service and a decision.  The
 * caller names the fields that matter to the question; flows that differ in none of these come as
 * one row.  So "by zones and verdict" is the matrix, "by rule" the rules that were used.
 *
 *      struct log_flow_query query = {.filter = LOG_FILTER_ANY,
 *              .by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_VERDICT};
 *
 *      query.filter.since_ns = a_day_ago;
 *      log_flows(directory, &query, print_cell, table, error, sizeof(error));
 *
 * Sums are exact, at the ends of the span too.  Details are bounded: a log that has met a million
 * addresses outside keeps those apart that occur most, and adds the others up by prefix, or by zone
 * alone; when even that is too much, ports and VMs go the same way.  Such a row says so in
 * `lumped`. What the filter asks for is never answered from a lumped row that only might meet it:
 * then the records themselves are read.
 */
#ifndef LOG_FLOWS_H
#define LOG_FLOWS_H

#include "log/store.h"

/* The fields that rows may be told apart by. */
enum log_flow_field {
	LOG_FLOW_SOURCE_ZONE = 1 << 0,
	LOG_FLOW_DESTINATION_ZONE = 1 << 1,
	LOG_FLOW_SOURCE = 1 << 2, /* Port of the switch, VM and tags. */
	LOG_FLOW_DESTINATION = 1 << 3,
	LOG_FLOW_SOURCE_ADDRESS = 1 << 4,
	LOG_FLOW_DESTINATION_ADDRESS = 1 << 5,
	LOG_FLOW_SERVICE = 1 << 6, /* Protocol and port. */
	LOG_FLOW_VERDICT = 1 << 7,
	LOG_FLOW_RULE = 1 << 8, /* Tier, policy, rule and label. */
	LOG_FLOW_REVISION = 1 << 9,
	LOG_FLOW_KIND = 1 << 10,      /* LOG_START stands for all records of allowed ones. */
	LOG_FLOW_REASON = 1 << 11,    /* Of refusals. */
	LOG_FLOW_SIMULATED = 1 << 12, /* Verdict, policy and rule. */
	LOG_FLOW_HOST = 1 << 13,
	LOG_FLOW_TYPE = 1 << 14, /* ICMP's type and code; the ethertype of what is not IP. */
	LOG_FLOW_ALL = (1 << 15) - 1,
};

enum log_flow_order {
	LOG_FLOW_MOST_OFTEN, /* By connections and refused attempts, most first. */
	LOG_FLOW_MOST_BYTES, /* Both ways. */
	LOG_FLOW_NEWEST,     /* By the time of the last record, newest first. */
	LOG_FLOW_FIRST_SEEN, /* By the time of the first record, oldest first. */
};

struct log_flow_query {
	/* As for log_query(), but: `transport_port` is the service's only; `limit` counts rows, the
	 * first in the order asked for; with_gaps is not looked at. */
	struct log_filter filter;
	unsigned int by; /* Of enum log_flow_field. */
	enum log_flow_order order;
	/* Not 0: only rows whose first record within filter's span is not older.  With a span that
	 * begins at 0 this is what the log has not seen before. */
	uint64_t first_since_ns;
};

struct log_flow_counts {
	uint64_t records;
	uint64_t began, ended; /* Connections: LOG_START and LOG_END. */
	uint64_t updated;      /* LOG_UPDATE: they were open. */
	uint64_t refused;      /* Attempts: denied, spoofed, over a limit; those held back too. */
	uint64_t held_back;    /* Those of them that had no record of their own. */
	uint64_t would_deny;   /* Allowed ones that the simulation refuses; held back ones too. */
	/* Of connections that ended within the span, and of refused frames.  With filter.simulation
	 * or kind LOG_WOULD_DENY, of first frames that would be refused, too. */
	uint64_t packets_forward, bytes_forward, packets_reverse, bytes_reverse;
	uint64_t first_ns, last_ns; /* Times of the oldest and the newest record. */
};

/* One end of a row.  What is not asked for is "" or 0. */
struct log_flow_end {
	const char *port, *vm_id, *vm_name, *zone, *tags;
	/* The address, with length 128; the prefix of those that are added up; or length 0: not
	 * asked for, none, or any of the zone (`lumped` tells). */
	struct ip_prefix addresses;
};

struct log_flow {
	struct log_flow_end source, destination;
	uint8_t kind;	 /* enum log_kind: LOG_START, _DENIED, _WOULD_DENY, _SPOOFED, _LIMIT. */
	uint8_t verdict; /* enum zone_action. */
	uint8_t protocol, icmp_type, icmp_code;
	uint8_t simulated; /* 1 + enum zone_action, or 0. */
	uint16_t ethertype;
	uint16_t port; /* The service's: the destination's; 0: none, or many. */
	uint32_t policy_revision;
	const char *host, *reason;
	const char *tier, *policy, *rule, *label;
	const char *simulated_policy, *simulated_rule;
	/* Of enum log_flow_field: in these this row stands for several.  LOG_FLOW_SERVICE: ports.
	 */
	unsigned int lumped;
	/* With first_since_ns: this row stands for several, or an older one does that may stand for
	 * this one too. */
	bool perhaps_older;
	struct log_flow_counts counts;
};

/* Connections that began or were open within the span, as far as its records tell: those that ended
 * in it must have been, even if they had begun before. */
uint64_t log_flow_connections(const struct log_flow_counts *counts);

/* Calls `each` for every row, in the order asked for, until it returns false.  A row and its
 * strings live only during the call.  Returns 0, or a negative errno with the reason in error[], as
 * log_query() does: -ENOENT, there is no log; -EIO, a file could not be read, is left out and
 * named.
 *
 * Needs memory for each row, and keeps no more than LOG_FLOW_ROWS_MAX apart: what is met after that
 * is added up by zones, services by protocol. */
enum { LOG_FLOW_ROWS_MAX = 1 << 19 };
int log_flows(const char *directory, const struct log_flow_query *query,
	bool (*each)(const struct log_flow *flow, void *context), void *context, char *error,
	size_t error_size);

/* --- Counts over time ------------------------------------------------------------------------- */

struct log_slot {
	uint64_t start_ns; /* UTC, a multiple of the slot's length since 1970. */
	uint64_t began, ended;
	uint64_t denied, rejected; /* Attempts refused by policy, those held back too. */
	uint64_t spoofed, limited, would_deny;
	uint64_t lost; /* Records, as gap records tell. */
};

/* Counts the records of the span for each slot of time, oldest first, and calls `each` for every
 * slot from the first that has any to the last, empty ones between them included, until it returns
 * false.  `slot_seconds` is rounded up to whole minutes; at most LOG_SLOTS_MAX, or -EINVAL.  The
 * limit of the filter is not looked at.  `lost` is counted whatever the filter asks for.  Errors as
 * log_flows()'s. */
enum { LOG_SLOTS_MAX = 100000 };
int log_timeline(const char *directory, const struct log_filter *filter, uint64_t slot_seconds,
	bool (*each)(const struct log_slot *slot, void *context), void *context, char *error,
	size_t error_size);

/* --- Gaps ------------------------------------------------------------------------------------- */

/* Records that are missing. */
struct log_gap {
	uint64_t from_ns;   /* Time of the last record before it; 0: it is the log's first. */
	uint64_t until_ns;  /* Of the first after it, or of the record that tells of it. */
	uint64_t sequence;  /* Of that record. */
	uint64_t lost;	    /* Records, as the gap record says; else numbers that are missing. */
	uint64_t missing;   /* Sequence numbers that are missing just before it. */
	const char *reason; /* Of the gap record; "": a hole that no record explains. */
	const char *host;
	bool recorded; /* There is a gap record. */
};

/* Calls `each` for every gap that ends within the span, oldest first, until it returns false: for
 * gap records, and for holes in the sequence that none explains.  Holes are no loss where a filter
 * keeps records out of the log, so they are passed over in files that say so (log_store_options).
 * Errors as log_flows()'s. */
int log_gaps(const char *directory, uint64_t since_ns, uint64_t until_ns,
	bool (*each)(const struct log_gap *gap, void *context), void *context, char *error,
	size_t error_size);

#endif
