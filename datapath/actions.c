/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries action programs out, and gathers frames into one batch per output port.  Called by
 * workers, from the packet path and from the miss path.
 */
#include <config.h>

#include "datapath/switch.h"

#include <string.h>

#include <rte_ether.h>
#include <rte_mbuf.h>

#include "datapath/reassembly.h"

void output_send(struct worker *worker, uint16_t number)
{
	struct tx_batch *batch = &worker->tx[number];
	struct port *port = switch_port(worker->sw, number);

	if (port != NULL) {
		port_tx(port, &worker->sw->environment, worker->id, batch->frames, batch->n,
			worker->output_drops);
		if (port_wants_notify(port))
			worker_note(worker, port, 0, PORT_SENT);
	} else {
		worker->output_drops[DROP_OUTPUT_MISSING] += batch->n;
		rte_pktmbuf_free_bulk(batch->frames, batch->n);
	}
	batch->n = 0;
}

void output_add(struct worker *worker, uint16_t number, struct rte_mbuf *frame)
{
	struct tx_batch *batch = &worker->tx[number];

	if (batch->n == BURST_MAX)
		output_send(worker, number);
	else if (batch->n == 0)
		worker->pending[worker->n_pending++] = number;
	batch->frames[batch->n++] = frame;
}

void output_flush(struct worker *worker)
{
	for (uint16_t i = 0; i < worker->n_pending; i++)
		output_send(worker, worker->pending[i]);
	worker->n_pending = 0;
}

/* Opens four bytes behind the MACs and writes the tag there. */
static bool push_vlan(struct rte_mbuf *frame, uint16_t tci)
{
	uint8_t *data = (uint8_t *)rte_pktmbuf_prepend(frame, 4);

	if (data == NULL)
		return false;
	memmove(data, data + 4, 12);
	memcpy(data + 12, &(uint16_t){rte_cpu_to_be_16(RTE_ETHER_TYPE_VLAN)}, 2);
	memcpy(data + 14, &(uint16_t){rte_cpu_to_be_16(tci)}, 2);
	if (frame->l2_len != 0)
		frame->l2_len += 4;
	return true;
}

static void pop_vlan(struct rte_mbuf *frame)
{
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);

	memmove(data + 4, data, 12);
	rte_pktmbuf_adj(frame, 4);
	if (frame->l2_len >= 18)
		frame->l2_len -= 4;
}

/* A copy of its own for one of several outputs: ports may write to what they send. */
static void output_copy(struct worker *worker, uint16_t number, struct rte_mbuf *frame)
{
	struct rte_mbuf *copy = rte_pktmbuf_copy(
		frame, worker->sw->environment.pool, 0, rte_pktmbuf_pkt_len(frame));

	atomic_fetch_add_explicit(&worker->stats.copied, 1, memory_order_relaxed);
	if (copy == NULL) {
		worker->output_drops[DROP_NO_BUFFER]++;
		return;
	}
	output_add(worker, number, copy);
}

static inline void run(
	struct worker *worker, const struct action *actions, size_t n, struct rte_mbuf *frame)
{
	for (size_t i = 0; i < n; i++) {
		const struct action *action = &actions[i];

		switch (action->type) {
		case ACTION_OUTPUT:
			if (i + 1 == n) {
				output_add(worker, action->argument, frame);
				return;
			}
			output_copy(worker, action->argument, frame);
			break;
		case ACTION_PUSH_VLAN:
			if (!push_vlan(frame, action->argument)) {
				packet_drop(worker, frame, DROP_NO_BUFFER);
				return;
			}
			break;
		case ACTION_POP_VLAN: pop_vlan(frame); break;
		case ACTION_DROP: packet_drop(worker, frame, action->reason); return;
		}
	}
	packet_drop(worker, frame, DROP_NO_OUTPUT);
}

void actions_run(
	struct worker *worker, const struct action *actions, size_t n, struct rte_mbuf *frame)
{
	run(worker, actions, n, frame);
	if (unlikely(worker->followers.n != 0))
		reassembly_run_followers(worker, actions, n);
}
