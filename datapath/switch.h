/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The umbrella header of cordon-switchd: the one context struct, and the prototypes of its files in
 * the order in which a packet meets them.
 *
 *      worker.c   rx -> parse -> lookup -> [hit] -> actions -> tx           every packet
 *      miss.c     spoof -> ICMP errors -> forward -> decide                 first packets
 *      sweep.c    time-outs, ageing, end records                            every second
 *      log_thread.c, telemetry.c, main.c, and config.h                      the control plane
 *
 * Threads
 *      main       owns the configuration: reads the database, opens and closes ports, swaps
 *                 snapshots, answers commands
 *      workers    poll ports; read the configuration under RCU (ovs-rcu), write only their own
 *                 struct and what the headers of conn, mac_table and port let them
 *      sweep      ends connections, ages MACs
 *      log        takes events from all rings, makes records of them for the sinks
 *      sinks      bring records to their place, one each
 */
#ifndef DATAPATH_SWITCH_H
#define DATAPATH_SWITCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <rte_ring.h>

#include "datapath/conn.h"
#include "datapath/drop.h"
#include "datapath/event.h"
#include "datapath/limits.h"
#include "datapath/mac_table.h"
#include "datapath/offload.h"
#include "datapath/packet.h"
#include "datapath/port.h"
#include "datapath/program.h"
#include "datapath/rule_hits.h"
#include "zones/endpoint_map.h"
#include "log/record.h"
#include "sinks/sinks.h"
#include "zones/zone.h"

enum { WORKERS_MAX = 64, POLICIES_KEPT = 64 };

/* Of an event: which zone it was is not known.  Of a connection or a packet it always is. */
enum { ZONE_UNKNOWN = UINT16_MAX };

/* Seconds without a packet until a connection ends, by state. */
struct timeouts {
	uint32_t tcp[TCP_N_STATES];
	uint32_t udp_unanswered, udp, icmp, other, denied;
};

struct switch_options;
struct expectation;
struct expectation_table;

/* A receive queue in a worker's poll list. */
struct poll_entry {
	struct port *port;
	uint16_t queue;
	int64_t credit; /* Cycles that it may still use in this poll round.  The worker's. */
};

/* What a worker polls: a snapshot, of which only the worker changes something. */
struct poll_list {
	size_t n;
	struct poll_entry at[];
};

/* What the log says of a port, from `since` on: immutable but for `former`, which the main thread
 * cuts off when no event of that time is left. */
struct port_identity {
	char name[PORT_NAME_MAX];
	char *vm_id, *vm_name, *tags;
	uint64_t since_ns;	/* Wall clock. */
	long long int since_ms; /* time_msec(). */
	_Atomic(struct port_identity *) former;
};

/* The connections of one port number, how many there are and, QUOTA_HALF_OPEN each, how many are
 * half-open: in one word, so that both are counted at once.  Any worker and the sweep, relaxed.
 * Kept by number, since connections outlive ports and processes. */
#define QUOTA_CONNECTION UINT64_C(1)
#define QUOTA_HALF_OPEN	 (UINT64_C(1) << 32)
struct port_quota {
	_Atomic uint64_t opened;  /* By the port. */
	_Atomic uint64_t inbound; /* To the port, by uplinks. */
	/* Token buckets; see storm.h. */
	_Atomic uint64_t opened_rate, inbound_rate; /* Of new connections. */
	_Atomic uint64_t mac_moves;		    /* Bounds the MACs that move to the port. */
} __attribute__((aligned(64)));

/* The configuration as the packet path sees it.  One per process. */
struct cordon_switch {
	/* Immutable after start. */
	const struct switch_options *options;
	struct conn_table *connections;
	struct conn_open_report connections_opened;
	struct program_table *programs;
	struct mac_table *macs;
	struct expectation_table *expectations;
	struct limits *limits;
	struct rule_hits *hits;
	struct rule_hits_report hits_opened;
	struct port_environment environment;
	struct worker *workers[WORKERS_MAX];
	unsigned int n_workers;
	struct log_ring sweep_events;
	struct log_thread *log;
	struct hits_keeper *hits_keeper;
	struct sweep *sweep;
	struct captures *captures; /* Main thread only. */
	uint64_t started_ns;	   /* Wall clock. */

	/* RCU: the main thread writes. */
	_Atomic(struct port *) ports[PORTS_MAX];
	_Atomic(struct port_identity *) identities[PORTS_MAX];
	_Atomic(struct endpoint_map *) endpoints; /* Holds the policy in force. */
	_Atomic(struct timeouts *) timeouts;
	/* The policies of past revisions, the one in force first, to name rules by: policies.c. */
	_Atomic(struct zone_policy *) policies[POLICIES_KEPT];

	/* Flows made under another number go through the miss path.  forwarding_revision: the main
	 * thread and workers that see a MAC move; policy_epoch: the main thread. */
	_Atomic uint32_t forwarding_revision, policy_epoch;
	_Atomic bool captured; /* Some port is: see capture.h.  Main thread. */

	struct port_quota quotas[PORTS_MAX];
	_Atomic uint16_t ports_end;	     /* One past the highest port number in use. */
	_Atomic uint32_t mac_age_seconds;    /* Main thread. */
	_Atomic uint32_t log_update_seconds; /* Likewise; 0: no update records. */
	_Atomic uint64_t closed_drops[DROP_N_REASONS]; /* Of ports that are gone; main thread. */
	struct port_queue_stats closed_stats;	       /* Likewise, and read by it only. */
	_Atomic bool quit;			       /* The main loop ends... */
	_Atomic bool stop;			       /* ...and then all threads. */
};

static inline struct port *switch_port(const struct cordon_switch *sw, uint16_t number)
{
	return number < PORTS_MAX ? atomic_load_explicit(&sw->ports[number], memory_order_acquire)
				  : NULL;
}

/* What was decided, and by what. */
struct verdict {
	uint8_t action, log; /* enum zone_action, enum zone_log. */
	bool quarantined;
	uint32_t rule, policy_revision;
	uint16_t source_zone, destination_zone;
	uint8_t helper; /* enum zone_helper, of a control connection. */
	/* Of a connection that a control connection has announced: see related.c. */
	bool is_related, server_opens;
	uint16_t control_port;
	/* The limits that it falls under (limits.h), and those of them that are held for it. */
	uint16_t limits;
	uint8_t n_limited;
	struct limit_pair limited[2];
};

/* --- worker.c: the packet path -------------------------------------------------------------- */

/* Frames on their way out by one port. */
struct tx_batch {
	uint16_t n;
	struct rte_mbuf *frames[BURST_MAX];
};

/* A guest may have to be told of what was done at its port. */
struct notice {
	struct port *port;
	uint16_t queue; /* PORT_RECEIVED's. */
	enum port_work work;
};

enum { NOTICES_MAX = 64 };

/* Written by the worker, read by anyone, relaxed. */
struct worker_stats {
	_Atomic uint64_t polls, packets, busy_cycles, total_cycles, misses, sleeps;
	/* Frames that the switch made itself: copies for all outputs of a frame but one, whether or
	 * not there was a buffer for them, and answers to rejected packets. */
	_Atomic uint64_t copied, answered;
	_Atomic uint64_t held; /* Fragments that wait for the rest of their datagrams, now. */
	_Atomic bool asleep;   /* Nothing came for a while: it polls now and then. */
};

/* Where a frame with these MACs goes, as the last one did, and the programs for it and its answer.
 * Good for the second and the revision that it was found in: a MAC is then known where it was, and
 * no program that is named here has been retired. */
struct forward_entry {
	uint8_t macs[12]; /* As a frame begins. */
	uint32_t net;
	uint32_t revision; /* forwarding_revision; 0: free. */
	uint32_t second;   /* conn_clock(). */
	uint16_t in_port, out_port;
	uint32_t program;
	uint32_t reverse; /* For what comes by out_port with the MACs exchanged; or PROGRAM_NONE:
			   * it must be judged by itself. */
} __attribute__((aligned(64)));

enum { FORWARD_ENTRIES = 256 };

struct injection;
struct reassembly;
struct capture_tap;
struct captures;

/* What a worker does besides polling, looked at once a poll round.  The main thread sets and clears
 * them. */
enum errand {
	ERRAND_INJECTION = 1 << 0, /* There may be a frame in `injection`. */
	ERRAND_CAPTURED = 1 << 1,  /* There are queues in `captured`. */
};

/* The frames of a datagram in fragments that go where its first one goes: reassembly.h has them. */
struct followers {
	uint16_t n; /* 0 for any other packet. */
	uint32_t bytes;
};

struct worker {
	/* Immutable after start. */
	struct cordon_switch *sw;
	unsigned int id;
	int cpu; /* -1: not pinned. */
	pthread_t thread;
	struct log_ring events;
	uint64_t cycles_per_us;

	_Atomic(struct poll_list *) polls; /* RCU: the main thread writes. */
	_Atomic uint32_t errands;	   /* enum errand: what else is to be done in each round. */

	/* The worker's own. */
	struct log_cap *log_cap;
	struct reassembly *reassembly;
	struct conn_cache conn_cache;
	struct limit_cache *limit_cache;
	struct forward_entry forwarded[FORWARD_ENTRIES];
	uint64_t now_ns;	    /* Wall clock, read once a burst. */
	uint64_t clock_ns;	    /* Since boot, never going back; likewise. */
	uint32_t now;		    /* The same in seconds: conn_clock(). */
	_Atomic uint64_t *drops;    /* Of the queue being served: indexed by enum drop_reason. */
	struct followers followers; /* Of the packet that is being switched. */
	uint32_t cap_revision; /* The policy revision of the denials that log_cap holds back. */
	_Atomic uint64_t reject_bucket; /* Bounds the answers to rejected packets. */
	uint16_t n_notices;		/* What port_notify() is owed for in this poll round. */
	struct notice notices[NOTICES_MAX];
	uint16_t n_pending; /* Ports with frames in their batch. */
	uint16_t pending[PORTS_MAX];
	struct tx_batch tx[PORTS_MAX];

	/* Written by the worker, read by anyone. */
	uint64_t output_drops[DROP_N_REASONS]; /* By port_tx(), whatever port they came from. */
	struct worker_stats stats;

	/* Errands. */
	_Atomic(struct injection *) injection; /* The main thread fills it, the worker empties it:
						* inject.h. */
	_Atomic(struct poll_list *) captured;  /* Queues of captured ports, which are not among the
						* polls: capture.h.  RCU, as they are. */
	struct capture_tap *tap; /* The captured frame under way, or NULL.  Its own. */
	unsigned int thread_id;	 /* ovsthread_id_self(); immutable once it polls. */
};

/* The moment of the burst that the worker is at. */
static inline struct rule_hits_time worker_time(const struct worker *worker)
{
	return (struct rule_hits_time){.wall_ns = worker->now_ns, .seconds = worker->now};
}

/* Makes worker `id`, pinned to `cpu` (-1: not), and starts its thread.  NULL without memory. */
struct worker *worker_start(struct cordon_switch *sw, unsigned int id, int cpu);

/* Sets the worker's clocks to this moment. */
void worker_read_clocks(struct worker *worker);

/* What the packet path makes of a frame that came in by `in`, but for what only another fragment
 * says: *packet, or why it is dropped.  May take a tag out of the frame.  Any thread, under RCU. */
enum drop_reason worker_parse(const struct port *in, const struct port_settings *settings,
	struct rte_mbuf *frame, struct packet *packet);

/* Would the port's rate limit let such a frame in now?  Nothing is taken.  Any thread. */
bool worker_would_admit(const struct port *in, const struct port_settings *settings,
	uint32_t frame_bytes, uint64_t clock_ns);

/* Takes frames that `in` has received to the batches of their output ports, under RCU.  The worker,
 * with worker->drops those of the frames' queue. */
void worker_switch(
	struct worker *worker, struct port *in, struct rte_mbuf **frames, uint16_t n_received);

/* True if the queue is on one of the worker's poll lists.  Under RCU; any thread. */
bool worker_polls(const struct worker *worker, const struct port *port, uint16_t queue);

/* Waits for the thread to end, once sw->stop is set.  Its ring may still hold events. */
void worker_join(struct worker *worker);
void worker_destroy(struct worker *worker);

/* Lets the workers go before the calling thread: it keeps off the CPUs that they are pinned to, if
 * it may use others, and is nicer than they are where it must share one. */
void worker_give_way(const struct cordon_switch *sw);

/* Notes that port_notify() is owed.  The worker. */
void worker_note(struct worker *worker, struct port *port, uint16_t queue, enum port_work work);

/* --- actions.c ----------------------------------------------------------------------------------
 */

/* Carries the actions out on `frame`, and on its followers, which are consumed.  The worker. */
void actions_run(
	struct worker *worker, const struct action *actions, size_t n, struct rte_mbuf *frame);

/* Puts a frame into the batch of port `number`, sending the batch first if it is full. */
void output_add(struct worker *worker, uint16_t number, struct rte_mbuf *frame);

/* Sends the batch of port `number`, which stays among those that are pending. */
void output_send(struct worker *worker, uint16_t number);

/* Sends all batches. */
void output_flush(struct worker *worker);

/* Counts `frame`, and its followers, under `reason` for the queue being served, and frees it. */
void packet_drop(struct worker *worker, struct rte_mbuf *frame, enum drop_reason reason);

/* --- miss.c: what the connection table does not answer ------------------------------------------
 */

/* The numbers under which forwarding and policy are read.  They are read before what they stand
 * for, so that what is cached under them never knows less than they say. */
struct revisions {
	uint32_t forwarding, policy;
};

/* True if what is cached in the flow is what would be found now. */
static inline bool flow_is_current(const struct flow *flow, const struct revisions *now)
{
	return atomic_load_explicit(&flow->forwarding_revision, memory_order_relaxed) ==
		       now->forwarding &&
	       atomic_load_explicit(&flow->policy_epoch, memory_order_relaxed) == now->policy;
}

/* What was found out ahead about the answer to a packet without a flow. */
struct answer_hint {
	uint16_t in_port; /* By which it will come in; 0: not known. */
	uint32_t hash;	  /* Of its key, if it does. */
};

/* Everything about one packet on its way through the switch. */
struct packet_context {
	struct worker *worker;
	struct port *in;
	const struct port_settings *settings; /* Of `in`. */
	struct rte_mbuf *frame;
	const uint8_t *data; /* The frame's first segment. */
	struct packet *packet;
	const struct revisions *revisions; /* Read before `settings`. */
	struct answer_hint *hint;	   /* Filled by miss_prefetch(). */
};

/* The frames that the packet is in, and their bytes. */
static inline uint32_t context_frames(const struct packet_context *context)
{
	return 1 + context->worker->followers.n;
}

static inline uint32_t context_bytes(const struct packet_context *context)
{
	return rte_pktmbuf_pkt_len(context->frame) + context->worker->followers.bytes;
}

/* Handles a packet without a flow (CONN_FLOW_NONE) or with a stale one: decides, makes or renews
 * the connection, and carries its program out.  Consumes the frame.  The worker. */
void miss_handle(struct packet_context *context, uint32_t flow);

/* Called for the packets of a burst without a flow, ahead of miss_handle(): fetches memory that it
 * will look at, and fills the hint.  The worker. */
void miss_prefetch(struct packet_context *context);

/* --- connection.c: what packets do to their connection ------------------------------------------
 */

/* Steps the connection by a packet: TCP state and window, or the first answer of other protocols.
 * DROP_NONE: it may pass.  Sets *reopen, for the miss path, if it is a new SYN on a connection that
 * is over. */
enum drop_reason connection_step(const struct packet_context *context, struct conn *conn,
	unsigned int direction, bool *reopen);

/* Copies what connection_step() reads, so that the copy can be stepped instead: it counts nowhere,
 * and nobody else sees it. */
void connection_copy(const struct conn *conn, struct conn *copy);

/* May this packet begin a connection?  DROP_NONE or why not. */
enum drop_reason connection_may_open(const struct packet *packet);

/* True if the packet, which may not begin a connection for being out of state, may take one up in
 * mid-stream: a TCP segment that neither opens nor ends anything. */
bool connection_may_pick_up(const struct packet *packet);

/* Begins the connection of `flow`, which conn_alloc() gave and nobody else sees yet, by the packet
 * at hand, which it counts: the state is the packet's, the verdict is `verdict`, and it leaves by
 * port `out` (0: several).  Takes the verdict's limits over.  If the verdict is to be logged, the
 * flag says that it was.  The worker. */
void connection_open(
	struct packet_context *context, uint32_t flow, uint16_t out, const struct verdict *verdict);

/* The same for one that is in the table: begins it anew in its place.  Release it first.  Nothing
 * is said of the log.  The worker. */
void connection_reopen(
	struct packet_context *context, uint32_t flow, uint16_t out, const struct verdict *verdict);

/* Writes what the policy in force says of connection `number`, whole; what it has so far stays
 * counted for its former rule.  True for whoever is the first to judge it under a revision, or
 * between other zones. */
bool connection_set_verdict(struct cordon_switch *sw, uint32_t number,
	const struct verdict *verdict, struct rule_hits_time now);

/* Seconds without a packet after which the connection ends; shorter for states that are over when
 * the table fills up. */
uint32_t connection_timeout(const struct timeouts *timeouts, const struct conn_table *table,
	const struct conn *conn, uint8_t protocol);

extern const struct timeouts timeouts_default;

/* --- quota.c: what connections count in
 * -----------------------------------------------------------
 */

/* What a connection counts in, or a number of connections that count in the same. */
struct counted {
	uint16_t port;	 /* As conn.quota_port, without CONN_QUOTA_HALF_OPEN; 0: in no quota. */
	uint16_t uplink; /* By which it came in from outside, or 0. */
	uint16_t limits; /* The set of limits.h, or 0. */
	uint64_t quota;	 /* QUOTA_CONNECTION and QUOTA_HALF_OPEN, for each. */
	uint32_t in_limits, half_open_in_limits;
};

/* Takes what connection `number` counts in away from it, to be handed to quota_give_back().  Only
 * one caller gets it; later ones get nothing. */
struct counted quota_take(struct conn_table *table, uint32_t number);
void quota_give_back(struct cordon_switch *sw, const struct counted *counted);

/* Both at once.  Whoever ends the connection, or begins it anew. */
void quota_release(struct cordon_switch *sw, uint32_t number);

/* Counts connection `number`, which an uplink is about to open by the packet at hand, as half-open.
 * Returns what conn.quota_port is to say of it. */
uint16_t quota_count_inbound(const struct packet_context *context, uint32_t number, uint16_t out);

/* The same for any port. */
static inline uint16_t quota_count(
	const struct packet_context *context, uint32_t number, uint16_t out)
{
	if (unlikely(context->settings->role == PORT_UPLINK))
		return quota_count_inbound(context, number, out);
	atomic_fetch_add_explicit(&context->worker->sw->quotas[context->in->number].opened,
		QUOTA_CONNECTION + QUOTA_HALF_OPEN, memory_order_relaxed);
	return context->in->number | CONN_QUOTA_HALF_OPEN;
}

/* The same for one that is in the table, and begins anew.  Should another worker do so at the same
 * moment, it counts for the last of them. */
void quota_count_again(const struct packet_context *context, uint32_t number, uint16_t out);

/* What is half-open of it in the limits of zones and rules: see connection_limits.c. */
void connection_limits_confirm(struct cordon_switch *sw, struct conn *conn);

/* An inbound connection, which conn.quota_port was `port` of, is no longer half-open. */
void quota_confirm_inbound(struct cordon_switch *sw, struct conn *conn, uint16_t port);

/* The connection was answered, and has just got CONN_CONFIRMED: it is no longer half-open. */
static inline void quota_confirm(struct cordon_switch *sw, struct conn *conn)
{
	uint16_t port = atomic_fetch_and(&conn->quota_port, (uint16_t)~CONN_QUOTA_HALF_OPEN);

	if (unlikely(port & CONN_QUOTA_INBOUND && port & CONN_QUOTA_HALF_OPEN))
		quota_confirm_inbound(sw, conn, port);
	else if (likely(port & CONN_QUOTA_HALF_OPEN))
		atomic_fetch_sub_explicit(&sw->quotas[port % PORTS_MAX].opened, QUOTA_HALF_OPEN,
			memory_order_relaxed);
	if (unlikely(atomic_load(&conn->limits) != 0))
		connection_limits_confirm(sw, conn);
}

/* Counts the connections of an adopted table into the quotas.  Before any worker runs. */
void quota_adopt_all(struct cordon_switch *sw);

/* --- connection_limits.c: the limits of zones and rules ------------------------------------------
 */

/* A connection that exists was judged anew: it counts where the verdict says, and no longer where
 * it did.  Under RCU; any thread, with its own cache. */
void connection_limits_move(struct cordon_switch *sw, struct limit_cache *cache,
	const struct endpoint_map *endpoints, uint32_t number, const struct verdict *verdict);

/* True if connection_limits_move() has anything to do. */
static inline bool connection_limits_concern(const struct conn *conn, const struct verdict *verdict)
{
	return verdict->n_limited != 0 ||
	       atomic_load_explicit(&conn->limits, memory_order_relaxed) != 0;
}

/* The connection holds `set` from now on, which is held for it as a half-open one, and no longer
 * what it held before.  One that has ended holds nothing.  Any thread. */
void connection_limits_attach(struct cordon_switch *sw, uint32_t number, uint16_t set);

/* Counts the connections of a former process where the policy, which is theirs and has just come
 * into force, says.  Main thread, before any port is polled. */
void connection_limits_adopt(struct cordon_switch *sw, const struct endpoint_map *endpoints);

/* --- guard.c: the spoof guard at a port ------------------------------------------------------ */

/* Who owns the addresses of a packet; of one that is not IP, nobody. */
struct address_owners {
	struct endpoint_owner source, destination;
};

/* Looks them up, once for all that ask on the miss path.  Under RCU. */
static inline void guard_find_owners(const struct packet_context *context,
	const struct endpoint_map *endpoints, struct address_owners *owners)
{
	const struct conn_key *key = &context->packet->key;

	*owners = (struct address_owners){0};
	if (likely(key->kind != CONN_KEY_ETHERNET)) {
		owners->source = endpoint_map_lookup(endpoints, &key->source);
		owners->destination = endpoint_map_lookup(endpoints, &key->destination);
	}
}

/* DROP_NONE if the packet's port may send it: its MAC, its address, and what it claims in ARP or
 * neighbour discovery.  Else the drop reason.  Under RCU; the worker. */
enum drop_reason guard_check(const struct packet_context *context,
	const struct endpoint_map *endpoints, const struct address_owners *owners);

/* True if the guard will pass the answer, whenever it comes: from the address that this packet goes
 * to, and the MAC, which the program holds it to, by `out`. */
bool guard_passes_answer(const struct packet_context *context, const struct address_owners *owners,
	const struct port *out);

/* --- forward.c: which ports a frame leaves by ----------------------------------------------- */

/* Where a frame is to go, before the zones are asked. */
struct forwarding {
	bool flood;   /* Unknown or group destination: not to be cached. */
	bool learned; /* The source is known to be behind the input port. */
	uint16_t n_outputs;
	uint16_t outputs[PORTS_MAX];
};

/* The learning VLAN switch: learns the source, looks the destination up.  Returns DROP_NONE or why
 * the frame goes nowhere. */
enum drop_reason forward_normal(struct packet_context *context, struct forwarding *result);

/* What forward_normal() would say, with nothing learned and no token taken.  Any thread, under RCU.
 */
enum drop_reason forward_would(const struct packet_context *context, struct forwarding *result);

/* What this worker found for a frame like this one before, or NULL. */
const struct forward_entry *forward_find(const struct packet_context *context);

/* Keeps what was found: frames like this one leave by `out`, as `program` says.  Returns NULL if it
 * cannot be kept.  `learned` is struct forwarding's. */
const struct forward_entry *forward_keep(const struct packet_context *context,
	const struct port *out, const struct program *program, bool learned);

/* Appends the actions that send a frame of `vlan`, which came in tagged or not, out by `port`, and
 * keeps *tagged in step.  At most two. */
size_t forward_output_actions(
	const struct port *port, uint16_t vlan, bool *tagged, struct action actions[2]);

/* --- verdict.c: the zones' word on a connection --------------------------------------------- */

/* What is asked of the policy about a connection from `in` to `out` whose first packet has `key`:
 * all must be allowed.  Returns how many questions there are: none between two uplinks.  Under RCU;
 * any thread. */
size_t verdict_questions(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	struct zone_question questions[2]);

/* Decides a connection from `in` to `out` whose first packet has `key`: by the source's zone, and
 * again by the destination's where that is another pair.  Under RCU; any thread. */
void verdict_decide(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	struct verdict *verdict);

/* The same where it is known who owns the addresses. */
void verdict_decide_between(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	const struct address_owners *owners, struct verdict *verdict);

/* What the zones would say if the policies of `mode: simulate` were enforced.  False if there are
 * none of them, or if no zone is asked.  Under RCU; any thread. */
bool verdict_simulate(const struct endpoint_map *endpoints, const struct port *in,
	const struct port *out, const struct conn_key *key, uint8_t icmp_type, uint8_t icmp_code,
	struct zone_verdict *simulated);

/* The same by the zones of one question, for what has no ports any more. */
bool verdict_simulate_zones(const struct zone_policy *policy, const struct conn_key *key,
	uint8_t icmp_type, uint8_t icmp_code, uint16_t source_zone, uint16_t destination_zone,
	struct zone_verdict *simulated);

/* --- simulation.c: what simulated policies would refuse ------------------------------------- */

/* Notes in the log if simulated policies would refuse connection `number`, which is allowed and has
 * just been judged under a revision, or between its zones, for the first time.  Under RCU; workers
 * and the sweep. */
void simulation_note(struct cordon_switch *sw, const struct endpoint_map *endpoints,
	const struct event_source *from, uint32_t number);

/* The same for a frame to a group, which `verdict` lets go out by `out`.  True if there was
 * something to note.  Workers. */
bool simulation_note_frame(struct packet_context *context, const struct endpoint_map *endpoints,
	const struct verdict *verdict, const struct port *out);

/* --- related.c: connections that others announce -------------------------------------------- */

/* True if the connection was announced; *control says by what. */
bool related_of(const struct conn *conn, struct expectation *control);

/* The key by which its control connection is asked about, of which the client's port is not known.
 * `client` is the switch port that the client is behind. */
struct conn_key related_control_key(
	const struct conn_key *key, const struct expectation *control, uint16_t client);

/* True, with a new verdict, if the zones would allow its control connection with a helper.  For a
 * connection that they do not allow by itself.  Under RCU; any thread. */
bool related_allows(const struct endpoint_map *endpoints, const struct port *initiator,
	const struct port *responder, const struct conn_key *key, const struct expectation *control,
	struct verdict *verdict);

/* The policy's word on a connection that exists, announced or not: on the question of its first
 * packet, which went from `initiator` to `responder`.  Under RCU; any thread. */
void related_decide(const struct endpoint_map *endpoints, const struct port *initiator,
	const struct port *responder, struct conn_table *table, uint32_t number,
	struct verdict *verdict);

/* --- hits.c: rule hits of packets without a connection -------------------------------------- */

/* A denied packet, unless a connection that stands for the denial counts it. */
void hits_denied(const struct packet_context *context, const struct verdict *verdict);

/* A frame to a group, which makes no connection: allowed at some port, or denied at all. */
void hits_to_group(const struct packet_context *context, const struct verdict *verdict);

/* A connection that the policy allows, and that is refused by a limit or for want of room. */
void hits_refused(const struct packet_context *context, const struct verdict *verdict);

/* --- reject.c ------------------------------------------------------------------------------- */

/* Answers a rejected packet to its sender: RST, or ICMP administratively prohibited (RFC 1812,
 * 5.2.7.1; RFC 4443, 3.1).  Leaves the frame alone. */
void reject_answer(struct packet_context *context);

/* --- event.c (event.h): from the packet path to the log thread ------------------------------- */

static inline struct event_source worker_events(struct worker *worker)
{
	return (struct event_source){.ring = &worker->events,
		.cap = worker->log_cap,
		.cap_revision = &worker->cap_revision,
		.now_ns = worker->now_ns,
		.clock_ns = worker->clock_ns};
}

/* --- port_identity.c: who a port is ------------------------------------------------------------
 */

/* From now on the port of that number is what its settings say.  Main thread, as is
 * port_identities_forget(). */
void port_identity_set(struct cordon_switch *sw, uint16_t number, const char *name,
	const struct port_settings *settings);

/* Who had the number at that time; NULL if nobody ever had it.  Any thread, under RCU. */
const struct port_identity *port_identity_at(
	const struct cordon_switch *sw, uint16_t number, uint64_t time_ns);

/* Lets go of what ports were before; see log_thread_read_until(). */
void port_identities_forget(struct cordon_switch *sw, long long int read_until);

void port_identity_free(struct port_identity *identity); /* And all former.  Accepts NULL. */

/* --- sweep.c: time-outs and ageing ---------------------------------------------------------- */

struct sweep;
struct sweep *sweep_start(struct cordon_switch *sw);
void sweep_join(struct sweep *sweep); /* Accepts NULL. */

/* --- log_thread.c: events become records ----------------------------------------------------- */

/* Records wait until log_thread_sinks() were configured. */
struct log_thread *log_thread_start(struct cordon_switch *sw);
struct sinks *log_thread_sinks(struct log_thread *log);

/* A moment on time_msec(): all events from before it have their names.  Any thread. */
long long int log_thread_read_until(const struct log_thread *log);
/* Has the last record's number on the disk, as log/sequence.h says.  May wait for the disk.  The
 * keeper of the rule hits. */
void log_thread_keep_sequence(struct log_thread *log);
void log_thread_join(struct log_thread *log); /* Records what is in the rings, then ends. */

/* --- hits_keeper.c: the rule hits on the disk ------------------------------------------------ */

struct hits_keeper *hits_keeper_start(struct cordon_switch *sw);

/* Why they could not be written the last time: a negative errno; or 0.  Any thread. */
int hits_keeper_error(const struct hits_keeper *keeper);
void hits_keeper_join(struct hits_keeper *keeper); /* Writes them once more.  Accepts NULL. */

/* --- policies.c: policies of past revisions ------------------------------------------------- */

/* The compiled policy of a revision that connections name, or not long gone; else NULL.  Any
 * thread, under RCU. */
const struct zone_policy *policy_of_revision(const struct cordon_switch *sw, uint32_t revision);

/* --- telemetry.c ---------------------------------------------------------------------------- */

void telemetry_register(struct cordon_switch *sw);

/* Returns when no callback reads the switch any more, and none will.  Main thread. */
void telemetry_unregister(void);

/* --- options.c ------------------------------------------------------------------------------ */

struct switch_options {
	char *run_directory, *state_directory, *host, *database;
	bool huge_pages;
	unsigned int n_workers, n_cpus;
	int cpus[WORKERS_MAX]; /* cpus[i] of worker i; -1: not pinned. */
	uint32_t max_connections, buffers;
};

/* Reads the command line; ends the process with a message on a mistake. */
void options_parse(int argc, char *argv[], struct switch_options *options);
void options_free(struct switch_options *options); /* What it points to. */

#endif
