/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of pcapng, byte by byte as draft-ietf-opsawg-pcapng has them; and as libpcap reads them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <pcap/pcap.h>

#include "datapath/pcapng.h"

/* A little-endian host, as this is. */
static void expect(const struct pcapng *out, const uint8_t *bytes, size_t n)
{
	assert_int_equal(out->n, n);
	assert_memory_equal(out->bytes, bytes, n);
}

static void test_section(void **state)
{
	static const uint8_t bytes[] = {
		0x0a, 0x0d, 0x0d, 0x0a, 44, 0, 0, 0,		/* Type and length. */
		0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,		/* Byte order, version. */
		255, 255, 255, 255, 255, 255, 255, 255,		/* The section's length. */
		4, 0, 6, 0, 'C', 'o', 'r', 'd', 'o', 'n', 0, 0, /* Application, padded. */
		0, 0, 0, 0, 44, 0, 0, 0,			/* No more options; length. */
	};
	uint8_t memory[64];
	struct pcapng out = {.bytes = memory, .room = sizeof(memory)};

	(void)state;
	assert_true(pcapng_section(&out, &(struct pcapng_section){.application = "Cordon"}));
	expect(&out, bytes, sizeof(bytes));
}

static void test_interface(void **state)
{
	static const uint8_t bytes[] = {
		1, 0, 0, 0, 52, 0, 0, 0,		       /* Type and length. */
		1, 0, 0, 0, 0, 0, 4, 0,			       /* Ethernet, snap length. */
		2, 0, 4, 0, 'w', 'e', 'b', '1',		       /* Name. */
		9, 0, 1, 0, 9, 0, 0, 0,			       /* Nanoseconds. */
		11, 0, 6, 0, 0, 'i', 'c', 'm', 'p', '6', 0, 0, /* Filter, padded. */
		0, 0, 0, 0, 52, 0, 0, 0,		       /* The end. */
	};
	uint8_t memory[64];
	struct pcapng out = {.bytes = memory, .room = sizeof(memory)};

	(void)state;
	assert_true(pcapng_interface(&out,
		&(struct pcapng_interface){
			.name = "web1", .description = "", .filter = "icmp6", .snaplen = 262144}));
	assert_int_equal(bytes[4], sizeof(bytes));
	expect(&out, bytes, sizeof(bytes));
}

static void test_packet(void **state)
{
	static const uint8_t bytes[] = {
		6, 0, 0, 0, 60, 0, 0, 0,		  /* Type and length. */
		2, 0, 0, 0, 0x04, 0x03, 0x02, 0x01,	  /* Interface; time, high... */
		0x08, 0x07, 0x06, 0x05, 5, 0, 0, 0,	  /* ...and low; captured bytes... */
		0xdc, 5, 0, 0, 'h', 'e', 'l', 'l',	  /* ...of 1500; data, */
		'o', 0, 0, 0, 1, 0, 2, 0, 'n', 'o', 0, 0, /* padded; comment. */
		2, 0, 4, 0, 2, 0, 0, 0,			  /* Outbound. */
		0, 0, 0, 0, 60, 0, 0, 0,		  /* The end. */
	};
	uint8_t memory[64];
	struct pcapng out = {.bytes = memory, .room = sizeof(memory)};

	(void)state;
	assert_true(pcapng_packet(&out, &(struct pcapng_packet){.interface = 2,
						.time_ns = UINT64_C(0x0102030405060708),
						.data = (const uint8_t *)"hello",
						.captured = 5,
						.original = 1500,
						.direction = PCAPNG_OUTBOUND,
						.comment = "no"}));
	expect(&out, bytes, sizeof(bytes));
}

static void test_statistics(void **state)
{
	uint8_t memory[256];
	struct pcapng out = {.bytes = memory, .room = sizeof(memory)};

	(void)state;
	assert_true(pcapng_statistics(
		&out, &(struct pcapng_statistics){.interface = 1, .dropped = 7, .delivered = 9}));
	static const uint8_t dropped[] = {5, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t delivered[] = {8, 0, 8, 0, 9, 0, 0, 0, 0, 0, 0, 0};
	assert_non_null(memmem(memory, out.n, dropped, sizeof(dropped)));
	assert_non_null(memmem(memory, out.n, delivered, sizeof(delivered)));
	assert_int_equal(out.n % 4, 0);
}

/* Without room for all of a block there is none of it. */
static void test_room(void **state)
{
	uint8_t memory[64];
	const struct pcapng_packet packet = {
		.data = (const uint8_t *)"hello", .captured = 5, .comment = "no"};

	(void)state;
	for (size_t room = 0; room < sizeof(memory); room++) {
		struct pcapng out = {.bytes = memory, .room = room};

		memset(memory, 0xee, sizeof(memory));
		assert_int_equal(pcapng_packet(&out, &packet), room >= 60);
		assert_int_equal(out.n, room >= 60 ? 60 : 0);
		for (size_t i = room; i < sizeof(memory); i++)
			assert_int_equal(memory[i], 0xee);
	}
}

static void write_file(FILE *file)
{
	uint8_t memory[1024] = {0};
	struct pcapng out = {.bytes = memory, .room = sizeof(memory)};

	assert_true(pcapng_section(&out, &(struct pcapng_section){.comment = "a test"}));
	assert_true(pcapng_interface(&out, &(struct pcapng_interface){.name = "a", .snaplen = 99}));
	assert_true(pcapng_packet(
		&out, &(struct pcapng_packet){.time_ns = UINT64_C(1800000000123456789),
			      .data = (const uint8_t *)"hello",
			      .captured = 5,
			      .original = 6,
			      .direction = PCAPNG_INBOUND}));
	assert_true(pcapng_statistics(&out, &(struct pcapng_statistics){.dropped = 1}));
	assert_int_equal(fwrite(memory, 1, out.n, file), out.n);
	rewind(file);
}

static void test_libpcap_reads_it(void **state)
{
	char error[PCAP_ERRBUF_SIZE];
	struct pcap_pkthdr *header;
	const u_char *data;
	FILE *file = tmpfile();

	(void)state;
	assert_non_null(file);
	write_file(file);
	pcap_t *capture =
		pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, error);
	assert_non_null(capture);
	assert_int_equal(pcap_datalink(capture), DLT_EN10MB);
	assert_int_equal(pcap_next_ex(capture, &header, &data), 1);
	assert_int_equal(header->ts.tv_sec, 1800000000);
	assert_int_equal(header->ts.tv_usec, 123456789);
	assert_int_equal(header->caplen, 5);
	assert_int_equal(header->len, 6);
	assert_memory_equal(data, "hello", 5);
	assert_int_equal(pcap_next_ex(capture, &header, &data), PCAP_ERROR_BREAK);
	pcap_close(capture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_section),
		cmocka_unit_test(test_interface),
		cmocka_unit_test(test_packet),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_libpcap_reads_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
