/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packets of `cordon trace`: from words to bytes, each compared with what scapy makes of the
 * same words; frames in hexadecimal and of captures; and what is said of mistakes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/trace.h"
#include "openvswitch/util.h"
#include "util.h"
#include "zones/address.h"

/* --- words to bytes ------------------------------------------------------------------------- */

struct story {
	const char *name, *source, *destination;
	const char *to_mac; /* NULL: the second host's. */
	struct trace_packet packet;
	const char *bytes;
};

#define MACS "020000000002020000000001"

static const struct story stories[] = {
	{"TCP", "10.0.0.1", "10.0.0.2", NULL,
		{.protocol = IPPROTO_TCP,
			.ttl = 64,
			.vlan = -1,
			.source_port = 40000,
			.destination_port = 5432,
			.tcp_flags = 2,
			.sequence = 1,
			.window = 64240},
		MACS "08004500002800004000400626ce0a0000010a000002"
		     "9c40153800000001000000005002faf0ef750000"},
	{"TCP, tagged, odd payload", "10.0.0.1", "10.0.0.2", NULL,
		{.protocol = IPPROTO_TCP,
			.ttl = 64,
			.vlan = 20,
			.source_port = 40000,
			.destination_port = 443,
			.tcp_flags = 0x18,
			.sequence = UINT32_MAX,
			.acknowledgment = 7,
			.window = 1,
			.payload_bytes = 3},
		MACS "8100001408004500002b00004000400626cb0a0000010a000002"
		     "9c4001bbffffffff0000000750180001fdc30000000000"},
	{"UDP", "10.0.0.1", "10.0.0.2", NULL,
		{.protocol = IPPROTO_UDP,
			.ttl = 64,
			.vlan = -1,
			.source_port = 40000,
			.destination_port = 53},
		MACS "08004500001c00004000401126cf0a0000010a0000029c40003500084f66"},
	{"UDP over IPv6", "2001:db8::1", "2001:db8::2", NULL,
		{.protocol = IPPROTO_UDP,
			.ttl = 64,
			.vlan = -1,
			.source_port = 40000,
			.destination_port = 53,
			.payload_bytes = 3},
		MACS "86dd60000000000b114020010db800000000000000000000000120010db8000000000000"
		     "0000000000029c400035000b07ee000000"},
	{"ICMP echo", "10.0.0.1", "10.0.0.2", NULL,
		{.protocol = IPPROTO_ICMP,
			.ttl = 1,
			.vlan = -1,
			.icmp_type = 8,
			.identifier = 1,
			.payload_bytes = 8},
		MACS "08004500002400004000010165d70a0000010a000002"
		     "0800f7fd000100010000000000000000"},
	{"ICMPv6 echo", "2001:db8::1", "2001:db8::2", NULL,
		{.protocol = IPPROTO_ICMPV6,
			.ttl = 64,
			.vlan = -1,
			.icmp_type = 128,
			.identifier = 1},
		MACS "86dd6000000000083a4020010db800000000000000000000000120010db8000000000000"
		     "0000000000028000244600010001"},
	{"SCTP INIT", "10.0.0.1", "10.0.0.2", NULL,
		{.protocol = IPPROTO_SCTP,
			.ttl = 64,
			.vlan = -1,
			.source_port = 40000,
			.destination_port = 3868},
		MACS "08004500003400004000408426440a0000010a000002"
		     "9c400f1c000000007ae76fe60100001400000001000100000001000100000001"},
	{"another protocol", "10.0.0.1", "10.0.0.2", NULL,
		{.protocol = 47, .ttl = 64, .vlan = -1, .payload_bytes = 4},
		MACS "08004500001800004000402f26b50a0000010a00000200000000"},
	{"ARP", "10.0.0.1", "10.0.0.2", "ff:ff:ff:ff:ff:ff", {.kind = TRACE_ARP, .vlan = -1},
		"ffffffffffff02000000000108060001080006040001"
		"0200000000010a0000010000000000000a000002"},
	{"neighbour solicitation", "2001:db8::1", "2001:db8::2", "33:33:ff:00:00:02",
		{.kind = TRACE_ND, .vlan = -1, .ttl = 64},
		"3333ff00000202000000000186dd6000000000203aff20010db8000000000000000000000001ff02"
		"00000000000000000001ff00000287001c270000000020010db8000000000000000000000002"
		"0101020000000001"},
};

static void to_hex(const uint8_t *bytes, size_t n, char *text)
{
	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static void complete(const struct story *story, struct trace_packet *packet)
{
	*packet = story->packet;
	assert_true(mac_parse("02:00:00:00:00:01", packet->source_mac));
	assert_true(mac_parse(
		story->to_mac ? story->to_mac : "02:00:00:00:00:02", packet->destination_mac));
	assert_true(ip_address_parse(story->source, &packet->source));
	assert_true(ip_address_parse(story->destination, &packet->destination));
}

static void test_words_to_bytes(void **state)
{
	static uint8_t frame[TRACE_FRAME_MAX];
	char text[512] = "";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(stories); i++) {
		struct trace_packet packet;

		complete(&stories[i], &packet);
		memset(frame, 0xa5, sizeof(frame)); /* Nothing is left as it was. */
		size_t n = trace_packet_build(&packet, frame);
		assert_true(n && 2 * n < sizeof(text));
		to_hex(frame, n, text);
		if (strcmp(text, stories[i].bytes) != 0)
			fail_msg("%s: %s", stories[i].name, text);
	}
}

static void test_too_long(void **state)
{
	static uint8_t frame[TRACE_FRAME_MAX];
	struct trace_packet packet;

	(void)state;
	complete(&stories[2], &packet);
	packet.payload_bytes = TRACE_FRAME_MAX - 14 - 20 - 8;
	assert_int_equal(trace_packet_build(&packet, frame), TRACE_FRAME_MAX);
	packet.payload_bytes++;
	assert_int_equal(trace_packet_build(&packet, frame), 0);
	packet.payload_bytes = SIZE_MAX;
	assert_int_equal(trace_packet_build(&packet, frame), 0);
}

static void test_group_addresses(void **state)
{
	static const struct {
		const char *address, *mac; /* NULL: no group. */
	} table[] = {
		{"224.0.0.9", "01:00:5e:00:00:09"},
		{"239.255.1.2", "01:00:5e:7f:01:02"},
		{"255.255.255.255", "ff:ff:ff:ff:ff:ff"},
		{"ff02::1:ff00:2", "33:33:ff:00:00:02"},
		{"10.0.0.1", NULL},
		{"240.0.0.1", NULL},
		{"2001:db8::1", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct in6_addr address;
		uint8_t mac[6];
		char text[MAC_TEXT_MAX];

		assert_true(ip_address_parse(table[i].address, &address));
		assert_int_equal(trace_group_mac(&address, mac), table[i].mac != NULL);
		if (table[i].mac)
			assert_string_equal(mac_format(mac, text), table[i].mac);
	}
}

/* --- lines ---------------------------------------------------------------------------------- */

enum { WORDS_MAX = 16 };

/* What came of a command line. */
struct run {
	uint8_t frame[TRACE_FRAME_MAX];
	size_t n;
	enum cli_status status;
	char err[1024];
};

/* Reads the options of a line, whose words must not hold spaces. */
static void read_line(struct run *run, const char *line)
{
	char *copy = xstrdup(line), *save = NULL, *words[WORDS_MAX], *err = NULL;
	size_t err_size;
	struct cli cli = {.out = stdout, .err = open_memstream(&err, &err_size)};
	int n = 0;

	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[n++] = word;
	run->n = 0;
	run->status = cli_parse(&cli, n, words);
	if (run->status == CLI_OK)
		run->n = trace_read_options(&cli, run->frame, &run->status);
	fclose(cli.err);
	snprintf(run->err, sizeof(run->err), "%s", err);
	free(err);
	free(copy);
	cli_destroy(&cli);
}

static void test_hexadecimal(void **state)
{
	static const struct {
		const char *line;
		size_t n;
	} table[] = {
		{"cordon trace p --hex 00", 1},
		{"cordon trace p --hex 0011aAfF", 4},
		{"cordon trace p --hex 00:11:22", 3},
		{"cordon trace p --hex 0", 0},
		{"cordon trace p --hex 00:1", 0},
		{"cordon trace p --hex 0g", 0},
		{"cordon trace p --hex :", 0},
	};
	struct run *run = xmalloc(sizeof(*run));

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		read_line(run, table[i].line);
		assert_int_equal(run->n, table[i].n);
		assert_int_equal(run->status, table[i].n ? CLI_OK : CLI_USAGE);
		assert_int_equal(strstr(run->err, "two hexadecimal digits") != NULL, !table[i].n);
	}
	read_line(run, "cordon trace p --hex 0011aAfF");
	assert_memory_equal(run->frame, "\x00\x11\xaa\xff", 4);
	free(run);
}

static void test_which_packet(void **state)
{
	static const struct {
		const char *line, *message;
	} table[] = {
		{"cordon trace p", "say which packet"},
		{"cordon trace p --hex 00 --to 10.0.0.1", "one of them"},
		{"cordon trace p --hex 00 --pcap x", "one of them"},
		{"cordon trace p --pcap x --frame 0", "--frame '0'"},
		{"cordon trace", "needs PORT"},
	};
	struct run *run = xmalloc(sizeof(*run));

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		read_line(run, table[i].line);
		assert_int_equal(run->n, 0);
		assert_int_equal(run->status, CLI_USAGE);
		if (!strstr(run->err, table[i].message))
			fail_msg("%s: %s", table[i].line, run->err);
	}
	free(run);
}

/* --- captures ------------------------------------------------------------------------------- */

/* Little-endian, version 2.4; then the link type.  Ethernet's is 1. */
#define PCAP_HEADER(link)	   "\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\0\0\4\0" link "\0\0\0"
#define PCAP_FRAME(stored, length) "\1\0\0\0\0\0\0\0" stored "\0\0\0" length "\0\0\0"

static void test_captures(void **state)
{
	static const struct {
		const char *file;
		size_t n_file;
		const char *number;
		size_t n;
		enum cli_status status;
		const char *message;
	} table[] = {
#define FILE_OF(bytes) bytes, sizeof(bytes) - 1
		{FILE_OF(PCAP_HEADER("\1") PCAP_FRAME("\3", "\3") "abc"), "1", 3, CLI_OK, ""},
		{FILE_OF(PCAP_HEADER("\1")
				 PCAP_FRAME("\3", "\3") "abc" PCAP_FRAME("\2", "\2") "de"),
			"2", 2, CLI_OK, ""},
		{FILE_OF(PCAP_HEADER("\1") PCAP_FRAME("\3", "\3") "abc"), "2", 0, CLI_NOT_FOUND,
			"has 1 frames; there is no frame 2"},
		{FILE_OF(PCAP_HEADER("\1")), "1", 0, CLI_INVALID, "holds no frame"},
		{FILE_OF(PCAP_HEADER("\1") PCAP_FRAME("\3", "\7") "abc"), "1", 0, CLI_INVALID,
			"was cut off at 3 of 7 bytes"},
		{FILE_OF(PCAP_HEADER("\1") PCAP_FRAME("\0", "\0")), "1", 0, CLI_INVALID,
			"has 0 bytes"},
		{FILE_OF(PCAP_HEADER("\1") PCAP_FRAME("\7", "\7") "abc"), "1", 0, CLI_INVALID,
			"is damaged behind frame 0"},
		{FILE_OF(PCAP_HEADER("\x71")), "1", 0, CLI_INVALID, "link type LINUX_SLL"},
		{FILE_OF("no capture at all, but a text"), "1", 0, CLI_INVALID, "is no capture"},
		{FILE_OF(""), "1", 0, CLI_INVALID, "is no capture"},
	};
	struct run *run = xmalloc(sizeof(*run));
	char path[] = "/tmp/cordon-trace-test-XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		char *line =
			xasprintf("cordon trace p --pcap %s --frame %s", path, table[i].number);

		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, table[i].file, table[i].n_file, 0), table[i].n_file);
		read_line(run, line);
		if (run->status != table[i].status || !strstr(run->err, table[i].message))
			fail_msg("row %zu: %s", i, run->err);
		assert_int_equal(run->n, table[i].n);
		free(line);
	}
	close(fd);
	unlink(path);
	read_line(run, "cordon trace p --pcap /nowhere/to/be/found");
	assert_int_equal(run->status, CLI_NOT_FOUND);
	free(run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_to_bytes),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_group_addresses),
		cmocka_unit_test(test_hexadecimal),
		cmocka_unit_test(test_which_packet),
		cmocka_unit_test(test_captures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
