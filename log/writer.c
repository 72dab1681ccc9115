/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records into the rows of one open bucket file.  Called by store.c on the log thread, for
 * every record.
 *
 * What a record shares with others is looked up whole: all strings and numbers of a party are laid
 * end to end and hashed once, so a record costs three look-ups, not one for each name.
 */
#include "log/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const insert_sql[LOG_N_INSERTS] = {
	[LOG_INSERT_STRING] = "INSERT INTO strings VALUES (?,?)",
	[LOG_INSERT_PARTY] = "INSERT INTO parties VALUES (?,?,?,?,?,?,?,?)",
	[LOG_INSERT_CONTEXT] =
		"INSERT INTO contexts VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[LOG_INSERT_RECORD] = "INSERT INTO records VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
};

static const char *const highest_id_sql[LOG_N_DICTIONARIES] = {
	[LOG_INSERT_STRING] = "SELECT coalesce(max(id), 0) FROM strings",
	[LOG_INSERT_PARTY] = "SELECT coalesce(max(id), 0) FROM parties",
	[LOG_INSERT_CONTEXT] = "SELECT coalesce(max(id), 0) FROM contexts",
};

int log_writer_attach(struct log_writer *writer, sqlite3 *db)
{
	int rc = SQLITE_OK;

	for (int i = 0; rc == SQLITE_OK && i < LOG_N_INSERTS; i++)
		rc = sqlite3_prepare_v3(
			db, insert_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &writer->insert[i], NULL);
	writer->db = db;
	writer->start_ns = (uint64_t)log_bucket_number(db, "SELECT start_ns FROM bucket", -1);
	if (rc == SQLITE_OK && writer->start_ns == UINT64_MAX)
		rc = SQLITE_CORRUPT;
	writer->indexer.start_ns = writer->start_ns;
	writer->addresses_apart = false;
	/* Rows that another process made are not looked for: making some of them twice is cheaper.
	 */
	for (int i = 0; rc == SQLITE_OK && i < LOG_N_DICTIONARIES; i++) {
		int64_t highest = log_bucket_number(db, highest_id_sql[i], -1);

		writer->next_id[i] = (uint32_t)highest + 1;
		if (highest < 0 || highest > INT32_MAX)
			rc = SQLITE_CORRUPT;
	}
	log_writer_forget(writer);
	if (rc != SQLITE_OK)
		log_writer_detach(writer);
	return rc;
}

sqlite3 *log_writer_detach(struct log_writer *writer)
{
	sqlite3 *db = writer->db;

	for (int i = 0; i < LOG_N_INSERTS; i++) {
		sqlite3_finalize(writer->insert[i]);
		writer->insert[i] = NULL;
	}
	writer->db = NULL;
	return db;
}

void log_writer_forget(struct log_writer *writer)
{
	for (int i = 0; i < LOG_N_DICTIONARIES; i++)
		dictionary_clear(&writer->known[i]);
	log_indexer_forget(&writer->indexer);
	writer->resumed = false;
}

void log_writer_free(struct log_writer *writer)
{
	for (int i = 0; i < LOG_N_DICTIONARIES; i++)
		dictionary_free(&writer->known[i]);
	free(writer->key.bytes);
	log_indexer_free(&writer->indexer);
}

/* --- Keys ----------------------------------------------------------------------------------- */

static bool key_put(struct log_key *key, const void *bytes, size_t length)
{
	if (key->n + length > key->allocated) {
		size_t allocated = (key->n + length) * 2;
		char *larger = realloc(key->bytes, allocated);

		if (!larger)
			return false;
		key->bytes = larger;
		key->allocated = allocated;
	}
	memcpy(key->bytes + key->n, bytes, length);
	key->n += length;
	return true;
}

/* With its NUL, which keeps neighbours apart. */
static bool key_put_text(struct log_key *key, const char *text)
{
	return key_put(key, text, strlen(text) + 1);
}

static uint32_t find(
	struct log_writer *writer, enum log_insert table, const struct log_key *key, uint32_t *hash)
{
	return dictionary_find(&writer->known[table], key->bytes, key->n, hash);
}

static int remember(struct log_writer *writer, enum log_insert table, const void *bytes,
	size_t length, uint32_t hash, uint32_t id)
{
	int error = dictionary_add(&writer->known[table], bytes, length, hash, id);

	if (error == -ENOSPC) {
		dictionary_clear(&writer->known[table]);
		if (table == LOG_INSERT_PARTY)
			writer->addresses_apart = true;
		/* A key larger than the whole dictionary simply is not remembered. */
		error = dictionary_add(&writer->known[table], bytes, length, hash, id);
	}
	return error == -ENOMEM ? SQLITE_NOMEM : SQLITE_OK;
}

/* --- Rows ----------------------------------------------------------------------------------- */

static int run(sqlite3_stmt *insert)
{
	sqlite3_step(insert);
	return sqlite3_reset(insert);
}

/* The id of a string; 0 for "". */
static int intern_text(struct log_writer *writer, const char *text, uint32_t *id)
{
	sqlite3_stmt *insert = writer->insert[LOG_INSERT_STRING];
	size_t length = strlen(text);
	uint32_t hash;
	int rc;

	*id = 0;
	if (!length)
		return SQLITE_OK;
	*id = dictionary_find(&writer->known[LOG_INSERT_STRING], text, length, &hash);
	if (*id)
		return SQLITE_OK;
	*id = writer->next_id[LOG_INSERT_STRING]++;
	sqlite3_bind_int64(insert, 1, *id);
	sqlite3_bind_text64(insert, 2, text, length, SQLITE_STATIC, SQLITE_UTF8);
	rc = run(insert);
	return rc == SQLITE_OK ? remember(writer, LOG_INSERT_STRING, text, length, hash, *id) : rc;
}

/* Interns n texts and binds their ids from parameter `first` on. */
static int bind_texts(
	struct log_writer *writer, sqlite3_stmt *insert, int first, const char *const *texts, int n)
{
	int rc = SQLITE_OK;

	for (int i = 0; i < n && rc == SQLITE_OK; i++) {
		uint32_t id;

		rc = intern_text(writer, texts[i], &id);
		sqlite3_bind_int64(insert, first + i, id);
	}
	return rc;
}

static bool is_zero(const void *bytes, size_t length)
{
	static const uint8_t zeros[16];

	return !memcmp(bytes, zeros, length);
}

/* IPv4 as 4 bytes, IPv6 as 16, none as NULL. */
static void bind_address(sqlite3_stmt *insert, int at, const struct in6_addr *address)
{
	if (is_zero(address, sizeof(*address)))
		sqlite3_bind_null(insert, at);
	else if (IN6_IS_ADDR_V4MAPPED(address))
		sqlite3_bind_blob(insert, at, &address->s6_addr[12], 4, SQLITE_STATIC);
	else
		sqlite3_bind_blob(insert, at, address, sizeof(*address), SQLITE_STATIC);
}

static int insert_party(struct log_writer *writer, const struct log_party *party,
	const struct in6_addr *address, uint32_t id)
{
	const char *const texts[] = {
		party->port, party->vm_id, party->vm_name, party->zone, party->tags};
	sqlite3_stmt *insert = writer->insert[LOG_INSERT_PARTY];
	uint32_t zone = 0;
	int rc = bind_texts(writer, insert, 2, texts, 5);

	if (rc == SQLITE_OK)
		rc = intern_text(writer, party->zone, &zone);
	if (rc == SQLITE_OK && !log_memo_set(&writer->indexer.zones, id, zone + 1))
		rc = SQLITE_NOMEM;
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(insert, 1, id);
	if (is_zero(party->mac, sizeof(party->mac)))
		sqlite3_bind_null(insert, 7);
	else
		sqlite3_bind_blob(insert, 7, party->mac, sizeof(party->mac), SQLITE_STATIC);
	bind_address(insert, 8, address);
	return run(insert);
}

/* The id of the party's row, made if need be.  `address` is the one to keep there, all zero if it
 * is kept with the record. */
static int intern_party(struct log_writer *writer, const struct log_party *party,
	const struct in6_addr *address, uint32_t *id)
{
	struct log_key *key = &writer->key;
	uint32_t hash;
	int rc;

	*id = 0;
	key->n = 0;
	if (!key_put(key, party->mac, sizeof(party->mac)) ||
		!key_put(key, address, sizeof(*address)) || !key_put_text(key, party->port) ||
		!key_put_text(key, party->vm_id) || !key_put_text(key, party->vm_name) ||
		!key_put_text(key, party->zone) || !key_put_text(key, party->tags))
		return SQLITE_NOMEM;
	*id = find(writer, LOG_INSERT_PARTY, key, &hash);
	if (*id)
		return SQLITE_OK;
	*id = writer->next_id[LOG_INSERT_PARTY]++;
	rc = insert_party(writer, party, address, *id);
	return rc == SQLITE_OK ? remember(writer, LOG_INSERT_PARTY, key->bytes, key->n, hash, *id)
			       : rc;
}

static int insert_context(struct log_writer *writer, const struct log_record *record, uint32_t id)
{
	const char *const texts[] = {record->host, record->reason, record->tier, record->policy,
		record->rule, record->label};
	const char *const simulated[] = {record->simulated_policy, record->simulated_rule};
	const uint32_t numbers[] = {record->kind, record->verdict, record->protocol,
		record->icmp_type, record->icmp_code, record->tcp_flags, record->ethertype,
		record->vlan, record->vni};
	sqlite3_stmt *insert = writer->insert[LOG_INSERT_CONTEXT];
	int rc = bind_texts(writer, insert, 11, texts, 6);

	if (rc == SQLITE_OK)
		rc = bind_texts(writer, insert, 19, simulated, 2);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(insert, 1, id);
	for (int i = 0; i < 9; i++)
		sqlite3_bind_int64(insert, 2 + i, numbers[i]);
	sqlite3_bind_int64(insert, 17, record->policy_revision);
	sqlite3_bind_int64(insert, 18, record->simulated);
	return run(insert);
}

static int intern_context(struct log_writer *writer, const struct log_record *record, uint32_t *id)
{
	const uint32_t numbers[] = {
		(uint32_t)record->kind << 24 | (uint32_t)record->verdict << 16 |
			(uint32_t)record->protocol << 8 | record->tcp_flags,
		(uint32_t)record->icmp_type << 24 | (uint32_t)record->icmp_code << 16 |
			record->ethertype,
		record->vlan | (uint32_t)record->simulated << 16,
		record->vni,
		record->policy_revision,
	};
	struct log_key *key = &writer->key;
	uint32_t hash;
	int rc;

	key->n = 0;
	if (!key_put(key, numbers, sizeof(numbers)) || !key_put_text(key, record->host) ||
		!key_put_text(key, record->reason) || !key_put_text(key, record->tier) ||
		!key_put_text(key, record->policy) || !key_put_text(key, record->rule) ||
		!key_put_text(key, record->label) || !key_put_text(key, record->simulated_policy) ||
		!key_put_text(key, record->simulated_rule))
		return SQLITE_NOMEM;
	*id = find(writer, LOG_INSERT_CONTEXT, key, &hash);
	if (*id)
		return SQLITE_OK;
	*id = writer->next_id[LOG_INSERT_CONTEXT]++;
	rc = insert_context(writer, record, *id);
	return rc == SQLITE_OK ? remember(writer, LOG_INSERT_CONTEXT, key->bytes, key->n, hash, *id)
			       : rc;
}

/* --- Rows that only sums refer to ----------------------------------------------------------- */

uint32_t log_writer_decision(
	struct log_writer *writer, const struct log_record *record, uint32_t context, int *rc)
{
	uint32_t id = log_memo_get(&writer->indexer.decisions, context);
	struct log_record decision;

	*rc = SQLITE_OK;
	if (id)
		return id;
	decision = log_indexer_decision(record);
	*rc = intern_context(writer, &decision, &id);
	if (*rc == SQLITE_OK && !log_memo_set(&writer->indexer.decisions, context, id))
		*rc = SQLITE_NOMEM;
	return *rc == SQLITE_OK ? id : 0;
}

/* The party that has this one's zone and no more. */
static uint32_t zone_party(void *writer_, uint32_t party)
{
	struct log_writer *writer = writer_;
	sqlite3_stmt *insert = writer->insert[LOG_INSERT_PARTY];
	uint32_t zone = log_memo_get(&writer->indexer.zones, party);
	uint32_t id = zone ? log_memo_get(&writer->indexer.zone_parties, zone) : 0;

	if (id || !zone)
		return id;
	id = writer->next_id[LOG_INSERT_PARTY]++;
	sqlite3_clear_bindings(insert);
	for (int i = 2; i <= 6; i++)
		sqlite3_bind_int(insert, i, 0);
	sqlite3_bind_int64(insert, 1, id);
	sqlite3_bind_int64(insert, 5, zone - 1);
	if (run(insert) != SQLITE_OK || !log_memo_set(&writer->indexer.zones, id, zone) ||
		!log_memo_set(&writer->indexer.zone_parties, zone, id))
		return 0;
	return id;
}

void log_writer_init(struct log_writer *writer)
{
	memset(writer, 0, sizeof(*writer));
	log_indexer_init(&writer->indexer);
	writer->indexer.slice.zone_party = zone_party;
	writer->indexer.slice.owner = writer;
	for (int i = 0; i < LOG_N_DICTIONARIES; i++)
		dictionary_init(&writer->known[i]);
}

/* --- Records -------------------------------------------------------------------------------- */

/* True if the party's row is the place for its address. */
static bool address_with_party(const struct log_writer *writer, const struct log_record *record,
	const struct log_party *party)
{
	return (*party->vm_id || *party->vm_name) && record->kind != LOG_SPOOFED &&
	       !writer->addresses_apart;
}

/* Interns a party and binds its id and, unless its row has it, its address. */
static int bind_party(struct log_writer *writer, const struct log_party *party, bool apart,
	int id_at, int address_at, uint32_t *id)
{
	sqlite3_stmt *insert = writer->insert[LOG_INSERT_RECORD];
	int rc = intern_party(writer, party, apart ? &in6addr_any : &party->address, id);

	sqlite3_bind_int64(insert, id_at, *id);
	bind_address(insert, address_at, apart ? &party->address : &in6addr_any);
	return rc;
}

/* Inserts the record's row, and tells what it refers to. */
static int insert_record(
	struct log_writer *writer, const struct log_record *record, struct log_inserted *inserted)
{
	sqlite3_stmt *insert = writer->insert[LOG_INSERT_RECORD];
	const uint64_t counters[] = {record->suppressed, record->packets_forward,
		record->bytes_forward, record->packets_reverse, record->bytes_reverse};
	uint32_t context;
	int rc = intern_context(writer, record, &context);

	inserted->source_apart = !address_with_party(writer, record, &record->source);
	inserted->destination_apart = !address_with_party(writer, record, &record->destination);
	if (rc == SQLITE_OK)
		rc = bind_party(
			writer, &record->source, inserted->source_apart, 5, 7, &inserted->source);
	if (rc == SQLITE_OK)
		rc = bind_party(writer, &record->destination, inserted->destination_apart, 6, 8,
			&inserted->destination);
	if (rc == SQLITE_OK)
		inserted->decision = log_writer_decision(writer, record, context, &rc);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_int64(insert, 1, (int64_t)record->sequence);
	sqlite3_bind_int64(insert, 2, (int64_t)(record->time_ns - writer->start_ns));
	if (record->start_ns)
		sqlite3_bind_int64(insert, 3, (int64_t)(record->time_ns - record->start_ns));
	else
		sqlite3_bind_null(insert, 3);
	sqlite3_bind_int64(insert, 4, context);
	sqlite3_bind_int(insert, 9, record->source.transport_port);
	sqlite3_bind_int(insert, 10, record->destination.transport_port);
	for (int i = 0; i < 5; i++)
		sqlite3_bind_int64(insert, 11 + i, (int64_t)counters[i]);
	return run(insert);
}

int log_writer_add(struct log_writer *writer, const struct log_record *record)
{
	struct log_inserted inserted = {.record = record};
	int rc = writer->resumed ? SQLITE_OK : log_writer_resume(writer);

	if (rc == SQLITE_OK)
		rc = insert_record(writer, record, &inserted);
	return rc == SQLITE_OK ? log_indexer_add(&writer->indexer, writer->db, &inserted) : rc;
}

int log_writer_finish(struct log_writer *writer)
{
	return writer->resumed ? log_indexer_finish(&writer->indexer, writer->db) : SQLITE_OK;
}
