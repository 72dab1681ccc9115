/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guests use: asked of all VMMs at the same moment, and taken over together, so that what one
 * host observes is one transaction, and none if nothing is other than before.  Called by main.c on
 * the main thread.
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include <limits.h>
#include <string.h>

#include "openvswitch/poll-loop.h"
#include "timeval.h"
#include "util.h"

enum {
	PERIOD_MS = 5000,
	PATIENCE_MS = 1000, /* With a VMM that does not answer: what it said last counts. */
};

static bool same_counts(const struct counts *a, const struct counts *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (a->values[i] != b->values[i] || strcmp(a->names[i], b->names[i]))
			return false;
	}
	return true;
}

/* Those of the VMM, and of its control group. */
static void count_guest(struct guest *guest)
{
	const struct counts *told = &guest->vmm.counts;
	struct counts counts = {0};

	if (guest->vmm.presence == VMM_PRESENT) {
		for (size_t i = 0; i < told->n; i++)
			counts_put(&counts, told->names[i], told->values[i]);
		cgroups_count(guest->hostd->cgroups, guest->wish.name, &counts);
	}
	guest_set_counts(guest, &counts);
}

void guest_set_counts(struct guest *guest, struct counts *counts)
{
	bool changed = !same_counts(counts, &guest->counts);

	counts_clear(&guest->counts);
	guest->counts = *counts;
	*counts = (struct counts){0};
	guest->counts_changed |= changed;
	if (changed)
		replica_note(guest->hostd);
}

static bool anybody_owes(const struct hostd *hostd)
{
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &hostd->guests) {
		const struct guest *guest = node->data;

		if (vmm_owes_metrics(&guest->vmm))
			return true;
	}
	return false;
}

static void count_all(struct hostd *hostd)
{
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &hostd->guests)
		count_guest(node->data);
}

static void ask_all(struct hostd *hostd)
{
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &hostd->guests) {
		struct guest *guest = node->data;

		vmm_ask_metrics(&guest->vmm);
	}
}

void statistics_run(struct hostd *hostd)
{
	long long int now = time_msec();

	if (hostd->count_by && (now >= hostd->count_by || !anybody_owes(hostd))) {
		hostd->count_by = 0;
		count_all(hostd);
	}
	if (now < hostd->ask_counts_at)
		return;
	ask_all(hostd);
	hostd->ask_counts_at = now + PERIOD_MS;
	hostd->count_by = now + PATIENCE_MS;
	poll_immediate_wake(); /* For the questions to be sent. */
}

void statistics_wait(const struct hostd *hostd)
{
	poll_timer_wait_until(hostd->count_by ? hostd->count_by : hostd->ask_counts_at);
	if (hostd->count_by && !anybody_owes(hostd))
		poll_immediate_wake();
}
