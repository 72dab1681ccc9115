/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Longest prefix match.  Filled by the thread that compiles a policy, immutable afterwards;
 * look-ups come from the packet path, for addresses that no endpoint owns.
 */
#include "zones/prefix_table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "zones/address_hash.h"
#include "zones/arena.h"

struct prefix_entry {
	struct in6_addr address;
	int32_t value; /* PREFIX_NONE: free. */
	uint8_t length;
};

/* A length that some prefix has.  IPv4 and IPv6 have a list each: no length of one is looked up for
 * an address of the other. */
struct prefix_length {
	struct in6_addr mask;
	uint8_t length;
};

struct prefix_lengths {
	size_t n;
	struct prefix_length at[129]; /* Longest first. */
};

struct prefix_table {
	struct address_hash hash;
	size_t mask;
	struct prefix_lengths ipv4, ipv6;
	struct prefix_entry entries[];
};

void address_hash_init(struct address_hash *hash)
{
	/* The keys are a matter of speed under attack, not of being right: any will do. */
	if (getrandom(hash, sizeof *hash, 0) != (ssize_t)sizeof *hash) {
		for (size_t i = 0; i < 6; i++)
			hash->keys[i] = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
	}
}

static size_t table_size(size_t capacity)
{
	size_t size = 8;

	while (size < capacity * 2)
		size *= 2;
	return size;
}

struct prefix_table *prefix_table_create(size_t capacity)
{
	size_t size = table_size(capacity);
	struct prefix_table *table =
		zone_allocate(1, sizeof *table + size * sizeof table->entries[0]);

	address_hash_init(&table->hash);
	table->mask = size - 1;
	for (size_t i = 0; i < size; i++)
		table->entries[i].value = PREFIX_NONE;
	return table;
}

void prefix_table_destroy(struct prefix_table *table)
{
	free(table);
}

/* The entry of that very prefix, or the free one where it belongs. */
static size_t prefix_slot(
	const struct prefix_table *table, const struct in6_addr *address, uint8_t length)
{
	size_t i = address_hash(&table->hash, address, length) & table->mask;

	for (;; i = (i + 1) & table->mask) {
		const struct prefix_entry *entry = &table->entries[i];

		if (entry->value == PREFIX_NONE ||
			(entry->length == length &&
				!memcmp(&entry->address, address, sizeof *address)))
			return i;
	}
}

static void lengths_add(struct prefix_lengths *lengths, uint8_t length)
{
	size_t i = 0;

	while (i < lengths->n && lengths->at[i].length > length)
		i++;
	if (i < lengths->n && lengths->at[i].length == length)
		return;
	memmove(&lengths->at[i + 1], &lengths->at[i], (lengths->n - i) * sizeof lengths->at[0]);
	lengths->n++;
	lengths->at[i].length = length;
	memset(&lengths->at[i].mask, 0xff, sizeof lengths->at[i].mask);
	ip_prefix_mask(&lengths->at[i].mask, length);
}

int prefix_table_insert(struct prefix_table *table, const struct ip_prefix *prefix, uint32_t value)
{
	size_t i = prefix_slot(table, &prefix->address, prefix->length);
	struct prefix_entry *entry = &table->entries[i];

	if (entry->value != PREFIX_NONE)
		return entry->value;
	*entry = (struct prefix_entry){
		.address = prefix->address, .value = (int32_t)value, .length = prefix->length};
	lengths_add(ip_prefix_is_v4(prefix) ? &table->ipv4 : &table->ipv6, prefix->length);
	return PREFIX_NONE;
}

int prefix_table_find(const struct prefix_table *table, const struct in6_addr *address)
{
	const struct prefix_lengths *lengths = ip_is_v4(address) ? &table->ipv4 : &table->ipv6;

	for (size_t i = 0; i < lengths->n; i++) {
		const struct prefix_length *length = &lengths->at[i];
		struct in6_addr masked;
		size_t slot;

		for (unsigned int word = 0; word < 4; word++)
			masked.s6_addr32[word] =
				address->s6_addr32[word] & length->mask.s6_addr32[word];
		slot = prefix_slot(table, &masked, length->length);
		if (table->entries[slot].value != PREFIX_NONE)
			return table->entries[slot].value;
	}
	return PREFIX_NONE;
}

size_t prefix_table_bytes(const struct prefix_table *table)
{
	return sizeof *table + (table->mask + 1) * sizeof table->entries[0];
}
