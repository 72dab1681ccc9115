/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The zone engine: a policy document goes in, verdicts come out.
 *
 * Life cycle: zone_policy_create() parses and compiles one revision of the policy document into an
 * immutable `struct zone_policy`.  All functions that take it as const may be called from any
 * number of threads at once without a lock.  Whoever swaps a policy for a newer one must wait
 * until no thread can still hold the old one (an RCU grace period) before zone_policy_destroy().
 *
 * Zones are small integers, dense within one compiled policy and deterministic: the same text
 * compiles to the same numbers.  ZONE_QUARANTINE, 0, always exists.  Rules likewise: RULE_NONE, 0,
 * stands for the built-in verdicts; 1..n are the document's rules in the order in which they are
 * tried; behind them each ordered zone pair's default has a number of its own.
 *
 * No sockets, no DPDK, no globals.
 */
#ifndef ZONES_ZONE_H
#define ZONES_ZONE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zones/address.h"

struct zone_policy;

enum { ZONE_QUARANTINE = 0 };
enum { ZONES_MAX = 4096, ZONE_RULES_MAX = 1000000 };
enum { RULE_NONE = 0 };

/* --- Reading a policy document -------------------------------------------------------------- */

/* One thing wrong with a document.  The message names the offending word and what was expected. */
struct policy_error {
	unsigned int line, column; /* From 1.  0: the document as a whole. */
	char message[240];
};

/* All that is wrong with a document, up to a bound; `n_total` counts past it. */
struct policy_errors {
	struct policy_error at[20];
	size_t n, n_total;
};

/* Parses and compiles `length` bytes of YAML at `text` (the grammar is docs/zones.md), as it is in
 * force at `now`, in seconds since 1970: a rule that has expired, or whose schedule leaves that
 * moment out, keeps its number and decides nothing.  `revision` is the number that the verdicts'
 * log records carry.  Returns NULL with at least one entry in `*errors` if the document is not
 * valid in every part: nothing is ever taken by halves.  The caller owns the result.  Memory stays
 * within a bound that depends on `length` alone (aliases are refused). */
struct zone_policy *zone_policy_create(const char *text, size_t length, uint32_t revision,
	int64_t now, struct policy_errors *errors);

/* The same without compiling what is valid: true if zone_policy_create() would succeed, else false
 * with at least one entry in `*errors`. */
bool zone_policy_check(const char *text, size_t length, struct policy_errors *errors);

#define ZONE_NO_CHANGE INT64_MAX

/* The first second after the policy's own `now` at which other rules are in force, by `expires` and
 * `schedule`; ZONE_NO_CHANGE: never.  From then on the same text, created anew, is to be used.
 * Never too late; too early only where a rule's schedule and its policy's keep each other out for
 * more than 400 days, in different time zones. */
int64_t zone_policy_next_change(const struct zone_policy *policy);

/* The policy in force before there is any document: every endpoint is in quarantine. */
struct zone_policy *zone_policy_create_empty(void);

void zone_policy_destroy(struct zone_policy *policy); /* Accepts NULL. */

uint32_t zone_policy_revision(const struct zone_policy *policy);

/* Bytes of memory that the compiled policy holds. */
size_t zone_policy_memory_bytes(const struct zone_policy *policy);

/* --- Zones ---------------------------------------------------------------------------------- */

/* How much of something may be opened.  0: as much as there is room for. */
struct zone_limits {
	uint32_t connections;	 /* At any one time. */
	uint32_t new_per_second; /* In any second; as many at once. */
	uint32_t half_open;	 /* Not answered yet, at any one time. */
};

struct zone_info {
	const char *name;  /* Owned by the policy. */
	const char *match; /* The tag expression as written, or NULL. */
	const struct ip_prefix *prefixes;
	size_t n_prefixes;
	bool intra_deny; /* `intra: deny`: members may not talk to each other by default. */
	bool pickup;	 /* TCP connections of its members may be taken up in mid-stream. */
	struct zone_limits limits; /* On what its members open, together. */
};

/* The number of zones, quarantine included. */
uint16_t zone_count(const struct zone_policy *policy);

/* What zone number `zone` is; `zone` must be below zone_count(). */
struct zone_info zone_info(const struct zone_policy *policy, uint16_t zone);

/* The zone named `name`, or -1. */
int zone_find(const struct zone_policy *policy, const char *name);

/* The zone of an endpoint that carries `tags` ("key=value" or "key").  No match, or more than one:
 * ZONE_QUARANTINE.  If more than one zone matched, the two first are stored in conflict[0..1] (else
 * both are ZONE_QUARANTINE); `conflict` may be NULL. */
uint16_t zone_of_tags(const struct zone_policy *policy, const char *const *tags, size_t n_tags,
	uint16_t conflict[2]);

/* The zone with the longest prefix that holds `address`; none, or two zones with the same one:
 * ZONE_QUARANTINE.  Cost: at most one hash probe per prefix length in use. */
uint16_t zone_of_prefix(const struct zone_policy *policy, const struct in6_addr *address);

/* --- Verdicts ------------------------------------------------------------------------------- */

enum zone_action { ZONE_ALLOW, ZONE_DENY, ZONE_REJECT, ZONE_PASS };

/* What to record.  Each level takes in those before it: refusals from DENIED on, the start and end
 * of what is allowed from SESSION on. */
enum zone_log { ZONE_LOG_NONE, ZONE_LOG_DENIED, ZONE_LOG_SESSION, ZONE_LOG_ALL };

/* A connection as the engine sees it: its first packet's direction.  For a port-less protocol the
 * ports are 0; for ICMP and ICMPv6 `type` and `code` count, and the ports do not. */
struct zone_question {
	uint16_t source_zone, destination_zone;
	uint8_t protocol; /* IANA protocol number. */
	uint8_t type, code;
	uint16_t source_port, destination_port; /* Host byte order. */
};

/* Protocols that open further connections, which a rule may allow by naming the helper. */
enum zone_helper { ZONE_HELPER_NONE, ZONE_HELPER_FTP, ZONE_HELPER_TFTP };

struct zone_verdict {
	uint8_t action; /* enum zone_action, never ZONE_PASS. */
	uint8_t log;	/* enum zone_log. */
	uint8_t helper; /* enum zone_helper. */
	bool limited;	/* Allowed, but the rule or the source's zone has limits: ask for them. */
	uint32_t rule;
};

/* Decides.  First match wins within a tier; `pass` goes on with the next tier; past the last tier
 * the baseline decides.  Anything to or from quarantine is denied by RULE_NONE.  Takes no lock,
 * allocates nothing; the cost grows with the logarithm of the rules of one zone pair, not with the
 * rules of the policy. */
void zone_decide(const struct zone_policy *policy, const struct zone_question *question,
	struct zone_verdict *verdict);

/* True if the policy has rules under `mode: simulate`. */
bool zone_policy_has_simulated(const struct zone_policy *policy);

/* Decides as if the policies of `mode: simulate` were enforced like all others.  Returns false, and
 * leaves the verdict alone, if the policy has none of them: it is that of zone_decide(). */
bool zone_decide_simulated(const struct zone_policy *policy, const struct zone_question *question,
	struct zone_verdict *verdict);

/* One rule that matches a question: the last one decides, those before it pass. */
struct zone_step {
	uint32_t rule;
	uint8_t action; /* enum zone_action. */
};

enum { ZONE_STEPS_MAX = 17 }; /* A pass in each tier, and the baseline. */

/* How the verdict comes about, with (`simulated`) or without the simulated policies.  Returns the
 * number of steps, at least 1; quarantine is one step by RULE_NONE. */
size_t zone_explain(const struct zone_policy *policy, const struct zone_question *question,
	bool simulated, struct zone_step steps[ZONE_STEPS_MAX]);

/* Calls `each` for every rule of the document that can never decide anything, whatever is sent,
 * because rules before it take all that it would match; `by` is the first of these, or RULE_NONE if
 * it matches nothing at all.  What is simulated is judged as if it were enforced, all else without
 * it.  Rules that are not in force now are passed over.  Exact.  Some milliseconds for 120,000
 * rules: for plans.  Returns false if the search was given up, as with thousands of rules that pass
 * from and to one zone each before as many for `any`: there may be others then. */
bool zone_each_unreachable_rule(const struct zone_policy *policy,
	void (*each)(uint32_t rule, uint32_t by, void *context), void *context);

struct zone_rule_info {
	const char *policy, *rule, *tier, *label; /* Owned by the policy; label may be NULL. */
	uint8_t action, log, helper;
	bool in_force;	/* Neither expired nor out of its schedule, nor in a policy that is off. */
	bool simulated; /* Its policy's mode is `simulate`. */
	struct zone_limits limits;
	uint16_t source_zone, destination_zone; /* Of a default pair; else ZONE_QUARANTINE. */
	bool is_default;
};

/* What rule number `rule` is.  False if there is none of that number, as for RULE_NONE.  A default
 * pair's policy is "baseline" and its rule is "from->to", written into `name`. */
bool zone_rule_info(const struct zone_policy *policy, uint32_t rule, struct zone_rule_info *info,
	char name[160]);

/* The rules of the document, those of policies that are off included: their numbers are
 * 1..zone_rule_count(). */
uint32_t zone_rule_count(const struct zone_policy *policy);

#endif
