/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which flows of a slice are added up when there are too many.  Called by slice.c, on the thread
 * that writes the log.
 *
 * The half of the rows that has the fewest records is lumped: one step further in what makes the
 * fewest rows of them, addresses or ports, until a quarter of the room is free.  A scan of all
 * ports of a VM thus costs ports, and a swarm of clients their addresses.
 */
#include "log/slice.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t lengths_v4[LOG_LUMP_STEPS + 1] = {128, 96 + 24, 96 + 16, 0};
static const uint8_t lengths_v6[LOG_LUMP_STEPS + 1] = {128, 64, 48, 0};

/* True if the prefix has become shorter. */
static bool shorten(struct in6_addr *address, uint8_t *length, unsigned int step)
{
	bool v4 = IN6_IS_ADDR_V4MAPPED(address);
	uint8_t wanted = v4 ? lengths_v4[step] : lengths_v6[step];

	if (*length <= wanted)
		return false;
	*length = wanted;
	ip_prefix_mask(address, wanted);
	return true;
}

void log_lump_key(const struct log_lump *lump, struct log_flow_key *key)
{
	if (shorten(&key->source_address, &key->source_length, lump->addresses))
		key->lumped |= LOG_FLOW_SOURCE_ADDRESS;
	if (shorten(&key->destination_address, &key->destination_length, lump->addresses))
		key->lumped |= LOG_FLOW_DESTINATION_ADDRESS;
	if (lump->ports && key->port) {
		key->port = 0;
		key->lumped |= LOG_FLOW_SERVICE;
	}
}

/* A party that cannot be made stays what it is. */
static bool lump_party(const struct log_slice *slice, uint32_t *party)
{
	uint32_t zone_party = slice->zone_party(slice->owner, *party);

	if (!zone_party || zone_party == *party)
		return false;
	*party = zone_party;
	return true;
}

void log_slice_lump(
	const struct log_slice *slice, const struct log_lump *lump, struct log_flow_key *key)
{
	log_lump_key(lump, key);
	if (lump->parties && lump_party(slice, &key->source))
		key->lumped |= LOG_FLOW_SOURCE | LOG_FLOW_SOURCE_ADDRESS;
	if (lump->parties && lump_party(slice, &key->destination))
		key->lumped |= LOG_FLOW_DESTINATION | LOG_FLOW_DESTINATION_ADDRESS;
}

/* --- Making room ---------------------------------------------------------------------------- */

static int compare(const void *left, const void *right)
{
	const struct log_flow_row *a = *(const struct log_flow_row *const *)left;
	const struct log_flow_row *b = *(const struct log_flow_row *const *)right;

	if (a->counts.records != b->counts.records)
		return a->counts.records < b->counts.records ? -1 : 1;
	return (a > b) - (a < b);
}

/* The rows, those with the fewest records first.  The caller frees. */
static const struct log_flow_row **order(const struct log_flow_rows *rows)
{
	const struct log_flow_row **order = malloc((rows->n + 1) * sizeof(const void *));

	if (!order)
		return NULL;
	for (uint32_t i = 0; i < rows->n; i++)
		order[i] = &rows->at[i];
	qsort(order, rows->n, sizeof(order[0]), compare);
	return order;
}

/* Fills slice->scratch with rows `from` to `to`, lumped if `lump` is not NULL. */
static bool fill_scratch(struct log_slice *slice, const struct log_flow_row **rows, uint32_t from,
	uint32_t to, const struct log_lump *lump)
{
	for (uint32_t i = from; i < to; i++) {
		struct log_flow_key key = rows[i]->key;
		struct log_flow_row *row;

		if (lump)
			log_slice_lump(slice, lump, &key);
		row = log_flow_rows_get(&slice->scratch, &key);
		if (!row)
			return false;
		log_flow_add(&row->counts, &rows[i]->counts, true);
	}
	return true;
}

/* How many rows the first n become; UINT32_MAX: no memory. */
static uint32_t count_lumped(struct log_slice *slice, const struct log_flow_row **rows, uint32_t n,
	const struct log_lump *lump)
{
	log_flow_rows_clear(&slice->scratch);
	return fill_scratch(slice, rows, 0, n, lump) ? slice->scratch.n : UINT32_MAX;
}

/* One step further, in what makes the fewest rows.  False: there is no further step. */
static bool go_further(struct log_slice *slice, const struct log_flow_row **rows, uint32_t n)
{
	struct log_lump addresses = slice->lump, ports = slice->lump;
	uint32_t by_addresses = UINT32_MAX, by_ports = UINT32_MAX;

	addresses.addresses++;
	ports.ports = true;
	if (slice->lump.addresses < LOG_LUMP_STEPS)
		by_addresses = count_lumped(slice, rows, n, &addresses);
	if (!slice->lump.ports)
		by_ports = count_lumped(slice, rows, n, &ports);
	if (by_addresses == UINT32_MAX && by_ports == UINT32_MAX) {
		if (slice->lump.parties)
			return false;
		slice->lump.parties = true;
		return true;
	}
	slice->lump = by_addresses <= by_ports ? addresses : ports;
	return true;
}

bool log_slice_make_room(struct log_slice *slice)
{
	const struct log_flow_row **rows = order(&slice->flows);
	uint32_t n = slice->flows.n, few = n / 2;
	struct log_flow_rows lumped;
	bool done = false;

	if (!rows)
		return false;
	while (!done) {
		uint32_t left = count_lumped(slice, rows, few, &slice->lump);

		done = (left != UINT32_MAX && left + n - few <= LOG_SLICE_FLOWS * 3 / 4) ||
		       !go_further(slice, rows, few);
	}
	log_flow_rows_clear(&slice->scratch);
	done = fill_scratch(slice, rows, few, n, NULL) &&
	       fill_scratch(slice, rows, 0, few, &slice->lump);
	free(rows);
	if (!done)
		return false;
	lumped = slice->scratch;
	slice->scratch = slice->flows;
	slice->flows = lumped;
	return true;
}
