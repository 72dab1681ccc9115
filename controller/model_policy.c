/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a revision of the policy the one wanted.  Called by the model's user, on its one thread.
 *
 * Revisions are never changed or taken away: what was in force at any time can be read again.  Two
 * people who apply at the same moment do not overwrite each other: the second one's transaction
 * verifies the revision that he had seen, fails, and he is told.
 */
#include "controller/model_private.h"

#include <time.h>

#include "util.h"

struct policy_columns {
	const char *document, *author, *comment;
	int64_t expected, number;
};

static int64_t next_number(struct model *model, const struct cordonrec_cordon *root)
{
	const struct cordonrec_policy_revision *revision;
	int64_t highest = root->policy_wanted;

	CORDONREC_POLICY_REVISION_FOR_EACH (revision, model->idl)
		highest = MAX(highest, revision->number);
	return highest + 1;
}

static enum model_result build_policy_apply(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct policy_columns *columns = context;
	const struct cordonrec_cordon *root = model_root(model);
	struct cordonrec_policy_revision *revision;
	const struct cordonrec_host *host;

	if (!root)
		return model_fail(error, MODEL_NOT_FOUND,
			"the database has not been set up; `cordon up` does it");
	if (columns->expected >= 0 && columns->expected != root->policy_wanted)
		return model_fail(error, MODEL_CONFLICT,
			"the policy is at revision %lld, not at %lld as expected; look at it with "
			"`cordon "
			"policy show`, and apply again",
			(long long int)root->policy_wanted, (long long int)columns->expected);
	columns->number = next_number(model, root);
	revision = cordonrec_policy_revision_insert(transaction);
	cordonrec_policy_revision_set_number(revision, columns->number);
	cordonrec_policy_revision_set_author(revision, columns->author);
	cordonrec_policy_revision_set_time(revision, time(NULL));
	cordonrec_policy_revision_set_comment(revision, columns->comment);
	cordonrec_policy_revision_set_document(revision, columns->document);
	cordonrec_cordon_verify_policy_wanted(root);
	cordonrec_cordon_set_policy_wanted(root, columns->number);
	/* So that whoever waits does not take a complaint about an older revision for an answer. */
	CORDONREC_HOST_FOR_EACH (host, model->idl)
		cordonrec_host_set_policy_error(host, NULL);
	return MODEL_OK;
}

enum model_result model_policy_apply(struct model *model, const char *document, const char *author,
	const char *comment, int64_t expected, int64_t *number, struct model_error *error)
{
	struct policy_columns columns = {
		.document = document,
		.author = author,
		.comment = comment,
		.expected = expected,
	};
	struct model_change change = {
		.build = build_policy_apply, .context = &columns, .what = "the policy"};
	enum model_result result;

	if (!model_check_text("comment", comment, error) ||
		!model_check_text("author", author, error))
		return error->result;
	result = model_commit(model, &change, error);
	if (result == MODEL_OK)
		*number = columns.number;
	return result;
}
