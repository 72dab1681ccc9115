/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to `cordon` and ovs-appctl about the switch as a whole, its workers, MACs, drops and
 * zones, as JSON.  Main thread.  Connections are control_conn.c's.
 */
#include <config.h>

#include "datapath/config.h"
#include "datapath/capture.h"
#include "datapath/control.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cordon-idl.h"
#include "openvswitch/json.h"
#include "ovsdb-idl.h"
#include "ovs-rcu.h"
#include "unixctl.h"
#include "util.h"

void control_reply(struct unixctl_conn *conn, struct json *json)
{
	char *text = json_to_string(json, JSSF_SORT);

	unixctl_command_reply(conn, text);
	free(text);
	json_destroy(json);
}

const char *control_port_name(const struct cordon_switch *sw, uint16_t number)
{
	const struct port_identity *identity =
		number < PORTS_MAX ? atomic_load(&sw->identities[number]) : NULL;

	return identity != NULL ? identity->name : "";
}

static void put_integer(struct json *object, const char *name, uint64_t value)
{
	json_object_put(object, name, json_integer_create((long long int)value));
}

/* --- cordon/status -------------------------------------------------------------------------- */

static void add_warning(struct json *warnings, char *text)
{
	json_array_add(warnings, json_string_create_nocopy(text));
}

static void add_port_warnings(const struct config *config, struct json *warnings)
{
	const struct endpoint_map *endpoints = atomic_load(&config->sw->endpoints);
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &config->ports) {
		const struct config_port *port = node->data;

		if (port->error != NULL)
			add_warning(warnings, xasprintf("port %s: %s", port->name, port->error));
		else if (port->port != NULL &&
			 atomic_load(&port->port->settings)->role != PORT_UPLINK &&
			 endpoint_map_port_zone(endpoints, port->number) == ZONE_QUARANTINE)
			add_warning(warnings,
				xasprintf("port %s is in quarantine: its tags match no zone, or "
					  "two; `cordon zone list` shows which",
					port->name));
	}
	if (endpoint_map_conflicts(endpoints) != 0)
		add_warning(
			warnings, xasprintf("%zu addresses are claimed by more than one endpoint",
					  endpoint_map_conflicts(endpoints)));
}

static void add_policy_warnings(const struct config *config, struct json *warnings)
{
	struct policy_pending pending;

	if (config->policy_error != NULL)
		add_warning(warnings,
			xasprintf("policy revision %lld is %s: %s",
				(long long int)config->policy_failed,
				config->policy_failed == config->revision ? "in force, but"
									  : "not in force",
				config->policy_error));
	if (config_policy_pending(config, &pending) && pending.returned)
		add_warning(warnings,
			xasprintf("policy revision %lld was not confirmed in time, and this host "
				  "has gone back to %lld",
				(long long int)pending.revision,
				(long long int)pending.returns_to));
	else if (config_policy_pending(config, &pending) && !ovsdb_idl_is_connected(config->idl))
		add_warning(warnings,
			xasprintf("policy revision %lld waits for confirmation, and the database "
				  "does not answer: in %lld s this host goes back to %lld",
				(long long int)pending.revision,
				(long long int)(pending.confirm_by - time(NULL)),
				(long long int)pending.returns_to));
}

static void add_sink_warnings(const struct config *config, struct json *warnings)
{
	struct json *sinks = control_log_sinks(config);

	for (size_t i = 0; i < sinks->array.n; i++) {
		const struct shash *sink = json_object(sinks->array.elems[i]);
		const char *error = json_string(shash_find_data(sink, "error"));

		if (error[0] != '\0')
			add_warning(warnings,
				xasprintf("traffic log, sink %s: %s",
					json_string(shash_find_data(sink, "name")), error));
	}
	json_destroy(sinks);
}

static struct json *list_warnings(const struct config *config)
{
	struct json *warnings = json_array_create_empty();
	int hits_error = hits_keeper_error(config->sw->hits_keeper);

	add_port_warnings(config, warnings);
	add_policy_warnings(config, warnings);
	if (!ovsdb_idl_is_connected(config->idl))
		add_warning(warnings,
			xstrdup("the database does not answer; traffic and policy go on as they "
				"are"));
	add_sink_warnings(config, warnings);
	if (hits_error != 0)
		add_warning(warnings,
			xasprintf("rule hits are not saved: %s/rule-hits: %s",
				config->sw->options->state_directory, ovs_strerror(-hits_error)));
	if (config->sw->hits_opened.why[0] != '\0')
		add_warning(warnings, xasprintf("rule hits: %s", config->sw->hits_opened.why));
	if (config->sw->connections_opened.result == CONN_OPEN_REFUSED)
		add_warning(
			warnings, xasprintf("connections of the last run were not taken over: %s",
					  config->sw->connections_opened.why));
	return warnings;
}

static struct json *status_connections(const struct cordon_switch *sw)
{
	struct json *object = json_object_create();

	put_integer(object, "count", conn_count(sw->connections));
	put_integer(object, "capacity", conn_capacity(sw->connections));
	put_integer(object, "adopted", sw->connections_opened.adopted);
	json_object_put(
		object, "bytes_each", json_real_create(conn_bytes_per_connection(sw->connections)));
	return object;
}

static struct json *status_ports(const struct config *config)
{
	struct json *object = json_object_create();
	const struct shash_node *node;
	unsigned int up = 0;

	SHASH_FOR_EACH (node, &config->ports) {
		const struct config_port *port = node->data;

		up += port->port != NULL && atomic_load(&port->port->link_up);
	}
	put_integer(object, "total", shash_count(&config->ports));
	put_integer(object, "up", up);
	return object;
}

/* received + copied + answered + cut = sent + dropped + held, but for frames on their way. */
static struct json *status_frames(struct cordon_switch *sw)
{
	struct port_queue_stats sum = sw->closed_stats;
	uint64_t drops[DROP_N_REASONS], dropped = 0, copied = 0, answered = 0, held = 0;
	struct json *object = json_object_create();

	for (uint16_t number = 1; number < PORTS_MAX; number++) {
		const struct port *port = switch_port(sw, number);
		struct port_queue_stats stats = {0};

		if (port != NULL)
			stats = port_stats(port);
		sum.rx_packets += stats.rx_packets;
		sum.tx_packets += stats.tx_packets;
		sum.tx_cut += stats.tx_cut;
	}
	for (unsigned int i = 0; i < sw->n_workers; i++) {
		copied += atomic_load(&sw->workers[i]->stats.copied);
		answered += atomic_load(&sw->workers[i]->stats.answered);
		held += atomic_load(&sw->workers[i]->stats.held);
	}
	control_sum_drops(sw, drops);
	for (unsigned int r = DROP_NONE + 1; r < DROP_N_REASONS; r++)
		dropped += drops[r];
	put_integer(object, "received", sum.rx_packets);
	put_integer(object, "copied", copied);
	put_integer(object, "answered", answered);
	put_integer(object, "cut", sum.tx_cut);
	put_integer(object, "sent", sum.tx_packets);
	put_integer(object, "dropped", dropped);
	put_integer(object, "held", held);
	return object;
}

/* Those that there is memory for, which grow to what was asked for after the start.  Free ones
 * count wherever they lie: with all ports closed, all are free. */
static struct json *status_buffers(const struct cordon_switch *sw)
{
	const struct rte_mempool *pool = sw->environment.pool;
	struct json *object = json_object_create();

	put_integer(object, "total", pool->populated_size);
	put_integer(object, "free", rte_mempool_avail_count(pool));
	return object;
}

static void show_status(struct unixctl_conn *conn, int argc OVS_UNUSED,
	const char *argv[] OVS_UNUSED, void *config_)
{
	const struct config *config = config_;
	const struct cordon_switch *sw = config->sw;
	const struct zone_policy *policy = endpoint_map_policy(atomic_load(&sw->endpoints));
	struct json *object = json_object_create();

	json_object_put_string(object, "version", CORDON_VERSION);
	json_object_put_string(object, "host", sw->options->host);
	put_integer(object, "pid", (uint64_t)getpid());
	put_integer(object, "uptime_s", (uint64_t)time(NULL) - sw->started_ns / 1000000000u);
	put_integer(object, "policy_revision", config->revision);
	if (config_policy_compiling(config) != 0)
		put_integer(object, "policy_compiling", config_policy_compiling(config));
	if (config_policy_next_change(config) != ZONE_NO_CHANGE)
		put_integer(object, "policy_changes_ns",
			(uint64_t)config_policy_next_change(config) * 1000000000u);
	put_integer(object, "policy_memory_bytes", zone_policy_memory_bytes(policy));
	put_integer(object, "workers", sw->n_workers);
	json_object_put(object, "huge_pages", json_boolean_create(sw->environment.huge_pages));
	json_object_put(object, "connections", status_connections(sw));
	json_object_put(object, "ports", status_ports(config));
	json_object_put(object, "log", control_log_status(config));
	json_object_put(object, "frames", status_frames(config->sw));
	json_object_put(object, "buffers", status_buffers(sw));
	json_object_put(object, "captures", captures_list(sw->captures));
	json_object_put(object, "warnings", list_warnings(config));
	control_reply(conn, object);
}

/* --- worker/list ---------------------------------------------------------------------------- */

static void add_queues(struct json *queues, struct cordon_switch *sw, const struct poll_list *list)
{
	for (size_t i = 0; list != NULL && i < list->n; i++) {
		struct json *queue = json_object_create();

		json_object_put_string(
			queue, "port", control_port_name(sw, list->at[i].port->number));
		put_integer(queue, "queue", list->at[i].queue);
		json_array_add(queues, queue);
	}
}

static struct json *worker_queues(struct cordon_switch *sw, const struct worker *worker)
{
	struct json *queues = json_array_create_empty();

	add_queues(queues, sw, atomic_load(&worker->polls));
	add_queues(queues, sw, atomic_load(&worker->captured));
	return queues;
}

static struct json *describe_worker(struct cordon_switch *sw, struct worker *worker)
{
	struct json *object = json_object_create();
	uint64_t total = atomic_load(&worker->stats.total_cycles);
	uint64_t busy = atomic_load(&worker->stats.busy_cycles);

	put_integer(object, "worker", worker->id);
	json_object_put(object, "cpu", json_integer_create(worker->cpu));
	json_object_put(object, "busy_percent",
		json_real_create(total != 0 ? 100.0 * (double)busy / (double)total : 0));
	put_integer(object, "polls", atomic_load(&worker->stats.polls));
	put_integer(object, "packets", atomic_load(&worker->stats.packets));
	put_integer(object, "misses", atomic_load(&worker->stats.misses));
	put_integer(object, "sleeps", atomic_load(&worker->stats.sleeps));
	json_object_put_string(
		object, "state", atomic_load(&worker->stats.asleep) ? "idle" : "polling");
	json_object_put(object, "queues", worker_queues(sw, worker));
	return object;
}

static void list_workers(struct unixctl_conn *conn, int argc OVS_UNUSED,
	const char *argv[] OVS_UNUSED, void *config_)
{
	const struct config *config = config_;
	struct json *array = json_array_create_empty();

	for (unsigned int i = 0; i < config->sw->n_workers; i++)
		json_array_add(array, describe_worker(config->sw, config->sw->workers[i]));
	control_reply(conn, array);
}

/* --- mac/list ------------------------------------------------------------------------------------
 */

struct mac_list {
	struct cordon_switch *sw;
	struct json *array;
};

static void add_mac(const struct mac_entry *entry, void *list_)
{
	struct mac_list *list = list_;
	struct json *object = json_object_create();
	char text[MAC_TEXT_MAX];
	uint32_t now = conn_clock();

	json_object_put_string(object, "mac", mac_format(entry->mac, text));
	put_integer(object, "vlan", entry->vlan);
	json_object_put_string(object, "port", control_port_name(list->sw, entry->port));
	json_object_put(object, "static", json_boolean_create(entry->is_static));
	put_integer(object, "age_s",
		!entry->is_static && now > entry->last_seen ? now - entry->last_seen : 0);
	json_array_add(list->array, object);
}

static void list_macs(struct unixctl_conn *conn, int argc OVS_UNUSED, const char *argv[] OVS_UNUSED,
	void *config_)
{
	const struct config *config = config_;
	struct mac_list list = {config->sw, json_array_create_empty()};

	mac_for_each(config->sw->macs, add_mac, &list);
	control_reply(conn, list.array);
}

/* --- drops/show ----------------------------------------------------------------------------- */

static void sum_port_drops(const struct port *port, uint64_t drops[DROP_N_REASONS])
{
	for (unsigned int q = 0; q < port->n_rx_queues; q++) {
		for (unsigned int r = 0; r < DROP_N_REASONS; r++)
			drops[r] += atomic_load_explicit(&port->drops[q][r], memory_order_relaxed);
	}
}

void control_sum_drops(struct cordon_switch *sw, uint64_t drops[DROP_N_REASONS])
{
	for (unsigned int r = 0; r < DROP_N_REASONS; r++) {
		drops[r] = atomic_load(&sw->closed_drops[r]);
		for (unsigned int i = 0; i < sw->n_workers; i++)
			drops[r] += sw->workers[i]->output_drops[r];
	}
	for (uint16_t number = 1; number < PORTS_MAX; number++) {
		const struct port *port = switch_port(sw, number);

		if (port != NULL)
			sum_port_drops(port, drops);
	}
}

static void show_drops(struct unixctl_conn *conn, int argc, const char *argv[], void *config_)
{
	const struct config *config = config_;
	struct json *array = json_array_create_empty();
	uint64_t drops[DROP_N_REASONS] = {0};

	if (argc > 1) {
		const struct config_port *port = shash_find_data(&config->ports, argv[1]);

		if (port == NULL || port->port == NULL) {
			json_destroy(array);
			unixctl_command_reply_error(conn, "no such port is open");
			return;
		}
		sum_port_drops(port->port, drops);
	} else {
		control_sum_drops(config->sw, drops);
	}
	for (unsigned int r = DROP_NONE + 1; r < DROP_N_REASONS; r++) {
		struct json *object = json_object_create();

		json_object_put_string(object, "reason", drop_name(r));
		json_object_put_string(object, "text", drop_text(r));
		put_integer(object, "packets", drops[r]);
		json_array_add(array, object);
	}
	control_reply(conn, array);
}

/* --- zone/list ------------------------------------------------------------------------------ */

static struct json *zone_endpoints(const struct config *config, uint16_t zone)
{
	const struct endpoint_map *endpoints = atomic_load(&config->sw->endpoints);
	const struct cordonrec_host *host = config_host(config);
	const struct cordonrec_port *row;
	struct json *names = json_array_create_empty();

	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		if (row->host == host && row->n_number && strcmp(row->role, "uplink") &&
			endpoint_map_port_zone(endpoints, (uint16_t)row->number[0]) == zone)
			json_array_add(names, json_string_create(row->name));
	}
	return names;
}

/* Endpoints that are in quarantine because two zones match, and which. */
static struct json *zone_conflicts(const struct config *config, const struct zone_policy *policy)
{
	const struct cordonrec_host *host = config_host(config);
	const struct cordonrec_port *row;
	struct json *texts = json_array_create_empty();

	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		uint16_t conflict[2] = {0};

		if (row->host != host || !strcmp(row->role, "uplink"))
			continue;
		zone_of_tags(policy, (const char *const *)row->tags, row->n_tags, conflict);
		if (conflict[0] != conflict[1])
			json_array_add(
				texts, json_string_create_nocopy(xasprintf("%s matches %s and %s",
					       row->name, zone_info(policy, conflict[0]).name,
					       zone_info(policy, conflict[1]).name)));
	}
	return texts;
}

static struct json *describe_zone(
	const struct config *config, const struct zone_policy *policy, uint16_t zone)
{
	struct zone_info info = zone_info(policy, zone);
	struct json *object = json_object_create(), *prefixes = json_array_create_empty();
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < info.n_prefixes; i++)
		json_array_add(
			prefixes, json_string_create(ip_prefix_format(&info.prefixes[i], text)));
	json_object_put_string(object, "zone", info.name);
	put_integer(object, "number", zone);
	json_object_put_string(object, "match", info.match != NULL ? info.match : "");
	json_object_put(object, "prefixes", prefixes);
	json_object_put_string(object, "intra", info.intra_deny ? "deny" : "");
	json_object_put(object, "pickup", json_boolean_create(info.pickup));
	if (limits_any(&info.limits))
		json_object_put(object, "limits", control_zone_limits(config->sw, policy, zone));
	json_object_put(object, "endpoints", zone_endpoints(config, zone));
	json_object_put(object, "conflicts",
		zone == ZONE_QUARANTINE ? zone_conflicts(config, policy)
					: json_array_create_empty());
	return object;
}

static void list_zones(struct unixctl_conn *conn, int argc OVS_UNUSED,
	const char *argv[] OVS_UNUSED, void *config_)
{
	const struct config *config = config_;
	const struct zone_policy *policy = endpoint_map_policy(atomic_load(&config->sw->endpoints));
	struct json *array = json_array_create_empty();

	for (uint16_t zone = 0; zone < zone_count(policy); zone++)
		json_array_add(array, describe_zone(config, policy, zone));
	control_reply(conn, array);
}

static void quit(struct unixctl_conn *conn, int argc OVS_UNUSED, const char *argv[] OVS_UNUSED,
	void *config_)
{
	const struct config *config = config_;

	atomic_store(&config->sw->quit, true);
	unixctl_command_reply(conn, NULL);
}

void control_register(struct config *config)
{
	unixctl_command_register("cordon/status", "", 0, 0, show_status, config);
	unixctl_command_register("worker/list", "", 0, 0, list_workers, config);
	unixctl_command_register("mac/list", "", 0, 0, list_macs, config);
	unixctl_command_register("drops/show", "[PORT]", 0, 1, show_drops, config);
	unixctl_command_register("zone/list", "", 0, 0, list_zones, config);
	unixctl_command_register("exit", "", 0, 0, quit, config);
	control_conn_register(config);
	control_hits_register(config);
	control_log_register(config);
	control_plan_register(config);
	control_trace_register(config);
	control_limits_register(config);
	control_capture_register(config);
}
