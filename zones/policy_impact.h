/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a change of policy does to traffic: connections that one policy allows and another refuses,
 * gathered by what decides, with examples.
 *
 * Whoever has a connection at hand, stored or live, asks both policies about it and gives the
 * answers to policy_impact_add().  One thread.  Memory is bounded, whatever is given: past
 * IMPACT_ROWS_MAX rows, what is new is only counted.
 */
#ifndef ZONES_POLICY_IMPACT_H
#define ZONES_POLICY_IMPACT_H

#include <stdio.h>

#include "zones/both_ends.h"
#include "zones/dictionary.h"
#include "zones/service.h"

enum {
	IMPACT_ROWS_MAX = 4096,
	IMPACT_EXAMPLES_MAX = 16,
	IMPACT_NAME_MAX = 64,
	IMPACT_RULE_MAX = 224
};

/* What becomes of a connection. */
enum impact_kind {
	IMPACT_DENIED,	    /* The old policy allows it, the new one refuses it. */
	IMPACT_ALLOWED,	    /* The other way round. */
	IMPACT_WOULD_DENY,  /* The new one allows it; with what it simulates enforced, it would not.
			     */
	IMPACT_WOULD_ALLOW, /* The other way round. */
	IMPACT_NOW_WOULD_DENY,	/* The same of the old policy. */
	IMPACT_NOW_WOULD_ALLOW, /* The same of the old policy. */
	IMPACT_N_KINDS,
};

/* "denied", "allowed", "would-deny"... */
const char *impact_kind_name(unsigned int kind);

/* One policy, and what a connection asks of it. */
struct impact_question {
	const struct zone_policy *policy;
	struct zone_question questions[BOTH_ENDS_QUESTIONS_MAX];
	size_t n;
};

/* One end, for an example: a VM or port ("": outside), and its address. */
struct impact_end {
	const char *name;
	struct in6_addr address; /* All zero: none, it is not IP. */
};

struct impact_example {
	char source_name[IMPACT_NAME_MAX], destination_name[IMPACT_NAME_MAX];
	struct in6_addr source, destination;
	uint64_t connections, last_ns;
};

/* Connections of one service that one rule decided before, and another one after. */
struct impact_row {
	uint8_t kind;	/* enum impact_kind. */
	uint32_t point; /* Of the service; see zones/service.h. */
	/* What decides without the change or the simulation, and with it.  Which policy's number a
	 * rule is depends on the kind: impact_row_names() knows. */
	uint32_t rule_before, rule_after;
	uint8_t action_before, action_after;
	uint16_t source_zone, destination_zone; /* By the policy that rule_after is in. */
	uint64_t connections, last_ns;
	size_t n_examples;
	uint64_t others; /* Connections between ends of which there is no example. */
	struct impact_example examples[IMPACT_EXAMPLES_MAX];
};

struct policy_impact {
	struct impact_row **rows;
	size_t n, allocated;
	struct dictionary by_key;	  /* Row number + 1. */
	uint64_t judged;		  /* All connections that were given. */
	uint64_t changed[IMPACT_N_KINDS]; /* Of these, by kind... */
	uint64_t left_out;		  /* ...and those in no row, because there were too many. */
};

void policy_impact_init(struct policy_impact *impact);
void policy_impact_free(struct policy_impact *impact);

/* Asks both policies about `connections` connections that are alike, the last of them at `last_ns`,
 * and counts what the answers come to. */
void policy_impact_add(struct policy_impact *impact, const struct impact_question *before,
	const struct impact_question *after, const struct impact_end *source,
	const struct impact_end *destination, uint64_t connections, uint64_t last_ns);

/* Puts the rows in order: by kind, most connections first; and so each row's examples. */
void policy_impact_sort(struct policy_impact *impact);

/* Writes all of it as a JSON object: the sums, and of each kind the first `max_rows` rows with
 * `max_examples` examples each, in order.  Sorts it.  docs/zones.md lists the members. */
void policy_impact_write(struct policy_impact *impact, const struct zone_policy *before,
	const struct zone_policy *after, size_t max_rows, size_t max_examples, FILE *stream);

/* A row's numbers as names.  Those of rules are "policy/rule", or "quarantine". */
struct impact_row_names {
	char service[SERVICE_TEXT_MAX];
	char rule_before[IMPACT_RULE_MAX], rule_after[IMPACT_RULE_MAX];
	const char *source_zone, *destination_zone; /* The policies'. */
};

void impact_row_names(const struct impact_row *row, const struct zone_policy *before,
	const struct zone_policy *after, struct impact_row_names *names);

#endif
