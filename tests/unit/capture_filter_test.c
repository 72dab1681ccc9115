/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters of captures: what libpcap compiles is accepted and finds its packets; what is no program
 * is refused by name, and nothing of it is executed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <pcap/pcap.h>

#include "datapath/capture_filter.h"

static const uint8_t mac_and_ipv4[] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};

/* A SYN from 10.0.0.1 to 10.0.0.2, port 443. */
static const uint8_t syn[54] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 40, 0, 0, 0,
	0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0,
	0x50, 2, 0xff, 0xff, 0, 0, 0, 0};

/* A SYN from fd00::1 to fd00::2, port 443. */
static const uint8_t syn6[74] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0,
	20, 6, 64, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 2, 0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff};

static struct capture_filter *compile(const char *text)
{
	pcap_t *dead = pcap_open_dead(DLT_EN10MB, 262144);
	struct bpf_program program;
	const char *why;

	assert_int_equal(pcap_compile(dead, &program, text, 1, PCAP_NETMASK_UNKNOWN), 0);
	struct capture_filter *filter =
		capture_filter_create(program.bf_insns, program.bf_len, &why);
	assert_non_null(filter);
	pcap_freecode(&program);
	pcap_close(dead);
	return filter;
}

static bool matches(const char *text, const uint8_t *frame, uint32_t bytes)
{
	struct capture_filter *filter = compile(text);
	bool accepts = capture_filter_accepts(filter, frame, bytes, bytes);

	capture_filter_destroy(filter);
	return accepts;
}

static void test_language(void **state)
{
	static const struct {
		const char *filter;
		bool ipv4, ipv6;
	} rows[] = {
		{"tcp port 443", true, true},
		{"tcp port 80", false, false},
		{"ip", true, false},
		{"ip6", false, true},
		{"host 10.0.0.2", true, false},
		{"src host 10.0.0.2", false, false},
		{"net fd00::/16", false, true},
		{"not tcp", false, false},
		{"ether src 02:00:00:00:00:01", true, true},
		{"tcp[tcpflags] & tcp-syn != 0", true, false},
		{"less 60", true, false},
		{"vlan 10", false, false},
		{"udp or icmp or arp", false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(matches(rows[i].filter, syn, sizeof(syn)), rows[i].ipv4);
		assert_int_equal(matches(rows[i].filter, syn6, sizeof(syn6)), rows[i].ipv6);
	}
}

/* What a filter reads lies behind the frame's end: it does not match, and reads nothing. */
static void test_short_frames(void **state)
{
	struct capture_filter *filter = compile("tcp port 443");

	(void)state;
	for (uint32_t n = 0; n < 38; n++)
		assert_false(capture_filter_accepts(filter, syn, n, n));
	assert_true(capture_filter_accepts(filter, syn, 38, sizeof(syn)));
	assert_false(capture_filter_accepts(filter, mac_and_ipv4, sizeof(mac_and_ipv4), 1500));
	capture_filter_destroy(filter);
}

static void test_none_accepts_all(void **state)
{
	(void)state;
	assert_true(capture_filter_accepts(NULL, syn, sizeof(syn), sizeof(syn)));
}

static void refuses(const struct bpf_insn *program, size_t n)
{
	const char *why = NULL;

	assert_null(capture_filter_create(program, n, &why));
	assert_non_null(why);
}

static void test_no_programs(void **state)
{
	static const struct bpf_insn no_return[] = {BPF_STMT(BPF_LD | BPF_IMM, 1)};
	static const struct bpf_insn beyond[] = {
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), BPF_STMT(BPF_RET | BPF_K, 1)};
	static const struct bpf_insn far_beyond[] = {
		BPF_STMT(BPF_JMP | BPF_JA, 0xfffffffe), BPF_STMT(BPF_RET | BPF_K, 1)};
	static const struct bpf_insn backwards[] = {
		BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff), BPF_STMT(BPF_RET | BPF_K, 1)};
	static const struct bpf_insn no_slot[] = {
		BPF_STMT(BPF_ST, BPF_MEMWORDS), BPF_STMT(BPF_RET | BPF_K, 1)};
	static const struct bpf_insn by_zero[] = {
		BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_A, 0)};
	static const struct bpf_insn unknown[] = {
		BPF_STMT(0xffff, 0), BPF_STMT(BPF_RET | BPF_K, 1)};
	static const struct bpf_insn no_operation[] = {
		BPF_STMT(BPF_MISC | 0x40, 0), BPF_STMT(BPF_RET | BPF_K, 1)};
	static const struct bpf_insn one[] = {BPF_STMT(BPF_RET | BPF_K, 1)};
	static struct bpf_insn many[CAPTURE_FILTER_MAX + 1];

	(void)state;
	refuses(one, 0);
	refuses(no_return, 1);
	refuses(beyond, 2);
	refuses(far_beyond, 2);
	refuses(backwards, 2);
	refuses(no_slot, 2);
	refuses(by_zero, 2);
	refuses(unknown, 2);
	refuses(no_operation, 2);
	for (size_t i = 0; i <= CAPTURE_FILTER_MAX; i++)
		many[i] = one[0];
	refuses(many, CAPTURE_FILTER_MAX + 1);
	const char *why;
	struct capture_filter *filter = capture_filter_create(many, CAPTURE_FILTER_MAX, &why);
	assert_non_null(filter);
	capture_filter_destroy(filter);
}

/* Scratch memory is read only where each way there has written it. */
static void test_scratch_memory(void **state)
{
	static const struct bpf_insn unwritten[] = {
		BPF_STMT(BPF_LD | BPF_MEM, 3), BPF_STMT(BPF_RET | BPF_A, 0)};
	static const struct bpf_insn one_way[] = {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_ST, 3), BPF_STMT(BPF_LDX | BPF_MEM, 3), BPF_STMT(BPF_RET | BPF_A, 0)};
	static const struct bpf_insn both_ways[] = {BPF_STMT(BPF_ST, 3),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_STX, 4),
		BPF_STMT(BPF_LD | BPF_MEM, 3), BPF_STMT(BPF_RET | BPF_A, 0)};
	const char *why;

	(void)state;
	refuses(unwritten, 2);
	refuses(one_way, 4);
	struct capture_filter *filter = capture_filter_create(both_ways, 5, &why);
	assert_non_null(filter);
	assert_false(capture_filter_accepts(filter, syn, sizeof(syn), sizeof(syn)));
	capture_filter_destroy(filter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_language),
		cmocka_unit_test(test_short_frames),
		cmocka_unit_test(test_none_accepts_all),
		cmocka_unit_test(test_no_programs),
		cmocka_unit_test(test_scratch_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
