/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rules of a document are in force at a moment, and until when that stays so.
 */
#ifndef ZONES_POLICY_MOMENT_H
#define ZONES_POLICY_MOMENT_H

#include "zones/policy_document.h"

/* What a schedule does at the moment. */
struct moment_schedule {
	int64_t next; /* When it opens or closes. */
	bool open;
};

struct policy_moment {
	const struct policy_document *document;
	int64_t now;
	/* The first second after `now` at which other rules are in force, of the rules asked for so
	 * far; ZONE_NO_CHANGE: never. */
	int64_t next_change;
	struct moment_schedule *schedules;
	unsigned int searches_left;
};

/* `document` must stay as it is until policy_moment_free(). */
void policy_moment_init(
	struct policy_moment *moment, const struct policy_document *document, int64_t now);
void policy_moment_free(struct policy_moment *moment);

/* Whether a rule of that policy is in force, the policy's mode aside. */
bool policy_moment_has(struct policy_moment *moment, const struct document_policy *policy,
	const struct document_rule *rule);

#endif
