/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What packets do to their connection: opening it, stepping its state, and its time-outs.
 * connection_step() runs for every packet, on the worker that polls the packet's port; the rest on
 * the miss path and in the sweep.
 *
 * The two directions of a connection may be on two workers.  Each writes its own side's counters
 * and TCP state only; the verdict is written under conn_lock(), and flags by atomic or.
 */
#include <config.h>

#include "datapath/switch.h"

#include <arpa/inet.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include "datapath/checksum.h"

/* RFC 5382 (REQ-5: 2 h 4 min established, 4 min in transition), RFC 9293 (2 MSL), RFC 4787 (REQ-5:
 * 5 min for UDP) and RFC 5508 (REQ-2: 60 s for ICMP queries).  What was never answered goes soon:
 * that is what a scan or a flood fills the table with. */
const struct timeouts timeouts_default = {
	.tcp =
		{
			[TCP_NONE] = 30,
			[TCP_SYN_SENT] = 30,
			[TCP_SYN_RECEIVED] = 60,
			[TCP_ESTABLISHED] = 7440,
			[TCP_FIN_WAIT] = 240,
			[TCP_CLOSING] = 240,
			[TCP_TIME_WAIT] = 240,
			[TCP_CLOSED] = 10,
		},
	.udp_unanswered = 30,
	.udp = 300,
	.icmp = 60,
	.other = 300,
	.denied = 10,
};

enum { OVER_SECONDS = 2 };

static struct tcp_segment read_segment(const struct packet *packet, const uint8_t *data)
{
	const uint8_t *tcp = data + packet->l4_offset;
	uint32_t header_bytes = (tcp[12] >> 4) * 4u;
	uint32_t sequence, acknowledgment;
	uint16_t window;

	memcpy(&sequence, tcp + 4, sizeof(sequence));
	memcpy(&acknowledgment, tcp + 8, sizeof(acknowledgment));
	memcpy(&window, tcp + 14, sizeof(window));
	return (struct tcp_segment){
		.sequence = ntohl(sequence),
		.acknowledgment = ntohl(acknowledgment),
		.payload_bytes = packet->l4_bytes - header_bytes,
		.window = ntohs(window),
		.flags = tcp[13],
		.options_bytes = (uint8_t)(header_bytes - 20),
		.options = tcp + 20,
	};
}

/* The connection was answered, so it no longer counts as half-open.  Only one thread finds the flag
 * unset. */
static void confirm(struct cordon_switch *sw, struct conn *conn)
{
	if (!(atomic_fetch_or(&conn->flags, CONN_CONFIRMED) & CONN_CONFIRMED))
		quota_confirm(sw, conn);
}

/* A connection is half-open until both sides were heard, and the handshake is complete. */
static bool is_answered(const struct conn *conn)
{
	return tcp_state(&conn->dir[0].tcp, &conn->dir[1].tcp) >= TCP_ESTABLISHED &&
	       tcp_load8(&conn->dir[1].tcp.progress) != TCP_SIDE_NOTHING;
}

/* A segment that may begin or end something: not believed if it is damaged. */
static bool is_decisive(const struct tcp_side *sender, const struct tcp_segment *segment)
{
	return segment->flags & (TCP_FLAG_SYN | TCP_FLAG_FIN | TCP_FLAG_RST) ||
	       tcp_load8(&sender->progress) < TCP_SIDE_OPEN;
}

/* What is no ordinary segment of an open connection.  Out of line, and with a segment of its own,
 * so that the ordinary one's stays in registers. */
static __rte_noinline enum drop_reason step_tcp_rare(const struct packet_context *context,
	struct conn *conn, unsigned int direction, bool *reopen)
{
	const struct tcp_segment segment = read_segment(context->packet, context->data);
	struct tcp_side *sender = &conn->dir[direction].tcp;

	if (is_decisive(sender, &segment)) {
		enum drop_reason reason = checksum_verify(context->frame, context->packet);

		if (reason != DROP_NONE)
			return reason;
	}
	switch (tcp_step_rare(sender, &conn->dir[!direction].tcp, &segment, direction == 0)) {
	case TCP_OK: break;
	case TCP_OK_STATE_CHANGED:
		if (is_answered(conn) &&
			!(atomic_load_explicit(&conn->flags, memory_order_relaxed) &
				CONN_CONFIRMED))
			confirm(context->worker->sw, conn);
		break;
	case TCP_REOPEN: *reopen = true; break;
	case TCP_BAD_FLAGS: return DROP_TCP_FLAGS;
	case TCP_OUT_OF_STATE: return DROP_TCP_OUT_OF_STATE;
	case TCP_OUT_OF_WINDOW: return DROP_TCP_WINDOW;
	}
	return DROP_NONE;
}

static inline enum drop_reason step_tcp(const struct packet_context *context, struct conn *conn,
	unsigned int direction, bool *reopen)
{
	struct tcp_segment segment = read_segment(context->packet, context->data);

	if (likely(tcp_step_common(
		    &conn->dir[direction].tcp, &conn->dir[!direction].tcp, &segment)))
		return DROP_NONE;
	return step_tcp_rare(context, conn, direction, reopen);
}

static inline bool is_echo_reply(const struct packet *packet)
{
	return packet->icmp_type ==
	       (packet->protocol == IPPROTO_ICMP ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY);
}

/* ICMP counts only in its own family: in the other one it is a protocol without types. */
static inline bool is_own_icmp(const struct packet *packet)
{
	return packet->protocol ==
	       (packet->key.kind == CONN_KEY_IPV4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/* An echo whose identifier is the very number that tells requests from replies in the key. */
static inline bool is_echo(const struct packet *packet)
{
	return (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6) &&
	       packet->key.source_port == packet->key.destination_port;
}

enum drop_reason connection_step(const struct packet_context *context, struct conn *conn,
	unsigned int direction, bool *reopen)
{
	const struct packet *packet = context->packet;
	uint8_t flags = atomic_load_explicit(&conn->flags, memory_order_relaxed);

	if (flags & CONN_TCP)
		return step_tcp(context, conn, direction, reopen);
	if (unlikely(is_echo(packet) && is_echo_reply(packet) != (direction == 1) &&
		     is_own_icmp(packet)))
		return DROP_ICMP_UNRELATED;
	if (unlikely(direction == 1 && !(flags & CONN_CONFIRMED)))
		confirm(context->worker->sw, conn);
	return DROP_NONE;
}

static void copy_side(const struct tcp_side *side, struct tcp_side *copy)
{
	atomic_init(&copy->sent_end, tcp_load(&side->sent_end));
	atomic_init(&copy->granted, tcp_load(&side->granted));
	atomic_init(&copy->max_window, tcp_load(&side->max_window));
	atomic_init(&copy->progress, tcp_load8(&side->progress));
	atomic_init(&copy->flags, tcp_load8(&side->flags));
	atomic_init(&copy->flags_seen, tcp_load8(&side->flags_seen));
	atomic_init(&copy->again, tcp_load8(&side->again));
}

void connection_copy(const struct conn *conn, struct conn *copy)
{
	memset(copy, 0, sizeof(*copy)); /* In nobody's quota. */
	for (unsigned int i = 0; i < 2; i++)
		copy_side(&conn->dir[i].tcp, &copy->dir[i].tcp);
	atomic_init(&copy->flags, atomic_load(&conn->flags));
	atomic_init(&copy->verdict, atomic_load(&conn->verdict));
}

enum drop_reason connection_may_open(const struct packet *packet)
{
	const uint8_t handshake = TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST | TCP_FLAG_FIN;

	if (packet->protocol == IPPROTO_TCP && !tcp_flags_valid(packet->tcp_flags))
		return DROP_TCP_FLAGS;
	if (packet->protocol == IPPROTO_TCP && (packet->tcp_flags & handshake) != TCP_FLAG_SYN)
		return DROP_TCP_OUT_OF_STATE;
	return is_own_icmp(packet) && is_echo_reply(packet) ? DROP_ICMP_UNRELATED : DROP_NONE;
}

bool connection_may_pick_up(const struct packet *packet)
{
	const uint8_t handshake = TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST | TCP_FLAG_FIN;

	return packet->protocol == IPPROTO_TCP && !(packet->flags & PACKET_FRAGMENT_LATER) &&
	       tcp_flags_valid(packet->tcp_flags) &&
	       (packet->tcp_flags & handshake) == TCP_FLAG_ACK;
}

static void write_verdict(struct conn *conn, const struct verdict *verdict)
{
	atomic_store_explicit(&conn->rule, verdict->rule, memory_order_relaxed);
	atomic_store_explicit(
		&conn->policy_revision, verdict->policy_revision, memory_order_relaxed);
	atomic_store_explicit(&conn->source_zone, verdict->source_zone, memory_order_relaxed);
	atomic_store_explicit(
		&conn->destination_zone, verdict->destination_zone, memory_order_relaxed);
	atomic_store_explicit(&conn->verdict,
		verdict->action == ZONE_ALLOW ? CONN_ALLOWED : CONN_DENIED, memory_order_relaxed);
}

bool connection_set_verdict(struct cordon_switch *sw, uint32_t number,
	const struct verdict *verdict, struct rule_hits_time now)
{
	struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	const struct rule_hits_by by = {.rule = verdict->rule,
		.revision = verdict->policy_revision,
		.allowed = verdict->action == ZONE_ALLOW};

	conn_lock(conn);
	bool is_first = atomic_load(&conn->policy_revision) != verdict->policy_revision ||
			atomic_load(&conn->source_zone) != verdict->source_zone ||
			atomic_load(&conn->destination_zone) != verdict->destination_zone;
	rule_hits_move(sw->hits, sw->connections, number, by, now);
	write_verdict(conn, verdict);
	conn_unlock(conn);
	return is_first;
}

/* The connection is over, and another one takes its place. */
static void replace_verdict(struct conn *conn, const struct verdict *verdict)
{
	conn_lock(conn);
	write_verdict(conn, verdict);
	conn_unlock(conn);
}

/* What the first packet says of the connection.  True if its TCP state is kept. */
static bool begin(struct packet_context *context, uint32_t flow, const struct verdict *verdict)
{
	struct worker *worker = context->worker;
	struct conn_table *table = worker->sw->connections;
	struct conn *conn = conn_of_flow(table, flow);
	bool tcp = context->packet->protocol == IPPROTO_TCP && verdict->action == ZONE_ALLOW;

	for (unsigned int i = 0; i < 2; i++) {
		atomic_store_explicit(
			&conn_flow(table, flow ^ i)->last_seen, worker->now, memory_order_relaxed);
	}
	atomic_store_explicit(&conn->dir[0].packets, context_frames(context), memory_order_relaxed);
	atomic_store_explicit(&conn->dir[0].bytes, context_bytes(context), memory_order_relaxed);
	atomic_store_explicit(&conn->start_ns, worker->now_ns, memory_order_relaxed);
	atomic_store_explicit(&conn->icmp_type,
		verdict->is_related ? verdict->control_port >> 8 : context->packet->icmp_type,
		memory_order_relaxed);
	atomic_store_explicit(&conn->icmp_code,
		verdict->is_related ? (uint8_t)verdict->control_port : context->packet->icmp_code,
		memory_order_relaxed);
	if (tcp) {
		struct tcp_segment segment = read_segment(context->packet, context->data);

		/* Without a SYN, it was found to be one that is picked up. */
		tcp_open(&conn->dir[0].tcp, &conn->dir[1].tcp, &segment, true);
	}
	return tcp;
}

static uint8_t related_flags(const struct verdict *verdict)
{
	return (verdict->is_related ? CONN_RELATED : 0) |
	       (verdict->server_opens ? CONN_SERVER_OPENS : 0);
}

void connection_open(
	struct packet_context *context, uint32_t flow, uint16_t out, const struct verdict *verdict)
{
	struct cordon_switch *sw = context->worker->sw;
	struct conn *conn = conn_of_flow(sw->connections, flow);
	bool tcp = begin(context, flow, verdict), allowed = verdict->action == ZONE_ALLOW;

	atomic_store_explicit(
		&conn->quota_port, quota_count(context, flow / 2, out), memory_order_relaxed);
	if (unlikely(verdict->limits != 0)) {
		atomic_store_explicit(&conn->limits, verdict->limits, memory_order_relaxed);
		atomic_store_explicit(&conn->limits_half_open, 1, memory_order_relaxed);
	}
	atomic_store_explicit(&conn->out_port, out, memory_order_relaxed);
	write_verdict(conn, verdict);
	atomic_store_explicit(&conn->flags,
		(tcp ? CONN_TCP : 0) | related_flags(verdict) |
			(allowed && verdict->log >= ZONE_LOG_SESSION ? CONN_LOGGED : 0),
		memory_order_relaxed);
}

void connection_reopen(
	struct packet_context *context, uint32_t flow, uint16_t out, const struct verdict *verdict)
{
	struct cordon_switch *sw = context->worker->sw;
	struct conn *conn = conn_of_flow(sw->connections, flow);

	if (conn_is_live(sw->connections, flow / 2)) /* Else the sweep has settled it. */
		rule_hits_end(sw->hits, sw->connections, flow / 2, worker_time(context->worker));
	atomic_store_explicit(&conn->dir[1].packets, 0, memory_order_relaxed);
	atomic_store_explicit(&conn->dir[1].bytes, 0, memory_order_relaxed);
	bool tcp = begin(context, flow, verdict);
	quota_count_again(context, flow / 2, out);
	replace_verdict(conn, verdict);
	uint8_t kinds = (tcp ? CONN_TCP : 0) | related_flags(verdict);
	if (kinds != 0)
		atomic_fetch_or(&conn->flags, kinds);
	atomic_fetch_and(&conn->flags, CONN_REVERSE | kinds);
	if (unlikely(verdict->limits != 0))
		connection_limits_attach(sw, flow / 2, verdict->limits);
}

/* A table that fills up first lets go of what is over: from 60 % full to 90 %, the time-outs shrink
 * to `least`. */
static uint32_t under_pressure(const struct conn_table *table, uint32_t seconds, uint32_t least)
{
	uint64_t percent = 100ull * conn_count(table) / conn_capacity(table);

	if (percent <= 60 || seconds <= least)
		return seconds;
	if (percent >= 90)
		return least;
	return (uint32_t)(seconds - (seconds - least) * (percent - 60) / 30);
}

/* Of what is unanswered: a slow answer may still come. */
static uint32_t tenth(uint32_t seconds)
{
	return seconds / 10 + 1;
}

uint32_t connection_timeout(const struct timeouts *timeouts, const struct conn_table *table,
	const struct conn *conn, uint8_t protocol)
{
	uint8_t flags = atomic_load(&conn->flags);
	bool answered = flags & CONN_CONFIRMED;

	if (atomic_load(&conn->verdict) != CONN_ALLOWED)
		return under_pressure(table, timeouts->denied, 1);
	if (flags & CONN_TCP) {
		enum tcp_state state = tcp_state(&conn->dir[0].tcp, &conn->dir[1].tcp);
		uint32_t seconds = timeouts->tcp[state];

		/* Picked up in mid-stream, and the other side has not been heard. */
		if (!answered && state == TCP_ESTABLISHED)
			return under_pressure(table, timeouts->tcp[TCP_SYN_SENT],
				tenth(timeouts->tcp[TCP_SYN_SENT]));
		/* What both sides have ended waits for nothing but late segments. */
		if (state == TCP_TIME_WAIT || state == TCP_CLOSED)
			return under_pressure(table, seconds, OVER_SECONDS);
		return state == TCP_ESTABLISHED ? seconds
						: under_pressure(table, seconds, tenth(seconds));
	}
	switch (protocol) {
	case IPPROTO_UDP:
		return answered ? timeouts->udp
				: under_pressure(table, timeouts->udp_unanswered,
					  tenth(timeouts->udp_unanswered));
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: return timeouts->icmp;
	default: return answered ? timeouts->other : timeouts->udp_unanswered;
	}
}
