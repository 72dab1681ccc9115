/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which policy is in force, and when another one is.  Main thread.
 *
 * Three things change it: the database wants another revision, one was not confirmed in time, or
 * the time has come from which on other rules of the same document are in force (`expires`,
 * `schedule`).  What comes at a known second is compiled ahead of it and swapped in at that second;
 * what is needed now is compiled beside the main thread, and the policy in force stays until it is
 * there.  None of it needs the database once it has been read: the documents of the revisions that
 * may be needed are kept here.
 *
 *      root row -> policy_intent -> target -> policy_compiler -> prepared -> config_zones_swap()
 *
 * A policy that was compiled for second `from` is right from then until its next change.  A clock
 * that is set leaves that span, whichever way, and the right one is compiled anew; if it has the
 * same rules, nothing is swapped.
 *
 * A revision that does not compile, or that is not in the database, changes nothing: the error is
 * written back, and the policy in force stays.
 */
#include <config.h>

#include "datapath/config.h"

#include <stdlib.h>
#include <string.h>

#include "cordon-idl.h"
#include "datapath/policy_compiler.h"
#include "datapath/policy_intent.h"
#include "datapath/wall_clock.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovsdb-idl.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(config_policy);

/* A policy of a million rules takes some seconds to compile; a shorter lead would be late. */
enum { LEAD_SECONDS = 30, TEXTS_MAX = 8 };

/* The document of a revision that may be needed. */
struct policy_text {
	uint32_t revision; /* 0: free. */
	char *document, *author;
	char *error; /* Why it does not compile, or NULL. */
};

/* A policy, and from when until when it is right. */
struct timed_policy {
	struct zone_policy *policy; /* NULL: none. */
	int64_t from, until;
};

struct config_policy {
	struct policy_compiler *compiler;
	struct wall_clock *clock;
	struct policy_intent intent;
	struct policy_text texts[TEXTS_MAX];
	struct timed_policy prepared; /* Owned. */
	struct timed_policy in_force; /* Owned by the switch. */
	int64_t wake_at;	      /* The next second at which something may be to do. */
	bool settled;		      /* All was done that could be before ports are opened. */

	/* Which revisions the replica has documents of. */
	int64_t replica_from, replica_confirmed;
	unsigned int replica_seqno; /* Of the request for them; 0: not made yet. */
};

/* --- What the database says ------------------------------------------------------------------- */

/* Of a long history, only what may be needed is read: what is wanted and newer, and what would be
 * gone back to. */
static void follow_revisions(struct config *config)
{
	struct config_policy *policy = config->policy;
	const struct policy_intent *intent = &policy->intent;
	int64_t confirmed = intent->confirm_by != 0 ? intent->confirmed : 0;
	struct ovsdb_idl_condition condition = OVSDB_IDL_CONDITION_INIT(&condition);

	if (policy->replica_seqno != 0 && policy->replica_from == intent->wanted &&
		policy->replica_confirmed == confirmed)
		return;
	/* The schema, and with it the server, knows no revision 0. */
	cordonrec_policy_revision_add_clause_number(&condition, OVSDB_F_GE, MAX(intent->wanted, 1));
	if (confirmed != 0)
		cordonrec_policy_revision_add_clause_number(&condition, OVSDB_F_EQ, confirmed);
	policy->replica_seqno = cordonrec_policy_revision_set_condition(config->idl, &condition);
	policy->replica_from = intent->wanted;
	policy->replica_confirmed = confirmed;
	ovsdb_idl_condition_destroy(&condition);
}

static void read_root(struct config *config, int64_t now, int64_t now_ms)
{
	const struct cordonrec_cordon *root = cordonrec_cordon_first(config->idl);

	if (root == NULL) /* What was wanted before still is. */
		return;
	policy_intent_read(&config->policy->intent, root->policy_wanted, root->policy_confirmed,
		root->policy_confirm_by, now, now_ms);
	follow_revisions(config);
}

/* True if a revision that is not in the replica is not in the database either. */
static bool replica_is_complete(const struct config *config)
{
	unsigned int asked = config->policy->replica_seqno;

	return asked != 0 && ovsdb_idl_is_connected(config->idl) &&
	       ovsdb_idl_get_condition_seqno(config->idl) >= asked;
}

static const struct cordonrec_policy_revision *find_revision(
	const struct config *config, int64_t number)
{
	const struct cordonrec_policy_revision *row;

	CORDONREC_POLICY_REVISION_FOR_EACH (row, config->idl) {
		if (row->number == number)
			return row;
	}
	return NULL;
}

/* --- Documents -------------------------------------------------------------------------------- */

static void text_free(struct policy_text *text)
{
	free(text->document);
	free(text->author);
	free(text->error);
	*text = (struct policy_text){.revision = 0};
}

static bool text_is_needed(const struct config *config, uint32_t revision)
{
	const struct config_policy *policy = config->policy;
	struct policy_request request;

	return revision == config->revision || revision == policy->intent.wanted ||
	       revision == policy->intent.confirmed ||
	       (policy_compiler_is_busy(policy->compiler, &request) &&
		       request.revision == revision);
}

/* A free place; at most five revisions are needed at any time. */
static struct policy_text *text_allocate(struct config *config)
{
	struct policy_text *found = NULL;

	for (size_t i = 0; i < TEXTS_MAX; i++) {
		struct policy_text *text = &config->policy->texts[i];

		if (text->revision != 0 && !text_is_needed(config, text->revision))
			text_free(text);
		if (text->revision == 0)
			found = text;
	}
	ovs_assert(found != NULL);
	return found;
}

/* The document of a revision, kept from now on; NULL if it is not there. */
static struct policy_text *find_text(struct config *config, int64_t revision)
{
	for (size_t i = 0; i < TEXTS_MAX; i++) {
		if (config->policy->texts[i].revision == revision)
			return revision != 0 ? &config->policy->texts[i] : NULL;
	}
	const struct cordonrec_policy_revision *row = find_revision(config, revision);
	if (row == NULL || revision != (uint32_t)revision)
		return NULL;
	struct policy_text *text = text_allocate(config);
	*text = (struct policy_text){.revision = (uint32_t)revision,
		.document = xstrdup(row->document),
		.author = xstrdup(row->author)};
	return text;
}

/* --- Errors ----------------------------------------------------------------------------------- */

static void forget_error(struct config *config)
{
	if (config->policy_error == NULL)
		return;
	free(config->policy_error);
	config->policy_error = NULL;
	config->policy_failed = 0;
	config->status_changed = true;
}

static void set_error(struct config *config, int64_t revision, const char *error)
{
	if (config->policy_failed == revision && config->policy_error != NULL &&
		!strcmp(config->policy_error, error))
		return;
	VLOG_WARN("policy revision %lld: %s; revision %u stays in force", (long long int)revision,
		error, config->revision);
	free(config->policy_error);
	config->policy_error = xstrdup(error);
	config->policy_failed = revision;
	config->status_changed = true;
}

static char *first_error(const struct policy_errors *errors)
{
	return xasprintf("line %u, column %u: %s%s", errors->at[0].line, errors->at[0].column,
		errors->at[0].message, errors->n_total > 1 ? " (and more)" : "");
}

/* --- Putting one into force ---------------------------------------------------------------------
 */

/* Two policies of one document, in which only time can make a difference. */
static bool same_rules(const struct zone_policy *a, const struct zone_policy *b)
{
	struct zone_rule_info rule_a, rule_b;
	char name[160];

	for (uint32_t rule = 1; rule <= zone_rule_count(a); rule++) {
		if (!zone_rule_info(a, rule, &rule_a, name) ||
			!zone_rule_info(b, rule, &rule_b, name) ||
			rule_a.in_force != rule_b.in_force)
			return false;
	}
	return zone_rule_count(a) == zone_rule_count(b);
}

static void put_into_force(struct config *config)
{
	struct config_policy *policy = config->policy;
	struct timed_policy next = policy->prepared;
	uint32_t revision = zone_policy_revision(next.policy);
	bool same_revision = policy->in_force.policy != NULL && revision == config->revision;

	policy->prepared.policy = NULL;
	if (same_revision && same_rules(policy->in_force.policy, next.policy)) {
		zone_policy_destroy(next.policy);
		next.policy = policy->in_force.policy;
	} else {
		config_zones_swap(config, next.policy);
		VLOG_INFO("policy revision %u is in force%s", revision,
			same_revision ? ", with the rules of this time" : "");
	}
	policy->in_force = next;
	config->revision = revision;
	config->status_changed = true;
}

static bool is_right(const struct timed_policy *policy, int64_t revision, int64_t now)
{
	return policy->policy != NULL && zone_policy_revision(policy->policy) == revision &&
	       policy->from <= now && now < policy->until;
}

/* True if what is prepared should be in force: it is right, or where compiling takes longer than
 * the rules last, nearer to it than what is in force. */
static bool should_swap(const struct config *config, int64_t target, int64_t now)
{
	const struct timed_policy *prepared = &config->policy->prepared;

	if (prepared->policy == NULL || zone_policy_revision(prepared->policy) != target ||
		prepared->from > now)
		return false;
	return now < prepared->until || config->revision != target ||
	       prepared->from > config->policy->in_force.from;
}

/* --- Compiling -------------------------------------------------------------------------------- */

static void begin(struct config *config, const struct policy_text *text, int64_t at)
{
	const struct policy_request request = {
		.revision = text->revision, .at = at, .document = text->document};

	policy_compiler_begin(config->policy->compiler, &request);
}

static bool is_busy(const struct config *config)
{
	struct policy_request request;

	return policy_compiler_is_busy(config->policy->compiler, &request);
}

static void take_result(struct config *config)
{
	struct config_policy *policy = config->policy;
	struct policy_result result;

	if (!policy_compiler_take(policy->compiler, &result))
		return;
	struct policy_text *text = find_text(config, result.request.revision);
	if (result.policy == NULL) {
		if (text != NULL && text->error == NULL)
			text->error = first_error(&result.errors);
		return;
	}
	VLOG_INFO("policy revision %u by %s: %u rules in %u zones, compiled%s in %lld ms",
		result.request.revision, text != NULL ? text->author : "nobody",
		zone_rule_count(result.policy), zone_count(result.policy) - 1,
		result.request.at > time_wall() ? " ahead" : "", result.took_ms);
	zone_policy_destroy(policy->prepared.policy);
	policy->prepared = (struct timed_policy){.policy = result.policy,
		.from = result.request.at,
		.until = zone_policy_next_change(result.policy)};
}

/* Has the policy compiled that should be in force now, or says why it cannot be. */
static void ask_for(struct config *config, int64_t target, int64_t now)
{
	const struct policy_text *text = find_text(config, target);

	if (text == NULL && replica_is_complete(config)) {
		set_error(
			config, target, "the database has no such revision"); /* It may yet come. */
		config->policy->settled = true;
	} else if (text != NULL && text->error != NULL) {
		set_error(config, target, text->error);
		config->policy->settled = true;
	} else if (text != NULL) {
		if (config->policy_failed != target)
			forget_error(config);
		if (!is_busy(config))
			begin(config, text, now);
	}
}

/* Compiles ahead what is to come next, and notes when to be awake. */
static void look_ahead(struct config *config, int64_t target, int64_t now, int64_t now_ms)
{
	struct config_policy *policy = config->policy;
	int64_t return_at = policy_intent_return_at(&policy->intent, now, now_ms);
	bool returns = return_at <= policy->in_force.until;
	int64_t at = returns ? return_at : policy->in_force.until;
	int64_t revision = returns ? policy->intent.confirmed : target;

	policy->wake_at = at == INT64_MAX || at - now <= LEAD_SECONDS ? at : at - LEAD_SECONDS;
	if (policy->wake_at != at || at == INT64_MAX || is_right(&policy->prepared, revision, at))
		return;
	const struct policy_text *text = find_text(config, revision);
	if (text != NULL && text->error == NULL && !is_busy(config))
		begin(config, text, at);
}

/* What is in force would not be found again after a restart. */
static void check_presence(struct config *config, int64_t target)
{
	if (replica_is_complete(config) && cordonrec_cordon_first(config->idl) != NULL &&
		find_revision(config, target) == NULL)
		set_error(config, target,
			"it is no longer in the database, so that a restart would not find it; "
			"apply the policy once more");
	else
		forget_error(config);
}

/* --- The loop --------------------------------------------------------------------------------- */

void config_policy_run(struct config *config)
{
	struct config_policy *policy = config->policy;
	int64_t now = time_wall(), now_ms = time_msec();

	wall_clock_run(policy->clock);
	read_root(config, now, now_ms);
	take_result(config);
	int64_t target = policy_intent_target(&policy->intent, now, now_ms);
	if (policy->intent.confirm_by != 0) /* Kept, should the database go away. */
		find_text(config, policy->intent.confirmed);
	if (!is_right(&policy->in_force, target, now) && should_swap(config, target, now))
		put_into_force(config);
	policy->wake_at = INT64_MAX;
	if (target == 0) {
		forget_error(config); /* Nothing is wanted, and what is in force stays. */
		policy->settled |= cordonrec_cordon_first(config->idl) != NULL;
	} else if (is_right(&policy->in_force, target, now)) {
		policy->settled = true;
		check_presence(config, target);
		look_ahead(config, target, now, now_ms);
	} else {
		ask_for(config, target, now);
	}
}

void config_policy_wait(struct config *config)
{
	policy_compiler_wait(config->policy->compiler);
	wall_clock_wait(config->policy->clock, config->policy->wake_at);
}

bool config_policy_is_settled(const struct config *config)
{
	return config->policy->settled;
}

bool config_policy_pending(const struct config *config, struct policy_pending *pending)
{
	const struct policy_intent *intent = &config->policy->intent;

	*pending = (struct policy_pending){.revision = intent->wanted,
		.returns_to = intent->confirmed,
		.confirm_by = intent->confirm_by,
		.returned = intent->returned};
	return intent->confirm_by != 0;
}

int64_t config_policy_next_change(const struct config *config)
{
	return config->policy->in_force.policy != NULL ? config->policy->in_force.until
						       : ZONE_NO_CHANGE;
}

uint32_t config_policy_compiling(const struct config *config)
{
	struct policy_request request;

	return policy_compiler_is_busy(config->policy->compiler, &request) ? request.revision : 0;
}

void config_policy_start(struct config *config)
{
	struct ovsdb_idl_condition none = OVSDB_IDL_CONDITION_INIT(&none);

	config->policy = xzalloc(sizeof(*config->policy));
	config->policy->compiler = policy_compiler_start();
	config->policy->clock = wall_clock_create();
	config->policy->wake_at = INT64_MAX;
	cordonrec_policy_revision_set_condition(config->idl, &none);
	ovsdb_idl_condition_destroy(&none);
}

void config_policy_stop(struct config *config)
{
	struct config_policy *policy = config->policy;

	policy_compiler_join(policy->compiler);
	wall_clock_destroy(policy->clock);
	zone_policy_destroy(policy->prepared.policy);
	for (size_t i = 0; i < TEXTS_MAX; i++)
		text_free(&policy->texts[i]);
	free(policy);
}
