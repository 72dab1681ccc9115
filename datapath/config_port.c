/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports as the database wants them: opened, changed and closed while the others go on.  Main
 * thread.
 *
 * A port that cannot be opened keeps its error, which status.c writes back, and is tried again
 * every RETRY_MS.  What the back end was opened with (type, number, options) makes a new port when
 * it changes; everything else is a new snapshot of settings.
 */
#include <config.h>

#include "datapath/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cordon-idl.h"
#include "datapath/capture.h"
#include "datapath/service_guard.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovsdb-idl.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(config_port);

enum {
	RETRY_MS = 5000,
	STORM_LIMIT_DEFAULT = 10000, /* Flooded frames/s. */
	MAC_LIMIT_DEFAULT = 256,     /* Learned behind one vNIC; uplinks have none. */
	HALF_OPEN_SHARE = 4,	     /* A port's half-open connections: this part of the table... */
	HALF_OPEN_SURE_SHARE = 64,   /* ...and so much of it however full it is. */
};

/* --- settings ------------------------------------------------------------------------------- */

static char *join(char *const *words, size_t n)
{
	struct ds text = DS_EMPTY_INITIALIZER;

	for (size_t i = 0; i < n; i++)
		ds_put_format(&text, "%s%s", i ? " " : "", words[i]);
	return ds_steal_cstr(&text);
}

/* A limit of the row, 0 for none. */
static uint32_t limit(const struct cordonrec_port *row, const char *key, uint32_t otherwise)
{
	for (size_t i = 0; i < row->n_limits; i++) {
		if (!strcmp(row->key_limits[i], key))
			return (uint32_t)MIN(MAX(row->value_limits[i], 0), UINT32_MAX);
	}
	return otherwise;
}

static bool is_limited(const struct cordonrec_port *row, const char *key)
{
	for (size_t i = 0; i < row->n_limits; i++) {
		if (!strcmp(row->key_limits[i], key))
			return true;
	}
	return false;
}

static bool read_macs(
	const struct cordonrec_port *row, struct port_settings *settings, char **error)
{
	settings->macs = xcalloc(row->n_macs ? row->n_macs : 1, sizeof(*settings->macs));
	for (size_t i = 0; i < row->n_macs; i++) {
		if (!mac_parse(row->macs[i], settings->macs[i])) {
			*error = xasprintf("\"%s\" is not a MAC address; mend it with `cordon port "
					   "set %s --mac ...`",
				row->macs[i], row->name);
			return false;
		}
	}
	settings->n_macs = row->n_macs;
	return true;
}

static bool read_addresses(
	const struct cordonrec_port *row, struct port_settings *settings, char **error)
{
	settings->addresses =
		xcalloc(row->n_addresses ? row->n_addresses : 1, sizeof(*settings->addresses));
	for (size_t i = 0; i < row->n_addresses; i++) {
		if (!ip_address_parse(row->addresses[i], &settings->addresses[i])) {
			*error = xasprintf("\"%s\" is not an IP address; mend it with `cordon port "
					   "set %s --address ...`",
				row->addresses[i], row->name);
			return false;
		}
	}
	settings->n_addresses = row->n_addresses;
	return true;
}

/* A trunk carries the VLANs that it names, or all if it names none.  0 and 4095 are no VLANs: a tag
 * of 0 would be one of the native VLAN to whoever gets it. */
static void read_vlans(const struct cordonrec_port *row, struct port_settings *settings)
{
	settings->vlan_mode = strcmp(row->vlan_mode, "trunk") ? PORT_ACCESS : PORT_TRUNK;
	settings->vlan = row->network && row->network->n_vlan ? (uint16_t)row->network->vlan[0] : 0;
	if (row->n_trunks == 0 && settings->vlan_mode == PORT_TRUNK)
		memset(settings->trunks, 0xff, sizeof(settings->trunks));
	for (size_t i = 0; i < row->n_trunks; i++)
		settings->trunks[row->trunks[i] / 64] |= UINT64_C(1) << row->trunks[i] % 64;
	settings->trunks[0] &= ~UINT64_C(1);
	settings->trunks[4095 / 64] &= ~(UINT64_C(1) << 4095 % 64);
}

/* What the row names; if it names nothing, an uplink serves all, since the network's own servers
 * and routers are behind it, and other ports nothing. */
static uint8_t read_services(const struct cordonrec_port *row)
{
	uint8_t serves = 0;

	if (row->n_serves == 0)
		return strcmp(row->role, "uplink") ? 0 : SERVICE_DHCP | SERVICE_ROUTER;
	for (size_t i = 0; i < row->n_serves; i++) {
		if (!strcmp(row->serves[i], "dhcp"))
			serves |= SERVICE_DHCP;
		else if (!strcmp(row->serves[i], "router"))
			serves |= SERVICE_ROUTER;
	}
	return serves;
}

struct port_settings *config_port_settings(
	const struct cordonrec_port *row, uint32_t capacity, char **error)
{
	struct port_settings *settings = xzalloc(sizeof(*settings));
	bool uplink = !strcmp(row->role, "uplink");

	settings->role = uplink				  ? PORT_UPLINK
			 : !strcmp(row->role, "internal") ? PORT_INTERNAL
							  : PORT_VNIC;
	settings->spoof_guard = row->n_spoof_guard ? row->spoof_guard[0] : !uplink;
	settings->serves = read_services(row);
	settings->mac_limit = limit(row, "macs", uplink ? 0 : MAC_LIMIT_DEFAULT);
	settings->storm_limit = limit(row, "storm-pps", STORM_LIMIT_DEFAULT);
	settings->connection_limit = limit(row, "connections", 0);
	settings->half_open_is_default = !is_limited(row, "half-open");
	settings->half_open_limit = limit(row, "half-open", capacity / HALF_OPEN_SHARE);
	settings->half_open_sure = settings->half_open_is_default ? capacity / HALF_OPEN_SURE_SHARE
				   : settings->half_open_limit != 0 ? settings->half_open_limit
								    : UINT32_MAX;
	settings->new_per_second_limit = limit(row, "new-per-second", 0);
	settings->ingress_rate_bps = UINT64_C(1000) * limit(row, "ingress-kbps", 0);
	settings->vm_id = xstrdup(row->vm_id);
	settings->vm_name = xstrdup(row->vm_name);
	settings->tags = join(row->tags, row->n_tags);
	read_vlans(row, settings);
	if (row->network && row->network->n_vni)
		*error = xasprintf("network %s is a VNI, and overlay networks are not supported "
				   "yet; put the port on a network with a VLAN",
			row->network->name);
	if (*error || !read_macs(row, settings, error) || !read_addresses(row, settings, error)) {
		port_settings_free(settings);
		return NULL;
	}
	return settings;
}

/* Writes texts so that no two lists look the same. */
static void put_texts(struct ds *text, char *const *words, size_t n)
{
	ds_put_format(text, " %zu", n);
	for (size_t i = 0; i < n; i++)
		ds_put_format(text, " %zu:%s", strlen(words[i]), words[i]);
}

/* All that a settings snapshot depends on, to see whether anything changed. */
static char *describe(const struct cordonrec_port *row)
{
	const struct cordonrec_network *network = row->network;
	char *const words[] = {row->role, row->vlan_mode, row->vm_id, row->vm_name};
	struct ds text = DS_EMPTY_INITIALIZER;

	put_texts(&text, words, ARRAY_SIZE(words));
	put_texts(&text, row->macs, row->n_macs);
	put_texts(&text, row->addresses, row->n_addresses);
	put_texts(&text, row->tags, row->n_tags);
	put_texts(&text, row->serves, row->n_serves);
	ds_put_format(&text, " %d %d %d", row->n_spoof_guard ? row->spoof_guard[0] : -1,
		network && network->n_vlan ? (int)network->vlan[0] : -1,
		network && network->n_vni ? (int)network->vni[0] : -1);
	for (size_t i = 0; i < row->n_trunks; i++)
		ds_put_format(&text, " %d", (int)row->trunks[i]);
	for (size_t i = 0; i < row->n_limits; i++)
		ds_put_format(
			&text, " %s=%lld", row->key_limits[i], (long long int)row->value_limits[i]);
	return ds_steal_cstr(&text);
}

/* --- in the switch -----------------------------------------------------------------------------
 */

/* A vNIC's configured MACs are where it is, whatever frames say.  Returns false if another port has
 * one of them, or the table is full. */
static bool enter_static_macs(
	struct cordon_switch *sw, uint16_t number, const struct port_settings *settings)
{
	bool entered = true;

	if (settings->vlan_mode != PORT_ACCESS)
		return true;
	for (size_t i = 0; i < settings->n_macs; i++)
		entered &= mac_add_static(sw->macs, settings->vlan, settings->macs[i], number);
	return entered;
}

static bool is_static(const struct port_settings *settings, uint16_t vlan, const uint8_t mac[6])
{
	if (settings->vlan_mode != PORT_ACCESS || settings->vlan != vlan)
		return false;
	for (size_t i = 0; i < settings->n_macs; i++) {
		if (!memcmp(settings->macs[i], mac, 6))
			return true;
	}
	return false;
}

/* Removes those of the old settings that the new ones, which are entered already, do not have. */
static void remove_static_macs(struct cordon_switch *sw, uint16_t number,
	const struct port_settings *old, const struct port_settings *settings)
{
	if (old->vlan_mode != PORT_ACCESS)
		return;
	for (size_t i = 0; i < old->n_macs; i++) {
		if (!is_static(settings, old->vlan, old->macs[i]) &&
			mac_lookup(sw->macs, old->vlan, old->macs[i]) == number)
			mac_remove_static(sw->macs, old->vlan, old->macs[i]);
	}
}

/* True if what was learned at the port under `old` may not be so any more. */
static bool must_learn_anew(const struct port_settings *old, const struct port_settings *settings)
{
	return old->vlan != settings->vlan || old->vlan_mode != settings->vlan_mode ||
	       memcmp(old->trunks, settings->trunks, sizeof(old->trunks)) ||
	       old->spoof_guard != settings->spoof_guard || old->n_macs != settings->n_macs ||
	       memcmp(old->macs, settings->macs, old->n_macs * sizeof(*old->macs));
}

/* Once all ports are as they should be: a MAC may have gone from one to another. */
static void enter_all_static_macs(struct config *config)
{
	static struct vlog_rate_limit rate = VLOG_RATE_LIMIT_INIT(1, 5);
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &config->ports) {
		const struct config_port *config_port = node->data;

		if (config_port->port != NULL && !enter_static_macs(config->sw, config_port->number,
							 atomic_load(&config_port->port->settings)))
			VLOG_WARN_RL(&rate,
				"port %s: a configured MAC could not be entered; another port of "
				"its VLAN has it, or the table is full",
				config_port->name);
	}
}

static void update_ports_end(struct cordon_switch *sw)
{
	uint16_t end = PORTS_MAX;

	while (end > 1 && atomic_load(&sw->ports[end - 1]) == NULL)
		end--;
	atomic_store(&sw->ports_end, end);
}

static void close_connection_of_port(struct conn_table *table, uint32_t number, void *port_)
{
	const uint16_t *port = port_;
	struct conn *conn = conn_of_flow(table, 2 * number);

	if (conn_flow(table, 2 * number)->key.in_port == *port ||
		atomic_load(&conn->out_port) == *port)
		atomic_fetch_or(&conn->flags, CONN_CLOSE_NOW);
}

/* The switch's totals keep what a port has counted. */
static void keep_counts(struct cordon_switch *sw, const struct port *port)
{
	struct port_queue_stats *closed = &sw->closed_stats, stats = port_stats(port);

	for (unsigned int q = 0; q < port->n_rx_queues; q++) {
		for (unsigned int r = 0; r < DROP_N_REASONS; r++)
			atomic_fetch_add(&sw->closed_drops[r], atomic_load(&port->drops[q][r]));
	}
	closed->rx_packets += stats.rx_packets;
	closed->rx_bytes += stats.rx_bytes;
	closed->tx_packets += stats.tx_packets;
	closed->tx_bytes += stats.tx_bytes;
	closed->tx_dropped += stats.tx_dropped;
	closed->tx_cut += stats.tx_cut;
}

/* Takes the port out of everybody's sight, and closes it when nobody can hold it any more. */
static void remove_port(struct cordon_switch *sw, struct config_port *config_port)
{
	struct port *port = config_port->port;
	uint16_t number = config_port->number;

	if (port == NULL)
		return;
	atomic_store(&sw->ports[number], NULL);
	update_ports_end(sw);
	config_assign_queues(sw);
	atomic_fetch_add(&sw->forwarding_revision, 1);
	ovsrcu_synchronize();
	conn_for_each(sw->connections, 0, conn_high_water(sw->connections),
		close_connection_of_port, &number);
	mac_flush_port(sw->macs, number);
	keep_counts(sw, port);
	VLOG_INFO("port %s closed", config_port->name);
	capture_forget_port(port);
	port_close(port);
	config_port->port = NULL;
}

static void config_port_free(struct config_port *config_port)
{
	smap_destroy(&config_port->options);
	free(config_port->name);
	free(config_port->type);
	free(config_port->error);
	free(config_port->endpoint);
	free(config_port);
}

/* --- from rows to ports --------------------------------------------------------------------------
 */

static void set_error(struct config_port *config_port, char *error)
{
	if (error && (!config_port->error || strcmp(error, config_port->error)))
		VLOG_WARN("port %s: %s", config_port->name, error);
	free(config_port->error);
	config_port->error = error;
	config_port->retry_at = time_msec() + RETRY_MS;
}

/* Another port of this host that has the number already, or NULL. */
static const char *number_taken(const struct config *config, const struct config_port *self)
{
	const struct port *port = switch_port(config->sw, self->number);

	return port != NULL ? port->name : NULL;
}

/* port_open() names the port, and so does whoever shows its error. */
static const char *without_name(const char *why, const char *name)
{
	size_t length = strlen(name);

	if (strncmp(why, "port ", 5) || strncmp(why + 5, name, length) ||
		strncmp(why + 5 + length, ": ", 2))
		return why;
	return why + 5 + length + 2;
}

static void open_port(
	struct config *config, struct config_port *config_port, const struct cordonrec_port *row)
{
	struct cordon_switch *sw = config->sw;
	char *error = NULL, why[256];
	const char *other = number_taken(config, config_port);

	if (other != NULL) {
		set_error(config_port,
			xasprintf("its number %u is port %s's; delete one of them and add it again",
				config_port->number, other));
		return;
	}
	struct port_settings *settings =
		config_port_settings(row, conn_capacity(sw->connections), &error);
	if (settings == NULL) {
		set_error(config_port, error);
		return;
	}
	struct smap *options = xmalloc(sizeof(*options));
	smap_clone(options, &row->options);
	config_port->port = port_open(&sw->environment, config_port->number, row->name, row->type,
		options, settings, why, sizeof(why));
	if (config_port->port == NULL) {
		set_error(config_port, xstrdup(without_name(why, row->name)));
		return;
	}
	set_error(config_port, NULL);
	VLOG_INFO("port %s opened: number %u, %s", row->name, config_port->number, row->type);
	port_identity_set(sw, config_port->number, row->name, settings);
	enter_static_macs(sw, config_port->number, settings);
	atomic_store_explicit(
		&sw->ports[config_port->number], config_port->port, memory_order_release);
	update_ports_end(sw);
	atomic_fetch_add(&sw->forwarding_revision, 1);
	/* Connections of the last run that are idle can be judged only now that both ports are
	 * here; the sweep looks again at those of an older epoch. */
	if (sw->connections_opened.adopted != 0)
		atomic_fetch_add(&sw->policy_epoch, 1);
}

static void change_settings(
	struct config *config, struct config_port *config_port, const struct cordonrec_port *row)
{
	struct cordon_switch *sw = config->sw;
	char *error = NULL;
	struct port_settings *settings =
		config_port_settings(row, conn_capacity(sw->connections), &error);
	struct port_settings *old;

	if (settings == NULL) { /* The port goes on as it was. */
		set_error(config_port, error);
		return;
	}
	set_error(config_port, NULL);
	port_identity_set(sw, config_port->number, row->name, settings);
	enter_static_macs(sw, config_port->number, settings);
	old = atomic_exchange(&config_port->port->settings, settings);
	remove_static_macs(sw, config_port->number, old, settings);
	if (must_learn_anew(old, settings))
		mac_flush_learned(sw->macs, config_port->number);
	ovsrcu_postpone(port_settings_free, old);
	atomic_fetch_add(&sw->forwarding_revision, 1);
}

static bool needs_reopening(const struct config_port *config_port, const struct cordonrec_port *row)
{
	return strcmp(config_port->type, row->type) || config_port->number != row->number[0] ||
	       !smap_equal(&config_port->options, &row->options);
}

static void begin_port(struct config_port *config_port, const struct cordonrec_port *row)
{
	free(config_port->type);
	config_port->type = xstrdup(row->type);
	smap_destroy(&config_port->options);
	smap_clone(&config_port->options, &row->options);
	config_port->number = row->n_number ? (uint16_t)row->number[0] : 0;
}

/* Returns true if anything about the port changed. */
static bool match_port(struct config *config, const struct cordonrec_port *row)
{
	struct config_port *config_port = shash_find_data(&config->ports, row->name);
	char *endpoint = describe(row);
	bool changed = false;

	if (config_port == NULL) {
		config_port = xzalloc(sizeof(*config_port));
		config_port->name = xstrdup(row->name);
		smap_init(&config_port->options);
		shash_add(&config->ports, row->name, config_port);
		begin_port(config_port, row);
	} else if (needs_reopening(config_port, row)) {
		remove_port(config->sw, config_port);
		begin_port(config_port, row);
		config_port->retry_at = 0;
		changed = true;
	}
	bool other_settings =
		config_port->endpoint == NULL || strcmp(config_port->endpoint, endpoint);
	if (config_port->port != NULL && other_settings) {
		change_settings(config, config_port, row);
		changed = true;
	} else if (config_port->port == NULL &&
		   (other_settings || time_msec() >= config_port->retry_at)) {
		open_port(config, config_port, row);
		changed = true;
	}
	free(config_port->endpoint);
	config_port->endpoint = endpoint;
	return changed;
}

void config_port_identities(struct config *config, const struct cordonrec_host *host)
{
	const struct cordonrec_port *row;

	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		uint16_t number = row->host == host && row->n_number ? (uint16_t)row->number[0] : 0;
		char *error = NULL;

		if (number == 0 || number >= PORTS_MAX ||
			atomic_load(&config->sw->identities[number]) != NULL)
			continue;
		struct port_settings *settings =
			config_port_settings(row, conn_capacity(config->sw->connections), &error);
		if (settings != NULL)
			port_identity_set(config->sw, number, row->name, settings);
		port_settings_free(settings);
		free(error);
	}
}

bool config_ports(struct config *config, const struct cordonrec_host *host)
{
	struct shash wanted = SHASH_INITIALIZER(&wanted);
	const struct cordonrec_port *row;
	struct shash_node *node;
	bool changed = false;

	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		if (row->host == host && row->n_number)
			shash_add_once(&wanted, row->name, row);
	}
	SHASH_FOR_EACH_SAFE (node, &config->ports) {
		if (shash_find(&wanted, node->name) == NULL) {
			remove_port(config->sw, node->data);
			config_port_free(node->data);
			shash_delete(&config->ports, node);
			changed = true;
		}
	}
	SHASH_FOR_EACH (node, &wanted)
		changed |= match_port(config, node->data);
	shash_destroy(&wanted);
	if (changed) {
		enter_all_static_macs(config);
		config_assign_queues(config->sw);
	}
	return changed;
}

void config_ports_close(struct config *config)
{
	struct shash_node *node;

	SHASH_FOR_EACH_SAFE (node, &config->ports) {
		struct config_port *config_port = node->data;

		if (config_port->port != NULL)
			port_close(config_port->port);
		config_port_free(config_port);
		shash_delete(&config->ports, node);
	}
}

/* --- queues --------------------------------------------------------------------------------- */

/* A queue always belongs to the same worker, so it is never polled by two while lists change. */
static unsigned int worker_of(const struct cordon_switch *sw, uint16_t port, uint16_t queue)
{
	return (port + queue) % sw->n_workers;
}

/* The worker's queues: those of ports that are captured, or those of the others. */
static struct poll_list *make_poll_list(
	struct cordon_switch *sw, unsigned int worker, bool captured)
{
	struct poll_list *list =
		xmalloc(sizeof(*list) + sizeof(list->at[0]) * PORTS_MAX * PORT_QUEUES_MAX);

	list->n = 0;
	for (uint16_t number = 1; number < PORTS_MAX; number++) {
		struct port *port = switch_port(sw, number);

		if (port == NULL || (capture_taps_of(port) != NULL) != captured)
			continue;
		for (uint16_t q = 0; q < port->n_rx_queues; q++) {
			if (worker_of(sw, number, q) == worker)
				list->at[list->n++] = (struct poll_entry){.port = port, .queue = q};
		}
	}
	return xrealloc(list, sizeof(*list) + sizeof(list->at[0]) * list->n);
}

static void swap_poll_list(_Atomic(struct poll_list *) *place, struct poll_list *list)
{
	struct poll_list *old = atomic_exchange(place, list);

	if (old != NULL)
		ovsrcu_postpone(free, old);
}

void config_assign_queues(struct cordon_switch *sw)
{
	for (unsigned int i = 0; i < sw->n_workers; i++) {
		struct worker *worker = sw->workers[i];
		struct poll_list *captured = make_poll_list(sw, i, true);
		bool any = captured->n != 0;

		swap_poll_list(&worker->captured, captured);
		swap_poll_list(&worker->polls, make_poll_list(sw, i, false));
		if (any)
			atomic_fetch_or(&worker->errands, ERRAND_CAPTURED);
		else
			atomic_fetch_and(&worker->errands, ~(uint32_t)ERRAND_CAPTURED);
	}
}
