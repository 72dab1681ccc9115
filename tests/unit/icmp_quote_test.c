/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which ICMP errors are believed: a table of errors about one connection, in which 10.0.0.1 (or
 * 2001:db8::1) has sent 1000 bytes from 1001 on, of which 200 are acknowledged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datapath/icmp_quote.h"
#include "tests/unit/tcp_story.h"
#include "tests/unit/valid_frames.h"

enum { CLIENT_PORT = 40000, SERVER_PORT = 80 };

/* The connection, and what find() is to make of it. */
struct subject {
	struct tcp_side sides[2];
	bool tcp; /* Its state is kept. */
	unsigned int found;
};

static bool find(struct conn_key *key, struct icmp_subject *subject, void *context)
{
	struct subject *known = context;

	if (key->destination_port != htons(SERVER_PORT))
		return false;
	known->found++;
	if (known->tcp) {
		subject->sender = &known->sides[I];
		subject->receiver = &known->sides[R];
	}
	return true;
}

/* clang-format off */
static void make_subject(struct subject *subject)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, P|A, 1001, 5001, 1000, 8000, TCP_OK, EST, NULL},
		{R, A,   5001, 1201,    0, 8000, TCP_OK, EST, NULL},
	};

	memset(subject, 0, sizeof(*subject));
	subject->tcp = true;
	play_on(subject->sides, lines, sizeof(lines) / sizeof(lines[0]), 0);
}
/* clang-format on */

/* An error, and what it quotes. */
struct error {
	const char *what;
	int version;
	uint8_t type, code;
	uint32_t rest; /* The last four bytes of the ICMP header. */
	uint32_t sequence;
	uint32_t quoted; /* Bytes of the transport header and behind it. */
	bool believed;
};

static void make_quoted(struct frame *f, int version, uint8_t protocol, uint32_t sequence)
{
	frame_begin(f, MAC_B, MAC_A);
	if (version == 4)
		frame_ip4(f, "10.0.0.1", "10.0.0.2", protocol);
	else
		frame_ip6(f, "2001:db8::1", "2001:db8::2", protocol);
	if (protocol == IPPROTO_TCP)
		frame_tcp(f, CLIENT_PORT, SERVER_PORT, A);
	else
		frame_udp(f, CLIENT_PORT, SERVER_PORT);
	if (protocol == IPPROTO_TCP)
		frame_set32(f, f->l4 + 4, sequence);
	frame_fill(f, 1000);
	frame_end(f);
}

static void make_error(struct frame *f, const struct error *error, const struct frame *inner)
{
	frame_begin(f, MAC_A, MAC_B);
	if (error->version == 4)
		frame_ip4(f, "192.0.2.9", "10.0.0.1", IPPROTO_ICMP);
	else
		frame_ip6(f, "2001:db8:9::9", "2001:db8::1", IPPROTO_ICMPV6);
	frame_icmp(f, error->type, error->code, error->rest >> 16, error->rest & 0xffff);
	frame_append(f, inner->bytes + inner->l3, inner->l4 - inner->l3 + error->quoted);
	frame_end(f);
}

/* The frame lies in memory that ends with it. */
static bool believed(const struct frame *f, struct subject *subject)
{
	uint8_t *copy = malloc(f->n);
	struct packet packet;

	assert_non_null(copy);
	memcpy(copy, f->bytes, f->n);
	assert_string_equal(drop_name(packet_parse(copy, f->n, f->n, &packet)), "none");
	bool result = icmp_quote_check(copy, f->n, &packet, find, subject);
	free(copy);
	return result;
}

static void expect(const struct error *error, uint8_t protocol, struct subject *subject)
{
	struct frame inner, f;

	make_quoted(&inner, error->version, protocol, error->sequence);
	make_error(&f, error, &inner);
	if (believed(&f, subject) != error->believed)
		fail_msg("%s, IPv%d, sequence %u: %sbelieved", error->what, error->version,
			error->sequence, error->believed ? "not " : "");
}

static const struct error errors[] = {
	/* In the window: from the last acknowledgment to what comes next. */
	{"in the middle", 4, 3, 1, 0, 1500, 8, true},
	{"in the middle", 6, 1, 0, 0, 1500, 8, true},
	{"first that is not acknowledged", 4, 3, 1, 0, 1201, 8, true},
	{"keepalive", 4, 3, 1, 0, 1200, 8, true},
	{"acknowledged", 4, 3, 1, 0, 1199, 8, false},
	{"long acknowledged", 6, 1, 0, 0, 1001, 8, false},
	{"an ACK without data", 4, 3, 1, 0, 2001, 8, true},
	{"never sent", 4, 3, 1, 0, 2002, 8, false},
	{"never sent", 6, 1, 0, 0, 2002, 8, false},
	{"far behind", 4, 3, 1, 0, 1500 + (1u << 31), 8, false},
	{"far before", 4, 3, 1, 0, 1500 - (1u << 30), 8, false},
	{"zero", 4, 3, 1, 0, 0, 8, false},
	/* All kinds, and quotes of any length from eight bytes on. */
	{"time exceeded", 4, 11, 0, 0, 1500, 8, true},
	{"parameter problem", 4, 12, 0, 0, 1500, 20, true},
	{"time exceeded", 6, 3, 0, 0, 1500, 1000, true},
	{"parameter problem", 6, 4, 0, 0, 1500, 20, true},
	{"seven bytes", 4, 3, 1, 0, 1500, 7, false},
	{"seven bytes", 6, 1, 0, 0, 1500, 7, false},
	/* What a path's MTU can be. */
	{"MTU 1400", 4, 3, 4, 1400, 1500, 8, true},
	{"MTU 68", 4, 3, 4, 68, 1500, 8, true},
	{"MTU 67", 4, 3, 4, 67, 1500, 8, false},
	{"MTU 1", 4, 3, 4, 1, 1500, 8, false},
	{"old router", 4, 3, 4, 0, 1500, 8, true},
	{"no MTU at all", 4, 3, 3, 1, 1500, 8, true},
	{"MTU 1280", 6, 2, 0, 1280, 1500, 8, true},
	{"MTU 1279", 6, 2, 0, 1279, 1500, 8, false},
	{"MTU 0", 6, 2, 0, 0, 1500, 8, false},
	{"MTU 68", 6, 2, 0, 68, 1500, 8, false},
	{"MTU of 4 GiB", 6, 2, 0, UINT32_MAX, 1500, 8, true},
	{"no MTU at all", 6, 4, 0, 3, 1500, 8, true},
};

static void test_errors(void **state)
{
	struct subject subject;

	(void)state;
	make_subject(&subject);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		expect(&errors[i], IPPROTO_TCP, &subject);
	assert_in_range(subject.found, 10, sizeof(errors) / sizeof(errors[0]));
}

/* Without TCP, or without its state, the addresses and ports must do. */
static void test_without_sequence_numbers(void **state)
{
	const struct error any = {"UDP", 4, 3, 3, 0, 0, 8, true};
	const struct error far = {"no state", 6, 1, 0, 0, 9000000, 8, true};
	struct subject subject;

	(void)state;
	make_subject(&subject);
	expect(&any, IPPROTO_UDP, &subject);
	subject.tcp = false;
	expect(&far, IPPROTO_TCP, &subject);
}

static void test_of_no_connection(void **state)
{
	const struct error error = {"other port", 4, 3, 1, 0, 1500, 8, false};
	struct subject subject;
	struct frame inner, f;

	(void)state;
	make_subject(&subject);
	make_quoted(&inner, 4, IPPROTO_TCP, 1500);
	frame_set16(&inner, inner.l4 + 2, SERVER_PORT + 1);
	make_error(&f, &error, &inner);
	assert_false(believed(&f, &subject));
	assert_int_equal(subject.found, 0);
}

static void test_in_fragments(void **state)
{
	struct subject subject;
	struct frame inner, f;

	(void)state;
	make_subject(&subject);
	make_quoted(&inner, 4, IPPROTO_TCP, 1500);
	make_error(&f, &errors[0], &inner);
	frame_zero(&f, 4);
	frame_end(&f);
	assert_true(believed(&f, &subject));
	frame_ip4_fragment(&f, 7, 0, 1);
	frame_ip4_checksum(&f);
	assert_false(believed(&f, &subject));
}

/* --- When nothing has been acknowledged yet -------------------------------------------------- */

static void test_before_an_answer(void **state)
{
	static const struct line lines[] = {
		{I, S, 1000, 0, 300, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S | A, 5000, 1301, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{R, RST, 5001, 0, 0, 0, CHANGED, TCP_CLOSED, NULL},
	};
	struct tcp_side sides[2];

	(void)state;
	play_on(sides, lines, 1, 0);
	assert_false(tcp_is_outstanding(&sides[I], &sides[R], 999));
	assert_true(tcp_is_outstanding(&sides[I], &sides[R], 1000));
	assert_true(tcp_is_outstanding(&sides[I], &sides[R], 1301));
	assert_false(tcp_is_outstanding(&sides[I], &sides[R], 1302));
	assert_false(tcp_is_outstanding(&sides[R], &sides[I], 0));
	play_on(sides, lines, 2, 1);
	assert_false(tcp_is_outstanding(&sides[I], &sides[R], 1000 - 1));
	assert_true(tcp_is_outstanding(&sides[I], &sides[R], 1301));
	assert_true(tcp_is_outstanding(&sides[R], &sides[I], 5001));
	assert_false(tcp_is_outstanding(&sides[R], &sides[I], 5002));
	play_on(sides, lines, 3, 2);
	assert_false(tcp_is_outstanding(&sides[I], &sides[R], 1301));
	assert_false(tcp_is_outstanding(&sides[R], &sides[I], 5001));
}

static void test_picked_up(void **state)
{
	const struct tcp_segment first = {
		.sequence = 77000, .acknowledgment = 900, .window = 100, .flags = A};
	struct tcp_side sides[2];

	(void)state;
	assert_int_equal(tcp_open(&sides[I], &sides[R], &first, true), CHANGED);
	assert_true(tcp_is_outstanding(&sides[I], &sides[R], 70000));
	assert_false(tcp_is_outstanding(&sides[I], &sides[R], 77001));
	assert_false(tcp_is_outstanding(&sides[I], &sides[R], 77000 + (1u << 31)));
	assert_false(tcp_is_outstanding(&sides[R], &sides[I], 900));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_without_sequence_numbers),
		cmocka_unit_test(test_of_no_connection),
		cmocka_unit_test(test_in_fragments),
		cmocka_unit_test(test_before_an_answer),
		cmocka_unit_test(test_picked_up),
	};

	return cmocka_run_group_tests_name("icmp_quote", tests, NULL, NULL);
}
