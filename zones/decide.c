/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict on a connection.  Called by every worker on the miss path, once per vNIC that the
 * first packet leaves or enters; takes no lock and allocates nothing.
 */
#include "zones/policy.h"

/* Nothing passes to or from an endpoint of which the policy does not know what it is. */
static const struct zone_verdict quarantined = {
	.action = ZONE_DENY, .log = ZONE_LOG_DENIED, .rule = RULE_NONE};

static struct zone_verdict decide_by_default(
	const struct zone_policy *policy, uint16_t source, uint16_t destination)
{
	return (struct zone_verdict){
		.action = source == destination ? policy->within[source] : policy->between_zones,
		.log = policy->baseline_log,
		.rule = policy->n_rules + 1 + (uint32_t)source * policy->n_zones + destination,
	};
}

void zone_decide(const struct zone_policy *policy, const struct zone_question *question,
	struct zone_verdict *verdict)
{
	uint16_t source = question->source_zone, destination = question->destination_zone;
	uint32_t point = service_point(
		question->protocol, question->type, question->code, question->destination_port);
	int level = 0;

	if (source == ZONE_QUARANTINE || destination == ZONE_QUARANTINE ||
		source >= policy->n_zones || destination >= policy->n_zones) {
		*verdict = quarantined;
		return;
	}
	do {
		uint32_t found =
			rule_index_find(&policy->levels[level], source, destination, point);

		if (found == RULE_NO_VERDICT)
			break;
		verdict->rule = found >> VERDICT_RULE_SHIFT;
		verdict->action = found >> VERDICT_ACTION_SHIFT & VERDICT_FIELD_MASK;
		verdict->log = found & VERDICT_FIELD_MASK;
		if (verdict->action != ZONE_PASS)
			return;
		level = policy->level_behind[found >> VERDICT_TIER_SHIFT & VERDICT_FIELD_MASK];
	} while (level != LEVEL_NONE);
	*verdict = decide_by_default(policy, source, destination);
}
