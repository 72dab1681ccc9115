/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What became of a captured frame, and which rule had a say in it.  Called by workers, under RCU.
 *
 * Of a frame that came in by a captured port it is what the switch counted and sent while it had
 * that frame alone, with the verdict that the miss path noted or that its connection has.  Of one
 * that a captured port sends and that came in elsewhere, it is what its connection says.
 */
#include <config.h>

#include "datapath/capture.h"

#include <string.h>

#include "datapath/mac_table.h"

void capture_count(const struct worker *worker, struct capture_counts *counts)
{
	for (unsigned int i = 0; i < DROP_N_REASONS; i++) {
		counts->input[i] = atomic_load_explicit(&worker->drops[i], memory_order_relaxed);
		counts->output[i] = worker->output_drops[i];
	}
}

/* Why a frame was dropped since then, or DROP_NONE. */
static enum drop_reason reason_since(
	const struct worker *worker, const struct capture_counts *before)
{
	for (unsigned int i = DROP_NONE + 1; i < DROP_N_REASONS; i++) {
		if (atomic_load_explicit(&worker->drops[i], memory_order_relaxed) !=
				before->input[i] ||
			worker->output_drops[i] != before->output[i])
			return i;
	}
	return DROP_NONE;
}

enum capture_verdict capture_verdict_of(enum drop_reason reason)
{
	switch (reason) {
	case DROP_NONE: return CAPTURE_ALLOWED;
	case DROP_SPOOFED_MAC:
	case DROP_SPOOFED_ADDRESS:
	case DROP_SPOOFED_ARP:
	case DROP_SPOOFED_ND:
	case DROP_ROUTER_ADVERTISEMENT:
	case DROP_DHCP_SERVER:
	case DROP_POLICY:
	case DROP_REJECTED:
	case DROP_QUARANTINE:
	case DROP_FTP_BOUNCE: return CAPTURE_DENIED;
	default:
		return reason >= DROP_TABLE_FULL && reason <= DROP_LIMITS_FULL ? CAPTURE_DENIED
									       : CAPTURE_DROPPED;
	}
}

/* --- The frame's key ------------------------------------------------------------------------ */

/* As classify_vlan() of worker.c finds it, for a frame that it lets pass. */
static uint32_t net_of(const struct port *port, const struct packet *packet)
{
	const struct port_settings *settings =
		atomic_load_explicit(&port->settings, memory_order_acquire);
	uint16_t vlan = packet->vlan_tci & 0xfff;

	if (!(packet->flags & PACKET_TAGGED) || vlan == 0 || vlan == settings->vlan)
		return settings->vlan;
	if (!(packet->flags & PACKET_DOUBLE_TAGGED))
		return vlan;
	return vlan | (uint32_t)(packet->inner_tci & 0xfff) << 12;
}

bool capture_key(const struct port *in, const uint8_t *data, uint32_t bytes, uint32_t frame_bytes,
	struct packet *packet)
{
	if (packet_parse(data, bytes, frame_bytes, packet) != DROP_NONE)
		return false;
	packet->key.net = net_of(in, packet);
	packet->key.in_port = in->number;
	return true;
}

/* --- Its connection ------------------------------------------------------------------------- */

static void copy_rule(struct cordon_switch *sw, uint32_t flow, struct capture_fate *fate)
{
	struct conn *conn = conn_of_flow(sw->connections, flow);

	conn_lock(conn);
	fate->has_rule = true;
	fate->rule = atomic_load(&conn->rule);
	fate->policy_revision = atomic_load(&conn->policy_revision);
	fate->source_zone = atomic_load(&conn->source_zone);
	fate->destination_zone = atomic_load(&conn->destination_zone);
	conn_unlock(conn);
	fate->connection = flow / 2;
}

static void find_connection(
	struct cordon_switch *sw, struct packet *packet, struct capture_fate *fate)
{
	packet->hash = conn_hash(sw->connections, &packet->key);
	uint32_t flow = conn_lookup(sw->connections, &packet->key, packet->hash);

	if (flow != CONN_FLOW_NONE)
		copy_rule(sw, flow, fate);
}

void capture_put_verdict(struct capture_fate *fate, const struct verdict *verdict)
{
	fate->has_rule = true;
	fate->rule = verdict->rule;
	fate->policy_revision = verdict->policy_revision;
	fate->source_zone = verdict->source_zone;
	fate->destination_zone = verdict->destination_zone;
}

/* --- The fate ------------------------------------------------------------------------------- */

/* True if the zones come before what the reason stands for: then they have been asked. */
static bool zones_were_asked(enum drop_reason reason)
{
	return reason == DROP_NONE || reason >= DROP_POLICY;
}

void capture_tell_fate(const struct worker *worker, struct capture_tap *tap,
	const struct capture_counts *before, struct packet *packet)
{
	enum drop_reason reason = reason_since(worker, before);
	struct capture_fate *fate = &tap->fate;

	fate->reason = (uint8_t)reason;
	fate->verdict = (uint8_t)capture_verdict_of(reason);
	if (reason == DROP_NONE && fate->n_outputs == 0)
		fate->verdict = CAPTURE_HELD;
	if (zones_were_asked(reason) && packet != NULL)
		find_connection(worker->sw, packet, fate);
	if (tap->decided)
		capture_put_verdict(fate, &tap->verdict);
}

/* The port that the frame came in by: its own flow says, or else where its sender's MAC is. */
static void find_sender(struct cordon_switch *sw, const struct port *out, struct packet *packet,
	const uint8_t *data, struct capture_fate *fate)
{
	const struct conn_key mirror = conn_key_reverse(&packet->key, out->number);
	uint32_t answer =
		conn_lookup(sw->connections, &mirror, conn_hash(sw->connections, &mirror));

	if (answer != CONN_FLOW_NONE) {
		copy_rule(sw, answer, fate);
		fate->in_port = conn_flow(sw->connections, answer ^ 1)->key.in_port;
		return;
	}
	fate->in_port = mac_lookup(sw->macs, packet->key.net & 0xfff, data + 6);
	if (fate->in_port == 0)
		return;
	packet->key.in_port = fate->in_port;
	find_connection(sw, packet, fate);
}

void capture_guess_fate(struct cordon_switch *sw, const struct port *out, struct rte_mbuf *frame,
	struct capture_fate *fate)
{
	const uint8_t *data = rte_pktmbuf_mtod(frame, const uint8_t *);
	struct packet packet;

	*fate = (struct capture_fate){.verdict = CAPTURE_ALLOWED,
		.n_outputs = 1,
		.outputs = {out->number},
		.connection = CONN_FLOW_NONE};
	if (capture_key(
		    out, data, rte_pktmbuf_data_len(frame), rte_pktmbuf_pkt_len(frame), &packet))
		find_sender(sw, out, &packet, data, fate);
}
