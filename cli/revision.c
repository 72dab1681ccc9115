/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revisions of the policy, read from the database and compiled.  Called by `cordon policy plan`,
 * `cordon policy diff` and `cordon why`, on their one thread.
 */
#include "cli/plan.h"

#include <stdlib.h>
#include <string.h>

#include "timeval.h"
#include "util.h"

static enum cli_status fail_missing(
	struct cli *cli, struct model *model, int64_t number, bool is_wanted)
{
	const struct cordonrec_policy_revision *revision;
	int64_t newest = 0;

	CORDONREC_POLICY_REVISION_FOR_EACH (revision, model_idl(model))
		newest = MAX(newest, revision->number);
	if (is_wanted)
		return cli_fail(cli, CLI_FAILED,
			"revision %lld is the one wanted, but is not in the database any more; "
			"`cordon policy apply FILE -m WHY` makes another",
			(long long int)number);
	if (!newest)
		return cli_fail(cli, CLI_NOT_FOUND,
			"there is no revision %lld, and no other; `cordon policy apply FILE -m "
			"WHY` makes one",
			(long long int)number);
	return cli_fail(cli, CLI_NOT_FOUND,
		"there is no revision %lld; the newest is %lld, and `cordon policy history` shows "
		"them all",
		(long long int)number, (long long int)newest);
}

/* A document that this program does not take, though another version of it did. */
static enum cli_status fail_invalid(
	struct cli *cli, int64_t number, const struct policy_errors *errors)
{
	return cli_fail(cli, CLI_INVALID,
		"revision %lld is not valid for this version of cordon: line %u, column %u: %s",
		(long long int)number, errors->at[0].line, errors->at[0].column,
		errors->at[0].message);
}

static enum cli_status compile(struct cli *cli, struct cli_revision *revision)
{
	struct policy_errors *errors = xzalloc(sizeof(*errors));
	size_t length = strlen(revision->text);
	enum cli_status status = CLI_OK;

	if (policy_document_read(&revision->document, revision->text, length, errors))
		policy_document_check(&revision->document, errors);
	if (!errors->n_total)
		revision->policy = zone_policy_create(
			revision->text, length, (uint32_t)revision->number, time_wall(), errors);
	if (!revision->policy)
		status = fail_invalid(cli, revision->number, errors);
	free(errors);
	return status;
}

enum cli_status cli_revision_load(
	struct cli *cli, struct model *model, int64_t number, struct cli_revision *revision)
{
	const struct cordonrec_policy_revision *row;
	struct model_error error;
	bool is_wanted = number < 0;

	*revision = (struct cli_revision){.author = "", .comment = ""};
	if (is_wanted)
		number = model_policy_wanted(model);
	revision->number = number;
	if (!number) {
		revision->text = xstrdup("");
		revision->policy = zone_policy_create_empty();
		return CLI_OK;
	}
	row = model_revision(model, number);
	if (!row)
		return fail_missing(cli, model, number, is_wanted);
	revision->text = model_policy_document(model, number, &error);
	if (!revision->text)
		return cli_fail_model(cli, &error);
	revision->author = row->author;
	revision->comment = row->comment;
	revision->time = row->time;
	return compile(cli, revision);
}

void cli_revision_free(struct cli_revision *revision)
{
	free(revision->text);
	revision->text = NULL;
	zone_policy_destroy(revision->policy);
	policy_document_free(&revision->document);
	revision->policy = NULL;
}
