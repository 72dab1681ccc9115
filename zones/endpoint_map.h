/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns which address, and in which zone that owner is.
 *
 * An endpoint is a vNIC or an internal port, on this host or on another one.  The map is built
 * whole from all endpoints and one policy whenever either changes, and is immutable after that:
 * lookups need no lock, and the owner frees it after a grace period.
 */
#ifndef ZONES_ENDPOINT_MAP_H
#define ZONES_ENDPOINT_MAP_H

#include "zones/zone.h"

struct endpoint_map;

/* One endpoint to enter.  Everything is copied.  `port` is the local port number, or 0 for an
 * endpoint on another host. */
struct endpoint_map_entry {
	uint16_t port, zone;
	const struct in6_addr *addresses;
	size_t n_addresses;
};

/* What an address is. */
struct endpoint_owner {
	uint16_t port; /* Local port that owns it; 0: another host's, or nobody's. */
	uint16_t zone; /* The owner's zone; without an owner, the zone by prefix. */
	bool disputed; /* Two endpoints claim it: it belongs to nobody, and is in quarantine. */
	bool owned;    /* A configured endpoint, here or elsewhere, owns the address. */
};

/* Builds the map.  An address that two endpoints claim belongs to nobody: its zone is quarantine
 * and it counts in endpoint_map_conflicts().  `policy` must outlive the map.  Never NULL. */
struct endpoint_map *endpoint_map_create(const struct zone_policy *policy,
	const struct endpoint_map_entry *entries, size_t n_entries);
void endpoint_map_destroy(struct endpoint_map *map); /* Accepts NULL. */

/* The policy that the map was built with. */
const struct zone_policy *endpoint_map_policy(const struct endpoint_map *map);

/* The zone of the endpoint behind local port `port`; ZONE_QUARANTINE if the map has none. */
uint16_t endpoint_map_port_zone(const struct endpoint_map *map, uint16_t port);

/* Looks `address` up: exact owner first, then zone_of_prefix(). */
struct endpoint_owner endpoint_map_lookup(
	const struct endpoint_map *map, const struct in6_addr *address);

/* The number of addresses that more than one endpoint claims. */
size_t endpoint_map_conflicts(const struct endpoint_map *map);

#endif
