/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to numbers, by open addressing with linear probing, at most half full.  Used while a policy
 * is read, by one thread; afterwards for look-ups only, by any.
 */
#include "zones/name_table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "zones/arena.h"

/* Stirs 64 bits so that each bit of the input changes about half of the output's. */
static uint64_t stir(uint64_t value)
{
	value ^= value >> 32;
	value *= UINT64_C(0xd6e8feb86659fd93);
	value ^= value >> 32;
	value *= UINT64_C(0xd6e8feb86659fd93);
	return value ^ value >> 32;
}

static uint32_t name_hash(const struct name_table *table, uint32_t scope, const char *name)
{
	uint64_t hash = table->secret ^ scope;
	size_t length = strlen(name);

	while (length) {
		size_t step = length < 8 ? length : 8;
		uint64_t word = 0;

		memcpy(&word, name, step);
		hash = stir(hash ^ word) + step;
		name += step;
		length -= step;
	}
	return (uint32_t)stir(hash);
}

/* The slot of the name, or the free one where it belongs. */
static struct name_slot *name_table_slot(
	const struct name_table *table, uint32_t scope, const char *name, uint32_t hash)
{
	for (size_t i = hash & table->mask;; i = (i + 1) & table->mask) {
		struct name_slot *slot = &table->slots[i];
		const struct name_entry *entry;

		if (!slot->entry)
			return slot;
		if (slot->hash != hash)
			continue;
		entry = &table->entries[slot->entry - 1];
		if (entry->scope == scope && !strcmp(entry->name, name))
			return slot;
	}
}

/* Makes the hash table, or makes it larger; `size` is a power of two. */
static void name_table_resize(struct name_table *table, size_t size)
{
	struct name_slot *old = table->slots;
	size_t n_old = old ? table->mask + 1 : 0;

	if (!old && getrandom(&table->secret, sizeof table->secret, 0) < 0)
		table->secret = (uintptr_t)table;
	table->slots = zone_allocate(size, sizeof *table->slots);
	table->mask = size - 1;
	for (size_t i = 0; i < n_old; i++) {
		size_t place = old[i].hash & table->mask;

		if (!old[i].entry)
			continue;
		while (table->slots[place].entry)
			place = (place + 1) & table->mask;
		table->slots[place] = old[i];
	}
	free(old);
}

void name_table_reserve(struct name_table *table, size_t n)
{
	size_t size = 16;

	while (size < n * 2)
		size *= 2;
	if (!table->slots)
		name_table_resize(table, size);
}

uint32_t name_table_prepare(struct name_table *table, uint32_t scope, const char *name)
{
	uint32_t hash;

	if (!table->slots) /* Which draws the secret. */
		name_table_resize(table, 16);
	hash = name_hash(table, scope, name);
	__builtin_prefetch(&table->slots[hash & table->mask], 1);
	return hash;
}

int name_table_insert_prepared(struct name_table *table, uint32_t scope, const char *name,
	uint32_t prepared, uint32_t value)
{
	uint32_t hash = prepared;
	struct name_slot *slot;

	if ((table->n + 1) * 2 > table->mask + 1)
		name_table_resize(table, (table->mask + 1) * 2);
	slot = name_table_slot(table, scope, name, hash);
	if (slot->entry)
		return (int)table->entries[slot->entry - 1].value;
	table->entries =
		zone_grow(table->entries, table->n, &table->allocated, sizeof *table->entries);
	table->entries[table->n++] =
		(struct name_entry){.name = name, .scope = scope, .value = value};
	*slot = (struct name_slot){.hash = hash, .entry = (uint32_t)table->n};
	return NAME_NONE;
}

int name_table_insert(struct name_table *table, uint32_t scope, const char *name, uint32_t value)
{
	uint32_t prepared = name_table_prepare(table, scope, name);

	return name_table_insert_prepared(table, scope, name, prepared, value);
}

int name_table_find_prepared(
	const struct name_table *table, uint32_t scope, const char *name, uint32_t prepared)
{
	const struct name_slot *slot = name_table_slot(table, scope, name, prepared);

	return slot->entry ? (int)table->entries[slot->entry - 1].value : NAME_NONE;
}

int name_table_find(const struct name_table *table, uint32_t scope, const char *name)
{
	if (!table->slots)
		return NAME_NONE;
	return name_table_find_prepared(table, scope, name, name_hash(table, scope, name));
}

size_t name_table_bytes(const struct name_table *table)
{
	return (table->slots ? (table->mask + 1) * sizeof *table->slots : 0) +
	       table->allocated * sizeof *table->entries;
}

void name_table_free(struct name_table *table)
{
	free(table->slots);
	free(table->entries);
	*table = (struct name_table){.slots = NULL};
}
