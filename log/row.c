/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of `records` as records.  Called by the readers on their threads, and by the writer for what
 * it finds in a file that it goes on with.
 */
#include <string.h>

#include "log/reader.h"

void log_row_address(sqlite3_stmt *row, int column, struct in6_addr *address)
{
	const void *blob = sqlite3_column_blob(row, column);
	int length = sqlite3_column_bytes(row, column);

	memset(address, 0, sizeof(*address));
	if (blob && length == 16) {
		memcpy(address, blob, 16);
	} else if (blob && length == 4) {
		address->s6_addr[10] = address->s6_addr[11] = 0xff;
		memcpy(&address->s6_addr[12], blob, 4);
	}
}

static uint32_t read_id(sqlite3_stmt *statement, int column)
{
	int64_t id = sqlite3_column_int64(statement, column);

	return id > 0 && id < INT32_MAX ? (uint32_t)id : 0;
}

/* Returns whether the address is kept with the record. */
static bool read_end(struct log_names *names, sqlite3_stmt *statement, uint32_t id,
	int address_column, int port_column, struct log_party *party)
{
	const struct log_party_row *known = log_names_party(names, id);

	*party = known->party;
	if (!known->has_address)
		log_row_address(statement, address_column, &party->address);
	party->transport_port = (uint16_t)sqlite3_column_int(statement, port_column);
	return !known->has_address;
}

void log_row_read(
	struct log_names *names, sqlite3_stmt *statement, uint64_t start_ns, struct log_row *row)
{
	struct log_record *record = &row->record;

	row->context = read_id(statement, 3);
	row->source = read_id(statement, 4);
	row->destination = read_id(statement, 5);
	*record = log_names_context(names, row->context)->record;
	record->sequence = (uint64_t)sqlite3_column_int64(statement, 0);
	record->time_ns = start_ns + (uint64_t)sqlite3_column_int64(statement, 1);
	if (sqlite3_column_type(statement, 2) == SQLITE_INTEGER)
		record->start_ns = record->time_ns - (uint64_t)sqlite3_column_int64(statement, 2);
	row->source_apart = read_end(names, statement, row->source, 6, 8, &record->source);
	row->destination_apart =
		read_end(names, statement, row->destination, 7, 9, &record->destination);
	record->suppressed = (uint32_t)sqlite3_column_int64(statement, 10);
	record->packets_forward = (uint64_t)sqlite3_column_int64(statement, 11);
	record->bytes_forward = (uint64_t)sqlite3_column_int64(statement, 12);
	record->packets_reverse = (uint64_t)sqlite3_column_int64(statement, 13);
	record->bytes_reverse = (uint64_t)sqlite3_column_int64(statement, 14);
}
