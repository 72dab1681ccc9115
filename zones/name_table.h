/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table from names to numbers.  A name may be entered once per scope, so that one table
 * serves for, say, the rules of all policies.
 */
#ifndef ZONES_NAME_TABLE_H
#define ZONES_NAME_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* A place of the hash table: small, since a search may begin at any. */
struct name_slot {
	uint32_t hash;
	uint32_t entry; /* Index of `entries`, from 1; 0: free. */
};

struct name_entry {
	const char *name;
	uint32_t scope, value;
};

/* All zero is an empty table. */
struct name_table {
	struct name_slot *slots;
	struct name_entry *entries;
	size_t n, allocated, mask;
	uint64_t secret; /* Drawn at the first insertion, so that nobody can choose collisions. */
};

enum { NAME_NONE = -1 };

/* Enters `name`, which is not copied, with `value`, at most INT32_MAX.  Returns NAME_NONE, or,
 * changing nothing, the value that the name already has in this scope. */
int name_table_insert(struct name_table *table, uint32_t scope, const char *name, uint32_t value);

/* The same in two steps, for many names one after the other: name_table_prepare() asks for the
 * memory that the name is looked for in, and returns what the second step wants.  Meanwhile others
 * may be prepared or entered. */
uint32_t name_table_prepare(struct name_table *table, uint32_t scope, const char *name);
int name_table_insert_prepared(struct name_table *table, uint32_t scope, const char *name,
	uint32_t prepared, uint32_t value);

/* name_table_find() as such a second step. */
int name_table_find_prepared(
	const struct name_table *table, uint32_t scope, const char *name, uint32_t prepared);

/* Makes room in an empty table for `n` names, which cost memory only once they are entered. */
void name_table_reserve(struct name_table *table, size_t n);

/* The value of `name` in `scope`, or NAME_NONE. */
int name_table_find(const struct name_table *table, uint32_t scope, const char *name);

size_t name_table_bytes(const struct name_table *table);

/* Frees the table's memory, and leaves it empty. */
void name_table_free(struct name_table *table);

#endif
