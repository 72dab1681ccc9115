/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What FTP and TFTP announce, and what only looks like it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "zones/address.h"
#include "zones/announcement.h"

#define CLIENT_ISN 1000u
#define SERVER_ISN 0xfffffff0u /* The server's wraps around. */

/* A conversation: each text is one segment, in order. */
struct talk {
	struct ftp_session session;
	uint32_t client_next, server_next;
	struct in6_addr client, server;
};

static struct talk begin_between(const char *client, const char *server)
{
	struct talk talk = {.client_next = CLIENT_ISN + 1, .server_next = SERVER_ISN + 1};
	uint16_t none;

	assert_true(ip_address_parse(client, &talk.client));
	assert_true(ip_address_parse(server, &talk.server));
	ftp_read(&talk.session, true, CLIENT_ISN, true, NULL, 0, &talk.client, &none);
	ftp_read(&talk.session, false, SERVER_ISN, true, NULL, 0, &talk.server, &none);
	return talk;
}

static struct talk begin(void)
{
	return begin_between("10.0.0.1", "10.0.0.2");
}

/* Each answers the port announced, 0 for nothing, -1 for what is refused. */
static int result_of(enum announced announced, uint16_t port)
{
	return announced == ANNOUNCED_CONNECTION ? port : announced == ANNOUNCED_REFUSED ? -1 : 0;
}

static int client_says(struct talk *talk, const char *text)
{
	uint16_t port = 0;
	enum announced announced = ftp_read(&talk->session, true, talk->client_next, false,
		(const uint8_t *)text, strlen(text), &talk->client, &port);

	if (announced != ANNOUNCED_REFUSED) /* It is dropped, and so never arrived. */
		talk->client_next += (uint32_t)strlen(text);
	return result_of(announced, port);
}

static int server_says(struct talk *talk, const char *text)
{
	uint16_t port = 0;
	enum announced announced = ftp_read(&talk->session, false, talk->server_next, false,
		(const uint8_t *)text, strlen(text), &talk->server, &port);

	if (announced != ANNOUNCED_REFUSED) /* It is dropped, and so never arrived. */
		talk->server_next += (uint32_t)strlen(text);
	return result_of(announced, port);
}

/* One line of a client on a fresh connection, and what it announces. */
struct case_of_line {
	const char *text;
	int expected;
};

static void test_commands(void **state)
{
	static const struct case_of_line cases[] = {
		{"PORT 10,0,0,1,19,137\r\n", 19 * 256 + 137},
		{"port 10,0,0,1,4,0\r\n", 1024},
		{"PORT 10,0,0,1,4,0\n", 1024},
		{"EPRT |1|10.0.0.1|6275|\r\n", 6275},
		{"EPRT !1!10.0.0.1!6275!\r\n", 6275},
		{"TYPE I\r\nPORT 10,0,0,1,19,137\r\n", 19 * 256 + 137},
		{"PORT 10,0,0,1,19,137\r\nPORT 10,0,0,1,19,138\r\n", 19 * 256 + 138},
		/* Bounces. */
		{"PORT 10,0,0,3,19,137\r\n", -1},
		{"PORT 10,0,0,1,0,22\r\n", -1},
		{"PORT 10,0,0,1,3,255\r\n", -1},
		{"EPRT |1|10.0.0.2|6275|\r\n", -1},
		{"PORT 10,0,0,3,19,137\r\nPORT 10,0,0,1,19,137\r\n", -1},
		/* What is none. */
		{"PORT 10,0,0,1,19,137", 0},
		{"PORT 10,0,0,1,19\r\n", 0},
		{"PORT 10,0,0,1,19,256\r\n", 0},
		{"PORT 10,0,0,1,99999999999,1\r\n", 0},
		{"PORT ,,,,,\r\n", 0},
		{"PORT\r\n", 0},
		{"PORTS 10,0,0,1,19,137\r\n", 0},
		{" PORT 10,0,0,1,19,137\r\n", 0},
		{"STOR PORT 10,0,0,1,19,137\r\n", 0},
		{"EPRT |2|10.0.0.1|6275|\r\n", 0},
		{"EPRT |1|10.0.0.1|65536|\r\n", 0},
		{"EPRT |1|10.0.0.1|6275\r\n", 0},
		{"EPRT |3|10.0.0.1|6275|\r\n", 0},
		{"EPRT 1110.0.0.1162751\r\n", 0},
		{"EPRT |||6275|\r\n", 0},
		{"227 Entering Passive Mode (10,0,0,1,19,137)\r\n", 0},
		{"\r\n\n\r\n", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk talk = begin();
		int found = client_says(&talk, cases[i].text);

		if (found != cases[i].expected)
			fail_msg("%s: %d, not %d", cases[i].text, found, cases[i].expected);
	}
}

static void test_replies(void **state)
{
	static const struct case_of_line cases[] = {
		{"227 Entering Passive Mode (10,0,0,2,19,137).\r\n", 19 * 256 + 137},
		{"227 =10,0,0,2,19,137\r\n", 19 * 256 + 137},
		{"227 Entering Passive Mode (10,0,0,3,19,137).\r\n", -1},
		{"227 Entering Passive Mode (10,0,0,2,0,22).\r\n", -1},
		{"2277 (10,0,0,2,19,137)\r\n", 0},
		{"227-Entering (10,0,0,2,19,137)\r\n", 0},
		{"220 hello 227 (10,0,0,2,19,137)\r\n", 0},
		{"227 no numbers\r\n", 0},
		{"229 Entering Extended Passive Mode (|||6446|)\r\n", 0}, /* Not asked for. */
		{"PORT 10,0,0,2,19,137\r\n", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct talk talk = begin();

		assert_int_equal(client_says(&talk, "PASV\r\n"), 0);
		int found = server_says(&talk, cases[i].text);
		if (found != cases[i].expected)
			fail_msg("%s: %d, not %d", cases[i].text, found, cases[i].expected);
	}
}

static void test_extended_replies(void **state)
{
	struct talk talk = begin_between("2001:db8::1", "2001:db8::2");

	(void)state;
	assert_int_equal(client_says(&talk, "EPRT |2|2001:db8::1|5282|\r\n"), 5282);
	assert_int_equal(client_says(&talk, "EPRT |2|2001:db8::9|5282|\r\n"), -1);
	assert_int_equal(client_says(&talk, "EPRT |0|2001:db8::1|5282|\r\n"), 0);
	assert_int_equal(client_says(&talk, "EPSV\r\n"), 0);
	assert_int_equal(
		server_says(&talk, "229 Entering Extended Passive Mode (|||6446|)\r\n"), 6446);
	assert_int_equal(client_says(&talk, "EPSV 2\r\n"), 0);
	assert_int_equal(server_says(&talk, "229 (|2|2001:db8::2|6446|)\r\n"), 0);
	assert_int_equal(client_says(&talk, "epsv\r\n"), 0);
	assert_int_equal(server_says(&talk, "229 (|||80|)\r\n"), -1);
}

/* A server that was made to say 227 opens nothing: nobody asked. */
static void test_replies_are_asked_for_once_each(void **state)
{
	const char *reply = "227 (10,0,0,2,19,137)\r\n";
	struct talk talk = begin();

	(void)state;
	assert_int_equal(server_says(&talk, reply), 0);
	client_says(&talk, "PASV\r\n");
	assert_int_equal(server_says(&talk, reply), 19 * 256 + 137);
	assert_int_equal(server_says(&talk, reply), 0);
}

static void test_a_line_counts_only_where_one_begins(void **state)
{
	struct talk talk = begin();

	(void)state;
	/* A page that a browser was made to send, cut so that a segment begins with a command. */
	assert_int_equal(client_says(&talk, "POST / HTTP/1.0 and so on, without an end"), 0);
	assert_int_equal(client_says(&talk, "PORT 10,0,0,1,19,137\r\n"), 0);
	assert_int_equal(client_says(&talk, "PORT 10,0,0,1,19,137\r\n"), 19 * 256 + 137);
	/* A command in two segments is not put together. */
	assert_int_equal(client_says(&talk, "PORT 10,0,0,1,"), 0);
	assert_int_equal(client_says(&talk, "19,137\r\n"), 0);
	assert_int_equal(client_says(&talk, "PORT 10,0,0,1,19,137\r\n"), 19 * 256 + 137);
}

static void test_what_is_sent_again_is_not_read_again(void **state)
{
	const char *text = "PORT 10,0,0,1,19,137\r\n";
	struct talk talk = begin();

	(void)state;
	assert_int_equal(client_says(&talk, text), 19 * 256 + 137);
	talk.client_next -= (uint32_t)strlen(text);
	assert_int_equal(client_says(&talk, text), 0);
}

static void test_a_hole_is_a_place_in_the_middle_of_a_line(void **state)
{
	const char *text = "PORT 10,0,0,1,19,137\r\n";
	struct talk talk = begin();

	(void)state;
	talk.client_next += 100;
	assert_int_equal(client_says(&talk, text), 0);
	assert_int_equal(client_says(&talk, text), 19 * 256 + 137);
}

static void test_a_connection_taken_up_in_mid_stream(void **state)
{
	struct talk talk = begin();

	(void)state;
	talk.session = (struct ftp_session){0};
	assert_int_equal(client_says(&talk, "PORT 10,0,0,1,19,137\r\n"), 0);
	assert_int_equal(client_says(&talk, "PORT 10,0,0,1,19,137\r\n"), 19 * 256 + 137);
}

static void test_tftp(void **state)
{
	static const char read_request[] = "\0\1boot.img\0octet";
	static const char write_request[] = "\0\2a\0octet\0blksize\0001428";
	static const char data[] = "\0\3\0\1abcd";

	(void)state;
	assert_true(tftp_is_request((const uint8_t *)read_request, sizeof(read_request)));
	assert_true(tftp_is_request((const uint8_t *)write_request, sizeof(write_request)));
	assert_false(tftp_is_request((const uint8_t *)data, sizeof(data)));
	assert_false(tftp_is_request((const uint8_t *)read_request, sizeof(read_request) - 1));
	for (size_t n = 0; n < 6; n++)
		assert_false(tftp_is_request((const uint8_t *)read_request, n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_extended_replies),
		cmocka_unit_test(test_replies_are_asked_for_once_each),
		cmocka_unit_test(test_a_line_counts_only_where_one_begins),
		cmocka_unit_test(test_what_is_sent_again_is_not_read_again),
		cmocka_unit_test(test_a_hole_is_a_place_in_the_middle_of_a_line),
		cmocka_unit_test(test_a_connection_taken_up_in_mid_stream),
		cmocka_unit_test(test_tftp),
	};

	return cmocka_run_group_tests_name("announcement", tests, NULL, NULL);
}
