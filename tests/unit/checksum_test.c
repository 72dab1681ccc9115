/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport checksums: right ones pass, one changed bit does not, wherever the frame is cut into
 * segments; and what is nobody's business here is left alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datapath/checksum.h"
#include "tests/unit/valid_frames.h"

enum { PIECES_MAX = 3 };

/* A frame in up to three segments, each in memory of its own that ends with it. */
struct chain {
	struct rte_mbuf segments[PIECES_MAX];
	struct packet packet;
};

static void chain_make(struct chain *chain, const struct frame *f, uint32_t cut, uint32_t cut_again)
{
	const uint32_t ends[PIECES_MAX] = {cut, cut_again, f->n};
	uint32_t at = 0;

	memset(chain, 0, sizeof(*chain));
	for (unsigned int i = 0; i < PIECES_MAX; i++) {
		struct rte_mbuf *segment = &chain->segments[i];
		uint32_t n = ends[i] - at;

		segment->buf_addr = malloc(n + (n == 0));
		assert_non_null(segment->buf_addr);
		memcpy(segment->buf_addr, f->bytes + at, n);
		segment->data_len = (uint16_t)n;
		segment->next = i + 1 < PIECES_MAX ? &chain->segments[i + 1] : NULL;
		at = ends[i];
	}
	chain->segments[0].pkt_len = f->n;
	chain->segments[0].nb_segs = PIECES_MAX;
	assert_string_equal(drop_name(packet_parse(f->bytes, f->n, f->n, &chain->packet)), "none");
}

static void chain_free(struct chain *chain)
{
	for (unsigned int i = 0; i < PIECES_MAX; i++)
		free(chain->segments[i].buf_addr);
}

static const char *verify(const struct frame *f, uint32_t cut, uint32_t cut_again)
{
	struct chain chain;

	chain_make(&chain, f, cut, cut_again);
	const char *name = drop_name(checksum_verify(&chain.segments[0], &chain.packet));
	chain_free(&chain);
	return name;
}

static const char *verify_whole(const struct frame *f)
{
	return verify(f, f->n, f->n);
}

/* --- What SCTP's is, bit by bit (RFC 9260, appendix A) --------------------------------------- */

static uint32_t crc32c(const uint8_t *bytes, uint32_t n)
{
	uint32_t crc = UINT32_MAX;

	for (uint32_t i = 0; i < 8 * n; i++) {
		if (i % 8 == 0)
			crc ^= bytes[i / 8];
		crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

static void fill_sctp(struct frame *f)
{
	frame_set32(f, f->l4 + 8, 0);
	uint32_t crc = crc32c(f->bytes + f->l4, f->n - f->l4);
	memcpy(f->bytes + f->l4 + 8, &crc, sizeof(crc));
}

static void make_sctp(struct frame *f, uint8_t chunk)
{
	make_sctp4(f);
	frame_fill(f, 35);
	f->bytes[f->l4 + 12] = chunk;
	frame_end(f);
	fill_sctp(f);
}

static void make_init4(struct frame *f)
{
	make_sctp(f, 1);
}

/* --- Tests ---------------------------------------------------------------------------------- */

static void make_icmp6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_ICMPV6);
	frame_icmp(f, 128, 0, 7, 9);
	frame_fill(f, 33);
	frame_end(f);
}

static const struct {
	void (*make)(struct frame *);
	const char *reason;
} kinds[] = {
	{make_tcp4, "tcp-checksum"},
	{make_tcp4_options, "tcp-checksum"},
	{make_tcp6, "tcp-checksum"},
	{make_udp4, "udp-checksum"},
	{make_udp6, "udp-checksum"},
	{make_echo4, "icmp-checksum"},
	{make_echo6, "icmp-checksum"},
	{make_icmp6, "icmp-checksum"},
	{make_solicitation6, "icmp-checksum"},
	{make_init4, "sctp-checksum"},
	{make_tagged4, NULL},
	{make_double_tagged6, NULL},
	{make_extended6, "tcp-checksum"},
	{make_atomic_fragment6, NULL},
};

/* However it is cut, behind its headers. */
static void test_right_ones_pass(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct frame f;

		kinds[i].make(&f);
		frame_zero(&f, 3); /* Ethernet's padding, which is not summed up. */
		f.bytes[f.n - 1] = 0x5a;
		assert_string_equal(verify_whole(&f), "none");
		for (uint32_t cut = f.l4 + 12; cut < f.n; cut++)
			for (uint32_t again = cut; again < f.n; again += 3)
				assert_string_equal(verify(&f, cut, again), "none");
	}
}

static void test_one_changed_bit_does_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct frame f;

		if (kinds[i].reason == NULL)
			continue;
		kinds[i].make(&f);
		for (uint32_t at = f.l4 + (f.protocol == IPPROTO_UDP ? 8 : 14); at < f.n; at++) {
			f.bytes[at] ^= 1u << at % 8;
			assert_string_equal(verify_whole(&f), kinds[i].reason);
			assert_string_equal(verify(&f, f.l4 + 12, f.n - 1), kinds[i].reason);
			f.bytes[at] ^= 1u << at % 8;
		}
		/* The addresses count too, but not in ICMP over IPv4, nor in SCTP. */
		if (f.protocol == IPPROTO_ICMP || f.protocol == IPPROTO_SCTP)
			continue;
		f.bytes[f.l3 + (f.bytes[f.l3] >> 4 == 4 ? 19 : 39)] ^= 1;
		if (f.bytes[f.l3] >> 4 == 4)
			frame_ip4_checksum(&f);
		assert_string_equal(verify_whole(&f), kinds[i].reason);
	}
}

static void test_udp_without_one(void **state)
{
	struct frame f;

	(void)state;
	make_udp4(&f);
	frame_set16(&f, f.l4 + 6, 0);
	assert_string_equal(verify_whole(&f), "none");
	make_udp6(&f);
	frame_set16(&f, f.l4 + 6, 0);
	assert_string_equal(verify_whole(&f), "none");
}

/* UDP options (RFC 9868): behind what the UDP length takes in. */
static void test_udp_ends_before_the_packet(void **state)
{
	struct frame f;

	(void)state;
	make_udp4(&f);
	frame_append(&f, "options!", 8);
	frame_set16(&f, f.l3 + 2, f.n - f.l3);
	frame_ip4_checksum(&f);
	assert_string_equal(verify_whole(&f), "none");
	f.bytes[f.n - 9] ^= 1;
	assert_string_equal(verify_whole(&f), "udp-checksum");
}

static void test_sctp_zero(void **state)
{
	struct frame f;

	(void)state;
	make_sctp(&f, 1); /* INIT: RFC 9653 has to be agreed on first. */
	frame_set32(&f, f.l4 + 8, 0);
	assert_string_equal(verify_whole(&f), "sctp-checksum");
	make_sctp(&f, 0); /* DATA. */
	frame_set32(&f, f.l4 + 8, 0);
	assert_string_equal(verify_whole(&f), "none");
	frame_set32(&f, f.l4 + 8, 1);
	assert_string_equal(verify_whole(&f), "sctp-checksum");
}

static void test_somebody_elses(void **state)
{
	static const struct {
		uint64_t mbuf;
		uint16_t packet;
		const char *reason;
	} cases[] = {
		{RTE_MBUF_F_TX_TCP_CKSUM, 0, "none"},
		{RTE_MBUF_F_TX_UDP_CKSUM, 0, "none"},
		{RTE_MBUF_F_RX_L4_CKSUM_GOOD, 0, "none"},
		{RTE_MBUF_F_RX_L4_CKSUM_NONE, 0, "none"},
		{RTE_MBUF_F_RX_L4_CKSUM_BAD, 0, "tcp-checksum"},
		{RTE_MBUF_F_RX_IP_CKSUM_GOOD, 0, "tcp-checksum"},
		{0, PACKET_CHECKSUM_PARTIAL, "none"},
		{0, PACKET_FRAGMENT_FIRST, "none"},
		{0, PACKET_GROUP, "tcp-checksum"},
	};
	struct chain chain;
	struct frame f;

	(void)state;
	make_tcp4(&f);
	f.bytes[f.l4 + 16] ^= 1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		chain_make(&chain, &f, f.n, f.n);
		chain.segments[0].ol_flags = cases[i].mbuf;
		chain.packet.flags |= cases[i].packet;
		assert_string_equal(drop_name(checksum_verify(&chain.segments[0], &chain.packet)),
			cases[i].reason);
		chain_free(&chain);
	}
}

static void test_what_has_none(void **state)
{
	static void (*const make[])(struct frame *) = {make_gre4, make_arp, make_lldp, make_llc,
		make_first_fragment4, make_last_fragment4, make_first_fragment6,
		make_last_fragment6};
	struct frame f;

	(void)state;
	for (size_t i = 0; i < sizeof(make) / sizeof(make[0]); i++) {
		make[i](&f);
		assert_string_equal(verify_whole(&f), "none");
	}
}

/* Mobile IPv6 sums up the home address, which is not in the IP header. */
static void test_mobile_addresses(void **state)
{
	static const uint8_t home[22] = {1, 2, 0, 0, 0xc9, 16, 0x20, 0x01, 0x0d, 0xb8, 1};
	static const uint8_t no_home[22] = {1, 2, 0, 0, 0x1e, 16, 0x20, 0x01, 0x0d, 0xb8, 1};
	static const uint8_t routing[22] = {2, 1, 0, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 2};
	const struct {
		uint8_t kind;
		const uint8_t *body;
		const char *reason;
	} cases[] = {
		{IPPROTO_DSTOPTS, home, "none"},
		{IPPROTO_DSTOPTS, no_home, "udp-checksum"},
		{IPPROTO_HOPOPTS, home, "udp-checksum"},
		{IPPROTO_ROUTING, routing, "none"},
	};
	struct frame f;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		frame_begin(&f, MAC_B, MAC_A);
		frame_ip6(&f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
		frame_extension(&f, cases[i].kind, 24, cases[i].body);
		frame_udp(&f, 1000, 53);
		frame_fill(&f, 5);
		frame_end(&f);
		assert_string_equal(verify_whole(&f), "none");
		f.bytes[f.l4 + 6] ^= 1;
		assert_string_equal(verify_whole(&f), cases[i].reason);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right_ones_pass),
		cmocka_unit_test(test_one_changed_bit_does_not),
		cmocka_unit_test(test_udp_without_one),
		cmocka_unit_test(test_udp_ends_before_the_packet),
		cmocka_unit_test(test_sctp_zero),
		cmocka_unit_test(test_somebody_elses),
		cmocka_unit_test(test_what_has_none),
		cmocka_unit_test(test_mobile_addresses),
	};

	return cmocka_run_group_tests_name("checksum", tests, NULL, NULL);
}
