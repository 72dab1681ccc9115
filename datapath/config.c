/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The database's wish made real: follows the replica, and when it changes makes the switch match.
 * Main thread.
 *
 * The database may go away: the switch then goes on as it is, and takes up whatever has changed
 * when it is back.  An empty replica (the database is there, but this host's row is not) is not
 * taken for a wish either.
 */
#include <config.h>

#include "datapath/config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cordon-idl.h"
#include "datapath/buffers.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovsdb-idl.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(config);

enum { RETRY_MS = 1000, MAC_AGE_DEFAULT = 300, LOG_UPDATE_DEFAULT = 300 };

const struct cordonrec_host *config_host(const struct config *config)
{
	const struct cordonrec_host *host;

	CORDONREC_HOST_FOR_EACH (host, config->idl) {
		if (!strcmp(host->name, config->sw->options->host))
			return host;
	}
	return NULL;
}

/* --- settings of the whole switch ---------------------------------------------------------------
 */

/* Seconds, from this host's other_config, else from the fleet's.  0 would end everything at once,
 * which nobody means. */
static uint32_t setting(const struct config *config, const struct cordonrec_host *host,
	const char *key, uint32_t otherwise)
{
	static struct vlog_rate_limit rate = VLOG_RATE_LIMIT_INIT(1, 5);
	const struct cordonrec_cordon *root = cordonrec_cordon_first(config->idl);
	const char *text = smap_get(&host->other_config, key);
	unsigned int seconds;

	if (text == NULL && root != NULL)
		text = smap_get(&root->other_config, key);
	if (text == NULL)
		return otherwise;
	if (str_to_uint(text, 10, &seconds) && seconds != 0)
		return seconds;
	VLOG_WARN_RL(&rate, "other_config %s=%s: must be a number of seconds from 1 on; %u is used",
		key, text, otherwise);
	return otherwise;
}

static void config_timeouts(struct config *config, const struct cordonrec_host *host)
{
	struct timeouts *timeouts = xmemdup(&timeouts_default, sizeof(timeouts_default)), *old;
	const struct {
		const char *key;
		uint32_t *seconds;
	} keys[] = {
		{"timeout-tcp-syn-sent", &timeouts->tcp[TCP_SYN_SENT]},
		{"timeout-tcp-syn-received", &timeouts->tcp[TCP_SYN_RECEIVED]},
		{"timeout-tcp-established", &timeouts->tcp[TCP_ESTABLISHED]},
		{"timeout-tcp-fin-wait", &timeouts->tcp[TCP_FIN_WAIT]},
		{"timeout-tcp-closing", &timeouts->tcp[TCP_CLOSING]},
		{"timeout-tcp-time-wait", &timeouts->tcp[TCP_TIME_WAIT]},
		{"timeout-tcp-closed", &timeouts->tcp[TCP_CLOSED]},
		{"timeout-udp-unanswered", &timeouts->udp_unanswered},
		{"timeout-udp", &timeouts->udp},
		{"timeout-icmp", &timeouts->icmp},
		{"timeout-other", &timeouts->other},
		{"timeout-denied", &timeouts->denied},
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		*keys[i].seconds = setting(config, host, keys[i].key, *keys[i].seconds);
	old = atomic_exchange(&config->sw->timeouts, timeouts);
	ovsrcu_postpone(free, old);
	atomic_store(
		&config->sw->mac_age_seconds, setting(config, host, "mac-age", MAC_AGE_DEFAULT));
	atomic_store(&config->sw->log_update_seconds,
		setting(config, host, "log-update", LOG_UPDATE_DEFAULT));
}

/* --- the loop ------------------------------------------------------------------------------- */

static void reconfigure(struct config *config)
{
	const struct cordonrec_host *host = config_host(config);

	if (host == NULL) {
		VLOG_WARN_ONCE("the database has no host %s; `cordon up` adds it",
			config->sw->options->host);
		return;
	}
	config_port_identities(config, host);
	config_timeouts(config, host);
	config_log(config);
	config_zones(config, host); /* Before the first port is polled: nothing passes unjudged. */
	config->ports_held = !config_policy_is_settled(config);
	if (config->ports_held)
		return;
	if (config_ports(config, host))
		config->status_changed = true;
	buffers_fill(config->sw->environment.buffers);
}

/* A port that is open and whose new settings are at fault goes on as it was, until they change. */
static bool any_port_failed(const struct config *config)
{
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &config->ports) {
		const struct config_port *port = node->data;

		if (port->port == NULL && port->error != NULL)
			return true;
	}
	return false;
}

void config_run(struct config *config)
{
	ovsdb_idl_run(config->idl);
	config_policy_run(config);
	unsigned int now = ovsdb_idl_get_seqno(config->idl);
	bool release = config->ports_held && config_policy_is_settled(config);

	if (ovsdb_idl_has_ever_connected(config->idl) &&
		(now != config->seen || release || time_msec() >= config->next_retry)) {
		config->seen = now;
		reconfigure(config);
		config->next_retry = any_port_failed(config) ? time_msec() + RETRY_MS : LLONG_MAX;
	}
	policies_forget(config);
	status_run(config);
}

void config_wait(struct config *config)
{
	ovsdb_idl_wait(config->idl);
	config_policy_wait(config);
	if (config->next_retry != LLONG_MAX)
		poll_timer_wait_until(config->next_retry);
	status_wait(config);
}

/* Guests are cordon-hostd's: how they do is no reason to look at everything here anew. */
static void omit_guests(struct ovsdb_idl *idl)
{
	for (size_t i = 0; i < CORDONREC_VM_N_COLUMNS; i++)
		ovsdb_idl_omit(idl, &cordonrec_vm_columns[i]);
	for (size_t i = 0; i < CORDONREC_VM_VNIC_N_COLUMNS; i++)
		ovsdb_idl_omit(idl, &cordonrec_vm_vnic_columns[i]);
	for (size_t i = 0; i < CORDONREC_VM_DISK_N_COLUMNS; i++)
		ovsdb_idl_omit(idl, &cordonrec_vm_disk_columns[i]);
	ovsdb_idl_omit(idl, &cordonrec_port_col_vm);
}

struct config *config_create(struct cordon_switch *sw, const char *remote)
{
	struct config *config = xzalloc(sizeof(*config));
	struct ovsdb_idl *idl = ovsdb_idl_create(remote, &cordonrec_idl_class, true, true);

	/* What this process writes itself is no news to it. */
	ovsdb_idl_omit_alert(idl, &cordonrec_cordon_col_policy_reached);
	ovsdb_idl_omit_alert(idl, &cordonrec_host_col_policy_reached);
	ovsdb_idl_omit_alert(idl, &cordonrec_host_col_policy_error);
	ovsdb_idl_omit_alert(idl, &cordonrec_host_col_version);
	ovsdb_idl_omit_alert(idl, &cordonrec_host_col_status);
	ovsdb_idl_omit_alert(idl, &cordonrec_host_col_statistics);
	ovsdb_idl_omit_alert(idl, &cordonrec_port_col_error);
	ovsdb_idl_omit_alert(idl, &cordonrec_port_col_link_state);
	ovsdb_idl_omit_alert(idl, &cordonrec_port_col_status);
	ovsdb_idl_omit_alert(idl, &cordonrec_port_col_statistics);
	omit_guests(idl);
	config->sw = sw;
	config->idl = idl;
	config->next_retry = LLONG_MAX;
	shash_init(&config->ports);
	shash_init(&config->sink_errors);
	shash_init(&config->sinks_seen);
	config_policy_start(config);
	return config;
}

void config_destroy(struct config *config)
{
	if (config == NULL)
		return;
	config_policy_stop(config);
	config_ports_close(config);
	shash_destroy(&config->ports);
	if (config->txn != NULL)
		ovsdb_idl_txn_destroy(config->txn);
	ovsdb_idl_destroy(config->idl);
	config_zones_destroy(config);
	config_log_destroy(config);
	free(config->policy_error);
	free(config);
}
