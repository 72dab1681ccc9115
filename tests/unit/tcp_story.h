/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stories of TCP segments: tables of what each side sends, what must become of it, and the state
 * that the connection is in after it.  Include it after cmocka.h.
 */
#ifndef TESTS_UNIT_TCP_STORY_H
#define TESTS_UNIT_TCP_STORY_H

#include <stdlib.h>
#include <string.h>

#include "zones/tcp_state.h"

/* Who sends: the initiator's numbers start at 1000, the responder's at 5000. */
enum { I, R };

enum {
	F = TCP_FLAG_FIN,
	S = TCP_FLAG_SYN,
	RST = TCP_FLAG_RST,
	P = TCP_FLAG_PSH,
	A = TCP_FLAG_ACK,
	U = TCP_FLAG_URG,
};

struct line {
	int from;
	uint8_t flags;
	uint32_t sequence, acknowledgment, bytes;
	uint16_t window;
	enum tcp_result result;
	enum tcp_state state;
	const char *options; /* "s7": window scale 7; NULL: none. */
};

/* Short for what most lines say. */
#define CHANGED TCP_OK_STATE_CHANGED
#define EST	TCP_ESTABLISHED

static inline struct tcp_segment segment_of(const struct line *line, uint8_t options[8])
{
	struct tcp_segment segment = {
		.sequence = line->sequence,
		.acknowledgment = line->acknowledgment,
		.payload_bytes = line->bytes,
		.window = line->window,
		.flags = line->flags,
	};

	if (line->options) {
		const uint8_t bytes[] = {2, 4, 5, 180, 1, 3, 3, 0};

		memcpy(options, bytes, sizeof(bytes));
		options[7] = atoi(line->options + 1);
		segment.options = options;
		segment.options_bytes = sizeof(bytes);
	}
	return segment;
}

/* Plays one line.  The receiver's side must never be written, nor the sender's if it is refused,
 * but for the one case that ends a connection both have forgotten. */
static inline enum tcp_result play_line(
	struct tcp_side sides[2], const struct line *line, bool first)
{
	struct tcp_side before[2];
	uint8_t options[8];
	struct tcp_segment segment = segment_of(line, options);
	enum tcp_result result;

	if (first)
		return tcp_open(&sides[I], &sides[R], &segment, false);
	memcpy(before, sides, sizeof(before));
	result = tcp_step(&sides[line->from], &sides[!line->from], &segment, line->from == I);
	assert_memory_equal(&before[!line->from], &sides[!line->from], sizeof(before[0]));
	if (result > CHANGED && result != TCP_OUT_OF_STATE)
		assert_memory_equal(&before[line->from], &sides[line->from], sizeof(before[0]));
	return result;
}

static inline void play_on(
	struct tcp_side sides[2], const struct line *lines, size_t n, size_t from)
{
	for (size_t i = from; i < n; i++) {
		enum tcp_result result = play_line(sides, &lines[i], i == 0);
		enum tcp_state state = tcp_state(&sides[I], &sides[R]);

		if (result != lines[i].result || state != lines[i].state)
			print_error("line %zu: result %d, state %s; wanted %d, %s\n", i, result,
				tcp_state_name(state), lines[i].result,
				tcp_state_name(lines[i].state));
		assert_int_equal(result, lines[i].result);
		assert_int_equal(state, lines[i].state);
		assert_true(tcp_side_valid(&sides[I]) && tcp_side_valid(&sides[R]));
	}
}

#define PLAY(lines)                                                                                \
	do {                                                                                       \
		struct tcp_side sides_[2];                                                         \
		memset(sides_, 0xff, sizeof(sides_));                                              \
		play_on(sides_, lines, sizeof(lines) / sizeof(lines[0]), 0);                       \
	} while (0)

/* clang-format off */
#define HANDSHAKE                                                                                  \
	{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},                                \
	{R, S|A, 5000, 1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},                            \
	{I, A,   1001, 5001, 0, 8000, CHANGED, EST, NULL}
/* clang-format on */

#endif
