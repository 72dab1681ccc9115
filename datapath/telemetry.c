/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch's counters in DPDK's telemetry (dpdk-telemetry.py), beside DPDK's own.  Called by its
 * thread, which reads atomics only; ports are read under RCU.
 */
#include <config.h>

#include "datapath/control.h"

#include <string.h>

#include <rte_telemetry.h>

#include "ovs-rcu.h"

/* DPDK's callbacks have no context: they are given the switch through this, which main sets once
 * before the callbacks exist. */
static struct cordon_switch *telemetry_switch;

static int drops(const char *command, const char *parameters, struct rte_tel_data *data)
{
	uint64_t counts[DROP_N_REASONS];

	(void)command;
	(void)parameters;
	rte_tel_data_start_dict(data);
	ovsrcu_quiesce_end();
	control_sum_drops(telemetry_switch, counts);
	ovsrcu_quiesce_start();
	for (unsigned int r = DROP_NONE + 1; r < DROP_N_REASONS; r++)
		rte_tel_data_add_dict_u64(data, drop_name(r), counts[r]);
	return 0;
}

static int workers(const char *command, const char *parameters, struct rte_tel_data *data)
{
	(void)command;
	(void)parameters;
	rte_tel_data_start_dict(data);
	for (unsigned int i = 0; i < telemetry_switch->n_workers; i++) {
		const struct worker_stats *stats = &telemetry_switch->workers[i]->stats;
		struct rte_tel_data *worker = rte_tel_data_alloc();
		char name[16];

		if (worker == NULL)
			return -1;
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
	return 0;
}

static int connections(const char *command, const char *parameters, struct rte_tel_data *data)
{
	struct log_thread_stats log;

	(void)command;
	(void)parameters;
	log_thread_stats(telemetry_switch->log, &log);
	rte_tel_data_start_dict(data);
	rte_tel_data_add_dict_u64(data, "count", conn_count(telemetry_switch->connections));
	rte_tel_data_add_dict_u64(data, "capacity", conn_capacity(telemetry_switch->connections));
	rte_tel_data_add_dict_u64(data, "log_stored", log.stored);
	rte_tel_data_add_dict_u64(data, "log_lost", log.lost);
	return 0;
}

void telemetry_register(struct cordon_switch *sw)
{
	telemetry_switch = sw;
	rte_telemetry_register_cmd("/cordon/drops", drops,
		"Packets dropped since the start, by reason. No parameters.");
	rte_telemetry_register_cmd("/cordon/workers", workers,
		"Packets, polls and cycles of each worker. No parameters.");
	rte_telemetry_register_cmd(
		"/cordon/connections", connections, "Connections and log records. No parameters.");
}
