/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policies of past revisions, by which the rules of connections and of late events are named.
 * Kept and forgotten by the main thread, looked up by any thread under RCU.
 *
 * The last few are kept in any case.  An older one is kept for as long as the sweep finds
 * connections that name it: within a pass or two of a commit most are judged anew, but when
 * revisions follow each other quickly, or an end of a connection is not known, that takes longer;
 * and longer still if the disk keeps the log thread from reading what has happened.
 */
#include <config.h>

#include "datapath/config.h"

#include "datapath/rule_hits.h"
#include "ovs-rcu.h"
#include "timeval.h"

enum {
	POLICIES_SURE = 4,
	LATE_MS = 1000, /* An event comes so much later than what it was decided by, at most. */
};

_Static_assert((int)POLICIES_KEPT < (int)RULE_HITS_REVISIONS,
	"each policy kept has its map, and so has the last one of the former process");

const struct zone_policy *policy_of_revision(const struct cordon_switch *sw, uint32_t revision)
{
	for (unsigned int i = 0; i < POLICIES_KEPT; i++) {
		const struct zone_policy *policy =
			atomic_load_explicit(&sw->policies[i], memory_order_acquire);

		if (policy != NULL && zone_policy_revision(policy) == revision)
			return policy;
	}
	return NULL;
}

static void destroy_policy(void *policy)
{
	zone_policy_destroy(policy);
}

static void set_flag(void *flag)
{
	atomic_store((_Atomic bool *)flag, true);
}

static void drop(struct cordon_switch *sw, unsigned int slot)
{
	struct zone_policy *policy = atomic_exchange(&sw->policies[slot], NULL);
	_Atomic bool *dead;

	if (policy == NULL)
		return;
	dead = rule_hits_drop_revision(sw->hits, zone_policy_revision(policy));
	if (dead != NULL)
		ovsrcu_postpone(set_flag, (void *)dead);
	ovsrcu_postpone(destroy_policy, (void *)policy);
}

/* Where the policy of a revision is kept, or else -1. */
static int find_slot(const struct cordon_switch *sw, uint32_t revision)
{
	for (int slot = 0; slot < POLICIES_KEPT; slot++) {
		const struct zone_policy *policy = atomic_load(&sw->policies[slot]);

		if (policy != NULL && zone_policy_revision(policy) == revision)
			return slot;
	}
	return -1;
}

/* A place that is free, or that of the policy that came into force the longest time ago. */
static unsigned int make_room(struct config *config)
{
	unsigned int oldest = 0;

	for (unsigned int slot = 0; slot < POLICIES_KEPT; slot++) {
		if (atomic_load(&config->sw->policies[slot]) == NULL)
			return slot;
		if (config->kept_since[slot] < config->kept_since[oldest])
			oldest = slot;
	}
	drop(config->sw, oldest);
	return oldest;
}

/* The same text may be compiled again, for another time of day: its rules have the same numbers,
 * and it takes the place of the one before.  That may still be in force: it is freed when no thread
 * can see it. */
void policies_keep(struct config *config, struct zone_policy *policy)
{
	struct cordon_switch *sw = config->sw;
	int known = find_slot(sw, zone_policy_revision(policy));
	unsigned int slot = known >= 0 ? (unsigned int)known : make_room(config);

	rule_hits_add_revision(sw->hits, policy, (uint64_t)time_wall_msec() * 1000000u);
	struct zone_policy *old = atomic_exchange(&sw->policies[slot], policy);
	config->kept_since[slot] = ++config->n_kept;
	if (old != NULL)
		ovsrcu_postpone(destroy_policy, (void *)old);
}

static bool is_needed(const struct config *config, unsigned int slot, uint32_t revision)
{
	return config->kept_since[slot] + POLICIES_SURE > config->n_kept ||
	       rule_hits_in_use(config->sw->hits, revision);
}

/* Events that name a revision are read after its connections have gone over to another. */
void policies_forget(struct config *config)
{
	struct cordon_switch *sw = config->sw;
	long long int read_until = log_thread_read_until(sw->log);

	port_identities_forget(sw, read_until);
	for (unsigned int slot = 0; slot < POLICIES_KEPT; slot++) {
		const struct zone_policy *policy = atomic_load(&sw->policies[slot]);
		long long int *unneeded = &config->unneeded_since[slot];

		if (policy == NULL || is_needed(config, slot, zone_policy_revision(policy)))
			*unneeded = 0;
		else if (*unneeded == 0)
			*unneeded = time_msec();
		else if (*unneeded + LATE_MS < read_until)
			drop(sw, slot);
	}
}
