/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Index and sums of the bucket file that is being written.  Called by writer.c for every record, on
 * the thread that writes the log, within the record's transaction.
 */
#include "log/indexer.h"

#include <string.h>

#include "log/bucket.h"

#define MINUTE_NS (60 * LOG_SECOND_NS)

void log_indexer_init(struct log_indexer *indexer)
{
	memset(indexer, 0, sizeof(*indexer));
	log_slice_init(&indexer->slice);
}

void log_indexer_free(struct log_indexer *indexer)
{
	log_segment_free(&indexer->segment);
	log_slice_free(&indexer->slice);
	log_memo_free(&indexer->decisions);
	log_memo_free(&indexer->zones);
	log_memo_free(&indexer->zone_parties);
}

void log_indexer_forget(struct log_indexer *indexer)
{
	log_segment_clear(&indexer->segment);
	log_slice_clear(&indexer->slice);
	indexer->next_segment = 0;
	log_memo_clear(&indexer->decisions);
	log_memo_clear(&indexer->zones);
	log_memo_clear(&indexer->zone_parties);
}

struct log_record log_indexer_decision(const struct log_record *record)
{
	bool allowed = record->kind <= LOG_END;
	struct log_record decision = *record;

	_Static_assert(LOG_START < LOG_END && LOG_UPDATE < LOG_END, "sessions come first");
	decision.kind = allowed ? LOG_START : record->kind;
	if (allowed)
		decision.reason = "";
	decision.tcp_flags = 0;
	decision.vlan = 0;
	decision.vni = 0;
	if (record->protocol)
		decision.ethertype = 0;
	return decision;
}

/* --- Segments ------------------------------------------------------------------------------- */

static unsigned int add_address(const struct in6_addr *address, uint64_t *terms)
{
	if (IN6_IS_ADDR_UNSPECIFIED(address))
		return 0;
	terms[0] = log_term_address(address);
	terms[1] = log_term_network(address);
	return 2;
}

static unsigned int list_terms(const struct log_inserted *inserted, uint64_t terms[LOG_TERMS_MAX])
{
	const struct log_record *record = inserted->record;
	uint16_t from = record->source.transport_port, to = record->destination.transport_port;
	unsigned int n = 0;

	terms[n++] = log_term_class(record->kind, record->verdict);
	terms[n++] = log_term_of(LOG_TERM_DECISION, inserted->decision);
	terms[n++] = log_term_of(LOG_TERM_PARTY, inserted->source);
	if (inserted->destination != inserted->source)
		terms[n++] = log_term_of(LOG_TERM_PARTY, inserted->destination);
	if (to)
		terms[n++] = log_term_of(LOG_TERM_PORT, to);
	if (from && from < LOG_PORTS_INDEXED && from != to)
		terms[n++] = log_term_of(LOG_TERM_PORT, from);
	if (inserted->source_apart)
		n += add_address(&record->source.address, terms + n);
	if (inserted->destination_apart)
		n += add_address(&record->destination.address, terms + n);
	return n;
}

static int64_t time_of(const struct log_indexer *indexer, const struct log_record *record)
{
	return (int64_t)(record->time_ns - indexer->start_ns);
}

int log_indexer_add_to_segment(
	struct log_indexer *indexer, sqlite3 *db, const struct log_inserted *inserted)
{
	const struct log_record *record = inserted->record;
	uint64_t terms[LOG_TERMS_MAX];
	unsigned int n = list_terms(inserted, terms);
	int rc = SQLITE_OK;

	if (log_segment_is_full(&indexer->segment, record->sequence))
		rc = log_segment_write(&indexer->segment, db, indexer->next_segment++);
	if (rc == SQLITE_OK && !log_segment_add(&indexer->segment, record->sequence,
				       time_of(indexer, record), terms, n))
		rc = SQLITE_NOMEM;
	return rc;
}

/* --- Slices --------------------------------------------------------------------------------- */

static void set_address(
	const struct in6_addr *address, bool apart, struct in6_addr *to, uint8_t *length)
{
	if (!apart || IN6_IS_ADDR_UNSPECIFIED(address))
		return;
	*to = *address;
	*length = 128;
}

static void make_keys(const struct log_indexer *indexer, const struct log_inserted *inserted,
	struct log_flow_key *key, struct log_flow_key *minute)
{
	const struct log_record *record = inserted->record;
	int64_t minutes =
		(int64_t)(record->time_ns / MINUTE_NS) - (int64_t)(indexer->start_ns / MINUTE_NS);

	*key = (struct log_flow_key){.source = inserted->source,
		.destination = inserted->destination,
		.decision = inserted->decision};
	if (log_flow_has_ports(record->protocol))
		key->port = record->destination.transport_port;
	set_address(&record->source.address, inserted->source_apart, &key->source_address,
		&key->source_length);
	set_address(&record->destination.address, inserted->destination_apart,
		&key->destination_address, &key->destination_length);
	*minute = (struct log_flow_key){.source = log_memo_get(&indexer->zones, inserted->source),
		.destination = log_memo_get(&indexer->zones, inserted->destination),
		.decision = inserted->decision,
		.lumped = (uint32_t)minutes};
}

int log_indexer_add_to_slice(
	struct log_indexer *indexer, sqlite3 *db, const struct log_inserted *inserted)
{
	const struct log_record *record = inserted->record;
	struct log_flow_key key, minute;

	if (record->kind == LOG_GAP) {
		log_slice_add_gap(&indexer->slice, record->sequence, time_of(indexer, record));
	} else {
		make_keys(indexer, inserted, &key, &minute);
		if (!log_slice_add(
			    &indexer->slice, record, time_of(indexer, record), &key, &minute))
			return SQLITE_NOMEM;
	}
	if (log_slice_is_full(&indexer->slice))
		return log_slice_write(&indexer->slice, db, indexer->start_ns);
	return SQLITE_OK;
}

int log_indexer_add(struct log_indexer *indexer, sqlite3 *db, const struct log_inserted *inserted)
{
	int rc = log_indexer_add_to_segment(indexer, db, inserted);

	return rc == SQLITE_OK ? log_indexer_add_to_slice(indexer, db, inserted) : rc;
}

int log_indexer_finish(struct log_indexer *indexer, sqlite3 *db)
{
	int rc = log_segment_write(&indexer->segment, db, indexer->next_segment++);

	return rc == SQLITE_OK ? log_slice_write(&indexer->slice, db, indexer->start_ns) : rc;
}
