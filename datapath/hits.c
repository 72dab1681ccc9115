/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule hits as the miss path counts them: packets that no connection's counters have.  Called by
 * workers.  What connections have is the sweep's to add up; rule_hits.h says how.
 */
#include <config.h>

#include "datapath/switch.h"

static struct rule_hits_by decided_by(const struct verdict *verdict, bool allowed)
{
	return (struct rule_hits_by){
		.rule = verdict->rule, .revision = verdict->policy_revision, .allowed = allowed};
}

void hits_denied(const struct packet_context *context, const struct verdict *verdict)
{
	rule_hits_packet(context->worker->sw->hits, decided_by(verdict, false),
		context_frames(context), context_bytes(context), 1, worker_time(context->worker));
}

void hits_to_group(const struct packet_context *context, const struct verdict *verdict)
{
	bool allowed = verdict->action == ZONE_ALLOW;

	rule_hits_packet(context->worker->sw->hits, decided_by(verdict, allowed),
		context_frames(context), context_bytes(context), !allowed,
		worker_time(context->worker));
}

void hits_refused(const struct packet_context *context, const struct verdict *verdict)
{
	rule_hits_refused(
		context->worker->sw->hits, decided_by(verdict, true), worker_time(context->worker));
}
