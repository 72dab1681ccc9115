/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses, prefixes and MACs as people write them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "zones/address.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void addresses_are_read_and_written(void **state)
{
	static const struct {
		const char *text, *written; /* NULL: refused. */
	} cases[] = {
		{"10.0.0.1", "10.0.0.1"},
		{"0.0.0.0", "0.0.0.0"},
		{"255.255.255.255", "255.255.255.255"},
		{"2001:DB8::1", "2001:db8::1"},
		{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
		{"::", "::"},
		{"::1", "::1"},
		{"fe80::1", "fe80::1"},
		{"", NULL},
		{"10.0.0", NULL},
		{"10.0.0.256", NULL},
		{"10.0.0.1 ", NULL},
		{"010.0.0.1", NULL},
		{"10.0.0.1/8", NULL},
		{"::ffff:10.0.0.1", NULL},
		{"::ffff:0a00:1", NULL},
		{"fe80::1%eth0", NULL},
		{"1::2::3", NULL},
		{"web", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct in6_addr address, untouched;
		char text[IP_TEXT_MAX];

		memset(&address, 0x5a, sizeof address);
		memset(&untouched, 0x5a, sizeof untouched);
		if (ip_address_parse(cases[i].text, &address)) {
			assert_non_null(cases[i].written);
			assert_string_equal(ip_format(&address, text), cases[i].written);
			assert_int_equal(ip_is_v4(&address), !strchr(cases[i].text, ':'));
		} else {
			assert_null(cases[i].written);
			assert_memory_equal(&address, &untouched, sizeof address);
		}
	}
}

static void prefixes_are_read_and_written(void **state)
{
	static const struct {
		const char *text, *written;
		unsigned int length;
	} cases[] = {
		{"10.0.0.0/8", "10.0.0.0/8", 104},
		{"0.0.0.0/0", "0.0.0.0/0", 96},
		{"10.1.2.3", "10.1.2.3/32", 128},
		{"10.1.2.3/32", "10.1.2.3/32", 128},
		{"::/0", "::/0", 0},
		{"2001:db8::/33", "2001:db8::/33", 33},
		{"2001:db8::1", "2001:db8::1/128", 128},
		{"10.0.0.1/8", NULL, 0},
		{"10.0.0.0/33", NULL, 0},
		{"10.0.0.0/", NULL, 0},
		{"10.0.0.0/08", NULL, 0},
		{"10.0.0.0/+8", NULL, 0},
		{"10.0.0.0/8/8", NULL, 0},
		{"10.0.0.0/4294967304", NULL, 0},
		{"/8", NULL, 0},
		{"2001:db8::1/64", NULL, 0},
		{"::/129", NULL, 0},
		{"2001:0db8:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/1", NULL, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct ip_prefix prefix;
		char text[IP_TEXT_MAX];

		if (ip_prefix_parse(cases[i].text, &prefix)) {
			assert_non_null(cases[i].written);
			assert_string_equal(ip_prefix_format(&prefix, text), cases[i].written);
			assert_int_equal(prefix.length, cases[i].length);
		} else {
			assert_null(cases[i].written);
		}
	}
}

static void prefixes_hold_addresses_of_their_family(void **state)
{
	static const struct {
		const char *prefix, *address;
		bool holds;
	} cases[] = {
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/8", "11.0.0.1", false},
		{"10.0.0.128/25", "10.0.0.127", false},
		{"10.0.0.128/25", "10.0.0.128", true},
		{"0.0.0.0/0", "192.0.2.1", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "2001:db8::1", true},
		{"::/0", "192.0.2.1", false},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
		{"2001:db8::1", "2001:db8::1", true},
		{"2001:db8::1", "2001:db8::2", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct in6_addr address;
		struct ip_prefix prefix;

		assert_true(ip_prefix_parse(cases[i].prefix, &prefix));
		assert_true(ip_address_parse(cases[i].address, &address));
		assert_int_equal(ip_prefix_contains(&prefix, &address), cases[i].holds);
	}
}

static void macs_are_read_and_written(void **state)
{
	static const char *const refused[] = {"", "00:11:22:33:44", "00:11:22:33:44:55:66",
		"00-11-22-33-44-55", "00:11:22:33:44:5g", "0:11:22:33:44:555", " 0:11:22:33:44:55"};
	static const uint8_t expected[6] = {0x02, 0xab, 0xcd, 0xef, 0x01, 0xff};
	char text[MAC_TEXT_MAX];
	uint8_t mac[6];

	(void)state;
	assert_true(mac_parse("02:ab:CD:ef:01:FF", mac));
	assert_memory_equal(mac, expected, sizeof mac);
	assert_string_equal(mac_format(mac, text), "02:ab:cd:ef:01:ff");
	for (size_t i = 0; i < COUNT(refused); i++) {
		assert_false(mac_parse(refused[i], mac));
		assert_memory_equal(mac, expected, sizeof mac);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_and_written),
		cmocka_unit_test(prefixes_are_read_and_written),
		cmocka_unit_test(prefixes_hold_addresses_of_their_family),
		cmocka_unit_test(macs_are_read_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
