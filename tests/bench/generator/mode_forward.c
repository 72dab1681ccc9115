/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode forward: opens every flow, then sends in both directions at once, and counts what arrives.
 * Called by main().
 */
#include <inttypes.h>
#include <stdio.h>

#include "tests/bench/generator/exchange.h"
#include "tests/bench/generator/mode.h"

enum { WARM_UP_MS = 300, DRAIN_MS = 20 };

static void print_direction(const char *name, const struct exchange *all,
	const struct exchange *timed, enum side_name from, double seconds)
{
	uint64_t received = all->received[from] + all->drained[from];

	printf("\"%s\": {\"mpps\": %.4f, \"offered\": %" PRIu64 ", \"sent\": %" PRIu64
	       ", \"received\": %" PRIu64 ", \"lost\": %" PRIu64 "}",
		name, (double)timed->received[from] / seconds / 1e6, all->offered[from],
		all->sent[from], received,
		all->sent[from] > received ? all->sent[from] - received : 0);
}

static void print_round(const struct exchange *all, const struct exchange *timed, double waited)
{
	double seconds = exchange_seconds(timed);

	printf("{\"seconds\": %.3f, \"waited\": %.4f, \"mpps\": %.4f, ", seconds, waited / seconds,
		exchange_mpps(timed));
	exchange_print_load(timed);
	printf(", ");
	print_direction("a_to_b", all, timed, SIDE_A, seconds);
	printf(", ");
	print_direction("b_to_a", all, timed, SIDE_B, seconds);
	printf("}");
	fflush(stdout);
}

/* One round: the rate is of the timed part; the loss is of all frames, after the rings are dry. */
static int measure_round(struct generator *generator)
{
	struct exchange all, timed;
	uint64_t waited;
	int error;

	exchange_start(&all, generator, generator->options.rate_mpps);
	error = exchange_run(&all, generator, WARM_UP_MS);
	if (error)
		return error;
	timed = all;
	waited = waited_ns();
	error = exchange_run(&all, generator, (unsigned int)generator->options.seconds * 1000);
	waited = waited_ns() - waited;
	timed = exchange_since(&all, &timed);
	exchange_drain(&all, generator, DRAIN_MS);
	if (!error)
		print_round(&all, &timed, (double)waited / 1e9);
	return error;
}

int mode_forward(struct generator *generator)
{
	uint64_t opened[N_SIDES];
	int error = open_flows(generator, generator->maker.traffic.n_flows, opened);

	if (error)
		return error;
	print_heading(generator);
	printf("\"opened\": {\"a_to_b\": %" PRIu64 ", \"b_to_a\": %" PRIu64 "}, \"rounds\": [\n",
		opened[SIDE_A], opened[SIDE_B]);
	fflush(stdout); /* Whoever reads this line knows that the measuring begins now. */
	for (unsigned int i = 0; i < generator->options.rounds && !error; i++) {
		if (i > 0)
			printf(",\n");
		error = measure_round(generator);
	}
	printf("], \"foreign\": %" PRIu64 "}\n",
		generator->sides[SIDE_A].foreign + generator->sides[SIDE_B].foreign);
	return error;
}
