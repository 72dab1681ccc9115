/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection that a traced packet belongs to, or would begin.  What would change the connection
 * is done to a copy.  Called by the main thread for `cordon trace`, under RCU.
 */
#include <config.h>

#include "datapath/trace.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/json.h"
#include "util.h"

static const char *or_nothing(bool is_so, const char *text)
{
	return is_so ? text : "";
}

/* --- what is known -------------------------------------------------------------------------- */

/* The verdict that a connection was given. */
static struct verdict verdict_of(const struct conn *conn)
{
	return (struct verdict){
		.action = atomic_load(&conn->verdict) == CONN_ALLOWED ? ZONE_ALLOW : ZONE_DENY,
		.rule = atomic_load(&conn->rule),
		.policy_revision = atomic_load(&conn->policy_revision),
		.source_zone = atomic_load(&conn->source_zone),
		.destination_zone = atomic_load(&conn->destination_zone),
	};
}

static struct json *tell_connection(struct trace *trace, uint32_t flow)
{
	const struct conn_table *table = trace->sw->connections;
	const struct conn *conn = conn_of_flow(table, flow);
	uint64_t age_s = trace->worker->now_ns > conn->start_ns
				 ? (trace->worker->now_ns - conn->start_ns) / 1000000000u
				 : 0;
	uint32_t seen = MAX(atomic_load(&conn_flow(table, flow)->last_seen),
		atomic_load(&conn_flow(table, flow ^ 1)->last_seen));
	uint32_t revision = atomic_load(&conn->policy_revision);
	char *rule = trace_rule(policy_of_revision(trace->sw, revision), atomic_load(&conn->rule));
	struct json *step = trace_step(trace, "connection", TRACE_PASS, "%u, %s, from its %s",
		flow / 2, control_conn_state(conn), flow & 1 ? "responder" : "initiator");

	trace_detail(step, "%llu s old, last packet %u s ago", (unsigned long long int)age_s,
		trace->worker->now > seen ? trace->worker->now - seen : 0);
	trace_detail(step, "%s by %s, revision %u",
		atomic_load(&conn->verdict) == CONN_ALLOWED ? "allowed" : "denied", rule, revision);
	free(rule);
	return step;
}

/* Why a flow cannot be used as it is, or NULL. */
static const char *why_stale(const struct trace *trace, const struct flow *flow)
{
	const struct program *program =
		program_get(trace->sw->programs, atomic_load(&flow->program));

	if (atomic_load(&flow->forwarding_revision) == 0)
		return "nothing is cached for it, so its packets are judged one by one";
	if (atomic_load(&flow->policy_epoch) != trace->revisions.policy)
		return "the policy, or who is in which zone, has changed since it was judged";
	if (!flow_is_current(flow, &trace->revisions))
		return "a port, a VLAN or a MAC's place has changed since";
	if (!program_is_for(program, trace->context.data))
		return "it was cached for other MACs";
	return NULL;
}

/* --- stepping a copy ------------------------------------------------------------------------ */

static void tell_window(struct json *step, const struct trace *trace, const struct conn *conn,
	unsigned int direction)
{
	const struct tcp_side *sender = &conn->dir[direction].tcp;
	const struct tcp_side *receiver = &conn->dir[!direction].tcp;
	const uint8_t *tcp = trace->context.data + trace->packet.l4_offset;
	uint32_t sequence, acknowledgment;

	memcpy(&sequence, tcp + 4, sizeof(sequence));
	memcpy(&acknowledgment, tcp + 8, sizeof(acknowledgment));
	sequence = ntohl(sequence);
	trace_detail(step,
		"sequence %u, %u bytes; sent so far up to %u, and the other side takes "
		"up to %u",
		sequence, trace->packet.l4_bytes - (tcp[12] >> 4) * 4u, tcp_load(&sender->sent_end),
		tcp_load(&receiver->granted));
	if (trace->packet.tcp_flags & TCP_FLAG_ACK)
		trace_detail(step, "acknowledges %u; the other side has sent up to %u",
			ntohl(acknowledgment), tcp_load(&receiver->sent_end));
}

static void tell_state(struct trace *trace, const struct conn *before, const struct conn *after)
{
	enum tcp_state was = tcp_state(&before->dir[0].tcp, &before->dir[1].tcp);
	enum tcp_state is = tcp_state(&after->dir[0].tcp, &after->dir[1].tcp);

	if (!(atomic_load(&before->flags) & CONN_TCP))
		trace_step(trace, "state", TRACE_PASS, "%s%s", control_conn_state(after),
			or_nothing(atomic_load(&before->flags) != atomic_load(&after->flags),
				", since this is its first answer"));
	else if (was == is)
		trace_step(trace, "state", TRACE_PASS, "TCP segment in the window; %s stays",
			tcp_state_name(was));
	else
		trace_step(trace, "state", TRACE_PASS, "TCP segment in the window; %s becomes %s",
			tcp_state_name(was), tcp_state_name(is));
}

/* Steps a copy of the connection.  False if the packet is dropped for it. */
static bool step_copy(struct trace *trace, uint32_t flow, bool *reopen)
{
	const struct conn *conn = conn_of_flow(trace->sw->connections, flow);
	struct conn before, after;

	connection_copy(conn, &before);
	connection_copy(conn, &after);
	enum drop_reason reason = connection_step(&trace->context, &after, flow & 1, reopen);
	if (reason != DROP_NONE) {
		struct json *step = trace_drop(trace, "state", reason);

		if (atomic_load(&before.flags) & CONN_TCP && trace->packet.l4_offset != 0)
			tell_window(step, trace, &before, flow & 1);
		return false;
	}
	if (*reopen)
		trace_step(trace, "state", TRACE_NOTE,
			"a SYN on a connection that is over: a new one takes its place");
	else
		tell_state(trace, &before, &after);
	return true;
}

bool trace_hit(struct trace *trace)
{
	const struct conn_table *table = trace->sw->connections;
	bool reopen = false;

	trace->flow = conn_lookup(table, &trace->packet.key, trace->packet.hash);
	if (trace->flow == CONN_FLOW_NONE) {
		trace_step(trace, "connection", TRACE_NOTE,
			"the packet is of none that is known, so it is judged");
		return false;
	}
	const struct flow *flow = conn_flow(table, trace->flow);
	struct json *step = tell_connection(trace, trace->flow);
	const char *stale = why_stale(trace, flow);
	if (stale != NULL) {
		trace_detail(step, "%s", stale);
		return false;
	}
	if (!step_copy(trace, trace->flow, &reopen))
		return true;
	if (reopen)
		return false;
	const struct program *program =
		program_get(trace->sw->programs, atomic_load(&flow->program));
	trace->verdict = verdict_of(conn_of_flow(table, trace->flow));
	trace->decided = true;
	trace_actions(trace, program->actions, program->n_actions);
	return true;
}

/* --- the miss path -------------------------------------------------------------------------- */

/* What the zones refuse.  Their step has said why. */
static void deny(struct trace *trace)
{
	trace->reason = miss_denial_reason(&trace->verdict);
	if (trace->verdict.action == ZONE_REJECT)
		trace_step(trace, "answer", TRACE_NOTE,
			"the sender is told: a RST, or ICMP administratively prohibited");
}

static void send_on(struct trace *trace)
{
	const struct forwarding *forwarding = &trace->miss.forwarding;
	struct program program;

	if (trace->verdict.helper != ZONE_HELPER_NONE)
		trace_step(trace, "helper", TRACE_NOTE,
			"%s reads the packet for the connections that it announces",
			trace->verdict.helper == ZONE_HELPER_FTP ? "ftp" : "tftp");
	if (forwarding->n_outputs != 1) {
		trace_allowed(trace);
		return;
	}
	miss_build_output(&trace->miss, switch_port(trace->sw, forwarding->outputs[0]), &program);
	trace_actions(trace, program.actions, program.n_actions);
}

/* "no connection", "1 connection, which is half-open", "7 connections, 2 of them half-open". */
static char *words_for_use(uint32_t connections, uint32_t half_open)
{
	if (connections == 0)
		return xstrdup("no connection");
	if (connections == 1)
		return xasprintf("1 connection%s", half_open != 0 ? ", which is half-open" : "");
	if (half_open == 0)
		return xasprintf("%u connections, none of them half-open", connections);
	return xasprintf("%u connections, %u of them half-open", connections, half_open);
}

/* " (at most 100, and 50 of them half-open)", as far as there are limits. */
static char *words_for_limits(uint32_t connections, uint32_t half_open)
{
	if (connections != 0 && half_open != 0)
		return xasprintf(" (at most %u, and %u of them half-open)", connections, half_open);
	if (connections != 0)
		return xasprintf(" (at most %u)", connections);
	return half_open != 0 ? xasprintf(" (at most %u half-open)", half_open) : xstrdup("");
}

/* What the port has opened; for what comes from outside, what the port that it goes to has got. */
static void tell_port_counts(const struct trace *trace, struct json *step, uint16_t out)
{
	const struct packet_context *context = &trace->context;
	const struct port *to = switch_port(trace->sw, out);
	bool outside = context->settings->role == PORT_UPLINK && to != NULL;
	uint16_t number = outside ? out : context->in->number;
	const struct port_quota *quota = &trace->sw->quotas[number];
	const struct port_settings *settings =
		outside ? atomic_load(&to->settings) : context->settings;
	uint64_t word = atomic_load(outside ? &quota->inbound : &quota->opened);
	char *use = words_for_use((uint32_t)word, (uint32_t)(word / QUOTA_HALF_OPEN));
	char *limits = words_for_limits(settings->connection_limit,
		settings->half_open_is_default ? 0 : settings->half_open_limit);

	trace_detail(step, "%s has %s %s%s%s", control_port_name(trace->sw, number),
		outside ? "got" : "opened", use, outside ? " from outside" : "", limits);
	free(limits);
	free(use);
}

static void tell_use(const struct trace *trace, struct json *step, enum limit_kind kind,
	const char *name, const struct zone_limits *limits)
{
	struct limit_use use = limits_use(trace->sw->limits, kind, name);
	char *has = words_for_use(use.connections, use.half_open);
	char *most = words_for_limits(limits->connections, limits->half_open);

	trace_detail(step, "%s %s has %s%s", kind == LIMIT_ZONE ? "zone" : "rule", name, has, most);
	free(most);
	free(has);
}

/* What the rule and the source's zone have, where they have limits. */
static void tell_policy_counts(const struct trace *trace, struct json *step)
{
	const struct zone_policy *policy = endpoint_map_policy(trace->miss.endpoints);
	const struct verdict *verdict = &trace->verdict;
	struct zone_rule_info info;
	char name[160];

	if (verdict->source_zone < zone_count(policy)) {
		struct zone_info zone = zone_info(policy, verdict->source_zone);

		if (limits_any(&zone.limits))
			tell_use(trace, step, LIMIT_ZONE, zone.name, &zone.limits);
	}
	if (zone_rule_info(policy, verdict->rule, &info, name) && limits_any(&info.limits)) {
		char *full = xasprintf("%s/%s", info.policy, info.rule);

		tell_use(trace, step, LIMIT_RULE, full, &info.limits);
		free(full);
	}
}

static uint16_t single_output(const struct trace *trace)
{
	const struct forwarding *forwarding = &trace->miss.forwarding;

	return forwarding->n_outputs == 1 ? forwarding->outputs[0] : 0;
}

static bool pass_limits(struct trace *trace)
{
	uint16_t out = single_output(trace);
	enum drop_reason reason = quota_would_admit(&trace->miss, out, &trace->verdict);
	struct json *step;

	if (reason == DROP_NONE && conn_is_full(trace->sw->connections, &trace->worker->conn_cache))
		reason = DROP_TABLE_FULL;
	step = reason == DROP_NONE
		       ? trace_step(trace, "limits", TRACE_PASS, "room for another connection")
		       : trace_drop(trace, "limits", reason);
	tell_port_counts(trace, step, out);
	tell_policy_counts(trace, step);
	return reason == DROP_NONE;
}

/* A connection that takes another one's place takes its place in all counts, too: only how many a
 * second there may be is left to refuse it. */
static bool pass_rates(struct trace *trace)
{
	struct verdict verdict = trace->verdict;
	enum drop_reason reason = quota_would_admit(&trace->miss, single_output(trace), &verdict);

	switch (reason) {
	case DROP_RATE_QUOTA:
	case DROP_INBOUND_RATE:
	case DROP_ZONE_RATE:
	case DROP_RULE_RATE: trace_drop(trace, "limits", reason); return false;
	default: return true;
	}
}

static bool may_open(struct trace *trace)
{
	bool picked_up = false;
	enum drop_reason reason = miss_may_begin(&trace->miss, &trace->verdict, &picked_up);

	if (reason != DROP_NONE)
		trace_detail(trace_drop(trace, "connection", reason),
			"only a first packet can open a connection: for TCP a SYN, for ICMP a "
			"request");
	if (picked_up)
		trace_step(trace, "connection", TRACE_NOTE,
			"taken up in mid-stream, as the zone of one end permits");
	return reason == DROP_NONE;
}

static void begin(struct trace *trace)
{
	trace_zones(trace);
	miss_decide_outputs(&trace->miss, &trace->verdict);
	if (trace->verdict.action != ZONE_ALLOW) {
		if (!related_is_announced(&trace->miss, &trace->verdict)) {
			deny(trace);
			return;
		}
		trace_step(trace, "announced", TRACE_PASS,
			"a connection that is allowed with a helper has announced this one");
	}
	if (!may_open(trace) || !pass_limits(trace))
		return;
	trace_step(trace, "connection", TRACE_PASS, "a new one is made");
	send_on(trace);
}

static void begin_again(struct trace *trace)
{
	bool picked_up = false;
	enum drop_reason reason =
		miss_may_begin_again(&trace->miss, trace->flow, &trace->verdict, &picked_up);

	if (reason != DROP_NONE) {
		trace_drop(trace, "connection", reason);
		return;
	}
	if (!pass_rates(trace))
		return;
	trace_step(trace, "connection", TRACE_PASS, "%u begins anew", trace->flow / 2);
	send_on(trace);
}

/* The zones are always asked about the connection's first packet. */
static void ask_again(struct trace *trace)
{
	struct cordon_switch *sw = trace->sw;
	const struct conn *conn = conn_of_flow(sw->connections, trace->flow);
	const struct port *initiator = switch_port(sw, trace->miss.forwarding.outputs[0]);

	if (!(trace->flow & 1))
		trace_zones(trace);
	else if (initiator != NULL)
		trace_questions(trace, initiator, trace->context.in,
			&conn_flow(sw->connections, trace->flow & ~1u)->key, conn->icmp_type,
			conn->icmp_code);
	trace->verdict = (struct verdict){.action = ZONE_DENY};
	trace->decided = true;
	miss_decide_again(&trace->miss, trace->flow, &trace->verdict);
	if (trace->verdict.is_related)
		trace_step(trace, "announced", TRACE_PASS,
			"its control connection would be allowed, with its helper");
}

static void renew(struct trace *trace)
{
	const struct conn *conn = conn_of_flow(trace->sw->connections, trace->flow);
	bool reopen = false;

	ask_again(trace);
	if (trace->verdict.action != ZONE_ALLOW) {
		if (atomic_load(&conn->verdict) == CONN_ALLOWED)
			trace_step(trace, "connection", TRACE_NOTE, "%u was allowed and is cut",
				trace->flow / 2);
		deny(trace);
		return;
	}
	if (atomic_load(&conn->verdict) != CONN_ALLOWED) {
		begin_again(trace);
		return;
	}
	if (!step_copy(trace, trace->flow, &reopen))
		return;
	if (reopen)
		begin_again(trace);
	else
		send_on(trace);
}

void trace_connection(struct trace *trace)
{
	struct miss_found found;
	enum drop_reason reason = miss_find(&trace->miss, trace->flow, &found);

	if (reason != DROP_NONE) {
		trace_drop(trace, "forward", reason);
		return;
	}
	if (found.flow != trace->flow && found.flow != CONN_FLOW_NONE)
		trace_detail(tell_connection(trace, found.flow),
			found.enters ? "this is its first answer"
				     : "its outside end has moved to another uplink");
	trace->flow = found.flow;
	if (found.flow == CONN_FLOW_NONE)
		begin(trace);
	else
		renew(trace);
}
