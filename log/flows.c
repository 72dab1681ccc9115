/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic added up, over all files of a log.  Called by `cordon log`, `cordon report` and tests, on
 * their own thread.
 */
#include "log/flows.h"

#include <errno.h>
#include <stdio.h>

#include "log/flow_table.h"

struct flows {
	const struct log_flow_query *query;
	struct log_flow_table *table;
	bool out_of_memory;
};

/* The frames of what would be denied were allowed, and are counted with their connection. */
static bool adds_traffic(const struct log_flow_query *query, uint8_t kind)
{
	return kind != LOG_WOULD_DENY || query->filter.simulation ||
	       query->filter.kind == LOG_WOULD_DENY;
}

static bool is_asked_for(const struct log_flow_query *query, const struct log_record *record)
{
	int port = query->filter.transport_port;

	return record->kind != LOG_GAP && (port < 0 || record->destination.transport_port == port);
}

static void set_address(const struct in6_addr *address, struct in6_addr *to, uint8_t *length)
{
	*to = *address;
	*length = IN6_IS_ADDR_UNSPECIFIED(address) ? 0 : 128;
}

static bool add_record(const struct log_record *record, void *context)
{
	struct flows *flows = context;
	struct log_flow_counts *counts = NULL, one = {0};
	struct log_flow_key key = {
		.source = log_flow_table_source(flows->table, &record->source),
		.destination = log_flow_table_destination(flows->table, &record->destination),
		.decision = log_flow_table_decision(flows->table, record),
	};

	if (!is_asked_for(flows->query, record))
		return true;
	if (log_flow_has_ports(record->protocol))
		key.port = record->destination.transport_port;
	set_address(&record->source.address, &key.source_address, &key.source_length);
	set_address(
		&record->destination.address, &key.destination_address, &key.destination_length);
	if (key.source && key.destination && key.decision)
		counts = log_flow_table_counts(flows->table, &key);
	if (counts) {
		log_flow_count(&one, record);
		log_flow_add(counts, &one, adds_traffic(flows->query, record->kind));
	}
	flows->out_of_memory = !counts;
	return counts;
}

static int no_memory(char *error, size_t error_size)
{
	snprintf(error, error_size, "no memory for the rows of an answer this large");
	return -ENOMEM;
}

int log_flows(const char *directory, const struct log_flow_query *query,
	bool (*each)(const struct log_flow *flow, void *context), void *context, char *error,
	size_t error_size)
{
	struct flows flows = {.query = query, .table = log_flow_table_create(query)};
	struct log_filter filter = query->filter;
	int rc;

	if (!flows.table)
		return no_memory(error, error_size);
	filter.limit = 0;
	filter.with_gaps = false;
	rc = log_query(directory, &filter, add_record, &flows, error, error_size);
	if (flows.out_of_memory ||
		((!rc || rc == -EIO) && log_flow_table_each(flows.table, each, context)))
		rc = no_memory(error, error_size);
	log_flow_table_free(flows.table);
	return rc;
}
