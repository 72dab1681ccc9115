/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy in force and the map of endpoints.  Main thread.
 *
 * A revision takes effect in one pointer: the endpoint map, which holds the compiled policy.  Then
 * policy_epoch goes up, and every flow is judged anew on its next packet.  The epoch also goes up
 * when an endpoint's tags or addresses change, since that may change zones without a revision.
 *
 * A revision that cannot be compiled, or is not in the database, changes nothing: its error is
 * written back, and the policy in force stays.
 */
#include <config.h>

#include "datapath/switch.h"

#include <stdlib.h>
#include <string.h>

#include "cordon-idl.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovsdb-idl.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(config_zones);

const struct zone_policy *policy_of_revision(const struct cordon_switch *sw, uint32_t revision)
{
	for (unsigned int i = 0; i < POLICIES_KEPT; i++) {
		const struct zone_policy *policy =
			atomic_load_explicit(&sw->policies[i], memory_order_acquire);

		if (policy != NULL && zone_policy_revision(policy) == revision)
			return policy;
	}
	return NULL;
}

/* --- the policy ----------------------------------------------------------------------------- */

static const struct cordonrec_policy_revision *find_revision(
	const struct config *config, int64_t number)
{
	const struct cordonrec_policy_revision *row;

	CORDONREC_POLICY_REVISION_FOR_EACH (row, config->idl) {
		if (row->number == number)
			return row;
	}
	return NULL;
}

static void forget_error(struct config *config)
{
	if (config->policy_error == NULL)
		return;
	free(config->policy_error);
	config->policy_error = NULL;
	config->policy_failed = 0;
	config->status_changed = true;
}

static void refuse(struct config *config, int64_t number, char *error)
{
	if (config->policy_failed == number && config->policy_error != NULL &&
		!strcmp(config->policy_error, error)) {
		free(error);
		return;
	}
	VLOG_WARN("policy revision %lld is not put into force: %s; revision %u stays",
		(long long int)number, error, config->revision);
	free(config->policy_error);
	config->policy_error = error;
	config->policy_failed = number;
	config->status_changed = true;
}

static char *first_error(const struct policy_errors *errors)
{
	return xasprintf("line %u, column %u: %s%s", errors->at[0].line, errors->at[0].column,
		errors->at[0].message, errors->n_total > 1 ? " (and more)" : "");
}

static void destroy_policy(void *policy)
{
	zone_policy_destroy(policy);
}

static void destroy_map(void *map)
{
	endpoint_map_destroy(map);
}

/* The newest kept policy pushes the oldest out, whose rules can then no longer be named. */
static void keep_policy(struct cordon_switch *sw, struct zone_policy *policy)
{
	struct zone_policy *oldest = atomic_load(&sw->policies[POLICIES_KEPT - 1]);

	for (unsigned int i = POLICIES_KEPT - 1; i > 0; i--)
		atomic_store(&sw->policies[i], atomic_load(&sw->policies[i - 1]));
	atomic_store_explicit(&sw->policies[0], policy, memory_order_release);
	if (oldest != NULL)
		ovsrcu_postpone(destroy_policy, (void *)oldest);
}

/* The policy to put into force, or NULL if the one in force stays. */
static struct zone_policy *compile_wanted(
	struct config *config, const struct cordonrec_cordon *root)
{
	int64_t wanted = root != NULL ? root->policy_wanted : 0;
	struct policy_errors errors = {.n = 0};

	if (wanted == config->revision || wanted == 0) {
		forget_error(config);
		return NULL;
	}
	const struct cordonrec_policy_revision *row = find_revision(config, wanted);
	if (row == NULL) { /* It may yet come. */
		refuse(config, wanted, xstrdup("the database has no such revision"));
		config->policy_missing = true;
		return NULL;
	}
	if (config->policy_failed == wanted && !config->policy_missing)
		return NULL;
	config->policy_missing = false;
	long long int began = time_msec();
	struct zone_policy *policy = zone_policy_create(
		row->document, strlen(row->document), (uint32_t)wanted, time_wall(), &errors);
	if (policy == NULL) {
		refuse(config, wanted, first_error(&errors));
		return NULL;
	}
	VLOG_INFO("policy revision %lld by %s: %u rules in %u zones, compiled in %lld ms",
		(long long int)wanted, row->author, zone_rule_count(policy), zone_count(policy) - 1,
		time_msec() - began);
	return policy;
}

/* --- endpoints ---------------------------------------------------------------------------------
 */

/* The endpoints of all hosts, with their zones by `policy`. */
struct endpoint_list {
	struct endpoint_map_entry *at;
	size_t n, allocated;
	struct ds text; /* The same as text, to see changes. */
};

static void add_endpoint(struct endpoint_list *list, const struct zone_policy *policy,
	const struct cordonrec_port *row, bool local)
{
	struct in6_addr *addresses = xcalloc(row->n_addresses + 1, sizeof(*addresses));
	size_t n = 0;

	if (list->n == list->allocated)
		list->at = x2nrealloc(list->at, &list->allocated, sizeof(*list->at));
	for (size_t i = 0; i < row->n_addresses; i++) {
		if (ip_address_parse(row->addresses[i], &addresses[n])) {
			ds_put_format(&list->text, "%s ", row->addresses[i]);
			n++;
		}
	}
	list->at[list->n] = (struct endpoint_map_entry){
		.port = local && row->n_number ? (uint16_t)row->number[0] : 0,
		.zone = zone_of_tags(policy, (const char *const *)row->tags, row->n_tags, NULL),
		.addresses = addresses,
		.n_addresses = n,
	};
	ds_put_format(&list->text, "%u:%u\n", list->at[list->n].port, list->at[list->n].zone);
	list->n++;
}

static void list_endpoints(const struct config *config, const struct cordonrec_host *host,
	const struct zone_policy *policy, struct endpoint_list *list)
{
	const struct cordonrec_port *row;

	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		if (strcmp(row->role, "uplink"))
			add_endpoint(list, policy, row, row->host == host);
	}
}

static void endpoint_list_destroy(struct endpoint_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(CONST_CAST(struct in6_addr *, list->at[i].addresses));
	free(list->at);
	ds_destroy(&list->text);
}

static void put_into_force(
	struct config *config, const struct endpoint_list *list, const struct zone_policy *policy)
{
	struct cordon_switch *sw = config->sw;
	struct endpoint_map *map = endpoint_map_create(policy, list->at, list->n);
	struct endpoint_map *old = atomic_exchange(&sw->endpoints, map);

	atomic_fetch_add(&sw->policy_epoch, 1);
	ovsrcu_postpone(destroy_map, (void *)old);
	if (endpoint_map_conflicts(map) != 0)
		VLOG_WARN("%zu addresses are claimed by more than one endpoint and are in "
			  "quarantine; `cordon zone list` names them",
			endpoint_map_conflicts(map));
	free(config->endpoints);
	config->endpoints = xstrdup(ds_cstr_ro(&list->text));
}

void config_zones(struct config *config, const struct cordonrec_host *host)
{
	struct cordon_switch *sw = config->sw;
	struct zone_policy *policy = compile_wanted(config, cordonrec_cordon_first(config->idl));
	const struct zone_policy *in_force =
		policy != NULL ? policy : endpoint_map_policy(atomic_load(&sw->endpoints));
	struct endpoint_list list = {.text = DS_EMPTY_INITIALIZER};

	list_endpoints(config, host, in_force, &list);
	if (policy != NULL)
		keep_policy(sw, policy);
	if (policy != NULL || config->endpoints == NULL ||
		strcmp(config->endpoints, ds_cstr(&list.text)))
		put_into_force(config, &list, in_force);
	if (policy != NULL) {
		config->revision = zone_policy_revision(policy);
		forget_error(config);
		config->status_changed = true;
		VLOG_INFO("policy revision %u is in force", config->revision);
	}
	endpoint_list_destroy(&list);
}
