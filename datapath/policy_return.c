/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing down that a revision was not confirmed in time.  Called by status.c, on the main thread.
 *
 * Every host goes back by itself; whichever reaches the database first makes it the policy wanted.
 * All of them may try at the same moment: each verifies what it has read, so that one of them
 * succeeds and the others find it done.  So does whoever confirms or applies at that moment: one of
 * the two happens.
 */
#include <config.h>

#include "datapath/config.h"

#include <stdlib.h>

#include "cordon-idl.h"
#include "openvswitch/vlog.h"
#include "ovsdb-idl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(policy_return);

/* The history keeps what became of the revision. */
static void write_outcome(const struct config *config, const struct policy_pending *pending)
{
	const struct cordonrec_policy_revision *row;
	char *author = xasprintf("switch on host %s", config->sw->options->host);

	CORDONREC_POLICY_REVISION_FOR_EACH (row, config->idl) {
		if (row->number != pending->revision)
			continue;
		cordonrec_policy_revision_set_outcome(row, "returned");
		cordonrec_policy_revision_set_outcome_author(row, author);
		cordonrec_policy_revision_set_outcome_time(row, pending->confirm_by);
	}
	free(author);
}

bool policy_return_write(struct config *config)
{
	const struct cordonrec_cordon *root = cordonrec_cordon_first(config->idl);
	struct policy_pending pending;

	if (root == NULL || !config_policy_pending(config, &pending) || !pending.returned ||
		root->policy_wanted != pending.revision ||
		root->policy_confirm_by != pending.confirm_by)
		return false;
	VLOG_WARN("policy revision %lld was not confirmed in time: %lld is wanted again",
		(long long int)pending.revision, (long long int)pending.returns_to);
	cordonrec_cordon_verify_policy_wanted(root);
	cordonrec_cordon_verify_policy_confirmed(root);
	cordonrec_cordon_verify_policy_confirm_by(root);
	write_outcome(config, &pending);
	cordonrec_cordon_set_policy_wanted(root, pending.returns_to);
	cordonrec_cordon_set_policy_confirm_by(root, 0);
	return true;
}
