/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of sums as bytes, and bytes as rows.  Called by slice.c on the thread that writes the log,
 * and by the readers on theirs.  A file may have come from anywhere: nothing in it is trusted.
 *
 * A number is written seven bits a byte, least first, the top bit telling that more follow.  A row
 * is a number with a bit for each field that is not 0, then these fields, then the two addresses.
 */
#include "log/slice.h"

#include <stdlib.h>
#include <string.h>

enum {
	NUMBER_MAX = 10, /* Bytes. */
	FIELDS = 19,
	ADDRESS_MAX = 17,
	ROW_MAX = (FIELDS + 1) * NUMBER_MAX + 2 * ADDRESS_MAX,
	V4_LENGTHS = 129, /* An IPv4 prefix of /n has the length V4_LENGTHS + n. */
};

/* Signed numbers near 0 as small ones. */
static uint64_t fold(int64_t number)
{
	return (uint64_t)number << 1 ^ (number < 0 ? UINT64_MAX : 0);
}

static int64_t unfold(uint64_t number)
{
	return (int64_t)(number >> 1 ^ (number & 1 ? UINT64_MAX : 0));
}

/* --- Packing -------------------------------------------------------------------------------- */

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
	for (; number >= 128; number >>= 7)
		*at++ = (uint8_t)(number | 128);
	*at++ = (uint8_t)number;
	return at;
}

static uint8_t *put_address(uint8_t *at, const struct in6_addr *address, uint8_t length)
{
	if (!length)
		return at;
	if (IN6_IS_ADDR_V4MAPPED(address) && length >= 96) {
		*at++ = (uint8_t)(V4_LENGTHS + length - 96);
		memcpy(at, &address->s6_addr[12], 4);
		return at + 4;
	}
	*at++ = length;
	memcpy(at, address, sizeof(*address));
	return at + sizeof(*address);
}

/* Numbers first, then whether there are addresses. */
static void list_fields(const struct log_flow_row *row, uint64_t start_ns, uint64_t fields[FIELDS])
{
	const struct log_flow_key *key = &row->key;
	const struct log_flow_counts *counts = &row->counts;
	const uint64_t all[FIELDS] = {key->source, key->destination, key->decision, key->lumped,
		key->port, counts->records, counts->began, counts->ended, counts->updated,
		counts->refused, counts->held_back, counts->would_deny, counts->packets_forward,
		counts->bytes_forward, counts->packets_reverse, counts->bytes_reverse,
		counts->first_ns ? fold((int64_t)(counts->first_ns - start_ns)) + 1 : 0,
		counts->last_ns - counts->first_ns, 0};

	memcpy(fields, all, sizeof(all));
	fields[FIELDS - 1] =
		(uint64_t)(key->source_length > 0) | (uint64_t)(key->destination_length > 0) << 1;
}

static uint8_t *put_row(uint8_t *at, const struct log_flow_row *row, uint64_t start_ns)
{
	uint64_t fields[FIELDS], present = 0;

	list_fields(row, start_ns, fields);
	for (unsigned int i = 0; i < FIELDS; i++)
		present |= (uint64_t)(fields[i] != 0) << i;
	at = put_number(at, present);
	for (unsigned int i = 0; i < FIELDS; i++)
		if (fields[i])
			at = put_number(at, fields[i]);
	at = put_address(at, &row->key.source_address, row->key.source_length);
	return put_address(at, &row->key.destination_address, row->key.destination_length);
}

uint8_t *log_slice_pack(const struct log_flow_rows *rows, uint64_t start_ns, size_t *length)
{
	uint8_t *bytes = malloc((size_t)rows->n * ROW_MAX + 1), *at = bytes, *fitting;

	if (!bytes)
		return NULL;
	for (uint32_t i = 0; i < rows->n; i++)
		at = put_row(at, &rows->at[i], start_ns);
	*length = (size_t)(at - bytes);
	fitting = realloc(bytes, *length + 1);
	return fitting ? fitting : bytes;
}

/* --- Unpacking ------------------------------------------------------------------------------ */

struct cursor {
	const uint8_t *at, *end;
	bool bad;
};

static uint64_t get_number(struct cursor *cursor)
{
	uint64_t number = 0;

	for (unsigned int shift = 0; shift < 64 && cursor->at < cursor->end; shift += 7) {
		uint8_t byte = *cursor->at++;

		number |= (uint64_t)(byte & 127) << shift;
		if (byte < 128)
			return number;
	}
	cursor->bad = true;
	return 0;
}

static uint64_t get_number_to(struct cursor *cursor, uint64_t most)
{
	uint64_t number = get_number(cursor);

	if (number > most)
		cursor->bad = true;
	return number;
}

static void get_address(struct cursor *cursor, struct in6_addr *address, uint8_t *length)
{
	unsigned int tag = cursor->at < cursor->end ? *cursor->at++ : 0;
	bool v4 = tag >= V4_LENGTHS;
	size_t n = v4 ? 4 : sizeof(*address);

	if (!tag || tag > V4_LENGTHS + 32 || (size_t)(cursor->end - cursor->at) < n) {
		cursor->bad = true;
		return;
	}
	memcpy(&address->s6_addr[sizeof(*address) - n], cursor->at, n);
	if (v4)
		address->s6_addr[10] = address->s6_addr[11] = 0xff;
	*length = (uint8_t)(v4 ? tag - V4_LENGTHS + 96 : tag);
	cursor->at += n;
}

static void get_times(
	struct cursor *cursor, uint64_t present, uint64_t start_ns, struct log_flow_counts *counts)
{
	if (present & 1 << 16)
		counts->first_ns = start_ns + (uint64_t)unfold(get_number(cursor) - 1);
	counts->last_ns = counts->first_ns;
	if (present & 1 << 17)
		counts->last_ns += get_number(cursor);
}

static void get_row(struct cursor *cursor, uint64_t start_ns, struct log_flow_row *row)
{
	struct log_flow_key *key = &row->key;
	struct log_flow_counts *counts = &row->counts;
	uint32_t *const numbers[] = {&key->source, &key->destination, &key->decision, &key->lumped};
	uint64_t *const sums[] = {&counts->records, &counts->began, &counts->ended,
		&counts->updated, &counts->refused, &counts->held_back, &counts->would_deny,
		&counts->packets_forward, &counts->bytes_forward, &counts->packets_reverse,
		&counts->bytes_reverse};
	uint64_t present = get_number_to(cursor, (1 << FIELDS) - 1), addresses = 0;

	memset(row, 0, sizeof(*row));
	for (unsigned int i = 0; i < 4; i++)
		if (present & 1 << i)
			*numbers[i] = (uint32_t)get_number_to(cursor, UINT32_MAX);
	if (present & 1 << 4)
		key->port = (uint16_t)get_number_to(cursor, UINT16_MAX);
	for (unsigned int i = 0; i < 11; i++)
		if (present & 1 << (5 + i))
			*sums[i] = get_number(cursor);
	get_times(cursor, present, start_ns, counts);
	if (present & 1 << 18)
		addresses = get_number(cursor);
	if (addresses & 1)
		get_address(cursor, &key->source_address, &key->source_length);
	if (addresses & 2)
		get_address(cursor, &key->destination_address, &key->destination_length);
}

bool log_slice_unpack(const uint8_t *bytes, size_t length, uint64_t start_ns,
	bool (*each)(const struct log_flow_row *row, void *context), void *context)
{
	struct cursor cursor = {.at = bytes, .end = bytes + length};

	while (cursor.at < cursor.end) {
		struct log_flow_row row;

		get_row(&cursor, start_ns, &row);
		if (cursor.bad)
			return false;
		if (!each(&row, context))
			break;
	}
	return true;
}
