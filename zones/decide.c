/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict on a connection.  Called by every worker on the miss path, once per vNIC that the
 * first packet leaves or enters, and by whoever wants to know how a verdict comes about; takes no
 * lock and allocates nothing.
 */
#include "zones/policy.h"

/* Nothing passes to or from an endpoint of which the policy does not know what it is. */
static const struct zone_verdict quarantined = {
	.action = ZONE_DENY, .log = ZONE_LOG_DENIED, .rule = RULE_NONE};

static inline bool in_quarantine(
	const struct zone_policy *policy, const struct zone_question *question)
{
	uint16_t source = question->source_zone, destination = question->destination_zone;

	return source == ZONE_QUARANTINE || destination == ZONE_QUARANTINE ||
	       source >= policy->n_zones || destination >= policy->n_zones;
}

static struct zone_verdict decide_by_default(
	const struct zone_policy *policy, uint16_t source, uint16_t destination)
{
	return (struct zone_verdict){
		.action = source == destination ? policy->within[source] : policy->between_zones,
		.log = policy->baseline_log,
		.rule = policy->n_rules + 1 + (uint32_t)source * policy->n_zones + destination,
	};
}

static inline void unpack(uint32_t found, struct zone_verdict *verdict)
{
	verdict->rule = found >> VERDICT_RULE_SHIFT;
	verdict->action = found >> VERDICT_ACTION_SHIFT & VERDICT_FIELD_MASK;
	verdict->log = found & VERDICT_FIELD_MASK;
	verdict->helper = found >> VERDICT_HELPER_SHIFT & VERDICT_FIELD_MASK;
	verdict->limited = found & VERDICT_LIMITED;
}

static inline void decide_in(const struct zone_policy *policy, const struct policy_levels *levels,
	const struct zone_question *question, struct zone_verdict *verdict)
{
	uint16_t source = question->source_zone, destination = question->destination_zone;
	uint32_t point = question_point(question);
	int level = 0;

	do {
		uint32_t found = rule_index_find(&levels->at[level], source, destination, point);

		if (found == RULE_NO_VERDICT)
			break;
		unpack(found, verdict);
		if (verdict->action != ZONE_PASS)
			return;
		level = levels->behind[found >> VERDICT_TIER_SHIFT & VERDICT_TIER_MASK];
	} while (level != LEVEL_NONE);
	*verdict = decide_by_default(policy, source, destination);
}

static inline void add_zone_limits(const struct zone_policy *policy,
	const struct zone_question *question, struct zone_verdict *verdict)
{
	if (policy->any_zone_limited && verdict->action == ZONE_ALLOW &&
		policy->zone_limited[question->source_zone])
		verdict->limited = true;
}

void zone_decide(const struct zone_policy *policy, const struct zone_question *question,
	struct zone_verdict *verdict)
{
	if (in_quarantine(policy, question)) {
		*verdict = quarantined;
		return;
	}
	decide_in(policy, &policy->enforced, question, verdict);
	add_zone_limits(policy, question, verdict);
}

bool zone_decide_simulated(const struct zone_policy *policy, const struct zone_question *question,
	struct zone_verdict *verdict)
{
	if (!policy->has_simulated)
		return false;
	if (in_quarantine(policy, question)) {
		*verdict = quarantined;
		return true;
	}
	decide_in(policy, &policy->simulated, question, verdict);
	add_zone_limits(policy, question, verdict);
	return true;
}

size_t zone_explain(const struct zone_policy *policy, const struct zone_question *question,
	bool simulated, struct zone_step steps[ZONE_STEPS_MAX])
{
	const struct policy_levels *levels =
		simulated && policy->has_simulated ? &policy->simulated : &policy->enforced;
	uint32_t point = question_point(question);
	struct zone_verdict verdict = quarantined;
	size_t n = 0;
	int level = 0;

	while (level != LEVEL_NONE && !in_quarantine(policy, question)) {
		uint32_t found = rule_index_find(&levels->at[level], question->source_zone,
			question->destination_zone, point);

		if (found == RULE_NO_VERDICT)
			break;
		unpack(found, &verdict);
		steps[n++] = (struct zone_step){.rule = verdict.rule, .action = verdict.action};
		if (verdict.action != ZONE_PASS)
			return n;
		level = levels->behind[found >> VERDICT_TIER_SHIFT & VERDICT_TIER_MASK];
	}
	if (!in_quarantine(policy, question))
		verdict = decide_by_default(
			policy, question->source_zone, question->destination_zone);
	steps[n++] = (struct zone_step){.rule = verdict.rule, .action = verdict.action};
	return n;
}
