/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of an answer: flows added up by the fields that a question names, whatever file or
 * record they come from.  Used by flows.c; one thread.
 *
 * Names are numbered as they are met: an "end" is what of a party is asked for, a "decision" what
 * of a context.  Who has many rows of the same party or context asks for its number once.
 */
#ifndef LOG_FLOW_TABLE_H
#define LOG_FLOW_TABLE_H

#include "log/flow_rows.h"

struct log_flow_table;

/* NULL: no memory. */
struct log_flow_table *log_flow_table_create(const struct log_flow_query *query);
void log_flow_table_free(struct log_flow_table *table); /* Accepts NULL. */

/* The number of an end (source or destination) and of a decision, which the fields of `record` make
 * that a context has.  0: no memory. */
uint32_t log_flow_table_source(struct log_flow_table *table, const struct log_party *party);
uint32_t log_flow_table_destination(struct log_flow_table *table, const struct log_party *party);
uint32_t log_flow_table_decision(struct log_flow_table *table, const struct log_record *record);

/* The counts of the row with this key, made of the numbers above; addresses and ports that are not
 * asked for need not be left out.  NULL: no memory.  Valid until the next call. */
struct log_flow_counts *log_flow_table_counts(
	struct log_flow_table *table, const struct log_flow_key *key);

/* Gives the rows out as log_flows() does.  Returns 0 or -ENOMEM. */
int log_flow_table_each(struct log_flow_table *table,
	bool (*each)(const struct log_flow *flow, void *context), void *context);

#endif
