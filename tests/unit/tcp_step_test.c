/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP as the switch sees it, segment by segment: flags, options, first segments, and the hit path
 * beside the rest of the machine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/tcp_story.h"

static void test_the_flags_that_stacks_send(void **state)
{
	static const uint8_t good[] = {S, S | A, A, A | F, RST, RST | A};

	(void)state;
	for (unsigned int flags = 0; flags < 256; flags++) {
		bool expected = false;

		for (size_t i = 0; i < sizeof(good); i++)
			expected |= (flags & (S | A | F | RST)) == good[i];
		if (flags & U && !(flags & A))
			expected = false;
		assert_int_equal(tcp_flags_valid(flags), expected);
	}
}

static void test_only_a_syn_begins(void **state)
{
	static const struct {
		uint8_t flags;
		enum tcp_result result;
	} cases[] = {
		{S, CHANGED},
		{S | P, CHANGED},
		{A, TCP_OUT_OF_STATE},
		{S | A, TCP_OUT_OF_STATE},
		{F | A, TCP_OUT_OF_STATE},
		{RST, TCP_OUT_OF_STATE},
		{RST | A, TCP_OUT_OF_STATE},
		{0, TCP_BAD_FLAGS},
		{S | F, TCP_BAD_FLAGS},
		{S | U, TCP_BAD_FLAGS},
	};
	struct tcp_side sides[2];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tcp_segment segment = {.sequence = 7, .flags = cases[i].flags};

		memset(sides, 0xff, sizeof(sides));
		assert_int_equal(tcp_open(&sides[I], &sides[R], &segment, false), cases[i].result);
		assert_int_equal(tcp_state(&sides[I], &sides[R]),
			cases[i].result == CHANGED ? TCP_SYN_SENT : TCP_NONE);
		assert_true(tcp_side_valid(&sides[I]) && tcp_side_valid(&sides[R]));
	}
}

/* In mid-stream nothing is known but that the numbers must stay near each other. */
static void test_picking_up(void **state)
{
	struct tcp_side sides[2];
	struct tcp_segment first = {.sequence = 100000,
		.acknowledgment = 700000,
		.payload_bytes = 100,
		.window = 200,
		.flags = A};
	struct tcp_segment wild = {.sequence = 700000 + (1u << 31), .flags = A, .window = 100};
	struct tcp_segment reply = {.sequence = 700000,
		.acknowledgment = 101000, /* The first that was seen had been sent again. */
		.payload_bytes = 50000,
		.window = 100,
		.flags = A};
	struct tcp_segment close = {.sequence = 101000, .flags = RST};

	(void)state;
	assert_int_equal(tcp_open(&sides[I], &sides[R], &first, true), CHANGED);
	assert_int_equal(tcp_state(&sides[I], &sides[R]), EST);
	assert_int_equal(tcp_step(&sides[I], &sides[R], &first, true), TCP_OK);
	assert_int_equal(tcp_step(&sides[R], &sides[I], &wild, false), TCP_OUT_OF_WINDOW);
	assert_int_equal(tcp_step(&sides[R], &sides[I], &reply, false), CHANGED);
	reply.sequence += reply.payload_bytes;
	assert_int_equal(tcp_step(&sides[R], &sides[I], &reply, false), TCP_OK);
	assert_int_equal(tcp_step(&sides[I], &sides[R], &wild, true), TCP_OUT_OF_WINDOW);
	first.payload_bytes = 1000;
	assert_int_equal(tcp_step(&sides[I], &sides[R], &first, true), TCP_OK);
	assert_int_equal(tcp_step(&sides[I], &sides[R], &close, true), CHANGED);
	assert_int_equal(tcp_state(&sides[I], &sides[R]), TCP_CLOSED);
}

static void test_malformed_options(void **state)
{
	static const struct {
		uint8_t bytes[8], n, scale;
		bool scales;
	} cases[] = {
		{{3, 3, 7}, 3, 7, true},
		{{1, 1, 1, 3, 3, 7}, 6, 7, true},
		{{2, 4, 5, 180, 3, 3, 7}, 7, 7, true},
		{{3, 3}, 2, 0, false}, /* Cut off. */
		{{3, 3, 7}, 2, 0, false},
		{{3, 4, 7, 7}, 4, 0, false},	/* Of another length. */
		{{0, 3, 3, 7}, 4, 0, false},	/* Behind the end of the list. */
		{{8, 0, 3, 3, 7}, 5, 0, false}, /* No length. */
		{{8, 1, 3, 3, 7}, 5, 0, false},
		{{8, 200, 3, 3, 7}, 5, 0, false},
		{{1, 1, 1, 1}, 4, 0, false},
		{{3}, 1, 0, false},
		{{0}, 0, 0, false},
	};
	struct tcp_side sides[2];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		/* On the heap, to the byte, so that a sanitizer sees a read past the end. */
		uint8_t *options = malloc(cases[i].n ? cases[i].n : 1);
		struct tcp_segment segment = {
			.flags = S, .options = options, .options_bytes = cases[i].n};

		memcpy(options, cases[i].bytes, cases[i].n);
		assert_int_equal(tcp_open(&sides[I], &sides[R], &segment, false), CHANGED);
		assert_int_equal(sides[I].flags,
			cases[i].scales ? TCP_SIDE_SCALES | cases[i].scale << TCP_SIDE_SCALE_SHIFT
					: 0);
		free(options);
	}
}

static void test_flags_are_gathered(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, P | A, 1001, 5001, 1, 8000, TCP_OK, EST, NULL},
		{R, F | A, 5001, 1002, 0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{R, U | A, 95001, 1002, 0, 8000, TCP_OUT_OF_WINDOW, TCP_FIN_WAIT, NULL},
	};
	struct tcp_side sides[2];

	(void)state;
	play_on(sides, lines, sizeof(lines) / sizeof(lines[0]), 0);
	assert_int_equal(sides[I].flags_seen, S | A | P);
	assert_int_equal(sides[R].flags_seen, S | A | F);
}

static uint32_t next_random(uint32_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 17;
	return *random ^= *random << 5;
}

/* The hit path is a shortcut, not another opinion. */
static void test_the_short_way_gives_the_same_answer(void **state)
{
	static const struct line lines[] = {
		{I, S, 1000, 0, 0, 8000, CHANGED, TCP_SYN_SENT, "s1"},
		{R, S | A, 5000, 1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, "s2"},
		{I, A, 1001, 5001, 0, 8000, CHANGED, EST, NULL},
		{R, A, 5001, 1001, 0, 8000, TCP_OK, EST, NULL},
	};
	struct tcp_side sides[2], slow[2];
	uint32_t random = 1, passed = 0;

	(void)state;
	play_on(sides, lines, sizeof(lines) / sizeof(lines[0]), 0);
	for (uint32_t i = 0; i < 200000; i++) {
		int from = next_random(&random) & 1;
		struct tcp_segment segment = {
			.sequence = sides[from].sent_end + next_random(&random) % 8192 - 4096,
			.acknowledgment = sides[!from].sent_end - next_random(&random) % 8192 + 512,
			.payload_bytes = next_random(&random) % 3000,
			.window = next_random(&random) % 20000,
			.flags = A | (next_random(&random) & (P | U)),
		};
		enum tcp_result result;

		memcpy(slow, sides, sizeof(slow));
		result = tcp_step(&sides[from], &sides[!from], &segment, from == I);
		assert_int_equal(
			tcp_step_rare(&slow[from], &slow[!from], &segment, from == I), result);
		assert_memory_equal(slow, sides, sizeof(slow));
		passed += result == TCP_OK;
	}
	assert_in_range(passed, 20000, 199000);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(tcp_state_name(TCP_NONE), "NONE");
	assert_string_equal(tcp_state_name(TCP_SYN_SENT), "SYN-SENT");
	assert_string_equal(tcp_state_name(TCP_SYN_RECEIVED), "SYN-RECEIVED");
	assert_string_equal(tcp_state_name(TCP_ESTABLISHED), "ESTABLISHED");
	assert_string_equal(tcp_state_name(TCP_FIN_WAIT), "FIN-WAIT");
	assert_string_equal(tcp_state_name(TCP_CLOSING), "CLOSING");
	assert_string_equal(tcp_state_name(TCP_TIME_WAIT), "TIME-WAIT");
	assert_string_equal(tcp_state_name(TCP_CLOSED), "CLOSED");
	assert_string_equal(tcp_state_name(TCP_N_STATES), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_flags_that_stacks_send),
		cmocka_unit_test(test_only_a_syn_begins),
		cmocka_unit_test(test_picking_up),
		cmocka_unit_test(test_malformed_options),
		cmocka_unit_test(test_flags_are_gathered),
		cmocka_unit_test(test_the_short_way_gives_the_same_answer),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("tcp_step", tests, NULL, NULL);
}
