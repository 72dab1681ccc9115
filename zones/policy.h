/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of a compiled policy, for the files that make and ask it.  All else uses zones/zone.h.
 */
#ifndef ZONES_POLICY_H
#define ZONES_POLICY_H

#include "zones/arena.h"
#include "zones/name_table.h"
#include "zones/policy_document.h"
#include "zones/prefix_table.h"
#include "zones/rule_index.h"
#include "zones/tag_expression.h"
#include "zones/zone.h"

/* A rule's verdict in 32 bits, so that a look-up ends where the rule is found: the number on top,
 * which makes the lesser of two verdicts that of the rule that comes first. */
enum {
	VERDICT_RULE_SHIFT = 12,
	VERDICT_TIER_SHIFT = 8,
	VERDICT_TIER_MASK = 15,
	VERDICT_LIMITED = 1 << 6,
	VERDICT_HELPER_SHIFT = 4,
	VERDICT_ACTION_SHIFT = 2,
	VERDICT_FIELD_MASK = 3, /* Of helper, action and log. */
};

_Static_assert(ZONE_RULES_MAX < 1 << 20, "a rule's number fits its bits");
_Static_assert(POLICY_TIERS_MAX <= VERDICT_TIER_MASK + 1, "a tier fits its bits");
_Static_assert((int)ZONE_PASS <= (int)VERDICT_FIELD_MASK, "an action fits its bits");
_Static_assert((int)ZONE_LOG_ALL <= (int)VERDICT_FIELD_MASK, "a log level fits its bits");
_Static_assert((int)ZONE_HELPER_TFTP <= (int)VERDICT_FIELD_MASK, "a helper fits its bits");

/* No tier: the baseline. */
enum { LEVEL_NONE = -1 };

struct policy_zone {
	const char *name, *match;
	struct tag_expression *expression; /* NULL: no endpoint is in it by its tags. */
	struct ip_prefix *prefixes;
	size_t n_prefixes;
	uint8_t within; /* enum zone_action: the default between its members. */
	bool pickup;
	struct zone_limits limits;
};

/* What the names of a rule are; its verdict is in the index.  There may be a million. */
struct policy_rule {
	const char *id;	 /* The label, if it has one, is behind its NUL. */
	uint32_t limits; /* Index of `limits`; 0: none. */
	uint16_t policy;
	uint16_t action : 2, log : 2, helper : 2;
	uint16_t in_force : 1, simulated : 1, labelled : 1;
};

_Static_assert(sizeof(struct policy_rule) == 16, "a rule takes no more than it must");
_Static_assert(POLICY_POLICIES_MAX <= UINT16_MAX + 1, "a policy's index fits its bits");

struct policy_name {
	const char *id, *tier;
};

/* Rules that are tried together.  Level 0 holds those of all tiers, the others those behind a tier
 * that can pass. */
struct policy_levels {
	size_t n;
	int8_t behind[POLICY_TIERS_MAX]; /* Where `pass` of each tier goes on. */
	struct rule_index at[POLICY_TIERS_MAX + 1];
};

struct zone_policy {
	/* What zone_decide() reads. */
	uint32_t n_rules;
	uint16_t n_zones;
	uint8_t between_zones, baseline_log;
	bool any_zone_limited;
	bool has_simulated; /* `simulated` holds those rules and the enforced ones. */
	uint8_t *within;    /* enum zone_action, by zone. */
	bool *zone_limited; /* By zone. */
	struct policy_levels enforced, simulated;

	uint32_t revision;
	int64_t next_change;
	size_t n_policies, memory_bytes;
	struct arena arena;
	struct policy_zone *zones;
	struct policy_rule *rules; /* Number 1 is at [0]. */
	struct zone_limits *limits;
	size_t n_limits, allocated_limits;
	/* What the rules in force match, in their order. */
	struct rule_cell *cells;
	size_t n_cells;
	struct policy_name *policies;
	struct name_table zone_names;
	struct prefix_table *prefixes;
};

/* The point of the line of services at which a question stands. */
static inline uint32_t question_point(const struct zone_question *question)
{
	return service_point(
		question->protocol, question->type, question->code, question->destination_port);
}

/* Compiles a document that has been read and checked without an error. */
struct zone_policy *zone_policy_compile(
	const struct policy_document *document, uint32_t revision, int64_t now);

#endif
