/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of flows: open addressing over an array of rows, which stay in the order in which
 * they were made.  Called by the store's writer for every record, and by log_flows() on the thread
 * of whoever asks.
 */
#include "log/flow_rows.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SLOTS_FIRST = 1024 };

void log_flow_rows_init(struct log_flow_rows *rows)
{
	memset(rows, 0, sizeof(*rows));
	if (getrandom(&rows->secret, sizeof(rows->secret), GRND_NONBLOCK) < 0)
		rows->secret = (uintptr_t)rows;
}

void log_flow_rows_free(struct log_flow_rows *rows)
{
	free(rows->at);
	free(rows->slots);
	memset(rows, 0, sizeof(*rows));
}

void log_flow_rows_clear(struct log_flow_rows *rows)
{
	if (rows->n)
		memset(rows->slots, 0, rows->n_slots * sizeof(*rows->slots));
	rows->n = 0;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_key(uint64_t secret, const struct log_flow_key *key)
{
	uint64_t word[7] = {0}, hash = secret;

	_Static_assert(sizeof(*key) <= sizeof(word), "a key fits the words");
	memcpy(word, key, sizeof(*key));
	hash = fold(word[0] ^ hash, word[1] ^ 0xa0761d6478bd642full);
	hash = fold(word[2] ^ hash, word[3] ^ 0xe7037ed1a0b428dbull);
	hash = fold(word[4] ^ hash, word[5] ^ 0x8ebc6af09c88c6e3ull);
	hash = fold(word[6] ^ hash, secret ^ 0x589965cc75374cc3ull);
	return (uint32_t)hash ^ (uint32_t)(hash >> 32);
}

/* The slot of the key: its own, or the free one where it belongs.  There are free ones. */
static uint32_t *find_slot(const struct log_flow_rows *rows, const struct log_flow_key *key)
{
	uint32_t mask = rows->n_slots - 1;

	for (uint32_t i = hash_key(rows->secret, key) & mask;; i = (i + 1) & mask) {
		uint32_t row = rows->slots[i];

		if (!row || !memcmp(&rows->at[row - 1].key, key, sizeof(*key)))
			return &rows->slots[i];
	}
}

struct log_flow_row *log_flow_rows_find(
	const struct log_flow_rows *rows, const struct log_flow_key *key)
{
	uint32_t row = rows->n ? *find_slot(rows, key) : 0;

	return row ? &rows->at[row - 1] : NULL;
}

/* Room for one more row, with half of the slots free. */
static bool grow(struct log_flow_rows *rows)
{
	uint32_t n_slots = rows->n_slots ? rows->n_slots * 2 : SLOTS_FIRST;
	struct log_flow_row *at;
	uint32_t *slots;

	if (rows->n * 2 < rows->n_slots)
		return true;
	at = realloc(rows->at, n_slots / 2 * sizeof(*at));
	if (at)
		rows->at = at;
	slots = at ? calloc(n_slots, sizeof(*slots)) : NULL;
	if (!slots)
		return false;
	free(rows->slots);
	rows->slots = slots;
	rows->n_slots = n_slots;
	for (uint32_t i = 0; i < rows->n; i++)
		*find_slot(rows, &rows->at[i].key) = i + 1;
	return true;
}

struct log_flow_row *log_flow_rows_get(struct log_flow_rows *rows, const struct log_flow_key *key)
{
	uint32_t *slot;

	if (!grow(rows))
		return NULL;
	slot = find_slot(rows, key);
	if (!*slot) {
		rows->at[rows->n] = (struct log_flow_row){.key = *key};
		*slot = ++rows->n;
	}
	return &rows->at[*slot - 1];
}

/* --- Counts --------------------------------------------------------------------------------- */

static void count_traffic(struct log_flow_counts *counts, const struct log_record *record)
{
	counts->packets_forward += record->packets_forward;
	counts->bytes_forward += record->bytes_forward;
	counts->packets_reverse += record->packets_reverse;
	counts->bytes_reverse += record->bytes_reverse;
}

/* A record without a packet only tells what was held back. */
static uint64_t attempts(const struct log_record *record)
{
	return (record->packets_forward || !record->suppressed) + (uint64_t)record->suppressed;
}

void log_flow_count(struct log_flow_counts *counts, const struct log_record *record)
{
	counts->records++;
	switch (record->kind) {
	case LOG_START: counts->began++; break;
	case LOG_UPDATE: counts->updated++; break;
	case LOG_END:
		counts->ended++;
		count_traffic(counts, record);
		break;
	case LOG_WOULD_DENY:
		counts->would_deny += attempts(record);
		counts->held_back += record->suppressed;
		count_traffic(counts, record);
		break;
	default:
		counts->refused += attempts(record);
		counts->held_back += record->suppressed;
		count_traffic(counts, record);
		break;
	}
	if (record->time_ns > counts->last_ns)
		counts->last_ns = record->time_ns;
	if (record->time_ns < counts->first_ns || !counts->first_ns)
		counts->first_ns = record->time_ns;
}

void log_flow_add(struct log_flow_counts *counts, const struct log_flow_counts *more, bool traffic)
{
	counts->records += more->records;
	counts->began += more->began;
	counts->ended += more->ended;
	counts->updated += more->updated;
	counts->refused += more->refused;
	counts->held_back += more->held_back;
	counts->would_deny += more->would_deny;
	if (traffic) {
		counts->packets_forward += more->packets_forward;
		counts->bytes_forward += more->bytes_forward;
		counts->packets_reverse += more->packets_reverse;
		counts->bytes_reverse += more->bytes_reverse;
	}
	if (more->last_ns > counts->last_ns)
		counts->last_ns = more->last_ns;
	if (more->first_ns && (more->first_ns < counts->first_ns || !counts->first_ns))
		counts->first_ns = more->first_ns;
}

uint64_t log_flow_connections(const struct log_flow_counts *counts)
{
	uint64_t most = counts->began > counts->ended ? counts->began : counts->ended;

	return !most && counts->updated ? 1 : most;
}

bool log_flow_has_ports(uint8_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
	       protocol == IPPROTO_UDPLITE || protocol == IPPROTO_DCCP;
}
