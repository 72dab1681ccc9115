/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to rejected packets, field by field: which RST answers which segment, what an ICMP error
 * quotes, what is never answered, and how many answers there are.  Nothing is sent: the worker's
 * batch is looked into.
 */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rte_eal.h>

#include "datapath/switch.h"
#include "tests/unit/frame.h"

enum { IN = 7, BUFFERS = 127, SECOND_NS = 1000000000, ANSWERS_PER_SECOND = 1000 };

enum { F = 1, S = 2, R = 4, P = 8, A = 16 };

struct fixture {
	struct cordon_switch *sw;
	struct worker *worker;
	_Atomic uint64_t drops[DROP_N_REASONS];
};

static struct rte_mempool *pool;

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	fixture->sw = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*fixture->sw), 64));
	memset(fixture->sw, 0, sizeof(*fixture->sw));
	fixture->sw->environment.pool = pool;
	fixture->worker = calloc(1, sizeof(*fixture->worker));
	fixture->worker->sw = fixture->sw;
	fixture->worker->drops = fixture->drops;
	fixture->worker->clock_ns = 100 * (uint64_t)SECOND_NS;
	*state = fixture;
	return 0;
}

/* Every buffer must be back in the pool once the batch is flushed, to a port that is not there. */
static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	output_flush(fixture->worker);
	assert_int_equal(rte_mempool_in_use_count(pool), 0);
	free(fixture->worker);
	free(fixture->sw);
	free(fixture);
	return 0;
}

static void begin(struct frame *f, int version, uint8_t protocol)
{
	frame_begin(f, MAC_B, MAC_A);
	if (version == 4)
		frame_ip4(f, "10.0.0.1", "10.0.0.2", protocol);
	else
		frame_ip6(f, "fd00::1", "fd00::2", protocol);
}

/* Rejects the frame.  Returns true with the answer, as a frame of the test's, if there is one. */
static bool answer_to(const struct fixture *fixture, const struct frame *f, struct frame *answer)
{
	struct worker *worker = fixture->worker;
	struct tx_batch *batch = &worker->tx[IN];
	struct rte_mbuf *frame = rte_pktmbuf_alloc(pool);
	struct port port = {.number = IN};
	struct packet packet;

	assert_non_null(frame);
	memcpy(rte_pktmbuf_append(frame, (uint16_t)f->n), f->bytes, f->n);
	struct packet_context context = {.worker = worker,
		.in = &port,
		.frame = frame,
		.data = rte_pktmbuf_mtod(frame, const uint8_t *),
		.packet = &packet};
	assert_string_equal(drop_name(packet_parse(context.data, f->n, f->n, &packet)), "none");
	reject_answer(&context);
	assert_memory_equal(context.data, f->bytes, f->n);
	rte_pktmbuf_free(frame);
	if (batch->n == 0)
		return false;
	assert_int_equal(batch->n, 1);
	*answer = *f;
	answer->n = rte_pktmbuf_pkt_len(batch->frames[0]);
	memcpy(answer->bytes, rte_pktmbuf_mtod(batch->frames[0], const void *), answer->n);
	output_flush(worker);
	return true;
}

static uint32_t get32(const struct frame *f, uint32_t at)
{
	return (uint32_t)f->bytes[at] << 24 | f->bytes[at + 1] << 16 | f->bytes[at + 2] << 8 |
	       f->bytes[at + 3];
}

/* From the host that was asked for, back by the way that the frame came, with right checksums. */
static void expect_well_formed(const struct frame *asked, struct frame *answer, uint8_t protocol)
{
	bool v4 = asked->bytes[asked->l3] >> 4 == 4;
	uint32_t n = v4 ? 4 : 16, source = asked->l3 + (v4 ? 12 : 8), destination = source + n;
	struct frame again;

	assert_memory_equal(answer->bytes, asked->bytes + 6, 6);
	assert_memory_equal(answer->bytes + 6, asked->bytes, 6);
	assert_memory_equal(answer->bytes + source, asked->bytes + destination, n);
	assert_memory_equal(answer->bytes + destination, asked->bytes + source, n);
	assert_int_equal(answer->bytes[asked->l3 + (v4 ? 9 : 6)], protocol);
	answer->protocol = protocol;
	answer->l4 = answer->l3 + (v4 ? 20 : 40);
	again = *answer;
	frame_end(&again);
	assert_memory_equal(again.bytes, answer->bytes, answer->n);
}

/* --- TCP ------------------------------------------------------------------------------------- */

/* RFC 9293, 3.10.7.1. */
static const struct {
	uint8_t flags;
	uint32_t sequence, acknowledgment, bytes;
	uint8_t answer;
	uint32_t answer_sequence, answer_acknowledgment;
} resets[] = {
	{S, 1000, 0, 0, R | A, 0, 1001},
	{S, 1000, 0, 500, R | A, 0, 1501},
	{S, 0xffffffff, 0, 0, R | A, 0, 0},
	{S, 0xffffffff, 0, 1, R | A, 0, 1},
	{F, 1000, 0, 10, R | A, 0, 1011},
	{P, 1000, 0, 10, R | A, 0, 1010},
	{A, 1000, 7000, 0, R, 7000, 0},
	{P | A, 1000, 7000, 50, R, 7000, 0},
	{F | A, 1000, 0xffffffff, 0, R, 0xffffffff, 0},
	{S | A, 1000, 7000, 0, R, 7000, 0},
};

static void test_resets(void **state)
{
	for (size_t i = 0; i < 2 * RTE_DIM(resets); i++) {
		const size_t at = i / 2;
		struct frame f, answer;

		begin(&f, i % 2 ? 6 : 4, IPPROTO_TCP);
		frame_tcp(&f, 4000, 80, resets[at].flags);
		frame_set32(&f, f.l4 + 4, resets[at].sequence);
		frame_set32(&f, f.l4 + 8, resets[at].acknowledgment);
		frame_fill(&f, resets[at].bytes);
		frame_end(&f);
		assert_true(answer_to(*state, &f, &answer));
		expect_well_formed(&f, &answer, IPPROTO_TCP);
		assert_int_equal(answer.n, answer.l4 + 20);
		assert_int_equal(get32(&answer, answer.l4), 80 << 16 | 4000);
		assert_int_equal(get32(&answer, answer.l4 + 4), resets[at].answer_sequence);
		assert_int_equal(get32(&answer, answer.l4 + 8), resets[at].answer_acknowledgment);
		assert_int_equal(answer.bytes[answer.l4 + 12], 5 << 4);
		assert_int_equal(answer.bytes[answer.l4 + 13], resets[at].answer);
	}
}

/* --- ICMP ------------------------------------------------------------------------------------ */

/* Administratively prohibited, with as much of the packet as fits (RFC 1812, 4.3.2.3; RFC 4443,
 * 2.4 c): its addresses and ports at least, so that the sender knows what it is about. */
static void expect_error(const struct frame *f, struct frame *answer, bool v4)
{
	expect_well_formed(f, answer, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	assert_int_equal(get32(answer, answer->l4) >> 16, v4 ? 3 << 8 | 13 : 1 << 8 | 1);
	assert_int_equal(get32(answer, answer->l4 + 4), 0);
	uint32_t quoted = answer->n - answer->l4 - 8;

	assert_in_range(quoted, f->l4 - f->l3 + 8, f->n - f->l3);
	assert_true(answer->n - answer->l3 <= (v4 ? 576 : 1280));
	assert_memory_equal(answer->bytes + answer->l4 + 8, f->bytes + f->l3, quoted);
}

static void test_errors(void **state)
{
	static const uint8_t protocols[] = {IPPROTO_UDP, IPPROTO_SCTP, 47, IPPROTO_ICMP};

	for (size_t i = 0; i < 4 * RTE_DIM(protocols); i++) {
		bool v4 = i % 2 == 0;
		uint8_t protocol = protocols[i / 4];
		struct frame f, answer;

		if (protocol == IPPROTO_ICMP && !v4)
			protocol = IPPROTO_ICMPV6;
		begin(&f, v4 ? 4 : 6, protocol);
		if (protocol == IPPROTO_UDP)
			frame_udp(&f, 4000, 53);
		else if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
			frame_icmp(&f, v4 ? 8 : 128, 0, 1, 1);
		else
			frame_zero(&f, 12);
		frame_fill(&f, i / 2 % 2 ? 1400 : 1);
		frame_end(&f);
		assert_true(answer_to(*state, &f, &answer));
		expect_error(&f, &answer, v4);
	}
}

/* --- silence --------------------------------------------------------------------------------- */

struct silent {
	const char *what, *source, *destination;
	bool group;
	uint8_t protocol, type;
};

/* RFC 1122, 3.2.2; RFC 4443, 2.4 e. */
static const struct silent silent[] = {
	{"RST", "10.0.0.1", "10.0.0.2", false, IPPROTO_TCP, R},
	{"RST and ACK", "10.0.0.1", "10.0.0.2", false, IPPROTO_TCP, R | A},
	{"RST over IPv6", "fd00::1", "fd00::2", false, IPPROTO_TCP, R},
	{"unreachable", "10.0.0.1", "10.0.0.2", false, IPPROTO_ICMP, 3},
	{"source quench", "10.0.0.1", "10.0.0.2", false, IPPROTO_ICMP, 4},
	{"redirect", "10.0.0.1", "10.0.0.2", false, IPPROTO_ICMP, 5},
	{"time exceeded", "10.0.0.1", "10.0.0.2", false, IPPROTO_ICMP, 11},
	{"parameter problem", "10.0.0.1", "10.0.0.2", false, IPPROTO_ICMP, 12},
	{"ICMPv6 error", "fd00::1", "fd00::2", false, IPPROTO_ICMPV6, 1},
	{"ICMPv6 error of the future", "fd00::1", "fd00::2", false, IPPROTO_ICMPV6, 100},
	{"ICMPv6 redirect", "fd00::1", "fd00::2", false, IPPROTO_ICMPV6, 137},
	{"to a group MAC", "10.0.0.1", "10.0.0.2", true, IPPROTO_UDP, 0},
	{"to a group", "10.0.0.1", "224.0.0.5", false, IPPROTO_UDP, 0},
	{"to all", "10.0.0.1", "255.255.255.255", false, IPPROTO_UDP, 0},
	{"from nobody", "0.0.0.0", "10.0.0.2", false, IPPROTO_UDP, 0},
	{"to a group over IPv6", "fd00::1", "ff02::5", false, IPPROTO_UDP, 0},
	{"from nobody over IPv6", "::", "fd00::2", false, IPPROTO_UDP, 0},
};

static void make_silent(struct frame *f, const struct silent *row)
{
	frame_begin(f, row->group ? MAC_ALL : MAC_B, MAC_A);
	if (strchr(row->source, ':') == NULL)
		frame_ip4(f, row->source, row->destination, row->protocol);
	else
		frame_ip6(f, row->source, row->destination, row->protocol);
	if (row->protocol == IPPROTO_TCP)
		frame_tcp(f, 1, 80, row->type);
	else if (row->protocol == IPPROTO_UDP)
		frame_udp(f, 1, 7);
	else
		frame_icmp(f, row->type, 0, 0, 0);
	frame_fill(f, 64);
	frame_end(f);
}

static void test_what_is_never_answered(void **state)
{
	struct frame f, answer;

	for (size_t i = 0; i < RTE_DIM(silent); i++) {
		make_silent(&f, &silent[i]);
		if (answer_to(*state, &f, &answer))
			fail_msg("%s was answered", silent[i].what);
	}
	frame_begin(&f, MAC_B, MAC_A);
	frame_type(&f, 0x88b5);
	frame_fill(&f, 64);
	assert_false(answer_to(*state, &f, &answer)); /* No IP, so no answer. */
}

/* A burst, and then so many a second: nobody is flooded by way of the switch. */
static void test_answers_are_limited(void **state)
{
	struct fixture *fixture = *state;
	struct frame f, answer;
	unsigned int n = 0;

	begin(&f, 4, IPPROTO_UDP);
	frame_udp(&f, 1, 2);
	frame_end(&f);
	for (unsigned int i = 0; i < 3 * ANSWERS_PER_SECOND; i++)
		n += answer_to(fixture, &f, &answer);
	assert_int_equal(n, ANSWERS_PER_SECOND);
	fixture->worker->clock_ns += SECOND_NS / 2;
	for (unsigned int i = 0; i < 3 * ANSWERS_PER_SECOND; i++)
		n += answer_to(fixture, &f, &answer);
	assert_int_equal(n, ANSWERS_PER_SECOND * 3 / 2);
	assert_int_equal(atomic_load(&fixture->worker->stats.answered), n);
}

static void test_no_buffer_for_an_answer(void **state)
{
	struct fixture *fixture = *state;
	struct rte_mbuf *taken[BUFFERS];
	unsigned int n = rte_mempool_avail_count(pool) - 1;
	struct frame f, answer;

	begin(&f, 4, IPPROTO_UDP);
	frame_udp(&f, 1, 2);
	frame_end(&f);
	assert_int_equal(rte_pktmbuf_alloc_bulk(pool, taken, n), 0);
	assert_false(answer_to(fixture, &f, &answer));
	rte_pktmbuf_free_bulk(taken, n);
	assert_true(answer_to(fixture, &f, &answer));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	char *arguments[] = {"reject_test", "--no-huge", "--no-shconf", "--no-pci",
		"--no-telemetry", "-m", "32", "--lcores", "0", "--log-level=4", NULL};
	const struct CMUnitTest tests[] = {
		TEST(test_resets),
		TEST(test_errors),
		TEST(test_what_is_never_answered),
		TEST(test_answers_are_limited),
		TEST(test_no_buffer_for_an_answer),
	};

	if (rte_eal_init(RTE_DIM(arguments) - 1, arguments) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create(
		"frames", BUFFERS, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
	return pool == NULL ? 1 : cmocka_run_group_tests_name("reject", tests, NULL, NULL);
}
