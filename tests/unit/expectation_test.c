/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is announced is found once, by whom it was announced for, and in its time; and nobody can
 * take the table for himself.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "datapath/expectation.h"
#include "zones/address.h"

enum { ENTRIES = 64, NOW = 1000, CLIENT_SIDE = 1, SERVER_SIDE = 2, DATA_PORT = 19 * 256 + 137 };

static struct conn_key key_of(const char *source, uint16_t source_port, const char *destination,
	uint16_t destination_port, uint16_t in_port)
{
	struct conn_key key = {
		.net = 10,
		.source_port = htons(source_port),
		.destination_port = htons(destination_port),
		.in_port = in_port,
		.protocol = IPPROTO_TCP,
		.kind = CONN_KEY_IPV4,
	};

	assert_true(ip_address_parse(source, &key.source));
	assert_true(ip_address_parse(destination, &key.destination));
	return key;
}

static const struct conn_key *client_key(void)
{
	static struct conn_key key;

	key = key_of("10.0.0.1", 40000, "10.0.0.2", 21, CLIENT_SIDE);
	return &key;
}

static struct control_connection control_of(uint32_t number, const struct conn_key *key)
{
	return (struct control_connection){
		.number = number, .start_ns = 77, .key = key, .server_side = SERVER_SIDE};
}

/* Says one line in the connection `number`, as its first segment after the SYN. */
static enum announced say(struct expectation_table *table, uint32_t number,
	const struct conn_key *key, const char *text, uint32_t now)
{
	const struct control_connection control = control_of(number, key);
	struct control_segment segment = {.from_client = true, .is_syn = true, .sequence = 99};

	expectation_read_ftp(table, &control, &segment, now);
	segment.is_syn = false;
	segment.sequence = 100;
	segment.payload = (const uint8_t *)text;
	segment.payload_bytes = strlen(text);
	return expectation_read_ftp(table, &control, &segment, now);
}

static bool is_expected(
	struct expectation_table *table, const char *opener, uint16_t port, uint32_t now)
{
	struct conn_key key = key_of(opener, 20, "10.0.0.1", port, SERVER_SIDE);
	struct expectation found;

	return expectation_find(table, &key, now, &found);
}

static const char port_command[] = "PORT 10,0,0,1,19,137\r\n";

static void test_an_announcement_is_good_for_one_connection(void **state)
{
	struct expectation_table *table = expectation_table_create(ENTRIES);
	struct conn_key data = key_of("10.0.0.2", 20, "10.0.0.1", DATA_PORT, SERVER_SIDE);
	struct expectation found;

	(void)state;
	assert_false(expectation_any(table, NOW));
	assert_int_equal(say(table, 5, client_key(), port_command, NOW), ANNOUNCED_CONNECTION);
	assert_true(expectation_any(table, NOW));
	assert_true(expectation_find(table, &data, NOW, &found));
	assert_int_equal(found.opener_side, SERVER_SIDE);
	assert_int_equal(found.control_port, 21);
	assert_true(found.server_opens);
	assert_false(is_expected(table, "10.0.0.3", DATA_PORT, NOW));
	assert_false(is_expected(table, "10.0.0.2", DATA_PORT + 1, NOW));
	data.protocol = IPPROTO_UDP;
	assert_false(expectation_find(table, &data, NOW, &found));
	data.protocol = IPPROTO_TCP;
	data.net = 11;
	assert_false(expectation_find(table, &data, NOW, &found));
	data.net = 10;
	expectation_done(table, &data);
	assert_false(expectation_find(table, &data, NOW, &found));
	assert_false(expectation_any(table, NOW));
	expectation_done(table, &data);
	expectation_table_destroy(table);
}

static void test_it_ends_in_time(void **state)
{
	struct expectation_table *table = expectation_table_create(ENTRIES);
	const uint32_t begin = UINT32_MAX - 10; /* The clock wraps around meanwhile. */

	(void)state;
	say(table, 5, client_key(), port_command, begin);
	assert_true(is_expected(table, "10.0.0.2", DATA_PORT, begin + EXPECTATION_SECONDS - 1));
	assert_true(expectation_any(table, begin + EXPECTATION_SECONDS - 1));
	assert_false(expectation_any(table, begin + EXPECTATION_SECONDS));
	assert_false(is_expected(table, "10.0.0.2", DATA_PORT, begin + EXPECTATION_SECONDS));
	expectation_table_destroy(table);
}

static void test_a_later_one_takes_its_place(void **state)
{
	struct expectation_table *table = expectation_table_create(ENTRIES);
	const struct control_connection control = control_of(5, client_key());
	const char *text = "PORT 10,0,0,1,19,138\r\n";

	(void)state;
	say(table, 5, client_key(), port_command, NOW);
	expectation_read_ftp(table, &control,
		&(struct control_segment){.from_client = true,
			.sequence = 100 + sizeof(port_command) - 1,
			.payload = (const uint8_t *)text,
			.payload_bytes = strlen(text)},
		NOW);
	assert_false(is_expected(table, "10.0.0.2", DATA_PORT, NOW));
	assert_true(is_expected(table, "10.0.0.2", DATA_PORT + 1, NOW));
	expectation_table_destroy(table);
}

static void test_tftp_answers_from_another_port(void **state)
{
	struct expectation_table *table = expectation_table_create(ENTRIES);
	struct conn_key request = key_of("10.0.0.1", 40000, "10.0.0.2", 69, CLIENT_SIDE);
	struct conn_key answer = key_of("10.0.0.2", 51234, "10.0.0.1", 40000, SERVER_SIDE);
	struct expectation found;

	(void)state;
	request.protocol = answer.protocol = IPPROTO_UDP;
	const struct control_connection control = control_of(5, &request);
	expectation_add_tftp(table, &control, NOW);
	assert_true(expectation_find(table, &answer, NOW, &found));
	assert_int_equal(found.control_port, 69);
	expectation_table_destroy(table);
}

/* One port announces as much as it can; another still finds room. */
static void test_nobody_takes_the_table_for_himself(void **state)
{
	struct expectation_table *table = expectation_table_create(ENTRIES);
	struct conn_key other = key_of("10.0.0.9", 40000, "10.0.0.2", 21, 9);
	unsigned int found = 0;

	(void)state;
	for (uint32_t i = 0; i < 100 * ENTRIES; i++)
		say(table, i, client_key(), port_command, NOW);
	for (uint32_t i = 0; i < ENTRIES / 8; i++)
		found += say(table, 100 * ENTRIES + i, &other, "PORT 10,0,0,9,19,137\r\n", NOW) ==
			 ANNOUNCED_CONNECTION;
	assert_int_equal(found, ENTRIES / 8);
	expectation_table_destroy(table);
}

/* A connection's number is used again by another one, which must not inherit what was read. */
static void test_a_number_used_again(void **state)
{
	struct expectation_table *table = expectation_table_create(ENTRIES);
	struct control_connection control = control_of(5, client_key());
	struct control_segment segment = {
		.from_client = true,
		.sequence = 100,
		.payload = (const uint8_t *)port_command,
		.payload_bytes = sizeof(port_command) - 1,
	};

	(void)state;
	say(table, 5, client_key(), "NOOP\r\n", NOW);
	control.start_ns = 78;
	assert_int_equal(expectation_read_ftp(table, &control, &segment, NOW), ANNOUNCED_NOTHING);
	segment.sequence += (uint32_t)segment.payload_bytes;
	assert_int_equal(
		expectation_read_ftp(table, &control, &segment, NOW), ANNOUNCED_CONNECTION);
	expectation_table_destroy(table);
}

static void test_idle_entries_give_way(void **state)
{
	struct expectation_table *table = expectation_table_create(ENTRIES);
	struct conn_key other = key_of("10.0.0.9", 40000, "10.0.0.2", 21, 9);
	const uint32_t later = NOW + EXPECTATION_IDLE_SECONDS;

	(void)state;
	for (uint32_t i = 0; i < 100 * ENTRIES; i++)
		say(table, i, client_key(), port_command, NOW);
	for (uint32_t i = 0; i < ENTRIES / 4; i++)
		assert_int_equal(say(table, 1000 + i, &other, "PORT 10,0,0,9,19,137\r\n", later),
			ANNOUNCED_CONNECTION);
	expectation_table_destroy(table);
}

static void test_sizes_are_checked(void **state)
{
	(void)state;
	assert_null(expectation_table_create(15));
	assert_int_equal(errno, EINVAL);
	assert_null(expectation_table_create((1 << 20) + 1));
	expectation_table_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_announcement_is_good_for_one_connection),
		cmocka_unit_test(test_it_ends_in_time),
		cmocka_unit_test(test_a_later_one_takes_its_place),
		cmocka_unit_test(test_tftp_answers_from_another_port),
		cmocka_unit_test(test_nobody_takes_the_table_for_himself),
		cmocka_unit_test(test_a_number_used_again),
		cmocka_unit_test(test_idle_entries_give_way),
		cmocka_unit_test(test_sizes_are_checked),
	};

	return cmocka_run_group_tests_name("expectation", tests, NULL, NULL);
}
