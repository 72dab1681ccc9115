/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP errors: each belongs to the connection of the packet that it quotes, or to none.  Called by
 * workers on the miss path, for every ICMP error; they never become flows.
 */
#include <config.h>

#include "datapath/icmp_quote.h"
#include "datapath/miss.h"

/* What find_connection() is to know and to find. */
struct search {
	const struct miss *miss;
	const struct port *out; /* Where the error goes: the quoted packet came in there. */
	uint32_t flow;
};

/* True if the connection was found allowed under the policy in force: a flow is given the epoch
 * behind the verdict, so whoever reads the epoch first reads no verdict that is older. */
static bool is_judged(const struct miss *miss, uint32_t flow)
{
	const struct packet_context *context = miss->context;
	struct conn_table *table = context->worker->sw->connections;

	for (unsigned int i = 0; i < 2; i++)
		if (atomic_load_explicit(&conn_flow(table, flow ^ i)->policy_epoch,
			    memory_order_acquire) == context->revisions->policy)
			return true;
	return false;
}

/* What the policy in force says of the connection, which has had no packet under it yet.  The error
 * goes to where the quoted packet came from, and comes from where that one went. */
static bool is_allowed_now(const struct search *search)
{
	const struct port *in = search->miss->context->in;
	bool quotes_answer = search->flow & 1;
	struct verdict verdict;

	related_decide(search->miss->endpoints, quotes_answer ? in : search->out,
		quotes_answer ? search->out : in, search->miss->context->worker->sw->connections,
		search->flow / 2, &verdict);
	return verdict.action == ZONE_ALLOW;
}

static bool find_connection(struct conn_key *key, struct icmp_subject *subject, void *search_)
{
	struct search *search = search_;
	const struct packet_context *context = search->miss->context;
	struct cordon_switch *sw = context->worker->sw;
	struct conn_table *table = sw->connections;

	key->net = context->packet->key.net;
	key->in_port = search->out->number;
	search->flow = conn_lookup(table, key, conn_hash(table, key));
	if (search->flow == CONN_FLOW_NONE)
		return false;
	const struct conn *conn = conn_of_flow(table, search->flow);
	bool judged = is_judged(search->miss, search->flow);
	if (atomic_load(&conn->verdict) != CONN_ALLOWED)
		return false;
	uint16_t left_by = miss_far_port(table, search->flow);
	if (left_by != 0 && !miss_same_side(sw, left_by, context->in))
		return false;
	if (!judged && !is_allowed_now(search))
		return false;
	if (atomic_load(&conn->flags) & CONN_TCP) {
		subject->sender = &conn->dir[search->flow & 1].tcp;
		subject->receiver = &conn->dir[!(search->flow & 1)].tcp;
	}
	return true;
}

enum drop_reason icmp_error_judge(const struct miss *miss, uint32_t *flow)
{
	const struct packet_context *context = miss->context;
	struct search search = {
		.miss = miss,
		.out = switch_port(context->worker->sw, miss->forwarding.outputs[0]),
		.flow = CONN_FLOW_NONE,
	};
	bool believed = !miss->forwarding.flood && search.out != NULL &&
			!miss_is_quarantined(miss, context->in) &&
			!miss_is_quarantined(miss, search.out) &&
			icmp_quote_check(context->data, rte_pktmbuf_data_len(context->frame),
				context->packet, find_connection, &search);

	*flow = search.flow;
	return believed ? DROP_NONE : DROP_ICMP_UNRELATED;
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
