/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of flows: from who, whom, service and decision, as numbers, to counts.  The writer
 * adds up with it what goes into a file, and log_flows() what comes out of many.  One thread.
 */
#ifndef LOG_FLOW_ROWS_H
#define LOG_FLOW_ROWS_H

#include "log/flows.h"

/* What the numbers mean is the owner's business. */
struct log_flow_key {
	uint32_t source, destination; /* Ends. */
	uint32_t decision;
	uint32_t lumped; /* Of enum log_flow_field. */
	uint16_t port;
	uint8_t source_length, destination_length; /* Of the prefixes. */
	struct in6_addr source_address, destination_address;
};

struct log_flow_row {
	struct log_flow_key key;
	struct log_flow_counts counts;
};

/* All zero but for the secret: an empty table. */
struct log_flow_rows {
	struct log_flow_row *at;
	uint32_t n, allocated;
	uint32_t *slots; /* Row number + 1; 0: free. */
	uint32_t n_slots;
	uint64_t secret; /* So that a sender cannot choose collisions. */
};

void log_flow_rows_init(struct log_flow_rows *rows);
void log_flow_rows_free(struct log_flow_rows *rows);
void log_flow_rows_clear(struct log_flow_rows *rows); /* Keeps the memory. */

/* The row of the key, or NULL. */
struct log_flow_row *log_flow_rows_find(
	const struct log_flow_rows *rows, const struct log_flow_key *key);

/* The same, made with no counts if it is not there; NULL: no memory.  Bytes between the fields of a
 * key must be zero.  Valid until the next row is made. */
struct log_flow_row *log_flow_rows_get(struct log_flow_rows *rows, const struct log_flow_key *key);

/* Counts one record, not of kind LOG_GAP. */
void log_flow_count(struct log_flow_counts *counts, const struct log_record *record);

/* Adds one sum to another.  `traffic`: packets and bytes too. */
void log_flow_add(struct log_flow_counts *counts, const struct log_flow_counts *more, bool traffic);

/* True if the protocol has ports. */
bool log_flow_has_ports(uint8_t protocol);

#endif
