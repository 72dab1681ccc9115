/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon log suggest` share: from observed traffic to the rules that would allow
 * it.
 *
 *      suggest_observe.c   flows of the log -> points of traffic, and what is left out, and why
 *      suggest_rules.c     points -> as few rules as say the same
 *      suggest_print.c     rules -> YAML with comments, or JSON
 *      suggest.c           the command
 *
 * A rule never allows more than was seen, but for one thing: many high ports become one range.
 */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include "cli/log.h"
#include "cli/plan.h"
#include "openvswitch/shash.h"
#include "svec.h"

/* How often, and when. */
struct suggest_counts {
	uint64_t allowed, denied;
	uint64_t first_ns, last_ns;
};

/* Traffic of one kind between two zones. */
struct suggest_point {
	const char *from, *to; /* Names of zones, the policy's. */
	struct service_range range;
	struct suggest_counts counts;
	char *example; /* "web-1 10.0.0.1 -> db-1 10.0.0.3". */
	uint64_t n_pairs;
};

/* A rule to be. */
struct suggest_rule {
	struct svec from, to, services;
	struct suggest_counts counts;
	char *example;
	uint64_t n_pairs; /* Of ends that were seen. */
	uint64_t n_high;  /* Ports that became a range; 0: none did. */
	char *id;
};

struct suggestion {
	struct cli_log_answer *answer;
	const struct cli_revision *reference; /* The policy that it is to fit. */
	const char *zone;
	int64_t at_least; /* So many refused attempts are meant. */
	struct suggest_point *points;
	size_t n_points, allocated_points;
	struct suggest_rule *rules;
	size_t n_rules;
	struct shash left_out;	  /* Why -> struct suggest_counts. */
	const char *outside_zone; /* A name that is free. */
	struct svec outside;	  /* Addresses in no zone that get one of their own. */
	struct suggest_counts seen;
};

/* Asks the log, and fills in points and what is left out. */
void suggest_observe(struct suggestion *suggestion);

/* Adds up, and keeps the span. */
void suggest_add(struct suggest_counts *counts, const struct suggest_counts *more);

/* Notes traffic that no rule is made for; takes `why` over. */
void suggest_leave_out(
	struct suggestion *suggestion, char *why, const struct suggest_counts *counts);

/* Makes the rules. */
void suggest_make_rules(struct suggestion *suggestion);
void suggest_rule_free(struct suggest_rule *rule);

/* Prints a policy document, or only the entry of its `policies`. */
void suggest_print(const struct suggestion *suggestion, FILE *out, bool rules_only);
struct json *suggest_json(const struct suggestion *suggestion);

#endif
