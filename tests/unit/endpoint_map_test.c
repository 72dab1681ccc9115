/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns an address, and in which zone the owner is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "zones/endpoint_map.h"

static const char policy_text[] = "zones:\n"
				  "  web: {match: tier=web}\n"
				  "  db: {match: tier=db}\n"
				  "  lan: {cidrs: 10.0.0.0/8}\n"
				  "  internet: {cidrs: [0.0.0.0/0, '::/0']}\n";

static int setup(void **state)
{
	struct policy_errors errors;

	*state = zone_policy_create(policy_text, sizeof policy_text - 1, 7, 0, &errors);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	zone_policy_destroy(*state);
	return 0;
}

static struct in6_addr address_of(const char *text)
{
	struct in6_addr address;

	assert_true(ip_address_parse(text, &address));
	return address;
}

static struct endpoint_owner look_up(const struct endpoint_map *map, const char *text)
{
	struct in6_addr address = address_of(text);

	return endpoint_map_lookup(map, &address);
}

static uint16_t zone(void *const *state, const char *name)
{
	int number = zone_find(*state, name);

	assert_true(number >= 0);
	return (uint16_t)number;
}

static void owners_come_before_prefixes(void **state)
{
	const struct in6_addr web[] = {address_of("10.0.0.1"), address_of("2001:db8::1")};
	const struct in6_addr far[] = {address_of("10.0.0.2")};
	const struct endpoint_map_entry entries[] = {
		{.port = 3, .zone = zone(state, "web"), .addresses = web, .n_addresses = 2},
		{.port = 0, .zone = zone(state, "db"), .addresses = far, .n_addresses = 1},
		{.port = 9, .zone = zone(state, "db")},
	};
	struct endpoint_map *map = endpoint_map_create(*state, entries, 3);
	struct endpoint_owner owner = look_up(map, "10.0.0.1");

	assert_true(owner.owned);
	assert_int_equal(owner.port, 3);
	assert_int_equal(owner.zone, zone(state, "web"));
	assert_int_equal(look_up(map, "2001:db8::1").port, 3);

	owner = look_up(map, "10.0.0.2");
	assert_true(owner.owned);
	assert_int_equal(owner.port, 0);
	assert_int_equal(owner.zone, zone(state, "db"));

	owner = look_up(map, "10.0.0.3");
	assert_false(owner.owned);
	assert_int_equal(owner.zone, zone(state, "lan"));
	assert_int_equal(look_up(map, "192.0.2.1").zone, zone(state, "internet"));
	assert_int_equal(look_up(map, "2001:db8::2").zone, zone(state, "internet"));

	assert_int_equal(endpoint_map_port_zone(map, 3), zone(state, "web"));
	assert_int_equal(endpoint_map_port_zone(map, 9), zone(state, "db"));
	assert_int_equal(endpoint_map_port_zone(map, 0), ZONE_QUARANTINE);
	assert_int_equal(endpoint_map_port_zone(map, 4), ZONE_QUARANTINE);
	assert_int_equal(endpoint_map_port_zone(map, 65535), ZONE_QUARANTINE);
	assert_ptr_equal(endpoint_map_policy(map), *state);
	assert_int_equal(endpoint_map_conflicts(map), 0);
	endpoint_map_destroy(map);
}

static void an_address_claimed_twice_is_nobodys(void **state)
{
	const struct in6_addr both[] = {address_of("10.0.0.1"), address_of("10.0.0.1")};
	const struct endpoint_map_entry entries[] = {
		{.port = 1, .zone = zone(state, "web"), .addresses = both, .n_addresses = 2},
		{.port = 2, .zone = zone(state, "web"), .addresses = both, .n_addresses = 1},
		{.port = 3, .zone = zone(state, "db"), .addresses = both, .n_addresses = 1},
	};
	struct endpoint_map *map = endpoint_map_create(*state, entries, 1);
	struct endpoint_owner owner;

	/* Twice by one endpoint is no conflict. */
	assert_int_equal(endpoint_map_conflicts(map), 0);
	assert_int_equal(look_up(map, "10.0.0.1").port, 1);
	endpoint_map_destroy(map);

	map = endpoint_map_create(*state, entries, 3);
	owner = look_up(map, "10.0.0.1");
	assert_false(owner.owned);
	assert_int_equal(owner.port, 0);
	assert_int_equal(owner.zone, ZONE_QUARANTINE);
	assert_int_equal(endpoint_map_conflicts(map), 1);
	endpoint_map_destroy(map);
}

static void a_zone_that_is_none_is_quarantine(void **state)
{
	const struct in6_addr one = address_of("10.0.0.1");
	const struct endpoint_map_entry entry = {
		.port = 1, .zone = 4711, .addresses = &one, .n_addresses = 1};
	struct endpoint_map *map = endpoint_map_create(*state, &entry, 1);

	assert_int_equal(endpoint_map_port_zone(map, 1), ZONE_QUARANTINE);
	assert_int_equal(look_up(map, "10.0.0.1").zone, ZONE_QUARANTINE);
	endpoint_map_destroy(map);
	endpoint_map_destroy(NULL);
}

static void many_addresses(void **state)
{
	enum { N = 20000 };
	static struct in6_addr addresses[N];
	static struct endpoint_map_entry entries[N];
	struct endpoint_map *map;

	for (unsigned int i = 0; i < N; i++) {
		addresses[i] = address_of("10.0.0.0");
		addresses[i].s6_addr[14] = (uint8_t)(i >> 8);
		addresses[i].s6_addr[15] = (uint8_t)i;
		entries[i] = (struct endpoint_map_entry){.port = (uint16_t)(i + 1),
			.zone = (uint16_t)(i % 3),
			.addresses = &addresses[i],
			.n_addresses = 1};
	}
	map = endpoint_map_create(*state, entries, N);
	for (unsigned int i = 0; i < N; i++) {
		struct endpoint_owner owner = endpoint_map_lookup(map, &addresses[i]);

		assert_true(owner.owned);
		assert_int_equal(owner.port, i + 1);
		assert_int_equal(owner.zone, i % 3);
		assert_int_equal(endpoint_map_port_zone(map, (uint16_t)(i + 1)), i % 3);
	}
	assert_false(look_up(map, "10.0.78.32").owned);
	endpoint_map_destroy(map);
}

static void an_empty_map_with_no_policy(void **state)
{
	struct zone_policy *policy = zone_policy_create_empty();
	struct endpoint_map *map = endpoint_map_create(policy, NULL, 0);

	(void)state;
	assert_int_equal(look_up(map, "10.0.0.1").zone, ZONE_QUARANTINE);
	assert_false(look_up(map, "10.0.0.1").owned);
	endpoint_map_destroy(map);
	zone_policy_destroy(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(owners_come_before_prefixes),
		cmocka_unit_test(an_address_claimed_twice_is_nobodys),
		cmocka_unit_test(a_zone_that_is_none_is_quarantine),
		cmocka_unit_test(many_addresses),
		cmocka_unit_test(an_empty_map_with_no_policy),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
