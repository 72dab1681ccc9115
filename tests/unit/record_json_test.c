/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record as JSON text: every member, what is escaped, and what is no UTF-8.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "log/record_json.h"
#include "tests/unit/log_fixture.h"

static char text[1 << 16];

static const char *json_of(const struct log_record *record)
{
	size_t length;

	assert_true(log_record_json_size(record) < sizeof(text));
	memset(text, '#', sizeof(text));
	length = log_record_json(record, text);
	assert_true(length <= log_record_json_size(record));
	assert_int_equal(text[length], '#');
	text[length] = '\0';
	return text;
}

static void assert_member(const struct log_record *record, const char *member)
{
	if (!strstr(json_of(record), member))
		fail_msg("%s is not in %s", member, text);
}

static void test_the_whole_of_a_record(void **state)
{
	struct log_record record = record_of(42, T0 + 123456789);

	(void)state;
	record.protocol = IPPROTO_TCP;
	record.simulated = 1 + ZONE_REJECT;
	record.simulated_policy = "audit";
	record.simulated_rule = "no-db";
	record.suppressed = 7;
	assert_string_equal(json_of(&record),
		"{\"time\":\"2026-10-01T12:00:00.123456789Z\",\"host\":\"host-a\","
		"\"sequence\":42,\"kind\":\"end\",\"verdict\":\"allowed\",\"reason\":\"fin\","
		"\"protocol\":\"tcp\",\"protocol_number\":6,\"icmp_type\":0,\"icmp_code\":0,"
		"\"tcp_flags\":27,\"ethertype\":2048,\"vlan\":10,\"vni\":0,"
		"\"source_address\":\"10.0.1.5\",\"source_transport_port\":40000,"
		"\"source_mac\":\"02:00:00:00:01:05\",\"source_port\":\"vm-web-1\","
		"\"source_vm_id\":\"7f5c\",\"source_vm_name\":\"web-1\",\"source_zone\":\"web\","
		"\"source_tags\":\"app=shop tier=web\","
		"\"destination_address\":\"10.0.2.7\",\"destination_transport_port\":5432,"
		"\"destination_mac\":\"02:00:00:00:02:07\",\"destination_port\":\"vm-db-1\","
		"\"destination_vm_id\":\"8a01\",\"destination_vm_name\":\"db-1\","
		"\"destination_zone\":\"db\",\"destination_tags\":\"tier=db\","
		"\"tier\":\"environment\",\"policy\":\"db-access\",\"rule\":\"web-to-db\","
		"\"label\":\"CHG-4711\",\"policy_revision\":12,\"simulated_verdict\":\"rejected\","
		"\"simulated_policy\":\"audit\",\"simulated_rule\":\"no-db\","
		"\"packets_forward\":10,\"bytes_forward\":1200,\"packets_reverse\":9,"
		"\"bytes_reverse\":64000,\"suppressed\":7,"
		"\"start\":\"2026-10-01T11:59:55.123456789Z\",\"time_ns\":1790856000123456789,"
		"\"start_ns\":1790855995123456789}");
}

static void test_what_does_not_apply(void **state)
{
	struct log_record record = record_of(1, T0);

	(void)state;
	record.start_ns = 0;
	record.protocol = 0;
	record.simulated = 0;
	memset(&record.source.address, 0, sizeof(record.source.address));
	memset(record.source.mac, 0, sizeof(record.source.mac));
	record.label = "";
	assert_member(&record, "\"start\":\"\"");
	assert_member(&record, "\"start_ns\":0");
	assert_member(&record, "\"protocol\":\"\"");
	assert_member(&record, "\"simulated_verdict\":\"\"");
	assert_member(&record, "\"source_address\":\"\"");
	assert_member(&record, "\"source_mac\":\"\"");
	assert_member(&record, "\"label\":\"\"");
}

static void test_addresses(void **state)
{
	static const char *const addresses[] = {"0.0.0.0", "255.255.255.255", "192.0.2.10",
		"2001:db8::99", "::1", "2001:db8:0:1:1:1:1:1", "fe80::1"};
	struct log_record record = record_of(1, T0);
	char member[80];

	(void)state;
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		record.destination.address = address(addresses[i]);
		snprintf(member, sizeof(member), "\"destination_address\":\"%s\",", addresses[i]);
		assert_member(&record, member);
	}
}

static void test_a_gap(void **state)
{
	struct log_record record = record_of(9, T0);

	(void)state;
	record.kind = LOG_GAP;
	record.reason = "ring-full";
	record.packets_forward = 1234;
	assert_member(&record, "\"kind\":\"gap\",\"verdict\":\"\",\"reason\":\"ring-full\"");
	assert_member(&record, "\"packets_forward\":1234");
}

static void test_numbers_and_protocols_without_a_name(void **state)
{
	struct log_record record = record_of(UINT64_MAX, T0);

	(void)state;
	record.protocol = 200;
	record.kind = 99;
	record.verdict = 99;
	assert_member(&record, "\"sequence\":18446744073709551615,");
	assert_member(&record, "\"protocol\":\"200\",\"protocol_number\":200");
	assert_member(&record, "\"kind\":\"?\",\"verdict\":\"?\"");
}

/* Names as a person may choose them, and bytes that no name should have. */
static void test_odd_characters(void **state)
{
	static const struct {
		const char *name, *json;
	} cases[] = {
		{"a\"b\\c/d", "a\\\"b\\\\c/d"},
		{"tab\tline\nreturn\rbell\a", "tab\\u0009line\\u000areturn\\u000dbell\\u0007"},
		{"\x7f", "\\u007f"},
		{"M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x94\xa5",
			"M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x94\xa5"},
		/* A Latin-1 text; a continuation without a beginning. */
		{"M\xfcller", "M\\\\xfcller"},
		{"\x80x", "\\\\x80x"},
		/* Cut short, in the middle of a character. */
		{"\xe2\x82", "\\\\xe2\\\\x82"},
		{"\xf0\x9f\x94", "\\\\xf0\\\\x9f\\\\x94"},
		/* Longer than need be; a surrogate; beyond Unicode. */
		{"\xc0\xaf", "\\\\xc0\\\\xaf"},
		{"\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80"},
		{"\xf4\x90\x80\x80", "\\\\xf4\\\\x90\\\\x80\\\\x80"},
		{"\xff\xfe", "\\\\xff\\\\xfe"},
	};
	struct log_record record = record_of(1, T0);
	char member[200];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		record.source.vm_name = cases[i].name;
		snprintf(member, sizeof(member), "\"source_vm_name\":\"%s\",", cases[i].json);
		assert_member(&record, member);
	}
}

/* Nothing may be longer than was said, whatever the strings and numbers are. */
static void test_the_longest(void **state)
{
	static char long_name[500];
	struct log_record record = record_of(UINT64_MAX, UINT64_MAX);
	struct log_party party = {.mac = {255, 255, 255, 255, 255, 255},
		.address = address("2001:db8:1111:2222:3333:4444:5555:6666"),
		.transport_port = UINT16_MAX,
		.port = long_name,
		.vm_id = long_name,
		.vm_name = long_name,
		.zone = long_name,
		.tags = long_name};

	(void)state;
	memset(long_name, 1, sizeof(long_name) - 1);
	record.start_ns = record.packets_forward = record.packets_reverse = UINT64_MAX;
	record.bytes_forward = record.bytes_reverse = UINT64_MAX;
	record.host = record.reason = record.tier = record.policy = record.rule = long_name;
	record.label = record.simulated_policy = record.simulated_rule = long_name;
	record.source = record.destination = party;
	record.simulated = UINT8_MAX;
	assert_non_null(strstr(json_of(&record), "\"bytes_reverse\":18446744073709551615"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_whole_of_a_record),
		cmocka_unit_test(test_what_does_not_apply),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_a_gap),
		cmocka_unit_test(test_numbers_and_protocols_without_a_name),
		cmocka_unit_test(test_odd_characters),
		cmocka_unit_test(test_the_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
