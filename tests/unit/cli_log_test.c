/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log`: times and protocols as people write them, and records as JSON.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/log.h"
#include "openvswitch/json.h"
#include "zones/zone.h"

#define NOW_NS (1790856000ull * 1000000000ull) /* 2026-10-01 12:00:00 UTC. */

static void test_times(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds; /* From NOW_NS. */
	} cases[] = {
		{"0s", 0},
		{"90s", -90},
		{"10m", -600},
		{"2h", -7200},
		{"1d", -86400},
		{"3w", -1814400},
		{"2026-10-01T12:00:00Z", 0},
		{"2026-10-01T12:00Z", 0},
		{"2026-10-01 12:00:05Z", 5},
		{"2026-10-01T12:00:00+02:00", -7200},
		{"2026-10-01T06:30:00-05:30", 0},
		/* Local time is set to UTC+3 below. */
		{"2026-10-01 15:00", 0},
		{"2026-10-01 15:00:07", 7},
		{"2026-10-01", -54000},
	};

	(void)state;
	setenv("TZ", "XXX-3", 1);
	tzset();
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t time_ns = 0;

		if (!cli_log_parse_time(cases[i].text, NOW_NS, &time_ns))
			fail_msg("'%s' was not understood", cases[i].text);
		assert_int_equal(time_ns, (int64_t)NOW_NS + cases[i].seconds * (int64_t)1000000000);
	}
}

static void test_fractions_of_seconds(void **state)
{
	uint64_t time_ns;

	(void)state;
	assert_true(cli_log_parse_time("2026-10-01T12:00:00.25Z", NOW_NS, &time_ns));
	assert_int_equal(time_ns, NOW_NS + 250000000);
	assert_true(cli_log_parse_time("2026-10-01T12:00:00.123456789987Z", NOW_NS, &time_ns));
	assert_int_equal(time_ns, NOW_NS + 123456789);
}

static void test_what_is_no_time(void **state)
{
	static const char *const cases[] = {"", "m", "10", "10x", "10mm", "-10m", " 10m", "10 m",
		"99999999999999999999w", "30000d", "yesterday", "2026-13-01", "2026-10-01T",
		"2026-10-01T25:00Z", "2026-10-01T12:00:00ZZ", "2026-10-01T12:00:00+2",
		"2026-10-01T12:00:00+02:00x", "2026-10-01T12:00:00+0x:00",
		"2026-10-01T12:00:00+99:00", "1960-01-01T00:00:00Z", "2026-10-01 12:00 tomorrow"};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t time_ns = 77;

		if (cli_log_parse_time(cases[i], NOW_NS, &time_ns))
			fail_msg("'%s' was taken for a time", cases[i]);
		assert_int_equal(time_ns, 77);
	}
}

static void test_protocols(void **state)
{
	char text[LOG_PROTOCOL_MAX];

	(void)state;
	assert_int_equal(log_protocol_parse("tcp"), 6);
	assert_int_equal(log_protocol_parse("icmpv6"), 58);
	assert_int_equal(log_protocol_parse("255"), 255);
	assert_int_equal(log_protocol_parse("0"), 0);
	assert_int_equal(log_protocol_parse("256"), -1);
	assert_int_equal(log_protocol_parse("-1"), -1);
	assert_int_equal(log_protocol_parse("+6"), -1);
	assert_int_equal(log_protocol_parse("6 "), -1);
	assert_int_equal(log_protocol_parse("quic"), -1);
	assert_int_equal(log_protocol_parse(""), -1);
	assert_string_equal(log_protocol_name(132, text), "sctp");
	assert_string_equal(log_protocol_name(200, text), "200");
}

static struct log_record make_record(void)
{
	struct log_record record = {
		.time_ns = NOW_NS + 123456789,
		.sequence = 42,
		.kind = LOG_DENIED,
		.verdict = ZONE_REJECT,
		.protocol = 6,
		.host = "host-a",
		.reason = "policy",
		.tier = "application",
		.policy = "egress",
		.rule = "no-internet",
		.label = "CHG-4711",
		.simulated_policy = "",
		.simulated_rule = "",
		.policy_revision = 12,
		.suppressed = 7,
		.packets_forward = 3,
		.source = {.port = "vm-db-1",
			.vm_id = "8a01",
			.vm_name = "db-1",
			.zone = "db",
			.tags = "tier=db",
			.mac = {2, 0, 0, 0, 2, 7},
			.transport_port = 40000},
		.destination = {.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""},
	};

	assert_true(ip_address_parse("10.0.2.7", &record.source.address));
	return record;
}

static void test_a_record_as_json(void **state)
{
	static const char *const texts[][2] = {
		{"time", "2026-10-01T12:00:00.123456789Z"},
		{"start", ""},
		{"kind", "denied"},
		{"verdict", "rejected"},
		{"protocol", "tcp"},
		{"reason", "policy"},
		{"tier", "application"},
		{"policy", "egress"},
		{"rule", "no-internet"},
		{"label", "CHG-4711"},
		{"host", "host-a"},
		{"source_address", "10.0.2.7"},
		{"source_mac", "02:00:00:00:02:07"},
		{"source_port", "vm-db-1"},
		{"source_vm_id", "8a01"},
		{"source_vm_name", "db-1"},
		{"source_zone", "db"},
		{"source_tags", "tier=db"},
		{"destination_address", ""},
		{"destination_mac", ""},
	};
	static const struct {
		const char *name;
		int64_t number;
	} numbers[] = {{"sequence", 42}, {"time_ns", NOW_NS + 123456789}, {"start_ns", 0},
		{"protocol_number", 6}, {"policy_revision", 12}, {"suppressed", 7},
		{"packets_forward", 3}, {"source_transport_port", 40000},
		{"destination_transport_port", 0}};
	struct log_record record = make_record();
	struct json *json = cli_log_record_json(&record);

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_non_null(cli_json_member(json, texts[i][0]));
		assert_string_equal(cli_json_text(json, texts[i][0]), texts[i][1]);
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		assert_non_null(cli_json_member(json, numbers[i].name));
		assert_int_equal(cli_json_number(json, numbers[i].name), numbers[i].number);
	}
	json_destroy(json);
}

static void test_a_gap_has_no_verdict(void **state)
{
	struct log_record record = make_record();
	struct json *json;

	(void)state;
	record.kind = LOG_GAP;
	json = cli_log_record_json(&record);
	assert_string_equal(cli_json_text(json, "kind"), "gap");
	assert_string_equal(cli_json_text(json, "verdict"), "");
	json_destroy(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_fractions_of_seconds),
		cmocka_unit_test(test_what_is_no_time),
		cmocka_unit_test(test_protocols),
		cmocka_unit_test(test_a_record_as_json),
		cmocka_unit_test(test_a_gap_has_no_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
