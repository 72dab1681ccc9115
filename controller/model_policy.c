/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a revision of the policy the one wanted, for good or until it is confirmed.  Called by the
 * model's user, on its one thread.
 *
 * Revisions are never changed or taken away: what was in force at any time can be read again, and
 * going back to an old one makes a new one of its document.
 *
 * Two people who apply at the same moment do not overwrite each other: each one's transaction
 * verifies the revision that he had seen, the second one's fails, and he is told what came between.
 *
 * A revision that waits for confirmation is wanted until `policy_confirm_by`.  At that second every
 * switch goes back to `policy_confirmed` by itself, and one that reaches the database writes that
 * down (datapath/policy_return.c).  If none has, whoever makes the next change does.
 */
#include "controller/model_private.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "timeval.h"
#include "util.h"
#include "uuid.h"

/* A change under way.  What is tried again after the connection was lost may have been made
 * already: the identity of its row, drawn beforehand, tells it from one that somebody else made in
 * the same second, with the same words. */
struct policy_columns {
	const struct model_policy_change *change;
	struct uuid identity;
	int64_t number, time;
};

/* --- What is wanted now ---------------------------------------------------------------------- */

static bool is_waiting(const struct cordonrec_cordon *root)
{
	return root && root->policy_confirm_by && root->policy_confirmed;
}

static bool is_overdue(const struct cordonrec_cordon *root)
{
	return is_waiting(root) && time_wall() >= root->policy_confirm_by;
}

bool model_policy_pending(struct model *model, struct model_policy_pending *pending)
{
	const struct cordonrec_cordon *root = model_root(model);

	if (!is_waiting(root) || is_overdue(root))
		return false;
	*pending = (struct model_policy_pending){.revision = root->policy_wanted,
		.returns_to = root->policy_confirmed,
		.confirm_by = root->policy_confirm_by};
	return true;
}

int64_t model_policy_wanted(struct model *model)
{
	const struct cordonrec_cordon *root = model_root(model);

	if (!root)
		return 0;
	return is_overdue(root) ? root->policy_confirmed : root->policy_wanted;
}

/* --- Words ------------------------------------------------------------------------------------ */

static void format_time(int64_t seconds, char text[32])
{
	time_t time = seconds;
	struct tm local;

	if (!localtime_r(&time, &local) || !strftime(text, 32, "%Y-%m-%d %H:%M:%S", &local))
		strcpy(text, "an unknown time");
}

/* The newest revision behind `number`, or NULL; *n gets how many there are. */
static const struct cordonrec_policy_revision *newest_since(
	struct model *model, int64_t number, size_t *n)
{
	const struct cordonrec_policy_revision *revision, *newest = NULL;

	*n = 0;
	CORDONREC_POLICY_REVISION_FOR_EACH (revision, model->idl) {
		if (revision->number <= number)
			continue;
		(*n)++;
		if (!newest || revision->number > newest->number)
			newest = revision;
	}
	return newest;
}

const struct cordonrec_policy_revision *model_policy_returned(struct model *model)
{
	size_t n;
	const struct cordonrec_policy_revision *newest = newest_since(model, 0, &n);
	bool unwritten = newest && is_overdue(model_root(model)) &&
			 newest->number == model_root(model)->policy_wanted;

	return unwritten || (newest && newest->outcome && !strcmp(newest->outcome, "returned"))
		       ? newest
		       : NULL;
}

/* Somebody was quicker: who, when and why. */
static enum model_result refuse_unexpected(
	struct model *model, int64_t expected, struct model_error *error)
{
	const struct cordonrec_cordon *root = model_root(model);
	const struct cordonrec_policy_revision *newest;
	char when[32], more[64] = "";
	size_t n;

	newest = newest_since(model, expected, &n);
	if (!newest)
		return model_fail(error, MODEL_CONFLICT,
			"the policy is at revision %lld, not at %lld as expected: %s; look at it "
			"with `cordon policy history`, and apply again",
			(long long int)root->policy_wanted, (long long int)expected,
			model_revision(model, expected) ? "that one is no longer the one wanted"
							: "there is no such revision");
	format_time(newest->time, when);
	if (n > 1)
		snprintf(more, sizeof(more), " (and %zu more before it)", n - 1);
	return model_fail(error, MODEL_CONFLICT,
		"revision %lld came in between%s: applied by %s at %s, \"%.*s\"; nothing was "
		"changed.  Look at it with `cordon policy diff %lld %lld`, and apply again",
		(long long int)newest->number, more, newest->author, when,
		model_comment_excerpt(newest->comment), newest->comment, (long long int)expected,
		(long long int)newest->number);
}

static enum model_result refuse_while_waiting(struct model *model, struct model_error *error)
{
	const struct cordonrec_cordon *root = model_root(model);
	const struct cordonrec_policy_revision *revision =
		model_revision(model, root->policy_wanted);
	const char *comment = revision ? revision->comment : "?";
	long long int returns_to = root->policy_confirmed;
	char until[32];

	format_time(root->policy_confirm_by, until);
	return model_fail(error, MODEL_CONFLICT,
		"revision %lld, applied by %s, \"%.*s\", waits for confirmation until %s (%lld s "
		"left).  `cordon policy confirm` keeps it, `cordon policy rollback %lld` takes it "
		"back; with --confirm, another one can take its place",
		(long long int)root->policy_wanted, revision ? revision->author : "?",
		model_comment_excerpt(comment), comment, until,
		(long long int)(root->policy_confirm_by - time_wall()), returns_to);
}

static enum model_result refuse_unconfirmed_first(struct model_error *error)
{
	return model_fail(error, MODEL_INVALID,
		"there is no revision yet that hosts could go back to: apply the first policy "
		"without --confirm (before it, nothing passes)");
}

static enum model_result refuse_without_root(struct model_error *error)
{
	return model_fail(
		error, MODEL_NOT_FOUND, "the database has not been set up; `cordon up` does it");
}

/* --- Columns ---------------------------------------------------------------------------------- */

static int64_t next_number(struct model *model, const struct cordonrec_cordon *root)
{
	const struct cordonrec_policy_revision *revision;
	int64_t highest = root->policy_wanted;

	CORDONREC_POLICY_REVISION_FOR_EACH (revision, model->idl)
		highest = MAX(highest, revision->number);
	return highest + 1;
}

/* What has become of a revision that waited. */
static void set_outcome(
	struct model *model, int64_t number, const char *outcome, const char *author, int64_t when)
{
	const struct cordonrec_policy_revision *revision = model_revision(model, number);

	if (!revision)
		return;
	cordonrec_policy_revision_set_outcome(revision, outcome);
	cordonrec_policy_revision_set_outcome_author(revision, author);
	cordonrec_policy_revision_set_outcome_time(revision, when);
}

/* Hosts have gone back, and none has written it down. */
static void write_return(struct model *model, const struct cordonrec_cordon *root)
{
	set_outcome(model, root->policy_wanted, "returned", "every host", root->policy_confirm_by);
	cordonrec_cordon_set_policy_wanted(root, root->policy_confirmed);
	cordonrec_cordon_set_policy_confirm_by(root, 0);
}

static void write_revision(struct model *model, struct ovsdb_idl_txn *transaction,
	const struct policy_columns *columns)
{
	struct cordonrec_policy_revision *revision =
		cordonrec_policy_revision_insert_persist_uuid(transaction, &columns->identity);
	const struct cordonrec_host *host;

	cordonrec_policy_revision_set_number(revision, columns->number);
	cordonrec_policy_revision_set_author(revision, columns->change->author);
	cordonrec_policy_revision_set_time(revision, columns->time);
	cordonrec_policy_revision_set_comment(revision, columns->change->comment);
	cordonrec_policy_revision_set_document(revision, columns->change->document);
	/* So that whoever waits does not take a complaint about an older revision for an answer. */
	CORDONREC_HOST_FOR_EACH (host, model->idl)
		cordonrec_host_set_policy_error(host, NULL);
}

/* Whoever waits for confirmation is replaced; what hosts would go back to stays the same. */
static void write_wanted(struct model *model, const struct cordonrec_cordon *root,
	const struct policy_columns *columns)
{
	unsigned int seconds = columns->change->confirm_seconds;

	if (is_waiting(root))
		set_outcome(model, root->policy_wanted, "replaced", columns->change->author,
			columns->time);
	else if (seconds)
		cordonrec_cordon_set_policy_confirmed(root, root->policy_wanted);
	if (!seconds)
		cordonrec_cordon_set_policy_confirmed(root, columns->number);
	/* Rounded up: nobody is given less time than he asked for. */
	cordonrec_cordon_set_policy_confirm_by(
		root, seconds ? (time_wall_msec() + 999) / 1000 + seconds : 0);
	cordonrec_cordon_set_policy_wanted(root, columns->number);
}

/* --- Apply and roll back -----------------------------------------------------------------------
 */

static enum model_result check_wanted(struct model *model, const struct cordonrec_cordon *root,
	const struct model_policy_change *change, struct model_error *error)
{
	if (change->expected >= 0 && change->expected != root->policy_wanted)
		return refuse_unexpected(model, change->expected, error);
	if (is_waiting(root) && !change->confirm_seconds && !change->rollback)
		return refuse_while_waiting(model, error);
	if (change->confirm_seconds && !root->policy_wanted)
		return refuse_unconfirmed_first(error);
	return MODEL_OK;
}

static enum model_result build_policy_apply(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct policy_columns *columns = context;
	const struct cordonrec_cordon *root = model_root(model);
	enum model_result result;

	if (!root)
		return refuse_without_root(error);
	if (cordonrec_policy_revision_get_for_uuid(model->idl, &columns->identity))
		return MODEL_OK;
	cordonrec_cordon_verify_policy_wanted(root);
	cordonrec_cordon_verify_policy_confirm_by(root);
	if (is_overdue(root))
		write_return(model, root);
	result = check_wanted(model, root, columns->change, error);
	if (result != MODEL_OK)
		return result;
	columns->number = next_number(model, root);
	columns->time = time_wall();
	write_wanted(model, root, columns);
	write_revision(model, transaction, columns);
	return MODEL_OK;
}

enum model_result model_policy_apply(struct model *model, const struct model_policy_change *change,
	int64_t *number, struct model_error *error)
{
	struct policy_columns columns = {.change = change};
	struct model_change transaction = {.build = build_policy_apply,
		.context = &columns,
		.what = "the policy",
		/* Once more: it then says who was quicker, or finds that it was made. */
		.retry = true};
	enum model_result result;

	if (!model_check_text("comment", change->comment, error) ||
		!model_check_text("author", change->author, error))
		return error->result;
	uuid_generate(&columns.identity);
	result = model_commit(model, &transaction, error);
	if (result == MODEL_OK)
		*number = columns.number;
	return result;
}

/* --- Confirm -----------------------------------------------------------------------------------
 */

struct confirmation {
	const char *author;
	int64_t number; /* -1: whichever waits. */
	bool tried;
};

static enum model_result refuse_confirmation(struct model *model, struct model_error *error)
{
	const struct cordonrec_policy_revision *returned = model_policy_returned(model);
	long long int wanted = model_policy_wanted(model);

	if (!returned)
		return model_fail(error, MODEL_CONFLICT,
			"no revision waits for confirmation: the policy is at revision %lld; see "
			"`cordon policy history`",
			wanted);
	return model_fail(error, MODEL_CONFLICT,
		"too late: revision %lld was not confirmed in time, and hosts have gone back to "
		"%lld; `cordon policy rollback %lld` puts it into force once more",
		(long long int)returned->number, wanted, (long long int)returned->number);
}

/* He has looked at one revision, and it is another that waits. */
static enum model_result refuse_other_confirmation(
	struct model *model, int64_t number, struct model_error *error)
{
	const struct cordonrec_cordon *root = model_root(model);
	const struct cordonrec_policy_revision *revision =
		model_revision(model, root->policy_wanted);
	const char *comment = revision ? revision->comment : "?";

	return model_fail(error, MODEL_CONFLICT,
		"it is revision %lld that waits for confirmation, applied by %s, \"%.*s\", and "
		"not %lld; nothing was changed.  Look at it with `cordon policy show %lld`, and "
		"keep it with `cordon policy confirm %lld`",
		(long long int)root->policy_wanted, revision ? revision->author : "?",
		model_comment_excerpt(comment), comment, (long long int)number,
		(long long int)root->policy_wanted, (long long int)root->policy_wanted);
}

static bool was_confirmed(struct model *model, const struct confirmation *confirmation)
{
	const struct cordonrec_policy_revision *revision =
		confirmation->tried ? model_revision(model, confirmation->number) : NULL;

	return revision && revision->outcome && !strcmp(revision->outcome, "confirmed") &&
	       !strcmp(revision->outcome_author, confirmation->author);
}

static enum model_result build_confirmation(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct confirmation *confirmation = context;
	const struct cordonrec_cordon *root = model_root(model);

	(void)transaction;
	if (!root)
		return refuse_without_root(error);
	if (was_confirmed(model, confirmation))
		return MODEL_OK;
	if (!is_waiting(root) || is_overdue(root))
		return refuse_confirmation(model, error);
	if (confirmation->number >= 0 && confirmation->number != root->policy_wanted)
		return refuse_other_confirmation(model, confirmation->number, error);
	confirmation->number = root->policy_wanted;
	confirmation->tried = true;
	cordonrec_cordon_verify_policy_wanted(root);
	cordonrec_cordon_verify_policy_confirm_by(root);
	cordonrec_cordon_set_policy_confirmed(root, root->policy_wanted);
	cordonrec_cordon_set_policy_confirm_by(root, 0);
	set_outcome(model, root->policy_wanted, "confirmed", confirmation->author, time_wall());
	return MODEL_OK;
}

enum model_result model_policy_confirm(
	struct model *model, const char *author, int64_t *number, struct model_error *error)
{
	struct confirmation confirmation = {.author = author, .number = *number};
	struct model_change change = {.build = build_confirmation,
		.context = &confirmation,
		.what = "the policy",
		.retry = true};
	enum model_result result;

	if (!model_check_text("author", author, error))
		return error->result;
	result = model_commit(model, &change, error);
	if (result == MODEL_OK)
		*number = confirmation.number;
	return result;
}
