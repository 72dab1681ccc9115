/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prefixes to numbers, longest match: one hash table for all lengths, asked for each length in use,
 * longest first.
 */
#ifndef ZONES_PREFIX_TABLE_H
#define ZONES_PREFIX_TABLE_H

#include <stddef.h>

#include "zones/address.h"

struct prefix_table;

enum { PREFIX_NONE = -1 };

/* An empty table for at most `capacity` prefixes. */
struct prefix_table *prefix_table_create(size_t capacity);
void prefix_table_destroy(struct prefix_table *table); /* Accepts NULL. */

/* Enters a prefix with `value`, at most INT32_MAX.  Returns PREFIX_NONE, or, changing nothing, the
 * value that this very prefix already has. */
int prefix_table_insert(struct prefix_table *table, const struct ip_prefix *prefix, uint32_t value);

/* The value of the longest prefix that holds the address, or PREFIX_NONE.  Any thread. */
int prefix_table_find(const struct prefix_table *table, const struct in6_addr *address);

size_t prefix_table_bytes(const struct prefix_table *table);

#endif
