/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that come in by a captured port.  Called by the port's worker, in place of switching the
 * burst.
 *
 * What nobody wants to see is switched in bursts as ever.  A frame that is wanted goes through the
 * switch alone: its copy is made before, the copies of what it leaves as are made between the
 * switch and the ports that send it, and what the drop counters say then is what became of it.
 */
#include <config.h>

#include "datapath/capture.h"

#include <string.h>

#include "datapath/inject.h"

/* A wanted frame on its way. */
struct passage {
	struct worker *worker;
	const struct capture_taps *taps;
	struct capture_tap tap;
	struct capture_counts before;
	struct capture_record *received[CAPTURE_SESSIONS_MAX]; /* By place in `taps`; or NULL. */
	uint64_t marks[CAPTURE_SESSIONS_MAX];		       /* Likewise. */
};

static bool is_wanted(const struct passage *passage, size_t i)
{
	return passage->tap.wanted & 1u << passage->taps->at[i]->slot;
}

static struct capture_ring *ring_of(const struct passage *passage, size_t i)
{
	return passage->taps->at[i]->rings[passage->worker->id];
}

/* --- Before --------------------------------------------------------------------------------- */

static uint32_t who_wants(const struct capture_taps *taps, const struct rte_mbuf *frame)
{
	uint32_t wanted = 0;

	for (size_t i = 0; i < taps->n; i++)
		if (capture_accepts(taps->at[i], frame))
			wanted |= 1u << taps->at[i]->slot;
	return wanted;
}

static void take_received(struct passage *passage, const struct rte_mbuf *frame)
{
	for (size_t i = 0; i < passage->taps->n; i++) {
		struct capture_session *session = passage->taps->at[i];

		passage->received[i] = NULL;
		if (!is_wanted(passage, i))
			continue;
		passage->marks[i] = capture_ring_mark(ring_of(passage, i));
		if (!(session->order.points & CAPTURE_IN))
			continue;
		passage->received[i] =
			capture_take(session, passage->worker, passage->tap.in, CAPTURE_IN, frame);
		passage->tap.lost[session->slot] += passage->received[i] == NULL;
	}
}

/* A kernel says only by the sum that it has left it to the network card. */
static void note_checksum(
	struct passage *passage, const struct packet *packet, const struct rte_mbuf *frame)
{
	if (!passage->tap.in->fills_checksums || !offload_is_partial(frame, packet))
		return;
	for (size_t i = 0; i < passage->taps->n; i++)
		if (passage->received[i] != NULL)
			passage->received[i]->checksum_missing = true;
}

/* --- Between the switch and the output ports ------------------------------------------------ */

static void note_outputs(struct passage *passage)
{
	const struct worker *worker = passage->worker;
	struct capture_fate *fate = &passage->tap.fate;

	for (uint16_t i = 0; i < worker->n_pending; i++) {
		if (worker->pending[i] == passage->tap.in->number)
			continue; /* An answer to it. */
		if (fate->n_outputs < CAPTURE_OUTPUTS_MAX)
			fate->outputs[fate->n_outputs] = worker->pending[i];
		fate->n_outputs++;
	}
}

/* True if the port's own tap copies what it sends for the session. */
static bool sees_it_itself(const struct port *port, const struct capture_session *session)
{
	const struct capture_taps *taps = capture_taps_of(port);

	for (size_t i = 0; taps != NULL && i < taps->n; i++)
		if (taps->at[i] == session)
			return true;
	return false;
}

/* The frames for one port, on the way out. */
struct leaving {
	const struct port *port;
	const struct tx_batch *batch;
	struct capture_record *copies[CAPTURE_SESSIONS_MAX][BURST_MAX];
};

static void take_leaving(struct passage *passage, struct leaving *leaving)
{
	memset(leaving->copies, 0, sizeof(leaving->copies));
	for (size_t s = 0; s < passage->taps->n; s++) {
		struct capture_session *session = passage->taps->at[s];

		if (!is_wanted(passage, s) || !(session->order.points & CAPTURE_OUT) ||
			sees_it_itself(leaving->port, session))
			continue;
		for (uint16_t i = 0; i < leaving->batch->n; i++) {
			leaving->copies[s][i] = capture_take(session, passage->worker,
				leaving->port, CAPTURE_OUT, leaving->batch->frames[i]);
			passage->tap.lost[session->slot] += leaving->copies[s][i] == NULL;
		}
	}
}

/* What the port has not sent are the last ones of the batch. */
static void tell_sent(const struct passage *passage, struct leaving *leaving, uint16_t n,
	uint16_t n_sent, enum drop_reason reason)
{
	struct capture_fate fate = passage->tap.fate;

	fate.n_outputs = 1;
	fate.outputs[0] = leaving->port->number;
	for (size_t s = 0; s < passage->taps->n; s++) {
		for (uint16_t i = 0; i < n; i++) {
			struct capture_record *copy = leaving->copies[s][i];

			if (copy == NULL)
				continue;
			copy->fate = fate;
			copy->fate.reason = i < n_sent ? DROP_NONE : (uint8_t)reason;
			copy->fate.verdict = i < n_sent ? CAPTURE_ALLOWED : CAPTURE_DROPPED;
		}
	}
}

/* How many frames an output has dropped since then, and why. */
static uint64_t dropped_since(const struct worker *worker, const uint64_t before[DROP_N_REASONS],
	enum drop_reason *reason)
{
	uint64_t n = 0;

	*reason = DROP_NONE;
	for (unsigned int i = DROP_NONE + 1; i < DROP_N_REASONS; i++) {
		if (worker->output_drops[i] == before[i])
			continue;
		*reason = i;
		n += worker->output_drops[i] - before[i];
	}
	return n;
}

/* Sends the batch of one port.  Returns why not, if none of it could be sent. */
static enum drop_reason send_batch(struct passage *passage, uint16_t number)
{
	struct worker *worker = passage->worker;
	struct leaving leaving = {
		.port = switch_port(worker->sw, number), .batch = &worker->tx[number]};
	uint64_t before[DROP_N_REASONS];
	uint16_t n = leaving.batch->n;
	enum drop_reason reason;

	memcpy(before, worker->output_drops, sizeof(before));
	if (leaving.port != NULL)
		take_leaving(passage, &leaving);
	output_send(worker, number);
	uint64_t dropped = dropped_since(worker, before, &reason);
	uint16_t n_sent = dropped < n ? (uint16_t)(n - dropped) : 0;
	if (leaving.port != NULL)
		tell_sent(passage, &leaving, n, n_sent, reason);
	return n_sent == 0 ? reason : DROP_NONE;
}

/* Sends all that the frame has become; a frame that no port could send is dropped after all. */
static void send_all(struct passage *passage)
{
	struct worker *worker = passage->worker;
	struct capture_fate *fate = &passage->tap.fate;
	enum drop_reason reason = DROP_NONE;
	uint16_t failed = 0;

	for (uint16_t i = 0; i < worker->n_pending; i++) {
		enum drop_reason why = send_batch(passage, worker->pending[i]);

		if (why == DROP_NONE || worker->pending[i] == passage->tap.in->number)
			continue;
		reason = why;
		failed++;
	}
	worker->n_pending = 0;
	if (failed == 0 || failed < fate->n_outputs)
		return;
	fate->reason = (uint8_t)reason;
	fate->verdict = CAPTURE_DROPPED;
}

/* --- After ---------------------------------------------------------------------------------- */

/* Lets the session have its copies, if this is a frame of the kind that it wants. */
static void settle(struct passage *passage, size_t i)
{
	struct capture_session *session = passage->taps->at[i];
	const struct capture_tap *tap = &passage->tap;

	if (!(session->order.verdicts & tap->fate.verdict)) {
		capture_ring_rewind(ring_of(passage, i), passage->marks[i]);
		return;
	}
	if (passage->received[i] != NULL)
		passage->received[i]->fate = tap->fate;
	capture_ring_publish(ring_of(passage, i));
	if (tap->lost[session->slot] != 0)
		capture_lose(session, tap->in->number, tap->lost[session->slot]);
}

/* --- The frame, and the burst --------------------------------------------------------------- */

static void pass(struct worker *worker, struct port *port, const struct capture_taps *taps,
	uint32_t wanted, struct rte_mbuf *frame, struct injection *injection)
{
	struct passage passage = {.worker = worker,
		.taps = taps,
		.tap = {.in = port,
			.wanted = wanted,
			.fate = {.in_port = port->number, .connection = CONN_FLOW_NONE}}};
	struct packet packet;

	take_received(&passage, frame);
	bool has_key = capture_key(port, rte_pktmbuf_mtod(frame, const uint8_t *),
		rte_pktmbuf_data_len(frame), rte_pktmbuf_pkt_len(frame), &packet);
	if (has_key)
		note_checksum(&passage, &packet, frame);
	capture_count(worker, &passage.before);
	worker->tap = &passage.tap;
	worker_switch(worker, port, &frame, 1);
	if (injection != NULL)
		inject_note_outputs(worker, injection);
	note_outputs(&passage);
	capture_tell_fate(worker, &passage.tap, &passage.before, has_key ? &packet : NULL);
	send_all(&passage);
	worker->tap = NULL;
	for (size_t i = 0; i < taps->n; i++)
		if (is_wanted(&passage, i))
			settle(&passage, i);
}

static void switch_unwanted(struct worker *worker, struct port *port, struct rte_mbuf **frames,
	uint16_t n, struct injection *injection)
{
	worker_switch(worker, port, frames, n);
	if (injection != NULL)
		inject_note_outputs(worker, injection);
	output_flush(worker);
}

void capture_receive(struct worker *worker, struct port *port, struct rte_mbuf **frames, uint16_t n,
	struct injection *injection)
{
	const struct capture_taps *taps = capture_taps_of(port);
	uint16_t done = 0;

	for (uint16_t i = 0; taps != NULL && i < n; i++) {
		uint32_t wanted = who_wants(taps, frames[i]);

		if (wanted == 0)
			continue;
		if (done < i)
			switch_unwanted(worker, port, frames + done, i - done, injection);
		pass(worker, port, taps, wanted, frames[i], injection);
		done = i + 1;
	}
	if (done < n)
		switch_unwanted(worker, port, frames + done, n - done, injection);
}
