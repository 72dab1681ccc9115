/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAC learning.  Workers look up and learn on the miss path, the sweep refreshes and ages, the
 * control plane adds static entries; mac_table.h has the rules.
 *
 * A bucket is one cache line: three entries and a sequence number, which is odd while an entry of
 * the bucket is being replaced.  A reader that sees it change, or odd, reads again, so that it
 * never believes the address of one entry with the port of another.  An entry that finds its bucket
 * full goes into the next one that is not, and each bucket counts the entries that have passed it:
 * a search ends at a bucket that none has passed.  With twice as many slots as addresses, most
 * searches end in the first.  An entry never changes its slot.
 */
#include "datapath/mac_table.h"

#include <assert.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "datapath/conn_key.h"
#include "datapath/keyed_hash.h"
#include "datapath/zeroed.h"

enum { BUCKET_SLOTS = 3 };

/* Bits of an entry's words.  An address word of 0 is a free slot. */
#define ADDRESS_USED	 (UINT64_C(1) << 63)
#define PLACE_STATIC	 (UINT64_C(1) << 16)
#define PLACE_TIME_SHIFT 32

struct mac_slot {
	_Atomic uint64_t address; /* MAC, VLAN << 48, ADDRESS_USED. */
	_Atomic uint64_t place;	  /* Port, PLACE_STATIC, last seen << 32. */
};

struct mac_bucket {
	struct mac_slot slots[BUCKET_SLOTS];
	_Atomic uint32_t sequence;
	_Atomic uint32_t n_passed;
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct mac_bucket) == 64, "a bucket is one cache line");

struct mac_table {
	struct mac_bucket *buckets;
	uint32_t n_buckets;
	size_t capacity;
	uint64_t secrets[3];
	_Atomic uint8_t lock; /* Guards what follows, and all changes of slots. */
	_Atomic size_t count;
	uint32_t n_learned[CONN_PORTS_MAX];
};

/* An address, and the bucket at which its search begins. */
struct mac_home {
	uint64_t address;
	uint32_t bucket;
};

static void table_lock(struct mac_table *table)
{
	while (atomic_exchange_explicit(&table->lock, 1, memory_order_acquire)) {
		while (atomic_load_explicit(&table->lock, memory_order_relaxed))
			_mm_pause();
	}
}

static void table_unlock(struct mac_table *table)
{
	atomic_store_explicit(&table->lock, 0, memory_order_release);
}

struct mac_table *mac_table_create(size_t capacity)
{
	struct mac_table *table;
	size_t n_buckets = capacity * 2 / BUCKET_SLOTS + 2;

	if (!capacity || n_buckets > UINT32_MAX)
		return NULL;
	table = calloc(1, sizeof(*table));
	if (!table)
		return NULL;
	table->capacity = capacity;
	table->n_buckets = n_buckets;
	table->buckets = zeroed_alloc(n_buckets * sizeof(struct mac_bucket));
	if (!table->buckets ||
		getrandom(table->secrets, sizeof(table->secrets), 0) != sizeof(table->secrets)) {
		mac_table_destroy(table);
		return NULL;
	}
	return table;
}

void mac_table_destroy(struct mac_table *table)
{
	if (!table)
		return;
	zeroed_free(table->buckets, table->n_buckets * sizeof(struct mac_bucket));
	free(table);
}

static struct mac_home home_of_address(const struct mac_table *table, uint64_t address)
{
	const uint32_t words[2] = {(uint32_t)address, (uint32_t)(address >> 32)};
	uint64_t hash = keyed_hash(table->secrets, words, 2);

	return (struct mac_home){
		.address = address,
		.bucket = (hash * table->n_buckets) >> 32,
	};
}

static struct mac_home home_of(const struct mac_table *table, uint16_t vlan, const uint8_t mac[6])
{
	uint64_t address = 0;

	memcpy(&address, mac, 6);
	address |= (uint64_t)(vlan & 0xfff) << 48 | ADDRESS_USED;
	return home_of_address(table, address);
}

static uint32_t next_bucket(const struct mac_table *table, uint32_t bucket)
{
	return bucket + 1 < table->n_buckets ? bucket + 1 : 0;
}

static bool was_passed(const struct mac_bucket *bucket)
{
	return atomic_load_explicit(&bucket->n_passed, memory_order_relaxed);
}

static uint64_t place_of(uint16_t port, bool is_static, uint32_t now)
{
	return port | (is_static ? PLACE_STATIC : 0) | (uint64_t)now << PLACE_TIME_SHIFT;
}

static uint16_t place_port(uint64_t place)
{
	return place & 0xffff;
}

static uint32_t place_time(uint64_t place)
{
	return place >> PLACE_TIME_SHIFT;
}

/* --- Reading without the lock --------------------------------------------------------------- */

/* The place of `address` in one bucket, or 0; with *slot set to where it was. */
static uint64_t bucket_read(struct mac_bucket *bucket, uint64_t address, struct mac_slot **slot)
{
	for (;;) {
		uint32_t before = atomic_load_explicit(&bucket->sequence, memory_order_acquire);
		uint64_t place = 0;

		for (size_t i = 0; i < BUCKET_SLOTS; i++) {
			struct mac_slot *at = &bucket->slots[i];

			/* Acquire: the sequence number is read again after these. */
			if (atomic_load_explicit(&at->address, memory_order_acquire) != address)
				continue;
			place = atomic_load_explicit(&at->place, memory_order_acquire);
			*slot = at;
		}
		if (!(before & 1) &&
			atomic_load_explicit(&bucket->sequence, memory_order_relaxed) == before)
			return place;
		_mm_pause();
	}
}

/* The place of an address, or 0; with *slot set to where it was. */
static uint64_t home_read(
	const struct mac_table *table, const struct mac_home *home, struct mac_slot **slot)
{
	uint32_t at = home->bucket;
	uint64_t place;

	do {
		place = bucket_read(&table->buckets[at], home->address, slot);
		if (place || !was_passed(&table->buckets[at]))
			return place;
		at = next_bucket(table, at);
	} while (at != home->bucket);
	return 0;
}

uint16_t mac_lookup(const struct mac_table *table, uint16_t vlan, const uint8_t mac[6])
{
	struct mac_home home = home_of(table, vlan, mac);
	struct mac_slot *slot;

	return place_port(home_read(table, &home, &slot));
}

/* Moves the time of a learned place forward, if the slot still holds it.  Should the slot have been
 * given to another address behind the same port, that one is taken for seen too, which is harmless.
 */
static void place_refresh(struct mac_slot *slot, uint64_t place, uint32_t now)
{
	if (place & PLACE_STATIC || (int32_t)(now - place_time(place)) <= 0)
		return;
	atomic_compare_exchange_strong_explicit(&slot->place, &place,
		place_of(place_port(place), false, now), memory_order_relaxed,
		memory_order_relaxed);
}

uint16_t mac_refresh(
	struct mac_table *table, uint16_t vlan, const uint8_t mac[6], uint16_t port, uint32_t now)
{
	struct mac_home home = home_of(table, vlan, mac);
	struct mac_slot *slot;
	uint64_t place = home_read(table, &home, &slot);

	if (place && place_port(place) == port)
		place_refresh(slot, place, now);
	return place_port(place);
}

/* --- Changes, under the lock ---------------------------------------------------------------- */

/* Replaces an entry.  Release: the odd sequence number is seen before what follows it. */
static void slot_write(
	struct mac_bucket *bucket, struct mac_slot *slot, uint64_t address, uint64_t place)
{
	uint32_t sequence = atomic_load_explicit(&bucket->sequence, memory_order_relaxed);

	atomic_store_explicit(&bucket->sequence, sequence + 1, memory_order_relaxed);
	atomic_store_explicit(&slot->address, address, memory_order_release);
	atomic_store_explicit(&slot->place, place, memory_order_release);
	atomic_store_explicit(&bucket->sequence, sequence + 2, memory_order_release);
}

/* The slot that holds an address, with its bucket, or NULL. */
static struct mac_slot *slot_find(
	const struct mac_table *table, const struct mac_home *home, uint32_t *bucket)
{
	*bucket = home->bucket;
	do {
		struct mac_bucket *at = &table->buckets[*bucket];

		for (size_t i = 0; i < BUCKET_SLOTS; i++) {
			if (atomic_load_explicit(&at->slots[i].address, memory_order_relaxed) ==
				home->address)
				return &at->slots[i];
		}
		if (!was_passed(at))
			return NULL;
		*bucket = next_bucket(table, *bucket);
	} while (*bucket != home->bucket);
	return NULL;
}

/* A free slot for an address that is not there.  There is always one: there are more slots than the
 * capacity. */
static struct mac_slot *slot_free(
	const struct mac_table *table, const struct mac_home *home, uint32_t *bucket)
{
	for (*bucket = home->bucket;; *bucket = next_bucket(table, *bucket)) {
		struct mac_bucket *at = &table->buckets[*bucket];

		for (size_t i = 0; i < BUCKET_SLOTS; i++) {
			if (!atomic_load_explicit(&at->slots[i].address, memory_order_relaxed))
				return &at->slots[i];
		}
	}
}

/* Counts an entry that lies in `bucket` as passing the buckets before it, or as gone. */
static void count_passed(
	struct mac_table *table, const struct mac_home *home, uint32_t bucket, uint32_t by)
{
	for (uint32_t at = home->bucket; at != bucket; at = next_bucket(table, at))
		atomic_fetch_add_explicit(&table->buckets[at].n_passed, by, memory_order_relaxed);
}

/* Counts a place in or out of its port's learned addresses. */
static void count_place(struct mac_table *table, uint64_t place, int by)
{
	if (!(place & PLACE_STATIC))
		table->n_learned[place_port(place)] += by;
}

/* Enters an address that is not there.  False: no room. */
static bool entry_add(struct mac_table *table, const struct mac_home *home, uint64_t place)
{
	size_t count = atomic_load_explicit(&table->count, memory_order_relaxed);
	struct mac_slot *slot;
	uint32_t bucket;

	if (count >= table->capacity)
		return false;
	slot = slot_free(table, home, &bucket);
	count_passed(table, home, bucket, 1);
	slot_write(&table->buckets[bucket], slot, home->address, place);
	count_place(table, place, 1);
	atomic_store_explicit(&table->count, count + 1, memory_order_relaxed);
	return true;
}

static void entry_remove(struct mac_table *table, uint32_t bucket, struct mac_slot *slot)
{
	uint64_t address = atomic_load_explicit(&slot->address, memory_order_relaxed);
	struct mac_home home = home_of_address(table, address);

	count_place(table, atomic_load_explicit(&slot->place, memory_order_relaxed), -1);
	slot_write(&table->buckets[bucket], slot, 0, 0);
	count_passed(table, &home, bucket, -1);
	atomic_fetch_sub_explicit(&table->count, 1, memory_order_relaxed);
}

/* Gives an address that is there another place. */
static void entry_move(
	struct mac_table *table, uint32_t bucket, struct mac_slot *slot, uint64_t place)
{
	count_place(table, atomic_load_explicit(&slot->place, memory_order_relaxed), -1);
	count_place(table, place, 1);
	slot_write(&table->buckets[bucket], slot,
		atomic_load_explicit(&slot->address, memory_order_relaxed), place);
}

/* What becomes of an address that is at `place` (0: nowhere) when a frame from it comes by `port`.
 */
static enum mac_learn_result judge(
	const struct mac_table *table, uint64_t place, uint16_t port, uint32_t limit)
{
	if (place && place_port(place) == port)
		return MAC_KNOWN;
	if (place & PLACE_STATIC)
		return MAC_STATIC;
	if (limit && table->n_learned[port] >= limit)
		return MAC_LIMIT;
	if (place)
		return MAC_MOVED;
	return atomic_load_explicit(&table->count, memory_order_relaxed) < table->capacity
		       ? MAC_LEARNED
		       : MAC_FULL;
}

/* Learns an address that is new, or elsewhere; or knows it, if another worker was first. */
static enum mac_learn_result learn_locked(struct mac_table *table, const struct mac_home *home,
	uint16_t port, uint32_t limit, uint32_t now)
{
	uint32_t bucket;
	struct mac_slot *slot = slot_find(table, home, &bucket);
	uint64_t place = slot ? atomic_load_explicit(&slot->place, memory_order_relaxed) : 0;
	enum mac_learn_result result = judge(table, place, port, limit);

	if (result == MAC_MOVED)
		entry_move(table, bucket, slot, place_of(port, false, now));
	else if (result == MAC_LEARNED)
		entry_add(table, home, place_of(port, false, now));
	return result;
}

enum mac_learn_result mac_learn(struct mac_table *table, uint16_t vlan, const uint8_t mac[6],
	uint16_t port, uint32_t limit, uint32_t now)
{
	struct mac_home home = home_of(table, vlan, mac);
	enum mac_learn_result result;
	struct mac_slot *slot;
	uint64_t place = home_read(table, &home, &slot);

	assert(port && port < CONN_PORTS_MAX);
	if (place && place_port(place) == port) {
		place_refresh(slot, place, now);
		return MAC_KNOWN;
	}
	if (place & PLACE_STATIC)
		return MAC_STATIC;
	table_lock(table);
	result = learn_locked(table, &home, port, limit, now);
	table_unlock(table);
	return result;
}

enum mac_learn_result mac_would_learn(
	struct mac_table *table, uint16_t vlan, const uint8_t mac[6], uint16_t port, uint32_t limit)
{
	struct mac_home home = home_of(table, vlan, mac);
	enum mac_learn_result result;
	struct mac_slot *slot;

	table_lock(table);
	result = judge(table, home_read(table, &home, &slot), port, limit);
	table_unlock(table);
	return result;
}

bool mac_add_static(struct mac_table *table, uint16_t vlan, const uint8_t mac[6], uint16_t port)
{
	struct mac_home home = home_of(table, vlan, mac);
	uint64_t place = place_of(port, true, 0), old;
	struct mac_slot *slot;
	uint32_t bucket;
	bool added = true;

	assert(port && port < CONN_PORTS_MAX);
	table_lock(table);
	slot = slot_find(table, &home, &bucket);
	old = slot ? atomic_load_explicit(&slot->place, memory_order_relaxed) : 0;
	if (!slot)
		added = entry_add(table, &home, place);
	else if (!(old & PLACE_STATIC))
		entry_move(table, bucket, slot, place);
	else
		added = place_port(old) == port;
	table_unlock(table);
	return added;
}

void mac_remove_static(struct mac_table *table, uint16_t vlan, const uint8_t mac[6])
{
	struct mac_home home = home_of(table, vlan, mac);
	struct mac_slot *slot;
	uint32_t bucket;

	table_lock(table);
	slot = slot_find(table, &home, &bucket);
	if (slot && atomic_load_explicit(&slot->place, memory_order_relaxed) & PLACE_STATIC)
		entry_remove(table, bucket, slot);
	table_unlock(table);
}

/* --- All entries ---------------------------------------------------------------------------- */

static bool is_empty(const struct mac_bucket *bucket)
{
	for (size_t i = 0; i < BUCKET_SLOTS; i++) {
		if (atomic_load_explicit(&bucket->slots[i].address, memory_order_relaxed))
			return false;
	}
	return true;
}

/* Removes the entries for whose place `goes` returns true.  The lock is held for one bucket at a
 * time, so that learning does not wait for long. */
static size_t remove_where(struct mac_table *table,
	bool (*goes)(uint64_t place, const void *context), const void *context)
{
	size_t n = 0;

	for (uint32_t bucket = 0; bucket < table->n_buckets; bucket++) {
		if (is_empty(&table->buckets[bucket]))
			continue;
		table_lock(table);
		for (size_t i = 0; i < BUCKET_SLOTS; i++) {
			struct mac_slot *slot = &table->buckets[bucket].slots[i];

			if (!atomic_load_explicit(&slot->address, memory_order_relaxed) ||
				!goes(atomic_load_explicit(&slot->place, memory_order_relaxed),
					context))
				continue;
			entry_remove(table, bucket, slot);
			n++;
		}
		table_unlock(table);
	}
	return n;
}

static bool is_at_port(uint64_t place, const void *port)
{
	return place_port(place) == *(const uint16_t *)port;
}

void mac_flush_port(struct mac_table *table, uint16_t port)
{
	remove_where(table, is_at_port, &port);
}

static bool is_learned_at_port(uint64_t place, const void *port)
{
	return !(place & PLACE_STATIC) && is_at_port(place, port);
}

void mac_flush_learned(struct mac_table *table, uint16_t port)
{
	remove_where(table, is_learned_at_port, &port);
}

struct age {
	uint32_t now, seconds;
};

static bool is_old(uint64_t place, const void *age_)
{
	const struct age *age = age_;
	int32_t idle = (int32_t)(age->now - place_time(place));

	return !(place & PLACE_STATIC) && idle >= 0 && (uint32_t)idle >= age->seconds;
}

size_t mac_expire(struct mac_table *table, uint32_t now, uint32_t age_seconds)
{
	struct age age = {.now = now, .seconds = age_seconds};

	return remove_where(table, is_old, &age);
}

/* The two words of one slot, as they were at one moment.  False: it is free. */
static bool slot_read(const struct mac_bucket *bucket, size_t i, uint64_t *address, uint64_t *place)
{
	const struct mac_slot *slot = &bucket->slots[i];
	uint32_t before;

	do {
		before = atomic_load_explicit(&bucket->sequence, memory_order_acquire);
		*address = atomic_load_explicit(&slot->address, memory_order_acquire);
		*place = atomic_load_explicit(&slot->place, memory_order_acquire);
	} while (before & 1 ||
		 atomic_load_explicit(&bucket->sequence, memory_order_relaxed) != before);
	return *address;
}

void mac_for_each(const struct mac_table *table,
	void (*each)(const struct mac_entry *entry, void *context), void *context)
{
	for (size_t at = 0; at < (size_t)table->n_buckets * BUCKET_SLOTS; at++) {
		struct mac_entry entry = {.vlan = 0};
		uint64_t address, place;

		if (!slot_read(&table->buckets[at / BUCKET_SLOTS], at % BUCKET_SLOTS, &address,
			    &place))
			continue;
		memcpy(entry.mac, &address, sizeof(entry.mac));
		entry.vlan = (address >> 48) & 0xfff;
		entry.port = place_port(place);
		entry.is_static = place & PLACE_STATIC;
		entry.last_seen = place_time(place);
		each(&entry, context);
	}
}

size_t mac_count(const struct mac_table *table)
{
	return atomic_load_explicit(&table->count, memory_order_relaxed);
}
