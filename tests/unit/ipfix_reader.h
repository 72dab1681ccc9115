/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A collector of IPFIX messages for tests: it walks each message's sets by itself, and has
 * libfixbuf read the records, with nothing known of our own elements but what the exporter has
 * announced. Included after log_fixture.h.
 */
#ifndef TESTS_UNIT_IPFIX_READER_H
#define TESTS_UNIT_IPFIX_READER_H

#include <fixbuf/public.h>

#include "sinks/ipfix_element.h"

enum {
	READER_RECORDS = 4096,
	READER_TEXT = 512,
	READER_INTERNAL = 2000,
	READER_TEMPLATES = 300,
	READER_FIELDS = 100
};

/* What the tests look at.  In the order of reader_specs[]. */
struct read_values {
	uint64_t flow, start_ms, end_ms, start_ntp, end_ntp;
	uint64_t packets, octets, frame_octets, reverse_packets, reverse_octets;
	uint64_t reverse_frame_octets, segment, not_sent, lost, sequence;
	uint32_t ingress, egress, source_ipv4, destination_ipv4, revision, suppressed, process;
	uint16_t source_port, destination_port;
	uint8_t source_ipv6[16], destination_ipv6[16];
	uint8_t source_mac[6], destination_mac[6];
	uint16_t vlan, ethertype, tcp_flags, icmp, icmpv6;
	uint8_t protocol, event, end_reason, forwarding, direction, padding[5];
	fbVarfield_t texts[22];
};

static const char *const reader_numbers[] = {"flowId", "flowStartMilliseconds",
	"flowEndMilliseconds", "flowStartNanoseconds", "flowEndNanoseconds", "packetTotalCount",
	"octetTotalCount", "layer2OctetTotalCount", "reversePacketTotalCount",
	"reverseOctetTotalCount", "reverseLayer2OctetTotalCount", "layer2SegmentId",
	"notSentFlowTotalCount", "cordonLostRecords", "cordonSequence", "ingressInterface",
	"egressInterface", "sourceIPv4Address", "destinationIPv4Address", "cordonPolicyRevision",
	"cordonSuppressed", "exportingProcessId", "sourceTransportPort", "destinationTransportPort",
	"sourceIPv6Address", "destinationIPv6Address", "sourceMacAddress", "destinationMacAddress",
	"vlanId", "ethernetType", "tcpControlBits", "icmpTypeCodeIPv4", "icmpTypeCodeIPv6",
	"protocolIdentifier", "firewallEvent", "flowEndReason", "forwardingStatus",
	"biflowDirection", "paddingOctets"};
static const uint8_t reader_sizes[] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 4,
	4, 4, 2, 2, 16, 16, 6, 6, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 5};
static const char *const reader_texts[] = {"interfaceName", "observationDomainName", "cordonKind",
	"cordonVerdict", "cordonReason", "cordonSourcePort", "cordonDestinationPort",
	"cordonSourceVmId", "cordonDestinationVmId", "cordonSourceVmName",
	"cordonDestinationVmName", "cordonSourceZone", "cordonDestinationZone", "cordonSourceTags",
	"cordonDestinationTags", "cordonTier", "cordonPolicy", "cordonRule", "cordonLabel",
	"cordonSimulatedVerdict", "cordonSimulatedPolicy", "cordonSimulatedRule"};

struct read_record {
	uint16_t template;
	struct read_values values;
	char texts[22][READER_TEXT]; /* Cut; values.texts[].len has the length. */
};

struct reader {
	fbInfoModel_t *model;
	fbSession_t *session;
	fBuf_t *buffer;
	bool has_template;
	size_t n, n_messages, n_template_sets, longest;
	uint32_t next_sequence, domain;
	uint16_t fields[READER_TEMPLATES][READER_FIELDS]; /* Lengths, and 0. */
	struct read_record *records;
};

__attribute__((unused)) static struct reader *reader_create(void)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	GError *complaint = NULL;

	reader->records = calloc(READER_RECORDS, sizeof(*reader->records));
	reader->model = fbInfoModelAlloc();
	reader->session = fbSessionAlloc(reader->model);
	reader->buffer = fBufAllocForCollection(reader->session, NULL);
	fBufSetAutomaticMode(reader->buffer, FALSE);
	if (!fBufSetAutomaticInsert(reader->buffer, &complaint))
		fail_msg("%s", complaint->message);
	return reader;
}

__attribute__((unused)) static void reader_free(struct reader *reader)
{
	fBufFree(reader->buffer);
	fbInfoModelFree(reader->model);
	free(reader->records);
	free(reader);
}

static void append_reader_element(fbTemplate_t *template, const char *name, uint16_t size)
{
	fbInfoElementSpec_t one = {.name = (char *)name, .len_override = size};
	GError *complaint = NULL;

	if (!fbTemplateAppendSpec(template, &one, 0, &complaint))
		fail_msg("%s: %s", name, complaint->message);
}

/* Only now, since the model must have learned our elements before. */
static void add_reader_template(struct reader *reader)
{
	fbTemplate_t *template = fbTemplateAlloc(reader->model);
	GError *complaint = NULL;

	assert_int_equal(sizeof(reader_sizes), sizeof(reader_numbers) / sizeof(char *));
	for (size_t i = 0; i < sizeof(reader_sizes); i++)
		append_reader_element(template, reader_numbers[i], reader_sizes[i]);
	for (size_t i = 0; i < 22; i++)
		append_reader_element(template, reader_texts[i], FB_IE_VARLEN);
	assert_int_equal(fbTemplateGetIELenOfMemBuffer(template), sizeof(struct read_values));
	if (!fbSessionAddTemplate(reader->session, TRUE, READER_INTERNAL, template, &complaint) ||
		!fBufSetInternalTemplate(reader->buffer, READER_INTERNAL, &complaint))
		fail_msg("%s", complaint->message);
	reader->has_template = true;
}

static void keep_record(struct reader *reader, uint16_t template, const struct read_values *values)
{
	struct read_record *record = &reader->records[reader->n++];

	assert_true(reader->n <= READER_RECORDS);
	record->template = template;
	record->values = *values;
	for (size_t i = 0; i < 22; i++)
		snprintf(record->texts[i], READER_TEXT, "%.*s", (int)values->texts[i].len,
			values->texts[i].buf ? (char *)values->texts[i].buf : "");
}

static uint16_t big16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t big32(const uint8_t *at)
{
	return (uint32_t)big16(at) << 16 | big16(at + 2);
}

/* --- The messages, byte by byte -----------------------------------------------------------------
 */

/* Notes the templates of a set. */
static void walk_templates(
	struct reader *reader, const uint8_t *at, const uint8_t *end, bool options)
{
	while (at < end) {
		uint16_t identifier = big16(at), n = big16(at + 2);

		assert_in_range(identifier, 256, READER_TEMPLATES - 1);
		assert_in_range(n, 1, READER_FIELDS - 1);
		at += options ? 6 : 4;
		for (uint16_t i = 0; i < n; i++) {
			reader->fields[identifier][i] = big16(at + 2);
			at += big16(at) & 0x8000 ? 8 : 4;
		}
		reader->fields[identifier][n] = 0;
	}
	assert_ptr_equal(at, end);
}

/* Counts the records of a set, which fill it. */
static uint32_t walk_records(
	const struct reader *reader, uint16_t template, const uint8_t *at, const uint8_t *end)
{
	uint32_t n = 0;

	assert_in_range(template, 256, READER_TEMPLATES - 1);
	assert_int_not_equal(reader->fields[template][0], 0);
	for (; at < end; n++)
		for (const uint16_t *length = reader->fields[template]; *length; length++) {
			assert_true(at < end);
			if (*length != FB_IE_VARLEN)
				at += *length;
			else if (*at < 255)
				at += 1 + *at;
			else
				at += 3 + big16(at + 1);
		}
	assert_ptr_equal(at, end);
	return n;
}

/* The sets fill the message and none is empty; a message has either templates or data.  Returns the
 * number of data records. */
static uint32_t walk_sets(struct reader *reader, const uint8_t *message, size_t length)
{
	size_t n_templates = 0;
	uint32_t n = 0;

	for (size_t at = 16, size; at < length; at += size) {
		const uint8_t *set = message + at;

		assert_true(at + 4 < length);
		size = big16(set + 2);
		assert_in_range(size, 5, length - at);
		if (big16(set) < 256) {
			walk_templates(reader, set + 4, set + size, big16(set) == FB_TID_OTS);
			n_templates++;
		} else {
			n += walk_records(reader, big16(set), set + 4, set + size);
		}
	}
	assert_true((n_templates == 0) != (n == 0));
	reader->n_template_sets += n_templates;
	return n;
}

/* --- The records, by libfixbuf ------------------------------------------------------------------
 */

/* Reads all records of a message.  Those of elements' types libfixbuf keeps for itself. */
static void read_records(struct reader *reader)
{
	for (;;) {
		struct read_values values;
		size_t length = sizeof(values);
		GError *complaint = NULL;
		uint16_t template;

		if (!fBufNextCollectionTemplate(reader->buffer, &template, &complaint)) {
			if (complaint->code != FB_ERROR_EOM && complaint->code != FB_ERROR_BUFSZ)
				fail_msg("%s", complaint->message);
			g_clear_error(&complaint);
			return;
		}
		memset(&values, 0, sizeof(values));
		if (!fBufNext(reader->buffer, (uint8_t *)&values, &length, &complaint))
			fail_msg("%s", complaint->message);
		keep_record(reader, template, &values);
	}
}

__attribute__((unused)) static void reader_read(
	struct reader *reader, const uint8_t *message, size_t length)
{
	static uint8_t copy[65536];
	uint32_t n;

	assert_in_range(length, 21, 65535);
	assert_int_equal(big16(message), 10);
	assert_int_equal(big16(message + 2), length);
	n = walk_sets(reader, message, length);
	reader->domain = big32(message + 12);
	assert_int_equal(big32(message + 8), reader->next_sequence);
	reader->next_sequence += n;
	if (n > 0 && big16(message + 16) != IPFIX_TYPE_TEMPLATE && !reader->has_template)
		add_reader_template(reader);
	memcpy(copy, message, length);
	fBufSetBuffer(reader->buffer, copy, length);
	read_records(reader);
	reader->n_messages++;
	reader->longest = length > reader->longest ? length : reader->longest;
}

/* The n-th record of the template, from 0. */
__attribute__((unused)) static const struct read_record *reader_find(
	const struct reader *reader, uint16_t template, size_t n)
{
	for (size_t i = 0; i < reader->n; i++)
		if (reader->records[i].template == template && n-- == 0)
			return &reader->records[i];
	fail_msg("no such record of template %u among %zu", template, reader->n);
	return NULL;
}

__attribute__((unused)) static const char *text_of_record(
	const struct read_record *record, const char *name)
{
	for (size_t i = 0; i < 22; i++)
		if (strcmp(reader_texts[i], name) == 0)
			return record->texts[i];
	fail_msg("%s is not read", name);
	return NULL;
}

#endif
