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

#include "tests/unit/tcp_story.h"

/* clang-format off */
/* --- From SYN to TIME-WAIT ------------------------------------------------------------------ */

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

/* --- Opening -------------------------------------------------------------------------------- */

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

/* --- Windows -------------------------------------------------------------------------------- */

static void test_what_is_outside_the_window(void **state)
{
	static const struct line lines[] = {
		HANDSHAKE,
		/* R has granted 1001 + 8000; one byte past that is let through, for a FIN. */
		{I, A, 1001, 5001, 8002, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A, 9003, 5001,    0, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
		{I, A, 1001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		{I, F|A, 9001, 5001,  0, 8000, CHANGED, TCP_FIN_WAIT, NULL},
		/* Behind the FIN, all of the window may come again. */
		{I, A, 1001, 5001, 8000, 8000, TCP_OK, TCP_FIN_WAIT, NULL},
	};
	static const struct line old[] = {
		HANDSHAKE,
		{I, A, 1001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		{R, A, 5001, 9001,    0, 8000, TCP_OK, EST, NULL},
		{I, A, 9001, 5001, 8000, 8000, TCP_OK, EST, NULL},
		/* Sent again: as much as one window behind, and no more. */
		{I, A, 9001, 5001, 1000, 8000, TCP_OK, EST, NULL},
		{I, A, 8999, 5001, 1000, 8000, TCP_OUT_OF_WINDOW, EST, NULL},
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

/* --- RST ------------------------------------------------------------------------------------ */

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

/* --- Lost state ----------------------------------------------------------------------------- */

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
		{R, S|A, 60000, 77001, 0, 8000, TCP_OUT_OF_STATE, EST, NULL},
		/* It is the SYN's next copy that decides; another one is let through as ever. */
		{I, S,   77001,    0,  0, 8000, TCP_OK, EST, NULL},
		{I, S,   77000,    0,  0, 8000, TCP_OK, EST, NULL},
		{I, S,   77000,    0,  0, 8000, TCP_REOPEN, EST, NULL},
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
	};

	return cmocka_run_group_tests_name("tcp_state", tests, NULL, NULL);
}
