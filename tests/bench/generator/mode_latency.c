/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode latency: finds the highest rate at which no frame is lost, and how long frames take from one
 * side to the other at shares of that rate.  Each frame carries the time at which it was put into
 * the ring, and is counted when it is taken in.  Called by main().
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/generator/exchange.h"
#include "tests/bench/generator/mode.h"

enum { LOADS_MAX = 16, LOAD_PERCENT_MAX = 1000 };
enum { SETTLE_MS = 100, TRIAL_MS = 300, DRAIN_MS = 20, TRIES = 3, BISECTIONS = 10 };

/* A device keeps up with a rate if so much of it was taken by its ring. */
static const double achieved_share = 0.995;
/* The bisection ends when the rate is known to this share of itself. */
static const double precision = 0.01;

struct loads {
	unsigned int n, percent[LOADS_MAX];
};

static int parse_loads(struct loads *loads, const char *text)
{
	const char *at = text;
	char *end;

	for (loads->n = 0; loads->n < LOADS_MAX; at = end + 1) {
		unsigned long percent = strtoul(at, &end, 10);

		if (end == at || percent < 1 || percent > LOAD_PERCENT_MAX)
			break;
		loads->percent[loads->n++] = (unsigned int)percent;
		if (*end == '\0')
			return 0;
		if (*end != ',')
			break;
	}
	fprintf(stderr,
		"generator: --loads %s: give at most %d percents from 1 to %d, with commas\n", text,
		LOADS_MAX, LOAD_PERCENT_MAX);
	return -EINVAL;
}

static uint64_t sum(const uint64_t counts[N_SIDES])
{
	return counts[SIDE_A] + counts[SIDE_B];
}

/* Sent and never received. */
static uint64_t lost(const struct exchange *exchange)
{
	uint64_t received = sum(exchange->received) + sum(exchange->drained);

	return sum(exchange->sent) > received ? sum(exchange->sent) - received : 0;
}

/* Runs at a rate for a moment, from empty rings to empty rings. */
static int trial(struct generator *generator, double mpps, struct exchange *exchange)
{
	int error;

	exchange_start(exchange, generator, mpps);
	error = exchange_run(exchange, generator, TRIAL_MS);
	exchange_drain(exchange, generator, DRAIN_MS);
	return error;
}

/* Returns 1 if no frame was lost, 0 if there were in every try, or a negative errno. */
static int is_without_drop(struct generator *generator, double mpps)
{
	for (unsigned int i = 0; i < TRIES; i++) {
		struct exchange exchange;
		int error = trial(generator, mpps, &exchange);
		double sent = (double)sum(exchange.sent);

		if (error)
			return error;
		if (sent >= achieved_share * (double)sum(exchange.offered) &&
			(double)lost(&exchange) <= sent * (double)generator->options.loss_ppm / 1e6)
			return 1;
	}
	return 0;
}

/* Between nothing, and what arrives when the rings are kept full. */
static int find_no_drop(struct generator *generator, double *mpps)
{
	struct exchange exchange;
	double low = 0, high;
	int passed = trial(generator, 0, &exchange);

	if (passed)
		return passed;
	high = exchange_mpps(&exchange);
	passed = is_without_drop(generator, high);
	if (passed > 0)
		low = high;
	for (unsigned int i = 0; i < BISECTIONS && passed >= 0 && high - low > precision * high;
		i++) {
		double middle = (low + high) / 2;

		passed = is_without_drop(generator, middle);
		if (passed > 0)
			low = middle;
		else
			high = middle;
	}
	if (passed < 0)
		return passed;
	*mpps = low;
	if (low > 0)
		return 0;
	fprintf(stderr, "generator: frames are lost at %.4f Mpps and at every higher rate\n", high);
	return -EIO;
}

static void print_load(const struct exchange *timed, const struct generator *generator,
	unsigned int percent, double offered_mpps, uint64_t lost_frames)
{
	static const struct {
		const char *name;
		double share;
	} percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
	const struct histogram *latency = timed->latency;
	double ns_per_tick = 1e9 / (double)generator->ticks_per_second;

	printf("{\"load\": %u, \"offered_mpps\": %.4f, \"mpps\": %.4f, \"frames\": %" PRIu64
	       ", \"lost\": %" PRIu64,
		percent, offered_mpps, exchange_mpps(timed), latency->n, lost_frames);
	for (unsigned int i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
		printf(", \"%s_ns\": %.0f", percentiles[i].name,
			(double)histogram_percentile(latency, percentiles[i].share) * ns_per_tick);
	printf(", \"max_ns\": %.0f", (double)latency->max * ns_per_tick);
}

static int measure_load(struct generator *generator, unsigned int percent, double no_drop_mpps,
	struct histogram *latency)
{
	double mpps = no_drop_mpps * percent / 100;
	struct exchange exchange, settled;
	uint64_t waited;
	int error;

	*latency = (struct histogram){0};
	exchange_start(&exchange, generator, mpps);
	error = exchange_run(&exchange, generator, SETTLE_MS);
	if (error)
		return error;
	settled = exchange;
	exchange.latency = latency;
	waited = waited_ns();
	error = exchange_run(&exchange, generator, (unsigned int)generator->options.seconds * 1000);
	waited = waited_ns() - waited;
	settled = exchange_since(&exchange, &settled);
	exchange_drain(&exchange, generator, DRAIN_MS);
	if (error)
		return error;
	print_load(&settled, generator, percent, mpps, lost(&exchange));
	printf(", \"waited\": %.4f, \"generator_busy\": %.3f}",
		(double)waited / 1e9 / exchange_seconds(&settled),
		(double)settled.busy_ticks / (double)settled.ticks);
	fflush(stdout);
	return 0;
}

static int measure(struct generator *generator, const struct loads *loads)
{
	struct histogram *latency = calloc(1, sizeof(*latency));
	double no_drop_mpps;
	int error;

	if (!latency) {
		fprintf(stderr, "generator: no memory for a histogram\n");
		return -ENOMEM;
	}
	error = find_no_drop(generator, &no_drop_mpps);
	if (!error)
		printf("\"no_drop_mpps\": %.4f, \"loads\": [\n", no_drop_mpps);
	for (unsigned int i = 0; i < loads->n && !error; i++) {
		if (i > 0)
			printf(",\n");
		error = measure_load(generator, loads->percent[i], no_drop_mpps, latency);
	}
	if (!error)
		printf("]}\n");
	free(latency);
	return error;
}

int mode_latency(struct generator *generator)
{
	uint64_t opened[N_SIDES];
	struct loads loads;
	int error = parse_loads(&loads, generator->options.loads);

	if (!error)
		error = open_flows(generator, generator->maker.traffic.n_flows, opened);
	if (error)
		return error;
	drain(generator, DRAIN_MS);
	print_heading(generator);
	printf("\"opened\": {\"a_to_b\": %" PRIu64 ", \"b_to_a\": %" PRIu64 "},\n", opened[SIDE_A],
		opened[SIDE_B]);
	fflush(stdout); /* Whoever reads this line knows that the measuring begins now. */
	return measure(generator, &loads);
}
