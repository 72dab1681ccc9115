/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP under attack and under odd stacks: stories of segments, as in tcp_state_test.c.  Who attacks
 * knows the addresses and the ports, and guesses at the numbers; what he sends must end nothing,
 * begin nothing, and reach nobody outside the window.  What real stacks do, however seldom, passes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/tcp_story.h"

/* clang-format off */
/* --- Blind injection ------------------------------------------------------------------------ */

/* Data counts only with a number in the window and an acknowledgment that could be (RFC 5961, 5). */
static void test_blind_data(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A,   1001, 5001,  500, 8000, TCP_OK, EST, NULL},
		{R, A,   5001, 1501,  900, 8000, TCP_OK, EST, NULL},
		{I, A,   1501, 5901,    0, 8000, TCP_OK, EST, NULL},
		/* Far from the window, on either side, and at the edges of what is signed. */
		{I, P|A, 100000,     5901, 10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, P|A, 4294960000u, 5901, 10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, P|A, 1501 + (1u << 31), 5901, 10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, P|A, 1500 + (1u << 31), 5901, 10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, P|A, 1501 + (1u << 30), 5901, 10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		/* In the window, but it acknowledges what was never sent, or what is too old. */
		{I, P|A, 1501, 5902,        10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, P|A, 1501, 5901 + 70000, 10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, P|A, 1501, 5901 + (1u << 31), 10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, P|A, 1501, 5900u - 8000 - TCP_ACK_SLACK, 10, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, P|A, 1501, 0,           10, 8000, TCP_OK, EST, NULL}, /* 66000 back is in order. */
		/* A segment that begins in the window and ends far behind it. */
		{R, P|A, 5901, 1501,      9000, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, P|A, 5901, 1511,       100, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* What lies between the two places where the receiver may stand ends nothing, though it lies in
 * the window: the receiver asks back (RFC 5961, 3.2). */
static void test_blind_reset(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A,     1001, 5001, 4000, 8000, TCP_OK, EST, NULL},
		{I, RST,   1002,    0,    0,    0, TCP_OK, EST, NULL},
		{I, RST,   3000,    0,    0,    0, TCP_OK, EST, NULL},
		{I, RST|A, 5000, 5001,    0,    0, TCP_OK, EST, NULL},
		{R, A,     5001, 1001,    0, 8000, TCP_OK, EST, NULL}, /* The challenge ACK. */
		{I, RST,   8000,    0,    0,    0, TCP_OK, EST, NULL},
		{I, RST,  10000,    0,    0,    0, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, RST, 1001 + (1u << 31), 0, 0, 0, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, RST,   5000,    0,    0,    0, TCP_OK, EST, NULL},
		{R, RST,   5002,    0,    0,    0, TCP_OK, EST, NULL},
		{I, A,     5001, 5001,  100, 8000, TCP_OK, EST, NULL}, /* It goes on. */
		{R, A,     5001, 5101,    0, 8000, TCP_OK, EST, NULL},
		{R, RST,   5001,    0,    0,    0, CHANGED, TCP_CLOSED, NULL},
	};
	/* An answer to data, of one who has lost the connection: at the number that was asked for. */
	static const struct line asked[] = {
		HANDSHAKE,
		{I, A,     1001, 5001, 4000, 8000, TCP_OK, EST, NULL},
		{I, RST,   3000,    0,    0,    0, TCP_OK, EST, NULL},
		{R, A,     5001, 1001,    0, 8000, TCP_OK, EST, NULL},
		{I, RST,   1001,    0,    0,    0, CHANGED, TCP_CLOSED, NULL},
	};
	/* The same while the reader is slow: where it stands is not known, so only the end will do. */
	static const struct line slow[] = {
		HANDSHAKE,
		{I, A,     1001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		{R, A,     5001, 9001,    0,    0, TCP_OK, EST, NULL},
		{R, A,     5001, 9001,    0, 2000, TCP_OK, EST, NULL},
		{I, A,     9001, 5001, 2000, 8000, TCP_OK, EST, NULL},
		{I, RST,   9001,    0,    0,    0, TCP_OK, EST, NULL},
		{I, RST,   3000,    0,    0,    0, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, RST,  11001,    0,    0,    0, CHANGED, TCP_CLOSED, NULL},
	};

	(void)state;
	PLAY(lines);
	PLAY(asked);
	PLAY(slow);
}

/* A SYN within an open connection changes nothing, wherever its number is (RFC 5961, 4.2). */
static void test_blind_syn(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A,   1001, 5001, 100, 8000, TCP_OK, EST, NULL},
		{I, S,   1101,    0,   0, 8000, TCP_OK, EST, NULL}, /* Exactly the next. */
		{R, A,   5001, 1101,   0, 8000, TCP_OK, EST, NULL},
		{I, S,   1101u - 200000, 0, 0, 8000, TCP_OK, EST, "s7"},
		{R, A,   5001, 1101,   0, 8000, TCP_OK, EST, NULL},
		{R, S,   5001,    0,   0, 8000, TCP_OUT_OF_STATE, EST, NULL},
		{R, S|A, 5001, 1101,   0, 8000, TCP_OK, EST, NULL},  /* In the window: it asks back. */
		{R, S|A, 90000, 1101,  0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, S|A, 90000, 5001,  0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		/* The window is what it was: the option came too late. */
		{I, A,   1101, 5001, 8002, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A,   1101, 5001, 100, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* Nobody but the responder knows what to acknowledge; and nothing else answers a SYN. */
static void test_forged_answers_to_a_syn(void **state)
{
	static const struct line lines[] = {
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S|A, 7000,    0, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 7000,  999, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 7000, 1000, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 7000, 1002, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 7000, 1001 + (1u << 31), 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, RST, 1001,    0, 0,    0, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, RST|A,  0, 1000, 0,    0, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, RST|A, 7000, 0xffffffff, 0, 0, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, P|A, 7001, 1001, 9, 8000, TCP_OUT_OF_STATE, TCP_SYN_SENT, NULL},
		{R, F|A, 7001, 1001, 0, 8000, TCP_OUT_OF_STATE, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		/* And nobody but the initiator knows what that acknowledges. */
		{I, A,   1001, 5000, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5002, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, P|A, 1001, 4000, 9, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, F|A, 1001, 5003, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, RST, 1003,    0, 0,    0, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{R, RST, 5003,    0, 0,    0, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{R, RST, 95000,   0, 0,    0, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5001, 0, 8000, CHANGED, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_forged_answers_in_a_simultaneous_open(void **state)
{
	static const struct line lines[] = {
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S,   5000,    0, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5000, 1000, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5000,    1, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5000, 1002, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5001, 1001, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, S|A, 1000, 5001, 0, 8000, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5000, 1001u - 200000, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5000, 1002, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5000, 1001, 0, 8000, CHANGED, EST, NULL},
	};
	/* Both give up at once, or one of them does. */
	static const struct line reset[] = {
		{I, S,     1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S,     5000,    0, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{R, RST|A, 9000, 1001, 0,    0, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{R, RST|A, 99000, 1001, 0,   0, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{R, RST|A, 5001, 1001, 0,    0, CHANGED, TCP_CLOSED, NULL},
		{I, RST|A, 1001, 5001, 0,    0, TCP_OK, TCP_CLOSED, NULL},
	};
	/* The handshake is finished by an ACK in place of the SYN-ACK, by a stack that merges them. */
	static const struct line merged[] = {
		{I, S,   1000,    0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S,   5000,    0, 0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5002, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5001, 0, 8000, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{R, A,   5001, 1001, 0, 8000, CHANGED, EST, NULL},
	};

	(void)state;
	PLAY(lines);
	PLAY(reset);
	PLAY(merged);
}

/* Two stacks that a thief has driven apart acknowledge at each other without end: it stops here. */
static void test_an_ack_storm(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A, 1001, 99000, 0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, A, 5001, 99000, 0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A, 99001, 5001, 0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, A, 99001, 1001, 0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A, 1001, 5001, 10, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* Whose SYN was refused has nothing more to say. */
static void test_data_behind_a_refusal(void **state)
{
	static const struct line lines[] = {
		{I, S,     4072033782u, 0, 0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, RST|A, 0, 4072033783u, 0,    0, CHANGED, TCP_CLOSED, NULL},
		{I, A,     4072033783u, 0, 0, 8000, TCP_OUT_OF_STATE, TCP_CLOSED, NULL},
		{I, P|A,   4072033783u, 1, 9, 8000, TCP_OUT_OF_STATE, TCP_CLOSED, NULL},
		{I, F|A,   4072033783u, 0, 0, 8000, TCP_OUT_OF_STATE, TCP_CLOSED, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_attacks_on_what_is_over(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, F|A, 1001, 5001, 0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{R, F|A, 5001, 1002, 0, 8000, CHANGED, TCP_CLOSING, NULL},
		{I, A,   1002, 5002, 0, 8000, CHANGED, TCP_TIME_WAIT, NULL},
		/* Nothing follows a FIN; an old segment may still come. */
		{R, P|A, 5002, 1002, 9, 8000, TCP_OUT_OF_WINDOW, TCP_TIME_WAIT, NULL},
		{R, A,   5002, 1002, 0, 8000, TCP_OK, TCP_TIME_WAIT, NULL},
		{I, A,   1002, 9999, 0, 8000, TCP_OUT_OF_WINDOW, TCP_TIME_WAIT, NULL},
		{R, RST, 4000,    0, 0,    0, TCP_OK, TCP_TIME_WAIT, NULL},
		{R, RST, 99000,   0, 0,    0, TCP_OUT_OF_WINDOW, TCP_TIME_WAIT, NULL},
		{R, RST, 5002,    0, 0,    0, CHANGED, TCP_CLOSED, NULL},
		{R, A,   5002, 1002, 0, 8000, TCP_OUT_OF_STATE, TCP_CLOSED, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* --- Odd, but real -------------------------------------------------------------------------- */

/* A SYN cookie that has expired meanwhile, or a responder that has started again. */
static void test_a_syn_ack_with_another_number(void **state)
{
	static const struct line lines[] = {
		{I, S,   1000,     0, 0, 8000, CHANGED, TCP_SYN_SENT, "s2"},
		{R, S|A, 5000,  1001, 0, 8000, CHANGED, TCP_SYN_RECEIVED, "s3"},
		{I, S,   1000,     0, 0, 8000, TCP_OK, TCP_SYN_RECEIVED, "s2"},
		{R, S|A, 700000, 1002, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 700000, 1001, 0, 8000, TCP_OK, TCP_SYN_RECEIVED, "s4"},
		{I, A,   1001, 5001, 0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 700001, 0, 8000, CHANGED, EST, NULL},
		{R, A,   700001, 1001, 0, 1000, TCP_OK, EST, NULL}, /* 1000 << 4. */
		{I, A,   1001, 700001, 16000, 8000, TCP_OK, EST, NULL},
		{I, A,   17001, 700001, 3, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		/* Once it is answered, no other one will do. */
		{R, S|A, 5000, 1001, 0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, S|A, 700000, 1001, 0, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* RFC 9293, 3.8.6: a receiver should not take a window back, but one that does is heard with what
 * it had granted before: the sender may have used it already. */
static void test_a_window_that_shrinks(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{R, A, 5001, 1001,    0, 8000, TCP_OK, EST, NULL},
		{R, A, 5001, 1001,    0, 1000, TCP_OK, EST, NULL},
		{I, A, 1001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		{R, A, 5001, 2001,    0,  500, TCP_OK, EST, NULL},
		{I, A, 2001, 5001, 7000, 8000, TCP_OK, EST, NULL}, /* Sent again. */
		{I, A, 9001, 5001,    2, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, A, 5001, 9001,    0,    0, TCP_OK, EST, NULL},
		{I, F|A, 9001, 5001,  0, 8000, CHANGED, TCP_FIN_WAIT, NULL}, /* Into a closed one. */
		{R, A, 5001, 9002,    0,    0, TCP_OK, TCP_FIN_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* 1 GiB, the largest that there is: half of what numbers can tell apart (RFC 7323, 2.3). */
static void test_the_largest_windows(void **state)
{
	static const struct line lines[] = {
		{I, S,   4000000000u, 0, 0, 65535, CHANGED, TCP_SYN_SENT, "s14"},
		{R, S|A, 3000000000u, 4000000001u, 0, 65535, CHANGED, TCP_SYN_RECEIVED, "s14"},
		{I, A,   4000000001u, 3000000001u, 0, 65535, CHANGED, EST, NULL},
		{R, A,   3000000001u, 4000000001u, 0, 65535, TCP_OK, EST, NULL},
		/* 65535 << 14 = 1073725440 may be sent, and end behind the turn. */
		{I, A,   4000000001u, 3000000001u, 1073725442, 65535, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A,   4000000001u, 3000000001u, 1073725440, 65535, TCP_OK, EST, NULL},
		{I, A,   778758145u, 3000000001u, 2, 65535, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A,   4000000001u, 3000000001u, 1000, 65535, TCP_OK, EST, NULL}, /* Again. */
		{I, A,   3999999999u, 3000000001u, 1000, 65535, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, A,   3000000001u, 778758145u, 0, 65535, TCP_OK, EST, NULL},
		{R, A,   3000000001u, 778758146u, 0, 65535, TCP_OUT_OF_WINDOW, EST, NULL},
		{R, RST, 3000000001u, 0, 0, 0, CHANGED, TCP_CLOSED, NULL},
	};

	(void)state;
	PLAY(lines);
}

static void test_a_fin_in_other_cuts(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A,   1001, 5001, 100, 8000, TCP_OK, EST, NULL},
		{I, F|A, 1101, 5001,  50, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		/* Sent again: all at once, the last part, or the FIN alone. */
		{I, F|A, 1001, 5001, 150, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{I, F|A, 1141, 5001,  10, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{I, F|A, 1151, 5001,   0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		/* A FIN elsewhere is not that one. */
		{I, F|A, 1001, 5001, 100, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{I, F|A, 1152, 5001,   0, 8000, TCP_OUT_OF_WINDOW, TCP_FIN_WAIT, NULL},
		{R, A,   5001, 1152,   0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{R, F|A, 5001, 1152,   0, 8000, CHANGED, TCP_CLOSING, NULL},
		{R, F|A, 5001, 1152,   0, 8000, TCP_OK, TCP_CLOSING, NULL},
		{I, A,   1152, 5001,   0, 8000, TCP_OK, TCP_CLOSING, NULL}, /* Not of the FIN yet. */
		{I, A,   1152, 5002,   0, 8000, CHANGED, TCP_TIME_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* A simultaneous open, whose initiator has had its answer: all that it sends next is here before the
 * SYN-ACK that was first. */
static void test_a_syn_ack_that_is_overtaken(void **state)
{
	static const struct line lines[] = {
		{I, S,   1000,    0,    0, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S,   5000,    0,    0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{R, S|A, 5000, 1001,    0, 8000, TCP_OK, TCP_SYN_RECEIVED, NULL},
		{I, F|A, 9001, 5001,    0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{I, S|A,  999, 5001,    0, 8000, TCP_OUT_OF_WINDOW, TCP_FIN_WAIT, NULL},
		{I, S|A, 1000, 5001,    0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{I, A,   1000, 5001,    0, 8000, TCP_OUT_OF_WINDOW, TCP_FIN_WAIT, NULL},
		{I, A,   1001, 5001, 8000, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
		{R, A,   5001, 9002,    0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* RFC 9293, 3.8.4: the number before the next, from either side, before any data as well. */
static void test_keepalives(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		{I, A, 1000, 5001, 0, 8000, TCP_OK, EST, NULL},
		{R, A, 5001, 1001, 0, 8000, TCP_OK, EST, NULL},
		{R, A, 5000, 1001, 1, 8000, TCP_OK, EST, NULL},
		{I, A, 1001, 5001, 0, 8000, TCP_OK, EST, NULL},
		{R, U|A, 5001, 1001, 1, 8000, TCP_OK, EST, NULL}, /* Urgent, and in order. */
		{I, A, 1001, 5002, 0, 8000, TCP_OK, EST, NULL},
	};

	(void)state;
	PLAY(lines);
}

/* RFC 7413: data in a SYN counts once, is sent again with it, and does not open a window. */
static void test_data_in_a_syn(void **state)
{
	static const struct line lines[] = {
		{I, S|P, 1000,    0, 700, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{I, S,   1000,    0,   0, 8000, TCP_OK, TCP_SYN_SENT, NULL}, /* Without it. */
		{R, S|A, 5000, 1702,   0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1001,   0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, A,   1001, 5001, 700, 8000, CHANGED, EST, NULL},
	};
	/* The responder has taken the data of the first one. */
	static const struct line taken[] = {
		{I, S,   1000,    0, 700, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{I, S,   1000,    0,   0, 8000, TCP_OK, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1702,   0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, S|A, 5000, 1701,   0, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, A,   1701, 5001,   0, 8000, CHANGED, EST, NULL},
	};
	static const struct line denied[] = {
		{I, S,     1000,    0, 700, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, RST|A,    0, 1702,   0,    0, TCP_OUT_OF_WINDOW, TCP_SYN_SENT, NULL},
		{R, RST|A,    0, 1701,   0,    0, CHANGED, TCP_CLOSED, NULL},
	};
	/* Both sides at once, and a FIN in the first segment behind the handshake. */
	static const struct line both[] = {
		{I, S,     1000,    0, 700, 8000, CHANGED, TCP_SYN_SENT, NULL},
		{R, S|A,   5000, 1701, 900, 8000, CHANGED, TCP_SYN_RECEIVED, NULL},
		{I, A,     1701, 5001,   0, 8000, TCP_OUT_OF_WINDOW, TCP_SYN_RECEIVED, NULL},
		{I, F|A,   1701, 5901,   0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		{R, A,     5901, 1702,   0, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
	};

	(void)state;
	PLAY(lines);
	PLAY(taken);
	PLAY(denied);
	PLAY(both);
}
/* clang-format on */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blind_data),
		cmocka_unit_test(test_blind_reset),
		cmocka_unit_test(test_blind_syn),
		cmocka_unit_test(test_forged_answers_to_a_syn),
		cmocka_unit_test(test_forged_answers_in_a_simultaneous_open),
		cmocka_unit_test(test_an_ack_storm),
		cmocka_unit_test(test_data_behind_a_refusal),
		cmocka_unit_test(test_attacks_on_what_is_over),
		cmocka_unit_test(test_a_syn_ack_with_another_number),
		cmocka_unit_test(test_a_window_that_shrinks),
		cmocka_unit_test(test_the_largest_windows),
		cmocka_unit_test(test_a_fin_in_other_cuts),
		cmocka_unit_test(test_a_syn_ack_that_is_overtaken),
		cmocka_unit_test(test_keepalives),
		cmocka_unit_test(test_data_in_a_syn),
	};

	return cmocka_run_group_tests_name("tcp_attack", tests, NULL, NULL);
}
