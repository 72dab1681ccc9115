/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the document of one revision.  Called by the model's user, on its one thread.
 *
 * Documents can be long and there are as many as there were revisions, while most commands need
 * none of them: the model's replica leaves them out.  The one that is asked for comes by a replica
 * of its own, of that one row.
 */
#include "controller/model_private.h"

#include <stdlib.h>

#include "openvswitch/poll-loop.h"
#include "timeval.h"
#include "util.h"

static struct ovsdb_idl *open_replica(const char *remote, int64_t number)
{
	struct ovsdb_idl *idl = ovsdb_idl_create(remote, &cordonrec_idl_class, false, true);
	struct ovsdb_idl_condition condition = OVSDB_IDL_CONDITION_INIT(&condition);

	ovsdb_idl_set_leader_only(idl, false);
	ovsdb_idl_add_column(idl, &cordonrec_policy_revision_col_number);
	ovsdb_idl_add_column(idl, &cordonrec_policy_revision_col_document);
	cordonrec_policy_revision_add_clause_number(&condition, OVSDB_F_EQ, number);
	cordonrec_policy_revision_set_condition(idl, &condition);
	ovsdb_idl_condition_destroy(&condition);
	return idl;
}

/* NULL if there is none, or no answer until `deadline`. */
static const struct cordonrec_policy_revision *await_row(
	struct ovsdb_idl *idl, int64_t number, long long int deadline)
{
	const struct cordonrec_policy_revision *row;

	for (;;) {
		ovsdb_idl_run(idl);
		if (ovsdb_idl_has_ever_connected(idl) || time_msec() >= deadline)
			break;
		ovsdb_idl_wait(idl);
		poll_timer_wait_until(deadline);
		poll_block();
	}
	CORDONREC_POLICY_REVISION_FOR_EACH (row, idl) {
		if (row->number == number)
			return row;
	}
	return NULL;
}

char *model_policy_document(struct model *model, int64_t number, struct model_error *error)
{
	const struct cordonrec_policy_revision *row;
	struct ovsdb_idl *idl;
	char *document = NULL;

	if (!model_revision(model, number)) {
		model_fail(error, MODEL_NOT_FOUND,
			"there is no revision %lld; `cordon policy history` shows those that are",
			(long long int)number);
		return NULL;
	}
	idl = open_replica(model->remote, number);
	row = await_row(idl, number, time_msec() + model->timeout_ms);
	if (row)
		document = xstrdup(row->document);
	else
		model_fail(error, MODEL_UNREACHABLE,
			"the database did not give the document of revision %lld within %.1f s",
			(long long int)number, model->timeout_ms / 1000.0);
	ovsdb_idl_destroy(idl);
	return document;
}
