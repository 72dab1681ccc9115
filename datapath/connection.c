/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What packets do to their connection: opening it, stepping its state, its time-outs, and its count
 * in its port's quota.  connection_step() runs for every packet, on the worker that polls the
 * packet's port; the rest on the miss path and in the sweep.
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
	if (atomic_fetch_or(&conn->flags, CONN_CONFIRMED) & CONN_CONFIRMED)
		return;
	struct port_quota *quota = &sw->quotas[atomic_load(&conn->quota_port) % PORTS_MAX];
	atomic_fetch_sub_explicit(&quota->n_half_open, 1, memory_order_relaxed);
}

static enum drop_reason step_tcp(struct worker *worker, struct conn *conn, unsigned int direction,
	const struct packet *packet, const uint8_t *data, bool *reopen)
{
	struct tcp_segment segment = read_segment(packet, data);

	switch (tcp_step(
		&conn->dir[direction].tcp, &conn->dir[!direction].tcp, &segment, direction == 0)) {
	case TCP_OK: break;
	case TCP_OK_STATE_CHANGED:
		if (tcp_state(&conn->dir[0].tcp, &conn->dir[1].tcp) >= TCP_ESTABLISHED &&
			!(atomic_load_explicit(&conn->flags, memory_order_relaxed) &
				CONN_CONFIRMED))
			confirm(worker->sw, conn);
		break;
	case TCP_REOPEN: *reopen = true; break;
	case TCP_BAD_FLAGS: return DROP_TCP_FLAGS;
	case TCP_OUT_OF_STATE: return DROP_TCP_OUT_OF_STATE;
	case TCP_OUT_OF_WINDOW: return DROP_TCP_WINDOW;
	}
	return DROP_NONE;
}

enum drop_reason connection_step(struct worker *worker, struct conn *conn, unsigned int direction,
	const struct packet *packet, const uint8_t *data, bool *reopen)
{
	uint8_t flags = atomic_load_explicit(&conn->flags, memory_order_relaxed);

	if (flags & CONN_TCP) {
		if (unlikely(packet->flags & PACKET_FRAGMENT_LATER))
			return DROP_NONE;
		return step_tcp(worker, conn, direction, packet, data, reopen);
	}
	if (unlikely(direction == 1 && !(flags & CONN_CONFIRMED)))
		confirm(worker->sw, conn);
	return DROP_NONE;
}

enum drop_reason connection_may_open(const struct packet *packet)
{
	const uint8_t handshake = TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_RST | TCP_FLAG_FIN;

	if (packet->flags & PACKET_FRAGMENT_LATER)
		return DROP_FRAGMENT_NO_FIRST;
	if (packet->protocol == IPPROTO_TCP && !tcp_flags_valid(packet->tcp_flags))
		return DROP_TCP_FLAGS;
	if (packet->protocol == IPPROTO_TCP && (packet->tcp_flags & handshake) != TCP_FLAG_SYN)
		return DROP_TCP_OUT_OF_STATE;
	if (packet->protocol == IPPROTO_ICMP && packet->icmp_type == ICMP_ECHOREPLY)
		return DROP_ICMP_UNRELATED;
	if (packet->protocol == IPPROTO_ICMPV6 && packet->icmp_type == ICMP6_ECHO_REPLY)
		return DROP_ICMP_UNRELATED;
	return DROP_NONE;
}

void connection_set_verdict(struct conn *conn, const struct verdict *verdict)
{
	uint8_t keep = (uint8_t) ~(CONN_LOG_SESSION | CONN_LOG_DENIED), set = 0;

	if (verdict->action == ZONE_ALLOW && verdict->log >= ZONE_LOG_SESSION)
		set = CONN_LOG_SESSION;
	else if (verdict->action != ZONE_ALLOW && verdict->log != ZONE_LOG_NONE)
		set = CONN_LOG_DENIED;
	conn_lock(conn);
	atomic_store(&conn->rule, verdict->rule);
	atomic_store(&conn->policy_revision, verdict->policy_revision);
	atomic_store(&conn->source_zone, verdict->source_zone);
	atomic_store(&conn->destination_zone, verdict->destination_zone);
	atomic_store(&conn->verdict, verdict->action == ZONE_ALLOW ? CONN_ALLOWED : CONN_DENIED);
	atomic_fetch_and(&conn->flags, keep);
	atomic_fetch_or(&conn->flags, set);
	conn_unlock(conn);
}

static void count_in_quota(struct cordon_switch *sw, struct conn *conn, uint16_t port)
{
	struct port_quota *quota = &sw->quotas[port % PORTS_MAX];

	atomic_store(&conn->quota_port, port);
	atomic_fetch_add_explicit(&quota->n_connections, 1, memory_order_relaxed);
	if (!(atomic_load(&conn->flags) & CONN_CONFIRMED))
		atomic_fetch_add_explicit(&quota->n_half_open, 1, memory_order_relaxed);
}

void connection_release(struct cordon_switch *sw, struct conn *conn)
{
	uint16_t port = atomic_exchange(&conn->quota_port, 0);
	struct port_quota *quota = &sw->quotas[port % PORTS_MAX];

	if (port == 0)
		return;
	atomic_fetch_sub_explicit(&quota->n_connections, 1, memory_order_relaxed);
	if (!(atomic_load(&conn->flags) & CONN_CONFIRMED))
		atomic_fetch_sub_explicit(&quota->n_half_open, 1, memory_order_relaxed);
}

static void adopt_one(struct conn_table *table, uint32_t number, void *sw_)
{
	struct conn *conn = conn_of_flow(table, 2 * number);

	count_in_quota(sw_, conn, atomic_load(&conn->quota_port));
	for (unsigned int i = 0; i < 2; i++) {
		struct flow *flow = conn_flow(table, 2 * number + i);

		atomic_store(&flow->program, PROGRAM_NONE);
		atomic_store(&flow->forwarding_revision, 0);
		atomic_store(&flow->policy_epoch, 0);
	}
}

void connection_adopt_all(struct cordon_switch *sw)
{
	conn_for_each(sw->connections, 0, conn_high_water(sw->connections), adopt_one, sw);
}

void connection_open(struct packet_context *context, uint32_t flow, const struct verdict *verdict)
{
	struct cordon_switch *sw = context->worker->sw;
	struct conn *conn = conn_of_flow(sw->connections, flow);

	connection_release(sw, conn);
	for (unsigned int i = 0; i < 2; i++) {
		atomic_store(&conn->dir[i].packets, 0);
		atomic_store(&conn->dir[i].bytes, 0);
	}
	conn->start_ns = context->worker->now_ns;
	conn->icmp_type = context->packet->icmp_type;
	conn->icmp_code = context->packet->icmp_code;
	atomic_fetch_and(&conn->flags, (uint8_t)CONN_REVERSE);
	count_in_quota(sw, conn, context->in->number);
	if (context->packet->protocol == IPPROTO_TCP && verdict->action == ZONE_ALLOW) {
		struct tcp_segment segment = read_segment(context->packet, context->data);

		tcp_open(&conn->dir[0].tcp, &conn->dir[1].tcp, &segment, false);
		atomic_fetch_or(&conn->flags, CONN_TCP);
	}
	connection_set_verdict(conn, verdict);
}

/* A table that fills up first lets go of what is over: from 60 % full to 90 %, the time-outs of
 * ended and unanswered connections shrink to a tenth. */
static uint32_t under_pressure(const struct conn_table *table, uint32_t seconds)
{
	uint64_t percent = 100ull * conn_count(table) / conn_capacity(table);

	if (percent <= 60)
		return seconds;
	if (percent >= 90)
		return seconds / 10 + 1;
	return (uint32_t)(seconds - seconds * (percent - 60) * 3 / 100);
}

uint32_t connection_timeout(const struct timeouts *timeouts, const struct conn_table *table,
	const struct conn *conn, uint8_t protocol)
{
	uint8_t flags = atomic_load(&conn->flags);
	bool answered = flags & CONN_CONFIRMED;

	if (atomic_load(&conn->verdict) != CONN_ALLOWED)
		return under_pressure(table, timeouts->denied);
	if (flags & CONN_TCP) {
		enum tcp_state state = tcp_state(&conn->dir[0].tcp, &conn->dir[1].tcp);
		uint32_t seconds = timeouts->tcp[state];

		return state == TCP_ESTABLISHED ? seconds : under_pressure(table, seconds);
	}
	switch (protocol) {
	case IPPROTO_UDP:
		return answered ? timeouts->udp : under_pressure(table, timeouts->udp_unanswered);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: return timeouts->icmp;
	default: return answered ? timeouts->other : timeouts->udp_unanswered;
	}
}
