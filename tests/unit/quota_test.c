/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ports may open, and what may be opened to them: tables of counts and limits, each with the
 * name of the refusal.  How connections come to be counted is connection_limits_test.c's matter.
 */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "datapath/miss.h"
#include "datapath/switch.h"
#include "tests/unit/conn_fixture.h"

enum { GUEST = 5, UPLINK = 9, GONE = 11, CAPACITY = 1024 };

static const uint64_t second_ns = 1000000000;

struct fixture {
	struct cordon_switch *sw;
	struct worker *worker;
	struct port ports[2];
	struct port_settings settings[2]; /* The guest's, the uplink's. */
	struct conn_cache conns;
	char path[64];
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct conn_open_report report;

	fixture->sw = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*fixture->sw), 64));
	memset(fixture->sw, 0, sizeof(*fixture->sw));
	fixture->worker = calloc(1, sizeof(*fixture->worker));
	fixture->worker->sw = fixture->sw;
	make_path(fixture->path);
	fixture->sw->connections = conn_table_open(fixture->path, CAPACITY, boot_id, &report);
	for (unsigned int i = 0; i < 2; i++) {
		fixture->ports[i].number = i == 0 ? GUEST : UPLINK;
		fixture->settings[i].role = i == 0 ? PORT_VNIC : PORT_UPLINK;
		atomic_store(&fixture->ports[i].settings, &fixture->settings[i]);
		atomic_store(&fixture->sw->ports[fixture->ports[i].number], &fixture->ports[i]);
	}
	*state = fixture;
	return fixture->sw->connections == NULL;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	conn_table_close(fixture->sw->connections);
	unlink(fixture->path);
	free(fixture->worker);
	free(fixture->sw);
	free(fixture);
	return 0;
}

/* What becomes of one new connection, by the guest or by the uplink to `out`.  What the trace
 * foretells must be what happens. */
static const char *ask(struct fixture *fixture, bool from_outside, uint16_t out)
{
	struct packet_context context = {
		.worker = fixture->worker,
		.in = &fixture->ports[from_outside],
		.settings = &fixture->settings[from_outside],
	};
	struct miss miss = {.context = &context};
	struct verdict verdict = {.action = ZONE_ALLOW};
	const char *foretold = drop_name(quota_would_admit(&miss, out, &verdict));
	const char *found = drop_name(quota_admit(&miss, out, &verdict));

	assert_string_equal(foretold, found);
	return found;
}

static uint64_t counts(uint32_t connections, uint32_t half_open)
{
	return connections * QUOTA_CONNECTION + half_open * QUOTA_HALF_OPEN;
}

/* --- Counts ---------------------------------------------------------------------------------- */

/* Limits of a port; 0: none.  `by_default`: nobody has set the one on half-open ones. */
struct limited {
	uint32_t connections, half_open, sure;
	bool by_default;
};

struct row {
	const char *what;
	bool from_outside;
	uint16_t out;
	struct limited guest, uplink;
	struct {
		uint32_t connections, half_open;
	} opened, inbound, by_uplink; /* The guest's own, those to it, all by the uplink. */
	uint32_t live;		      /* Connections in the table of 1024. */
	const char *expected;
};

/* clang-format off */
static const struct row rows[] = {
	{.what = "no limits", .opened = {90000, 90000}, .expected = "none"},
	{.what = "below", .guest = {.connections = 10}, .opened = {9, 9}, .expected = "none"},
	{.what = "at the limit", .guest = {.connections = 10}, .opened = {10, 0}, .expected = "port-quota"},
	{.what = "above a lowered one", .guest = {.connections = 10}, .opened = {500, 0}, .expected = "port-quota"},
	{.what = "half-open below", .guest = {.half_open = 4}, .opened = {50, 3}, .expected = "none"},
	{.what = "half-open", .guest = {.half_open = 4}, .opened = {50, 4}, .expected = "half-open-quota"},
	{.what = "both", .guest = {.connections = 10, .half_open = 4}, .opened = {10, 4}, .expected = "port-quota"},
	{.what = "its own, not those to it", .guest = {.connections = 10, .half_open = 4}, .inbound = {10, 4}, .expected = "none"},

	{.what = "a share of an empty table", .guest = {.half_open = 256, .sure = 16, .by_default = true}, .opened = {255, 255}, .expected = "none"},
	{.what = "a quarter of it", .guest = {.half_open = 256, .sure = 16, .by_default = true}, .opened = {256, 256}, .expected = "half-open-quota"},
	{.what = "half of what is free", .guest = {.half_open = 256, .sure = 16, .by_default = true}, .live = 924, .opened = {49, 49}, .expected = "none"},
	{.what = "more than that", .guest = {.half_open = 256, .sure = 16, .by_default = true}, .live = 924, .opened = {50, 50}, .expected = "half-open-quota"},
	{.what = "a few are sure", .guest = {.half_open = 256, .sure = 16, .by_default = true}, .live = 1020, .opened = {15, 15}, .expected = "none"},
	{.what = "and no more", .guest = {.half_open = 256, .sure = 16, .by_default = true}, .live = 1020, .opened = {16, 16}, .expected = "half-open-quota"},
	{.what = "what somebody has set is no share", .guest = {.half_open = 256}, .live = 1020, .opened = {255, 255}, .expected = "none"},

	{.what = "from outside", .from_outside = true, .out = GUEST, .guest = {.connections = 10, .half_open = 4}, .opened = {10, 4}, .expected = "none"},
	{.what = "from outside, many", .from_outside = true, .out = GUEST, .guest = {.connections = 10}, .inbound = {10, 0}, .expected = "inbound-quota"},
	{.what = "from outside, half-open", .from_outside = true, .out = GUEST, .guest = {.half_open = 4}, .inbound = {9, 4}, .expected = "inbound-half-open"},
	{.what = "a flood from outside", .from_outside = true, .out = GUEST, .guest = {.half_open = 256, .sure = 16, .by_default = true}, .inbound = {256, 256}, .by_uplink = {256, 256}, .expected = "inbound-half-open"},
	{.what = "an uplink has no share", .from_outside = true, .out = GUEST, .guest = {.half_open = 256, .sure = 16, .by_default = true}, .uplink = {.half_open = 256, .sure = 16, .by_default = true}, .by_uplink = {900, 900}, .expected = "none"},
	{.what = "an uplink's own limit", .from_outside = true, .out = GUEST, .uplink = {.connections = 20}, .by_uplink = {20, 0}, .expected = "port-quota"},
	{.what = "an uplink's half-open limit", .from_outside = true, .out = GUEST, .uplink = {.half_open = 20}, .by_uplink = {40, 20}, .expected = "half-open-quota"},
	{.what = "to nobody known", .from_outside = true, .out = 0, .guest = {.connections = 1}, .inbound = {1, 0}, .expected = "none"},
	{.what = "to a port that is gone", .from_outside = true, .out = GONE, .expected = "output-missing"},
};
/* clang-format on */

static void set_limits(struct port_settings *settings, const struct limited *limited)
{
	settings->connection_limit = limited->connections;
	settings->half_open_limit = limited->half_open;
	settings->half_open_is_default = limited->by_default;
	settings->half_open_sure = limited->sure;
}

static void fill_table(struct fixture *fixture, uint32_t live)
{
	for (uint32_t i = 0; i < live; i++) {
		const struct conn_key key = key_ipv4(i);

		assert_int_not_equal(
			add_to(fixture->sw->connections, &fixture->conns, &key, 0), CONN_FLOW_NONE);
	}
	assert_int_equal(conn_count(fixture->sw->connections), live);
}

static void test_counts(void **state)
{
	(void)state;
	for (size_t i = 0; i < RTE_DIM(rows); i++) {
		const struct row *row = &rows[i];
		struct fixture *fixture;

		assert_int_equal(set_up((void **)&fixture), 0);
		struct port_quota *quotas = fixture->sw->quotas;
		set_limits(&fixture->settings[0], &row->guest);
		set_limits(&fixture->settings[1], &row->uplink);
		quotas[GUEST].opened = counts(row->opened.connections, row->opened.half_open);
		quotas[GUEST].inbound = counts(row->inbound.connections, row->inbound.half_open);
		quotas[UPLINK].opened =
			counts(row->by_uplink.connections, row->by_uplink.half_open);
		fill_table(fixture, row->live);
		const char *found = ask(fixture, row->from_outside, row->out);
		if (strcmp(found, row->expected) != 0)
			fail_msg("%s: %s, not %s", row->what, found, row->expected);
		tear_down((void **)&fixture);
	}
}

/* --- New ones per second --------------------------------------------------------------------- */

static uint32_t admitted(struct fixture *fixture, bool from_outside, uint32_t n, const char *reason)
{
	uint32_t passed = 0;

	for (uint32_t i = 0; i < n; i++) {
		const char *found = ask(fixture, from_outside, GUEST);

		if (strcmp(found, "none") == 0)
			passed++;
		else
			assert_string_equal(found, reason);
	}
	return passed;
}

static void test_new_ones_per_second(void **state)
{
	struct fixture *fixture = *state;

	fixture->worker->clock_ns = 100 * second_ns;
	fixture->settings[0].new_per_second_limit = 10;
	assert_int_equal(admitted(fixture, false, 50, "port-rate"), 10);
	/* Apart from those, as many from outside. */
	assert_int_equal(admitted(fixture, true, 50, "inbound-rate"), 10);
	fixture->worker->clock_ns += second_ns / 2;
	assert_int_equal(admitted(fixture, false, 50, "port-rate"), 5);
	assert_int_equal(admitted(fixture, true, 50, "inbound-rate"), 5);
	fixture->worker->clock_ns += 3600 * second_ns;
	assert_int_equal(admitted(fixture, false, 50, "port-rate"), 10);
}

/* What one limit refuses has cost nothing at another. */
static void test_a_refusal_takes_no_tokens(void **state)
{
	struct fixture *fixture = *state;

	fixture->worker->clock_ns = 100 * second_ns;
	fixture->settings[0].new_per_second_limit = 2;
	fixture->settings[1].new_per_second_limit = 5;
	assert_int_equal(admitted(fixture, true, 50, "inbound-rate"), 2);
	fixture->settings[0].new_per_second_limit = 0;
	assert_int_equal(admitted(fixture, true, 50, "port-rate"), 3);
	fixture->worker->clock_ns += second_ns;
	fixture->settings[0].new_per_second_limit = 4;
	fixture->settings[0].connection_limit = 1;
	fixture->sw->quotas[GUEST].opened = counts(1, 0);
	assert_int_equal(admitted(fixture, false, 50, "port-quota"), 0);
	fixture->sw->quotas[GUEST].opened = 0;
	assert_int_equal(admitted(fixture, false, 50, "port-rate"), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test_setup_teardown(test_new_ones_per_second, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_refusal_takes_no_tokens, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
