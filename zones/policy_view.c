/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is in which zone by one policy.  Called by `cordon policy plan` and `cordon why`, on their
 * thread.
 */
#include "zones/policy_view.h"

#include <stdlib.h>
#include <string.h>

#include "zones/arena.h"

void policy_view_init(struct policy_view *view, const struct zone_policy *policy,
	const struct view_endpoint *endpoints, size_t n)
{
	struct endpoint_map_entry *entries = zone_allocate(n + 1, sizeof *entries);
	size_t n_entries = 0;

	*view = (struct policy_view){.policy = policy, .endpoints = endpoints, .n = n};
	view->zones = zone_allocate(n + 1, sizeof *view->zones);
	view->conflicts = zone_allocate(n + 1, sizeof *view->conflicts);
	for (size_t i = 0; i < n; i++) {
		const struct view_endpoint *endpoint = &endpoints[i];

		if (endpoint->is_uplink)
			continue;
		view->zones[i] =
			zone_of_tags(policy, endpoint->tags, endpoint->n_tags, view->conflicts[i]);
		entries[n_entries++] =
			(struct endpoint_map_entry){.port = i < UINT16_MAX ? (uint16_t)(i + 1) : 0,
				.zone = view->zones[i],
				.addresses = endpoint->addresses,
				.n_addresses = endpoint->n_addresses};
	}
	view->map = endpoint_map_create(policy, entries, n_entries);
	free(entries);
}

void policy_view_free(struct policy_view *view)
{
	free(view->zones);
	free(view->conflicts);
	endpoint_map_destroy(view->map);
	*view = (struct policy_view){0};
}

int policy_view_owner(
	const struct policy_view *view, const struct in6_addr *address, bool *disputed)
{
	struct endpoint_owner owner = endpoint_map_lookup(view->map, address);

	*disputed = owner.disputed;
	return owner.owned && owner.port ? owner.port - 1 : VIEW_NO_ENDPOINT;
}

struct connection_end policy_view_end(const struct policy_view *view, int endpoint, bool is_vnic,
	uint16_t near, const struct in6_addr *address)
{
	struct connection_end end = {
		.is_vnic = is_vnic, .near = is_vnic ? near : ZONE_QUARANTINE, .far = near};
	struct endpoint_owner owner;

	if (IN6_IS_ADDR_UNSPECIFIED(address)) {
		end.far = end.near;
		return end;
	}
	owner = endpoint_map_lookup(view->map, address);
	if (owner.owned && owner.port && endpoint == owner.port - 1)
		return end; /* Its own: by its tags, as they were then. */
	if (owner.owned || owner.disputed || !is_vnic)
		end.far = owner.zone;
	return end;
}
