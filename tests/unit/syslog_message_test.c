/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records as syslog messages: every parameter, what is escaped, and what is cut where there is
 * little room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sinks/syslog_message.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/syslog_reader.h"

static char message[READER_TEXT_MAX];
static struct syslog_read read_back;

static size_t make(const struct log_record *record, size_t size)
{
	struct syslog_form form;
	size_t length;

	syslog_form_init(&form, "host-a", 20, 32473, 4711);
	memset(message, '!', sizeof(message));
	length = syslog_message(&form, record, 7, message, size);
	assert_true(length <= size);
	if (size < sizeof(message))
		assert_int_equal(message[size], '!');
	syslog_read(message, length, &read_back);
	return length;
}

static void assert_value(const char *name, const char *value)
{
	const char *found = syslog_value(&read_back, name);

	if (strcmp(found, value) != 0)
		fail_msg("%s is '%s', not '%s'", name, found, value);
}

static void test_every_field_is_there(void **state)
{
	static const char expected[] =
		"<166>1 2026-10-01T12:00:00.123456Z host-a cordon 4711 end [meta sequenceId=\"7\"]"
		"[cordon@32473 sequence=\"99\" kind=\"end\" verdict=\"allowed\" reason=\"fin\""
		" source_address=\"10.0.1.5\" source_transport_port=\"40000\""
		" destination_address=\"10.0.2.7\" destination_transport_port=\"5432\""
		" protocol=\"tcp\" policy=\"db-access\" rule=\"web-to-db\" policy_revision=\"12\""
		" source_zone=\"web\" destination_zone=\"db\" source_vm_name=\"web-1\""
		" destination_vm_name=\"db-1\" source_port=\"vm-web-1\""
		" destination_port=\"vm-db-1\" tier=\"environment\" label=\"CHG-4711\""
		" packets_forward=\"10\" bytes_forward=\"1200\" packets_reverse=\"9\""
		" bytes_reverse=\"64000\" suppressed=\"3\" time_ns=\"1790856000123456789\""
		" start_ns=\"1790855995123456789\" simulated_verdict=\"denied\""
		" simulated_policy=\"audit\" simulated_rule=\"app-only\" tcp_flags=\"27\""
		" ethertype=\"2048\" vlan=\"10\" vni=\"5001\" source_mac=\"02:00:00:00:01:05\""
		" destination_mac=\"02:00:00:00:02:07\" source_vm_id=\"7f5c\""
		" destination_vm_id=\"8a01\" source_tags=\"app=shop tier=web\""
		" destination_tags=\"tier=db\"]"
		" Ended tcp from web-1 10.0.1.5:40000 (zone web) to db-1 10.0.2.7:5432 (zone db):"
		" fin; allowed by rule db-access/web-to-db of revision 12; 10 packets (1200 bytes)"
		" there, 9 packets (64000 bytes) back; 3 more like it were held back.";
	struct log_record record = record_of(99, T0 + 123456789);
	size_t length;

	(void)state;
	record.suppressed = 3;
	record.vni = 5001;
	record.simulated = 1 + ZONE_DENY;
	record.simulated_policy = "audit";
	record.simulated_rule = "app-only";
	length = make(&record, 2048);
	message[length] = '\0';
	assert_string_equal(message, expected);
	assert_false(read_back.has_mark);
}

static void test_severity_is_that_of_the_kind(void **state)
{
	static const unsigned int severities[LOG_N_KINDS] = {6, 6, 6, 4, 5, 1, 3, 3};
	struct log_record record = record_of(1, T0);

	(void)state;
	for (unsigned int kind = 0; kind < LOG_N_KINDS; kind++) {
		record.kind = (uint8_t)kind;
		make(&record, 2048);
		assert_int_equal(read_back.severity, severities[kind]);
		assert_int_equal(read_back.facility, 20);
		assert_string_equal(read_back.kind, log_kind_name(kind));
		assert_value("kind", log_kind_name(kind));
		assert_value("sequenceId", "7");
	}
}

static void test_ipv6_is_told_as_everybody_writes_it(void **state)
{
	struct log_record record = denial_of(2, T0);

	(void)state;
	make(&record, 2048);
	assert_value("source_address", "2001:db8:2::7");
	assert_value("destination_address", "2001:db8::99");
	assert_string_equal(read_back.sentence,
		"Denied tcp from db-1 [2001:db8:2::7]:50000 (zone db) to uplink0 "
		"[2001:db8::99]:443 (zone internet): policy, by rule egress/no-internet of "
		"revision 12.");
	record.verdict = ZONE_REJECT;
	make(&record, 2048);
	assert_value("verdict", "rejected");
	assert_int_equal(strncmp(read_back.sentence, "Rejected tcp", 12), 0);
}

static void test_what_is_not_ip_has_macs(void **state)
{
	struct log_record record = record_of(3, T0);

	(void)state;
	record.kind = LOG_SPOOFED;
	record.verdict = ZONE_DENY;
	record.reason = "spoofed-arp";
	record.protocol = 0;
	record.ethertype = 0x0806;
	record.tcp_flags = 0;
	record.policy = record.rule = record.tier = "";
	memset(&record.source.address, 0, sizeof(record.source.address));
	memset(&record.destination.address, 0, sizeof(record.destination.address));
	record.source.transport_port = record.destination.transport_port = 0;
	make(&record, 2048);
	assert_value("protocol", "");
	assert_value("ethertype", "2054");
	assert_value("source_address", "");
	assert_value("source_transport_port", "");
	assert_value("rule", "");
	assert_value("tcp_flags", "");
	assert_value("source_mac", "02:00:00:00:01:05");
	assert_string_equal(read_back.sentence,
		"Spoofed ethertype 2054 from web-1 02:00:00:00:01:05 (zone web) to db-1 "
		"02:00:00:00:02:07 (zone db): spoofed-arp.");
}

static void test_icmp_has_a_type_even_if_it_is_0(void **state)
{
	struct log_record record = record_of(4, T0);

	(void)state;
	record.kind = LOG_START;
	record.reason = "";
	record.protocol = IPPROTO_ICMP;
	record.source.transport_port = record.destination.transport_port = 0;
	make(&record, 2048);
	assert_value("icmp_type", "0");
	assert_value("icmp_code", "0");
	assert_string_equal(read_back.sentence,
		"Allowed icmp type 0 from web-1 10.0.1.5 (zone web) to db-1 10.0.2.7 (zone db) by "
		"rule db-access/web-to-db of revision 12.");
}

static void test_gap_says_how_many_and_why(void **state)
{
	struct log_record record;

	(void)state;
	log_record_gap(&record, "host-a", "ring-full", 1234);
	record.sequence = 5;
	make(&record, 2048);
	assert_string_equal(read_back.time, "-");
	assert_string_equal(
		read_back.sentence, "1234 records before this one were lost: ring-full.");
	assert_value("packets_forward", "1234");
	assert_value("verdict", "");
	assert_value("sequence", "5");
	assert_value("bytes_forward", "");
	record.packets_forward = 1;
	make(&record, 2048);
	assert_string_equal(read_back.sentence, "1 record before this one was lost: ring-full.");
}

static void test_on_trial_says_what_would_refuse(void **state)
{
	struct log_record record = record_of(6, T0);

	(void)state;
	record.kind = LOG_WOULD_DENY;
	record.reason = "";
	record.simulated = 1 + ZONE_DENY;
	record.simulated_policy = "audit";
	record.simulated_rule = "app-only";
	make(&record, 2048);
	assert_non_null(strstr(read_back.sentence,
		"by rule db-access/web-to-db of revision 12; on trial, rule audit/app-only would "
		"refuse it."));
}

/* Everything that could end a value too early, or a line, or is no text. */
static void test_strings_are_escaped(void **state)
{
	struct log_record record = record_of(8, T0);

	(void)state;
	record.label = "a\"b\\c]d";
	record.source.vm_name = "evil\"] <13>1 - - -\n\x1b[2J\x7f";
	record.source.tags = "\xff\xfe caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\xa5 \xed\xa0\x80";
	record.destination.vm_name = "db\xc2\x9b";
	make(&record, 4096);
	assert_value("label", "a\"b\\c]d");
	assert_value("source_vm_name", "evil\"] <13>1 - - -\\x0a\\x1b[2J\\x7f");
	assert_value("source_tags",
		"\\xff\\xfe caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\xa5 \\xed\\xa0\\x80");
	assert_value("destination_vm_name", "db\\xc2\\x9b");
	assert_non_null(strstr(read_back.sentence, "from evil\"] <13>1 - - -\\x0a\\x1b[2J\\x7f "));
	assert_false(read_back.has_mark);
}

static void test_mark_stands_before_what_is_not_ascii(void **state)
{
	struct log_record record = record_of(9, T0);

	(void)state;
	record.source.tags = "caf\xc3\xa9"; /* It is not in the sentence. */
	make(&record, 2048);
	assert_false(read_back.has_mark);
	record.source.vm_name = "caf\xc3\xa9";
	make(&record, 2048);
	assert_true(read_back.has_mark);
	assert_non_null(strstr(read_back.sentence, "from caf\xc3\xa9 10.0.1.5:40000"));
}

static void test_names_of_hosts_are_what_a_header_can_hold(void **state)
{
	struct log_record record = record_of(1, T0);
	struct syslog_form form;
	char host[400];

	(void)state;
	memset(host, 'h', sizeof(host));
	host[sizeof(host) - 1] = '\0';
	memcpy(host, "a b\n\xc3\xa9", 6);
	syslog_form_init(&form, host, 1, 1, 1);
	syslog_read(message, syslog_message(&form, &record, 1, message, 2048), &read_back);
	assert_int_equal(strlen(read_back.host), 255);
	assert_int_equal(strncmp(read_back.host, "a?b???hhh", 9), 0);
	syslog_form_init(&form, "", 1, 1, 1);
	syslog_read(message, syslog_message(&form, &record, 1, message, 2048), &read_back);
	assert_string_equal(read_back.host, "-");
}

/* The sentence goes first, then the least important of the parameters; what is left is a message
 * that a strict reader takes, of whatever size. */
static void test_little_room(void **state)
{
	struct log_record record = record_of(UINT64_MAX, T0 + 1);
	size_t whole, sentence, n;

	(void)state;
	record.source.vm_name = "\xf0\x9f\x94\xa5\xf0\x9f\x94\xa5\xf0\x9f\x94\xa5";
	record.destination.vm_name = "a\"\\]\n\xff";
	whole = make(&record, 4096);
	n = read_back.n;
	sentence = strlen(read_back.sentence);
	for (size_t size = SYSLOG_MESSAGE_LEAST; size <= whole + 30; size++) {
		size_t length = make(&record, size);
		unsigned long int left_out =
			strtoul(syslog_value(&read_back, "left_out"), NULL, 10);

		assert_value("sequence", "18446744073709551615");
		assert_value("kind", "end");
		assert_value("verdict", "allowed");
		assert_int_equal(read_back.n, n - left_out + (left_out > 0));
		/* A sentence is only there in full if nothing is left out. */
		if (strlen(read_back.sentence) == sentence)
			assert_int_equal(left_out, 0);
		if (size >= whole + 20)
			assert_int_equal(length, whole);
	}
}

static void test_long_strings_leave_the_others_alone(void **state)
{
	static char tags[20000], label[3000];
	struct log_record record = record_of(10, T0);

	(void)state;
	memset(tags, ']', sizeof(tags) - 1);
	memset(label, 'l', sizeof(label) - 1);
	record.source.tags = tags;
	record.label = label;
	make(&record, 2048);
	assert_value("left_out", "2");
	assert_value("label", "");
	assert_value("source_tags", "");
	assert_value("destination_tags", "tier=db");
	assert_non_null(strstr(read_back.sentence, "9 packets (64000 bytes) back."));
	make(&record, 65000);
	assert_value("left_out", "");
	assert_value("source_tags", tags);
	assert_value("label", label);
}

/* The largest header and numbers leave room for what a record is known by. */
static void test_largest_header_in_the_least_room(void **state)
{
	static char host[300], name[500];
	struct log_record record = record_of(UINT64_MAX, T0);
	struct syslog_form form;

	(void)state;
	memset(host, 'h', sizeof(host) - 1);
	memset(name, '"', sizeof(name) - 1);
	record.kind = LOG_WOULD_DENY;
	record.source.vm_name = record.destination.vm_name = record.rule = name;
	syslog_form_init(&form, host, 23, UINT32_MAX, UINT32_MAX);
	syslog_read(message,
		syslog_message(&form, &record, SYSLOG_SEQUENCE_MAX, message, SYSLOG_MESSAGE_LEAST),
		&read_back);
	assert_value("sequence", "18446744073709551615");
	assert_value("kind", "would-deny");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_field_is_there),
		cmocka_unit_test(test_severity_is_that_of_the_kind),
		cmocka_unit_test(test_ipv6_is_told_as_everybody_writes_it),
		cmocka_unit_test(test_what_is_not_ip_has_macs),
		cmocka_unit_test(test_icmp_has_a_type_even_if_it_is_0),
		cmocka_unit_test(test_gap_says_how_many_and_why),
		cmocka_unit_test(test_on_trial_says_what_would_refuse),
		cmocka_unit_test(test_strings_are_escaped),
		cmocka_unit_test(test_mark_stands_before_what_is_not_ascii),
		cmocka_unit_test(test_names_of_hosts_are_what_a_header_can_hold),
		cmocka_unit_test(test_little_room),
		cmocka_unit_test(test_long_strings_leave_the_others_alone),
		cmocka_unit_test(test_largest_header_in_the_least_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
