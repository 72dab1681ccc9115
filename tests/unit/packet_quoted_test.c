/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is found quoted in ICMP errors, and what is not taken for a quote.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datapath/packet.h"
#include "tests/unit/valid_frames.h"

static struct packet parse(const struct frame *f)
{
	struct packet packet;

	assert_string_equal(drop_name(packet_parse(f->bytes, f->n, f->n, &packet)), "none");
	return packet;
}

/* --- Quoted packets ------------------------------------------------------------------------- */

/* An ICMP error from 10.0.0.254 to 10.0.0.1 that quotes the first n_quoted bytes of `inner`'s IP
 * packet. */
static void make_error4(struct frame *f, const struct frame *inner, uint32_t n_quoted)
{
	frame_begin(f, MAC_A, MAC_B);
	frame_ip4(f, "10.0.0.254", "10.0.0.1", IPPROTO_ICMP);
	frame_icmp(f, 3, 4, 0, 1400);
	frame_append(f, inner->bytes + inner->l3, n_quoted);
	frame_end(f);
}

static void make_error6(struct frame *f, const struct frame *inner, uint32_t n_quoted)
{
	frame_begin(f, MAC_A, MAC_B);
	frame_ip6(f, "2001:db8::fe", "2001:db8::1", IPPROTO_ICMPV6);
	frame_icmp(f, 2, 0, 0, 1280);
	frame_append(f, inner->bytes + inner->l3, n_quoted);
	frame_end(f);
}

static bool parse_quoted(const struct frame *f, struct packet *quoted)
{
	struct packet packet = parse(f);
	uint8_t *copy = malloc(f->n);

	assert_non_null(copy);
	memcpy(copy, f->bytes, f->n);
	bool found = packet_parse_quoted(copy, f->n, &packet, quoted);
	free(copy);
	return found;
}

/* The quote's key is the one that the quoted packet itself had. */
static void test_quoted(void **state)
{
	static void (*const make4[])(struct frame *) = {make_udp4, make_tcp4, make_tcp4_options,
		make_echo4, make_sctp4, make_gre4, make_first_fragment4};
	static void (*const make6[])(struct frame *) = {make_udp6, make_tcp6, make_echo6,
		make_extended6, make_first_fragment6, make_atomic_fragment6};
	struct frame inner, f;
	struct packet quoted;

	(void)state;
	for (size_t i = 0; i < sizeof(make4) / sizeof(make4[0]); i++) {
		make4[i](&inner);
		struct packet packet = parse(&inner);
		make_error4(&f, &inner, inner.l4 - inner.l3 + 8);
		assert_true(parse_quoted(&f, &quoted));
		assert_memory_equal(&quoted.key, &packet.key, sizeof(quoted.key));
		assert_int_equal(quoted.protocol, packet.protocol);
		assert_int_equal(quoted.l4_offset, f.n - 8);
	}
	for (size_t i = 0; i < sizeof(make6) / sizeof(make6[0]); i++) {
		make6[i](&inner);
		struct packet packet = parse(&inner);
		make_error6(&f, &inner, inner.l4 - inner.l3 + 8);
		assert_true(parse_quoted(&f, &quoted));
		assert_memory_equal(&quoted.key, &packet.key, sizeof(quoted.key));
		assert_int_equal(quoted.icmp_type, packet.icmp_type);
	}
}

/* A quote that is cut off within its first eight bytes of transport header is of no use. */
static void test_quoted_truncated(void **state)
{
	struct frame inner, f;
	struct packet quoted;

	(void)state;
	make_tcp4_options(&inner);
	for (uint32_t n = 0; n <= 36; n++) {
		make_error4(&f, &inner, n);
		assert_int_equal(parse_quoted(&f, &quoted), n == 36);
	}
	make_extended6(&inner);
	for (uint32_t n = 0; n <= 128; n++) {
		make_error6(&f, &inner, n);
		assert_int_equal(parse_quoted(&f, &quoted), n == 128);
	}
}

static void test_quoted_refused(void **state)
{
	struct frame inner, f;
	struct packet quoted;

	(void)state;
	make_last_fragment4(&inner);
	make_error4(&f, &inner, 36);
	assert_false(parse_quoted(&f, &quoted));
	make_last_fragment6(&inner);
	make_error6(&f, &inner, 64);
	assert_false(parse_quoted(&f, &quoted));

	/* An error about an error. */
	make_echo4(&inner);
	inner.bytes[inner.l4] = 3;
	make_error4(&f, &inner, 40);
	assert_false(parse_quoted(&f, &quoted));

	/* Not sent by the error's receiver. */
	make_udp4(&inner);
	inner.bytes[inner.l3 + 15] = 99;
	make_error4(&f, &inner, 40);
	assert_false(parse_quoted(&f, &quoted));

	/* No error at all. */
	make_echo4(&f);
	assert_false(parse_quoted(&f, &quoted));

	/* Neither version 4 within ICMP nor 6 within ICMPv6. */
	make_udp6(&inner);
	make_error4(&f, &inner, 48);
	assert_false(parse_quoted(&f, &quoted));
	make_udp4(&inner);
	make_error6(&f, &inner, 48);
	assert_false(parse_quoted(&f, &quoted));
}

/* RFC 4884: behind the length that the message tells, there is no quote. */
static void test_quoted_with_extensions(void **state)
{
	static const struct {
		uint8_t type, words; /* Of four bytes; of eight in ICMPv6. */
		bool found;
	} cases4[] = {{3, 0, true}, {3, 32, true}, {11, 33, true}, {3, 40, true}, {3, 255, true},
		/* Less than 128 bytes: the field of a host that knows no extensions. */
		{3, 1, true}, {12, 31, true}},
	  cases6[] = {{1, 0, true}, {1, 16, true}, {3, 20, true}, {1, 15, true},
		  {2, 255, true} /* It is the MTU. */};
	struct frame inner, f;
	struct packet quoted;

	(void)state;
	make_udp4(&inner);
	frame_fill(&inner, 200);
	frame_end(&inner);
	for (size_t i = 0; i < sizeof(cases4) / sizeof(cases4[0]); i++) {
		make_error4(&f, &inner, 160);
		f.bytes[f.l4] = cases4[i].type;
		f.bytes[f.l4 + 5] = cases4[i].words;
		assert_int_equal(parse_quoted(&f, &quoted), cases4[i].found);
	}
	make_udp6(&inner);
	frame_fill(&inner, 200);
	frame_end(&inner);
	for (size_t i = 0; i < sizeof(cases6) / sizeof(cases6[0]); i++) {
		make_error6(&f, &inner, 160);
		f.bytes[f.l4] = cases6[i].type;
		f.bytes[f.l4 + 4] = cases6[i].words;
		assert_int_equal(parse_quoted(&f, &quoted), cases6[i].found);
	}
	/* Extension headers that go on behind the 128 bytes, where other things are. */
	frame_begin(&inner, MAC_B, MAC_A);
	frame_ip6(&inner, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_extension(&inner, IPPROTO_DSTOPTS, 88, NULL);
	frame_udp(&inner, 1000, 53);
	frame_fill(&inner, 40);
	frame_end(&inner);
	make_error6(&f, &inner, 176);
	f.bytes[f.l4] = 1;
	assert_true(parse_quoted(&f, &quoted));
	f.bytes[f.l4 + 4] = 17;
	assert_true(parse_quoted(&f, &quoted));
	f.bytes[f.l4 + 4] = 16;
	assert_false(parse_quoted(&f, &quoted));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quoted),
		cmocka_unit_test(test_quoted_truncated),
		cmocka_unit_test(test_quoted_refused),
		cmocka_unit_test(test_quoted_with_extensions),
	};

	return cmocka_run_group_tests_name("packet_quoted", tests, NULL, NULL);
}
