/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers about limits: what ports, zones and rules have open, what they may, and how often they
 * were refused, as JSON.  Main thread.
 */
#include <config.h>

#include "datapath/control.h"

#include <string.h>

#include "openvswitch/json.h"
#include "unixctl.h"
#include "util.h"

static void put_integer(struct json *object, const char *name, uint64_t value)
{
	json_object_put(object, name, json_integer_create((long long int)value));
}

/* A limit of 0 is none, and left out. */
static void put_limit(struct json *object, const char *name, uint32_t limit)
{
	if (limit != 0)
		put_integer(object, name, limit);
}

static struct json *describe_limits(
	const struct zone_limits *limits, uint32_t connections, uint32_t half_open)
{
	struct json *object = json_object_create();

	put_integer(object, "connections", connections);
	put_integer(object, "half_open", half_open);
	put_limit(object, "max_connections", limits->connections);
	put_limit(object, "max_half_open", limits->half_open);
	put_limit(object, "max_new_per_second", limits->new_per_second);
	return object;
}

static struct json *describe_named(struct cordon_switch *sw, enum limit_kind kind, const char *name,
	const struct zone_limits *limits)
{
	struct limit_use use = limits_use(sw->limits, kind, name);
	struct json *object = describe_limits(limits, use.connections, use.half_open);

	put_integer(object, "refused", use.refused);
	json_object_put_string(object, "kind", kind == LIMIT_ZONE ? "zone" : "rule");
	json_object_put_string(object, "name", name);
	return object;
}

struct json *control_zone_limits(
	struct cordon_switch *sw, const struct zone_policy *policy, uint16_t zone)
{
	const struct zone_info info = zone_info(policy, zone);

	return describe_named(sw, LIMIT_ZONE, info.name, &info.limits);
}

/* --- limit/list ----------------------------------------------------------------------------- */

static void add_port(struct json *array, struct cordon_switch *sw, const struct port *port,
	uint64_t opened, const char *kind)
{
	const struct port_settings *settings = atomic_load(&port->settings);
	bool is_own_uplink = settings->role == PORT_UPLINK && strcmp(kind, "inbound") != 0;
	const struct zone_limits limits = {
		.connections = settings->connection_limit,
		.new_per_second = settings->new_per_second_limit,
		/* An uplink is held to what was set for it alone. */
		.half_open = is_own_uplink && settings->half_open_is_default
				     ? 0
				     : settings->half_open_limit,
	};
	struct json *object =
		describe_limits(&limits, (uint32_t)opened, (uint32_t)(opened / QUOTA_HALF_OPEN));
	bool is_set = limits.connections != 0 || limits.new_per_second != 0 ||
		      !settings->half_open_is_default;

	json_object_put_string(object, "kind", kind);
	json_object_put_string(object, "name", control_port_name(sw, port->number));
	json_object_put(object, "configured", json_boolean_create(is_set));
	json_array_add(array, object);
}

static void add_ports(struct json *array, struct cordon_switch *sw)
{
	for (uint16_t number = 1; number < PORTS_MAX; number++) {
		const struct port *port = switch_port(sw, number);

		if (port == NULL)
			continue;
		add_port(array, sw, port, atomic_load(&sw->quotas[number].opened), "port");
		add_port(array, sw, port, atomic_load(&sw->quotas[number].inbound), "inbound");
	}
}

static void add_zones(
	struct json *array, struct cordon_switch *sw, const struct zone_policy *policy)
{
	for (uint16_t zone = 0; zone < zone_count(policy); zone++) {
		const struct zone_info info = zone_info(policy, zone);

		if (limits_any(&info.limits))
			json_array_add(
				array, describe_named(sw, LIMIT_ZONE, info.name, &info.limits));
	}
}

static void add_rules(
	struct json *array, struct cordon_switch *sw, const struct zone_policy *policy)
{
	for (uint32_t rule = 1; rule <= zone_rule_count(policy); rule++) {
		struct zone_rule_info info;
		char buffer[160], *name;

		if (!zone_rule_info(policy, rule, &info, buffer) || !limits_any(&info.limits))
			continue;
		name = xasprintf("%s/%s", info.policy, info.rule);
		json_array_add(array, describe_named(sw, LIMIT_RULE, name, &info.limits));
		free(name);
	}
}

static void list_limits(struct unixctl_conn *conn, int argc OVS_UNUSED,
	const char *argv[] OVS_UNUSED, void *config_)
{
	const struct config *config = config_;
	struct cordon_switch *sw = config->sw;
	const struct zone_policy *policy = endpoint_map_policy(atomic_load(&sw->endpoints));
	struct json *array = json_array_create_empty();

	add_ports(array, sw);
	add_zones(array, sw, policy);
	add_rules(array, sw, policy);
	control_reply(conn, array);
}

void control_limits_register(struct config *config)
{
	unixctl_command_register("limit/list", "", 0, 0, list_limits, config);
}
