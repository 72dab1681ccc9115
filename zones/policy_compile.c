/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a checked document to a policy that decides.  Called by zone_policy_create(), on its
 * caller's thread; nothing here can fail, since the document has been checked.
 */
#include "zones/policy.h"

#include <stdlib.h>
#include <string.h>

#include "zones/policy_moment.h"

/* --- Zones ---------------------------------------------------------------------------------- */

static const char *copy_text(struct zone_policy *policy, const char *text)
{
	return text ? arena_copy_text(&policy->arena, text, strlen(text)) : NULL;
}

/* The default between members of a zone. */
static uint8_t within_zone(const struct policy_document *document, const struct document_zone *zone)
{
	switch (zone->intra) {
	case INTRA_ALLOW: return ZONE_ALLOW;
	case INTRA_DENY: return ZONE_DENY;
	default: return document->within_zone;
	}
}

static void compile_zone(struct zone_policy *policy, uint16_t number,
	const struct policy_document *document, const struct document_zone *from)
{
	struct policy_zone *zone = &policy->zones[number];
	struct tag_problem problem;

	zone->name = copy_text(policy, from->name.text);
	zone->match = copy_text(policy, from->match);
	if (zone->match)
		zone->expression = tag_expression_parse(&policy->arena, zone->match, &problem);
	zone->n_prefixes = from->n_prefixes;
	zone->prefixes = arena_allocate(&policy->arena, from->n_prefixes * sizeof *zone->prefixes);
	for (uint32_t i = 0; i < from->n_prefixes; i++) {
		zone->prefixes[i] = from->prefixes[i].prefix;
		prefix_table_insert(policy->prefixes, &zone->prefixes[i], number);
	}
	zone->within = within_zone(document, from);
	zone->pickup = from->pickup;
	zone->limits = from->limits;
	policy->zone_limited[number] = zone_limits_any(&from->limits);
	policy->any_zone_limited = policy->any_zone_limited || policy->zone_limited[number];
	policy->within[number] = zone->within;
	name_table_insert(&policy->zone_names, 0, zone->name, number);
}

static void compile_zones(struct zone_policy *policy, const struct policy_document *document)
{
	policy->n_zones = (uint16_t)(document->n_zones + 1);
	policy->zones = arena_allocate(&policy->arena, policy->n_zones * sizeof *policy->zones);
	policy->within = arena_allocate(&policy->arena, policy->n_zones);
	policy->zone_limited =
		arena_allocate(&policy->arena, policy->n_zones * sizeof *policy->zone_limited);
	policy->prefixes = prefix_table_create(document->n_prefixes);
	policy->zones[ZONE_QUARANTINE] =
		(struct policy_zone){.name = "quarantine", .within = ZONE_DENY};
	policy->within[ZONE_QUARANTINE] = ZONE_DENY;
	name_table_insert(&policy->zone_names, 0, "quarantine", ZONE_QUARANTINE);
	for (size_t i = 0; i < document->n_zones; i++)
		compile_zone(policy, (uint16_t)(i + 1), document, &document->zones[i]);
}

/* --- Rules ---------------------------------------------------------------------------------- */

/* The cells of the rules in force, and where each tier's begin. */
struct cell_list {
	struct rule_cell *cells;
	size_t n, allocated;
	size_t tier_begin[POLICY_TIERS_MAX + 1];
	bool tier_passes[POLICY_TIERS_MAX];
};

static uint16_t zone_at(const struct document_names *names, uint32_t i)
{
	return names->any ? RULE_ZONE_ANY : (uint16_t)(names->names[i].index + 1);
}

static uint32_t names_count(const struct document_names *names)
{
	return names->any ? 1 : names->n;
}

static void add_cell(struct cell_list *list, struct rule_cell cell)
{
	list->cells = zone_grow(list->cells, list->n, &list->allocated, sizeof *list->cells);
	list->cells[list->n++] = cell;
}

/* Adds the cells of one rule between two zones. */
static void add_services(struct cell_list *list, const struct policy_document *document,
	const struct document_names *services, struct rule_cell cell)
{
	if (services->any) {
		cell.last = SERVICE_POINT_MAX;
		add_cell(list, cell);
		return;
	}
	for (uint32_t i = 0; i < services->n; i++) {
		const struct document_service *service =
			&document->services[services->names[i].index];

		for (uint32_t j = 0; j < service->n_ranges; j++) {
			cell.first = service->ranges[j].first;
			cell.last = service->ranges[j].last;
			add_cell(list, cell);
		}
	}
}

static void add_rule(struct cell_list *list, const struct policy_document *document,
	const struct document_rule *rule, uint32_t verdict)
{
	for (uint32_t i = 0; i < names_count(&rule->from); i++) {
		for (uint32_t j = 0; j < names_count(&rule->to); j++) {
			struct rule_cell cell = {.from = zone_at(&rule->from, i),
				.to = zone_at(&rule->to, j),
				.verdict = verdict};

			add_services(list, document, &rule->services, cell);
		}
	}
}

/* Keeps a rule's limits, if it has any, and returns where. */
static uint32_t keep_limits(struct zone_policy *policy, const struct zone_limits *limits)
{
	if (!zone_limits_any(limits))
		return 0;
	policy->limits = zone_grow(policy->limits, policy->n_limits, &policy->allocated_limits,
		sizeof *policy->limits);
	policy->limits[policy->n_limits] = *limits;
	return (uint32_t)policy->n_limits++;
}

static uint32_t rule_verdict(const struct zone_policy *policy, const struct document_rule *rule,
	uint32_t number, uint32_t tier)
{
	bool limited = policy->rules[number - 1].limits != 0;

	return number << VERDICT_RULE_SHIFT | tier << VERDICT_TIER_SHIFT |
	       (limited ? VERDICT_LIMITED : 0U) | (uint32_t)rule->helper << VERDICT_HELPER_SHIFT |
	       (uint32_t)rule->action << VERDICT_ACTION_SHIFT | rule->log;
}

/* The rule's name, and behind its NUL the label. */
static const char *copy_names(struct zone_policy *policy, const struct document_rule *rule)
{
	size_t id = strlen(rule->id.text) + 1, label = rule->label ? strlen(rule->label) + 1 : 0;
	char *copy = arena_allocate_text(&policy->arena, id + label);

	memcpy(copy, rule->id.text, id);
	if (label)
		memcpy(copy + id, rule->label, label);
	return copy;
}

static struct policy_rule compile_rule(struct zone_policy *policy, struct policy_moment *moment,
	uint32_t policy_index, const struct document_rule *rule)
{
	const struct document_policy *from = &moment->document->policies[policy_index];

	return (struct policy_rule){
		.id = copy_names(policy, rule),
		.limits = keep_limits(policy, &rule->limits),
		.policy = (uint16_t)policy_index,
		.action = rule->action & VERDICT_FIELD_MASK,
		.log = rule->log & VERDICT_FIELD_MASK,
		.helper = rule->helper & VERDICT_FIELD_MASK,
		.in_force = from->mode != MODE_OFF && policy_moment_has(moment, from, rule),
		.simulated = from->mode == MODE_SIMULATE,
		.labelled = rule->label != NULL,
	};
}

/* Numbers the rules of one policy and adds the cells of those in force. */
static void compile_rules(struct zone_policy *policy, struct policy_moment *moment,
	uint32_t policy_index, struct cell_list *list)
{
	const struct policy_document *document = moment->document;
	const struct document_policy *from = &document->policies[policy_index];
	uint32_t tier = from->tier.index;

	for (uint32_t i = 0; i < from->n_rules; i++) {
		const struct document_rule *rule = &document->rules[from->first_rule + i];
		struct policy_rule *to = &policy->rules[policy->n_rules++];

		*to = compile_rule(policy, moment, policy_index, rule);
		if (!to->in_force)
			continue;
		if (to->simulated)
			policy->has_simulated = true;
		if (rule->action == ZONE_PASS)
			list->tier_passes[tier] = true;
		add_rule(list, document, rule, rule_verdict(policy, rule, policy->n_rules, tier));
	}
}

static void compile_tiers(
	struct zone_policy *policy, struct policy_moment *moment, struct cell_list *list)
{
	const struct policy_document *document = moment->document;

	for (uint32_t tier = 0; tier < document->n_tiers; tier++) {
		list->tier_begin[tier] = list->n;
		for (uint32_t i = 0; i < document->n_policies; i++) {
			if (document->policies[i].tier.index == tier)
				compile_rules(policy, moment, i, list);
		}
	}
	list->tier_begin[document->n_tiers] = list->n;
}

/* Builds the index of all tiers, and one of what is behind each tier that has a `pass` rule. */
static void compile_levels(
	struct policy_levels *levels, size_t n_tiers, const struct cell_list *list, size_t n_zones)
{
	rule_index_build(&levels->at[levels->n++], list->cells, list->n, n_zones);
	for (size_t tier = 0; tier < n_tiers; tier++) {
		size_t begin = list->tier_begin[tier + 1];

		levels->behind[tier] = LEVEL_NONE;
		if (!list->tier_passes[tier] || begin == list->n)
			continue;
		levels->behind[tier] = (int8_t)levels->n;
		rule_index_build(
			&levels->at[levels->n++], list->cells + begin, list->n - begin, n_zones);
	}
}

static const struct policy_rule *rule_of_cell(
	const struct zone_policy *policy, const struct rule_cell *cell)
{
	return &policy->rules[(cell->verdict >> VERDICT_RULE_SHIFT) - 1];
}

/* The cells of the enforced rules alone. */
static struct cell_list select_enforced(
	const struct zone_policy *policy, size_t n_tiers, const struct cell_list *all)
{
	struct cell_list list = {.cells = zone_allocate(all->n, sizeof *all->cells)};

	for (size_t tier = 0; tier < n_tiers; tier++) {
		list.tier_begin[tier] = list.n;
		for (size_t i = all->tier_begin[tier]; i < all->tier_begin[tier + 1]; i++) {
			const struct policy_rule *rule = rule_of_cell(policy, &all->cells[i]);

			if (rule->simulated)
				continue;
			list.cells[list.n++] = all->cells[i];
			if (rule->action == ZONE_PASS)
				list.tier_passes[tier] = true;
		}
	}
	list.tier_begin[n_tiers] = list.n;
	return list;
}

static void compile_policy_names(struct zone_policy *policy, const struct policy_document *document)
{
	policy->n_policies = document->n_policies;
	policy->policies =
		arena_allocate(&policy->arena, document->n_policies * sizeof *policy->policies);
	for (size_t i = 0; i < document->n_policies; i++) {
		const struct document_policy *from = &document->policies[i];

		policy->policies[i].id = copy_text(policy, from->id.text);
		policy->policies[i].tier =
			copy_text(policy, document->tiers[from->tier.index].text);
	}
}

static void compile_policies(
	struct zone_policy *policy, const struct policy_document *document, int64_t now)
{
	struct cell_list all = {0};
	struct policy_moment moment;

	compile_policy_names(policy, document);
	/* The first are those of the rules that have none. */
	policy->limits = zone_grow(NULL, 0, &policy->allocated_limits, sizeof *policy->limits);
	policy->limits[policy->n_limits++] = (struct zone_limits){0};
	policy_moment_init(&moment, document, now);
	policy->rules = arena_allocate(&policy->arena, document->n_rules * sizeof *policy->rules);
	compile_tiers(policy, &moment, &all);
	policy->next_change = moment.next_change;
	policy_moment_free(&moment);
	if (policy->has_simulated) {
		struct cell_list enforced = select_enforced(policy, document->n_tiers, &all);

		compile_levels(&policy->enforced, document->n_tiers, &enforced, policy->n_zones);
		compile_levels(&policy->simulated, document->n_tiers, &all, policy->n_zones);
		free(enforced.cells);
	} else {
		compile_levels(&policy->enforced, document->n_tiers, &all, policy->n_zones);
	}
	policy->n_cells = all.n;
	policy->cells = zone_trim(all.cells, all.n, sizeof *all.cells);
}

static size_t levels_bytes(const struct policy_levels *levels)
{
	size_t bytes = 0;

	for (size_t i = 0; i < levels->n; i++)
		bytes += rule_index_bytes(&levels->at[i]);
	return bytes;
}

struct zone_policy *zone_policy_compile(
	const struct policy_document *document, uint32_t revision, int64_t now)
{
	struct zone_policy *policy = zone_allocate(1, sizeof *policy);

	policy->revision = revision;
	policy->between_zones = document->between_zones;
	policy->baseline_log = document->baseline_log;
	compile_zones(policy, document);
	compile_policies(policy, document, now);
	policy->memory_bytes =
		sizeof *policy + policy->arena.bytes + name_table_bytes(&policy->zone_names) +
		prefix_table_bytes(policy->prefixes) + policy->n_cells * sizeof *policy->cells +
		policy->allocated_limits * sizeof *policy->limits +
		levels_bytes(&policy->enforced) + levels_bytes(&policy->simulated);
	return policy;
}
