/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the first fragment of a datagram said, for the fragments that follow.  Called by the worker
 * that owns the table, for each fragment, before its flow is looked up.
 *
 * Entries lie in one array.  Each is in a hash chain, and in one queue in the order in which they
 * were made, which is the order in which they expire: the oldest is at its head, so clearing away
 * looks at nothing that stays.  All links are indices; NONE ends a chain.
 */
#include "datapath/fragment.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

enum { ENTRIES_MIN = 16, ENTRIES_MAX = 1 << 24 };
enum { PORT_NUMBERS = 1 << 16 };
#define NONE UINT32_MAX

/* What identifies a datagram (RFC 791, 3.2; RFC 8200, 4.5: there without the protocol).  Without
 * padding, a whole number of words: hashed and compared as it is. */
struct datagram_key {
	struct in6_addr source, destination;
	uint32_t net, id;
	uint16_t in_port;
	uint8_t protocol, kind;
};

enum { KEY_WORDS = sizeof(struct datagram_key) / sizeof(uint32_t) };
_Static_assert(sizeof(struct datagram_key) == 44, "the key has no padding");

struct datagram {
	struct datagram_key key;
	uint32_t next_in_chain; /* Also links the free entries. */
	uint32_t older, newer;	/* The queue. */
	uint32_t expires_s;
	uint32_t first_bytes; /* Payload of the first fragment. */
	uint32_t seen_bytes;  /* Of all so far. */
	uint32_t all_bytes;   /* Of the datagram; 0 until its last fragment has passed. */
	uint16_t source_port, destination_port;
	uint8_t protocol, icmp_type, icmp_code;
};

struct fragment_table {
	struct datagram *entries;
	uint32_t *chains; /* Heads, a power of two of them. */
	uint32_t *held;	  /* Entries of each input port. */
	uint32_t n_entries, chain_mask;
	uint32_t n_used, free, oldest, newest;
	uint64_t secret[KEY_WORDS + 1];
};

/* --- Making --------------------------------------------------------------------------------- */

static uint32_t power_of_two_from(uint32_t n)
{
	uint32_t power = 1;

	while (power < n)
		power *= 2;
	return power;
}

static bool allocate(struct fragment_table *table, uint32_t entries)
{
	uint32_t n_chains = power_of_two_from(entries);

	table->n_entries = entries;
	table->chain_mask = n_chains - 1;
	table->entries = calloc(entries, sizeof(table->entries[0]));
	table->chains = malloc(n_chains * sizeof(table->chains[0]));
	table->held = calloc(PORT_NUMBERS, sizeof(table->held[0]));
	return table->entries != NULL && table->chains != NULL && table->held != NULL &&
	       getrandom(table->secret, sizeof(table->secret), 0) == (ssize_t)sizeof(table->secret);
}

struct fragment_table *fragment_table_create(uint32_t entries)
{
	struct fragment_table *table;

	if (entries < ENTRIES_MIN || entries > ENTRIES_MAX) {
		errno = EINVAL;
		return NULL;
	}
	table = calloc(1, sizeof(*table));
	if (table == NULL || !allocate(table, entries)) {
		fragment_table_destroy(table);
		return NULL;
	}
	for (uint32_t i = 0; i <= table->chain_mask; i++)
		table->chains[i] = NONE;
	for (uint32_t i = 0; i < entries; i++)
		table->entries[i].next_in_chain = i + 1 < entries ? i + 1 : NONE;
	table->oldest = table->newest = NONE;
	return table;
}

void fragment_table_destroy(struct fragment_table *table)
{
	if (table == NULL)
		return;
	free(table->entries);
	free(table->chains);
	free(table->held);
	free(table);
}

size_t fragment_count(const struct fragment_table *table)
{
	return table->n_used;
}

/* --- Chains and the queue ------------------------------------------------------------------- */

static struct datagram_key datagram_key(const struct packet *packet)
{
	return (struct datagram_key){
		.source = packet->key.source,
		.destination = packet->key.destination,
		.net = packet->key.net,
		.id = packet->fragment_id,
		.in_port = packet->key.in_port,
		.protocol = packet->key.kind == CONN_KEY_IPV4 ? packet->protocol : 0,
		.kind = packet->key.kind,
	};
}

/* The head of the key's chain.  The hash is keyed (multilinear), so that nobody outside can choose
 * identifications that all fall into one chain. */
static uint32_t *chain_of(const struct fragment_table *table, const struct datagram_key *key)
{
	uint32_t words[KEY_WORDS];
	uint64_t sum = table->secret[KEY_WORDS];

	memcpy(words, key, sizeof(words));
	for (unsigned int i = 0; i < KEY_WORDS; i++)
		sum += table->secret[i] * words[i];
	return &table->chains[(uint32_t)(sum >> 32) & table->chain_mask];
}

static struct datagram *find(const struct fragment_table *table, const struct datagram_key *key)
{
	for (uint32_t at = *chain_of(table, key); at != NONE; at = table->entries[at].next_in_chain)
		if (memcmp(&table->entries[at].key, key, sizeof(*key)) == 0)
			return &table->entries[at];
	return NULL;
}

static void queue_append(struct fragment_table *table, uint32_t at)
{
	struct datagram *entry = &table->entries[at];

	entry->older = table->newest;
	entry->newer = NONE;
	if (table->newest != NONE)
		table->entries[table->newest].newer = at;
	else
		table->oldest = at;
	table->newest = at;
}

static void queue_remove(struct fragment_table *table, const struct datagram *entry)
{
	if (entry->older != NONE)
		table->entries[entry->older].newer = entry->newer;
	else
		table->oldest = entry->newer;
	if (entry->newer != NONE)
		table->entries[entry->newer].older = entry->older;
	else
		table->newest = entry->older;
}

static void forget(struct fragment_table *table, struct datagram *entry)
{
	uint32_t at = (uint32_t)(entry - table->entries);
	uint32_t *link = chain_of(table, &entry->key);

	while (*link != at)
		link = &table->entries[*link].next_in_chain;
	*link = entry->next_in_chain;
	queue_remove(table, entry);
	table->held[entry->key.in_port]--;
	table->n_used--;
	entry->next_in_chain = table->free;
	table->free = at;
}

/* Times wrap around, so they are compared by their difference. */
static void forget_expired(struct fragment_table *table, uint32_t now_s)
{
	while (table->oldest != NONE &&
		(int32_t)(now_s - table->entries[table->oldest].expires_s) >= 0)
		forget(table, &table->entries[table->oldest]);
}

/* A fresh entry for the key, or NULL if the port may have no more. */
static struct datagram *enter(struct fragment_table *table, const struct datagram_key *key)
{
	if (table->held[key->in_port] >= table->n_entries - table->n_used)
		return NULL;
	uint32_t at = table->free;
	struct datagram *entry = &table->entries[at];
	uint32_t *chain = chain_of(table, key);

	table->free = entry->next_in_chain;
	*entry = (struct datagram){.key = *key, .next_in_chain = *chain};
	*chain = at;
	queue_append(table, at);
	table->held[key->in_port]++;
	table->n_used++;
	return entry;
}

/* --- Fragments ------------------------------------------------------------------------------ */

enum drop_reason fragment_note_first(
	struct fragment_table *table, const struct packet *packet, uint32_t now_s)
{
	const struct datagram_key key = datagram_key(packet);

	forget_expired(table, now_s);
	/* Whoever sends two different first fragments gains nothing: each is judged by its own
	 * ports, and what follows by those of the last. */
	struct datagram *entry = find(table, &key);
	if (entry != NULL)
		forget(table, entry);
	entry = enter(table, &key);
	if (entry == NULL)
		return DROP_FRAGMENT_TABLE_FULL;
	entry->expires_s = now_s + FRAGMENT_SECONDS;
	entry->first_bytes = entry->seen_bytes = packet->l4_bytes;
	entry->source_port = packet->key.source_port;
	entry->destination_port = packet->key.destination_port;
	entry->protocol = packet->protocol;
	entry->icmp_type = packet->icmp_type;
	entry->icmp_code = packet->icmp_code;
	return DROP_NONE;
}

/* Counts a fragment; when as many bytes have passed as the datagram has, the entry's work is done.
 * A fragment that passes twice ends it early, which costs that datagram alone. */
static void count_fragment(
	struct fragment_table *table, struct datagram *entry, const struct packet *packet)
{
	entry->seen_bytes += packet->l4_bytes;
	if (packet->flags & PACKET_FRAGMENT_LAST)
		entry->all_bytes = packet->fragment_offset + packet->l4_bytes;
	if (entry->all_bytes != 0 && entry->seen_bytes >= entry->all_bytes)
		forget(table, entry);
}

enum drop_reason fragment_find(struct fragment_table *table, struct packet *packet, uint32_t now_s)
{
	const struct datagram_key key = datagram_key(packet);

	forget_expired(table, now_s);
	struct datagram *entry = find(table, &key);
	if (entry == NULL)
		return DROP_FRAGMENT_NO_FIRST;
	if (packet->fragment_offset < entry->first_bytes)
		return DROP_FRAGMENT_OVERLAP;
	packet->protocol = packet->key.protocol = entry->protocol;
	packet->key.source_port = entry->source_port;
	packet->key.destination_port = entry->destination_port;
	packet->icmp_type = entry->icmp_type;
	packet->icmp_code = entry->icmp_code;
	count_fragment(table, entry, packet);
	return DROP_NONE;
}
