/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A switch on a stage: one worker as it is, with policy and log, between two ports that this
 * program plays.  Bursts of frames are scheduled, then run; callgrind counts what the worker does
 * from the return of a burst to its next look at a queue, but for the ports themselves.
 *
 *      stage_open()
 *      stage_receive() ...     what the ports will receive, in this order
 *      stage_run(uncounted)    what must have happened before
 *      stage_receive() ...
 *      stage_run(counted)
 *      stage_close()
 *
 * All functions are the main thread's.  What cannot be had ends the program with a sentence.
 */
#ifndef TESTS_BENCH_INSTRUCTIONS_STAGE_H
#define TESTS_BENCH_INSTRUCTIONS_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/switch.h"

/* The ports: a guest each, A in zone a, B in zone b. */
enum { PORT_A = 1, PORT_B = 2, N_PORTS };
enum { FRAMES_MAX = 16384, BURSTS_MAX = FRAMES_MAX / BURST_MAX };

/* Who the two guests are. */
struct stage_guest {
	const char *ip4, *ip6;
	uint8_t mac[6];
};
extern const struct stage_guest stage_guests[N_PORTS];

/* What came of a run. */
struct stage_result {
	uint32_t received, sent[N_PORTS]; /* Frames, by port. */
	uint64_t misses;		  /* Frames that took the miss path. */
	uint64_t drops[DROP_N_REASONS];
	uint32_t events; /* For the log. */
};

struct stage;

/* A switch with nothing in its table, which has room for `capacity` connections. */
struct stage *stage_open(uint32_t capacity);
void stage_close(struct stage *stage);

/* A buffer to make a frame in, which `port` will receive.  Every BURST_MAX of one port in a row are
 * a burst; frames of the other port, or stage_run(), end it early. */
struct rte_mbuf *stage_receive(struct stage *stage, uint16_t port);

/* Has the worker receive what was scheduled, and waits until it is done with it.  If `counted`,
 * callgrind's counts are dumped under that name.  The schedule is empty after it. */
struct stage_result stage_run(struct stage *stage, const char *counted);

/* As if a policy had been put into force: every flow is judged anew. */
void stage_commit(struct stage *stage);

void give_up(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#endif
