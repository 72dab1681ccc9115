/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of control connections and of what they announce.  Called by workers, on the miss path.
 *
 * An entry is in one of N_WAYS places that its connection's number gives; and, while it announces
 * something, in a hash chain by what is announced.  Links are indices + 1; 0 ends a chain.
 */
#include "datapath/expectation.h"

#include <arpa/inet.h>
#include <emmintrin.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "datapath/keyed_hash.h"

enum { N_WAYS = 8, ENTRIES_MIN = 16, ENTRIES_MAX = 1 << 20 };

/* What identifies an announced connection: all of its key but the port that it comes from.  Whole
 * words, without padding: hashed and compared as it is. */
struct expected_key {
	struct in6_addr opener, receiver;
	uint32_t net;
	uint16_t receiver_port; /* Network byte order. */
	uint8_t protocol, kind;
};

enum { KEY_WORDS = sizeof(struct expected_key) / sizeof(uint32_t) };
_Static_assert(sizeof(struct expected_key) == 40, "the key has no padding");

struct entry {
	/* The control connection; start_ns is 0 in a free entry. */
	uint64_t start_ns;
	uint32_t number, used_s;
	uint16_t holder; /* The switch port that its client is behind. */
	struct ftp_session session;
	/* What it announces, if it does. */
	bool expects;
	uint32_t expires_s, next; /* In its chain. */
	struct expected_key key;
	struct expectation expectation;
};

struct expectation_table {
	atomic_flag lock; /* Guards all; the atomics are written under it. */
	_Atomic uint32_t n_expected, last_expires_s;
	uint32_t n_entries, n_used;
	struct entry *entries;
	uint32_t *chains; /* As many as entries. */
	uint32_t held[CONN_PORTS_MAX];
	uint64_t secrets[1 + KEY_WORDS];
};

/* --- Making --------------------------------------------------------------------------------- */

struct expectation_table *expectation_table_create(uint32_t entries)
{
	struct expectation_table *table;

	if (entries < ENTRIES_MIN || entries > ENTRIES_MAX) {
		errno = EINVAL;
		return NULL;
	}
	table = calloc(1, sizeof(*table));
	if (table == NULL)
		return NULL;
	table->n_entries = entries / N_WAYS * N_WAYS;
	table->entries = calloc(table->n_entries, sizeof(table->entries[0]));
	table->chains = calloc(table->n_entries, sizeof(table->chains[0]));
	if (table->entries == NULL || table->chains == NULL ||
		getrandom(table->secrets, sizeof(table->secrets), 0) !=
			(ssize_t)sizeof(table->secrets)) {
		expectation_table_destroy(table);
		return NULL;
	}
	atomic_flag_clear(&table->lock);
	return table;
}

void expectation_table_destroy(struct expectation_table *table)
{
	if (table == NULL)
		return;
	free(table->entries);
	free(table->chains);
	free(table);
}

static void lock(struct expectation_table *table)
{
	while (atomic_flag_test_and_set_explicit(&table->lock, memory_order_acquire))
		_mm_pause();
}

static void unlock(struct expectation_table *table)
{
	atomic_flag_clear_explicit(&table->lock, memory_order_release);
}

/* --- What is announced ---------------------------------------------------------------------- */

static uint32_t *chain_of(struct expectation_table *table, const struct expected_key *key)
{
	uint32_t words[KEY_WORDS];

	memcpy(words, key, sizeof(words));
	return &table->chains[keyed_hash(table->secrets, words, KEY_WORDS) % table->n_entries];
}

/* Times wrap around, so they are compared by their difference. */
static bool is_past(uint32_t now, uint32_t then)
{
	return (int32_t)(now - then) >= 0;
}

static void stop_expecting(struct expectation_table *table, struct entry *entry)
{
	uint32_t *link, place = (uint32_t)(entry - table->entries) + 1;

	if (!entry->expects)
		return;
	for (link = chain_of(table, &entry->key); *link != place;)
		link = &table->entries[*link - 1].next;
	*link = entry->next;
	entry->expects = false;
	atomic_fetch_sub_explicit(&table->n_expected, 1, memory_order_relaxed);
}

static void expect(struct expectation_table *table, struct entry *entry,
	const struct expected_key *key, const struct expectation *expectation, uint32_t now)
{
	uint32_t *chain;

	stop_expecting(table, entry);
	entry->key = *key;
	entry->expectation = *expectation;
	entry->expires_s = now + EXPECTATION_SECONDS;
	chain = chain_of(table, key);
	entry->next = *chain;
	*chain = (uint32_t)(entry - table->entries) + 1;
	entry->expects = true;
	atomic_store_explicit(&table->last_expires_s, entry->expires_s, memory_order_relaxed);
	atomic_fetch_add_explicit(&table->n_expected, 1, memory_order_relaxed);
}

static struct entry *find_expected(struct expectation_table *table, const struct conn_key *key)
{
	const struct expected_key wanted = {
		.opener = key->source,
		.receiver = key->destination,
		.net = key->net,
		.receiver_port = key->destination_port,
		.protocol = key->protocol,
		.kind = key->kind,
	};

	for (uint32_t at = *chain_of(table, &wanted); at != 0; at = table->entries[at - 1].next)
		if (memcmp(&table->entries[at - 1].key, &wanted, sizeof(wanted)) == 0)
			return &table->entries[at - 1];
	return NULL;
}

/* --- Control connections -------------------------------------------------------------------- */

static void forget(struct expectation_table *table, struct entry *entry)
{
	stop_expecting(table, entry);
	table->held[entry->holder]--;
	table->n_used--;
	entry->start_ns = 0;
}

/* A free place for a control connection by `holder` among `ways`: one that nobody uses, if the
 * holder may have it, else the oldest that it has itself.  NULL: neither. */
static struct entry *make_room(
	struct expectation_table *table, struct entry *ways, uint16_t holder, uint32_t now)
{
	struct entry *own = NULL, *unused = NULL;

	for (unsigned int i = 0; i < N_WAYS; i++) {
		struct entry *entry = &ways[i];

		if (entry->start_ns != 0 && is_past(now, entry->used_s + EXPECTATION_IDLE_SECONDS))
			forget(table, entry);
		if (entry->start_ns == 0)
			unused = entry;
		else if (entry->holder == holder &&
			 (own == NULL || is_past(own->used_s, entry->used_s)))
			own = entry;
	}
	if (unused != NULL && table->held[holder] < table->n_entries - table->n_used)
		return unused;
	if (own != NULL)
		forget(table, own);
	return own;
}

/* The control connection's entry, made if it has none; NULL if there is no room. */
static struct entry *enter(
	struct expectation_table *table, const struct control_connection *control, uint32_t now)
{
	struct entry *ways =
		&table->entries[control->number % (table->n_entries / N_WAYS) * N_WAYS];
	struct entry *entry = NULL;

	for (unsigned int i = 0; i < N_WAYS && entry == NULL; i++)
		if (ways[i].start_ns == control->start_ns && ways[i].number == control->number)
			entry = &ways[i];
	if (entry == NULL) {
		entry = make_room(table, ways, control->key->in_port % CONN_PORTS_MAX, now);
		if (entry == NULL)
			return NULL;
		*entry = (struct entry){
			.start_ns = control->start_ns,
			.number = control->number,
			.holder = control->key->in_port % CONN_PORTS_MAX,
		};
		table->held[entry->holder]++;
		table->n_used++;
	}
	entry->used_s = now;
	return entry;
}

/* The announced connection goes to the side that announces it, from the other. */
static void expect_from(struct expectation_table *table, struct entry *entry,
	const struct control_connection *control, bool server_opens, uint16_t receiver_port,
	uint32_t now)
{
	const struct conn_key *key = control->key;
	const struct expected_key expected = {
		.opener = server_opens ? key->destination : key->source,
		.receiver = server_opens ? key->source : key->destination,
		.net = key->net,
		.receiver_port = receiver_port,
		.protocol = key->protocol,
		.kind = key->kind,
	};
	const struct expectation expectation = {
		.opener_side = server_opens ? control->server_side : key->in_port,
		.control_port = ntohs(key->destination_port),
		.server_opens = server_opens,
	};

	expect(table, entry, &expected, &expectation, now);
}

enum announced expectation_read_ftp(struct expectation_table *table,
	const struct control_connection *control, const struct control_segment *segment,
	uint32_t now)
{
	enum announced announced = ANNOUNCED_NOTHING;
	const struct in6_addr *sender =
		segment->from_client ? &control->key->source : &control->key->destination;
	uint16_t port = 0;

	lock(table);
	struct entry *entry = enter(table, control, now);
	if (entry != NULL)
		announced = ftp_read(&entry->session, segment->from_client, segment->sequence,
			segment->is_syn, segment->payload, segment->payload_bytes, sender, &port);
	if (announced == ANNOUNCED_CONNECTION)
		expect_from(table, entry, control, segment->from_client, htons(port), now);
	unlock(table);
	return announced;
}

void expectation_add_tftp(
	struct expectation_table *table, const struct control_connection *control, uint32_t now)
{
	lock(table);
	struct entry *entry = enter(table, control, now);
	if (entry != NULL)
		expect_from(table, entry, control, true, control->key->source_port, now);
	unlock(table);
}

/* --- Asking --------------------------------------------------------------------------------- */

bool expectation_any(const struct expectation_table *table, uint32_t now)
{
	return atomic_load_explicit(&table->n_expected, memory_order_relaxed) != 0 &&
	       !is_past(now, atomic_load_explicit(&table->last_expires_s, memory_order_relaxed));
}

bool expectation_find(struct expectation_table *table, const struct conn_key *key, uint32_t now,
	struct expectation *found)
{
	bool is_expected = false;

	lock(table);
	struct entry *entry = find_expected(table, key);
	if (entry != NULL && is_past(now, entry->expires_s)) {
		stop_expecting(table, entry);
	} else if (entry != NULL) {
		*found = entry->expectation;
		is_expected = true;
	}
	unlock(table);
	return is_expected;
}

void expectation_done(struct expectation_table *table, const struct conn_key *key)
{
	lock(table);
	struct entry *entry = find_expected(table, key);
	if (entry != NULL)
		stop_expecting(table, entry);
	unlock(table);
}
