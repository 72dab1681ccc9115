/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers for the names of ports: see ipfix_interfaces.h.  Called by the encoder.  A hash table
 * with linear probing that is never more than half full.
 */
#include "sinks/ipfix_interfaces.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 * IPFIX_INTERFACES_MAX };

struct slot {
	char *name; /* NULL: free. */
	uint32_t hash, number;
};

struct ipfix_interfaces {
	uint32_t n, last;
	struct slot slots[SLOTS];
};

struct ipfix_interfaces *ipfix_interfaces_create(void)
{
	return calloc(1, sizeof(struct ipfix_interfaces));
}

static void forget(struct ipfix_interfaces *interfaces)
{
	for (size_t i = 0; i < SLOTS; i++)
		free(interfaces->slots[i].name);
	memset(interfaces->slots, 0, sizeof(interfaces->slots));
	interfaces->n = 0;
}

void ipfix_interfaces_free(struct ipfix_interfaces *interfaces)
{
	if (interfaces)
		forget(interfaces);
	free(interfaces);
}

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	return hash;
}

/* Where the name is, or would be. */
static size_t slot_of(const struct ipfix_interfaces *interfaces, const char *name, uint32_t hash)
{
	size_t at = hash % SLOTS;

	for (;; at = (at + 1) % SLOTS) {
		const struct slot *slot = &interfaces->slots[at];

		if (!slot->name || (slot->hash == hash && strcmp(slot->name, name) == 0))
			return at;
	}
}

uint32_t ipfix_interfaces_find(const struct ipfix_interfaces *interfaces, const char *name)
{
	return *name ? interfaces->slots[slot_of(interfaces, name, hash_of(name))].number : 0;
}

uint32_t ipfix_interfaces_add(struct ipfix_interfaces *interfaces, const char *name)
{
	uint32_t hash = hash_of(name);
	char *copy = strdup(name);
	struct slot *slot;

	if (!copy)
		return 0;
	if (interfaces->n == IPFIX_INTERFACES_MAX)
		forget(interfaces);
	slot = &interfaces->slots[slot_of(interfaces, name, hash)];
	if (++interfaces->last == 0)
		interfaces->last = 1;
	*slot = (struct slot){.name = copy, .hash = hash, .number = interfaces->last};
	interfaces->n++;
	return slot->number;
}

bool ipfix_interfaces_next(
	const struct ipfix_interfaces *interfaces, size_t *at, const char **name, uint32_t *number)
{
	for (; *at < SLOTS; ++*at) {
		const struct slot *slot = &interfaces->slots[*at];

		if (slot->name) {
			*name = slot->name;
			*number = slot->number;
			++*at;
			return true;
		}
	}
	return false;
}
