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
#include <string.h>

/* What the stages of one miss hand to each other. */
struct miss {
	struct packet_context *context;
	const struct endpoint_map *endpoints;
	const struct forward_entry *known; /* Where such frames go; NULL: not kept. */
	struct conn_key mirror;		   /* The key of the answer, if the output is known. */
	uint32_t mirror_hash;
	struct program built;
	struct forwarding forwarding;
};

/* The flow that a packet belongs to. */
struct found {
	uint32_t flow; /* CONN_FLOW_NONE: none yet. */
	bool owns_key; /* The flow's key is the packet's, so that a program may be cached in it. */
};

/* --- programs -----------------------------------------------------------------------------------
 */

/* Builds the program that sends the frame to one port. */
static void build_output(const struct miss *miss, const struct port *out, struct program *program)
{
	bool tagged = miss->context->packet->flags & PACKET_TAGGED;

	memset(program, 0, sizeof(*program));
	memcpy(program->macs, miss->context->data, sizeof(program->macs));
	program->n_actions = (uint8_t)forward_output_actions(
		out, miss->context->packet->key.net & 0xfff, &tagged, program->actions);
}

static void build_drop(const struct miss *miss, enum drop_reason reason, struct program *program)
{
	memset(program, 0, sizeof(*program));
	memcpy(program->macs, miss->context->data, sizeof(program->macs));
	program->n_actions = 1;
	program->actions[0] = (struct action){.type = ACTION_DROP, .reason = (uint8_t)reason};
}

/* The program that sends the frame to the one port where it goes. */
static const struct program *choose_program(struct miss *miss, const struct port *out)
{
	const struct packet_context *context = miss->context;

	if (miss->known == NULL) {
		build_output(miss, out, &miss->built);
		if (!miss->forwarding.flood)
			miss->known =
				forward_keep(context, out, &miss->built, miss->forwarding.learned);
	}
	return miss->known != NULL
		       ? program_get(context->worker->sw->programs, miss->known->program)
		       : &miss->built;
}

static uint32_t intern(const struct miss *miss, const struct program *program)
{
	struct program_table *programs = miss->context->worker->sw->programs;

	if (miss->known != NULL && program == program_get(programs, miss->known->program))
		return miss->known->program;
	return program_intern(programs, program);
}

/* Puts a program into a flow that nobody else sees yet. */
static void set_program(const struct miss *miss, struct flow *flow, uint32_t interned)
{
	const struct revisions *revisions = miss->context->revisions;

	if (interned == PROGRAM_NONE)
		return;
	atomic_store_explicit(&flow->program, interned, memory_order_relaxed);
	atomic_store_explicit(&flow->policy_epoch, revisions->policy, memory_order_relaxed);
	atomic_store_explicit(
		&flow->forwarding_revision, revisions->forwarding, memory_order_relaxed);
}

/* Lets the next packets of the flow hit.  Whoever may write the flow at the same time (another
 * worker, for a guest that sends one flow by two queues) does so before or after, never between. */
static void cache_program(const struct miss *miss, uint32_t number, const struct program *program)
{
	struct cordon_switch *sw = miss->context->worker->sw;
	const struct revisions *revisions = miss->context->revisions;
	struct flow *flow = conn_flow(sw->connections, number);
	struct conn *conn = conn_of_flow(sw->connections, number);
	uint32_t interned = intern(miss, program);

	if (interned == PROGRAM_NONE)
		return;
	conn_lock(conn);
	atomic_store_explicit(&flow->forwarding_revision, 0, memory_order_release);
	atomic_store_explicit(&flow->program, interned, memory_order_release);
	atomic_store_explicit(&flow->policy_epoch, revisions->policy, memory_order_release);
	atomic_store_explicit(
		&flow->forwarding_revision, revisions->forwarding, memory_order_release);
	conn_unlock(conn);
}

/* --- frames to several ports ---------------------------------------------------------------- */

static bool is_quarantined(const struct miss *miss, const struct port *port)
{
	const struct port_settings *settings =
		atomic_load_explicit(&port->settings, memory_order_acquire);

	return settings->role != PORT_UPLINK &&
	       endpoint_map_port_zone(miss->endpoints, port->number) == ZONE_QUARANTINE;
}

static void decide_signalling(
	const struct miss *miss, const struct port *out, struct verdict *verdict)
{
	*verdict = (struct verdict){.action = ZONE_ALLOW};
	if (is_quarantined(miss, miss->context->in) || is_quarantined(miss, out))
		*verdict = (struct verdict){.action = ZONE_DENY, .quarantined = true};
}

static void decide_output(const struct miss *miss, const struct port *out, struct verdict *verdict)
{
	if (signalling_is(miss->context))
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
 * change with every frame.  Consumes the frame. */
static void send_to_allowed(const struct miss *miss)
{
	struct packet_context *context = miss->context;
	struct action actions[2 * PORTS_MAX];
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

/* --- the other end ---------------------------------------------------------------------------- */

static bool is_uplink(const struct port *port)
{
	return port != NULL &&
	       atomic_load_explicit(&port->settings, memory_order_acquire)->role == PORT_UPLINK;
}

/* The port at which the packets of `flow` leave, as far as the connection knows; else 0. */
static uint16_t far_port(const struct conn_table *table, uint32_t flow)
{
	if (flow & 1)
		return conn_flow(table, flow ^ 1)->key.in_port;
	return atomic_load(&conn_of_flow(table, flow)->out_port);
}

/* A host outside may be reached by any uplink, and change it. */
static bool same_side(const struct cordon_switch *sw, uint16_t number, const struct port *port)
{
	return number == port->number || (is_uplink(switch_port(sw, number)) && is_uplink(port));
}

/* --- ICMP errors ------------------------------------------------------------------------------ */

/* An error passes if it quotes a packet that its receiver sent in a live, allowed connection, and
 * comes by the port by which that packet left. */
static void handle_icmp_error(struct miss *miss)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn_table *table = sw->connections;
	const struct port *out = switch_port(sw, miss->forwarding.outputs[0]);
	struct packet quoted;
	struct program program;

	if (miss->forwarding.flood || out == NULL || is_quarantined(miss, context->in) ||
		is_quarantined(miss, out) ||
		!packet_parse_quoted(context->data, rte_pktmbuf_data_len(context->frame),
			context->packet, &quoted))
		goto unrelated;
	quoted.key.net = context->packet->key.net;
	quoted.key.in_port = out->number;
	uint32_t flow = conn_lookup(table, &quoted.key, conn_hash(table, &quoted.key));
	if (flow == CONN_FLOW_NONE ||
		atomic_load(&conn_of_flow(table, flow)->verdict) != CONN_ALLOWED)
		goto unrelated;
	uint16_t left_by = far_port(table, flow);
	if (left_by != 0 && !same_side(sw, left_by, context->in))
		goto unrelated;
	build_output(miss, out, &program);
	actions_run(context->worker, program.actions, program.n_actions, context->frame);
	return;

unrelated:
	packet_drop(context->worker, context->frame, DROP_ICMP_UNRELATED);
}

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
static struct found find_by_mirror(struct miss *miss)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn_table *table = sw->connections;
	const struct found nothing = {.flow = CONN_FLOW_NONE, .owns_key = true};
	uint32_t other = conn_lookup(table, &miss->mirror, miss->mirror_hash);

	if (other == CONN_FLOW_NONE)
		return nothing;
	struct conn *conn = conn_of_flow(table, other);
	if (atomic_load(&conn->verdict) != CONN_ALLOWED) {
		/* A denial of the other direction must not stand in this one's way: the sweep takes
		 * it away, and until then its flow misses and is_given_up() passes it over. */
		atomic_fetch_or(&conn->flags, CONN_CLOSE_NOW);
		atomic_store(&conn_flow(table, other)->forwarding_revision, 0);
		return nothing;
	}
	if (!(other & 1) && !(atomic_load(&conn->flags) & CONN_REVERSE))
		return (struct found){.flow = other ^ 1,
			.owns_key = conn_add_reverse(table, other, context->in->number)};
	if (is_uplink(context->in) &&
		is_uplink(switch_port(sw, conn_flow(table, other ^ 1)->key.in_port)))
		return (struct found){.flow = other ^ 1, .owns_key = false};
	return nothing;
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
	uint16_t port = far_port(miss->context->worker->sw->connections, flow);

	for (uint16_t i = 0; i < miss->forwarding.n_outputs; i++) {
		if (port != 0 && miss->forwarding.outputs[i] == port) {
			miss->forwarding.outputs[0] = port;
			miss->forwarding.n_outputs = 1;
			return;
		}
	}
}

/* --- connections ------------------------------------------------------------------------------ */

/* The connections that the input port has opened, and those of them that are half-open. */
static void read_quota(
	const struct packet_context *context, uint32_t *n_connections, uint32_t *n_half_open)
{
	const struct port_quota *quota = &context->worker->sw->quotas[context->in->number];
	uint64_t opened = atomic_load_explicit(&quota->opened, memory_order_relaxed);

	*n_connections = (uint32_t)opened;
	*n_half_open = (uint32_t)(opened / QUOTA_HALF_OPEN);
}

/* Refuses a new connection by the quotas of the port that opens it. */
static enum drop_reason check_quota(const struct packet_context *context)
{
	const struct port_settings *settings = context->settings;
	uint32_t n_connections, n_half_open;

	read_quota(context, &n_connections, &n_half_open);
	if (settings->connection_limit != 0 && n_connections >= settings->connection_limit)
		return DROP_QUOTA;
	if (settings->half_open_limit != 0 && n_half_open >= settings->half_open_limit)
		return DROP_HALF_OPEN_QUOTA;
	return DROP_NONE;
}

/* Half of a limit, or an eighth of the table where there is none. */
static uint32_t share(const struct conn_table *table, uint32_t limit)
{
	return limit != 0 ? limit / 2 : conn_capacity(table) / 8;
}

/* Denials are cached, so that a repeated one costs no more than a hit, but only in a part of the
 * port's quota: they must not crowd out what is allowed.  A flooded frame's is not: who hears it
 * may change with the next one. */
static bool may_cache_denial(const struct miss *miss)
{
	const struct packet_context *context = miss->context;
	const struct conn_table *table = context->worker->sw->connections;
	uint32_t n_connections, n_half_open;

	read_quota(context, &n_connections, &n_half_open);
	return !miss->forwarding.flood &&
	       n_half_open < share(table, context->settings->half_open_limit) &&
	       n_connections < share(table, context->settings->connection_limit);
}

/* The answer's flow gets its program together with the connection if all that the miss path would
 * ask of it is known: the guard passes it, its source is where this frame goes, its destination is
 * where it came from, and what it is cannot be signalling.  Else it takes the miss path itself. */
static void prepare_answer(const struct miss *miss, uint32_t flow, const struct port *out)
{
	const struct packet_context *context = miss->context;
	uint8_t protocol = context->packet->protocol;

	if (miss->known == NULL || miss->known->reverse == PROGRAM_NONE ||
		(protocol != IPPROTO_TCP && protocol != IPPROTO_UDP && protocol != IPPROTO_SCTP) ||
		!guard_passes_answer(context, miss->endpoints, out))
		return;
	set_program(
		miss, conn_flow(context->worker->sw->connections, flow ^ 1), miss->known->reverse);
}

/* Enters a new connection for the packet.  Returns its flow, or CONN_FLOW_NONE if the table has no
 * room.  If another worker was first, the flow is the other's, with *theirs set. */
static uint32_t enter(const struct miss *miss, const struct verdict *verdict,
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
	if (mine == CONN_FLOW_NONE)
		return mine;
	struct conn *conn = conn_of_flow(table, mine);
	connection_open(context, mine, verdict);
	atomic_store_explicit(&conn->out_port, out, memory_order_relaxed);
	if (program != NULL)
		set_program(miss, conn_flow(table, mine), intern(miss, program));
	if (known)
		prepare_answer(miss, mine, out_port);
	uint32_t published = conn_publish(table, &worker->conn_cache, mine);
	*theirs = published != mine && published != CONN_FLOW_NONE;
	if (published != mine)
		connection_release(worker->sw, conn);
	return published;
}

/* Refuses the packet by name, for want of room, and says so in the log. */
static void refuse(const struct miss *miss, enum drop_reason reason, struct verdict *verdict)
{
	verdict->action = ZONE_DENY;
	event_packet(miss->context, LOG_LIMIT, reason, verdict, miss->forwarding.outputs[0]);
	packet_drop(miss->context->worker, miss->context->frame, reason);
}

/* Logs, answers where the rule says so, and drops. */
static void deny(const struct miss *miss, const struct verdict *verdict)
{
	struct packet_context *context = miss->context;

	log_denial(miss, verdict, miss->forwarding.outputs[0]);
	if (verdict->action == ZONE_REJECT)
		reject_answer(context);
	packet_drop(context->worker, context->frame, denial_reason(verdict));
}

/* A first packet that is denied.  A rejected one is answered each time, so it is not cached. */
static void deny_new(const struct miss *miss, const struct verdict *verdict)
{
	struct program program;
	bool theirs;

	if (verdict->action != ZONE_REJECT && may_cache_denial(miss)) {
		build_drop(miss, denial_reason(verdict), &program);
		enter(miss, verdict, &program, miss->forwarding.outputs[0], &theirs);
	}
	deny(miss, verdict);
}

/* Ends an allowed connection that the policy in force denies. */
static void cut(const struct miss *miss, uint32_t flow, const struct verdict *verdict)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn *conn = conn_of_flow(sw->connections, flow);
	struct program program;

	connection_set_verdict(conn, verdict);
	if (atomic_fetch_and(&conn->flags, (uint8_t) ~(CONN_LOGGED | CONN_TCP)) & CONN_LOGGED)
		event_connection(&context->worker->events, sw, flow / 2, LOG_END, END_POLICY,
			context->worker->now_ns);
	if (verdict->action != ZONE_REJECT && !miss->forwarding.flood) {
		build_drop(miss, denial_reason(verdict), &program);
		cache_program(miss, flow, &program);
	}
	deny(miss, verdict);
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

static void log_start(const struct miss *miss, const struct verdict *verdict)
{
	if (verdict->log < ZONE_LOG_SESSION)
		return;
	event_packet(miss->context, LOG_START, DROP_NONE, verdict,
		miss->forwarding.flood ? 0 : miss->forwarding.outputs[0]);
}

/* Sends the packet of an allowed connection.  `program` is NULL for a flood. */
static void send_frame(const struct miss *miss, const struct program *program)
{
	struct packet_context *context = miss->context;

	if (program == NULL)
		send_to_allowed(miss);
	else
		actions_run(context->worker, program->actions, program->n_actions, context->frame);
}

static void renew(struct miss *miss, struct found found, const struct program *program);

/* The first packet of a connection. */
static void begin(struct miss *miss, const struct program *program)
{
	struct packet_context *context = miss->context;
	uint16_t out = program != NULL ? miss->forwarding.outputs[0] : 0;
	struct verdict verdict = {.action = ZONE_DENY};
	bool theirs;

	decide_outputs(miss, &verdict);
	if (verdict.action != ZONE_ALLOW) {
		deny_new(miss, &verdict);
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
		renew(miss, (struct found){.flow = flow, .owns_key = true}, program);
	} else {
		log_start(miss, &verdict);
		send_frame(miss, program);
	}
}

/* Begins a connection anew in the place of one that is over, or that used to be denied.  Only its
 * initiator can; from the other side, the sweep is asked to make room. */
static void begin_again(struct miss *miss, struct found found, enum end_reason why,
	const struct verdict *verdict, const struct program *program)
{
	struct packet_context *context = miss->context;
	struct worker *worker = context->worker;
	struct conn_table *table = worker->sw->connections;
	struct conn *conn = conn_of_flow(table, found.flow);
	uint16_t out = program != NULL ? miss->forwarding.outputs[0] : 0;
	enum drop_reason reason = connection_may_open(context->packet);

	if (reason == DROP_NONE && found.flow & 1)
		reason = DROP_TCP_OUT_OF_STATE;
	if (reason != DROP_NONE) {
		atomic_fetch_or(&conn->flags, CONN_CLOSE_NOW);
		packet_drop(worker, context->frame, reason);
		return;
	}
	if (atomic_fetch_and(&conn->flags, (uint8_t)~CONN_LOGGED) & CONN_LOGGED)
		event_connection(
			&worker->events, worker->sw, found.flow / 2, LOG_END, why, worker->now_ns);
	connection_release(worker->sw, conn);
	connection_reopen(context, found.flow, verdict);
	if (!conn_is_live(table, found.flow / 2)) /* The sweep has just ended it. */
		connection_release(worker->sw, conn);
	atomic_store(&conn_flow(table, found.flow ^ 1)->forwarding_revision, 0);
	if (out != 0 && !(atomic_load(&conn->flags) & CONN_REVERSE))
		conn_add_reverse(table, found.flow, out);
	atomic_store(&conn->out_port, out);
	if (program != NULL && found.owns_key)
		cache_program(miss, found.flow, program);
	if (verdict->log >= ZONE_LOG_SESSION)
		atomic_fetch_or(&conn->flags, CONN_LOGGED);
	log_start(miss, verdict);
	send_frame(miss, program);
}

/* What the policy in force says of a connection by a packet of either direction: always the
 * question of the first packet, from the initiator to the responder. */
static void decide_again(const struct miss *miss, uint32_t flow, struct verdict *verdict)
{
	struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	const struct conn *conn = conn_of_flow(sw->connections, flow);
	const struct port *initiator = switch_port(sw, miss->forwarding.outputs[0]);

	if (!(flow & 1))
		decide_outputs(miss, verdict);
	else if (initiator != NULL)
		verdict_decide(miss->endpoints, initiator, context->in,
			&conn_flow(sw->connections, flow & ~1u)->key, conn->icmp_type,
			conn->icmp_code, verdict);
}

static void count_packet(const struct miss *miss, uint32_t flow)
{
	struct conn_table *table = miss->context->worker->sw->connections;
	struct conn_direction *dir = &conn_of_flow(table, flow)->dir[flow & 1];

	atomic_fetch_add_explicit(&dir->packets, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(
		&dir->bytes, rte_pktmbuf_pkt_len(miss->context->frame), memory_order_relaxed);
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
	log_start(miss, verdict);
}

/* A packet of a connection that exists: its flow is stale, or not its own. */
static void renew(struct miss *miss, struct found found, const struct program *program)
{
	struct packet_context *context = miss->context;
	struct conn *conn = conn_of_flow(context->worker->sw->connections, found.flow);
	struct verdict verdict = {.action = ZONE_DENY};
	bool reopen = false;

	decide_again(miss, found.flow, &verdict);
	if (verdict.action != ZONE_ALLOW) {
		if (found.owns_key)
			cut(miss, found.flow, &verdict);
		else
			deny(miss, &verdict);
		return;
	}
	if (atomic_load(&conn->verdict) != CONN_ALLOWED) {
		begin_again(miss, found, END_POLICY, &verdict, program);
		return;
	}
	connection_set_verdict(conn, &verdict);
	enum drop_reason reason = connection_step(
		context->worker, conn, found.flow & 1, context->packet, context->data, &reopen);
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
		cache_program(miss, found.flow, program);
	send_frame(miss, program);
}

static void handle_connection(struct miss *miss, uint32_t flow)
{
	struct packet_context *context = miss->context;
	struct conn_table *table = context->worker->sw->connections;
	struct found found = {.flow = flow, .owns_key = true};
	const struct program *program = NULL;

	if (found.flow == CONN_FLOW_NONE) /* A packet before it in the burst may have made one. */
		found.flow = conn_lookup(table, &context->packet->key, context->packet->hash);
	if (found.flow != CONN_FLOW_NONE && is_given_up(table, found.flow))
		found.flow = CONN_FLOW_NONE;
	if (found.flow == CONN_FLOW_NONE && !miss->forwarding.flood) {
		make_mirror(miss, flow == CONN_FLOW_NONE);
		found = find_by_mirror(miss);
	}
	if (found.flow != CONN_FLOW_NONE && miss->forwarding.flood)
		narrow_flood(miss, found.flow);

	bool single = miss->forwarding.n_outputs == 1;
	const struct port *out = switch_port(context->worker->sw, miss->forwarding.outputs[0]);
	if (single && out == NULL) {
		packet_drop(context->worker, context->frame, DROP_OUTPUT_MISSING);
		return;
	}
	if (!single && found.flow != CONN_FLOW_NONE && found.flow & 1) {
		/* Nobody is left who asked for this answer. */
		packet_drop(context->worker, context->frame, DROP_NO_OUTPUT);
		return;
	}
	if (single)
		program = choose_program(miss, out);
	if (found.flow == CONN_FLOW_NONE)
		begin(miss, miss->forwarding.flood ? NULL : program);
	else
		renew(miss, found, program);
}

/* --- the path --------------------------------------------------------------------------------- */

void miss_handle(struct packet_context *context, uint32_t flow)
{
	struct cordon_switch *sw = context->worker->sw;
	struct miss miss; /* Not cleared: the outputs are many, and forward_normal() counts them. */

	miss.context = context;
	miss.endpoints = atomic_load_explicit(&sw->endpoints, memory_order_acquire);
	miss.known = forward_find(context);
	enum drop_reason reason = guard_check(context, miss.endpoints);
	if (reason != DROP_NONE) {
		event_packet(context, LOG_SPOOFED, reason, NULL, 0);
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
	if (context->packet->flags & PACKET_ICMP_ERROR)
		handle_icmp_error(&miss);
	else if (context->packet->flags & PACKET_GROUP || signalling_is(context))
		send_to_allowed(&miss);
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
