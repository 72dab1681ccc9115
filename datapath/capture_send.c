/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that a captured port sends.  Called by workers: its back end's tx(), which stands in for
 * the real one's, and calls that.
 *
 * What the real one refuses was copied too: whether it was sent is known only afterwards.
 */
#include <config.h>

#include "datapath/capture.h"

#include "ovs-thread.h"

/* Frames on their way out, a burst at most. */
struct sending {
	struct worker *worker;
	struct port *port;
	const struct capture_taps *taps;
	struct capture_record *copies[CAPTURE_SESSIONS_MAX][BURST_MAX];
};

struct worker *capture_worker(const struct cordon_switch *sw)
{
	unsigned int self = ovsthread_id_self();

	for (unsigned int i = 0; i < sw->n_workers; i++)
		if (sw->workers[i]->thread_id == self)
			return sw->workers[i];
	return NULL;
}

/* True if the session has asked for the frame that is under way, and settles its copies later. */
static bool is_under_way(const struct sending *sending, const struct capture_session *session)
{
	const struct capture_tap *tap = sending->worker->tap;

	return tap != NULL && tap->wanted & 1u << session->slot;
}

static void tell_fate(
	const struct sending *sending, struct rte_mbuf *frame, struct capture_fate *fate)
{
	const struct capture_tap *tap = sending->worker->tap;

	if (tap == NULL) {
		capture_guess_fate(sending->taps->sw, sending->port, frame, fate);
		return;
	}
	*fate = tap->fate;
	fate->n_outputs = 1;
	fate->outputs[0] = sending->port->number;
	fate->is_answer = sending->port == tap->in;
	fate->reason = DROP_NONE;
	fate->verdict = CAPTURE_ALLOWED;
}

static void take(struct sending *sending, size_t s, uint16_t i, struct rte_mbuf *frame)
{
	struct capture_session *session = sending->taps->at[s];
	bool under_way = is_under_way(sending, session);

	sending->copies[s][i] = NULL;
	if (!(session->order.points & CAPTURE_OUT) || !capture_accepts(session, frame))
		return;
	struct capture_record *copy =
		capture_take(session, sending->worker, sending->port, CAPTURE_OUT, frame);
	sending->copies[s][i] = copy;
	if (copy != NULL)
		tell_fate(sending, frame, &copy->fate);
	else if (under_way)
		sending->worker->tap->lost[session->slot]++;
	else
		capture_lose(session, sending->port->number, 1);
}

/* Of what the port sends by itself, the verdict is known before: what is not asked for is not
 * copied in the first place. */
static bool wants_sent(const struct sending *sending, const struct capture_session *session)
{
	return is_under_way(sending, session) ||
	       session->order.verdicts & (CAPTURE_ALLOWED | CAPTURE_DROPPED);
}

static void take_all(struct sending *sending, struct rte_mbuf **frames, uint16_t n)
{
	for (size_t s = 0; s < sending->taps->n; s++) {
		bool wanted = wants_sent(sending, sending->taps->at[s]);

		for (uint16_t i = 0; i < n; i++) {
			sending->copies[s][i] = NULL;
			if (wanted)
				take(sending, s, i, frames[i]);
		}
	}
}

/* Marks what was refused, and lets the session have what it wants of all. */
static void settle(struct sending *sending, size_t s, uint64_t mark, uint16_t n, uint16_t n_sent)
{
	const struct capture_session *session = sending->taps->at[s];
	struct capture_ring *ring = session->rings[sending->worker->id];
	bool up = atomic_load_explicit(&sending->port->link_up, memory_order_relaxed);
	bool under_way = is_under_way(sending, session), any = false;

	for (uint16_t i = 0; i < n; i++) {
		struct capture_record *copy = sending->copies[s][i];

		if (copy == NULL)
			continue;
		if (i >= n_sent) {
			copy->fate.reason = up ? DROP_OUTPUT_FULL : DROP_OUTPUT_DOWN;
			copy->fate.verdict = CAPTURE_DROPPED;
		}
		copy->unwanted = !under_way && !(session->order.verdicts & copy->fate.verdict);
		any |= !copy->unwanted;
	}
	if (under_way)
		return;
	if (any)
		capture_ring_publish(ring);
	else
		capture_ring_rewind(ring, mark);
}

static uint16_t send_burst(
	struct sending *sending, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	uint64_t marks[CAPTURE_SESSIONS_MAX];

	for (size_t s = 0; s < sending->taps->n; s++)
		marks[s] = capture_ring_mark(sending->taps->at[s]->rings[sending->worker->id]);
	take_all(sending, frames, n);
	uint16_t n_sent = sending->taps->real->tx(sending->port, queue, frames, n);
	for (size_t s = 0; s < sending->taps->n; s++)
		settle(sending, s, marks[s], n, n_sent);
	return n_sent;
}

/* struct port_backend's tx(). */
static uint16_t send_frames(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	const struct capture_taps *taps = capture_taps_of(port);
	uint16_t sent = 0;

	if (taps == NULL) /* The capture ended at this moment, and what it stood in for is back. */
		return port_backend_of(port)->tx(port, queue, frames, n);
	struct sending sending = {.port = port, .taps = taps};
	sending.worker = capture_worker(taps->sw);
	while (sent < n) {
		uint16_t burst = RTE_MIN((uint16_t)(n - sent), (uint16_t)BURST_MAX);
		uint16_t n_sent = send_burst(&sending, queue, frames + sent, burst);

		sent += n_sent;
		if (n_sent < burst)
			break;
	}
	return sent;
}

void capture_send_init(struct capture_taps *taps)
{
	taps->backend = *taps->real;
	taps->backend.tx = send_frames;
}
