/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is in which zone by one policy: all endpoints of all hosts, as the database has them, and the
 * addresses that nobody owns.  For plans and explanations; the switch has an endpoint_map alone.
 *
 * Immutable once made; one thread, or many that only read.
 */
#ifndef ZONES_POLICY_VIEW_H
#define ZONES_POLICY_VIEW_H

#include "zones/both_ends.h"
#include "zones/endpoint_map.h"

/* A port of some host, as the caller has it.  Texts are never NULL; "" is "none". */
struct view_endpoint {
	const char *host, *port, *vm_name, *vm_id;
	const char *const *tags;
	size_t n_tags;
	const struct in6_addr *addresses;
	size_t n_addresses;
	bool is_uplink; /* No endpoint of its own: a way to others. */
};

enum { VIEW_NO_ENDPOINT = -1 };

struct policy_view {
	const struct zone_policy *policy;
	const struct view_endpoint *endpoints;
	size_t n;
	uint16_t *zones;	  /* By endpoint; of an uplink, ZONE_QUARANTINE. */
	uint16_t (*conflicts)[2]; /* By endpoint: the two zones that it fits, if it fits two. */
	struct endpoint_map *map; /* Its port numbers are endpoints + 1. */
};

/* `policy` and `endpoints` must outlive the view. */
void policy_view_init(struct policy_view *view, const struct zone_policy *policy,
	const struct view_endpoint *endpoints, size_t n);
void policy_view_free(struct policy_view *view);

/* Who owns an address: an endpoint's index, or VIEW_NO_ENDPOINT.  *disputed: two claim it, and it
 * is in quarantine. */
int policy_view_owner(
	const struct policy_view *view, const struct in6_addr *address, bool *disputed);

/* One end of a connection: by endpoint `endpoint` (VIEW_NO_ENDPOINT: one that is not there any
 * more, or an uplink) with `address` (all zero: it is not IP).  `near` is the zone of the vNIC's
 * tags, as they are or as they were then. */
struct connection_end policy_view_end(const struct policy_view *view, int endpoint, bool is_vnic,
	uint16_t near, const struct in6_addr *address);

#endif
