/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The miss path: what happens to a packet that the connection table does not answer, or answers
 * with a flow that was made under an older policy or forwarding.  It runs inline in the worker:
 *
 *      spoof guard -> ICMP errors -> forward -> zones, per output -> connection -> actions
 *
 * Every read of the configuration comes after the revisions are read, so that what is cached under
 * a revision never knows less than that revision.
 */
#include <config.h>

#include "datapath/switch.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <string.h>

#include "datapath/spoof.h"

enum { MLD2_LISTENER_REPORT = 143 }; /* RFC 3810, 5.2. */

/* What the stages of one miss hand to each other. */
struct miss {
	struct packet_context *context;
	const struct endpoint_map *endpoints;
	uint32_t forwarding_revision, policy_epoch;
	struct forwarding forwarding;
};

/* --- the spoof guard ------------------------------------------------------------------------ */

/* An address that another endpoint owns is not this port's to speak for.  An uplink may speak for
 * the endpoints of other hosts. */
static bool may_speak_for(const struct miss *miss, const struct in6_addr *address)
{
	const struct packet_context *context = miss->context;
	struct endpoint_owner owner = endpoint_map_lookup(miss->endpoints, address);

	if (!owner.owned || owner.port == context->in->number)
		return true;
	if (context->settings->role == PORT_UPLINK)
		return owner.port == 0;
	return !context->settings->spoof_guard;
}

/* The packet's source, and what it claims in ARP or neighbour discovery. */
static enum drop_reason check_owner(const struct miss *miss)
{
	const struct packet_context *context = miss->context;
	struct in6_addr claimed;

	if (context->packet->key.kind != CONN_KEY_ETHERNET &&
		!may_speak_for(miss, &context->packet->key.source))
		return DROP_SPOOFED_ADDRESS;
	if (context->packet->flags & (PACKET_ARP | PACKET_ND) &&
		spoof_claim(context->data, rte_pktmbuf_data_len(context->frame), context->packet,
			&claimed) &&
		!may_speak_for(miss, &claimed))
		return context->packet->flags & PACKET_ARP ? DROP_SPOOFED_ARP : DROP_SPOOFED_ND;
	return DROP_NONE;
}

static enum drop_reason guard(const struct miss *miss)
{
	const struct packet_context *context = miss->context;
	const struct port_settings *settings = context->settings;

	if (settings->spoof_guard) {
		const struct spoof_binding binding = {
			.macs = (const uint8_t(*)[6])settings->macs,
			.n_macs = settings->n_macs,
			.addresses = settings->addresses,
			.n_addresses = settings->n_addresses,
		};
		enum drop_reason reason = spoof_check(&binding, context->data,
			rte_pktmbuf_data_len(context->frame), context->packet);

		if (reason != DROP_NONE)
			return reason;
	}
	return check_owner(miss);
}

/* --- programs -----------------------------------------------------------------------------------
 */

/* Builds the program that sends the frame to one port. */
static void build_output(const struct miss *miss, const struct port *out, struct program *program)
{
	bool tagged = miss->context->packet->flags & PACKET_TAGGED;

	memset(program, 0, sizeof(*program));
	memcpy(program->destination_mac, miss->context->data, 12);
	program->n_actions = (uint8_t)forward_output_actions(
		out, miss->context->packet->key.net & 0xfff, &tagged, program->actions);
}

static void build_drop(const struct miss *miss, enum drop_reason reason, struct program *program)
{
	memset(program, 0, sizeof(*program));
	memcpy(program->destination_mac, miss->context->data, 12);
	program->n_actions = 1;
	program->actions[0] = (struct action){.type = ACTION_DROP, .reason = (uint8_t)reason};
}

/* Lets the next packets of the flow hit. */
static void cache_program(const struct miss *miss, struct flow *flow, const struct program *program)
{
	uint32_t number = program_intern(miss->context->worker->sw->programs, program);

	if (number == PROGRAM_NONE)
		return;
	atomic_store_explicit(&flow->program, number, memory_order_release);
	atomic_store_explicit(&flow->policy_epoch, miss->policy_epoch, memory_order_relaxed);
	atomic_store_explicit(
		&flow->forwarding_revision, miss->forwarding_revision, memory_order_release);
}

/* --- frames to several ports ---------------------------------------------------------------- */

/* What a network does not work at all without: ARP, neighbour discovery, and reports of multicast
 * membership.  They pass between all but quarantined ports, whatever the rules; the spoof guard has
 * read what they say.  They make no connection, since the next one may say something else. */
static bool is_signalling(const struct packet *packet)
{
	if (packet->flags & (PACKET_ARP | PACKET_ND) || packet->protocol == IPPROTO_IGMP)
		return true;
	return packet->protocol == IPPROTO_ICMPV6 &&
	       ((packet->icmp_type >= MLD_LISTENER_QUERY &&
			packet->icmp_type <= MLD_LISTENER_REDUCTION) ||
		       packet->icmp_type == MLD2_LISTENER_REPORT);
}

static void decide_signalling(
	const struct miss *miss, const struct port *out, struct verdict *verdict)
{
	const struct port *ends[2] = {miss->context->in, out};

	*verdict = (struct verdict){.action = ZONE_ALLOW};
	for (unsigned int i = 0; i < 2; i++) {
		const struct port_settings *settings =
			atomic_load_explicit(&ends[i]->settings, memory_order_acquire);

		if (settings->role != PORT_UPLINK &&
			endpoint_map_port_zone(miss->endpoints, ends[i]->number) == ZONE_QUARANTINE)
			*verdict = (struct verdict){.action = ZONE_DENY, .quarantined = true};
	}
}

static void decide_output(const struct miss *miss, const struct port *out, struct verdict *verdict)
{
	if (is_signalling(miss->context->packet))
		decide_signalling(miss, out, verdict);
	else
		verdict_decide(miss->endpoints, miss->context->in, out, &miss->context->packet->key,
			miss->context->packet->icmp_type, miss->context->packet->icmp_code,
			verdict);
}

static enum drop_reason denial_reason(const struct verdict *verdict)
{
	if (verdict->quarantined)
		return DROP_QUARANTINE;
	return verdict->action == ZONE_REJECT ? DROP_REJECTED : DROP_POLICY;
}

static void log_denial(const struct miss *miss, const struct verdict *verdict, uint16_t out)
{
	if (verdict->log != ZONE_LOG_NONE)
		event_packet(miss->context, LOG_DENIED, denial_reason(verdict), verdict, out);
}

/* Sends the frame to each output that the zones allow.  Nothing is cached: who hears a flood may
 * change with every frame.  Returns whether any output was allowed; the frame is consumed. */
static void send_to_allowed(const struct miss *miss)
{
	struct packet_context *context = miss->context;
	struct action actions[3 * PORTS_MAX];
	bool tagged = context->packet->flags & PACKET_TAGGED;
	struct verdict verdict = {0}, denial = {0};
	uint16_t denied_at = 0;
	size_t n = 0;

	for (uint16_t i = 0; i < miss->forwarding.n_outputs; i++) {
		const struct port *out =
			switch_port(context->worker->sw, miss->forwarding.outputs[i]);

		if (out == NULL)
			continue;
		decide_output(miss, out, &verdict);
		if (verdict.action != ZONE_ALLOW) {
			denial = verdict;
			denied_at = out->number;
			continue;
		}
		n += forward_output_actions(
			out, context->packet->key.net & 0xfff, &tagged, actions + n);
	}
	if (n != 0) {
		actions_run(context->worker, actions, n, context->frame);
		return;
	}
	if (denied_at != 0)
		log_denial(miss, &denial, denied_at);
	packet_drop(context->worker, context->frame,
		denied_at != 0 ? denial_reason(&denial) : DROP_OUTPUT_MISSING);
}

/* --- ICMP errors ---------------------------------------------------------------------------- */

/* An error passes if it quotes a packet that its receiver sent in a live, allowed connection. */
static void handle_icmp_error(struct miss *miss)
{
	struct packet_context *context = miss->context;
	struct conn_table *table = context->worker->sw->connections;
	struct packet quoted;

	if (miss->forwarding.flood ||
		!packet_parse_quoted(context->data, rte_pktmbuf_data_len(context->frame),
			context->packet, &quoted))
		goto unrelated;
	quoted.key.net = context->packet->key.net;
	quoted.key.in_port = miss->forwarding.outputs[0];
	uint32_t flow = conn_lookup(table, &quoted.key, conn_hash(table, &quoted.key));
	if (flow == CONN_FLOW_NONE ||
		atomic_load(&conn_of_flow(table, flow)->verdict) != CONN_ALLOWED)
		goto unrelated;
	const struct port *out = switch_port(context->worker->sw, quoted.key.in_port);
	if (out == NULL) {
		packet_drop(context->worker, context->frame, DROP_OUTPUT_MISSING);
		return;
	}
	struct program program;
	build_output(miss, out, &program);
	actions_run(context->worker, program.actions, program.n_actions, context->frame);
	return;

unrelated:
	packet_drop(context->worker, context->frame, DROP_ICMP_UNRELATED);
}

/* --- connections ---------------------------------------------------------------------------- */

/* The flow, in either direction, that this packet belongs to though its own key was not found: the
 * reverse of a connection whose responder's port was not known, or one whose end has moved to
 * another port.  Such a flow enters the table if it can, and is otherwise looked up like this each
 * time. */
static uint32_t find_by_mirror(const struct miss *miss, bool *own)
{
	struct packet_context *context = miss->context;
	struct conn_table *table = context->worker->sw->connections;
	struct conn_key mirror =
		conn_key_reverse(&context->packet->key, miss->forwarding.outputs[0]);
	uint32_t flow = conn_lookup(table, &mirror, conn_hash(table, &mirror));

	*own = false;
	if (flow == CONN_FLOW_NONE || flow & 1)
		return flow == CONN_FLOW_NONE ? flow : flow ^ 1;
	*own = conn_add_reverse(table, flow, context->in->number);
	return flow ^ 1;
}

/* Refuses a new connection by the quotas of the port that opens it. */
static enum drop_reason check_quota(const struct packet_context *context)
{
	const struct port_settings *settings = context->settings;
	const struct port_quota *quota = &context->worker->sw->quotas[context->in->number];

	if (settings->connection_limit != 0 &&
		atomic_load_explicit(&quota->n_connections, memory_order_relaxed) >=
			settings->connection_limit)
		return DROP_QUOTA;
	if (settings->half_open_limit != 0 &&
		atomic_load_explicit(&quota->n_half_open, memory_order_relaxed) >=
			settings->half_open_limit)
		return DROP_HALF_OPEN_QUOTA;
	return DROP_NONE;
}

/* Denials are cached, so that a repeated one costs no more than a hit, but only in one half of the
 * half-open quota: they must not crowd out what is allowed. */
static bool may_cache_denial(const struct packet_context *context)
{
	const struct port_quota *quota = &context->worker->sw->quotas[context->in->number];

	return context->settings->half_open_limit == 0 ||
	       atomic_load_explicit(&quota->n_half_open, memory_order_relaxed) <
		       context->settings->half_open_limit / 2;
}

/* Enters a new connection for the packet.  Returns its flow, or CONN_FLOW_NONE if the table has no
 * room.  If another worker was first, the flow is the other's, with *theirs set. */
static uint32_t enter(const struct miss *miss, const struct verdict *verdict,
	const struct program *program, uint16_t out, bool *theirs)
{
	struct packet_context *context = miss->context;
	struct worker *worker = context->worker;
	struct conn_table *table = worker->sw->connections;
	const struct conn_key reverse = conn_key_reverse(&context->packet->key, out);
	bool known = out != 0 && verdict->action == ZONE_ALLOW;
	uint32_t mine = conn_alloc(table, &worker->conn_cache, &context->packet->key,
		context->packet->hash, known ? &reverse : NULL);

	if (mine == CONN_FLOW_NONE)
		return mine;
	struct conn *conn = conn_of_flow(table, mine);
	struct flow *flow = conn_flow(table, mine);
	connection_open(context, mine, verdict);
	atomic_store(&conn->out_port, out);
	atomic_store(&conn->dir[0].packets, 1);
	atomic_store(&conn->dir[0].bytes, rte_pktmbuf_pkt_len(context->frame));
	atomic_store(&flow->last_seen, worker->now);
	atomic_store(&conn_flow(table, mine ^ 1)->last_seen, worker->now);
	if (program != NULL)
		cache_program(miss, flow, program);
	uint32_t published = conn_publish(table, &worker->conn_cache, mine);
	*theirs = published != mine && published != CONN_FLOW_NONE;
	if (published != mine)
		connection_release(worker->sw, conn);
	return published;
}

/* Refuses the packet by name, for want of room, and says so in the log. */
static void refuse(const struct miss *miss, enum drop_reason reason, const struct verdict *verdict)
{
	event_packet(miss->context, LOG_LIMIT, reason, verdict, miss->forwarding.outputs[0]);
	packet_drop(miss->context->worker, miss->context->frame, reason);
}

static void deny(const struct miss *miss, const struct verdict *verdict, bool is_new)
{
	struct packet_context *context = miss->context;
	enum drop_reason reason = denial_reason(verdict);
	struct program program;
	bool theirs;

	log_denial(miss, verdict, miss->forwarding.outputs[0]);
	if (verdict->action == ZONE_REJECT) {
		reject_answer(context);
	} else if (is_new && may_cache_denial(context)) {
		build_drop(miss, reason, &program);
		enter(miss, verdict, &program, miss->forwarding.outputs[0], &theirs);
	}
	packet_drop(context->worker, context->frame, reason);
}

/* Ends an allowed connection that the policy in force denies. */
static void cut(struct miss *miss, uint32_t flow, const struct verdict *verdict)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn *conn = conn_of_flow(sw->connections, flow);
	struct program program;

	connection_set_verdict(conn, verdict);
	if (atomic_fetch_and(&conn->flags, (uint8_t) ~(CONN_LOGGED | CONN_TCP)) & CONN_LOGGED)
		event_connection(&context->worker->events, sw, flow / 2, LOG_END, END_POLICY,
			context->worker->now_ns);
	build_drop(miss, denial_reason(verdict), &program);
	cache_program(miss, conn_flow(sw->connections, flow), &program);
	deny(miss, verdict, false);
}

/* The verdict on the outputs of a unicast frame.  With several (an unknown destination), the first
 * allowed one speaks for the connection. */
static void decide_outputs(const struct miss *miss, struct verdict *verdict)
{
	for (uint16_t i = 0; i < miss->forwarding.n_outputs; i++) {
		const struct port *out =
			switch_port(miss->context->worker->sw, miss->forwarding.outputs[i]);

		if (out == NULL)
			continue;
		decide_output(miss, out, verdict);
		if (verdict->action == ZONE_ALLOW)
			return;
	}
}

/* Sends the packet of an allowed connection, and caches how, if it has one output and a flow of its
 * own. */
static void send_frame(const struct miss *miss, struct flow *flow, const struct program *program)
{
	struct packet_context *context = miss->context;

	if (program == NULL) {
		send_to_allowed(miss);
		return;
	}
	if (flow != NULL)
		cache_program(miss, flow, program);
	actions_run(context->worker, program->actions, program->n_actions, context->frame);
}

static void log_start(const struct miss *miss, struct conn *conn, const struct verdict *verdict)
{
	if (verdict->log < ZONE_LOG_SESSION)
		return;
	atomic_fetch_or(&conn->flags, CONN_LOGGED);
	event_packet(miss->context, LOG_START, DROP_NONE, verdict,
		miss->forwarding.flood ? 0 : miss->forwarding.outputs[0]);
}

static void renew(struct miss *miss, uint32_t flow, bool own, const struct program *program);

/* The first packet of a connection. */
static void begin(struct miss *miss, const struct program *program)
{
	struct packet_context *context = miss->context;
	uint16_t out = program != NULL ? miss->forwarding.outputs[0] : 0;
	struct verdict verdict = {.action = ZONE_DENY};
	bool theirs = false;

	decide_outputs(miss, &verdict);
	if (verdict.action != ZONE_ALLOW) {
		deny(miss, &verdict, true);
		return;
	}
	enum drop_reason reason = connection_may_open(context->packet);
	if (reason != DROP_NONE) {
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	reason = check_quota(context);
	if (reason != DROP_NONE) {
		refuse(miss, reason, &verdict);
		return;
	}
	uint32_t flow = enter(miss, &verdict, program, out, &theirs);
	if (flow == CONN_FLOW_NONE) {
		refuse(miss, DROP_TABLE_FULL, &verdict);
	} else if (theirs) {
		renew(miss, flow, true, program);
	} else {
		log_start(miss, conn_of_flow(context->worker->sw->connections, flow), &verdict);
		send_frame(miss, NULL, program);
	}
}

/* Begins a connection anew in the place of one that is over, or that used to be denied. */
static void begin_again(struct miss *miss, uint32_t flow, bool own, enum end_reason why,
	const struct verdict *verdict, const struct program *program)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn *conn = conn_of_flow(sw->connections, flow);
	enum drop_reason reason = connection_may_open(context->packet);

	if (reason == DROP_NONE &&
		flow & 1) /* It came from the other side: the sweep makes room. */
		reason = DROP_TCP_OUT_OF_STATE;
	if (reason != DROP_NONE) {
		atomic_fetch_or(&conn->flags, CONN_CLOSE_NOW);
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	if (atomic_load(&conn->flags) & CONN_LOGGED)
		event_connection(&context->worker->events, sw, flow / 2, LOG_END, why,
			context->worker->now_ns);
	connection_open(context, flow, verdict);
	if (program != NULL && !(atomic_load(&conn->flags) & CONN_REVERSE))
		conn_add_reverse(sw->connections, flow, miss->forwarding.outputs[0]);
	atomic_store(&conn->out_port, program != NULL ? miss->forwarding.outputs[0] : 0);
	atomic_store(&conn->dir[0].packets, 1);
	atomic_store(&conn->dir[0].bytes, rte_pktmbuf_pkt_len(context->frame));
	log_start(miss, conn, verdict);
	send_frame(miss, own ? conn_flow(sw->connections, flow) : NULL, program);
}

/* What the policy in force says of a connection by a packet of either direction: always the
 * question of the first packet, from the initiator to the responder. */
static void decide_again(const struct miss *miss, uint32_t flow, struct verdict *verdict)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	const struct conn *conn = conn_of_flow(sw->connections, flow);
	const struct port *responder = context->in;
	const struct port *initiator = switch_port(sw, miss->forwarding.outputs[0]);

	if (!(flow & 1))
		decide_outputs(miss, verdict);
	else if (initiator != NULL)
		verdict_decide(miss->endpoints, initiator, responder,
			&conn_flow(sw->connections, flow & ~1u)->key, conn->icmp_type,
			conn->icmp_code, verdict);
}

/* A packet of a connection that exists: its flow is stale, or not its own. */
static void renew(struct miss *miss, uint32_t flow, bool own, const struct program *program)
{
	struct packet_context *context = miss->context;
	struct conn_table *table = context->worker->sw->connections;
	struct conn *conn = conn_of_flow(table, flow);
	struct verdict verdict = {.action = ZONE_DENY};
	bool reopen = false;

	decide_again(miss, flow, &verdict);
	if (verdict.action != ZONE_ALLOW) {
		cut(miss, flow, &verdict);
		return;
	}
	if (atomic_load(&conn->verdict) != CONN_ALLOWED) {
		begin_again(miss, flow, own, END_POLICY, &verdict, program);
		return;
	}
	connection_set_verdict(conn, &verdict);
	enum drop_reason reason = connection_step(
		context->worker, conn, flow & 1, context->packet, context->data, &reopen);
	if (reason != DROP_NONE) {
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	if (reopen) {
		begin_again(miss, flow, own, END_REUSED, &verdict, program);
		return;
	}
	if (flow & 1)
		atomic_store(&conn->out_port, context->in->number);
	atomic_fetch_add(&conn->dir[flow & 1].packets, 1);
	atomic_fetch_add(&conn->dir[flow & 1].bytes, rte_pktmbuf_pkt_len(context->frame));
	atomic_store(&conn_flow(table, flow)->last_seen, context->worker->now);
	send_frame(miss, own ? conn_flow(table, flow) : NULL, program);
}

static void handle_connection(struct miss *miss, uint32_t flow)
{
	struct packet_context *context = miss->context;
	struct conn_table *table = context->worker->sw->connections;
	struct program program;
	bool single = !miss->forwarding.flood, own = true;
	const struct port *out = switch_port(context->worker->sw, miss->forwarding.outputs[0]);

	if (single && out == NULL) {
		packet_drop(context->worker, context->frame, DROP_OUTPUT_MISSING);
		return;
	}
	if (single)
		build_output(miss, out, &program);
	if (flow == CONN_FLOW_NONE) /* A packet before it in the burst may have made one. */
		flow = conn_lookup(table, &context->packet->key, context->packet->hash);
	if (flow == CONN_FLOW_NONE && single)
		flow = find_by_mirror(miss, &own);
	if (flow == CONN_FLOW_NONE)
		begin(miss, single ? &program : NULL);
	else
		renew(miss, flow, own, single ? &program : NULL);
}

/* --- the path ------------------------------------------------------------------------------- */

void miss_handle(struct packet_context *context, uint32_t flow)
{
	struct cordon_switch *sw = context->worker->sw;
	struct miss miss = {
		.context = context,
		.forwarding_revision =
			atomic_load_explicit(&sw->forwarding_revision, memory_order_acquire),
		.policy_epoch = atomic_load_explicit(&sw->policy_epoch, memory_order_acquire),
		.endpoints = atomic_load_explicit(&sw->endpoints, memory_order_acquire),
	};
	enum drop_reason reason = guard(&miss);

	if (reason != DROP_NONE) {
		event_packet(context, LOG_SPOOFED, reason, NULL, 0);
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	reason = forward_normal(context, &miss.forwarding);
	if (reason != DROP_NONE) {
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	if (context->packet->flags & PACKET_ICMP_ERROR)
		handle_icmp_error(&miss);
	else if (context->packet->flags & PACKET_GROUP || is_signalling(context->packet))
		send_to_allowed(&miss);
	else
		handle_connection(&miss, flow);
}
