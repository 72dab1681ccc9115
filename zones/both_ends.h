/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verdict on a connection, asked at both of its ends, for whoever has no packet at hand: plans,
 * explanations, the evaluation of live connections under another policy.
 *
 * The questions are those of the packet path (datapath/verdict.c): at the source's vNIC, the vNIC's
 * own zone towards the zone of the destination's address; at the destination's vNIC, the zone of
 * the source's address towards the vNIC's own.  Where both are the same question, it is asked once;
 * from uplink to uplink there is none.  All must be allowed.
 *
 * Any thread; nothing is allocated.
 */
#ifndef ZONES_BOTH_ENDS_H
#define ZONES_BOTH_ENDS_H

#include "zones/zone.h"

enum { BOTH_ENDS_QUESTIONS_MAX = 2 };

/* One end, as one policy sees it. */
struct connection_end {
	bool is_vnic;  /* A vNIC or an internal port, and not an uplink. */
	uint16_t near; /* The vNIC's own zone; for an uplink, ZONE_QUARANTINE. */
	uint16_t far;  /* As the other end sees it: its address' owner's, else the vNIC's, else by
			* prefix.  Without an address, that of `near`. */
};

/* Makes the questions about a connection of `service` (whose zones are ignored), and returns how
 * many there are. */
size_t both_ends_questions(const struct connection_end *source,
	const struct connection_end *destination, const struct zone_question *service,
	struct zone_question questions[BOTH_ENDS_QUESTIONS_MAX]);

/* What the questions together come to. */
struct both_ends_verdict {
	struct zone_verdict verdict;		/* Without a question: ZONE_ALLOW by RULE_NONE. */
	size_t n_asked;				/* The last one asked decided. */
	uint16_t source_zone, destination_zone; /* Of that one. */
};

/* Asks them in turn, until one is refused. */
void both_ends_decide(const struct zone_policy *policy, const struct zone_question *questions,
	size_t n, struct both_ends_verdict *verdict);

/* The same with what the policy simulates enforced.  Returns false, and leaves *verdict alone, if
 * it simulates nothing. */
bool both_ends_decide_simulated(const struct zone_policy *policy,
	const struct zone_question *questions, size_t n, struct both_ends_verdict *verdict);

#endif
