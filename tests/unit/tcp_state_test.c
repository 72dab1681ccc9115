/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP as the switch sees it: each story is a table of segments, with what must become of each and
 * the state that the connection is in after it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

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

static struct tcp_segment segment_of(const struct line *line, uint8_t options[8])
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
static enum tcp_result play_line(struct tcp_side sides[2], const struct line *line, bool first)
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

static void play_on(struct tcp_side sides[2], const struct line *lines, size_t n, size_t from)
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

/* --- From SYN to TIME-WAIT -------------------------------------------------------------------- */

static void test_an_ordinary_connection(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, P|A, 1001, 5001, 300, 8000, TCP_OK, EST, NULL},
		{R, A,   5001, 1301,   0, 8000, TCP_OK, EST, NULL},
		{R, A,   5001, 1301, 1460, 8000, TCP_OK, EST, NULL},
		{R, P|A, 6461, 1301, 1000, 8000, TCP_OK, EST, NULL},
		{I, A,   1301, 7461,   0, 8000, TCP_OK, EST, NULL},
		{I, F|A, 1301, 7461,   0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{R, A,   7461, 1302,   0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{R, F|A, 7461, 1302,   0, 8000, CHANGED, TCP_CLOSING, NULL},
		{I, A,   1302, 7462,   0, 8000, CHANGED, TCP_TIME_WAIT, NULL},
		/* The last ACK was lost: the FIN comes again, and its ACK. */
		{R, F|A, 7461, 1302,   0, 8000, TCP_OK, TCP_TIME_WAIT, NULL},
		{I, A,   1302, 7462,   0, 8000, TCP_OK, TCP_TIME_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_a_half_close(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, F|P|A, 1001, 5001, 20, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{R, A,   5001, 1022,    0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{R, A,   5001, 1022, 5000, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{I, A,   1022, 10001,   0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{R, A,   10001, 1022, 5000, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{I, A,   1022, 15001,   0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{R, F|A, 15001, 1022,   0, 8000, CHANGED, TCP_CLOSING, NULL},
		{I, A,   1022, 15002,   0, 8000, CHANGED, TCP_TIME_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_both_close_at_once(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, F|A, 1001, 5001, 0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{R, F|A, 5001, 1001, 0, 8000, CHANGED, TCP_CLOSING, NULL},
		{I, A,   1002, 5002, 0, 8000, TCP_OK, TCP_CLOSING, NULL},
		{R, A,   5002, 1002, 0, 8000, CHANGED, TCP_TIME_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_the_responder_closes_first(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{R, F|A, 5001, 1001, 0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		/* FIN and ACK in one segment. */
		{I, F|A, 1001, 5002, 0, 8000, CHANGED, TCP_CLOSING, NULL},
		{R, A,   5002, 1002, 0, 8000, CHANGED, TCP_TIME_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_nothing_follows_a_fin(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, F|A, 1001, 5001, 10, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{I, A,   1012, 5001, 10, 8000, TCP_OUT_OF_WINDOW, TCP_FIN_WAIT, NULL},
		{I, A,   1001, 5001, 10, 8000, TCP_OK, TCP_FIN_WAIT, NULL}, /* Sent again. */
		{I, F|A, 1001, 5001, 10, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* --- Opening ---------------------------------------------------------------------------------- */

static void test_segments_of_the_handshake_are_repeated(void **state)
{
	static const struct line lines[] = {
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{I, S,   1000,    0, 0, 8000, TCP_OK, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, S,   1000,    0, 0, 8000, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5000, 1001, 0, 8000, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5001, 0, 8000, CHANGED, EST, NULL},
		{R, S|A, 5000, 1001, 0, 8000, TCP_OK, EST, NULL},
		{I, A,   1001, 5001, 0, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_a_syn_with_another_number_before_an_answer(void **state)
{
	static const struct line lines[] = {
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{I, S,   3000,    0, 0, 8000, TCP_OK, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1001, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 3001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, A,   3001, 5001, 0, 8000, CHANGED, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_a_simultaneous_open(void **state)
{
	static const struct line lines[] = { /* RFC 9293, 3.5, figure 7. */
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, "s2"},
		{R, S,   5000,    0, 0, 8000, CHANGED, TCP_SYN_RECEIVED, "s3"},
		{I, S|A, 1000, 5001, 0, 8000, TCP_OK, TCP_SYN_RECEIVED, "s2"},
		{R, S|A, 5000, 1001, 0, 8000, CHANGED, EST, "s3"},
		{I, A,   1001, 5001, 0, 8000, TCP_OK, EST, NULL},
		{R, A,   5001, 1001, 0, 8000, TCP_OK, EST, NULL},
		{I, A,   1001, 5001, 30000, 8000, TCP_OK, EST, NULL}, /* 8000 << 3 are granted. */
		{R, A,   5001, 31001, 30000, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_only_a_handshake_opens(void **state)
{
	static const struct line lines[] = {
		{I, S,   1000,    0,  0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{I, A,   1001, 5001,  0, 8000, TCP_OUT_OF_STATE, TCP_SYN_SENT, NULL},
		{I, P|A, 1001, 5001, 10, 8000, TCP_OUT_OF_STATE, TCP_SYN_SENT, NULL},
		{R, P|A, 5001, 1001, 10, 8000, TCP_OUT_OF_STATE, TCP_SYN_SENT, NULL},
		{R, F|A, 5001, 1001,  0, 8000, TCP_OUT_OF_STATE, TCP_SYN_SENT, NULL},
		{I, S|A, 1000, 5001,  0, 8000, TCP_OUT_OF_STATE, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1000,  0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1002,  0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1001,  0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		/* The handshake's last ACK must be exact. */
		{I, A,   1001, 5000,  0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5002,  0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, A,   9999, 5001,  0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5001,  0, 8000, CHANGED, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* RFC 7413: data in the SYN, of which the answer acknowledges none or all. */
static void test_fast_open(void **state)
{
	static const struct line none[] = {
		{I, S,   1000,    0, 500, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1001,   0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, P|A, 1001, 5001, 500, 8000, CHANGED, EST, NULL},
		{R, A,   5001, 1501,   0, 8000, TCP_OK, EST, NULL},
	};
	static const struct line all[] = {
		{I, S,   1000,    0, 500, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1501,   0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		/* The server may send before the handshake is done. */
		{R, P|A, 5001, 1501, 700, 8000, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{I, A,   1501, 5701,   0, 8000, CHANGED, EST, NULL},
	};

	(void)state;
	PLAY(none);
	PLAY(all);
}

/* --- Windows ---------------------------------------------------------------------------------- */

static void test_what_is_outside_the_window(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		/* R has granted 1001 + 8000; one byte past that is let through, for a FIN. */
		{I, A, 1001, 5001, 8002, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A, 9003, 5001,    0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A, 1001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		{I, F|A, 9001, 5001,  0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
	};
	static const struct line old[] = {
		HANDSHAKE,
		{I, A, 1001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		{R, A, 5001, 9001,    0, 8000, TCP_OK, EST, NULL},
		{I, A, 9001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		/* Sent again: as much as one window behind, and no more. */
		{I, A, 9001, 5001, 1000, 8000, TCP_OK, EST, NULL},
		{I, A, 9000, 5001, 1000, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A, 1001, 5001, 1000, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
	};
	static const struct line acks[] = {
		HANDSHAKE,
		{R, A, 5001, 1001, 8000, 8000, TCP_OK, EST, NULL},
		{I, A, 1001, 13001,   0, 8000, TCP_OK, EST, NULL},
		{I, A, 1001, 13002,   0, 8000, TCP_OUT_OF_WINDOW, EST, NULL}, /* Never sent. */
		{I, A, 1001, 12000,   0, 8000, TCP_OK, EST, NULL},            /* Overtaken. */
		{I, A, 1001, 13001u - 8000 - TCP_ACK_SLACK, 0, 8000, TCP_OK, EST, NULL},
		{I, A, 1001, 13000u - 8000 - TCP_ACK_SLACK, 0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
	};

	(void)state;
	PLAY(lines);
	PLAY(old);
	PLAY(acks);
}

static void test_segments_in_disorder(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A,   3921, 5001, 1460, 8000, TCP_OK, EST, NULL},
		{I, A,   1001, 5001, 1460, 8000, TCP_OK, EST, NULL},
		{I, A,   2461, 5001, 1460, 8000, TCP_OK, EST, NULL},
		{R, A,   5001, 5381,    0, 8000, TCP_OK, EST, NULL},
		/* The FIN overtakes the last data. */
		{I, F|A, 6841, 5001,    0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{I, A,   5381, 5001, 1460, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_windows_are_scaled_if_both_offer_it(void **state)
{
	static const struct line both[] = {
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, "s4"},
		{R, S|A, 5000, 1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, "s7"},
		/* A SYN's own window is not scaled (RFC 7323, 2.2). */
		{I, A,   1001, 5001, 8002, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5001, 0, 8000, CHANGED, EST, NULL},
		{R, A,   5001, 1001, 0, 1000, TCP_OK, EST, NULL}, /* 128000 bytes. */
		{I, A,   1001, 5001, 65000, 8000, TCP_OK, EST, NULL}, /* A TSO frame. */
		{I, A,   66001, 5001, 63000, 8000, TCP_OK, EST, NULL},
		{I, A,   129001, 5001, 2, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, A,   5001, 129001, 65000, 1000, TCP_OK, EST, NULL}, /* 8000 << 4. */
		{R, A,   70001, 129001, 63000, 1000, TCP_OK, EST, NULL},
		{R, A,   133001, 129001, 2, 1000, TCP_OUT_OF_WINDOW, EST, NULL},
	};
	static const struct line one[] = {
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, "s4"},
		{R, S|A, 5000, 1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5001, 0, 8000, CHANGED, EST, NULL},
		{R, A,   5001, 1001, 8002, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, A,   5001, 1001, 8000, 8000, TCP_OK, EST, NULL},
	};
	static const struct line too_large[] = { /* RFC 7323, 2.3: 14 in place of 200. */
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, "s0"},
		{R, S|A, 5000, 1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, "s200"},
		{I, A,   1001, 5001, 0, 8000, CHANGED, EST, NULL},
		{R, A,   5001, 1001, 0, 2, TCP_OK, EST, NULL},
		{I, A,   1001, 5001, 32768, 8000, TCP_OK, EST, NULL},
		{I, A,   33769, 5001, 2, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
	};

	(void)state;
	PLAY(both);
	PLAY(one);
	PLAY(too_large);
}

static void test_probes_pass(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A, 1001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		{R, A, 5001, 9001,    0,    0, TCP_OK, EST, NULL}, /* The window is closed. */
		{I, A, 9001, 5001,    1, 8000, TCP_OK, EST, NULL}, /* A zero window probe. */
		{R, A, 5001, 9001,    0,    0, TCP_OK, EST, NULL},
		{I, A, 9000, 5001,    0, 8000, TCP_OK, EST, NULL}, /* One of Linux's. */
		{R, A, 5001, 9001,    0, 8000, TCP_OK, EST, NULL},
		{I, A, 9001, 5001,    1, 8000, TCP_OK, EST, NULL},
		{R, A, 5001, 9002,    0, 8000, TCP_OK, EST, NULL},
		/* Keepalives (RFC 9293, 3.8.4), with and without their byte of garbage. */
		{I, A, 9001, 5001,    0, 8000, TCP_OK, EST, NULL},
		{R, A, 5001, 9002,    0, 8000, TCP_OK, EST, NULL},
		{I, A, 9001, 5001,    1, 8000, TCP_OK, EST, NULL},
		{R, A, 5000, 9002,    1, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_numbers_wrap(void **state)
{
	static const struct line lines[] = {
		{I, S,   4294967290u, 0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S|A, 4294967295u, 4294967291u, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, A,   4294967291u, 0, 0, 8000, CHANGED, EST, NULL},
		{I, A,   4294967291u, 0, 100, 8000, TCP_OK, EST, NULL},
		{R, A,   0, 95, 0, 8000, TCP_OK, EST, NULL},
		{I, A,   95, 0, 8002, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, F|A, 95, 0, 100, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{R, F|A, 0, 196, 0, 8000, CHANGED, TCP_CLOSING, NULL},
		{I, A,   196, 1, 0, 8000, CHANGED, TCP_TIME_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* --- RST -------------------------------------------------------------------------------------- */

static void test_a_syn_is_denied(void **state)
{
	static const struct line lines[] = { /* RFC 9293, 3.10.7.3. */
		{I, S,     1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, RST,      0,    0, 0,    0, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, RST|A,    0, 1000, 0,    0, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, RST|A,    0, 1002, 0,    0, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, RST|A,    0, 1001, 0,    0, CHANGED, TCP_CLOSED, NULL},
		{I, S,     1000,    0, 0, 8000, TCP_REOPEN, TCP_CLOSED, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_the_initiator_takes_its_syn_back(void **state)
{
	static const struct line unanswered[] = {
		{I, S,     1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{I, RST,   1001,    0, 0,    0, CHANGED, TCP_CLOSED, NULL},
		{R, S|A,   5000, 1001, 0, 8000, TCP_OUT_OF_STATE, TCP_CLOSED, NULL},
	};
	static const struct line answered[] = {
		{I, S,     1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S|A,   5000, 1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, RST,   1000,    0, 0,    0, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{I, RST,   1001,    0, 0,    0, CHANGED, TCP_CLOSED, NULL},
	};

	(void)state;
	PLAY(unanswered);
	PLAY(answered);
}

static void test_a_reset_ends_where_the_receiver_may_stand(void **state)
{
	static const struct line exact[] = {
		HANDSHAKE,
		{I, A,     1001, 5001, 100, 8000, TCP_OK, EST, NULL},
		{R, A,     5001, 1101,   0, 8000, TCP_OK, EST, NULL},
		{I, RST|A, 1101, 5001,   0,    0, CHANGED, TCP_CLOSED, NULL},
		/* It may come more than once; the other side may still be sending. */
		{I, RST|A, 1101, 5001,   0,    0, TCP_OK, TCP_CLOSED, NULL},
		{R, A,     5001, 1101, 100, 8000, TCP_OK, TCP_CLOSED, NULL},
		{I, A,     1101, 5001, 100, 8000, TCP_OUT_OF_STATE, TCP_CLOSED, NULL},
		{R, S,     9000,    0,   0, 8000, TCP_REOPEN, TCP_CLOSED, NULL},
	};
	static const struct line unacknowledged[] = {
		HANDSHAKE,
		{I, A,     1001, 5001, 100, 8000, TCP_OK, EST, NULL},
		/* The 100 bytes were lost on the way: this is where R stands. */
		{I, RST,   1001,    0,   0,    0, CHANGED, TCP_CLOSED, NULL},
	};
	static const struct line blind[] = {
		HANDSHAKE,
		{I, A,     1001, 5001, 100, 8000, TCP_OK, EST, NULL},
		{R, A,     5001, 1101,   0, 8000, TCP_OK, EST, NULL},
		/* In the window, not exact: R asks back (RFC 5961, 3.2), and nothing ends. */
		{I, RST,   1102,    0,   0,    0, TCP_OK, EST, NULL},
		{I, RST,   1100,    0,   0,    0, TCP_OK, EST, NULL},
		{I, RST,   9101,    0,   0,    0, TCP_OK, EST, NULL},
		{I, RST,   9102,    0,   0,    0, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, RST,  90000,    0,   0,    0, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, RST,   1101u - 8001, 0, 0, 0, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, A,     5001, 1101,  10, 8000, TCP_OK, EST, NULL},
		{I, A,     1101, 5011,   0, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(exact);
	PLAY(unacknowledged);
	PLAY(blind);
}

/* --- Lost state ------------------------------------------------------------------------------- */

/* The initiator crashed and opens anew (RFC 9293, 3.5.1, figure 9; RFC 5961, 4). */
static void test_the_initiator_has_forgotten(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A,   1001, 5001, 100, 8000, TCP_OK, EST, NULL},
		{R, A,   5001, 1101,   0, 8000, TCP_OK, EST, NULL},
		{I, S,  77000,    0,   0, 8000, TCP_OK, EST, NULL},
		{R, A,   5001, 1101,   0, 8000, TCP_OK, EST, NULL}, /* The challenge ACK. */
		{I, RST, 1101,    0,   0,    0, CHANGED, TCP_CLOSED, NULL},
		{I, S,  77000,    0,   0, 8000, TCP_REOPEN, TCP_CLOSED, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_both_have_forgotten(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A,   1001, 5001, 100, 8000, TCP_OK, EST, NULL},
		/* Nobody's answer: it is not the SYN-ACK of a SYN that was let through. */
		{R, S|A, 60000, 77001, 0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, S,   77000,    0,  0, 8000, TCP_OK, EST, NULL},
		{R, S|A, 60000, 5555,  0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, S|A, 60000, 77001, 0, 8000, TCP_OUT_OF_STATE, TCP_CLOSED, NULL},
		{I, S,   77000,    0,  0, 8000, TCP_REOPEN, TCP_CLOSED, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* A SYN from the other side is another connection, for which the policy was not asked. */
static void test_the_responder_may_not_open(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{R, S,   9000,    0, 0, 8000, TCP_OUT_OF_STATE, EST, NULL},
		{R, A,   5001, 1001, 0, 8000, TCP_OK, EST, NULL},
		{R, S,   9000,    0, 0, 8000, TCP_OUT_OF_STATE, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* The responder has an older connection (RFC 9293, 3.5.1): an ACK in place of a SYN-ACK passes, and
 * so does the RST that answers it. */
static void test_the_responder_remembers_an_older_connection(void **state)
{
	static const struct line lines[] = {
		{I, S,    1000,     0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, A,   80000, 70000, 0, 8000, TCP_OK, TCP_SYN_SENT, NULL},
		{I, RST, 70000,     0, 0,    0, TCP_OK, TCP_SYN_SENT, NULL},
		{I, S,    1000,     0, 0, 8000, TCP_OK, TCP_SYN_SENT, NULL},
		{R, S|A,  5000,  1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, A,    1001,  5001, 0, 8000, CHANGED, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_a_finished_connection_is_reopened(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, F|A, 1001, 5001, 0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{R, F|A, 5001, 1002, 0, 8000, CHANGED, TCP_CLOSING, NULL},
		{I, S,   9000,    0, 0, 8000, TCP_OK, TCP_CLOSING, NULL}, /* Not finished yet. */
		{I, A,   1002, 5002, 0, 8000, CHANGED, TCP_TIME_WAIT, NULL},
		{I, S,   9000,    0, 0, 8000, TCP_REOPEN, TCP_TIME_WAIT, NULL},
		{R, S,   9000,    0, 0, 8000, TCP_REOPEN, TCP_TIME_WAIT, NULL},
		{R, S|A, 9000, 5555, 0, 8000, TCP_OUT_OF_WINDOW, TCP_TIME_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_senseless_flags(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, 0,       1001, 5001, 0, 8000, TCP_BAD_FLAGS, EST, NULL},
		{I, F,       1001, 5001, 0, 8000, TCP_BAD_FLAGS, EST, NULL},
		{I, P,       1001, 5001, 0, 8000, TCP_BAD_FLAGS, EST, NULL},
		{I, S|F,     1001, 5001, 0, 8000, TCP_BAD_FLAGS, EST, NULL},
		{I, S|F|A,   1001, 5001, 0, 8000, TCP_BAD_FLAGS, EST, NULL},
		{I, S|RST,   1001, 5001, 0, 8000, TCP_BAD_FLAGS, EST, NULL},
		{I, F|P|U,   1001, 5001, 0, 8000, TCP_BAD_FLAGS, EST, NULL},
		{I, RST|F|A, 1001, 5001, 0, 8000, TCP_BAD_FLAGS, EST, NULL},
		{I, P|U|A,   1001, 5001, 5, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}
/* clang-format on */

/* --- Apart from stories ----------------------------------------------------------------------- */

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
	assert_int_equal(tcp_step(&sides[R], &sides[I], &reply, false), TCP_OK);
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
		cmocka_unit_test(test_an_ordinary_connection),
		cmocka_unit_test(test_a_half_close),
		cmocka_unit_test(test_both_close_at_once),
		cmocka_unit_test(test_the_responder_closes_first),
		cmocka_unit_test(test_nothing_follows_a_fin),
		cmocka_unit_test(test_segments_of_the_handshake_are_repeated),
		cmocka_unit_test(test_a_syn_with_another_number_before_an_answer),
		cmocka_unit_test(test_a_simultaneous_open),
		cmocka_unit_test(test_only_a_handshake_opens),
		cmocka_unit_test(test_fast_open),
		cmocka_unit_test(test_what_is_outside_the_window),
		cmocka_unit_test(test_segments_in_disorder),
		cmocka_unit_test(test_windows_are_scaled_if_both_offer_it),
		cmocka_unit_test(test_probes_pass),
		cmocka_unit_test(test_numbers_wrap),
		cmocka_unit_test(test_a_syn_is_denied),
		cmocka_unit_test(test_the_initiator_takes_its_syn_back),
		cmocka_unit_test(test_a_reset_ends_where_the_receiver_may_stand),
		cmocka_unit_test(test_the_initiator_has_forgotten),
		cmocka_unit_test(test_both_have_forgotten),
		cmocka_unit_test(test_the_responder_may_not_open),
		cmocka_unit_test(test_the_responder_remembers_an_older_connection),
		cmocka_unit_test(test_a_finished_connection_is_reopened),
		cmocka_unit_test(test_senseless_flags),
		cmocka_unit_test(test_the_flags_that_stacks_send),
		cmocka_unit_test(test_only_a_syn_begins),
		cmocka_unit_test(test_picking_up),
		cmocka_unit_test(test_malformed_options),
		cmocka_unit_test(test_flags_are_gathered),
		cmocka_unit_test(test_the_short_way_gives_the_same_answer),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("tcp_state", tests, NULL, NULL);
}
