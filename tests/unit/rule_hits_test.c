/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule hits: random histories of connections, packets, revisions and restarts against a plain model
 * that knows rules by their names only; files that are damaged, foreign or of another time; clocks
 * that go back.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "datapath/rule_hits.h"
#include "tests/unit/conn_fixture.h"

#define SECOND_NS UINT64_C(1000000000)

enum { NAMES = 24, ZONE_NAMES = 6, CONNECTIONS = 200, CAPACITY = 1024, MODEL_MAX = 4096 };

/* What one rule or pair should have, by name. */
struct model_rule {
	char name[160];
	uint64_t packets, bytes, connections, taken_over, refused;
};

/* A connection of the model. */
struct model_conn {
	bool live;
	uint32_t flow;
	struct rule_hits_by by;
	struct model_rule *rule;
};

struct world {
	char directory[64], table_path[96], ledger[96], snapshot[96];
	struct conn_table *table;
	struct conn_cache cache;
	struct rule_hits *hits;
	struct rule_hits_report report;
	struct zone_policy *policy; /* In force. */
	uint32_t revision, next_key;
	struct rule_hits_time now;
	struct model_rule rules[MODEL_MAX];
	size_t n_rules;
	struct model_conn conns[CONNECTIONS];
	_Atomic bool *dead[RULE_HITS_REVISIONS];
};

/* --- the world -------------------------------------------------------------------------------- */

static struct model_rule *model_rule(struct world *world, const char *name)
{
	for (size_t i = 0; i < world->n_rules; i++)
		if (!strcmp(world->rules[i].name, name))
			return &world->rules[i];
	assert_true(world->n_rules < MODEL_MAX);
	struct model_rule *rule = &world->rules[world->n_rules++];
	memset(rule, 0, sizeof(*rule));
	snprintf(rule->name, sizeof(rule->name), "%s", name);
	return rule;
}

static void open_hits(struct world *world)
{
	const struct rule_hits_place place = {.run_directory = world->directory,
		.state_directory = world->directory,
		.boot_id = {1, 2, 3}};
	/* Both files may not have one name in one directory, so the snapshot has one of its own. */
	char state[80];

	snprintf(state, sizeof(state), "%s/state", world->directory);
	mkdir(state, 0700);
	struct rule_hits_place apart = place;
	apart.state_directory = state;
	world->hits = rule_hits_open(&apart, &world->report);
	assert_non_null(world->hits);
	rule_hits_attach(world->hits, world->table, &world->report);
}

static void open_table(struct world *world)
{
	struct conn_open_report report;

	world->table = conn_table_open(world->table_path, CAPACITY, boot_id, &report);
	assert_non_null(world->table);
}

static int make_world(void **state)
{
	struct world *world = calloc(1, sizeof(*world));

	if (world == NULL)
		return -1;
	snprintf(world->directory, sizeof(world->directory), "/dev/shm/rule-hits-XXXXXX");
	if (mkdtemp(world->directory) == NULL) {
		free(world);
		return -1;
	}
	snprintf(world->table_path, sizeof(world->table_path), "%s/connections", world->directory);
	snprintf(world->ledger, sizeof(world->ledger), "%s/rule-hits", world->directory);
	snprintf(world->snapshot, sizeof(world->snapshot), "%s/state/rule-hits", world->directory);
	world->now = (struct rule_hits_time){.wall_ns = 1000 * SECOND_NS, .seconds = 100};
	open_table(world);
	open_hits(world);
	*state = world;
	return 0;
}

static int remove_world(void **state)
{
	struct world *world = *state;
	char command[128];

	rule_hits_close(world->hits);
	conn_table_close(world->table);
	zone_policy_destroy(world->policy);
	snprintf(command, sizeof(command), "rm -r %s", world->directory);
	int result = system(command);
	free(world);
	return result;
}

/* --- policies --------------------------------------------------------------------------------- */

/* A policy of some of the NAMES rules and ZONE_NAMES zones, in any order. */
static struct zone_policy *random_policy(uint32_t revision)
{
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);
	struct policy_errors errors = {.n = 0};
	unsigned int first = (unsigned int)rand() % NAMES, n = (unsigned int)rand() % NAMES;
	unsigned int turn = (unsigned int)rand() % ZONE_NAMES;

	fprintf(file, "zones: {");
	for (unsigned int i = 0; i < ZONE_NAMES; i++)
		fprintf(file, "%sz%u: {match: 'k=%u'}", i ? ", " : "", (i + turn) % ZONE_NAMES, i);
	fprintf(file, "}\npolicies:\n");
	for (unsigned int i = 0; i <= n; i++)
		fprintf(file,
			"- {id: p%u, rules: [{id: r, from: any, to: any, service: tcp/%u, "
			"action: allow}]}\n",
			(first + i * 7) % (NAMES * 7 + 1), i + 1);
	fclose(file);
	struct zone_policy *policy = zone_policy_create(text, length, revision, 0, &errors);
	if (policy == NULL)
		fail_msg("%s", errors.at[0].message);
	free(text);
	return policy;
}

/* The rule, or the default pair, that decides next, and its name. */
static struct rule_hits_by any_rule(struct world *world, char name[330])
{
	struct rule_hits_by by = {.revision = world->revision, .allowed = rand() % 4 != 0};
	uint32_t n_pairs = (uint32_t)zone_count(world->policy) * zone_count(world->policy);
	struct zone_rule_info info;
	char text[160];

	if (rand() % 20 == 0) {
		strcpy(name, by.allowed ? "unjudged" : "quarantine");
		return by;
	}
	by.rule = 1 + (uint32_t)rand() % (zone_rule_count(world->policy) + n_pairs);
	assert_true(zone_rule_info(world->policy, by.rule, &info, text));
	snprintf(name, 330, "%s/%s", info.policy, info.rule);
	return by;
}

static void drop_old(struct world *world)
{
	for (uint32_t revision = 1; revision + 4 < world->revision; revision++) {
		bool named = false;

		for (size_t i = 0; i < CONNECTIONS; i++)
			named |= world->conns[i].live && world->conns[i].by.revision == revision;
		_Atomic bool *dead = named ? NULL : rule_hits_drop_revision(world->hits, revision);
		if (dead != NULL)
			atomic_store(dead, true);
	}
}

static void new_revision(struct world *world)
{
	zone_policy_destroy(world->policy);
	world->policy = random_policy(++world->revision);
	rule_hits_add_revision(world->hits, world->policy, world->now.wall_ns);
	drop_old(world);
}

/* --- what happens ----------------------------------------------------------------------------- */

static void write_by(struct conn *conn, struct rule_hits_by by)
{
	atomic_store(&conn->rule, by.rule);
	atomic_store(&conn->policy_revision, by.revision);
	atomic_store(&conn->verdict, by.allowed ? CONN_ALLOWED : CONN_DENIED);
}

static void first_packet(struct world *world, struct model_conn *model, struct conn *conn)
{
	uint64_t bytes = 60 + (uint64_t)rand() % 1400;

	atomic_store(&conn->dir[0].packets, 1);
	atomic_store(&conn->dir[0].bytes, bytes);
	atomic_store(&conn->dir[1].packets, 0);
	atomic_store(&conn->dir[1].bytes, 0);
	atomic_store(&conn->start_ns, world->now.wall_ns);
	model->rule->packets++;
	model->rule->bytes += bytes;
	model->rule->connections++;
}

static void begin_connection(struct world *world, struct model_conn *model)
{
	const struct conn_key key = key_ipv4(++world->next_key);
	uint32_t flow = conn_alloc(
		world->table, &world->cache, &key, conn_hash(world->table, &key), NULL, 0);
	struct conn *conn = conn_of_flow(world->table, flow);
	char name[330];

	assert_int_not_equal(flow, CONN_FLOW_NONE);
	model->by = any_rule(world, name);
	model->rule = model_rule(world, name);
	model->flow = flow;
	model->live = true;
	write_by(conn, model->by);
	first_packet(world, model, conn);
	assert_int_equal(conn_publish(world->table, &world->cache, flow), flow);
}

static void more_packets(struct world *world, struct model_conn *model)
{
	unsigned int direction = (unsigned int)rand() % 2;
	struct conn *conn = conn_of_flow(world->table, model->flow);

	atomic_fetch_add(&conn->dir[direction].packets, 1);
	atomic_fetch_add(&conn->dir[direction].bytes, 100);
	atomic_store(
		&conn_flow(world->table, model->flow + direction)->last_seen, world->now.seconds);
	model->rule->packets++;
	model->rule->bytes += 100;
}

static void change_hands(struct world *world, struct model_conn *model)
{
	struct conn *conn = conn_of_flow(world->table, model->flow);
	char name[330];
	struct rule_hits_by by = any_rule(world, name);
	struct model_rule *rule = model_rule(world, name);

	rule_hits_move(world->hits, world->table, model->flow / 2, by, world->now);
	write_by(conn, by);
	rule->taken_over += rule != model->rule;
	model->by = by;
	model->rule = rule;
}

static void end_connection(struct world *world, struct model_conn *model)
{
	uint32_t number = model->flow / 2;
	struct rule_hits_settled settled =
		rule_hits_end(world->hits, world->table, number, world->now);

	assert_true(conn_unlink(world->table, number));
	if (rand() % 4 == 0) { /* A worker still held it... */
		more_packets(world, model);
	} else if (rand() % 8 == 0) { /* ...or even began it anew. */
		world->now.wall_ns++;
		first_packet(world, model, conn_of_flow(world->table, model->flow));
	}
	rule_hits_late(world->hits, world->table, &settled, world->now);
	conn_free(world->table, &number, 1);
	model->live = false;
}

static void begin_again(struct world *world, struct model_conn *model)
{
	char name[330];

	rule_hits_end(world->hits, world->table, model->flow / 2, world->now);
	model->by = any_rule(world, name);
	model->rule = model_rule(world, name);
	write_by(conn_of_flow(world->table, model->flow), model->by);
	first_packet(world, model, conn_of_flow(world->table, model->flow));
}

/* As the sweep does, within a second or so. */
static void judge_all_anew(struct world *world)
{
	for (size_t i = 0; i < CONNECTIONS; i++)
		if (world->conns[i].live && world->conns[i].by.revision != world->revision)
			change_hands(world, &world->conns[i]);
}

static void lone_packet(struct world *world)
{
	char name[330];
	struct rule_hits_by by = any_rule(world, name);
	struct model_rule *rule = model_rule(world, name);
	unsigned int connections = (unsigned int)rand() % 2;

	if (rand() % 5 == 0) {
		rule_hits_refused(world->hits, by, world->now);
		rule->refused++;
		return;
	}
	rule_hits_packet(world->hits, by, 1, 77, connections, world->now);
	rule->packets++;
	rule->bytes += 77;
	rule->connections += connections;
}

static void something(struct world *world)
{
	struct model_conn *model = &world->conns[rand() % CONNECTIONS];
	int what = rand() % 100;

	if (rand() % 50 == 0) {
		world->now.wall_ns += SECOND_NS;
		world->now.seconds++;
	}
	if (!model->live)
		begin_connection(world, model);
	else if (what < 60)
		more_packets(world, model);
	else if (what < 75)
		change_hands(world, model);
	else if (what < 85)
		end_connection(world, model);
	else if (what < 90)
		begin_again(world, model);
	else if (what < 98)
		lone_packet(world);
	else
		new_revision(world);
}

/* --- passes and their result -------------------------------------------------------------------
 */

static void visit(struct conn_table *table, uint32_t number, void *world_)
{
	struct world *world = world_;

	rule_hits_visit(world->hits, table, number, world->now);
}

/* A pass in the midst of which things happen. */
static void busy_pass(struct world *world, unsigned int n)
{
	uint32_t high = conn_high_water(world->table), middle = (uint32_t)rand() % (high + 1);

	conn_for_each(world->table, 0, middle, visit, world);
	rule_hits_pause(world->hits, middle);
	for (unsigned int i = 0; i < n; i++)
		something(world);
	conn_for_each(world->table, middle, conn_high_water(world->table), visit, world);
	rule_hits_pause(world->hits, conn_high_water(world->table));
	rule_hits_end_pass(world->hits);
}

struct comparison {
	struct world *world;
	size_t n_found;
};

static const char *full_name(uint32_t slot, const struct rule_hits_total *total, char text[330])
{
	static const char *const others[] = {
		"quarantine", "unjudged", "rules not known", "pairs not known"};

	snprintf(text, 330, "%s%s", total->is_pair ? "baseline/" : "",
		slot <= RULE_HITS_OTHER_PAIRS ? others[slot] : total->name);
	return text;
}

static void compare(uint32_t slot, void *comparison_)
{
	struct comparison *comparison = comparison_;
	char text[160], name[330];
	struct rule_hits_total total = rule_hits_read(comparison->world->hits, slot, text);
	const struct model_rule *rule =
		model_rule(comparison->world, full_name(slot, &total, name));

	if (total.packets != rule->packets || total.bytes != rule->bytes ||
		total.connections != rule->connections || total.taken_over != rule->taken_over ||
		total.refused != rule->refused)
		fail_msg("%s: %" PRIu64 " packets, %" PRIu64 " connections, %" PRIu64
			 " taken over; expected %" PRIu64 ", %" PRIu64 ", %" PRIu64,
			rule->name, total.packets, total.connections, total.taken_over,
			rule->packets, rule->connections, rule->taken_over);
	if (total.packets != 0 || total.refused != 0) {
		assert_true(total.first_ns != 0 && total.first_ns <= total.last_ns);
		assert_true(total.last_ns <= comparison->world->now.wall_ns);
	}
	comparison->n_found += total.packets != 0;
}

/* All that the model knows is in the totals, and nothing else. */
static void check(struct world *world)
{
	struct comparison comparison = {.world = world};
	size_t expected = 0;

	busy_pass(world, 0);
	rule_hits_each(world->hits, compare, &comparison);
	for (size_t i = 0; i < world->n_rules; i++)
		expected += world->rules[i].packets != 0;
	assert_int_equal(comparison.n_found, expected);
}

static void restart(struct world *world)
{
	rule_hits_close(world->hits);
	conn_table_close(world->table);
	world->cache.n = 0; /* It died with the process. */
	open_table(world);
	open_hits(world);
}

/* --- stories -----------------------------------------------------------------------------------
 */

static void random_histories(void **state)
{
	struct world *world = *state;

	new_revision(world);
	for (unsigned int round = 0; round < 150; round++) {
		busy_pass(world, (unsigned int)rand() % 60);
		if (round % 10 == 9)
			check(world);
	}
}

/* A process that is killed between two passes leaves all that it counted; so does one that ends
 * with other rules wanted by the time the next one starts. */
static void kills_lose_nothing(void **state)
{
	struct world *world = *state;

	new_revision(world);
	for (unsigned int round = 0; round < 30; round++) {
		busy_pass(world, 40);
		for (unsigned int i = 0; i < 20; i++)
			something(world);
		judge_all_anew(world);
		restart(world);
		assert_string_equal(world->report.why, "");
		assert_int_equal(world->report.begun, RULE_HITS_CONTINUED);
		if (round % 2 == 0)
			new_revision(world);
		else
			rule_hits_add_revision(world->hits, world->policy, world->now.wall_ns);
		check(world);
	}
}

/* After a reboot there are no connections and no ledger: the snapshot has the totals. */
static void snapshot_after_reboot(void **state)
{
	struct world *world = *state;

	new_revision(world);
	for (unsigned int round = 0; round < 10; round++) {
		busy_pass(world, 60);
		check(world);
		assert_int_equal(rule_hits_save(world->hits), 0);
		rule_hits_close(world->hits);
		conn_table_close(world->table);
		unlink(world->ledger);
		unlink(world->table_path);
		memset(world->conns, 0, sizeof(world->conns));
		world->cache.n = 0;
		world->now.seconds = 1;
		open_table(world);
		open_hits(world);
		assert_string_equal(world->report.why, "");
		assert_int_equal(world->report.begun, RULE_HITS_RESTORED);
		rule_hits_add_revision(world->hits, world->policy, world->now.wall_ns);
		check(world);
	}
}

/* The ledger is lost, but the connections are not: what they have is not counted twice. */
static void snapshot_with_live_connections(void **state)
{
	struct world *world = *state;

	new_revision(world);
	busy_pass(world, 400);
	judge_all_anew(world);
	check(world);
	assert_int_equal(rule_hits_save(world->hits), 0);
	unlink(world->ledger);
	restart(world);
	assert_int_equal(world->report.begun, RULE_HITS_RESTORED);
	check(world);
	for (unsigned int i = 0; i < 200; i++)
		something(world);
	check(world);
}

/* Connections of a table that the ledger does not go with. */
static void another_table(void **state)
{
	struct world *world = *state;

	new_revision(world);
	busy_pass(world, 300);
	check(world);
	rule_hits_close(world->hits);
	conn_table_close(world->table);
	unlink(world->table_path);
	memset(world->conns, 0, sizeof(world->conns));
	world->cache.n = 0;
	open_table(world);
	open_hits(world);
	assert_int_equal(world->report.begun, RULE_HITS_CONTINUED);
	check(world);
	for (unsigned int i = 0; i < 200; i++)
		something(world);
	check(world);
}

static void write_at(const char *path, off_t at, const char *text)
{
	int fd = open(path, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), at), (ssize_t)strlen(text));
	close(fd);
}

static void count_something(struct world *world)
{
	new_revision(world);
	busy_pass(world, 300);
	judge_all_anew(world);
	check(world);
}

static void damaged_ledgers(void **state)
{
	static const struct {
		off_t at; /* -1: cut. */
		const char *text, *why;
	} cases[] = {
		{0, "something else", "no ledger of rule hits"},
		{16, "\x01", "its header is damaged"},
		{4096, "/", "zone 0 is damaged"},
		{-1, "", "its size is wrong"},
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		count_something(world);
		assert_int_equal(rule_hits_save(world->hits), 0);
		rule_hits_close(world->hits);
		if (cases[i].at < 0)
			assert_int_equal(truncate(world->ledger, 100), 0);
		else
			write_at(world->ledger, cases[i].at, cases[i].text);
		open_hits(world);
		if (strstr(world->report.why, cases[i].why) == NULL)
			fail_msg("'%s' is not '%s'", world->report.why, cases[i].why);
		assert_non_null(strstr(world->report.why, world->ledger));
		assert_int_equal(world->report.begun, RULE_HITS_RESTORED);
	}
}

/* Nothing that is cut off or overwritten anywhere is taken; what it says is never more than half
 * used. */
static void damaged_snapshots(void **state)
{
	struct world *world = *state;
	struct stat status;
	char path[128];

	count_something(world);
	for (unsigned int round = 0; round < 200; round++) {
		assert_int_equal(rule_hits_save(world->hits), 0);
		assert_int_equal(stat(world->snapshot, &status), 0);
		rule_hits_close(world->hits);
		unlink(world->ledger);
		if (round % 2 == 0)
			assert_int_equal(truncate(world->snapshot, rand() % status.st_size), 0);
		else
			write_at(world->snapshot, rand() % status.st_size, "\1");
		open_hits(world);
		if (world->report.begun == RULE_HITS_RESTORED)
			fail_msg("round %u: taken though damaged", round);
		assert_non_null(strstr(world->report.why, world->snapshot));
		assert_int_equal(world->report.n_rules, 0);
		snprintf(path, sizeof(path), "%s.damaged", world->snapshot);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(access(world->snapshot, F_OK), -1);
		rule_hits_add_revision(world->hits, world->policy, world->now.wall_ns);
	}
}

/* Where no file can be made, hits are counted all the same. */
static void no_place_for_the_ledger(void **state)
{
	struct world *world = *state;
	struct rule_hits_place place = {
		.run_directory = "/nonexistent/rundir", .state_directory = "/nonexistent/statedir"};
	char text[160];

	rule_hits_close(world->hits);
	world->hits = rule_hits_open(&place, &world->report);
	assert_non_null(world->hits);
	assert_non_null(strstr(world->report.why, "/nonexistent/rundir/rule-hits"));
	rule_hits_attach(world->hits, world->table, &world->report);
	rule_hits_packet(world->hits, (struct rule_hits_by){0}, 1, 100, 1, world->now);
	rule_hits_end_pass(world->hits);
	assert_int_equal(rule_hits_read(world->hits, RULE_HITS_QUARANTINE, text).packets, 1);
	assert_int_equal(rule_hits_save(world->hits), -ENOENT);
}

static void clocks_that_go_back(void **state)
{
	struct world *world = *state;
	struct rule_hits_time now = {.wall_ns = 5000 * SECOND_NS, .seconds = 50};
	struct rule_hits_total total;
	char text[160];

	rule_hits_packet(world->hits, (struct rule_hits_by){0}, 1, 100, 1, now);
	now = (struct rule_hits_time){.wall_ns = 3000 * SECOND_NS, .seconds = 60};
	rule_hits_packet(world->hits, (struct rule_hits_by){0}, 1, 100, 1, now);
	total = rule_hits_read(world->hits, RULE_HITS_QUARANTINE, text);
	assert_int_equal(total.last_ns, 3000 * SECOND_NS);
	assert_true(total.first_ns <= total.last_ns);
	now = (struct rule_hits_time){.wall_ns = 3001 * SECOND_NS, .seconds = 61};
	rule_hits_packet(world->hits, (struct rule_hits_by){0}, 1, 100, 1, now);
	total = rule_hits_read(world->hits, RULE_HITS_QUARANTINE, text);
	assert_int_equal(total.last_ns, 3001 * SECOND_NS);
	assert_int_equal(total.first_ns, 3000 * SECOND_NS);
}

/* Rules come and go for ever, and memory does not grow with them. */
static void many_revisions(void **state)
{
	struct world *world = *state;
	struct policy_errors errors;
	char text[400];
	size_t after_first = 0;

	for (uint32_t revision = 1; revision <= 3000; revision++) {
		snprintf(text, sizeof(text),
			"zones: {a: {match: x}}\npolicies: [{id: p, rules: [{id: r%u, from: a, to: "
			"a, action: deny}, {id: s%u, from: a, to: a, action: deny}]}]",
			revision, revision);
		struct zone_policy *policy =
			zone_policy_create(text, strlen(text), revision, 0, &errors);
		assert_non_null(policy);
		rule_hits_add_revision(world->hits, policy, world->now.wall_ns);
		rule_hits_packet(world->hits,
			(struct rule_hits_by){.rule = 1, .revision = revision}, 1, 100, 1,
			world->now);
		rule_hits_end_pass(world->hits);
		if (revision > 4) {
			_Atomic bool *dead = rule_hits_drop_revision(world->hits, revision - 4);

			assert_non_null(dead);
			atomic_store(dead, true);
		}
		if (revision == 100)
			after_first = rule_hits_memory_bytes(world->hits);
		zone_policy_destroy(policy);
	}
	/* Those that were hit are kept, the others are not. */
	assert_true(rule_hits_memory_bytes(world->hits) - after_first < 1 << 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(random_histories, make_world, remove_world),
		cmocka_unit_test_setup_teardown(kills_lose_nothing, make_world, remove_world),
		cmocka_unit_test_setup_teardown(snapshot_after_reboot, make_world, remove_world),
		cmocka_unit_test_setup_teardown(
			snapshot_with_live_connections, make_world, remove_world),
		cmocka_unit_test_setup_teardown(another_table, make_world, remove_world),
		cmocka_unit_test_setup_teardown(damaged_ledgers, make_world, remove_world),
		cmocka_unit_test_setup_teardown(damaged_snapshots, make_world, remove_world),
		cmocka_unit_test_setup_teardown(no_place_for_the_ledger, make_world, remove_world),
		cmocka_unit_test_setup_teardown(clocks_that_go_back, make_world, remove_world),
		cmocka_unit_test_setup_teardown(many_revisions, make_world, remove_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
