/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP errors: each belongs to the connection of the packet that it quotes, or to none.  Called by
 * workers on the miss path, for every ICMP error; they never become flows.
 */
#include <config.h>

#include "datapath/miss.h"

enum drop_reason icmp_error_judge(const struct miss *miss, uint32_t *flow)
{
	const struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn_table *table = sw->connections;
	const struct port *out = switch_port(sw, miss->forwarding.outputs[0]);
	struct packet quoted;

	*flow = CONN_FLOW_NONE;
	if (miss->forwarding.flood || out == NULL || miss_is_quarantined(miss, context->in) ||
		miss_is_quarantined(miss, out) ||
		!packet_parse_quoted(context->data, rte_pktmbuf_data_len(context->frame),
			context->packet, &quoted))
		return DROP_ICMP_UNRELATED;
	quoted.key.net = context->packet->key.net;
	quoted.key.in_port = out->number;
	*flow = conn_lookup(table, &quoted.key, conn_hash(table, &quoted.key));
	if (*flow == CONN_FLOW_NONE ||
		atomic_load(&conn_of_flow(table, *flow)->verdict) != CONN_ALLOWED)
		return DROP_ICMP_UNRELATED;
	uint16_t left_by = miss_far_port(table, *flow);
	if (left_by != 0 && !miss_same_side(sw, left_by, context->in))
		return DROP_ICMP_UNRELATED;
	return DROP_NONE;
}

void icmp_error_handle(struct miss *miss)
{
	struct packet_context *context = miss->context;
	struct program program;
	uint32_t flow;
	enum drop_reason reason = icmp_error_judge(miss, &flow);

	if (reason != DROP_NONE) {
		packet_drop(context->worker, context->frame, reason);
		return;
	}
	miss_build_output(
		miss, switch_port(context->worker->sw, miss->forwarding.outputs[0]), &program);
	actions_run(context->worker, program.actions, program.n_actions, context->frame);
}
