/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The umbrella header of cordon-switchd: the one context struct, and the prototypes of its files in
 * the order in which a packet meets them.
 *
 *      worker.c   rx -> parse -> lookup -> [hit] -> actions -> tx           every packet
 *      miss.c     spoof -> fragments -> ICMP errors -> forward -> decide    first packets
 *      sweep.c    time-outs, ageing, end records                            every second
 *      log_thread.c, config.c, status.c, control.c, telemetry.c, main.c     the control plane
 *
 * Threads
 *      main       owns the configuration: reads the database, opens and closes ports, swaps
 *                 snapshots, answers commands
 *      workers    poll ports; read the configuration under RCU (ovs-rcu), write only their own
 *                 struct and what the headers of conn, mac_table and port let them
 *      sweep      ends connections, ages MACs
 *      log        takes events from all rings and writes them to the sinks
 */
#ifndef DATAPATH_SWITCH_H
#define DATAPATH_SWITCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "datapath/conn.h"
#include "datapath/drop.h"
#include "datapath/mac_table.h"
#include "datapath/offload.h"
#include "datapath/packet.h"
#include "datapath/port.h"
#include "datapath/program.h"
#include "zones/endpoint_map.h"
#include "zones/log_record.h"
#include "zones/zone.h"

enum { WORKERS_MAX = 64 };

/* What happened, as a worker or the sweep tells it to the log thread: numbers only, no names.  One
 * ring element. */
struct log_event {
	uint64_t time_ns, start_ns;
	struct conn_key key; /* Of the connection's first packet. */
	uint32_t rule, policy_revision;
	uint32_t suppressed;
	uint16_t out_port;
	uint16_t source_zone, destination_zone;
	uint16_t ethertype;
	uint8_t kind, verdict, reason_is_end, reason; /* enum log_kind, zone_action, drop/end reason. */
	uint8_t icmp_type, icmp_code, tcp_flags;
	uint8_t source_mac[6], destination_mac[6];
	uint64_t packets[2], bytes[2];
};

/* Why a connection ended. */
#define END_REASONS(X)                                                                             \
	X(END_TIMEOUT, "timeout")           /* Idle for its state's time-out. */                   \
	X(END_FIN, "fin")                   /* Both sides closed. */                               \
	X(END_RESET, "reset")               /* One side reset it. */                               \
	X(END_UNANSWERED, "unanswered")     /* Never a reply. */                                   \
	X(END_REUSED, "reused")             /* A new connection took its addresses and ports. */   \
	X(END_POLICY, "policy")             /* A new revision denies it. */                        \
	X(END_FLUSHED, "flushed")           /* An operator ended it. */                            \
	X(END_PORT_REMOVED, "port-removed") /* One of its ports is gone. */

#define X(enumerator, name) enumerator,
enum end_reason { END_REASONS(X) END_N_REASONS };
#undef X

/* Seconds without a packet until a connection ends, by state. */
struct timeouts {
	uint32_t tcp[TCP_N_STATES];
	uint32_t udp_unanswered, udp, icmp, other, denied;
};

/* The ring from one producer to the log thread. */
struct log_ring {
	struct rte_ring *ring; /* Elements are struct log_event. */
	_Atomic uint64_t lost; /* The producer counts, the log thread reads. */
};

/* A receive queue in a worker's poll list. */
struct poll_entry {
	struct port *port;
	uint16_t queue;
};

/* What a worker polls: an immutable snapshot. */
struct poll_list {
	size_t n;
	struct poll_entry at[];
};

struct worker;

/* The configuration as the packet path sees it.  One per process. */
struct cordon_switch {
	/* Immutable after start. */
	struct conn_table *connections;
	struct program_table *programs;
	struct mac_table *macs;
	struct port_environment environment;
	struct worker *workers[WORKERS_MAX];
	unsigned int n_workers;
	struct log_ring sweep_events;

	/* RCU: the main thread writes. */
	_Atomic(struct port *) ports[PORTS_MAX];
	_Atomic(struct endpoint_map *) endpoints; /* Holds the policy in force. */
	_Atomic(struct timeouts *) timeouts;

	/* Flows made under another number go through the miss path.  forwarding_revision: the main
	 * thread and workers that see a MAC move; policy_epoch: the main thread. */
	_Atomic uint32_t forwarding_revision, policy_epoch;
};
