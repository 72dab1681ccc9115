/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spoof guard: a table of what a vNIC with the MAC ...:0a and the addresses 10.0.0.1 and
 * 2001:db8::1 may and may not send.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datapath/spoof.h"
#include "zones/address.h"
#include "tests/unit/frame.h"

static const uint8_t macs[][6] = {{0x02, 0, 0, 0, 0, 0x77}, {0x02, 0, 0, 0, 0, 0x0a}};
#define MAC_ALL_NODES ((const uint8_t[6]){0x33, 0x33, 0, 0, 0, 1})
/* What MAC_A makes of itself. */
#define EUI64_A "fe80::ff:fe00:a"

struct addresses {
	struct in6_addr at[4];
	size_t n;
};

static void add_address(struct addresses *addresses, const char *text)
{
	assert_int_equal(inet_pton(AF_INET6, text, &addresses->at[addresses->n++]), 1);
}

/* Checks a frame, whose bytes lie in a buffer without a byte more. */
static enum drop_reason check_with(const struct spoof_binding *binding, const struct frame *f)
{
	uint8_t *copy = malloc(f->n);
	struct packet packet;
	struct in6_addr claimed;

	assert_non_null(copy);
	memcpy(copy, f->bytes, f->n);
	assert_string_equal(drop_name(packet_parse(copy, f->n, f->n, &packet)), "none");
	enum drop_reason reason = spoof_check(binding, copy, f->n, &packet);
	spoof_claim(copy, f->n, &packet, &claimed);
	free(copy);
	return reason;
}

static struct spoof_binding binding_of(const struct addresses *addresses)
{
	return (struct spoof_binding){
		.macs = macs,
		.n_macs = 2,
		.addresses = addresses->at,
		.n_addresses = addresses->n,
	};
}

/* Checks a frame of the vNIC with its two addresses. */
static const char *check(const struct frame *f)
{
	struct addresses addresses = {0};

	add_address(&addresses, "::ffff:10.0.0.1");
	add_address(&addresses, "2001:db8::1");
	struct spoof_binding binding = binding_of(&addresses);
	return drop_name(check_with(&binding, f));
}

/* --- Addresses ------------------------------------------------------------------------------ */

static void make_udp4(struct frame *f, const uint8_t source_mac[6], const char *source,
	uint32_t source_port, const char *destination, uint32_t destination_port)
{
	frame_begin(f, MAC_B, source_mac);
	frame_ip4(f, source, destination, IPPROTO_UDP);
	frame_udp(f, source_port, destination_port);
	frame_fill(f, 10);
	frame_end(f);
}

static void make_udp6(struct frame *f, const char *source)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, source, "2001:db8::2", IPPROTO_UDP);
	frame_udp(f, 1000, 53);
	frame_end(f);
}

static void test_mac(void **state)
{
	struct addresses none = {0};
	struct spoof_binding binding = binding_of(&none);
	struct frame f;

	(void)state;
	make_udp4(&f, MAC_A, "10.0.0.1", 1000, "10.0.0.2", 53);
	assert_string_equal(check(&f), "none");
	make_udp4(&f, macs[0], "10.0.0.1", 1000, "10.0.0.2", 53);
	assert_string_equal(check(&f), "none");
	make_udp4(&f, MAC_B, "10.0.0.1", 1000, "10.0.0.2", 53);
	assert_string_equal(check(&f), "spoofed-mac");
	frame_begin(&f, MAC_A, MAC_B);
	frame_type(&f, 0x88b5);
	frame_fill(&f, 46);
	assert_string_equal(check(&f), "spoofed-mac");
	binding.n_macs = 0;
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
}

static void test_addresses(void **state)
{
	struct addresses none = {0};
	struct spoof_binding binding = binding_of(&none);
	struct frame f;

	(void)state;
	make_udp4(&f, MAC_A, "10.0.0.9", 1000, "10.0.0.2", 53);
	assert_string_equal(check(&f), "spoofed-address");
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
	make_udp6(&f, "2001:db8::1");
	assert_string_equal(check(&f), "none");
	make_udp6(&f, "2001:db8::9");
	assert_string_equal(check(&f), "spoofed-address");
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
	make_udp6(&f, "::");
	assert_string_equal(check(&f), "spoofed-address");
}

/* Fragments without ports are judged by their addresses like anything else. */
static void test_later_fragment(void **state)
{
	struct frame f;

	(void)state;
	frame_begin(&f, MAC_B, MAC_A);
	frame_ip4(&f, "10.0.0.1", "10.0.0.2", IPPROTO_ICMP);
	frame_ip4_fragment(&f, 1, 800, 0);
	frame_fill(&f, 10);
	frame_end(&f);
	assert_string_equal(check(&f), "none");
	inet_pton(AF_INET, "10.0.0.9", f.bytes + f.l3 + 12);
	frame_ip4_checksum(&f);
	assert_string_equal(check(&f), "spoofed-address");
}

static void test_dhcp(void **state)
{
	struct frame f;

	(void)state;
	make_udp4(&f, MAC_A, "0.0.0.0", 68, "255.255.255.255", 67);
	assert_string_equal(check(&f), "none");
	make_udp4(&f, MAC_A, "0.0.0.0", 67, "255.255.255.255", 68);
	assert_string_equal(check(&f), "spoofed-address");
	make_udp4(&f, MAC_A, "0.0.0.0", 68, "10.0.0.2", 67);
	assert_string_equal(check(&f), "spoofed-address");
	make_udp4(&f, MAC_A, "0.0.0.0", 68, "255.255.255.255", 69);
	assert_string_equal(check(&f), "spoofed-address");
	make_udp4(&f, MAC_B, "0.0.0.0", 68, "255.255.255.255", 67);
	assert_string_equal(check(&f), "spoofed-mac");
	frame_begin(&f, MAC_B, MAC_A);
	frame_ip4(&f, "0.0.0.0", "224.0.0.22", IPPROTO_IGMP);
	frame_fill(&f, 16);
	frame_end(&f);
	assert_string_equal(check(&f), "none");
}

static void test_link_local(void **state)
{
	struct addresses addresses = {0};
	struct frame f;

	(void)state;
	/* Any one, since it may be a random one. */
	make_udp6(&f, "fe80::abcd");
	assert_string_equal(check(&f), "none");
	make_udp6(&f, EUI64_A);
	assert_string_equal(check(&f), "none");

	/* Once one is configured, that one and the MAC's. */
	add_address(&addresses, "2001:db8::1");
	add_address(&addresses, "fe80::1");
	struct spoof_binding binding = binding_of(&addresses);
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
	make_udp6(&f, "fe80::1");
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
	make_udp6(&f, "fe80::abcd");
	assert_int_equal(check_with(&binding, &f), DROP_SPOOFED_ADDRESS);
	make_udp6(&f, "fe80::ff:fe00:b");
	assert_int_equal(check_with(&binding, &f), DROP_SPOOFED_ADDRESS);
}

/* --- ARP ------------------------------------------------------------------------------------ */

struct arp_row {
	const char *expected;
	uint32_t operation;
	uint8_t sender_mac_end; /* Last byte; the rest is as MAC_A's. */
	const char *sender, *target;
};

static const struct arp_row arp_rows[] = {
	{"none", 1, 0x0a, "10.0.0.1", "10.0.0.2"}, {"none", 2, 0x0a, "10.0.0.1", "10.0.0.2"},
	{"none", 1, 0x0a, "10.0.0.1", "10.0.0.1"},	    /* Announcement. */
	{"none", 1, 0x0a, "0.0.0.0", "10.0.0.1"},	    /* Probe (RFC 5227). */
	{"spoofed-arp", 1, 0x0a, "0.0.0.0", "10.0.0.2"},    /* Makes another give its address up. */
	{"spoofed-arp", 2, 0x0a, "0.0.0.0", "10.0.0.1"},    /* A reply of nobody. */
	{"spoofed-arp", 2, 0x0a, "10.0.0.254", "10.0.0.2"}, /* I am the gateway. */
	{"spoofed-arp", 1, 0x0a, "10.0.0.254", "10.0.0.2"},
	{"spoofed-arp", 2, 0x0b, "10.0.0.1", "10.0.0.2"},
	{"spoofed-arp", 1, 0x77, "10.0.0.1", "10.0.0.2"}, /* Its own, but not the frame's. */
};

static void test_arp(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(arp_rows) / sizeof(arp_rows[0]); i++) {
		const struct arp_row *row = &arp_rows[i];
		const uint8_t sender[6] = {0x02, 0, 0, 0, 0, row->sender_mac_end};
		struct frame f;

		frame_begin(&f, MAC_ALL, MAC_A);
		frame_arp(&f, row->operation, sender, row->sender, MAC_B, row->target);
		if (strcmp(check(&f), row->expected) != 0)
			fail_msg("row %zu: %s instead of %s", i, check(&f), row->expected);
	}
}

/* Without configured addresses any may be claimed, but by the frame's own MAC. */
static void test_arp_unbound(void **state)
{
	struct addresses none = {0};
	struct spoof_binding binding = binding_of(&none);
	struct frame f;

	(void)state;
	frame_begin(&f, MAC_ALL, MAC_A);
	frame_arp(&f, 2, MAC_A, "10.0.0.254", MAC_B, "10.0.0.2");
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
	frame_begin(&f, MAC_ALL, MAC_A);
	frame_arp(&f, 2, MAC_B, "10.0.0.254", MAC_B, "10.0.0.2");
	assert_int_equal(check_with(&binding, &f), DROP_SPOOFED_ARP);
}

/* --- Neighbour discovery -------------------------------------------------------------------- */

enum { NO_OPTION, SOURCE_OPTION = 1, TARGET_OPTION = 2 };

static void add_option(struct frame *f, uint8_t type, const uint8_t *mac)
{
	uint8_t *option = frame_zero(f, 8);

	option[0] = type;
	option[1] = 1;
	memcpy(option + 2, mac, 6);
}

static void make_nd(struct frame *f, uint8_t type, const char *source, const char *target,
	uint8_t option, const uint8_t *option_mac)
{
	frame_begin(f, MAC_ALL_NODES, MAC_A);
	frame_ip6(f, source, "ff02::1", IPPROTO_ICMPV6);
	frame_icmp(f, type, 0, 0, 0);
	if (target != NULL)
		inet_pton(AF_INET6, target, frame_zero(f, 16));
	if (type == 134)
		frame_zero(f, 8);
	if (type == 137)
		frame_zero(f, 16);
	if (option != NO_OPTION)
		add_option(f, option, option_mac);
	frame_end(f);
}

struct nd_row {
	const char *expected;
	uint8_t type;
	const char *source, *target;
	uint8_t option;
	bool others_mac; /* In the option. */
};

static const struct nd_row nd_rows[] = {
	/* Solicitations ask about anyone, but as themselves. */
	{"none", 135, "2001:db8::1", "2001:db8::2", SOURCE_OPTION, false},
	{"none", 135, "fe80::abcd", "2001:db8::2", SOURCE_OPTION, false},
	{"none", 135, "2001:db8::1", "2001:db8::2", NO_OPTION, false},
	{"spoofed-nd", 135, "2001:db8::1", "2001:db8::2", SOURCE_OPTION, true},
	{"spoofed-address", 135, "2001:db8::9", "2001:db8::2", SOURCE_OPTION, false},
	/* Duplicate address detection asks for one's own. */
	{"none", 135, "::", "2001:db8::1", NO_OPTION, false},
	{"none", 135, "::", "fe80::abcd", NO_OPTION, false},
	{"spoofed-nd", 135, "::", "2001:db8::2", NO_OPTION, false},
	/* Advertisements. */
	{"none", 136, "2001:db8::1", "2001:db8::1", TARGET_OPTION, false},
	{"none", 136, "fe80::abcd", "2001:db8::1", TARGET_OPTION, false},
	{"none", 136, "2001:db8::1", "2001:db8::1", NO_OPTION, false},
	{"spoofed-nd", 136, "2001:db8::1", "2001:db8::1", TARGET_OPTION, true},
	{"spoofed-nd", 136, "2001:db8::1", "2001:db8::254", TARGET_OPTION, false},
	{"spoofed-nd", 136, "fe80::abcd", "2001:db8::254", NO_OPTION, false},
	{"spoofed-address", 136, "::", "2001:db8::1", TARGET_OPTION, false},
	/* Whether it may advertise routers at all is service_guard()'s to say. */
	{"none", 133, "fe80::abcd", NULL, SOURCE_OPTION, false},
	{"none", 133, "::", NULL, NO_OPTION, false},
	{"spoofed-nd", 133, "fe80::abcd", NULL, SOURCE_OPTION, true},
	{"spoofed-nd", 134, "fe80::abcd", NULL, SOURCE_OPTION, true},
};

static void test_nd(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(nd_rows) / sizeof(nd_rows[0]); i++) {
		const struct nd_row *row = &nd_rows[i];
		struct frame f;

		make_nd(&f, row->type, row->source, row->target, row->option,
			row->others_mac ? MAC_B : MAC_A);
		if (strcmp(check(&f), row->expected) != 0)
			fail_msg("row %zu: %s instead of %s", i, check(&f), row->expected);
	}
}

/* Without addresses the contents are checked all the same. */
static void test_nd_unbound(void **state)
{
	struct addresses none = {0};
	struct spoof_binding binding = binding_of(&none);
	struct frame f;

	(void)state;
	make_nd(&f, 136, "2001:db8::9", "2001:db8::9", TARGET_OPTION, MAC_A);
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
	make_nd(&f, 136, "::", "2001:db8::9", TARGET_OPTION, MAC_B);
	assert_int_equal(check_with(&binding, &f), DROP_SPOOFED_ND);
}

static void test_router(void **state)
{
	struct addresses addresses = {0};
	struct frame f;

	(void)state;
	add_address(&addresses, "fe80::1");
	struct spoof_binding binding = binding_of(&addresses);
	make_nd(&f, 134, "fe80::1", NULL, SOURCE_OPTION, MAC_A);
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
	make_nd(&f, 137, "fe80::1", "2001:db8::2", NO_OPTION, MAC_A);
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
	make_nd(&f, 134, "fe80::2", NULL, SOURCE_OPTION, MAC_A);
	assert_int_equal(check_with(&binding, &f), DROP_SPOOFED_ADDRESS);
	/* Its own MAC, in an advertisement; in a redirect, that of the better router. */
	make_nd(&f, 134, "fe80::1", NULL, SOURCE_OPTION, MAC_B);
	assert_int_equal(check_with(&binding, &f), DROP_SPOOFED_ND);
	make_nd(&f, 137, "fe80::1", "2001:db8::2", TARGET_OPTION, MAC_B);
	assert_int_equal(check_with(&binding, &f), DROP_NONE);
}

/* Wherever an advertisement is cut off, options included, it is refused or has no more to say. */
static void test_nd_malformed(void **state)
{
	struct frame f;

	(void)state;
	for (uint32_t n = 8; n < 32; n++) {
		make_nd(&f, 136, "2001:db8::1", "2001:db8::1", TARGET_OPTION, MAC_A);
		f.n = f.l4 + n;
		frame_end(&f);
		const char *expected = n < 24 ? "icmp-short" : n == 24 ? "none" : "spoofed-nd";
		assert_string_equal(check(&f), expected);
	}
	make_nd(&f, 136, "2001:db8::1", "2001:db8::1", TARGET_OPTION, MAC_A);
	f.bytes[f.n - 7] = 0; /* An option of no length. */
	assert_string_equal(check(&f), "spoofed-nd");
	f.bytes[f.n - 7] = 2; /* And one that goes on behind the packet. */
	assert_string_equal(check(&f), "spoofed-nd");
	/* A second option counts like the first. */
	make_nd(&f, 136, "2001:db8::1", "2001:db8::1", TARGET_OPTION, MAC_A);
	add_option(&f, TARGET_OPTION, MAC_B);
	frame_end(&f);
	assert_string_equal(check(&f), "spoofed-nd");
}

static void test_multicast_listener(void **state)
{
	struct frame f;

	(void)state;
	make_nd(&f, 143, "::", NULL, NO_OPTION, MAC_A);
	assert_string_equal(check(&f), "none");
	make_nd(&f, 131, "fe80::abcd", "ff02::1:ff00:1", NO_OPTION, MAC_A);
	assert_string_equal(check(&f), "none");
	make_nd(&f, 130, "::", "::", NO_OPTION,
		MAC_A); /* A query is a router's, with an address. */
	assert_string_equal(check(&f), "spoofed-address");
}

/* --- Claims --------------------------------------------------------------------------------- */

static void assert_claim(const struct frame *f, const char *expected)
{
	struct packet packet;
	struct in6_addr address;
	char text[INET6_ADDRSTRLEN];

	assert_int_equal(packet_parse(f->bytes, f->n, f->n, &packet), DROP_NONE);
	assert_int_equal(spoof_claim(f->bytes, f->n, &packet, &address), expected != NULL);
	if (expected != NULL)
		assert_string_equal(inet_ntop(AF_INET6, &address, text, sizeof(text)), expected);
}

static void test_claims(void **state)
{
	struct frame f;

	(void)state;
	frame_begin(&f, MAC_ALL, MAC_A);
	frame_arp(&f, 1, MAC_A, "10.0.0.7", MAC_B, "10.0.0.2");
	assert_claim(&f, "::ffff:10.0.0.7");
	frame_begin(&f, MAC_ALL, MAC_A);
	frame_arp(&f, 1, MAC_A, "0.0.0.0", MAC_B, "10.0.0.2");
	assert_claim(&f, "::ffff:10.0.0.2");
	make_nd(&f, 136, "2001:db8::1", "fe80::7", TARGET_OPTION, MAC_A);
	assert_claim(&f, "fe80::7");
	make_nd(&f, 135, "::", "fe80::7", NO_OPTION, MAC_A);
	assert_claim(&f, "fe80::7");
	make_nd(&f, 135, "2001:db8::1", "fe80::7", SOURCE_OPTION, MAC_A);
	assert_claim(&f, NULL);
	make_udp6(&f, "2001:db8::1");
	assert_claim(&f, NULL);
}

/* What is said ahead of a packet is what is said of it. */
static void test_may_send(void **state)
{
	static const uint8_t other_mac[6] = {0x02, 0, 0, 0, 0, 0xb};
	struct in6_addr own, other, nobody4, nobody6 = IN6ADDR_ANY_INIT;
	struct spoof_binding binding = {.macs = macs, .n_macs = 2};

	(void)state;
	assert_true(ip_address_parse("10.0.0.1", &own));
	assert_true(ip_address_parse("10.0.0.2", &other));
	assert_true(ip_address_parse("0.0.0.0", &nobody4));
	assert_true(spoof_may_send(&binding, macs[0], &other));
	assert_false(spoof_may_send(&binding, other_mac, &own));
	binding.addresses = &own;
	binding.n_addresses = 1;
	assert_true(spoof_may_send(&binding, macs[0], &own));
	assert_false(spoof_may_send(&binding, macs[0], &other));
	assert_false(spoof_may_send(&binding, other_mac, &own));
	binding.n_addresses = 0;
	assert_false(spoof_may_send(&binding, macs[0], &nobody4));
	assert_false(spoof_may_send(&binding, macs[0], &nobody6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_later_fragment),
		cmocka_unit_test(test_dhcp),
		cmocka_unit_test(test_link_local),
		cmocka_unit_test(test_arp),
		cmocka_unit_test(test_arp_unbound),
		cmocka_unit_test(test_nd),
		cmocka_unit_test(test_nd_unbound),
		cmocka_unit_test(test_router),
		cmocka_unit_test(test_nd_malformed),
		cmocka_unit_test(test_multicast_listener),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_may_send),
	};

	return cmocka_run_group_tests_name("spoof", tests, NULL, NULL);
}
