/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Later fragments get the key of their first one, and nobody else's; entries end in time; no port
 * can take the table for itself.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datapath/fragment.h"
#include "tests/unit/valid_frames.h"

enum { ENTRIES = 64, NOW = 1000 };

static struct packet parse(const struct frame *f, uint16_t in_port)
{
	struct packet packet;

	assert_string_equal(drop_name(packet_parse(f->bytes, f->n, f->n, &packet)), "none");
	packet.key.in_port = in_port;
	packet.key.net = 10;
	return packet;
}

/* A fragment of `bytes` bytes of payload from 10.0.0.1 to 10.0.0.2, which came in by port 1; a
 * first one goes from port 1000 to port 53. */
static struct packet udp4_fragment(uint32_t id, uint32_t offset, uint32_t bytes, int more)
{
	struct frame f;

	frame_begin(&f, MAC_B, MAC_A);
	frame_ip4(&f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP);
	frame_ip4_fragment(&f, id, offset, more);
	if (offset == 0) {
		frame_udp(&f, 1000, 53);
		bytes -= 8;
	}
	frame_fill(&f, bytes);
	frame_end(&f);
	return parse(&f, 1);
}

static void assert_reason(enum drop_reason reason, const char *expected)
{
	assert_string_equal(drop_name(reason), expected);
}

static int set_up(void **state)
{
	*state = fragment_table_create(ENTRIES);
	return *state == NULL;
}

static int tear_down(void **state)
{
	fragment_table_destroy(*state);
	return 0;
}

static void test_create(void **state)
{
	(void)state;
	assert_null(fragment_table_create(15));
	assert_int_equal(errno, EINVAL);
	assert_null(fragment_table_create((1 << 24) + 1));
	fragment_table_destroy(NULL);
}

static void test_same_key(void **state)
{
	struct packet first = udp4_fragment(7, 0, 1480, 1), later = udp4_fragment(7, 1480, 1480, 1);

	assert_reason(fragment_note_first(*state, &first, NOW), "none");
	assert_memory_not_equal(&first.key, &later.key, sizeof(later.key));
	assert_reason(fragment_find(*state, &later, NOW), "none");
	assert_memory_equal(&first.key, &later.key, sizeof(later.key));
	later = udp4_fragment(7, 2960, 100, 0);
	assert_reason(fragment_find(*state, &later, NOW), "none");
	assert_memory_equal(&first.key, &later.key, sizeof(later.key));
}

/* When all bytes have passed, in whatever order behind the first, the entry is free again. */
static void test_complete(void **state)
{
	struct packet first = udp4_fragment(7, 0, 80, 1), middle = udp4_fragment(7, 80, 80, 1),
		      last = udp4_fragment(7, 160, 10, 0);

	assert_reason(fragment_note_first(*state, &first, NOW), "none");
	assert_reason(fragment_find(*state, &last, NOW), "none");
	assert_int_equal(fragment_count(*state), 1);
	assert_reason(fragment_find(*state, &middle, NOW), "none");
	assert_int_equal(fragment_count(*state), 0);
	assert_reason(fragment_find(*state, &last, NOW), "fragment-no-first");
}

/* In nothing that identifies a datagram may two fragments differ. */
static void test_other_datagram(void **state)
{
	struct packet first = udp4_fragment(7, 0, 80, 1), later = udp4_fragment(8, 80, 80, 1);

	assert_reason(fragment_find(*state, &later, NOW), "fragment-no-first");
	assert_reason(fragment_note_first(*state, &first, NOW), "none");
	assert_reason(fragment_find(*state, &later, NOW), "fragment-no-first");
	later = udp4_fragment(7, 80, 80, 1);
	later.key.in_port = 2;
	assert_reason(fragment_find(*state, &later, NOW), "fragment-no-first");
	later = udp4_fragment(7, 80, 80, 1);
	later.key.net = 11;
	assert_reason(fragment_find(*state, &later, NOW), "fragment-no-first");
	later = udp4_fragment(7, 80, 80, 1);
	later.protocol = later.key.protocol = IPPROTO_TCP;
	assert_reason(fragment_find(*state, &later, NOW), "fragment-no-first");
	later = udp4_fragment(7, 80, 80, 1);
	later.key.source.s6_addr[15] = 99;
	assert_reason(fragment_find(*state, &later, NOW), "fragment-no-first");
	later = udp4_fragment(7, 80, 80, 1);
	assert_reason(fragment_find(*state, &later, NOW), "none");
}

/* RFC 1858: a later fragment that would write other ports over the first one's. */
static void test_overlap(void **state)
{
	struct packet first = udp4_fragment(7, 0, 80, 1), later = udp4_fragment(7, 8, 80, 1);

	assert_reason(fragment_note_first(*state, &first, NOW), "none");
	assert_reason(fragment_find(*state, &later, NOW), "fragment-overlap");
	later = udp4_fragment(7, 72, 80, 1);
	assert_reason(fragment_find(*state, &later, NOW), "fragment-overlap");
	later = udp4_fragment(7, 80, 80, 1);
	assert_reason(fragment_find(*state, &later, NOW), "none");
}

static void test_expiry(void **state)
{
	struct packet first = udp4_fragment(7, 0, 80, 1), later = udp4_fragment(7, 80, 80, 1);

	assert_reason(fragment_note_first(*state, &first, NOW), "none");
	assert_reason(fragment_find(*state, &later, NOW + FRAGMENT_SECONDS - 1), "none");
	assert_reason(fragment_find(*state, &later, NOW + FRAGMENT_SECONDS), "fragment-no-first");
	assert_int_equal(fragment_count(*state), 0);

	/* Over the clock's wrap-around too. */
	assert_reason(fragment_note_first(*state, &first, UINT32_MAX - 3), "none");
	assert_reason(fragment_find(*state, &later, 5), "none");
	assert_reason(fragment_find(*state, &later, 5 + FRAGMENT_SECONDS), "fragment-no-first");
}

/* The same identification again, with other ports: the later fragments go by the newest. */
static void test_reused_id(void **state)
{
	struct packet old = udp4_fragment(7, 0, 80, 1), young = udp4_fragment(7, 0, 80, 1);
	struct packet later = udp4_fragment(7, 80, 80, 1);

	young.key.destination_port = htons(4444);
	assert_reason(fragment_note_first(*state, &old, NOW), "none");
	assert_reason(fragment_note_first(*state, &young, NOW + 1), "none");
	assert_int_equal(fragment_count(*state), 1);
	assert_reason(fragment_find(*state, &later, NOW + FRAGMENT_SECONDS), "none");
	assert_int_equal(ntohs(later.key.destination_port), 4444);
}

/* One port alone gets half of the table; the next one half of the rest. */
static void test_shares(void **state)
{
	enum { PORTS = 4 };
	unsigned int held[PORTS] = {0}, total = 0;

	for (uint16_t port = 0; port < PORTS; port++)
		for (uint32_t id = 0; id < ENTRIES; id++) {
			struct packet first = udp4_fragment(id, 0, 80, 1);
			first.key.in_port = port;
			if (fragment_note_first(*state, &first, NOW) == DROP_NONE)
				held[port]++;
			else
				assert_reason(fragment_note_first(*state, &first, NOW),
					"fragment-table-full");
		}
	for (uint16_t port = 0; port < PORTS; port++) {
		assert_in_range(held[port], ENTRIES >> (port + 1), ENTRIES >> (port + 1));
		total += held[port];
	}
	assert_int_equal(fragment_count(*state), total);

	/* And when their time is over, all is free again. */
	struct packet first = udp4_fragment(1, 0, 80, 1);
	assert_reason(fragment_note_first(*state, &first, NOW + FRAGMENT_SECONDS), "none");
	assert_int_equal(fragment_count(*state), 1);
}

/* Fills and clears the table in every order many times, against a plain list of what must be in
 * it. */
static void test_against_model(void **state)
{
	enum { IDS = 48, STEPS = 200000 };
	uint32_t expires[IDS] = {0}, now = NOW;
	size_t count = 0;

	srandom(1);
	for (unsigned int step = 0; step < STEPS; step++) {
		uint32_t id = (uint32_t)random() % IDS;
		if (random() % 16 == 0)
			now += (uint32_t)random() % 8;
		struct packet first = udp4_fragment(id, 0, 80, 1);
		struct packet last = udp4_fragment(id, 80, 80, 0);
		bool there = expires[id] > now;

		if (random() % 2 == 0) {
			assert_int_equal(fragment_find(*state, &last, now),
				there ? DROP_NONE : DROP_FRAGMENT_NO_FIRST);
			expires[id] = 0;
			continue;
		}
		count = 0;
		for (unsigned int i = 0; i < IDS; i++)
			count += i != id && expires[i] > now;
		bool room = count < ENTRIES - count;
		assert_int_equal(fragment_note_first(*state, &first, now),
			room ? DROP_NONE : DROP_FRAGMENT_TABLE_FULL);
		assert_int_equal(fragment_count(*state), count + room);
		expires[id] = room ? now + FRAGMENT_SECONDS : 0;
	}
}

/* In IPv6 only the first fragment says what the protocol is: the chain of headers may go on behind
 * the fragment header. */
static void test_ip6(void **state)
{
	static const uint8_t pad[6] = {1, 4};
	struct frame f;

	frame_begin(&f, MAC_B, MAC_A);
	frame_ip6(&f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_ip6_fragment(&f, 99, 0, 1);
	frame_extension(&f, IPPROTO_DSTOPTS, 8, pad);
	frame_udp(&f, 1000, 53);
	frame_end(&f);
	struct packet first = parse(&f, 1);
	assert_int_equal(first.flags, PACKET_FRAGMENT_FIRST);
	frame_begin(&f, MAC_B, MAC_A);
	frame_ip6(&f, "2001:db8::1", "2001:db8::2", IPPROTO_DSTOPTS);
	frame_ip6_fragment(&f, 99, 16, 0);
	frame_fill(&f, 9);
	frame_end(&f);
	struct packet later = parse(&f, 1);
	assert_int_equal(later.protocol, IPPROTO_DSTOPTS);
	assert_reason(fragment_note_first(*state, &first, NOW), "none");
	assert_reason(fragment_find(*state, &later, NOW), "none");
	assert_memory_equal(&first.key, &later.key, sizeof(later.key));
	assert_int_equal(later.protocol, IPPROTO_UDP);
}

static void test_icmp(void **state)
{
	struct frame f;

	frame_begin(&f, MAC_B, MAC_A);
	frame_ip4(&f, "10.0.0.1", "10.0.0.2", IPPROTO_ICMP);
	frame_ip4_fragment(&f, 5, 0, 1);
	frame_icmp(&f, 8, 0, 0x77, 1);
	frame_end(&f);
	struct packet first = parse(&f, 1);
	frame_begin(&f, MAC_B, MAC_A);
	frame_ip4(&f, "10.0.0.1", "10.0.0.2", IPPROTO_ICMP);
	frame_ip4_fragment(&f, 5, 8, 0);
	frame_fill(&f, 100);
	frame_end(&f);
	struct packet later = parse(&f, 1);
	assert_reason(fragment_note_first(*state, &first, NOW), "none");
	assert_reason(fragment_find(*state, &later, NOW), "none");
	assert_memory_equal(&first.key, &later.key, sizeof(later.key));
	assert_int_equal(later.icmp_type, 8);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create),
		TEST(test_same_key),
		TEST(test_complete),
		TEST(test_other_datagram),
		TEST(test_overlap),
		TEST(test_expiry),
		TEST(test_reused_id),
		TEST(test_shares),
		TEST(test_against_model),
		TEST(test_ip6),
		TEST(test_icmp),
	};

	return cmocka_run_group_tests_name("fragment", tests, NULL, NULL);
}
