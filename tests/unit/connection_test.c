/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What packets do to their connection: which may begin one, what each step is refused as, when it
 * counts as answered, and how long it lives.  TCP's own states are tcp_state_test.c's matter.
 */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "datapath/switch.h"
#include "tests/unit/conn_fixture.h"
#include "tests/unit/frame.h"

enum { F = 1, S = 2, R = 4, P = 8, A = 16, U = 32 };

enum { GUEST = 5, CAPACITY = 1024, HELD = QUOTA_CONNECTION + QUOTA_HALF_OPEN };

/* An IPv4 frame from the initiator, or (`back`) to it; with `v6`, the same over IPv6. */
struct sent {
	bool v6, back;
	uint8_t protocol, type; /* ICMP type or TCP flags. */
	uint32_t number;	/* Identifier, or TCP sequence number. */
	uint32_t acknowledgment;
	bool damaged;
};

#define TCP  IPPROTO_TCP
#define UDP  IPPROTO_UDP
#define ICMP IPPROTO_ICMP
#define V6   IPPROTO_ICMPV6

static void make(struct frame *f, const struct sent *sent)
{
	const char *ends[2][2] = {{"10.0.0.1", "10.0.0.2"}, {"fd00::1", "fd00::2"}};
	const char *from = ends[sent->v6][sent->back], *to = ends[sent->v6][!sent->back];

	frame_begin(f, MAC_B, MAC_A);
	if (sent->v6)
		frame_ip6(f, from, to, sent->protocol);
	else
		frame_ip4(f, from, to, sent->protocol);
	if (sent->protocol == TCP) {
		frame_tcp(f, sent->back ? 80 : 1000, sent->back ? 1000 : 80, sent->type);
		frame_set32(f, f->l4 + 4, sent->number);
		frame_set32(f, f->l4 + 8, sent->acknowledgment);
	} else if (sent->protocol == UDP) {
		frame_udp(f, sent->back ? 53 : 1000, sent->back ? 1000 : 53);
	} else if (sent->protocol == ICMP || sent->protocol == V6) {
		frame_icmp(f, sent->type, 0, sent->number, 0);
	} else {
		frame_zero(f, 12);
	}
	frame_end(f);
	if (sent->damaged)
		f->bytes[f->l4 + (sent->protocol == TCP ? 16 : 2)] ^= 1;
}

static struct packet parse(const struct frame *f)
{
	struct packet packet;

	assert_string_equal(drop_name(packet_parse(f->bytes, f->n, f->n, &packet)), "none");
	return packet;
}

/* --- Beginning ------------------------------------------------------------------------------- */

static const struct {
	struct sent sent;
	const char *reason;
	bool may_pick_up;
} firsts[] = {
	{{.protocol = TCP, .type = S}, "none", false},
	{{.protocol = TCP, .type = S | P}, "none", false},
	{{.protocol = TCP, .type = A}, "tcp-out-of-state", true},
	{{.protocol = TCP, .type = A | P | U}, "tcp-out-of-state", true},
	{{.protocol = TCP, .type = S | A}, "tcp-out-of-state", false},
	{{.protocol = TCP, .type = F | A}, "tcp-out-of-state", false},
	{{.protocol = TCP, .type = R}, "tcp-out-of-state", false},
	{{.protocol = TCP, .type = R | A}, "tcp-out-of-state", false},
	{{.protocol = TCP, .type = 0}, "tcp-flags", false},
	{{.protocol = TCP, .type = F}, "tcp-flags", false},
	{{.protocol = TCP, .type = S | F}, "tcp-flags", false},
	{{.protocol = TCP, .type = S | U}, "tcp-flags", false},
	{{.v6 = true, .protocol = TCP, .type = S}, "none", false},
	{{.v6 = true, .protocol = TCP, .type = A}, "tcp-out-of-state", true},
	{{.protocol = UDP}, "none", false},
	{{.protocol = IPPROTO_SCTP}, "none", false},
	{{.protocol = 47}, "none", false},
	{{.protocol = ICMP, .type = 8}, "none", false},
	{{.protocol = ICMP, .type = 0}, "icmp-unrelated", false},
	{{.protocol = ICMP, .type = 13}, "none", false},
	{{.v6 = true, .protocol = V6, .type = 128}, "none", false},
	{{.v6 = true, .protocol = V6, .type = 129}, "icmp-unrelated", false},
	/* Of the other family, these are protocols like any other. */
	{{.v6 = true, .protocol = ICMP, .type = 8}, "none", false},
	{{.protocol = V6, .type = 128}, "none", false},
};

static void test_what_may_begin(void **state)
{
	(void)state;
	for (size_t i = 0; i < RTE_DIM(firsts); i++) {
		struct packet packet;
		struct frame f;

		make(&f, &firsts[i].sent);
		packet = parse(&f);
		const char *found = drop_name(connection_may_open(&packet));
		if (strcmp(found, firsts[i].reason) != 0 ||
			connection_may_pick_up(&packet) != firsts[i].may_pick_up)
			fail_msg("row %zu: %s", i, found);
	}
}

/* --- Steps ----------------------------------------------------------------------------------- */

struct fixture {
	struct cordon_switch *sw;
	struct conn conn;
};

static int set_up(void **state)
{
	struct fixture *fixture = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*fixture), 64));

	memset(fixture, 0, sizeof(*fixture));
	fixture->sw = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*fixture->sw), 64));
	memset(fixture->sw, 0, sizeof(*fixture->sw));
	*state = fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	free(fixture->sw);
	free(fixture);
	return 0;
}

/* A connection of the guest's, which counts as half-open. */
static void begin(struct fixture *fixture, const struct sent *first)
{
	struct conn *conn = &fixture->conn;
	const struct tcp_segment syn = {
		.sequence = first->number, .window = UINT16_MAX, .flags = S};

	memset(conn, 0, sizeof(*conn));
	atomic_store(&conn->verdict, CONN_ALLOWED);
	atomic_store(&conn->quota_port, GUEST | CONN_QUOTA_HALF_OPEN);
	atomic_store(&fixture->sw->quotas[GUEST].opened, HELD);
	if (first->protocol != TCP)
		return;
	atomic_store(&conn->flags, CONN_TCP);
	assert_int_equal(
		tcp_open(&conn->dir[0].tcp, &conn->dir[1].tcp, &syn, false), TCP_OK_STATE_CHANGED);
}

static const char *step(struct fixture *fixture, const struct sent *sent, bool *reopen)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	struct rte_mbuf mbuf;
	struct frame f;

	memset(&mbuf, 0, sizeof(mbuf));
	make(&f, sent);
	struct packet packet = parse(&f);
	mbuf.buf_addr = f.bytes;
	mbuf.data_len = (uint16_t)f.n;
	mbuf.pkt_len = f.n;
	mbuf.nb_segs = 1;
	worker->sw = fixture->sw;
	const struct packet_context context = {
		.worker = worker, .frame = &mbuf, .data = f.bytes, .packet = &packet};
	*reopen = false;
	const char *found =
		drop_name(connection_step(&context, &fixture->conn, sent->back, reopen));
	free(worker);
	return found;
}

static void expect_half_open(const struct fixture *fixture, bool half_open)
{
	const _Atomic uint64_t *opened = &fixture->sw->quotas[GUEST].opened;

	assert_int_equal(
		atomic_load(opened), half_open ? (uint64_t)HELD : (uint64_t)QUOTA_CONNECTION);
	assert_int_equal(!(atomic_load(&fixture->conn.flags) & CONN_CONFIRMED), half_open);
}

struct line {
	struct sent sent;
	const char *reason;
	bool half_open, reopen;
};

static void play(struct fixture *fixture, const struct line *lines, size_t n)
{
	bool reopen;

	begin(fixture, &lines[0].sent);
	for (size_t i = 0; i < n; i++) {
		const char *found = step(fixture, &lines[i].sent, &reopen);

		if (strcmp(found, lines[i].reason) != 0 || reopen != lines[i].reopen)
			fail_msg("line %zu: %s, not %s", i, found, lines[i].reason);
		expect_half_open(fixture, lines[i].half_open);
	}
}

static void test_udp_is_answered_by_its_first_answer(void **state)
{
	static const struct line lines[] = {
		{{.protocol = UDP}, "none", true, false},
		{{.protocol = UDP}, "none", true, false},
		{{.back = true, .protocol = UDP}, "none", false, false},
		{{.back = true, .protocol = UDP}, "none", false, false},
		{{.protocol = UDP}, "none", false, false},
	};

	play(*state, lines, RTE_DIM(lines));
}

/* Requests from one side, replies from the other, also where the identifier is the very number by
 * which the key tells them apart. */
static void test_echo(void **state)
{
	const struct {
		bool v6;
		uint8_t protocol, request, reply;
	} families[] = {{false, ICMP, 8, 0}, {true, V6, 128, 129}};

	for (size_t i = 0; i < RTE_DIM(families); i++) {
		struct sent there = {.v6 = families[i].v6,
			.protocol = families[i].protocol,
			.type = families[i].request};
		struct frame f;

		make(&f, &there);
		there.number = ntohs(parse(&f).key.destination_port);
		struct sent back = there, odd = there;
		back.back = odd.back = true;
		back.type = families[i].reply;
		const struct line lines[] = {
			{there, "none", true, false},
			{odd, "icmp-unrelated", true, false},
			{back, "none", false, false},
			{odd, "icmp-unrelated", false, false},
			{there, "none", false, false},
		};
		play(*state, lines, RTE_DIM(lines));
	}
}

/* ICMP of the other family is a protocol like any other, without types. */
static void test_foreign_icmp(void **state)
{
	for (unsigned int v6 = 0; v6 < 2; v6++) {
		const struct sent there = {.v6 = v6, .protocol = v6 ? ICMP : V6};
		const struct sent back = {.v6 = v6, .back = true, .protocol = v6 ? ICMP : V6};
		const struct line lines[] = {
			{there, "none", true, false},
			{back, "none", false, false},
			{there, "none", false, false},
		};

		play(*state, lines, RTE_DIM(lines));
	}
}

static void test_tcp(void **state)
{
	static const struct line lines[] = {
		{{.protocol = TCP, .type = S, .number = 1000}, "none", true, false},
		{{false, true, TCP, S | A, 5000, 1001, true}, "tcp-checksum", true, false},
		{{false, true, TCP, S | A, 5000, 1002, false}, "tcp-out-of-window", true, false},
		{{false, true, TCP, F | A, 5001, 1001, false}, "tcp-out-of-state", true, false},
		{{false, true, TCP, S | F, 5000, 1001, false}, "tcp-flags", true, false},
		{{false, true, TCP, S | A, 5000, 1001, false}, "none", true, false},
		{{false, false, TCP, A, 1001, 5001, true}, "tcp-checksum", true, false},
		{{false, false, TCP, A, 1001, 5001, false}, "none", false, false},
		{{false, false, TCP, P | A, 1001, 5001, true}, "none", false, false},
		{{false, false, TCP, R, 1001, 0, true}, "tcp-checksum", false, false},
		{{false, false, TCP, F | A, 1001, 5001, true}, "tcp-checksum", false, false},
		{{false, false, TCP, R, 900000, 0, false}, "tcp-out-of-window", false, false},
		{{false, false, TCP, R, 1001, 0, false}, "none", false, false},
		{{false, false, TCP, A, 1001, 5001, false}, "tcp-out-of-state", false, false},
		{{false, false, TCP, S, 70000, 0, false}, "none", false, true},
	};

	play(*state, lines, RTE_DIM(lines));
}

/* A copy can be stepped, and nobody is the wiser. */
static void test_a_copy(void **state)
{
	const struct sent syn = {.protocol = TCP, .type = S, .number = 1000};
	const struct sent answer = {false, true, TCP, S | A, 5000, 1001, false};
	const struct sent last = {false, false, TCP, A, 1001, 5001, false};
	struct fixture *fixture = *state;
	struct conn before;
	bool reopen;

	begin(fixture, &syn);
	memcpy(&before, &fixture->conn, sizeof(before));
	connection_copy(&before, &fixture->conn);
	assert_string_equal(step(fixture, &answer, &reopen), "none");
	assert_string_equal(step(fixture, &last, &reopen), "none");
	assert_int_equal(
		tcp_state(&fixture->conn.dir[0].tcp, &fixture->conn.dir[1].tcp), TCP_ESTABLISHED);
	assert_int_equal(tcp_state(&before.dir[0].tcp, &before.dir[1].tcp), TCP_SYN_SENT);
	assert_int_equal(atomic_load(&fixture->sw->quotas[GUEST].opened), HELD);
}

/* --- Life ------------------------------------------------------------------------------------ */

/* By how far each side has come; in an empty table, and in a full one. */
static const struct {
	const char *what;
	uint8_t protocol, flags, initiator, responder;
	bool denied;
	uint32_t seconds, pressed;
} lives[] = {
	{"SYN", TCP, 0, TCP_SIDE_SYN, TCP_SIDE_NOTHING, false, 30, 4},
	{"SYN-ACK", TCP, 0, TCP_SIDE_SYN, TCP_SIDE_SYN_ACK, false, 60, 7},
	{"open", TCP, CONN_CONFIRMED, TCP_SIDE_OPEN, TCP_SIDE_OPEN, false, 7440, 7440},
	{"picked up", TCP, 0, TCP_SIDE_OPEN, TCP_SIDE_NOTHING, false, 30, 4},
	{"half-closed", TCP, CONN_CONFIRMED, TCP_SIDE_FIN, TCP_SIDE_OPEN, false, 240, 25},
	{"closing", TCP, CONN_CONFIRMED, TCP_SIDE_FIN, TCP_SIDE_FIN, false, 240, 25},
	{"reset", TCP, CONN_CONFIRMED, TCP_SIDE_RESET, TCP_SIDE_OPEN, false, 10, 2},
	{"UDP", UDP, 0, 0, 0, false, 30, 4},
	{"UDP, answered", UDP, CONN_CONFIRMED, 0, 0, false, 300, 300},
	{"echo", ICMP, 0, 0, 0, false, 60, 60},
	{"echo over IPv6", V6, CONN_CONFIRMED, 0, 0, false, 60, 60},
	{"GRE", 47, 0, 0, 0, false, 30, 30},
	{"GRE, answered", 47, CONN_CONFIRMED, 0, 0, false, 300, 300},
	{"denied", UDP, 0, 0, 0, true, 10, 1},
};

static void expect_lives(const struct conn_table *table, bool full)
{
	for (size_t i = 0; i < RTE_DIM(lives); i++) {
		struct conn conn = {0};
		uint32_t expected = full ? lives[i].pressed : lives[i].seconds;

		atomic_store(&conn.verdict, lives[i].denied ? CONN_DENIED : CONN_ALLOWED);
		atomic_store(
			&conn.flags, lives[i].flags | (lives[i].protocol == TCP ? CONN_TCP : 0));
		atomic_store(&conn.dir[0].tcp.progress, lives[i].initiator);
		atomic_store(&conn.dir[1].tcp.progress, lives[i].responder);
		uint32_t found =
			connection_timeout(&timeouts_default, table, &conn, lives[i].protocol);
		if (found != expected)
			fail_msg("%s, in %s table: %u s, not %u", lives[i].what,
				full ? "a full" : "an empty", found, expected);
	}
}

static void test_how_long_it_lives(void **state)
{
	struct conn_open_report report;
	struct conn_cache cache = {0};
	char path[64];

	(void)state;
	make_path(path);
	struct conn_table *table = conn_table_open(path, CAPACITY, boot_id, &report);
	assert_non_null(table);
	expect_lives(table, false);
	for (uint32_t i = 0; i < CAPACITY * 9 / 10 + 1; i++) {
		const struct conn_key key = key_ipv4(i);

		assert_int_not_equal(add_to(table, &cache, &key, 0), CONN_FLOW_NONE);
	}
	expect_lives(table, true);
	conn_table_close(table);
	unlink(path);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_may_begin),
		TEST(test_udp_is_answered_by_its_first_answer),
		TEST(test_echo),
		TEST(test_foreign_icmp),
		TEST(test_tcp),
		TEST(test_a_copy),
		cmocka_unit_test(test_how_long_it_lives),
	};

	return cmocka_run_group_tests_name("connection", tests, NULL, NULL);
}
