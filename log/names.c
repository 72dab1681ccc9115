/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows that a file's records share (names, parties, contexts), as a reader keeps them.  Called
 * by reader.c for every record, so rows once read are remembered: texts all, since they are
 * few, parties and contexts in tables of a fixed size.
 */
#include "log/reader.h"

#include <stdlib.h>
#include <string.h>

#define CONTEXT_COLUMNS                                                                            \
	"host, reason, tier, policy, rule, label, kind, verdict, protocol, icmp_type, icmp_code,"  \
	" tcp_flags, ethertype, vlan, vni, policy_revision"
#define FROM_CONTEXTS " FROM contexts WHERE id = ?"

int log_names_open(struct log_names *names, sqlite3 *db)
{
	static const char texts_sql[] = "SELECT id, text FROM strings WHERE id > ? ORDER BY id";
	static const char party_sql[] = "SELECT port, vm_id, vm_name, zone, tags, mac, address"
					" FROM parties WHERE id = ?";
	static const char old_sql[] = "SELECT " CONTEXT_COLUMNS ", 0, 0, 0" FROM_CONTEXTS;
	static const char context_sql[] =
		"SELECT " CONTEXT_COLUMNS
		", simulated, simulated_policy, simulated_rule" FROM_CONTEXTS;
	bool old = log_bucket_format(db) < LOG_BUCKET_FORMAT_SIMULATED;
	int rc = sqlite3_prepare_v2(db, texts_sql, -1, &names->texts_from, NULL);

	names->db = db;
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, party_sql, -1, &names->party, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_prepare_v2(db, old ? old_sql : context_sql, -1, &names->context, NULL);
	return rc;
}

void log_names_close(struct log_names *names)
{
	sqlite3_finalize(names->texts_from);
	sqlite3_finalize(names->party);
	sqlite3_finalize(names->context);
	for (size_t i = 0; i < names->n; i++)
		free(names->texts[i]);
	free(names->texts);
	free(names->ids);
}

static bool grow(struct log_names *names)
{
	size_t allocated = names->allocated ? names->allocated * 2 : 256;
	int64_t *ids = realloc(names->ids, allocated * sizeof(*ids));
	char **texts;

	if (!ids)
		return false;
	names->ids = ids;
	texts = realloc(names->texts, allocated * sizeof(*texts));
	if (!texts)
		return false;
	names->texts = texts;
	names->allocated = allocated;
	return true;
}

static bool add_text(struct log_names *names, int64_t id, const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	if (!copy || (names->n == names->allocated && !grow(names))) {
		free(copy);
		return false;
	}
	names->ids[names->n] = id;
	names->texts[names->n++] = copy;
	return true;
}

/* Reads the texts that were written since the last time. */
static void read_texts(struct log_names *names)
{
	sqlite3_stmt *statement = names->texts_from;

	sqlite3_bind_int64(statement, 1, names->n ? names->ids[names->n - 1] : 0);
	while (sqlite3_step(statement) == SQLITE_ROW)
		if (!add_text(names, sqlite3_column_int64(statement, 0),
			    (const char *)sqlite3_column_text(statement, 1)))
			break;
	sqlite3_reset(statement);
}

static const char *find_text(const struct log_names *names, int64_t id)
{
	size_t low = 0, high = names->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (names->ids[middle] == id)
			return names->texts[middle];
		if (names->ids[middle] < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static const char *text_of(struct log_names *names, sqlite3_stmt *statement, int column)
{
	int64_t id = sqlite3_column_int64(statement, column);
	const char *text = id ? find_text(names, id) : "";

	if (!text) {
		read_texts(names);
		text = find_text(names, id);
	}
	return text ? text : "";
}

static void read_party(struct log_names *names, struct log_party_row *row)
{
	sqlite3_stmt *statement = names->party;
	struct log_party *party = &row->party;
	bool found = sqlite3_step(statement) == SQLITE_ROW;

	party->port = found ? text_of(names, statement, 0) : "";
	party->vm_id = found ? text_of(names, statement, 1) : "";
	party->vm_name = found ? text_of(names, statement, 2) : "";
	party->zone = found ? text_of(names, statement, 3) : "";
	party->tags = found ? text_of(names, statement, 4) : "";
	if (found && sqlite3_column_bytes(statement, 5) == 6)
		memcpy(party->mac, sqlite3_column_blob(statement, 5), 6);
	if (found)
		log_row_address(statement, 6, &party->address);
	row->has_address = found && sqlite3_column_type(statement, 6) == SQLITE_BLOB;
}

const struct log_party_row *log_names_party(struct log_names *names, int64_t id)
{
	struct log_party_row *row = &names->parties[(uint64_t)id % LOG_NAMES_ROWS];

	if (row->id == id && row->party.port)
		return row;
	memset(row, 0, sizeof(*row));
	row->id = id;
	sqlite3_bind_int64(names->party, 1, id);
	read_party(names, row);
	sqlite3_reset(names->party);
	return row;
}

static void read_context(struct log_names *names, struct log_record *record)
{
	sqlite3_stmt *statement = names->context;
	const char **const texts[] = {&record->host, &record->reason, &record->tier,
		&record->policy, &record->rule, &record->label};
	bool found = sqlite3_step(statement) == SQLITE_ROW;

	for (int i = 0; i < 6; i++)
		*texts[i] = found ? text_of(names, statement, i) : "";
	record->simulated_policy = found ? text_of(names, statement, 17) : "";
	record->simulated_rule = found ? text_of(names, statement, 18) : "";
	if (!found)
		return;
	record->kind = (uint8_t)sqlite3_column_int(statement, 6);
	record->verdict = (uint8_t)sqlite3_column_int(statement, 7);
	record->protocol = (uint8_t)sqlite3_column_int(statement, 8);
	record->icmp_type = (uint8_t)sqlite3_column_int(statement, 9);
	record->icmp_code = (uint8_t)sqlite3_column_int(statement, 10);
	record->tcp_flags = (uint8_t)sqlite3_column_int(statement, 11);
	record->ethertype = (uint16_t)sqlite3_column_int(statement, 12);
	record->vlan = (uint16_t)sqlite3_column_int(statement, 13);
	record->vni = (uint32_t)sqlite3_column_int64(statement, 14);
	record->policy_revision = (uint32_t)sqlite3_column_int64(statement, 15);
	record->simulated = (uint8_t)sqlite3_column_int(statement, 16);
}

const struct log_context_row *log_names_context(struct log_names *names, int64_t id)
{
	struct log_context_row *row = &names->contexts[(uint64_t)id % LOG_NAMES_ROWS];

	if (row->id == id && row->record.host)
		return row;
	memset(row, 0, sizeof(*row));
	row->id = id;
	sqlite3_bind_int64(names->context, 1, id);
	read_context(names, &row->record);
	sqlite3_reset(names->context);
	return row;
}
