/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses to their owners, by open addressing with linear probing, at most half full.  Built by
 * the control plane; looked up by every worker on the miss path.
 */
#include "zones/endpoint_map.h"

#include <stdlib.h>
#include <string.h>

#include "zones/address_hash.h"
#include "zones/arena.h"

struct endpoint_address {
	struct in6_addr address;
	uint32_t entry; /* Which entry claimed it first, from 1.  0: free. */
	uint16_t port, zone;
	bool conflict; /* Another entry claims it too. */
};

struct endpoint_map {
	const struct zone_policy *policy;
	struct address_hash hash;
	size_t mask, conflicts;
	struct endpoint_address *addresses;
	size_t n_ports;
	uint16_t *port_zones; /* By port number. */
};

/* The address's place, or the free one where it belongs. */
static struct endpoint_address *address_slot(
	const struct endpoint_map *map, const struct in6_addr *address)
{
	size_t i = address_hash(&map->hash, address, 0) & map->mask;

	for (;; i = (i + 1) & map->mask) {
		struct endpoint_address *slot = &map->addresses[i];

		if (!slot->entry || !memcmp(&slot->address, address, sizeof *address))
			return slot;
	}
}

static uint16_t entry_zone(const struct endpoint_map *map, const struct endpoint_map_entry *entry)
{
	return entry->zone < zone_count(map->policy) ? entry->zone : ZONE_QUARANTINE;
}

static void add_address(struct endpoint_map *map, const struct endpoint_map_entry *entry,
	uint32_t number, const struct in6_addr *address)
{
	struct endpoint_address *slot = address_slot(map, address);

	if (!slot->entry) {
		*slot = (struct endpoint_address){.address = *address,
			.entry = number,
			.port = entry->port,
			.zone = entry_zone(map, entry)};
	} else if (slot->entry != number && !slot->conflict) {
		slot->conflict = true;
		map->conflicts++;
	}
}

/* Makes room for all addresses and ports. */
static void map_allocate(
	struct endpoint_map *map, const struct endpoint_map_entry *entries, size_t n_entries)
{
	size_t n_addresses = 0, size = 8;

	for (size_t i = 0; i < n_entries; i++) {
		n_addresses += entries[i].n_addresses;
		if (entries[i].port >= map->n_ports)
			map->n_ports = (size_t)entries[i].port + 1;
	}
	while (size < n_addresses * 2)
		size *= 2;
	map->mask = size - 1;
	map->addresses = zone_allocate(size, sizeof *map->addresses);
	map->port_zones = zone_allocate(map->n_ports, sizeof *map->port_zones);
}

struct endpoint_map *endpoint_map_create(const struct zone_policy *policy,
	const struct endpoint_map_entry *entries, size_t n_entries)
{
	struct endpoint_map *map = zone_allocate(1, sizeof *map);

	map->policy = policy;
	address_hash_init(&map->hash);
	map_allocate(map, entries, n_entries);
	for (size_t i = 0; i < n_entries; i++) {
		if (entries[i].port)
			map->port_zones[entries[i].port] = entry_zone(map, &entries[i]);
		for (size_t j = 0; j < entries[i].n_addresses; j++)
			add_address(map, &entries[i], (uint32_t)i + 1, &entries[i].addresses[j]);
	}
	return map;
}

void endpoint_map_destroy(struct endpoint_map *map)
{
	if (!map)
		return;
	free(map->addresses);
	free(map->port_zones);
	free(map);
}

const struct zone_policy *endpoint_map_policy(const struct endpoint_map *map)
{
	return map->policy;
}

uint16_t endpoint_map_port_zone(const struct endpoint_map *map, uint16_t port)
{
	return port < map->n_ports ? map->port_zones[port] : ZONE_QUARANTINE;
}

struct endpoint_owner endpoint_map_lookup(
	const struct endpoint_map *map, const struct in6_addr *address)
{
	const struct endpoint_address *slot = address_slot(map, address);

	if (!slot->entry)
		return (struct endpoint_owner){.zone = zone_of_prefix(map->policy, address)};
	if (slot->conflict)
		return (struct endpoint_owner){.zone = ZONE_QUARANTINE, .disputed = true};
	return (struct endpoint_owner){.port = slot->port, .zone = slot->zone, .owned = true};
}

size_t endpoint_map_conflicts(const struct endpoint_map *map)
{
	return map->conflicts;
}
