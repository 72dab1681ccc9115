/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What connections hold of limits and quotas, while several threads do to the same ones all that
 * can be done: open them, judge them anew, see their answer, and end them.  At the end nothing may
 * be left in any count; and what one thread does in order must count exactly.  Built with
 * -fsanitize=thread it also proves the memory ordering.
 */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "datapath/switch.h"
#include "tests/unit/conn_fixture.h"

enum {
	CONNECTIONS = 40000,
	CAPACITY = 1 << 16,
	RECENT = 24,
	JUDGES = 2,
	UPLINK = 9,
	OTHER_UPLINK = 10,
	VNIC = 5
};

static const char document[] = "zones:\n"
			       "  a: {match: \"zone=a\", limits: {connections: 900000}}\n"
			       "  b: {match: \"zone=b\", limits: {half_open: 900000}}\n"
			       "  c: {match: \"zone=c\"}\n"
			       "policies:\n"
			       "- id: p\n"
			       "  rules:\n"
			       "  - {id: x, from: any, to: c, service: tcp/1, action: allow, "
			       "limits: {connections: 800000}}\n"
			       "  - {id: y, from: any, to: c, service: tcp/2, action: allow, "
			       "limits: {half_open: 800000}}\n"
			       "  - {id: z, from: any, to: c, service: tcp/3, action: allow}\n";

struct fixture {
	struct cordon_switch *sw;
	struct zone_policy *policy;
	struct endpoint_map *endpoints;
	struct limit_cache *cache;
	char path[64];
	/* Of the threads. */
	uint32_t numbers[CONNECTIONS];
	_Atomic uint32_t n_opened, n_ended;
	_Atomic bool stop;
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct conn_open_report report;
	struct policy_errors errors;

	fixture->sw = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*fixture->sw), 64));
	memset(fixture->sw, 0, sizeof(*fixture->sw));
	make_path(fixture->path);
	fixture->sw->connections = conn_table_open(fixture->path, CAPACITY, boot_id, &report);
	fixture->sw->limits = limits_create();
	fixture->cache = limit_cache_create();
	fixture->policy = zone_policy_create(document, strlen(document), 1, 0, &errors);
	if (fixture->policy == NULL)
		fail_msg("line %u: %s", errors.at[0].line, errors.at[0].message);
	fixture->endpoints = endpoint_map_create(fixture->policy, NULL, 0);
	*state = fixture;
	return fixture->sw->connections == NULL;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	conn_table_close(fixture->sw->connections);
	unlink(fixture->path);
	limits_destroy(fixture->sw->limits);
	limit_cache_destroy(fixture->cache);
	endpoint_map_destroy(fixture->endpoints);
	zone_policy_destroy(fixture->policy);
	free(fixture->sw);
	free(fixture);
	return 0;
}

static uint32_t random_next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	return *state ^= *state << 5;
}

/* A verdict by one of the rules, from one of the zones; now and then one without limits. */
static struct verdict verdict_of(const struct fixture *fixture, uint32_t zone, uint32_t rule)
{
	struct verdict verdict = {.action = ZONE_ALLOW};
	const char *names[] = {"a", "b", "c"};

	verdict.n_limited = zone != 2 || rule != 2;
	verdict.limited[0] = (struct limit_pair){
		.rule = rule + 1, .zone = (uint16_t)zone_find(fixture->policy, names[zone])};
	return verdict;
}

/* A packet that came in by the port. */
struct arrival {
	struct worker worker;
	struct port port;
	struct port_settings settings;
	struct packet_context context;
};

static const struct packet_context *arrive(
	struct arrival *arrival, struct cordon_switch *sw, uint16_t port)
{
	arrival->worker.sw = sw;
	arrival->port.number = port;
	arrival->settings.role = port == VNIC ? PORT_VNIC : PORT_UPLINK;
	arrival->context = (struct packet_context){
		.worker = &arrival->worker, .in = &arrival->port, .settings = &arrival->settings};
	return &arrival->context;
}

/* As connection_open() does: counted, and not published yet.  Every other one is from outside. */
static uint32_t open_connection(struct fixture *fixture, struct conn_cache *conns, uint32_t i)
{
	struct cordon_switch *sw = fixture->sw;
	bool from_outside = i % 2;
	struct conn_key key = key_ipv4(i);
	struct verdict verdict = verdict_of(fixture, i % 3, i / 3 % 3);
	struct limit_question question = {
		.policy = fixture->policy, .pairs = {verdict.limited[0]}, .n = 1};
	struct limit_refusal refusal;
	uint16_t set = 0;

	key.in_port = from_outside ? UPLINK : VNIC;
	uint32_t flow =
		conn_alloc(sw->connections, conns, &key, conn_hash(sw->connections, &key), NULL, 0);
	struct conn *conn = conn_of_flow(sw->connections, flow);
	struct arrival arrival = {.port = {.number = 0}};
	const struct packet_context *context = arrive(&arrival, sw, key.in_port);

	if (verdict.n_limited != 0)
		assert_int_equal(
			limits_admit(sw->limits, fixture->cache, &question, 0, &set, &refusal),
			LIMIT_ADMITTED);
	atomic_store(&conn->quota_port, quota_count(context, flow / 2, from_outside ? VNIC : 7));
	atomic_store(&conn->limits, set);
	atomic_store(&conn->limits_half_open, set != 0);
	atomic_store(&conn->verdict, CONN_ALLOWED);
	assert_int_equal(conn_publish(sw->connections, conns, flow), flow);
	return flow / 2;
}

static void judge(struct fixture *fixture, struct limit_cache *cache, uint32_t number,
	const struct verdict *verdict)
{
	const struct conn *conn = conn_of_flow(fixture->sw->connections, 2 * number);

	if (connection_limits_concern(conn, verdict))
		connection_limits_move(fixture->sw, cache, fixture->endpoints, number, verdict);
}

/* As connection.c's confirm() does. */
static void answer(struct fixture *fixture, uint32_t number)
{
	struct conn *conn = conn_of_flow(fixture->sw->connections, 2 * number);

	if (!(atomic_fetch_or(&conn->flags, CONN_CONFIRMED) & CONN_CONFIRMED))
		quota_confirm(fixture->sw, conn);
}

/* As the miss path does in the place of one that is over, for a packet by one of the uplinks or by
 * the vNIC. */
static void begin_anew(
	struct fixture *fixture, struct arrival *arrival, uint32_t number, uint16_t port)
{
	struct cordon_switch *sw = fixture->sw;
	struct conn *conn = conn_of_flow(sw->connections, 2 * number);

	quota_release(sw, number);
	quota_count_again(arrive(arrival, sw, port), number, port == VNIC ? 7 : VNIC);
	atomic_fetch_and(&conn->flags, CONN_REVERSE);
	if (!conn_is_live(sw->connections, number))
		quota_release(sw, number);
}

static void end_connection(struct fixture *fixture, uint32_t number)
{
	if (conn_unlink(fixture->sw->connections, number))
		quota_release(fixture->sw, number);
}

static void expect_use(
	struct fixture *fixture, enum limit_kind kind, const char *name, uint32_t n, uint32_t half)
{
	struct limit_use use = limits_use(fixture->sw->limits, kind, name);

	assert_int_equal(use.connections, n);
	assert_int_equal(use.half_open, half);
}

static void expect_nothing_left(struct fixture *fixture)
{
	expect_use(fixture, LIMIT_ZONE, "a", 0, 0);
	expect_use(fixture, LIMIT_ZONE, "b", 0, 0);
	expect_use(fixture, LIMIT_RULE, "p/x", 0, 0);
	expect_use(fixture, LIMIT_RULE, "p/y", 0, 0);
	for (int i = 0; i < PORTS_MAX; i++) {
		assert_int_equal(atomic_load(&fixture->sw->quotas[i].opened), 0);
		assert_int_equal(atomic_load(&fixture->sw->quotas[i].inbound), 0);
	}
}

/* --- in order ----------------------------------------------------------------------------------
 */

static void test_a_connection_moves_from_limit_to_limit(void **state)
{
	struct fixture *fixture = *state;
	struct conn_cache conns = {0};
	uint32_t number = open_connection(fixture, &conns, 0);
	struct verdict to_y = verdict_of(fixture, 1, 1), to_none = verdict_of(fixture, 2, 2);

	expect_use(fixture, LIMIT_ZONE, "a", 1, 1);
	expect_use(fixture, LIMIT_RULE, "p/x", 1, 1);
	judge(fixture, fixture->cache, number, &to_y);
	expect_use(fixture, LIMIT_ZONE, "a", 0, 0);
	expect_use(fixture, LIMIT_RULE, "p/x", 0, 0);
	expect_use(fixture, LIMIT_RULE, "p/y", 1, 1);
	answer(fixture, number);
	expect_use(fixture, LIMIT_RULE, "p/y", 1, 0);
	answer(fixture, number);
	expect_use(fixture, LIMIT_RULE, "p/y", 1, 0);
	judge(fixture, fixture->cache, number, &to_none);
	expect_use(fixture, LIMIT_RULE, "p/y", 0, 0);
	judge(fixture, fixture->cache, number, &to_y); /* It is still answered. */
	expect_use(fixture, LIMIT_RULE, "p/y", 1, 0);
	to_y.action = ZONE_DENY;
	judge(fixture, fixture->cache, number, &to_y); /* What is cut holds nothing. */
	expect_use(fixture, LIMIT_RULE, "p/y", 0, 0);
	to_y.action = ZONE_ALLOW;
	judge(fixture, fixture->cache, number, &to_y);
	end_connection(fixture, number);
	judge(fixture, fixture->cache, number, &to_y); /* Nor does what has ended. */
	quota_release(fixture->sw, number);
	expect_nothing_left(fixture);
}

static void test_what_comes_from_outside_counts_where_it_goes(void **state)
{
	struct fixture *fixture = *state;
	struct conn_cache conns = {0};
	uint32_t number = open_connection(fixture, &conns, 1);
	const uint64_t half_open = QUOTA_CONNECTION + QUOTA_HALF_OPEN;
	struct port_quota *quotas = fixture->sw->quotas;

	assert_int_equal(atomic_load(&quotas[VNIC].inbound), half_open);
	assert_int_equal(atomic_load(&quotas[VNIC].opened), 0);
	assert_int_equal(atomic_load(&quotas[UPLINK].opened), half_open);
	answer(fixture, number);
	assert_int_equal(atomic_load(&quotas[VNIC].inbound), QUOTA_CONNECTION);
	assert_int_equal(atomic_load(&quotas[UPLINK].opened), QUOTA_CONNECTION);
	/* A process that adopts the table finds it again. */
	memset(quotas, 0, sizeof(fixture->sw->quotas));
	quota_adopt_all(fixture->sw);
	assert_int_equal(atomic_load(&quotas[VNIC].inbound), QUOTA_CONNECTION);
	assert_int_equal(atomic_load(&quotas[UPLINK].opened), QUOTA_CONNECTION);
	end_connection(fixture, number);
	expect_nothing_left(fixture);
}

static void test_outside_host_that_has_moved_to_another_uplink(void **state)
{
	struct fixture *fixture = *state;
	struct conn_cache conns = {0};
	struct arrival arrival = {.port = {.number = 0}};
	uint32_t number = open_connection(fixture, &conns, 1);
	struct port_quota *quotas = fixture->sw->quotas;

	answer(fixture, number);
	begin_anew(fixture, &arrival, number, OTHER_UPLINK);
	/* It is known by the uplink that it came by at first. */
	assert_int_equal(atomic_load(&quotas[UPLINK].opened), QUOTA_CONNECTION + QUOTA_HALF_OPEN);
	assert_int_equal(atomic_load(&quotas[OTHER_UPLINK].opened), 0);
	answer(fixture, number);
	assert_int_equal(atomic_load(&quotas[UPLINK].opened), QUOTA_CONNECTION);
	end_connection(fixture, number);
	expect_nothing_left(fixture);
}

static void test_connection_that_two_workers_begin_anew_counts_once(void **state)
{
	struct fixture *fixture = *state;
	struct conn_cache conns = {0};
	struct arrival arrival = {.port = {.number = 0}};
	uint32_t number = open_connection(fixture, &conns, 0);
	struct cordon_switch *sw = fixture->sw;

	quota_release(sw, number);
	quota_release(sw, number);
	quota_count_again(arrive(&arrival, sw, VNIC), number, 7);
	quota_count_again(arrive(&arrival, sw, VNIC), number, 7);
	assert_int_equal(atomic_load(&sw->quotas[VNIC].opened), QUOTA_CONNECTION + QUOTA_HALF_OPEN);
	end_connection(fixture, number);
	expect_nothing_left(fixture);
}

static void test_adopted_connections_count_by_their_rule(void **state)
{
	struct fixture *fixture = *state;
	struct conn_table *table = fixture->sw->connections;
	struct conn_cache conns = {0};
	uint32_t number = open_connection(fixture, &conns, 0);
	struct conn *conn = conn_of_flow(table, 2 * number);
	struct counted counted = quota_take(table, number);

	quota_give_back(fixture->sw, &counted);
	atomic_fetch_and(&conn->flags, (uint8_t)~CONN_CONFIRMED);
	atomic_store(&conn->rule, 1);
	atomic_store(&conn->source_zone, (uint16_t)zone_find(fixture->policy, "a"));
	connection_limits_adopt(fixture->sw, fixture->endpoints);
	expect_use(fixture, LIMIT_RULE, "p/x", 0, 0); /* Of another revision. */
	atomic_store(&conn->policy_revision, 1);
	connection_limits_adopt(fixture->sw, fixture->endpoints);
	connection_limits_adopt(fixture->sw, fixture->endpoints);
	expect_use(fixture, LIMIT_RULE, "p/x", 1, 1);
	expect_use(fixture, LIMIT_ZONE, "a", 1, 1);
	end_connection(fixture, number);
	expect_nothing_left(fixture);
}

/* --- all at once -------------------------------------------------------------------------------
 */

struct actor {
	struct fixture *fixture;
	pthread_t thread;
	uint32_t random;
	enum { JUDGES_ANEW, ANSWERS, BEGINS_ANEW } does;
	struct arrival arrival;
};

/* One of those that were opened last, some of which are ending at this moment. */
static bool choose(struct actor *actor, uint32_t *number)
{
	uint32_t n = atomic_load(&actor->fixture->n_opened);

	if (n < RECENT)
		return false;
	*number = actor->fixture->numbers[n - 1 - random_next(&actor->random) % RECENT];
	return true;
}

/* The port that the connection came in by, or another uplink. */
static uint16_t port_of(uint32_t number, struct actor *actor)
{
	const struct conn_table *table = actor->fixture->sw->connections;
	uint16_t port = conn_flow(table, 2 * number)->key.in_port;

	return port != VNIC && random_next(&actor->random) % 2 ? OTHER_UPLINK : port;
}

static void *actor_main(void *actor_)
{
	struct actor *actor = actor_;
	struct limit_cache *cache = limit_cache_create();
	uint32_t number;

	while (!atomic_load(&actor->fixture->stop)) {
		struct verdict verdict = verdict_of(actor->fixture, random_next(&actor->random) % 3,
			random_next(&actor->random) % 3);

		if (!choose(actor, &number))
			continue;
		if (actor->does == JUDGES_ANEW)
			judge(actor->fixture, cache, number, &verdict);
		else if (actor->does == ANSWERS)
			answer(actor->fixture, number);
		else
			begin_anew(actor->fixture, &actor->arrival, number, port_of(number, actor));
	}
	limit_cache_destroy(cache);
	return NULL;
}

static void *ender_main(void *fixture_)
{
	struct fixture *fixture = fixture_;
	uint32_t n = 0;

	while (n < CONNECTIONS) {
		if (n + RECENT / 2 < atomic_load(&fixture->n_opened) ||
			atomic_load(&fixture->n_opened) == CONNECTIONS)
			end_connection(fixture, fixture->numbers[n++]);
	}
	return NULL;
}

static void test_nothing_is_left_whatever_meets(void **state)
{
	struct fixture *fixture = *state;
	struct conn_cache conns = {0};
	enum { ACTORS = 5 };
	struct actor *actors = calloc(ACTORS, sizeof(*actors));
	pthread_t ender;

	for (uint32_t i = 0; i < ACTORS; i++) {
		actors[i].fixture = fixture;
		actors[i].random = 5 + i;
		actors[i].does = i < JUDGES ? JUDGES_ANEW : i == JUDGES ? ANSWERS : BEGINS_ANEW;
		assert_int_equal(
			pthread_create(&actors[i].thread, NULL, actor_main, &actors[i]), 0);
	}
	assert_int_equal(pthread_create(&ender, NULL, ender_main, fixture), 0);
	/* None is used a second time: that needs a grace period, which is the table's own test. */
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		fixture->numbers[i] = open_connection(fixture, &conns, i);
		atomic_store(&fixture->n_opened, i + 1);
	}
	pthread_join(ender, NULL);
	atomic_store(&fixture->stop, true);
	for (uint32_t i = 0; i < ACTORS; i++)
		pthread_join(actors[i].thread, NULL);
	free(actors);
	expect_nothing_left(fixture);
}

static void *answerer_main(void *fixture_)
{
	struct fixture *fixture = fixture_;

	for (uint32_t n = 0; n < CONNECTIONS;) {
		if (n < atomic_load(&fixture->n_opened))
			answer(fixture, fixture->numbers[n++]);
	}
	return NULL;
}

static uint32_t half_open_in_all(struct fixture *fixture)
{
	return limits_use(fixture->sw->limits, LIMIT_ZONE, "a").half_open +
	       limits_use(fixture->sw->limits, LIMIT_ZONE, "b").half_open +
	       limits_use(fixture->sw->limits, LIMIT_RULE, "p/x").half_open +
	       limits_use(fixture->sw->limits, LIMIT_RULE, "p/y").half_open;
}

/* The answer and the judgement of a connection come at the same moment: whichever is first, it is
 * not half-open afterwards. */
static void test_what_is_answered_is_half_open_nowhere(void **state)
{
	struct fixture *fixture = *state;
	struct conn_cache conns = {0};
	struct actor *actors = calloc(JUDGES, sizeof(*actors));
	pthread_t answerer;

	assert_int_equal(pthread_create(&answerer, NULL, answerer_main, fixture), 0);
	for (uint32_t i = 0; i < JUDGES; i++) {
		actors[i].fixture = fixture;
		actors[i].random = 5 + i;
		assert_int_equal(
			pthread_create(&actors[i].thread, NULL, actor_main, &actors[i]), 0);
	}
	for (uint32_t i = 0; i < CONNECTIONS; i++) {
		fixture->numbers[i] = open_connection(fixture, &conns, 9 * i + 8); /* No limits. */
		atomic_store(&fixture->n_opened, i + 1);
	}
	pthread_join(answerer, NULL);
	atomic_store(&fixture->stop, true);
	for (uint32_t i = 0; i < JUDGES; i++)
		pthread_join(actors[i].thread, NULL);
	free(actors);
	assert_int_equal(half_open_in_all(fixture), 0);
	assert_int_not_equal(limits_use(fixture->sw->limits, LIMIT_ZONE, "a").connections, 0);
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		end_connection(fixture, fixture->numbers[i]);
	expect_nothing_left(fixture);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_a_connection_moves_from_limit_to_limit),
		TEST(test_what_comes_from_outside_counts_where_it_goes),
		TEST(test_outside_host_that_has_moved_to_another_uplink),
		TEST(test_connection_that_two_workers_begin_anew_counts_once),
		TEST(test_adopted_connections_count_by_their_rule),
		TEST(test_nothing_is_left_whatever_meets),
		TEST(test_what_is_answered_is_half_open_nowhere),
	};

	return cmocka_run_group_tests_name("connection_limits", tests, NULL, NULL);
}
