/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How every change of the desired state is made: look, check, write, send, wait, and look again if
 * somebody else was quicker.  Called by the model's other files, on its user's thread.
 *
 * Somebody else can be quicker in several ways.  A column that build() verified has changed: the
 * database then answers with a failed "wait", which the IDL calls TXN_TRY_AGAIN.  Or both have
 * inserted a row with the same index (a name, a number): a constraint violation; or one has deleted
 * what the other's row refers to: a referential integrity violation.  In all these cases the
 * replica knows better a moment later, so the change is built anew, and either fits then or is
 * refused by build() with words that fit.
 */
#include "controller/model_private.h"

#include <string.h>

#include "openvswitch/poll-loop.h"
#include "timeval.h"

static enum ovsdb_idl_txn_status send_and_wait(
	struct model *model, struct ovsdb_idl_txn *transaction, long long int deadline)
{
	for (;;) {
		enum ovsdb_idl_txn_status status = ovsdb_idl_txn_commit(transaction);

		if (status != TXN_INCOMPLETE || time_msec() >= deadline)
			return status;
		ovsdb_idl_run(model->idl);
		ovsdb_idl_wait(model->idl);
		ovsdb_idl_txn_wait(transaction);
		poll_timer_wait_until(deadline);
		poll_block();
	}
}

static bool was_too_late(enum ovsdb_idl_txn_status status, const struct ovsdb_idl_txn *transaction)
{
	const char *why;

	if (status != TXN_ERROR)
		return status == TXN_TRY_AGAIN;
	why = ovsdb_idl_txn_get_error(transaction);
	return strstr(why, "identical values") || strstr(why, "referential integrity");
}

static enum model_result say_unconfirmed(
	struct model *model, const struct model_change *change, struct model_error *error)
{
	return model_fail(error, MODEL_UNREACHABLE,
		"the database did not confirm the change of %s within %.1f s; look whether it was "
		"made "
		"before you repeat it",
		change->what, model->timeout_ms / 1000.0);
}

/* What came of the transaction, in words.  *again is set if another try may end otherwise. */
static enum model_result explain(struct model *model, const struct model_change *change,
	enum ovsdb_idl_txn_status status, const struct ovsdb_idl_txn *transaction, bool *again,
	struct model_error *error)
{
	if (status == TXN_SUCCESS || status == TXN_UNCHANGED)
		return MODEL_OK;
	*again = was_too_late(status, transaction);
	if (status == TXN_INCOMPLETE)
		return say_unconfirmed(model, change, error);
	if (*again)
		return model_fail(error, MODEL_CONFLICT,
			"somebody else changed %s at the same moment, or the database went away; "
			"nothing was changed, look and try again",
			change->what);
	return model_fail(error, MODEL_FAILED, "the database refused the change of %s: %s",
		change->what, ovsdb_idl_txn_get_error(transaction));
}

/* One try.  *again is set if another one may have another outcome. */
static enum model_result try_once(struct model *model, const struct model_change *change,
	long long int deadline, bool *again, struct model_error *error)
{
	struct ovsdb_idl_txn *transaction = ovsdb_idl_txn_create(model->idl);
	enum model_result result = change->build(model, transaction, change->context, error);

	*again = false;
	if (result == MODEL_OK) {
		enum ovsdb_idl_txn_status status = send_and_wait(model, transaction, deadline);

		result = explain(model, change, status, transaction, again, error);
	} else {
		ovsdb_idl_txn_abort(transaction);
	}
	ovsdb_idl_txn_destroy(transaction);
	return result;
}

/* Waits until the replica is another one than at `seqno`, or is connected again. */
static bool wait_to_try_again(struct model *model, unsigned int seqno, long long int deadline)
{
	bool connected = ovsdb_idl_is_connected(model->idl);

	while (time_msec() < deadline) {
		ovsdb_idl_run(model->idl);
		if (ovsdb_idl_is_connected(model->idl) &&
			(!connected || ovsdb_idl_get_seqno(model->idl) != seqno))
			return true;
		ovsdb_idl_wait(model->idl);
		poll_timer_wait_until(deadline);
		poll_block();
	}
	return false;
}

enum model_result model_commit(
	struct model *model, const struct model_change *change, struct model_error *error)
{
	long long int deadline = time_msec() + model->timeout_ms;
	enum model_result result;
	unsigned int seqno;
	bool again;

	ovsdb_idl_run(model->idl);
	for (;;) {
		seqno = ovsdb_idl_get_seqno(model->idl);
		result = try_once(model, change, deadline, &again, error);
		if (!again || !change->retry)
			return result;
		if (!wait_to_try_again(model, seqno, deadline))
			return say_unconfirmed(model, change, error);
	}
}
