/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that the miss path refuses on their way to a captured port, wherever they come from: who
 * captures a port wants to see also what never reaches it.  Called by workers.
 *
 * The copy is told as received from the port that it came in by.  If that one is captured too, by
 * the same session, there is one already.
 */
#include <config.h>

#include "datapath/capture.h"

bool capture_watches(const struct cordon_switch *sw, uint16_t out)
{
	const struct port *port = switch_port(sw, out);

	return port != NULL && capture_taps_of(port) != NULL;
}

static void take(struct capture_session *session, const struct packet_context *context,
	const struct capture_fate *fate)
{
	struct capture_ring *ring = session->rings[context->worker->id];
	struct capture_record *record;

	if (!(session->order.points & CAPTURE_IN) || !(session->order.verdicts & fate->verdict) ||
		!capture_accepts(session, context->frame))
		return;
	record = capture_take(session, context->worker, context->in, CAPTURE_IN, context->frame);
	if (record == NULL) {
		capture_lose(session, context->in->number, 1);
		return;
	}
	record->fate = *fate;
	capture_ring_publish(ring);
}

void capture_take_refused(const struct packet_context *context, uint16_t out,
	enum drop_reason reason, const struct verdict *verdict)
{
	struct capture_tap *tap = context->worker->tap;
	const struct port *port = switch_port(context->worker->sw, out);
	const struct capture_taps *taps = port != NULL ? capture_taps_of(port) : NULL;
	struct capture_fate fate = {.verdict = (uint8_t)capture_verdict_of(reason),
		.reason = (uint8_t)reason,
		.in_port = context->in->number,
		.bound_for = out,
		.connection = CONN_FLOW_NONE};

	if (tap != NULL)
		tap->fate.bound_for = out;
	capture_put_verdict(&fate, verdict);
	for (size_t i = 0; taps != NULL && i < taps->n; i++)
		if (tap == NULL || !(tap->wanted & 1u << taps->at[i]->slot))
			take(taps->at[i], context, &fate);
}
