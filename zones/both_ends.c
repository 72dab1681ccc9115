/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection judged at both ends.  Called by the replay of the stored log, by `cordon why`, and
 * by the switch's evaluation of live connections, on their threads.
 */
#include "zones/both_ends.h"

size_t both_ends_questions(const struct connection_end *source,
	const struct connection_end *destination, const struct zone_question *service,
	struct zone_question questions[BOTH_ENDS_QUESTIONS_MAX])
{
	bool same = source->near == source->far && destination->near == destination->far;
	size_t n = 0;

	if (source->is_vnic) {
		questions[n] = *service;
		questions[n].source_zone = source->near;
		questions[n++].destination_zone = destination->far;
	}
	if (destination->is_vnic && !(source->is_vnic && same)) {
		questions[n] = *service;
		questions[n].source_zone = source->far;
		questions[n++].destination_zone = destination->near;
	}
	return n;
}

static void begin(struct both_ends_verdict *verdict)
{
	*verdict = (struct both_ends_verdict){.verdict = {.action = ZONE_ALLOW, .rule = RULE_NONE}};
}

static void note_zones(struct both_ends_verdict *verdict, const struct zone_question *question)
{
	verdict->n_asked++;
	verdict->source_zone = question->source_zone;
	verdict->destination_zone = question->destination_zone;
}

void both_ends_decide(const struct zone_policy *policy, const struct zone_question *questions,
	size_t n, struct both_ends_verdict *verdict)
{
	begin(verdict);
	for (size_t i = 0; i < n && verdict->verdict.action == ZONE_ALLOW; i++) {
		zone_decide(policy, &questions[i], &verdict->verdict);
		note_zones(verdict, &questions[i]);
	}
}

bool both_ends_decide_simulated(const struct zone_policy *policy,
	const struct zone_question *questions, size_t n, struct both_ends_verdict *verdict)
{
	struct both_ends_verdict simulated;

	begin(&simulated);
	for (size_t i = 0; i < n && simulated.verdict.action == ZONE_ALLOW; i++) {
		if (!zone_decide_simulated(policy, &questions[i], &simulated.verdict))
			return false;
		note_zones(&simulated, &questions[i]);
	}
	if (!n)
		return false;
	*verdict = simulated;
	return true;
}
