/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: what the packet path and the sweep tell the log thread.  Each producer has a ring of its
 * own; nobody ever waits, and a full ring loses the event and counts it.
 */
#ifndef DATAPATH_EVENT_H
#define DATAPATH_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "datapath/conn_key.h"
#include "datapath/drop.h"
#include "log/record.h"

struct cordon_switch;
struct log_cap;
struct packet_context;
struct rte_ring;
struct verdict;

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
	uint8_t kind, verdict, reason_is_end,
		reason; /* enum log_kind, zone_action, drop/end reason. */
	uint8_t icmp_type, icmp_code, tcp_flags;
	uint8_t source_mac[6], destination_mac[6];
	bool is_related; /* Announced by another connection: zones are not all that allows it. */
	uint64_t packets[2], bytes[2];
} __attribute__((aligned(32)));

/* Why a connection ended. */
#define END_REASONS(X)                                                                             \
	X(END_TIMEOUT, "timeout")	    /* Idle for its state's time-out. */                   \
	X(END_FIN, "fin")		    /* Both sides closed. */                               \
	X(END_RESET, "reset")		    /* One side reset it. */                               \
	X(END_UNANSWERED, "unanswered")	    /* Never a reply. */                                   \
	X(END_REUSED, "reused")		    /* A new connection took its addresses and ports. */   \
	X(END_POLICY, "policy")		    /* A new revision denies it. */                        \
	X(END_FLUSHED, "flushed")	    /* An operator ended it. */                            \
	X(END_PORT_REMOVED, "port-removed") /* One of its ports is gone. */

#define X(enumerator, name) enumerator,
enum end_reason { END_REASONS(X) END_N_REASONS };
#undef X

/* How a connection began, if not by its first packet. */
enum start_reason { START_FIRST_PACKET, START_PICKUP };

/* The ring from one producer to the log thread. */
struct log_ring {
	struct rte_ring *ring; /* Elements are struct log_event. */
	_Atomic uint64_t lost; /* The producer counts, the log thread reads. */
	/* In the log's account: all events, lost ones too.  NULL until the log thread starts. */
	_Atomic(_Atomic uint64_t *) produced;
};

/* A producer of events and its cap, at one moment. */
struct event_source {
	struct log_ring *ring;
	struct log_cap *cap;
	uint32_t *cap_revision; /* The policy revision of what the cap holds back. */
	uint64_t now_ns, clock_ns;
};

/* Events never block and never wait: a full ring loses the event and counts it. */
void event_connection(struct log_ring *ring, struct cordon_switch *sw, uint32_t conn,
	enum log_kind kind, unsigned int reason, uint64_t now_ns);

/* `reason` is an enum drop_reason, of a start an enum start_reason.  Records are capped by rule and
 * source; those of spoofing by port and reason; those of limits by rule, reason and both ports,
 * since a flood comes from any number of sources. */
void event_packet(struct packet_context *context, enum log_kind kind, unsigned int reason,
	const struct verdict *verdict, uint16_t out_port);

/* A live connection that the simulated `rule` would refuse by `reason`.  Capped likewise, and what
 * is held back is told with that rule as the event's. */
void event_would_deny(const struct event_source *from, struct cordon_switch *sw, uint32_t conn,
	uint32_t rule, enum drop_reason reason);

/* The same of a frame that is of no connection. */
void event_packet_would_deny(struct packet_context *context, uint32_t rule, enum drop_reason reason,
	const struct verdict *verdict, uint16_t out_port);

/* Writes records for denials that were held back and followed by no more. */
void event_overdue(const struct event_source *from);

/* The same for all that is held back, when the producer ends. */
void event_held_back(const struct event_source *from);

int log_ring_open(struct log_ring *ring, const char *name, unsigned int size);
void log_ring_close(struct log_ring *ring);

#endif
