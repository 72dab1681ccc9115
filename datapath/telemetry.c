/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch's counters in DPDK's telemetry (dpdk-telemetry.py), beside DPDK's own.  Called by its
 * thread, which reads atomics only, under RCU.
 */
#include <config.h>

#include "datapath/control.h"

#include <string.h>

#include <rte_telemetry.h>

#include "ovs-rcu.h"
#include "util.h"

/* DPDK's callbacks have no context, and cannot be taken back: they are given the switch through
 * this, which main sets and clears.  RCU. */
static _Atomic(struct cordon_switch *) telemetry_switch;

/* The switch, NULL if it is ending.  Good until leave(). */
static struct cordon_switch *enter(void)
{
	ovsrcu_quiesce_end();
	return atomic_load_explicit(&telemetry_switch, memory_order_acquire);
}

static void leave(void)
{
	ovsrcu_quiesce_start();
}

/* DPDK takes no hyphens in names, and says nothing of it. */
static void telemetry_name(const char *from, char *name, size_t size)
{
	ovs_strlcpy(name, from, size);
	for (char *c = name; *c != '\0'; c++) {
		if (*c == '-')
			*c = '_';
	}
}

static void add_drops(struct cordon_switch *sw, struct rte_tel_data *data)
{
	uint64_t counts[DROP_N_REASONS];

	control_sum_drops(sw, counts);
	for (unsigned int r = DROP_NONE + 1; r < DROP_N_REASONS; r++) {
		char name[RTE_TEL_MAX_STRING_LEN];

		telemetry_name(drop_name(r), name, sizeof(name));
		rte_tel_data_add_dict_u64(data, name, counts[r]);
	}
}

static void add_workers(struct cordon_switch *sw, struct rte_tel_data *data)
{
	for (unsigned int i = 0; i < sw->n_workers; i++) {
		const struct worker_stats *stats = &sw->workers[i]->stats;
		struct rte_tel_data *worker = rte_tel_data_alloc();
		char name[16];

		if (worker == NULL)
			return;
		snprintf(name, sizeof(name), "worker%u", i);
		rte_tel_data_start_dict(worker);
		rte_tel_data_add_dict_u64(worker, "packets", atomic_load(&stats->packets));
		rte_tel_data_add_dict_u64(worker, "misses", atomic_load(&stats->misses));
		rte_tel_data_add_dict_u64(worker, "polls", atomic_load(&stats->polls));
		rte_tel_data_add_dict_u64(worker, "busy_cycles", atomic_load(&stats->busy_cycles));
		rte_tel_data_add_dict_u64(
			worker, "total_cycles", atomic_load(&stats->total_cycles));
		rte_tel_data_add_dict_container(data, name, worker, 0);
	}
}

static void add_connections(struct cordon_switch *sw, struct rte_tel_data *data)
{
	const struct sinks_total log = sinks_total(log_thread_sinks(sw->log));

	rte_tel_data_add_dict_u64(data, "count", conn_count(sw->connections));
	rte_tel_data_add_dict_u64(data, "capacity", conn_capacity(sw->connections));
	rte_tel_data_add_dict_u64(data, "log_stored", log.delivered);
	rte_tel_data_add_dict_u64(data, "log_lost", log.lost);
}

/* Answers with what `add` puts into the dictionary; with an empty one if the switch is ending. */
static int answer(
	struct rte_tel_data *data, void (*add)(struct cordon_switch *, struct rte_tel_data *))
{
	struct cordon_switch *sw = enter();

	rte_tel_data_start_dict(data);
	if (sw != NULL)
		add(sw, data);
	leave();
	return 0;
}

static int drops(const char *command, const char *parameters, struct rte_tel_data *data)
{
	(void)command;
	(void)parameters;
	return answer(data, add_drops);
}

static int workers(const char *command, const char *parameters, struct rte_tel_data *data)
{
	(void)command;
	(void)parameters;
	return answer(data, add_workers);
}

static int connections(const char *command, const char *parameters, struct rte_tel_data *data)
{
	(void)command;
	(void)parameters;
	return answer(data, add_connections);
}

void telemetry_register(struct cordon_switch *sw)
{
	atomic_store(&telemetry_switch, sw);
	rte_telemetry_register_cmd("/cordon/drops", drops,
		"Packets dropped since the start, by reason. No parameters.");
	rte_telemetry_register_cmd("/cordon/workers", workers,
		"Packets, polls and cycles of each worker. No parameters.");
	rte_telemetry_register_cmd(
		"/cordon/connections", connections, "Connections and log records. No parameters.");
}

void telemetry_unregister(void)
{
	atomic_store(&telemetry_switch, NULL);
	ovsrcu_synchronize();
}
