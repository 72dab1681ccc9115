/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was observed, written back to the database: acknowledged revisions, ports' errors, links and
 * counters.  Main thread.
 *
 * One transaction at a time, never waited for.  Errors, links and revisions are written as soon as
 * they change; counters every STATISTICS_MS, and only those that changed.
 */
#include <config.h>

#include "datapath/config.h"

#include <stdlib.h>
#include <string.h>

#include "cordon-idl.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovsdb-idl.h"
#include "seq.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(status);

enum { STATUS_MS = 1000, STATISTICS_MS = 5000, ANSWER_MS = 50 };

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && !strcmp(a, b));
}

/* --- ports -------------------------------------------------------------------------------------
 */

static void write_port_statistics(const struct cordonrec_port *row, const struct port *port)
{
	struct port_queue_stats stats = port_stats(port);
	uint64_t dropped = 0;

	for (unsigned int q = 0; q < port->n_rx_queues; q++) {
		for (unsigned int r = 0; r < DROP_N_REASONS; r++)
			dropped += atomic_load_explicit(&port->drops[q][r], memory_order_relaxed);
	}
	const char *keys[] = {
		"rx_packets", "rx_bytes", "rx_dropped", "tx_packets", "tx_bytes", "tx_dropped"};
	const int64_t values[] = {(int64_t)stats.rx_packets, (int64_t)stats.rx_bytes,
		(int64_t)dropped, (int64_t)stats.tx_packets, (int64_t)stats.tx_bytes,
		(int64_t)stats.tx_dropped};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		bool known = false;

		for (size_t j = 0; j < row->n_statistics && !known; j++)
			known = !strcmp(row->key_statistics[j], keys[i]) &&
				row->value_statistics[j] == values[i];
		if (!known) {
			cordonrec_port_set_statistics(row, keys, values, ARRAY_SIZE(keys));
			return;
		}
	}
}

static void write_port(const struct cordonrec_port *row, struct config_port *config_port, bool held,
	bool statistics)
{
	struct port *port = config_port->port;
	const char *error = config_port->error;

	if (!same_text(row->error, error))
		cordonrec_port_set_error(row, error);
	const char *link = port != NULL && atomic_load(&port->link_up) ? "up" : "down";
	/* Who changes a port and clears this waits for it to know that the change is in force: so
	 * it is written only over what was seen, and only if what was seen is in force. */
	if (!held && !same_text(row->link_state, link)) {
		cordonrec_port_verify_link_state(row);
		cordonrec_port_set_link_state(row, link);
	}
	const char *detail = port != NULL ? port->status : "";
	if (!same_text(smap_get(&row->status, "detail"), detail)) {
		const struct smap status = SMAP_CONST1(&status, "detail", detail);

		cordonrec_port_set_status(row, &status);
	}
	if (port != NULL && statistics)
		write_port_statistics(row, port);
}

static void write_ports(struct config *config, const struct cordonrec_host *host, bool statistics)
{
	const struct cordonrec_port *row;

	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		struct config_port *config_port = shash_find_data(&config->ports, row->name);

		if (row->host == host && config_port != NULL)
			write_port(row, config_port, config->ports_held, statistics);
	}
}

/* --- the host and the fleet ----------------------------------------------------------------- */

static void write_host(struct config *config, const struct cordonrec_host *host)
{
	const char *error = config->policy_error;

	if (host->policy_reached != config->revision)
		cordonrec_host_set_policy_reached(host, config->revision);
	if (!same_text(host->policy_error, error))
		cordonrec_host_set_policy_error(host, error);
	if (strcmp(host->version, CORDON_VERSION))
		cordonrec_host_set_version(host, CORDON_VERSION);
}

/* The fleet has reached a revision when its last host has. */
static void write_root(struct config *config)
{
	const struct cordonrec_cordon *root = cordonrec_cordon_first(config->idl);
	const struct cordonrec_host *host;
	int64_t reached = INT64_MAX;

	CORDONREC_HOST_FOR_EACH (host, config->idl)
		reached = MIN(reached, host->policy_reached);
	if (root != NULL && reached != INT64_MAX && root->policy_reached != reached)
		cordonrec_cordon_set_policy_reached(root, reached);
}

/* "sink NAME" -> what is wrong with it. */
static void write_sink_errors(const struct cordonrec_host *host, const struct smap *errors)
{
	if (!smap_equal(&host->status, errors))
		cordonrec_host_set_status(host, errors);
}

/* "sink NAME delivered" and so on, in records. */
static void write_sink_counts(
	const struct cordonrec_host *host, const struct sinks_row *rows, size_t n)
{
	char names[2 * LOG_ACCOUNT_SINKS][SINK_NAME_MAX + 24];
	const char *keys[2 * LOG_ACCOUNT_SINKS];
	int64_t values[2 * LOG_ACCOUNT_SINKS];

	for (size_t i = 0; i < n; i++) {
		snprintf(names[2 * i], sizeof(names[0]), "sink %.*s delivered", SINK_NAME_MAX,
			rows[i].name);
		snprintf(names[2 * i + 1], sizeof(names[0]), "sink %.*s lost", SINK_NAME_MAX,
			rows[i].name);
		values[2 * i] = (int64_t)rows[i].statistics.delivered;
		values[2 * i + 1] = (int64_t)rows[i].statistics.lost;
	}
	for (size_t i = 0; i < 2 * n; i++)
		keys[i] = names[i];
	cordonrec_host_set_statistics(host, keys, values, 2 * n);
}

static void write_sinks(struct config *config, const struct cordonrec_host *host, bool statistics)
{
	struct sinks_row rows[LOG_ACCOUNT_SINKS];
	struct smap errors = SMAP_INITIALIZER(&errors);
	const struct shash_node *node;
	size_t n = sinks_read_statistics(log_thread_sinks(config->sw->log), rows, ARRAY_SIZE(rows));

	for (size_t i = 0; i < n; i++)
		if (rows[i].statistics.error[0] != '\0')
			smap_add_nocopy(&errors, xasprintf("sink %s", rows[i].name),
				xstrdup(rows[i].statistics.error));
	SHASH_FOR_EACH (node, &config->sink_errors) {
		char *key = xasprintf("sink %s", node->name);

		smap_replace(&errors, key, node->data);
		free(key);
	}
	config_log_watch(config, rows, n);
	write_sink_errors(host, &errors);
	if (statistics)
		write_sink_counts(host, rows, n);
	smap_destroy(&errors);
}

/* --- the transaction ------------------------------------------------------------------------ */

static void begin(struct config *config, const struct cordonrec_host *host, bool statistics)
{
	config->txn = ovsdb_idl_txn_create(config->idl);
	if (policy_return_write(config)) {
		config->status_changed = true; /* The rest is the next transaction's. */
		return;
	}
	write_host(config, host);
	write_ports(config, host, statistics);
	write_root(config);
	write_sinks(config, host, statistics);
}

/* True once no transaction is in progress. */
static bool finish(struct config *config)
{
	if (config->txn == NULL)
		return true;
	enum ovsdb_idl_txn_status status = ovsdb_idl_txn_commit(config->txn);
	if (status == TXN_INCOMPLETE)
		return false;
	if (status != TXN_SUCCESS && status != TXN_UNCHANGED && status != TXN_TRY_AGAIN)
		VLOG_WARN("status could not be written to the database: %s",
			ovsdb_idl_txn_get_error(config->txn));
	/* Somebody else was quicker: once the replica knows. */
	config->status_changed |= status == TXN_TRY_AGAIN;
	ovsdb_idl_txn_destroy(config->txn);
	config->txn = NULL;
	return true;
}

/* Polls all ports, or those that are in a hurry, and sets when to do so again. */
static void poll_ports(struct config *config, bool all)
{
	unsigned int within_ms = STATUS_MS;
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &config->ports) {
		struct port *port = ((const struct config_port *)node->data)->port;

		if (port == NULL)
			continue;
		if (all || port->poll_within_ms != 0)
			port_poll_status(port);
		if (port->poll_within_ms != 0)
			within_ms = MIN(within_ms, port->poll_within_ms);
	}
	config->next_poll = time_msec() + within_ms;
}

/* True if somebody has cleared a port's state, to hear whether the port is as its row says now. */
static bool is_asked(const struct config *config)
{
	const struct cordonrec_host *host = config_host(config);
	const struct cordonrec_port *row;

	if (host == NULL || config->ports_held || time_msec() < config->next_answer)
		return false;
	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		if (row->host == host && row->link_state == NULL &&
			shash_find(&config->ports, row->name) != NULL)
			return true;
	}
	return false;
}

/* True if all ports are to be polled, and what was found written. */
static bool is_due(const struct config *config, bool may_write)
{
	if (may_write && is_asked(config))
		return true;
	return time_msec() >= config->next_status || (may_write && config->status_changed) ||
	       seq_read(config->sw->environment.news) != config->news;
}

/* Ports are polled whether or not the database takes what is found. */
void status_run(struct config *config)
{
	bool may_write = finish(config);

	if (!is_due(config, may_write)) {
		if (time_msec() >= config->next_poll)
			poll_ports(config, false);
		return;
	}
	config->news = seq_read(config->sw->environment.news);
	config->next_status = time_msec() + STATUS_MS;
	config->next_answer = time_msec() + ANSWER_MS;
	poll_ports(config, true);
	if (!may_write)
		return;
	config->status_changed = false;
	const struct cordonrec_host *host = config_host(config);
	if (host == NULL || !ovsdb_idl_is_connected(config->idl))
		return;
	bool statistics = time_msec() >= config->next_statistics;
	if (statistics)
		config->next_statistics = time_msec() + STATISTICS_MS;
	begin(config, host, statistics);
	finish(config);
}

void status_wait(struct config *config)
{
	if (config->txn != NULL)
		ovsdb_idl_txn_wait(config->txn);
	else if (config->status_changed)
		poll_immediate_wake();
	seq_wait(config->sw->environment.news, config->news);
	poll_timer_wait_until(MIN(config->next_status, config->next_poll));
	if (time_msec() < config->next_answer)
		poll_timer_wait_until(config->next_answer);
}
