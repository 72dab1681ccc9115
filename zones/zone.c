/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a policy, and what it can be asked beside verdicts (decide.c).  Called by the control
 * plane, the log thread and the command line; zone_of_prefix() by the packet path too.
 */
#include "zones/zone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/policy.h"

/* --- Life ----------------------------------------------------------------------------------- */

struct zone_policy *zone_policy_create(const char *text, size_t length, uint32_t revision,
	int64_t now, struct policy_errors *errors)
{
	struct zone_policy *policy = NULL;
	struct policy_document document;

	errors->n = errors->n_total = 0;
	if (policy_document_read(&document, text, length, errors))
		policy_document_check(&document, errors);
	if (!errors->n_total)
		policy = zone_policy_compile(&document, revision, now);
	policy_document_free(&document);
	policy_errors_sort(errors);
	return policy;
}

bool zone_policy_check(const char *text, size_t length, struct policy_errors *errors)
{
	struct policy_document document;

	errors->n = errors->n_total = 0;
	if (policy_document_read(&document, text, length, errors))
		policy_document_check(&document, errors);
	policy_document_free(&document);
	policy_errors_sort(errors);
	return !errors->n_total;
}

struct zone_policy *zone_policy_create_empty(void)
{
	struct policy_document document = {.between_zones = ZONE_DENY,
		.within_zone = ZONE_DENY,
		.baseline_log = ZONE_LOG_DENIED};

	return zone_policy_compile(&document, 0, 0);
}

static void levels_free(struct policy_levels *levels)
{
	for (size_t i = 0; i < levels->n; i++)
		rule_index_free(&levels->at[i]);
}

void zone_policy_destroy(struct zone_policy *policy)
{
	if (!policy)
		return;
	levels_free(&policy->enforced);
	levels_free(&policy->simulated);
	free(policy->cells);
	free(policy->limits);
	prefix_table_destroy(policy->prefixes);
	name_table_free(&policy->zone_names);
	arena_free(&policy->arena);
	free(policy);
}

uint32_t zone_policy_revision(const struct zone_policy *policy)
{
	return policy->revision;
}

int64_t zone_policy_next_change(const struct zone_policy *policy)
{
	return policy->next_change;
}

size_t zone_policy_memory_bytes(const struct zone_policy *policy)
{
	return policy->memory_bytes;
}

bool zone_policy_has_simulated(const struct zone_policy *policy)
{
	return policy->has_simulated;
}

/* --- Zones ---------------------------------------------------------------------------------- */

uint16_t zone_count(const struct zone_policy *policy)
{
	return policy->n_zones;
}

struct zone_info zone_info(const struct zone_policy *policy, uint16_t number)
{
	const struct policy_zone *zone = &policy->zones[number];

	return (struct zone_info){.name = zone->name,
		.match = zone->match,
		.prefixes = zone->prefixes,
		.n_prefixes = zone->n_prefixes,
		.intra_deny = zone->within != ZONE_ALLOW,
		.pickup = zone->pickup,
		.limits = zone->limits};
}

int zone_find(const struct zone_policy *policy, const char *name)
{
	return name_table_find(&policy->zone_names, 0, name);
}

uint16_t zone_of_tags(const struct zone_policy *policy, const char *const *tags, size_t n_tags,
	uint16_t conflict[2])
{
	uint16_t found[2] = {ZONE_QUARANTINE, ZONE_QUARANTINE};
	size_t n = 0;

	for (uint16_t i = 1; i < policy->n_zones && n < 2; i++) {
		const struct tag_expression *expression = policy->zones[i].expression;

		if (expression && tag_expression_matches(expression, tags, n_tags))
			found[n++] = i;
	}
	if (conflict) {
		conflict[0] = n == 2 ? found[0] : ZONE_QUARANTINE;
		conflict[1] = found[1];
	}
	return n == 1 ? found[0] : ZONE_QUARANTINE;
}

uint16_t zone_of_prefix(const struct zone_policy *policy, const struct in6_addr *address)
{
	int zone = prefix_table_find(policy->prefixes, address);

	return zone == PREFIX_NONE ? ZONE_QUARANTINE : (uint16_t)zone;
}

/* --- Rules ---------------------------------------------------------------------------------- */

uint32_t zone_rule_count(const struct zone_policy *policy)
{
	return policy->n_rules;
}

static void default_info(const struct zone_policy *policy, uint32_t pair,
	struct zone_rule_info *info, char name[160])
{
	uint16_t source = (uint16_t)(pair / policy->n_zones);
	uint16_t destination = (uint16_t)(pair % policy->n_zones);

	snprintf(name, 160, "%s->%s", policy->zones[source].name, policy->zones[destination].name);
	*info = (struct zone_rule_info){.policy = "baseline",
		.rule = name,
		.tier = "baseline",
		.action = source == destination ? policy->within[source] : policy->between_zones,
		.log = policy->baseline_log,
		.in_force = true,
		.source_zone = source,
		.destination_zone = destination,
		.is_default = true};
}

bool zone_rule_info(const struct zone_policy *policy, uint32_t number, struct zone_rule_info *info,
	char name[160])
{
	uint32_t n_pairs = (uint32_t)policy->n_zones * policy->n_zones;
	const struct policy_rule *rule;

	if (number == RULE_NONE || number - 1 >= policy->n_rules + n_pairs)
		return false;
	if (number > policy->n_rules) {
		default_info(policy, number - 1 - policy->n_rules, info, name);
		return true;
	}
	rule = &policy->rules[number - 1];
	name[0] = '\0';
	*info = (struct zone_rule_info){.policy = policy->policies[rule->policy].id,
		.rule = rule->id,
		.tier = policy->policies[rule->policy].tier,
		.label = rule->labelled ? rule->id + strlen(rule->id) + 1 : NULL,
		.action = rule->action,
		.log = rule->log,
		.helper = rule->helper,
		.in_force = rule->in_force,
		.simulated = rule->simulated,
		.limits = policy->limits[rule->limits]};
	return true;
}
