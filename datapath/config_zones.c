/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy in force as the packet path sees it: the map of endpoints.  Main thread.
 *
 * A policy takes effect in one pointer: the endpoint map, which holds it.  Then policy_epoch goes
 * up, and every flow is judged anew on its next packet.  The epoch also goes up when an endpoint's
 * tags or addresses change, since that may change zones without a revision.
 *
 * The endpoints are remembered as the database had them last, since a policy may take effect when
 * the database cannot be asked.  Which policy that is, and when, is config_policy.c's.
 */
#include <config.h>

#include "datapath/config.h"

#include <stdlib.h>
#include <string.h>

#include "cordon-idl.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovsdb-idl.h"
#include "svec.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(config_zones);

static const struct zone_policy *policy_in_force(const struct cordon_switch *sw)
{
	return endpoint_map_policy(atomic_load(&sw->endpoints));
}

/* --- endpoints ---------------------------------------------------------------------------------
 */

/* One endpoint, on this host or another. */
struct known_endpoint {
	uint16_t port; /* 0: another host's. */
	struct svec tags;
	struct in6_addr *addresses;
	size_t n_addresses;
};

struct known_endpoints {
	struct known_endpoint *at;
	size_t n, allocated;
};

static void forget_endpoints(struct known_endpoints *known)
{
	for (size_t i = 0; i < known->n; i++) {
		svec_destroy(&known->at[i].tags);
		free(known->at[i].addresses);
	}
	known->n = 0;
}

static void add_endpoint(
	struct known_endpoints *known, const struct cordonrec_port *row, bool local)
{
	struct known_endpoint endpoint = {
		.port = local && row->n_number ? (uint16_t)row->number[0] : 0,
		.tags = SVEC_EMPTY_INITIALIZER,
		.addresses = xcalloc(row->n_addresses + 1, sizeof(*endpoint.addresses)),
	};

	for (size_t i = 0; i < row->n_tags; i++)
		svec_add(&endpoint.tags, row->tags[i]);
	for (size_t i = 0; i < row->n_addresses; i++) {
		if (ip_address_parse(row->addresses[i], &endpoint.addresses[endpoint.n_addresses]))
			endpoint.n_addresses++;
	}
	if (known->n == known->allocated)
		known->at = x2nrealloc(known->at, &known->allocated, sizeof(*known->at));
	known->at[known->n++] = endpoint;
}

static void read_endpoints(struct config *config, const struct cordonrec_host *host)
{
	const struct cordonrec_port *row;

	if (config->endpoints == NULL)
		config->endpoints = xzalloc(sizeof(*config->endpoints));
	forget_endpoints(config->endpoints);
	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		if (strcmp(row->role, "uplink"))
			add_endpoint(config->endpoints, row, row->host == host);
	}
}

/* --- the map ------------------------------------------------------------------------------------
 */

/* The endpoints with their zones by one policy. */
struct zoned_endpoints {
	struct endpoint_map_entry *at;
	size_t n;
	struct ds text; /* All that the map depends on beside the policy, to see changes. */
};

static void zone_endpoints(const struct known_endpoints *known, const struct zone_policy *policy,
	struct zoned_endpoints *zoned)
{
	*zoned = (struct zoned_endpoints){.text = DS_EMPTY_INITIALIZER};
	if (known == NULL)
		return;
	zoned->n = known->n;
	zoned->at = xcalloc(known->n + 1, sizeof(*zoned->at));
	for (size_t i = 0; i < known->n; i++) {
		const struct known_endpoint *endpoint = &known->at[i];

		zoned->at[i] = (struct endpoint_map_entry){
			.port = endpoint->port,
			.zone = zone_of_tags(policy, (const char *const *)endpoint->tags.names,
				endpoint->tags.n, NULL),
			.addresses = endpoint->addresses,
			.n_addresses = endpoint->n_addresses,
		};
		ds_put_format(&zoned->text, "%u:%u", zoned->at[i].port, zoned->at[i].zone);
		for (size_t j = 0; j < endpoint->n_addresses; j++)
			ds_put_hex(&zoned->text, &endpoint->addresses[j],
				sizeof(endpoint->addresses[j]));
		ds_put_char(&zoned->text, '\n');
	}
}

static void zoned_endpoints_destroy(struct zoned_endpoints *zoned)
{
	free(zoned->at);
	ds_destroy(&zoned->text);
}

static void destroy_map(void *map)
{
	endpoint_map_destroy(map);
}

static void put_into_force(struct config *config, const struct zoned_endpoints *zoned,
	const struct zone_policy *policy)
{
	struct cordon_switch *sw = config->sw;
	struct endpoint_map *map = endpoint_map_create(policy, zoned->at, zoned->n);
	struct endpoint_map *old = atomic_exchange(&sw->endpoints, map);

	atomic_fetch_add(&sw->policy_epoch, 1);
	ovsrcu_postpone(destroy_map, (void *)old);
	if (endpoint_map_conflicts(map) != 0)
		VLOG_WARN("%zu addresses are claimed by more than one endpoint and are in "
			  "quarantine; `cordon zone list` names them",
			endpoint_map_conflicts(map));
	free(config->endpoints_text);
	config->endpoints_text = xstrdup(ds_cstr_ro(&zoned->text));
}

void config_zones(struct config *config, const struct cordonrec_host *host)
{
	const struct zone_policy *policy = policy_in_force(config->sw);
	struct zoned_endpoints zoned;

	read_endpoints(config, host);
	zone_endpoints(config->endpoints, policy, &zoned);
	if (config->endpoints_text == NULL || strcmp(config->endpoints_text, ds_cstr(&zoned.text)))
		put_into_force(config, &zoned, policy);
	zoned_endpoints_destroy(&zoned);
}

/* --- another policy -----------------------------------------------------------------------------
 */

void config_zones_swap(struct config *config, struct zone_policy *policy)
{
	struct zoned_endpoints zoned;

	zone_endpoints(config->endpoints, policy, &zoned);
	policies_keep(config, policy);
	put_into_force(config, &zoned, policy);
	if (config->n_kept == 1) /* What a former process has left, counts from the start. */
		connection_limits_adopt(config->sw, atomic_load(&config->sw->endpoints));
	zoned_endpoints_destroy(&zoned);
}

void config_zones_destroy(struct config *config)
{
	if (config->endpoints != NULL) {
		forget_endpoints(config->endpoints);
		free(config->endpoints->at);
		free(config->endpoints);
	}
	free(config->endpoints_text);
}
