/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The miss path: what happens to a packet that the connection table does not answer, or answers
 * with a flow that was made under an older policy or forwarding.  It runs inline in the worker:
 *
 *      spoof guard -> checksum -> ICMP errors -> forward -> zones, per output -> connection ->
 * actions
 *
 * Every read of the configuration comes after the revisions are read, so that what is cached under
 * a revision never knows less than that revision.
 */
#include <config.h>

#include "datapath/miss.h"

#include <arpa/inet.h>
#include <string.h>

#include "datapath/capture.h"
#include "datapath/checksum.h"
#include "datapath/expectation.h"

/* --- finding the connection ------------------------------------------------------------------- */

/* Finds the key of the answer, which comes in where this packet goes. */
static void make_mirror(struct miss *miss, bool hinted)
{
	const struct packet_context *context = miss->context;
	uint16_t out = miss->forwarding.outputs[0];

	miss->mirror = conn_key_reverse(&context->packet->key, out);
	miss->mirror_hash = hinted && context->hint->in_port == out
				    ? context->hint->hash
				    : conn_hash(context->worker->sw->connections, &miss->mirror);
}

/* The flow, in either direction, that this packet belongs to though its own key was not found: the
 * reverse of a connection whose responder's port was not known, which then enters the table; or one
 * of an outside host that has moved from one uplink to another, which is looked up like this each
 * time.  Nobody else's packet is taken into a connection: a guest that names another's addresses
 * is judged for itself. */
static void find_by_mirror(const struct miss *miss, struct miss_found *found)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn_table *table = sw->connections;
	uint32_t other = conn_lookup(table, &miss->mirror, miss->mirror_hash);

	if (other == CONN_FLOW_NONE)
		return;
	struct conn *conn = conn_of_flow(table, other);
	if (atomic_load(&conn->verdict) != CONN_ALLOWED) {
		found->denial = other;
	} else if (!(other & 1) && !(atomic_load(&conn->flags) & CONN_REVERSE)) {
		found->flow = other ^ 1;
		found->enters = true;
	} else if (miss_is_uplink(context->in) &&
		   miss_is_uplink(switch_port(sw, conn_flow(table, other ^ 1)->key.in_port))) {
		found->flow = other ^ 1;
		found->owns_key = false;
	}
}

/* A denial that waits for the sweep. */
static bool is_given_up(const struct conn_table *table, uint32_t flow)
{
	const struct conn *conn = conn_of_flow(table, flow);

	return atomic_load(&conn->verdict) != CONN_ALLOWED &&
	       atomic_load(&conn->flags) & CONN_CLOSE_NOW;
}

/* A destination whose MAC has been forgotten, in a connection that remembers its port: the frame
 * need not flood. */
static void narrow_flood(struct miss *miss, uint32_t flow)
{
	uint16_t port = miss_far_port(miss->context->worker->sw->connections, flow);

	for (uint16_t i = 0; i < miss->forwarding.n_outputs; i++) {
		if (port != 0 && miss->forwarding.outputs[i] == port) {
			miss->forwarding.outputs[0] = port;
			miss->forwarding.n_outputs = 1;
			return;
		}
	}
}

/* --- connections ------------------------------------------------------------------------------ */

/* The answer's flow gets its program together with the connection if all that the miss path would
 * ask of it is known: the guard passes it, its source is where this frame goes, its destination is
 * where it came from, and what it is cannot be signalling.  Else it takes the miss path itself. */
static void prepare_answer(const struct miss *miss, uint32_t flow, const struct port *out,
	const struct verdict *verdict)
{
	const struct packet_context *context = miss->context;
	uint8_t protocol = context->packet->protocol;

	if (miss->known == NULL || miss->known->reverse == PROGRAM_NONE ||
		(protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP) ||
		!guard_passes_answer(context, &miss->owners, out))
		return;
	miss_set_program(miss, conn_flow(context->worker->sw->connections, flow ^ 1),
		miss->known->reverse, verdict);
}

/* Enters a new connection for the packet.  Returns its flow, or CONN_FLOW_NONE if the table has no
 * room.  If another worker was first, the flow is the other's, with *theirs set. */
static uint32_t enter(const struct miss *miss, struct verdict *verdict,
	const struct program *program, uint16_t out, bool *theirs)
{
	struct packet_context *context = miss->context;
	struct worker *worker = context->worker;
	struct conn_table *table = worker->sw->connections;
	const struct port *out_port = switch_port(worker->sw, out);
	bool known = out_port != NULL && verdict->action == ZONE_ALLOW;
	uint32_t mine = conn_alloc(table, &worker->conn_cache, &context->packet->key,
		context->packet->hash, known ? &miss->mirror : NULL, miss->mirror_hash);

	*theirs = false;
	if (mine == CONN_FLOW_NONE) {
		quota_give_up(miss, verdict);
		return mine;
	}
	connection_open(context, mine, out, verdict);
	if (program != NULL)
		miss_set_program(miss, conn_flow(table, mine), miss_intern(miss, program), verdict);
	if (known)
		prepare_answer(miss, mine, out_port, verdict);
	uint32_t published = conn_publish(table, &worker->conn_cache, mine);
	*theirs = published != mine && published != CONN_FLOW_NONE;
	if (published != mine)
		quota_release(worker->sw, mine / 2);
	return published;
}

/* Refuses the packet by name, for want of room, and says so in the log. */
static void refuse(const struct miss *miss, enum drop_reason reason, struct verdict *verdict)
{
	hits_refused(miss->context, verdict);
	verdict->action = ZONE_DENY;
	event_packet(miss->context, LOG_LIMIT, reason, verdict, miss->forwarding.outputs[0]);
	capture_refused(miss->context, miss->forwarding.outputs[0], reason, verdict);
	packet_drop(miss->context->worker, miss->context->frame, reason);
}

/* Logs, answers where the rule says so, and drops. */
static void deny(const struct miss *miss, const struct verdict *verdict)
{
	struct packet_context *context = miss->context;

	miss_log_denial(miss, verdict, miss->forwarding.outputs[0]);
	if (verdict->action == ZONE_REJECT)
		reject_answer(context);
	capture_refused(context, miss->forwarding.outputs[0], miss_denial_reason(verdict), verdict);
	packet_drop(context->worker, context->frame, miss_denial_reason(verdict));
}

/* True if the port that the frame would go to is captured: a denial is not cached then, so that
 * each denied frame is seen. */
static bool is_captured(const struct miss *miss)
{
	const struct cordon_switch *sw = miss->context->worker->sw;

	return capture_is_on(sw) && capture_watches(sw, miss->forwarding.outputs[0]);
}

/* A first packet that is denied.  A rejected one is answered each time, so it is not cached. */
static void deny_new(const struct miss *miss, struct verdict *verdict)
{
	uint32_t flow = CONN_FLOW_NONE;
	struct program program;
	bool theirs = false;

	if (verdict->action != ZONE_REJECT && quota_may_cache_denial(miss) && !is_captured(miss)) {
		miss_build_drop(miss, miss_denial_reason(verdict), &program);
		flow = enter(miss, verdict, &program, miss->forwarding.outputs[0], &theirs);
	}
	if (flow == CONN_FLOW_NONE || theirs)
		hits_denied(miss->context, verdict);
	deny(miss, verdict);
}

static void note_simulation(const struct miss *miss, uint32_t flow)
{
	struct worker *worker = miss->context->worker;

	if (likely(!zone_policy_has_simulated(endpoint_map_policy(miss->endpoints))))
		return;
	const struct event_source from = worker_events(worker);
	simulation_note(worker->sw, miss->endpoints, &from, flow / 2);
}

/* Writes what the policy in force says of a connection that exists. */
static inline void set_verdict(
	const struct miss *miss, uint32_t flow, struct conn *conn, const struct verdict *verdict)
{
	struct worker *worker = miss->context->worker;

	if (connection_set_verdict(worker->sw, flow / 2, verdict, worker_time(worker)) &&
		verdict->action == ZONE_ALLOW)
		note_simulation(miss, flow);
	if (unlikely(connection_limits_concern(conn, verdict)))
		connection_limits_move(
			worker->sw, worker->limit_cache, miss->endpoints, flow / 2, verdict);
}

/* Ends an allowed connection that the policy in force denies. */
static void cut(const struct miss *miss, uint32_t flow, const struct verdict *verdict)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn *conn = conn_of_flow(sw->connections, flow);
	struct program program;

	set_verdict(miss, flow, conn, verdict);
	hits_denied(context, verdict);
	if (atomic_fetch_and(&conn->flags, (uint8_t) ~(CONN_LOGGED | CONN_TCP)) & CONN_LOGGED)
		event_connection(&context->worker->events, sw, flow / 2, LOG_END, END_POLICY,
			context->worker->now_ns);
	if (verdict->action != ZONE_REJECT && !miss->forwarding.flood && !is_captured(miss)) {
		miss_build_drop(miss, miss_denial_reason(verdict), &program);
		miss_cache_program(miss, flow, &program, verdict);
	}
	deny(miss, verdict);
}

static void log_start(
	const struct miss *miss, const struct verdict *verdict, enum start_reason reason)
{
	if (verdict->log < ZONE_LOG_SESSION)
		return;
	event_packet(miss->context, LOG_START, reason, verdict,
		miss->forwarding.flood ? 0 : miss->forwarding.outputs[0]);
}

/* Sends the packet of an allowed connection.  `program` is NULL for a flood. */
static void send_frame(const struct miss *miss, const struct program *program)
{
	struct packet_context *context = miss->context;

	if (program == NULL)
		miss_send_to_allowed(miss);
	else
		actions_run(context->worker, program->actions, program->n_actions, context->frame);
}

/* The same for a packet that its helper has to read first, if there is one. */
static void send_read(const struct miss *miss, uint32_t flow, const struct verdict *verdict,
	const struct program *program)
{
	enum drop_reason reason = DROP_NONE;

	if (unlikely(verdict->helper != ZONE_HELPER_NONE))
		reason = related_read(miss, flow, verdict);
	if (unlikely(reason != DROP_NONE))
		packet_drop(miss->context->worker, miss->context->frame, reason);
	else
		send_frame(miss, program);
}

static void renew(struct miss *miss, struct miss_found found, const struct program *program);

/* The first packet of a connection. */
static void begin(struct miss *miss, const struct program *program)
{
	struct packet_context *context = miss->context;
	uint16_t out = program != NULL ? miss->forwarding.outputs[0] : 0;
	struct verdict verdict = {.action = ZONE_DENY};
	bool theirs, picked_up = false;

	miss_decide_outputs(miss, &verdict);
	if (verdict.action != ZONE_ALLOW && !related_is_announced(miss, &verdict)) {
		deny_new(miss, &verdict);
		return;
	}
	enum drop_reason reason = connection_may_open(context->packet);
	if (unlikely(reason == DROP_TCP_OUT_OF_STATE))
		reason = miss_may_begin(miss, &verdict, &picked_up);
	if (reason != DROP_NONE) {
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	reason = quota_admit(miss, out, &verdict);
	if (reason != DROP_NONE) {
		refuse(miss, reason, &verdict);
		return;
	}
	uint32_t flow = enter(miss, &verdict, program, out, &theirs);
	if (flow == CONN_FLOW_NONE) {
		refuse(miss, DROP_TABLE_FULL, &verdict);
	} else if (theirs) {
		renew(miss, (struct miss_found){.flow = flow, .owns_key = true}, program);
	} else {
		log_start(miss, &verdict, picked_up ? START_PICKUP : START_FIRST_PACKET);
		note_simulation(miss, flow);
		if (verdict.is_related)
			related_began(miss);
		send_read(miss, flow, &verdict, program);
	}
}

static bool zone_picks_up(const struct zone_policy *policy, uint16_t zone)
{
	return zone < zone_count(policy) && zone_info(policy, zone).pickup;
}

static bool may_pick_up(const struct miss *miss, const struct verdict *verdict)
{
	const struct zone_policy *policy = endpoint_map_policy(miss->endpoints);

	return connection_may_pick_up(miss->context->packet) &&
	       (zone_picks_up(policy, verdict->source_zone) ||
		       zone_picks_up(policy, verdict->destination_zone));
}

enum drop_reason miss_may_begin(
	const struct miss *miss, const struct verdict *verdict, bool *picked_up)
{
	enum drop_reason reason = connection_may_open(miss->context->packet);

	*picked_up = unlikely(reason == DROP_TCP_OUT_OF_STATE) && may_pick_up(miss, verdict);
	return *picked_up ? DROP_NONE : reason;
}

enum drop_reason miss_may_begin_again(
	const struct miss *miss, uint32_t flow, const struct verdict *verdict, bool *picked_up)
{
	enum drop_reason reason = miss_may_begin(miss, verdict, picked_up);

	return reason == DROP_NONE && flow & 1 ? DROP_TCP_OUT_OF_STATE : reason;
}

/* Begins a connection anew in the place of one that is over, or that used to be denied.  Only its
 * initiator can; from the other side, the sweep is asked to make room. */
static void begin_again(struct miss *miss, struct miss_found found, enum end_reason why,
	struct verdict *verdict, const struct program *program)
{
	struct packet_context *context = miss->context;
	struct worker *worker = context->worker;
	struct conn_table *table = worker->sw->connections;
	struct conn *conn = conn_of_flow(table, found.flow);
	uint16_t out = program != NULL ? miss->forwarding.outputs[0] : 0;
	bool picked_up = false;
	enum drop_reason reason = miss_may_begin_again(miss, found.flow, verdict, &picked_up);

	if (reason != DROP_NONE) {
		atomic_fetch_or(&conn->flags, CONN_CLOSE_NOW);
		packet_drop(worker, context->frame, reason);
		return;
	}
	/* The old one is over, and must not stand in the new one's way. */
	quota_release(worker->sw, found.flow / 2);
	reason = quota_admit(miss, out, verdict);
	if (reason != DROP_NONE) {
		atomic_fetch_or(&conn->flags, CONN_CLOSE_NOW);
		refuse(miss, reason, verdict);
		return;
	}
	if (atomic_fetch_and(&conn->flags, (uint8_t)~CONN_LOGGED) & CONN_LOGGED)
		event_connection(
			&worker->events, worker->sw, found.flow / 2, LOG_END, why, worker->now_ns);
	connection_reopen(context, found.flow, out, verdict);
	if (!conn_is_live(table, found.flow / 2)) /* The sweep has just ended it. */
		quota_release(worker->sw, found.flow / 2);
	atomic_store(&conn_flow(table, found.flow ^ 1)->forwarding_revision, 0);
	if (out != 0 && !(atomic_load(&conn->flags) & CONN_REVERSE))
		conn_add_reverse(table, found.flow, out);
	atomic_store(&conn->out_port, out);
	if (program != NULL && found.owns_key)
		miss_cache_program(miss, found.flow, program, verdict);
	if (verdict->log >= ZONE_LOG_SESSION)
		atomic_fetch_or(&conn->flags, CONN_LOGGED);
	log_start(miss, verdict, picked_up ? START_PICKUP : START_FIRST_PACKET);
	note_simulation(miss, found.flow);
	if (verdict->is_related)
		related_began(miss);
	send_read(miss, found.flow, verdict, program);
}

void miss_decide_again(const struct miss *miss, uint32_t flow, struct verdict *verdict)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	const struct conn *conn = conn_of_flow(sw->connections, flow);
	const struct port *out = switch_port(sw, miss->forwarding.outputs[0]);
	struct expectation control;

	if (flow & 1) {
		if (out != NULL)
			related_decide(miss->endpoints, out, context->in, sw->connections, flow / 2,
				verdict);
		return;
	}
	miss_decide_outputs(miss, verdict);
	if (verdict->action != ZONE_ALLOW && out != NULL && related_of(conn, &control))
		related_allows(miss->endpoints, context->in, out,
			&conn_flow(sw->connections, flow)->key, &control, verdict);
}

static void count_packet(const struct miss *miss, uint32_t flow)
{
	struct conn_table *table = miss->context->worker->sw->connections;
	struct conn_direction *dir = &conn_of_flow(table, flow)->dir[flow & 1];

	atomic_fetch_add_explicit(
		&dir->packets, context_frames(miss->context), memory_order_relaxed);
	atomic_fetch_add_explicit(&dir->bytes, context_bytes(miss->context), memory_order_relaxed);
	atomic_store_explicit(&conn_flow(table, flow)->last_seen, miss->context->worker->now,
		memory_order_relaxed);
}

/* A connection that did not have to be logged so far, and now has: one from outside that began
 * before the vNIC was there, or one whose rule is another now. */
static void log_late_start(const struct miss *miss, uint32_t flow, const struct verdict *verdict)
{
	struct conn *conn = conn_of_flow(miss->context->worker->sw->connections, flow);

	if (flow & 1 || verdict->log < ZONE_LOG_SESSION ||
		atomic_fetch_or(&conn->flags, CONN_LOGGED) & CONN_LOGGED)
		return;
	log_start(miss, verdict, START_FIRST_PACKET);
}

/* A packet of a connection that exists: its flow is stale, or not its own. */
static void renew(struct miss *miss, struct miss_found found, const struct program *program)
{
	struct packet_context *context = miss->context;
	struct conn *conn = conn_of_flow(context->worker->sw->connections, found.flow);
	struct verdict verdict = {.action = ZONE_DENY};
	bool reopen = false;

	miss_decide_again(miss, found.flow, &verdict);
	if (verdict.action != ZONE_ALLOW) {
		if (found.owns_key) {
			cut(miss, found.flow, &verdict);
		} else {
			hits_denied(context, &verdict);
			deny(miss, &verdict);
		}
		return;
	}
	if (atomic_load(&conn->verdict) != CONN_ALLOWED) {
		begin_again(miss, found, END_POLICY, &verdict, program);
		return;
	}
	set_verdict(miss, found.flow, conn, &verdict);
	enum drop_reason reason = connection_step(context, conn, found.flow & 1, &reopen);
	if (reason != DROP_NONE) {
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	if (reopen) {
		begin_again(miss, found, END_REUSED, &verdict, program);
		return;
	}
	if (found.flow & 1)
		atomic_store(&conn->out_port, context->in->number);
	log_late_start(miss, found.flow, &verdict);
	count_packet(miss, found.flow);
	if (program != NULL && found.owns_key && !miss->forwarding.flood)
		miss_cache_program(miss, found.flow, program, &verdict);
	send_read(miss, found.flow, &verdict, program);
}

enum drop_reason miss_find(struct miss *miss, uint32_t flow, struct miss_found *found)
{
	const struct packet_context *context = miss->context;
	struct conn_table *table = context->worker->sw->connections;

	*found = (struct miss_found){.flow = flow, .denial = CONN_FLOW_NONE, .owns_key = true};
	if (flow == CONN_FLOW_NONE) /* A packet before it in the burst may have made one. */
		found->flow = conn_lookup(table, &context->packet->key, context->packet->hash);
	if (found->flow != CONN_FLOW_NONE && is_given_up(table, found->flow))
		found->flow = CONN_FLOW_NONE;
	if (found->flow == CONN_FLOW_NONE && !miss->forwarding.flood) {
		make_mirror(miss, flow == CONN_FLOW_NONE);
		find_by_mirror(miss, found);
	}
	if (found->flow != CONN_FLOW_NONE && miss->forwarding.flood)
		narrow_flood(miss, found->flow);

	bool single = miss->forwarding.n_outputs == 1;
	if (single && switch_port(context->worker->sw, miss->forwarding.outputs[0]) == NULL)
		return DROP_OUTPUT_MISSING;
	if (!single && found->flow != CONN_FLOW_NONE && found->flow & 1)
		return DROP_NO_OUTPUT; /* Nobody is left who asked for this answer. */
	return DROP_NONE;
}

/* Makes what was found so. */
static void settle(const struct miss *miss, struct miss_found *found)
{
	struct conn_table *table = miss->context->worker->sw->connections;

	if (found->enters)
		found->owns_key =
			conn_add_reverse(table, found->flow ^ 1, miss->context->in->number);
	if (found->denial == CONN_FLOW_NONE)
		return;
	/* A denial of the other direction must not stand in this one's way: the sweep takes it
	 * away, and until then its flow misses and is_given_up() passes it over. */
	atomic_fetch_or(&conn_of_flow(table, found->denial)->flags, CONN_CLOSE_NOW);
	atomic_store(&conn_flow(table, found->denial)->forwarding_revision, 0);
}

static void handle_connection(struct miss *miss, uint32_t flow)
{
	struct packet_context *context = miss->context;
	const struct program *program = NULL;
	struct miss_found found;
	enum drop_reason reason = miss_find(miss, flow, &found);

	if (reason != DROP_NONE) {
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	settle(miss, &found);
	if (miss->forwarding.n_outputs == 1)
		program = miss_choose_program(
			miss, switch_port(context->worker->sw, miss->forwarding.outputs[0]));
	if (found.flow == CONN_FLOW_NONE)
		begin(miss, miss->forwarding.flood ? NULL : program);
	else
		renew(miss, found, program);
}

/* --- the path --------------------------------------------------------------------------------- */

/* True if the checksum decides whether the packet is believed: it may begin something, or it is
 * ICMP.  Frames to groups begin nothing. */
static bool is_to_be_verified(const struct packet_context *context, uint32_t flow)
{
	const struct conn_table *table = context->worker->sw->connections;

	if (context->packet->flags & PACKET_GROUP)
		return context->packet->protocol == IPPROTO_ICMPV6;
	return flow == CONN_FLOW_NONE || atomic_load_explicit(&conn_of_flow(table, flow)->verdict,
						 memory_order_relaxed) != CONN_ALLOWED;
}

enum drop_reason miss_verify(const struct packet_context *context, uint32_t flow)
{
	return is_to_be_verified(context, flow) ? checksum_verify(context->frame, context->packet)
						: DROP_NONE;
}

void miss_handle(struct packet_context *context, uint32_t flow)
{
	struct cordon_switch *sw = context->worker->sw;
	struct miss miss; /* Not cleared: the outputs are many, and forward_normal() counts them. */

	miss.context = context;
	miss.endpoints = atomic_load_explicit(&sw->endpoints, memory_order_acquire);
	miss.known = forward_find(context);
	guard_find_owners(context, miss.endpoints, &miss.owners);
	enum drop_reason reason = guard_check(context, miss.endpoints, &miss.owners);
	if (reason != DROP_NONE) {
		event_packet(context, LOG_SPOOFED, reason, NULL, 0);
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	reason = miss_verify(context, flow);
	if (reason != DROP_NONE) {
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	if (miss.known != NULL) {
		miss.forwarding.flood = false;
		miss.forwarding.n_outputs = 1;
		miss.forwarding.outputs[0] = miss.known->out_port;
	} else {
		reason = forward_normal(context, &miss.forwarding);
		if (reason != DROP_NONE) {
			packet_drop(context->worker, context->frame, reason);
			return;
		}
	}
	miss.signalling = signalling_of(&miss);
	if (context->packet->flags & PACKET_ICMP_ERROR)
		icmp_error_handle(&miss);
	else if (context->packet->flags & PACKET_GROUP || miss.signalling != SIGNALLING_NONE)
		miss_send_to_allowed(&miss);
	else
		handle_connection(&miss, flow);
}

void miss_prefetch(struct packet_context *context)
{
	const struct conn_table *table = context->worker->sw->connections;
	const struct forward_entry *known = forward_find(context);

	context->hint->in_port = 0;
	if (known == NULL)
		return;
	const struct conn_key mirror = conn_key_reverse(&context->packet->key, known->out_port);

	context->hint->in_port = known->out_port;
	context->hint->hash = conn_hash(table, &mirror);
	conn_prefetch_bucket(table, context->hint->hash);
}
