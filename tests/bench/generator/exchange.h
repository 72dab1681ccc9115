/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both sides sending to each other at once, evenly or as fast as the rings take it: what modes
 * forward and latency measure.
 */
#ifndef GENERATOR_EXCHANGE_H
#define GENERATOR_EXCHANGE_H

#include "tests/bench/generator/histogram.h"
#include "tests/bench/generator/mode.h"

/* What happened so far.  Arrays are by the side that sent. */
struct exchange {
	uint64_t offered[N_SIDES];  /* By the clock; without a rate, what was sent. */
	uint64_t sent[N_SIDES];	    /* Taken by the ring. */
	uint64_t received[N_SIDES]; /* By the other side, while sending went on. */
	uint64_t drained[N_SIDES];  /* And afterwards. */

	/* The generator's own load, in ticks. */
	uint64_t ticks_per_second;
	uint64_t ticks;	     /* In all. */
	uint64_t busy_ticks; /* In sending or taking in at least one frame. */

	struct pace pace[N_SIDES];
	struct flow_range range[N_SIDES];
	struct histogram *latency; /* In ticks, of stamped frames; or NULL. */
};

/* Begins at the first flow, with this rate for both directions together; 0: as fast as can be. */
void exchange_start(struct exchange *exchange, const struct generator *generator, double mpps);

/* Sends and receives for so long.  Returns 0, or a negative errno after saying why if the device is
 * gone. */
int exchange_run(struct exchange *exchange, struct generator *generator, unsigned int milliseconds);

/* Takes in what is still on its way. */
void exchange_drain(
	struct exchange *exchange, struct generator *generator, unsigned int milliseconds);

/* What happened between an earlier state and this one. */
struct exchange exchange_since(const struct exchange *now, const struct exchange *then);

double exchange_seconds(const struct exchange *exchange);

/* Millions of frames received per second, in both directions together. */
double exchange_mpps(const struct exchange *exchange);

/* Prints "generator_busy", the share of time spent in sending and taking in frames: near 1, the
 * generator is the limit.  Then what that was per frame, sent and taken in, as "cycles_per_frame",
 * and "generator_limit_mpps", the rate if it had done nothing else: the limit is there or higher,
 * since whole bursts cost less than the small ones that a slow device leads to. */
void exchange_print_load(const struct exchange *exchange);

#endif
