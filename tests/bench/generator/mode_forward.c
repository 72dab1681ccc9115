/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode forward: opens every flow, then sends in both directions at once, and counts what arrives.
 * Called by main().
 */
#include <inttypes.h>
#include <stdio.h>

#include <rte_cycles.h>

#include "tests/bench/generator/mode.h"

enum { WARM_UP_MS = 300, DRAIN_MS = 20 };

/* Both directions for so many clock ticks.  Without `send`, only takes in. */
static void run_for(struct generator *generator, uint64_t ticks, bool send)
{
	struct side *a = &generator->sides[SIDE_A], *b = &generator->sides[SIDE_B];
	uint64_t until = rte_rdtsc() + ticks;

	while (rte_rdtsc() < until) {
		if (send) {
			side_send(a, &generator->maker);
			side_send(b, &generator->maker);
		}
		side_receive(a, &generator->maker);
		side_receive(b, &generator->maker);
	}
}

static void print_direction(
	const char *name, uint64_t sent, uint64_t received, uint64_t all_received, double seconds)
{
	printf("\"%s\": {\"mpps\": %.4f, \"sent\": %" PRIu64 ", \"received\": %" PRIu64
	       ", \"lost\": %" PRIu64 "}",
		name, (double)received / seconds / 1e6, sent, all_received,
		sent > all_received ? sent - all_received : 0);
}

/* One round: the rate is of the timed part; the loss is of all frames, after the rings are dry. */
static void measure_round(struct generator *generator)
{
	struct side *a = &generator->sides[SIDE_A], *b = &generator->sides[SIDE_B];
	uint64_t hz = ticks_per_second(), begin, ticks, received_a, received_b, waited;
	double seconds;

	a->sent = b->sent = a->received = b->received = 0;
	run_for(generator, hz / 1000 * WARM_UP_MS, true);
	received_a = a->received;
	received_b = b->received;
	waited = waited_ns();
	begin = rte_rdtsc();
	run_for(generator, hz * generator->options.seconds, true);
	ticks = rte_rdtsc() - begin;
	waited = waited_ns() - waited;
	received_a = a->received - received_a;
	received_b = b->received - received_b;
	run_for(generator, hz / 1000 * DRAIN_MS, false);

	seconds = (double)ticks / (double)hz;
	printf("{\"seconds\": %.3f, \"waited\": %.4f, \"mpps\": %.4f, ", seconds,
		(double)waited / 1e9 / seconds, (double)(received_a + received_b) / seconds / 1e6);
	print_direction("a_to_b", a->sent, received_b, b->received, seconds);
	printf(", ");
	print_direction("b_to_a", b->sent, received_a, a->received, seconds);
	printf("}");
	fflush(stdout);
}

int mode_forward(struct generator *generator)
{
	uint64_t opened[N_SIDES];
	int error = open_flows(generator, opened);

	if (error)
		return error;
	print_heading(generator);
	printf("\"opened\": {\"a_to_b\": %" PRIu64 ", \"b_to_a\": %" PRIu64 "}, \"rounds\": [\n",
		opened[SIDE_A], opened[SIDE_B]);
	fflush(stdout); /* Whoever reads this line knows that the measuring begins now. */
	for (unsigned int i = 0; i < generator->options.rounds; i++) {
		if (i > 0)
			printf(",\n");
		measure_round(generator);
	}
	printf("], \"foreign\": %" PRIu64 "}\n",
		generator->sides[SIDE_A].foreign + generator->sides[SIDE_B].foreign);
	return 0;
}
