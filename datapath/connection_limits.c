/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which limits of zones and rules a connection falls under, and what it holds of them: from when it
 * is admitted, over all verdicts on it, to its end.  Called by workers on the miss path and by the
 * sweep, for connections whose verdict has limits, or had; by the main thread after a restart.
 *
 * What a connection holds is in conn.limits and conn.limits_half_open, which change together under
 * conn_lock().  Three may want to change it at the same time:
 * - whoever judges it anew, on any worker or in the sweep: connection_limits_attach();
 * - the worker that sees its answer: connection_limits_confirm().  It sets CONN_CONFIRMED first and
 *   then looks whether limits are held; attaching stores them first and then looks at the flag. One
 *   of the two sees the other, and the lock lets only one take the half-open count away;
 * - whoever ends it: quota_take().  Attaching asks under the lock whether the connection is live,
 *   which conn_unlink() ends under the same lock, so nothing is given to one that has ended.
 * Each takes what was held out of the connection under the lock, and then off the counts, so that
 * nothing is taken off twice and nothing is left.
 */
#include <config.h>

#include "datapath/miss.h"

/* Indexed by kind and by enum limit_result. */
static const enum drop_reason refusals[LIMIT_N_KINDS][LIMIT_N_RESULTS] = {
	[LIMIT_ZONE] =
		{
			[LIMIT_CONNECTIONS] = DROP_ZONE_QUOTA,
			[LIMIT_HALF_OPEN] = DROP_ZONE_HALF_OPEN,
			[LIMIT_RATE] = DROP_ZONE_RATE,
			[LIMIT_NO_ROOM] = DROP_LIMITS_FULL,
		},
	[LIMIT_RULE] =
		{
			[LIMIT_CONNECTIONS] = DROP_RULE_QUOTA,
			[LIMIT_HALF_OPEN] = DROP_RULE_HALF_OPEN,
			[LIMIT_RATE] = DROP_RULE_RATE,
			[LIMIT_NO_ROOM] = DROP_LIMITS_FULL,
		},
};

static struct limit_question question_of(
	const struct endpoint_map *endpoints, const struct verdict *verdict)
{
	return (struct limit_question){
		.policy = endpoint_map_policy(endpoints),
		.pairs = {verdict->limited[0], verdict->limited[1]},
		.n = verdict->n_limited,
	};
}

/* The log is to name the rule and the zone whose limit it was: with two questions, it may be the
 * first one's. */
static enum drop_reason refusal_reason(
	enum limit_result result, const struct limit_refusal *refusal, struct verdict *verdict)
{
	const struct limit_pair *pair = &verdict->limited[refusal->pair];

	if (result == LIMIT_ADMITTED)
		return DROP_NONE;
	verdict->rule = pair->rule;
	verdict->source_zone = pair->zone;
	return refusals[refusal->kind][result];
}

enum drop_reason connection_limits_admit(const struct miss *miss, struct verdict *verdict)
{
	struct worker *worker = miss->context->worker;
	const struct limit_question question = question_of(miss->endpoints, verdict);
	struct limit_refusal refusal;
	enum limit_result result = limits_admit(worker->sw->limits, worker->limit_cache, &question,
		worker->clock_ns, &verdict->limits, &refusal);

	return refusal_reason(result, &refusal, verdict);
}

enum drop_reason connection_limits_would_admit(const struct miss *miss, struct verdict *verdict)
{
	struct worker *worker = miss->context->worker;
	const struct limit_question question = question_of(miss->endpoints, verdict);
	struct limit_refusal refusal;
	enum limit_result result = limits_would_admit(
		worker->sw->limits, worker->limit_cache, &question, worker->clock_ns, &refusal);

	return refusal_reason(result, &refusal, verdict);
}

void connection_limits_confirm(struct cordon_switch *sw, struct conn *conn)
{
	uint16_t set;

	conn_lock(conn);
	set = atomic_exchange(&conn->limits_half_open, 0) != 0 ? atomic_load(&conn->limits) : 0;
	/* Within the lock: while it is held, the connection holds the set. */
	limits_confirm(sw->limits, set, 1);
	conn_unlock(conn);
}

void connection_limits_attach(struct cordon_switch *sw, uint32_t number, uint16_t set)
{
	struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	uint16_t before;
	bool half_open;

	conn_lock(conn);
	if (!conn_is_live(sw->connections, number)) {
		conn_unlock(conn);
		limits_give_back(sw->limits, set, 1, 1);
		return;
	}
	before = atomic_exchange(&conn->limits, set);
	/* What was held says whether the answer has been counted; else the connection does. */
	half_open = before != 0 ? atomic_load(&conn->limits_half_open) != 0
				: !(atomic_load(&conn->flags) & CONN_CONFIRMED);
	atomic_store(&conn->limits_half_open, set != 0 && half_open);
	if (!half_open)
		limits_confirm(sw->limits, set, 1);
	conn_unlock(conn);
	limits_give_back(sw->limits, before, 1, half_open);
}

void connection_limits_move(struct cordon_switch *sw, struct limit_cache *cache,
	const struct endpoint_map *endpoints, uint32_t number, const struct verdict *verdict)
{
	const struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	const struct limit_question question = question_of(endpoints, verdict);
	uint16_t set = 0;

	if (verdict->action == ZONE_ALLOW && verdict->n_limited != 0) {
		if (limits_is_held(sw->limits, cache, &question, atomic_load(&conn->limits)))
			return;
		set = limits_hold(sw->limits, cache, &question);
	}
	connection_limits_attach(sw, number, set);
}

/* --- after a restart -------------------------------------------------------------------------- */

struct adoption {
	struct cordon_switch *sw;
	const struct endpoint_map *endpoints;
	struct limit_cache *cache;
};

/* By the numbers that the connection remembers: what it is judged by under the same revision.  The
 * miss path and the sweep judge it anew soon, and correct what another question has said. */
static void adopt_one(struct conn_table *table, uint32_t number, void *adoption_)
{
	const struct adoption *adoption = adoption_;
	const struct conn *conn = conn_of_flow(table, 2 * number);
	const struct zone_policy *policy = endpoint_map_policy(adoption->endpoints);
	const struct verdict verdict = {
		.action = ZONE_ALLOW,
		.n_limited = 1,
		.limited = {{.rule = atomic_load(&conn->rule),
			.zone = atomic_load(&conn->source_zone)}},
	};

	if (atomic_load(&conn->verdict) == CONN_ALLOWED && atomic_load(&conn->limits) == 0 &&
		atomic_load(&conn->policy_revision) == zone_policy_revision(policy))
		connection_limits_move(
			adoption->sw, adoption->cache, adoption->endpoints, number, &verdict);
}

static bool has_limits(const struct zone_policy *policy)
{
	for (uint16_t zone = 0; zone < zone_count(policy); zone++) {
		const struct zone_info info = zone_info(policy, zone);

		if (limits_any(&info.limits))
			return true;
	}
	for (uint32_t rule = 1; rule <= zone_rule_count(policy); rule++) {
		struct zone_rule_info info;
		char name[160];

		if (zone_rule_info(policy, rule, &info, name) && limits_any(&info.limits))
			return true;
	}
	return false;
}

void connection_limits_adopt(struct cordon_switch *sw, const struct endpoint_map *endpoints)
{
	struct adoption adoption = {.sw = sw, .endpoints = endpoints};

	if (conn_count(sw->connections) == 0 || !has_limits(endpoint_map_policy(endpoints)))
		return;
	adoption.cache = limit_cache_create();
	if (adoption.cache == NULL)
		return; /* They are counted when they are judged anew. */
	conn_for_each(sw->connections, 0, conn_high_water(sw->connections), adopt_one, &adoption);
	limit_cache_destroy(adoption.cache);
}
