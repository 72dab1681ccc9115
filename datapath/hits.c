/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule hits as the miss path counts them: packets that no connection's counters have.  Called by
 * workers.  What connections have is the sweep's to add up; rule_hits.h says how.
 */
#include <config.h>

#include "datapath/capture.h"

static struct rule_hits_by decided_by(const struct verdict *verdict, bool allowed)
{
	return (struct rule_hits_by){
		.rule = verdict->rule, .revision = verdict->policy_revision, .allowed = allowed};
}

/* A captured packet's fate is told with the rule that decided it. */
static inline void note_for_capture(
	const struct packet_context *context, const struct verdict *verdict)
{
	struct capture_tap *tap = context->worker->tap;

	if (likely(tap == NULL))
		return;
	tap->decided = true;
	tap->verdict = *verdict;
}

void hits_denied(const struct packet_context *context, const struct verdict *verdict)
{
	note_for_capture(context, verdict);
	rule_hits_packet(context->worker->sw->hits, decided_by(verdict, false),
		context_frames(context), context_bytes(context), 1, worker_time(context->worker));
}

void hits_to_group(const struct packet_context *context, const struct verdict *verdict)
{
	bool allowed = verdict->action == ZONE_ALLOW;

	note_for_capture(context, verdict);
	rule_hits_packet(context->worker->sw->hits, decided_by(verdict, allowed),
		context_frames(context), context_bytes(context), !allowed,
		worker_time(context->worker));
}

void hits_refused(const struct packet_context *context, const struct verdict *verdict)
{
	note_for_capture(context, verdict);
	rule_hits_refused(
		context->worker->sw->hits, decided_by(verdict, true), worker_time(context->worker));
}
