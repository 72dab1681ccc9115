/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic added up, over all files of a log.  Called by `cordon log`, `cordon report` and tests, on
 * their own thread.
 *
 * What lies within the span is taken from the sums that the writer has made, slice by slice; at its
 * ends, and where there are no sums, from the records.
 */
#include "log/flows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/walk.h"
#include "log/flow_match.h"
#include "log/flow_table.h"
#include "log/indexer.h"
#include "log/sums.h"

struct flows {
	const struct log_flow_query *query;
	struct log_filter filter; /* The query's, for the readers. */
	struct log_flow_table *table;
	bool out_of_memory;
	/* Of the file being read: the table's numbers of parties and contexts, by theirs. */
	struct log_names *names;
	struct log_flow_match match;
	struct log_memo sources, destinations, decisions;
};

/* The frames of what would be denied were allowed, and are counted with their connection. */
static bool adds_traffic(const struct log_flow_query *query, uint8_t kind)
{
	return kind != LOG_WOULD_DENY || query->filter.simulation ||
	       query->filter.kind == LOG_WOULD_DENY;
}

static void set_address(const struct in6_addr *address, struct in6_addr *to, uint8_t *length)
{
	*to = *address;
	*length = IN6_IS_ADDR_UNSPECIFIED(address) ? 0 : 128;
}

/* --- The table's numbers, each asked for once a file, if there is room to note it --------------
 */

static uint32_t source_of(struct flows *flows, uint32_t party)
{
	uint32_t number = log_memo_get(&flows->sources, party);

	if (number)
		return number;
	number = log_flow_table_source(flows->table, &log_names_party(flows->names, party)->party);
	log_memo_set(&flows->sources, party, number);
	return number;
}

static uint32_t destination_of(struct flows *flows, uint32_t party)
{
	uint32_t number = log_memo_get(&flows->destinations, party);

	if (number)
		return number;
	number = log_flow_table_destination(
		flows->table, &log_names_party(flows->names, party)->party);
	log_memo_set(&flows->destinations, party, number);
	return number;
}

static uint32_t decision_of(struct flows *flows, uint32_t context)
{
	uint32_t number = log_memo_get(&flows->decisions, context);

	if (number)
		return number;
	number = log_flow_table_decision(
		flows->table, &log_names_context(flows->names, context)->record);
	log_memo_set(&flows->decisions, context, number);
	return number;
}

/* Adds counts to the row of a key whose ends and decision are the file's. */
static bool add(struct flows *flows, struct log_flow_key *key, const struct log_flow_counts *more,
	uint8_t kind)
{
	struct log_flow_counts *counts = NULL;

	key->source = source_of(flows, key->source);
	key->destination = destination_of(flows, key->destination);
	key->decision = decision_of(flows, key->decision);
	if (key->source && key->destination && key->decision)
		counts = log_flow_table_counts(flows->table, key);
	if (counts)
		log_flow_add(counts, more, adds_traffic(flows->query, kind));
	flows->out_of_memory = !counts;
	return counts;
}

/* --- Records and rows of sums ----------------------------------------------------------------- */

static bool add_record(const struct log_row *row, void *context)
{
	struct flows *flows = context;
	const struct log_record *record = &row->record;
	int port = flows->query->filter.transport_port;
	struct log_flow_counts one = {0};
	struct log_flow_key key = {
		.source = row->source, .destination = row->destination, .decision = row->context};

	if (record->kind == LOG_GAP || (port >= 0 && record->destination.transport_port != port))
		return true;
	if (log_flow_has_ports(record->protocol))
		key.port = record->destination.transport_port;
	set_address(&record->source.address, &key.source_address, &key.source_length);
	set_address(
		&record->destination.address, &key.destination_address, &key.destination_length);
	log_flow_count(&one, record);
	return add(flows, &key, &one, record->kind);
}

/* A file may be anybody's: a number that no row has is one without names. */
static uint32_t known_id(uint32_t id)
{
	return id < INT32_MAX ? id : 0;
}

static bool add_row(const struct log_flow_row *row, void *context)
{
	struct flows *flows = context;
	struct log_flow_key key = row->key;
	uint8_t kind;

	if (log_flow_match_row(&flows->match, &key) == LOG_MEETS_NOT)
		return true;
	key.source = known_id(key.source);
	key.destination = known_id(key.destination);
	key.decision = known_id(key.decision);
	kind = log_names_context(flows->names, key.decision)->record.kind;
	if (!key.source_length && !(key.lumped & LOG_FLOW_SOURCE_ADDRESS))
		set_address(&log_names_party(flows->names, key.source)->party.address,
			&key.source_address, &key.source_length);
	if (!key.destination_length && !(key.lumped & LOG_FLOW_DESTINATION_ADDRESS))
		set_address(&log_names_party(flows->names, key.destination)->party.address,
			&key.destination_address, &key.destination_length);
	return add(flows, &key, &row->counts, kind);
}

/* What is asked for is never answered from a row that only might be about it. */
static bool can_use(const struct log_flow_row *rows, size_t n, void *context)
{
	struct flows *flows = context;
	const struct log_filter *filter = &flows->query->filter;

	if (!filter->vm && !filter->port && !filter->prefix && filter->transport_port < 0)
		return true;
	for (size_t i = 0; i < n; i++)
		if (log_flow_match_row(&flows->match, &rows[i].key) == LOG_MEETS_IN_PART)
			return false;
	return true;
}

/* Sums do not tell the records of a session apart; and what is looked for by one address has few
 * records, which the index finds. */
static bool never_use(const struct log_flow_row *rows, size_t n, void *context)
{
	(void)rows;
	(void)n;
	(void)context;
	return false;
}

static bool wants_records(const struct log_filter *filter)
{
	return (filter->kind >= 0 && filter->kind <= LOG_END) ||
	       (filter->prefix && filter->prefix->length == 128);
}

/* --- Files ---------------------------------------------------------------------------------- */

static int read_file(struct flows *flows, struct log_reader *reader, bool *stopped, char *error,
	size_t error_size)
{
	const struct log_sums_visitor visitor = {.kind = LOG_SUMS_FLOWS,
		.can_use = wants_records(&flows->filter) ? never_use : can_use,
		.row = add_row,
		.record = add_record,
		.context = flows};
	int rc = log_reader_complain(reader,
		log_flow_match_open(&flows->match, reader, &flows->filter), error, error_size);

	flows->names = log_reader_names(reader);
	if (!rc)
		rc = log_sums_visit(reader, &flows->filter, &visitor, stopped, error, error_size);
	log_flow_match_close(&flows->match);
	log_memo_clear(&flows->sources);
	log_memo_clear(&flows->destinations);
	log_memo_clear(&flows->decisions);
	return rc;
}

static int read_files(struct flows *flows, struct log_walk *files)
{
	bool stopped = false;

	for (size_t i = 0; i < files->list.n && !stopped; i++) {
		struct log_reader *reader = NULL;
		char reason[512];

		if (log_walk_may_have(files, i, flows->filter.since_ns, flows->filter.until_ns))
			reader = log_walk_read(files, i, &flows->filter);
		if (reader && read_file(flows, reader, &stopped, reason, sizeof(reason)))
			log_walk_note(files, reason);
		log_reader_close(reader);
	}
	return log_walk_result(files);
}

static int no_memory(char *error, size_t error_size)
{
	snprintf(error, error_size, "no memory for the rows of an answer this large");
	return -ENOMEM;
}

static void free_flows(struct flows *flows)
{
	log_flow_table_free(flows->table);
	log_memo_free(&flows->sources);
	log_memo_free(&flows->destinations);
	log_memo_free(&flows->decisions);
}

int log_flows(const char *directory, const struct log_flow_query *query,
	bool (*each)(const struct log_flow *flow, void *context), void *context, char *error,
	size_t error_size)
{
	struct flows flows = {
		.query = query, .filter = query->filter, .table = log_flow_table_create(query)};
	struct log_walk files;
	int rc;

	if (!flows.table)
		return no_memory(error, error_size);
	flows.filter.limit = 0;
	flows.filter.with_gaps = false;
	rc = log_walk_open(&files, directory, error, error_size);
	if (!rc) {
		rc = read_files(&flows, &files);
		if (flows.out_of_memory || log_flow_table_each(flows.table, each, context))
			rc = no_memory(error, error_size);
		log_walk_close(&files);
	}
	free_flows(&flows);
	return rc;
}
