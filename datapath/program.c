/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interned action programs.  Workers intern them on the miss path, the sweep thread retires those
 * that no flow names any more; program.h has the life cycle.
 *
 * The index is an array of chains, linked by number.  A chain is read without a lock: a program
 * that is taken out keeps its link, so that a reader that stands on it goes on as before, until its
 * slot is reused.
 */
#include "datapath/program.h"

#include <errno.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "datapath/keyed_hash.h"
#include "datapath/zeroed.h"

enum { PROGRAM_WORDS = sizeof(struct program) / sizeof(uint32_t) };

/* A slot that is out of the index waits as RETIRED, then as RESTING, for a sweep each. */
enum slot_state { SLOT_FREE, SLOT_INDEXED, SLOT_RETIRED, SLOT_RESTING };

struct slot {
	_Atomic uint32_t next; /* In its chain; 0 ends it.  Under the lock. */
	_Atomic uint8_t used;  /* Marked or interned since the last sweep.  Any thread. */
	uint8_t state;	       /* enum slot_state.  Under the lock. */
};

struct program_store {
	uint32_t capacity, n_chains;
	uint64_t secrets[1 + PROGRAM_WORDS];
	struct program *programs; /* As program_table's, to be written. */
	struct slot *slots;
	_Atomic uint32_t *chains; /* First of each chain, or 0. */
	uint32_t *free;		  /* Numbers of free slots; under the lock. */
	uint32_t n_free;
	_Atomic uint32_t n_indexed;
	_Atomic uint8_t lock;
};

static void store_lock(struct program_store *store)
{
	while (atomic_exchange_explicit(&store->lock, 1, memory_order_acquire)) {
		while (atomic_load_explicit(&store->lock, memory_order_relaxed))
			_mm_pause();
	}
}

static void store_unlock(struct program_store *store)
{
	atomic_store_explicit(&store->lock, 0, memory_order_release);
}

/* Number 0 is no program. */
static size_t programs_bytes(uint32_t capacity)
{
	return ((size_t)capacity + 1) * sizeof(struct program);
}

static void store_destroy(struct program_store *store)
{
	if (!store)
		return;
	zeroed_free(store->programs, programs_bytes(store->capacity));
	free(store->slots);
	free(store->chains);
	free(store->free);
	free(store);
}

static struct program_store *store_create(uint32_t capacity)
{
	struct program_store *store = calloc(1, sizeof(*store));

	if (!store)
		return NULL;
	store->capacity = capacity;
	store->n_chains = capacity + capacity / 2 + 1;
	store->programs = zeroed_alloc(programs_bytes(capacity));
	store->slots = calloc((size_t)capacity + 1, sizeof(store->slots[0]));
	store->chains = calloc(store->n_chains, sizeof(store->chains[0]));
	store->free = calloc(capacity, sizeof(store->free[0]));
	if (!store->programs || !store->slots || !store->chains || !store->free)
		goto destroy;
	if (getrandom(store->secrets, sizeof(store->secrets), 0) != sizeof(store->secrets))
		goto destroy;
	store->n_free = capacity;
	for (uint32_t i = 0; i < capacity; i++)
		store->free[i] = capacity - i;
	return store;

destroy:
	store_destroy(store);
	return NULL;
}

struct program_table *program_table_create(uint32_t capacity)
{
	struct program_table *table;

	if (!capacity || capacity > UINT32_MAX / 4) {
		errno = EINVAL;
		return NULL;
	}
	table = calloc(1, sizeof(*table));
	if (!table)
		return NULL;
	table->store = store_create(capacity);
	if (!table->store) {
		free(table);
		errno = ENOMEM;
		return NULL;
	}
	table->programs = table->store->programs;
	return table;
}

void program_table_destroy(struct program_table *table)
{
	if (!table)
		return;
	store_destroy(table->store);
	free(table);
}

/* --- Interning ------------------------------------------------------------------------------ */

/* Keyed, because a guest chooses the MACs that go in. */
static uint32_t program_hash(const struct program_store *store, const struct program *program)
{
	uint32_t words[PROGRAM_WORDS];

	memcpy(words, program, sizeof(words));
	return keyed_hash(store->secrets, words, PROGRAM_WORDS);
}

/* The one form that all equal programs have: unused actions zero, derived fields filled in. */
static struct program canonical(const struct program_store *store, const struct program *given)
{
	struct program program = {.n_actions = given->n_actions};

	memcpy(program.destination_mac, given->destination_mac, sizeof(program.destination_mac));
	memcpy(program.source_mac, given->source_mac, sizeof(program.source_mac));
	memcpy(program.actions, given->actions, given->n_actions * sizeof(program.actions[0]));
	if (program.n_actions == 1 && program.actions[0].type == ACTION_OUTPUT) {
		program.output_only = 1;
		program.output = program.actions[0].argument;
	}
	program.hash = program_hash(store, &program);
	return program;
}

static _Atomic uint32_t *chain_of(const struct program_store *store, uint32_t hash)
{
	return &store->chains[((uint64_t)hash * store->n_chains) >> 32];
}

/* The number of the indexed program equal to *program, or PROGRAM_NONE. */
static uint32_t find(const struct program_store *store, const struct program *program)
{
	const _Atomic uint32_t *link = chain_of(store, program->hash);
	uint32_t number;

	while ((number = atomic_load_explicit(link, memory_order_acquire))) {
		if (memcmp(&store->programs[number], program, sizeof(*program)) == 0)
			return number;
		link = &store->slots[number].next;
	}
	return PROGRAM_NONE;
}

/* Enters a new program at the head of its chain.  Under the lock. */
static uint32_t enter(struct program_store *store, const struct program *program)
{
	_Atomic uint32_t *head = chain_of(store, program->hash);
	uint32_t number;

	if (!store->n_free)
		return PROGRAM_NONE;
	number = store->free[--store->n_free];
	store->programs[number] = *program;
	store->slots[number].state = SLOT_INDEXED;
	atomic_store_explicit(&store->slots[number].used, 1, memory_order_relaxed);
	atomic_store_explicit(&store->slots[number].next,
		atomic_load_explicit(head, memory_order_relaxed), memory_order_relaxed);
	atomic_store_explicit(head, number, memory_order_release);
	atomic_fetch_add_explicit(&store->n_indexed, 1, memory_order_relaxed);
	return number;
}

/* Says that a program is in use, without dirtying a line that says so already. */
static void touch(struct slot *slot)
{
	if (!atomic_load_explicit(&slot->used, memory_order_relaxed))
		atomic_store_explicit(&slot->used, 1, memory_order_relaxed);
}

uint32_t program_intern(struct program_table *table, const struct program *given)
{
	struct program_store *store = table->store;
	struct program program;
	uint32_t number;

	if (given->n_actions > PROGRAM_ACTIONS_MAX)
		return PROGRAM_NONE;
	program = canonical(store, given);
	number = find(store, &program);
	if (number == PROGRAM_NONE) {
		store_lock(store);
		number = find(store, &program);
		if (number == PROGRAM_NONE)
			number = enter(store, &program);
		store_unlock(store);
	}
	if (number != PROGRAM_NONE)
		touch(&store->slots[number]);
	return number;
}

/* --- The sweep ------------------------------------------------------------------------------ */

void program_mark(struct program_table *table, uint32_t number)
{
	if (number != PROGRAM_NONE && number <= table->store->capacity)
		touch(&table->store->slots[number]);
}

/* Takes a program out of its chain, leaving its own link as it is. */
static void chain_remove(struct program_store *store, uint32_t number)
{
	_Atomic uint32_t *link = chain_of(store, store->programs[number].hash);

	while (atomic_load_explicit(link, memory_order_relaxed) != number)
		link = &store->slots[atomic_load_explicit(link, memory_order_relaxed)].next;
	atomic_store_explicit(link,
		atomic_load_explicit(&store->slots[number].next, memory_order_relaxed),
		memory_order_release);
	atomic_fetch_sub_explicit(&store->n_indexed, 1, memory_order_relaxed);
}

/* One slot's turn.  A retired program that a flow names after all, because a worker found it just
 * before it was taken out, waits on. */
static void slot_sweep(struct program_store *store, uint32_t number)
{
	struct slot *slot = &store->slots[number];
	bool used = atomic_exchange_explicit(&slot->used, 0, memory_order_relaxed);

	switch (slot->state) {
	case SLOT_INDEXED:
		if (used)
			return;
		chain_remove(store, number);
		slot->state = SLOT_RETIRED;
		return;
	case SLOT_RETIRED:
	case SLOT_RESTING:
		if (used) {
			slot->state = SLOT_RETIRED;
		} else if (slot->state == SLOT_RETIRED) {
			slot->state = SLOT_RESTING;
		} else {
			slot->state = SLOT_FREE;
			store->free[store->n_free++] = number;
		}
		return;
	default: return;
	}
}

void program_sweep(struct program_table *table)
{
	enum { SLOTS_PER_LOCK = 256 };
	struct program_store *store = table->store;

	for (uint32_t first = 1; first <= store->capacity; first += SLOTS_PER_LOCK) {
		store_lock(store);
		for (uint32_t i = 0; i < SLOTS_PER_LOCK && first + i <= store->capacity; i++) {
			if (store->slots[first + i].state != SLOT_FREE)
				slot_sweep(store, first + i);
		}
		store_unlock(store);
	}
}

size_t program_count(const struct program_table *table)
{
	return atomic_load_explicit(&table->store->n_indexed, memory_order_relaxed);
}
