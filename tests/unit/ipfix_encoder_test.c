/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPFIX messages made of records, read back by a collector that knows only what it was told.  To be
 * run from the top of the source tree.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sinks/ipfix_encoder.h"
#include "sinks/ipfix_interfaces.h"
#include "sinks/ipfix_text.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/ipfix_reader.h"

/* An exporter and a collector, with no network between. */
struct story {
	struct ipfix_encoder *encoder;
	struct reader *reader;
	char error[256];
};

static void carry(struct story *story)
{
	const uint8_t *message;
	size_t length = ipfix_encoder_take(story->encoder, &message);

	if (length)
		reader_read(story->reader, message, length);
}

static void announce(struct story *story)
{
	int rc;

	ipfix_encoder_begin_announcement(story->encoder);
	while ((rc = ipfix_encoder_announce(story->encoder, story->error, 256)) == -ENOBUFS)
		carry(story);
	if (rc)
		fail_msg("%d: %s", rc, story->error);
	carry(story);
}

static void begin(struct story *story, size_t message_max)
{
	struct ipfix_encoder_options options = {
		.enterprise = 32473, .domain = 7, .process = 99, .message_max = message_max};
	int rc = ipfix_encoder_create(&options, &story->encoder, story->error, 256);

	if (rc)
		fail_msg("%d: %s", rc, story->error);
	story->reader = reader_create();
	announce(story);
}

static void end(struct story *story)
{
	ipfix_encoder_free(story->encoder);
	reader_free(story->reader);
}

static void add(struct story *story, const struct log_record *record)
{
	int rc = ipfix_encoder_add(story->encoder, record, story->error, 256);

	if (rc == -ENOBUFS) {
		carry(story);
		rc = ipfix_encoder_add(story->encoder, record, story->error, 256);
	}
	if (rc)
		fail_msg("%d: %s", rc, story->error);
}

/* Adds one record and has it read. */
static const struct read_record *tell(
	struct story *story, const struct log_record *record, uint16_t template)
{
	size_t before = story->reader->n;

	add(story, record);
	carry(story);
	assert_true(story->reader->n > before);
	assert_int_equal(story->reader->records[story->reader->n - 1].template, template);
	return &story->reader->records[story->reader->n - 1];
}

static uint64_t ns_of_ntp(uint64_t ntp)
{
	return ((ntp >> 32) - 2208988800u) * SECOND + ((ntp & UINT32_MAX) * SECOND >> 32);
}

/* --- Shapes ----------------------------------------------------------------------------------- */

static void test_ipv4(void **state)
{
	struct log_record record = record_of(41, T0 + 123456789);
	const struct read_record *read;
	const struct read_values *values;
	struct story story;

	(void)state;
	record.vni = 0x010203;
	record.suppressed = 5;
	begin(&story, 1352);
	read = tell(&story, &record, 256);
	values = &read->values;
	assert_int_equal(story.reader->domain, 7);
	assert_int_equal(values->source_ipv4, 0x0a000105);
	assert_int_equal(values->destination_ipv4, 0x0a000207);
	assert_int_equal(values->source_port, 40000);
	assert_int_equal(values->destination_port, 5432);
	assert_int_equal(values->protocol, 6);
	assert_int_equal(values->tcp_flags, 0x1b);
	assert_int_equal(values->vlan, 10);
	assert_int_equal(values->segment, 0x0100000000010203);
	assert_memory_equal(values->source_mac, record.source.mac, 6);
	assert_memory_equal(values->destination_mac, record.destination.mac, 6);
	assert_int_equal(values->start_ms, record.start_ns / 1000000);
	assert_int_equal(values->end_ms, record.time_ns / 1000000);
	assert_int_equal(ns_of_ntp(values->start_ntp), record.start_ns);
	assert_int_equal(ns_of_ntp(values->end_ntp), record.time_ns);
	assert_int_equal(values->packets, 10);
	assert_int_equal(values->frame_octets, 1200);
	assert_int_equal(values->octets, 1200 - 10 * 14);
	assert_int_equal(values->reverse_packets, 9);
	assert_int_equal(values->reverse_frame_octets, 64000);
	assert_int_equal(values->reverse_octets, 64000 - 9 * 14);
	assert_int_equal(values->sequence, 41);
	assert_int_equal(values->revision, 12);
	assert_int_equal(values->suppressed, 5);
	assert_int_equal(values->direction, 1);
	end(&story);
}

static void test_texts(void **state)
{
	static const char *const expected[][2] = {{"observationDomainName", "host-a"},
		{"cordonKind", "end"}, {"cordonVerdict", "allowed"}, {"cordonReason", "fin"},
		{"cordonSourcePort", "vm-web-1"}, {"cordonDestinationPort", "vm-db-1"},
		{"cordonSourceVmId", "7f5c"}, {"cordonDestinationVmId", "8a01"},
		{"cordonSourceVmName", "web-1"}, {"cordonDestinationVmName", "db-1"},
		{"cordonSourceZone", "web"}, {"cordonDestinationZone", "db"},
		{"cordonSourceTags", "app=shop tier=web"}, {"cordonDestinationTags", "tier=db"},
		{"cordonTier", "environment"}, {"cordonPolicy", "db-access"},
		{"cordonRule", "web-to-db"}, {"cordonLabel", "CHG-4711"},
		{"cordonSimulatedVerdict", "rejected"}, {"cordonSimulatedPolicy", "next"},
		{"cordonSimulatedRule", "none"}};
	struct log_record record = record_of(1, T0);
	const struct read_record *read;
	struct story story;

	(void)state;
	record.simulated = 1 + ZONE_REJECT;
	record.simulated_policy = "next";
	record.simulated_rule = "none";
	begin(&story, 1352);
	read = tell(&story, &record, 256);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_string_equal(text_of_record(read, expected[i][0]), expected[i][1]);
	end(&story);
}

static void test_ipv6_denial(void **state)
{
	struct log_record record = denial_of(1, T0);
	const struct read_values *values;
	struct story story;

	(void)state;
	begin(&story, 1352);
	values = &tell(&story, &record, 257)->values;
	assert_memory_equal(values->source_ipv6, &record.source.address, 16);
	assert_memory_equal(values->destination_ipv6, &record.destination.address, 16);
	assert_int_equal(values->destination_port, 443);
	assert_int_equal(values->event, 3);
	assert_int_equal(values->forwarding, 130);
	assert_int_equal(values->end_reason, 0);
	assert_int_equal(values->octets, 66);
	end(&story);
}

static void test_icmp(void **state)
{
	struct log_record record = record_of(1, T0);
	struct story story;

	(void)state;
	record.protocol = IPPROTO_ICMP;
	record.icmp_type = 3;
	record.icmp_code = 13;
	begin(&story, 1352);
	assert_int_equal(tell(&story, &record, 258)->values.icmp, 3 << 8 | 13);
	record = denial_of(2, T0);
	record.protocol = IPPROTO_ICMPV6;
	record.icmp_type = 128;
	assert_int_equal(tell(&story, &record, 259)->values.icmpv6, 128 << 8);
	end(&story);
}

/* ARP, and what was held back of sources that can no longer be told apart. */
static void test_without_addresses(void **state)
{
	struct log_record record = record_of(1, T0);
	const struct read_values *values;
	struct story story;

	(void)state;
	record.protocol = 0;
	record.ethertype = 0x0806;
	record.source.address = record.destination.address = (struct in6_addr){0};
	begin(&story, 1352);
	values = &tell(&story, &record, 260)->values;
	assert_int_equal(values->ethertype, 0x0806);
	assert_int_equal(values->frame_octets, 1200);
	assert_memory_equal(values->source_mac, record.source.mac, 6);
	record.ethertype = 0;
	tell(&story, &record, 260);
	/* With a source only. */
	record.source.address = address("10.0.0.1");
	assert_int_equal(tell(&story, &record, 256)->values.source_ipv4, 0x0a000001);
	end(&story);
}

/* --- Events ----------------------------------------------------------------------------------- */

static void test_kinds(void **state)
{
	static const struct {
		uint8_t kind, verdict;
		const char *reason;
		uint8_t event, end_reason, forwarding;
	} rows[] = {
		{LOG_START, ZONE_ALLOW, "", 1, 0, 64},
		{LOG_UPDATE, ZONE_ALLOW, "", 5, 2, 64},
		{LOG_END, ZONE_ALLOW, "fin", 2, 3, 64},
		{LOG_END, ZONE_ALLOW, "reset", 2, 3, 64},
		{LOG_END, ZONE_ALLOW, "reused", 2, 3, 64},
		{LOG_END, ZONE_ALLOW, "timeout", 2, 1, 64},
		{LOG_END, ZONE_ALLOW, "unanswered", 2, 1, 64},
		{LOG_END, ZONE_DENY, "policy", 2, 4, 130},
		{LOG_END, ZONE_ALLOW, "flushed", 2, 4, 64},
		{LOG_END, ZONE_ALLOW, "port-removed", 2, 4, 64},
		{LOG_DENIED, ZONE_DENY, "policy", 3, 0, 130},
		{LOG_DENIED, ZONE_REJECT, "rejected", 3, 0, 129},
		{LOG_WOULD_DENY, ZONE_ALLOW, "policy", 4, 0, 64},
		{LOG_SPOOFED, ZONE_DENY, "spoofed-mac", 3, 0, 140},
		{LOG_LIMIT, ZONE_DENY, "table-full", 3, 0, 128},
	};
	struct story story;

	(void)state;
	begin(&story, 1352);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct log_record record = record_of(i + 1, T0);
		const struct read_record *read;

		record.kind = rows[i].kind;
		record.verdict = rows[i].verdict;
		record.reason = rows[i].reason;
		read = tell(&story, &record, 256);
		assert_int_equal(read->values.event, rows[i].event);
		assert_int_equal(read->values.end_reason, rows[i].end_reason);
		assert_int_equal(read->values.forwarding, rows[i].forwarding);
		assert_string_equal(
			text_of_record(read, "cordonKind"), log_kind_name(rows[i].kind));
		assert_string_equal(
			text_of_record(read, "cordonVerdict"), log_verdict_name(rows[i].verdict));
	}
	end(&story);
}

/* All records of a connection have one flowId, and no other connection has it. */
static void test_flow_id(void **state)
{
	struct log_record record = record_of(1, T0), other;
	struct story story;
	uint64_t flow;

	(void)state;
	begin(&story, 1352);
	flow = tell(&story, &record, 256)->values.flow;
	other = record;
	other.kind = LOG_START;
	other.time_ns -= SECOND;
	other.bytes_forward = other.sequence = 9;
	assert_int_equal(tell(&story, &other, 256)->values.flow, flow);
	other = record;
	other.source.transport_port++;
	assert_int_not_equal(tell(&story, &other, 256)->values.flow, flow);
	other = record;
	other.start_ns++;
	assert_int_not_equal(tell(&story, &other, 256)->values.flow, flow);
	other = record;
	other.vlan++;
	assert_int_not_equal(tell(&story, &other, 256)->values.flow, flow);
	end(&story);
}

static void test_gap(void **state)
{
	struct log_record record = record_of(70, T0 + 5);
	const struct read_record *read;
	struct story story;

	(void)state;
	record.kind = LOG_GAP;
	record.reason = "backlog-full";
	record.packets_forward = 1000;
	begin(&story, 1352);
	read = tell(&story, &record, 261);
	assert_int_equal(read->values.lost, 1000);
	assert_int_equal(read->values.not_sent, 1000);
	assert_int_equal(read->values.sequence, 70);
	assert_int_equal(read->values.process, 99);
	assert_int_equal(ns_of_ntp(read->values.end_ntp), T0 + 5);
	assert_string_equal(text_of_record(read, "cordonKind"), "gap");
	assert_string_equal(text_of_record(read, "cordonReason"), "backlog-full");
	assert_string_equal(text_of_record(read, "observationDomainName"), "host-a");
	record.packets_forward = 5;
	read = tell(&story, &record, 261);
	assert_int_equal(read->values.lost, 5);
	assert_int_equal(read->values.not_sent, 1005);
	end(&story);
}

static void test_no_kind(void **state)
{
	struct log_record record = record_of(1, T0);
	struct story story;

	(void)state;
	record.kind = LOG_N_KINDS;
	begin(&story, 1352);
	assert_int_equal(ipfix_encoder_add(story.encoder, &record, story.error, 256), -EINVAL);
	record.kind = LOG_END;
	tell(&story, &record, 256);
	end(&story);
}

/* --- Messages --------------------------------------------------------------------------------- */

/* Records of all shapes and many lengths, in messages of one size: the reader checks the sets, the
 * lengths and the sequence numbers. */
static void run_many(size_t message_max)
{
	char tags[400];
	struct story story;

	begin(&story, message_max);
	for (uint64_t i = 1; i <= 2000; i++) {
		struct log_record record = i % 3 ? record_of(i, T0) : denial_of(i, T0);

		if (i % 7 == 0) {
			record.kind = LOG_GAP;
			record.packets_forward = 1;
		}
		memset(tags, 'x', sizeof(tags));
		tags[i % sizeof(tags)] = '\0';
		record.source.tags = tags;
		add(&story, &record);
		if (i % 500 == 0)
			announce(&story);
	}
	carry(&story);
	for (uint64_t i = 0, sequence = 0; i < story.reader->n; i++) {
		const struct read_record *read = &story.reader->records[i];

		if (read->template == 262)
			continue;
		assert_int_equal(read->values.sequence, ++sequence);
		if (sequence % 7)
			assert_string_equal(text_of_record(read, "cordonKind"),
				sequence % 3 ? "end" : "denied");
	}
	assert_in_range(story.reader->longest, message_max * 9 / 10, message_max);
	end(&story);
}

static void test_messages(void **state)
{
	(void)state;
	run_many(IPFIX_MESSAGE_LEAST);
	run_many(1352);
	run_many(IPFIX_MESSAGE_MOST);
}

/* Templates, types and interfaces are told again, in the middle of a session. */
static void test_announced_again(void **state)
{
	struct log_record record = record_of(1, T0);
	struct story story;
	size_t n;

	(void)state;
	begin(&story, 1352);
	tell(&story, &record, 256);
	n = story.reader->n_template_sets;
	assert_int_equal(story.reader->n, 3); /* Two interfaces, one record. */
	announce(&story);
	assert_int_equal(story.reader->n_template_sets, 2 * n);
	assert_int_equal(reader_find(story.reader, 262, 2)->values.ingress +
				 reader_find(story.reader, 262, 3)->values.ingress,
		1 + 2);
	tell(&story, &record, 256);
	end(&story);
}

static void test_enterprise(void **state)
{
	struct ipfix_encoder_options options = {.enterprise = 29305, .message_max = 1352};
	struct ipfix_encoder *encoder;
	struct reader *reader = reader_create();
	const uint8_t *message;
	char error[256];

	(void)state;
	assert_int_equal(ipfix_encoder_create(&options, &encoder, error, 256), -EINVAL);
	assert_non_null(strstr(error, "enterprise-number=29305"));
	options.enterprise = 64999;
	assert_int_equal(ipfix_encoder_create(&options, &encoder, error, 256), 0);
	ipfix_encoder_begin_announcement(encoder);
	while (ipfix_encoder_announce(encoder, error, 256) == -ENOBUFS) {
		size_t length = ipfix_encoder_take(encoder, &message);

		reader_read(reader, message, length);
	}
	assert_non_null(fbInfoModelGetElementByID(reader->model, 1, 64999));
	assert_null(fbInfoModelGetElementByID(reader->model, 1, 32473));
	ipfix_encoder_free(encoder);
	reader_free(reader);
}

/* --- Texts ------------------------------------------------------------------------------------ */

static bool is_valid(const fbVarfield_t *text)
{
	return g_utf8_validate((char *)text->buf, (gssize)text->len, NULL);
}

/* Of a record that is far too long, the long texts are cut and the short ones are not. */
static void test_long_texts(void **state)
{
	static char tags[100001], label[40001];
	struct log_record record = record_of(1, T0);
	const struct read_record *read;
	struct story story;

	(void)state;
	memset(tags, 't', sizeof(tags) - 1);
	for (size_t i = 0; i + 2 < sizeof(label); i += 2)
		memcpy(label + i, "\xc3\xa4", 2);
	record.source.tags = record.destination.tags = tags;
	record.label = label;
	begin(&story, 1352);
	read = tell(&story, &record, 256);
	assert_in_range(story.reader->longest, 1300, 1352);
	assert_in_range(strlen(text_of_record(read, "cordonSourceTags")), 200, 400);
	assert_string_equal(strstr(text_of_record(read, "cordonSourceTags"), "…"), "…");
	assert_int_equal(strncmp(text_of_record(read, "cordonLabel"), "ää", 4), 0);
	assert_non_null(strstr(text_of_record(read, "cordonLabel"), "ä…"));
	assert_string_equal(text_of_record(read, "cordonRule"), "web-to-db");
	assert_string_equal(text_of_record(read, "cordonSourceZone"), "web");
	end(&story);
}

static void test_fit(void **state)
{
	static const struct {
		const char *text, *expected;
		size_t room;
	} rows[] = {
		{"", "", 1},
		{"plain", "plain", 6},
		{"twelve bytes", "twelve bytes", 13},
		{"twelve bytes", "twelve b…", 12},
		{"\xc3\xa4\xc3\xb6\xc3\xbc", "\xc3\xa4\xc3\xb6\xc3\xbc", 100},
		{"\xc3\xa4\xc3\xb6\xc3\xbc", "\xc3\xa4…", 6},
		{"bad\xff\xfe.", "bad??.", 100},
		{"cut \xe2\x80", "cut ??", 100},
		{"\xed\xa0\x80", "???", 100},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fbVarfield_t text = {.len = strlen(rows[i].text), .buf = (uint8_t *)rows[i].text};
		fbVarfield_t *texts[] = {&text};
		uint8_t scratch[100];
		size_t used = ipfix_texts_fit(texts, 1, rows[i].room, scratch);

		assert_int_equal(used, text.len + 1);
		assert_in_range(used, 1, rows[i].room);
		assert_true(is_valid(&text));
		assert_int_equal(text.len, strlen(rows[i].expected));
		assert_memory_equal(text.buf, rows[i].expected, text.len);
	}
}

/* Whatever there is and whatever the room, it fits, is valid and leaves the short ones alone. */
static void test_fit_at_random(void **state)
{
	static uint8_t bytes[3][3000], scratch[2000];
	uint64_t random = 1;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		fbVarfield_t at[3], *texts[] = {&at[0], &at[1], &at[2]};
		size_t room, used, total = 0;

		for (int i = 0; i < 3; i++) {
			random = random * 6364136223846793005ull + 1442695040888963407ull;
			at[i] = (fbVarfield_t){.len = (random >> 33) % 700, .buf = bytes[i]};
			for (size_t j = 0; j <= at[i].len; j++)
				bytes[i][j] =
					(uint8_t)(round % 2 ? random >> (j % 50) : 'a' + j % 26);
		}
		room = 9 + (random >> 40) % 1900;
		used = ipfix_texts_fit(texts, 3, room, scratch);
		assert_in_range(used, 3, room);
		for (int i = 0; i < 3; i++) {
			assert_true(is_valid(&at[i]));
			total += at[i].len + (at[i].len < 255 ? 1 : 3);
		}
		assert_int_equal(used, total);
	}
}

/* --- Interfaces ------------------------------------------------------------------------------- */

static void test_interface_numbers(void **state)
{
	struct log_record record = record_of(1, T0);
	const struct read_values *values;
	struct story story;
	uint32_t web;

	(void)state;
	begin(&story, 1352);
	values = &tell(&story, &record, 256)->values;
	web = values->ingress;
	assert_int_not_equal(web, values->egress);
	assert_string_equal(
		text_of_record(reader_find(story.reader, 262, 0), "interfaceName"), "vm-web-1");
	assert_int_equal(reader_find(story.reader, 262, 0)->values.ingress, web);
	assert_int_equal(reader_find(story.reader, 262, 1)->values.ingress, values->egress);
	record.destination.port = "";
	values = &tell(&story, &record, 256)->values;
	assert_int_equal(values->ingress, web);
	assert_int_equal(values->egress, 0);
	end(&story);
}

/* More names than are kept: a number is never given to a second one. */
static void test_interfaces_forgotten(void **state)
{
	struct ipfix_interfaces *interfaces = ipfix_interfaces_create();
	uint32_t number, seen = 0;
	const char *name;
	size_t at = 0;
	char text[32];

	(void)state;
	assert_int_equal(ipfix_interfaces_find(interfaces, ""), 0);
	for (uint32_t i = 1; i <= IPFIX_INTERFACES_MAX + 10; i++) {
		snprintf(text, sizeof(text), "port-%u", i);
		assert_int_equal(ipfix_interfaces_find(interfaces, text), 0);
		assert_int_equal(ipfix_interfaces_add(interfaces, text), i);
		assert_int_equal(ipfix_interfaces_find(interfaces, text), i);
	}
	assert_int_equal(ipfix_interfaces_find(interfaces, "port-1"), 0);
	while (ipfix_interfaces_next(interfaces, &at, &name, &number)) {
		snprintf(text, sizeof(text), "port-%u", number);
		assert_string_equal(name, text);
		seen++;
	}
	assert_int_equal(seen, 10);
	ipfix_interfaces_free(interfaces);
	ipfix_interfaces_free(NULL);
}

/* --- The table -------------------------------------------------------------------------------- */

static void test_table(void **state)
{
	fbInfoModel_t *model = fbInfoModelAlloc();
	size_t offset = 0, n_texts = 0;
	uint64_t own = 0;

	(void)state;
	for (size_t i = 0; i < n_ipfix_elements; i++) {
		const struct ipfix_element *element = &ipfix_elements[i];
		uint32_t enterprise = element->registry == IPFIX_REVERSE ? FB_IE_PEN_REVERSE : 0;
		const fbInfoElement_t *known =
			fbInfoModelGetElementByID(model, element->number, enterprise);

		assert_int_equal(element->offset, offset);
		offset += element->size;
		n_texts += element->is_text;
		assert_true(element->is_text ? element->size == sizeof(fbVarfield_t)
					     : element->size <= 16);
		if (element->registry == IPFIX_OWN) {
			assert_in_range(element->number, 1, 63);
			assert_false(own & 1ull << element->number);
			own |= 1ull << element->number;
			assert_int_equal(strncmp(element->name, "cordon", 6), 0);
		} else {
			assert_string_equal(known->ref.name, element->name);
			if (element->number != 210)
				assert_int_equal(known->len,
					element->is_text ? FB_IE_VARLEN : element->size);
		}
	}
	assert_int_equal(offset, sizeof(struct ipfix_values));
	assert_int_equal(n_texts, IPFIX_TEXTS);
	fbInfoModelFree(model);
}

#define DOCUMENT "docs/ipfix.md"

/* Cuts the spaces around the column. */
static char *trim(char *text)
{
	size_t n;

	while (*text == ' ')
		text++;
	for (n = strlen(text); n > 0 && text[n - 1] == ' ';)
		text[--n] = '\0';
	return text;
}

struct row {
	char number[32], name[64], templates[96], meaning[160];
};

/* Reads lines up to the next row of a table of elements:
 * "| number | `name` | templates | meaning |". */
static bool next_row(FILE *document, struct row *row)
{
	char line[1024];

	while (fgets(line, sizeof(line), document))
		if (sscanf(line, "| %31[^|`]| `%63[^`]` | %95[^|]| %159[^|]|", row->number,
			    row->name, row->templates, row->meaning) == 4)
			return true;
	return false;
}

static const char *number_text(const struct ipfix_element *element)
{
	static const char *const formats[] = {"%u", "%u, reverse", "own %u"};
	static char text[32];

	snprintf(text, sizeof(text), formats[element->registry], element->number);
	return text;
}

/* "flows" for all five of them, else the templates' names. */
static const char *templates_text(const struct ipfix_element *element)
{
	static char text[96];
	uint8_t left = element->templates;

	text[0] = '\0';
	if ((left & 0x1f) == 0x1f) {
		strcat(text, "flows ");
		left &= (uint8_t)~0x1f;
	}
	for (int i = 0; i < IPFIX_N_TEMPLATES; i++)
		if (left & 1u << i)
			sprintf(text + strlen(text), "%s ",
				ipfix_template_name((enum ipfix_template)i));
	return trim(text);
}

/* The document has a row for each element, in the order of the table, with the same words. */
static void test_document(void **state)
{
	FILE *document = fopen(DOCUMENT, "r");
	struct row row;

	(void)state;
	if (!document) {
		fail_msg("%s: %s; run this from the top of the source tree", DOCUMENT,
			strerror(errno));
		return;
	}
	for (size_t i = 0; i < n_ipfix_elements; i++) {
		const struct ipfix_element *element = &ipfix_elements[i];

		if (element->templates == 0)
			continue;
		if (!next_row(document, &row))
			fail_msg("%s ends before %s", DOCUMENT, element->name);
		assert_string_equal(row.name, element->name);
		assert_string_equal(trim(row.number), number_text(element));
		assert_string_equal(trim(row.templates), templates_text(element));
		assert_string_equal(trim(row.meaning), element->meaning);
	}
	if (next_row(document, &row))
		fail_msg("%s has %s, which is not exported", DOCUMENT, row.name);
	fclose(document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_ipv6_denial),
		cmocka_unit_test(test_icmp),
		cmocka_unit_test(test_without_addresses),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_flow_id),
		cmocka_unit_test(test_gap),
		cmocka_unit_test(test_no_kind),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_announced_again),
		cmocka_unit_test(test_enterprise),
		cmocka_unit_test(test_long_texts),
		cmocka_unit_test(test_fit),
		cmocka_unit_test(test_fit_at_random),
		cmocka_unit_test(test_interface_numbers),
		cmocka_unit_test(test_interfaces_forgotten),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_document),
	};

	return cmocka_run_group_tests_name("ipfix_encoder", tests, NULL, NULL);
}
