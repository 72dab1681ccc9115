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

/* The entry of the name, or the free one where it belongs. */
static struct name_entry *name_table_slot(
	const struct name_table *table, uint32_t scope, const char *name, uint32_t hash)
{
	for (size_t i = hash & table->mask;; i = (i + 1) & table->mask) {
		struct name_entry *entry = &table->entries[i];

		if (!entry->name || (entry->hash == hash && entry->scope == scope &&
					    !strcmp(entry->name, name)))
			return entry;
	}
}

static void name_table_resize(struct name_table *table, size_t size)
{
	struct name_entry *old = table->entries;
	size_t n_old = old ? table->mask + 1 : 0;

	table->entries = zone_allocate(size, sizeof *table->entries);
	table->mask = size - 1;
	for (size_t i = 0; i < n_old; i++) {
		if (old[i].name)
			*name_table_slot(table, old[i].scope, old[i].name, old[i].hash) = old[i];
	}
	free(old);
}

/* Makes the table, or makes it larger. */
static void name_table_grow(struct name_table *table, size_t size)
{
	if (!table->entries && getrandom(&table->secret, sizeof table->secret, 0) < 0)
		table->secret = (uintptr_t)table;
	name_table_resize(table, size);
}

void name_table_reserve(struct name_table *table, size_t n)
{
	size_t size = 16;

	while (size < n * 2)
		size *= 2;
	if (!table->entries)
		name_table_grow(table, size);
}

int name_table_insert(struct name_table *table, uint32_t scope, const char *name, uint32_t value)
{
	struct name_entry *entry;
	uint32_t hash;

	if (!table->entries)
		name_table_grow(table, 16);
	else if ((table->n + 1) * 2 > table->mask + 1)
		name_table_grow(table, (table->mask + 1) * 2);
	hash = name_hash(table, scope, name);
	entry = name_table_slot(table, scope, name, hash);
	if (entry->name)
		return (int)entry->value;
	*entry = (struct name_entry){.name = name, .hash = hash, .scope = scope, .value = value};
	table->n++;
	return NAME_NONE;
}

int name_table_find(const struct name_table *table, uint32_t scope, const char *name)
{
	struct name_entry *entry;

	if (!table->entries)
		return NAME_NONE;
	entry = name_table_slot(table, scope, name, name_hash(table, scope, name));
	return entry->name ? (int)entry->value : NAME_NONE;
}

size_t name_table_bytes(const struct name_table *table)
{
	return table->entries ? (table->mask + 1) * sizeof *table->entries : 0;
}

void name_table_free(struct name_table *table)
{
	free(table->entries);
	*table = (struct name_table){.entries = NULL};
}
