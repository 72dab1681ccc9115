/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the rules that can never decide anything.  Called by the command line when it plans a
 * policy, on its own thread.
 *
 * A rule is reached by a question if no rule before it in its tier matches, and each earlier tier
 * passes or has no match.  Between two zones the services at which the answer may change are few,
 * and are walked one by one.  `any` stands for every zone, but most zones are alike to a rule: what
 * is not reached between zones of which no rule speaks is not reached from or to any other zone
 * either, since more rules only take more away.  Only a `pass` of an earlier tier gives something
 * back; so the zones that such rules name are walked too.  Thousands of these beside thousands of
 * rules for `any` would take hours: the search is given up before.
 */
#include "zones/policy.h"

#include <stdlib.h>

/* What may be spent on a search: something like a second. */
enum { WORK_MAX = 100000000, WORK_OF_POINT = 16, WORK_OF_PASS = 1 };

struct reach {
	const struct zone_policy *policy;
	const struct policy_levels *levels;
	uint16_t nowhere; /* Stands for a zone that no rule names. */
	uint32_t rule, tier;
	uint32_t by; /* The first rule seen to take something away from `rule`. */
	/* What rules of earlier tiers pass from or to some zone. */
	const struct rule_cell **passes;
	size_t n_passes, allocated_passes;
	uint32_t work; /* Up to WORK_MAX, and a little more. */
};

static uint32_t rule_of(uint32_t verdict)
{
	return verdict >> VERDICT_RULE_SHIFT;
}

static uint32_t tier_of(uint32_t verdict)
{
	return verdict >> VERDICT_TIER_SHIFT & VERDICT_TIER_MASK;
}

static bool is_pass(uint32_t verdict)
{
	return (verdict >> VERDICT_ACTION_SHIFT & VERDICT_FIELD_MASK) == ZONE_PASS;
}

static bool is_spent(const struct reach *reach)
{
	return reach->work >= WORK_MAX;
}

/* Follows a question, which the rule matches, until it is decided or comes to the rule.  *next
 * becomes the first point behind at which that may be otherwise. */
static bool point_reached(
	struct reach *reach, uint16_t from, uint16_t to, uint32_t point, uint32_t *next)
{
	int level = 0;

	*next = SERVICE_POINT_MAX + 1;
	for (;;) {
		const struct rule_index *index = &reach->levels->at[level];
		uint32_t found = rule_index_find(index, from, to, point);
		uint32_t change = rule_index_next(index, from, to, point);

		if (change < *next)
			*next = change;
		if (rule_of(found) == reach->rule)
			return true;
		if (!is_pass(found) || tier_of(found) == reach->tier) {
			if (reach->by == RULE_NONE || rule_of(found) < reach->by)
				reach->by = rule_of(found);
			return false;
		}
		level = reach->levels->behind[tier_of(found)];
	}
}

static bool pair_reached(
	struct reach *reach, const struct rule_cell *cell, uint16_t from, uint16_t to)
{
	uint32_t next;

	for (uint32_t point = cell->first; point <= cell->last; point = next) {
		reach->work += WORK_OF_POINT;
		if (point_reached(reach, from, to, point, &next) || is_spent(reach))
			return true;
	}
	return false;
}

/* The part of a cell that a pass speaks of: nothing is given back elsewhere.  False: none. */
static bool part_passed(
	const struct rule_cell *cell, const struct rule_cell *pass, struct rule_cell *part)
{
	*part = *cell;
	if (pass->first > part->first)
		part->first = pass->first;
	if (pass->last < part->last)
		part->last = pass->last;
	return part->first <= part->last;
}

/* From one zone to any. */
static bool row_reached(struct reach *reach, const struct rule_cell *cell, uint16_t from)
{
	struct rule_cell part;

	if (pair_reached(reach, cell, from, reach->nowhere)) {
		for (uint16_t to = 1; to < reach->policy->n_zones; to++) {
			if (pair_reached(reach, cell, from, to))
				return true;
		}
		return false;
	}
	for (size_t i = 0; i < reach->n_passes; i++) {
		const struct rule_cell *pass = reach->passes[i];

		reach->work += WORK_OF_PASS;
		if (pass->to != RULE_ZONE_ANY &&
			(pass->from == RULE_ZONE_ANY || pass->from == from) &&
			part_passed(cell, pass, &part) &&
			pair_reached(reach, &part, from, pass->to))
			return true;
	}
	return false;
}

/* From any zone to one. */
static bool column_reached(struct reach *reach, const struct rule_cell *cell, uint16_t to)
{
	struct rule_cell part;

	if (pair_reached(reach, cell, reach->nowhere, to)) {
		for (uint16_t from = 1; from < reach->policy->n_zones; from++) {
			if (pair_reached(reach, cell, from, to))
				return true;
		}
		return false;
	}
	for (size_t i = 0; i < reach->n_passes; i++) {
		const struct rule_cell *pass = reach->passes[i];

		reach->work += WORK_OF_PASS;
		if (pass->from != RULE_ZONE_ANY && (pass->to == RULE_ZONE_ANY || pass->to == to) &&
			part_passed(cell, pass, &part) &&
			pair_reached(reach, &part, pass->from, to))
			return true;
	}
	return false;
}

/* From any zone to any. */
static bool all_reached(struct reach *reach, const struct rule_cell *cell)
{
	struct rule_cell part;

	if (pair_reached(reach, cell, reach->nowhere, reach->nowhere)) {
		for (uint16_t from = 1; from < reach->policy->n_zones; from++) {
			if (row_reached(reach, cell, from))
				return true;
		}
		return false;
	}
	for (size_t i = 0; i < reach->n_passes; i++) {
		const struct rule_cell *pass = reach->passes[i];

		reach->work += WORK_OF_PASS;
		if (!part_passed(cell, pass, &part))
			continue;
		if (pass->from == RULE_ZONE_ANY ? column_reached(reach, &part, pass->to)
			: pass->to == RULE_ZONE_ANY
				? row_reached(reach, &part, pass->from)
				: pair_reached(reach, &part, pass->from, pass->to))
			return true;
	}
	return false;
}

static bool cell_reached(struct reach *reach, const struct rule_cell *cell)
{
	if (cell->from == RULE_ZONE_ANY)
		return cell->to == RULE_ZONE_ANY ? all_reached(reach, cell)
						 : column_reached(reach, cell, cell->to);
	return cell->to == RULE_ZONE_ANY ? row_reached(reach, cell, cell->from)
					 : pair_reached(reach, cell, cell->from, cell->to);
}

/* Begins with another tier: what the tiers before it pass is known now. */
static void enter_tier(struct reach *reach, size_t tier, size_t *seen, size_t end)
{
	reach->tier = (uint32_t)tier;
	for (; *seen < end; (*seen)++) {
		const struct rule_cell *cell = &reach->policy->cells[*seen];

		if (!is_pass(cell->verdict) ||
			(cell->from == RULE_ZONE_ANY && cell->to == RULE_ZONE_ANY))
			continue;
		reach->passes = zone_grow(reach->passes, reach->n_passes, &reach->allocated_passes,
			sizeof *reach->passes);
		reach->passes[reach->n_passes++] = cell;
	}
}

/* Judges the rule of the cell at `i`, and returns where the next rule's cells begin.  Once the
 * search is given up, each counts as reached: nothing is said of it. */
static size_t judge_rule(struct reach *reach, size_t i, bool *reached)
{
	const struct zone_policy *policy = reach->policy;

	reach->rule = rule_of(policy->cells[i].verdict);
	reach->by = RULE_NONE;
	reach->levels =
		policy->rules[reach->rule - 1].simulated ? &policy->simulated : &policy->enforced;
	*reached = false;
	for (; i < policy->n_cells && rule_of(policy->cells[i].verdict) == reach->rule; i++) {
		if (!*reached && policy->n_zones > 1)
			*reached = is_spent(reach) || cell_reached(reach, &policy->cells[i]) ||
				   is_spent(reach);
	}
	return i;
}

bool zone_each_unreachable_rule(const struct zone_policy *policy,
	void (*each)(uint32_t rule, uint32_t by, void *context), void *context)
{
	struct reach reach = {.policy = policy, .nowhere = policy->n_zones};
	size_t seen = 0, next;
	bool reached;

	for (size_t i = 0; i < policy->n_cells; i = next) {
		uint32_t tier = tier_of(policy->cells[i].verdict);

		if (!i || tier != reach.tier)
			enter_tier(&reach, tier, &seen, i);
		next = judge_rule(&reach, i, &reached);
		if (!reached)
			each(reach.rule, reach.by, context);
	}
	free(reach.passes);
	return !is_spent(&reach);
}
