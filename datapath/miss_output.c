/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the zones say of the outputs of a frame, and frames that go to several ports at once. Called
 * by workers on the miss path.
 */
#include <config.h>

#include "datapath/miss.h"

#include "datapath/capture.h"

bool miss_is_quarantined(const struct miss *miss, const struct port *port)
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
	if (miss_is_quarantined(miss, miss->context->in) || miss_is_quarantined(miss, out))
		*verdict = (struct verdict){.action = ZONE_DENY, .quarantined = true};
	else if (miss->signalling == SIGNALLING_TO_SERVERS && !signalling_serves_dhcp(out))
		*verdict = (struct verdict){.action = ZONE_DENY}; /* It is not asked. */
}

void miss_decide_output(const struct miss *miss, const struct port *out, struct verdict *verdict)
{
	if (miss->signalling != SIGNALLING_NONE)
		decide_signalling(miss, out, verdict);
	else
		verdict_decide_between(miss->endpoints, miss->context->in, out,
			&miss->context->packet->key, miss->context->packet->icmp_type,
			miss->context->packet->icmp_code, &miss->owners, verdict);
}

enum drop_reason miss_denial_reason(const struct verdict *verdict)
{
	if (verdict->quarantined)
		return DROP_QUARANTINE;
	return verdict->action == ZONE_REJECT ? DROP_REJECTED : DROP_POLICY;
}

void miss_log_denial(const struct miss *miss, const struct verdict *verdict, uint16_t out)
{
	if (verdict->log != ZONE_LOG_NONE)
		event_packet(miss->context, LOG_DENIED, miss_denial_reason(verdict), verdict, out);
}

size_t miss_allowed_actions(const struct miss *miss, struct action actions[2 * PORTS_MAX],
	struct verdict *decisive, uint16_t *denied_at)
{
	const struct packet_context *context = miss->context;
	bool tagged = context->packet->flags & PACKET_TAGGED;
	struct verdict verdict = {0};
	size_t n = 0;

	*denied_at = 0;
	for (uint16_t i = 0; i < miss->forwarding.n_outputs; i++) {
		const struct port *out =
			switch_port(context->worker->sw, miss->forwarding.outputs[i]);

		if (out == NULL)
			continue;
		miss_decide_output(miss, out, &verdict);
		if (verdict.action != ZONE_ALLOW) {
			if (n == 0)
				*decisive = verdict;
			*denied_at = out->number;
			continue;
		}
		if (n == 0)
			*decisive = verdict;
		n += forward_output_actions(
			out, context->packet->key.net & 0xfff, &tagged, actions + n);
	}
	return n;
}

/* A frame to a group makes no connection, so the log is told of it by itself: of the first port
 * that simulated policies would keep it from. */
static void note_simulation(const struct miss *miss)
{
	struct packet_context *context = miss->context;
	struct verdict verdict;

	if (likely(!zone_policy_has_simulated(endpoint_map_policy(miss->endpoints))))
		return;
	for (uint16_t i = 0; i < miss->forwarding.n_outputs; i++) {
		const struct port *out =
			switch_port(context->worker->sw, miss->forwarding.outputs[i]);

		if (out == NULL)
			continue;
		miss_decide_output(miss, out, &verdict);
		if (verdict.action == ZONE_ALLOW &&
			simulation_note_frame(context, miss->endpoints, &verdict, out))
			return;
	}
}

void miss_send_to_allowed(const struct miss *miss)
{
	struct packet_context *context = miss->context;
	struct action actions[2 * PORTS_MAX];
	struct verdict decisive = {0};
	uint16_t denied_at;
	size_t n = miss_allowed_actions(miss, actions, &decisive, &denied_at);

	/* Others are packets of a connection, which counts them. */
	if (context->packet->flags & PACKET_GROUP && (n != 0 || denied_at != 0) &&
		miss->signalling == SIGNALLING_NONE) {
		hits_to_group(context, &decisive);
		note_simulation(miss);
	}
	if (n != 0) {
		actions_run(context->worker, actions, n, context->frame);
		return;
	}
	if (denied_at != 0) {
		miss_log_denial(miss, &decisive, denied_at);
		capture_refused(context, denied_at, miss_denial_reason(&decisive), &decisive);
	}
	packet_drop(context->worker, context->frame,
		denied_at != 0 ? miss_denial_reason(&decisive) : DROP_OUTPUT_MISSING);
}

void miss_decide_outputs(const struct miss *miss, struct verdict *verdict)
{
	for (uint16_t i = 0; i < miss->forwarding.n_outputs; i++) {
		const struct port *out =
			switch_port(miss->context->worker->sw, miss->forwarding.outputs[i]);

		if (out == NULL)
			continue;
		miss_decide_output(miss, out, verdict);
		if (verdict->action == ZONE_ALLOW)
			return;
	}
}
