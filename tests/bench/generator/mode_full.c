/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode full: established UDP flows keep their rate in both directions, while A sends frames of ever
 * new flows beside them: more flows than the device has room for.  Called by main().
 *
 * The flows from 0 to --established - 1 are opened first; those from there to --flows - 1 are the
 * new ones, in turn, each time with the least possible frame.  B answers them, so that they are
 * whole flows to the device, not half-open ones.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "tests/bench/generator/mode.h"

enum { POLL_MS = 10, WARM_UP_MS = 300, DRAIN_MS = 20 };

enum kind { ESTABLISHED, NEW, N_KINDS };

struct counters {
	uint64_t offered, sent, received; /* Of new flows: from A to B. */
	uint64_t answered;		  /* Of new flows: replies that A received. */
};

struct full {
	struct generator *generator;
	uint32_t n_established, n_new;
	uint32_t next_new; /* Counted from the first new one. */
	struct flow_range range[N_SIDES];
	struct pace pace[N_SIDES], pace_new;
	struct counters counters[N_KINDS];
};

static void start_paces(struct full *full, double new_rate_mpps)
{
	const struct generator *generator = full->generator;
	uint64_t now = clock_ticks();

	for (unsigned int side = 0; side < N_SIDES; side++)
		pace_start(&full->pace[side], generator->options.rate_mpps * 1e6 / N_SIDES, now,
			generator->ticks_per_second);
	pace_start(&full->pace_new, new_rate_mpps * 1e6, now, generator->ticks_per_second);
}

static void send_established(struct full *full, enum side_name from, uint64_t now)
{
	struct generator *generator = full->generator;
	uint32_t n = pace_due(&full->pace[from], now, SIDE_BURST);

	uint32_t room = ring_room(&generator->sides[from].front_end.tx, 2 * SIDE_BURST);

	/* A burst's room is left for B's answers. */
	if (room <= SIDE_BURST)
		return;
	if (n > room - SIDE_BURST)
		n = room - SIDE_BURST;
	n = side_send(&generator->sides[from], &generator->maker, &full->range[from], n);
	pace_sent(&full->pace[from], n);
	full->counters[ESTABLISHED].sent += n;
}

static uint32_t send_new(struct full *full, uint64_t now)
{
	struct generator *generator = full->generator;
	uint32_t n = pace_due(&full->pace_new, now, SIDE_BURST);
	uint32_t left = full->n_new - full->next_new;

	if (n > left)
		n = left;
	if (n == 0)
		return 0;
	n = side_send_step(&generator->sides[SIDE_A], &generator->maker, TCP_SYN_FRAME,
		full->n_established + full->next_new, n);
	pace_sent(&full->pace_new, n);
	full->counters[NEW].sent += n;
	full->next_new += n;
	if (full->next_new == full->n_new)
		full->next_new = 0;
	return n;
}

static void take(struct full *full, enum side_name at)
{
	struct generator *generator = full->generator;
	struct side *side = &generator->sides[at];
	struct ring_frame frames[SIDE_BURST];
	unsigned int n = side_take(side, &generator->maker, frames, SIDE_BURST), n_new = 0;
	uint32_t new[SIDE_BURST];

	for (unsigned int i = 0; i < n; i++) {
		uint32_t flow = frame_flow(&generator->maker, at, frames[i].data);

		if (flow < full->n_established)
			full->counters[ESTABLISHED].received++;
		else if (flow < full->n_established + full->n_new)
			new[n_new++] = flow;
	}
	side_give_back(side);
	if (at == SIDE_A) {
		full->counters[NEW].answered += n_new;
	} else {
		full->counters[NEW].received += n_new;
		side_send_flows(side, &generator->maker, new, n_new);
	}
}

/* For so long, with new flows or without.  With `fill`, until each new flow has had its frame. */
static int run(struct full *full, uint64_t ticks, bool with_new, bool fill)
{
	struct generator *generator = full->generator;
	uint64_t now = clock_ticks(), until = now + ticks, poll = now;
	uint32_t filled = 0;
	int error = 0;

	while (!error && (fill ? filled < full->n_new : now < until)) {
		send_established(full, SIDE_A, now);
		if (with_new)
			filled += send_new(full, now);
		take(full, SIDE_B);
		send_established(full, SIDE_B, now);
		take(full, SIDE_A);
		now = clock_ticks();
		if (now >= poll) {
			error = sides_check(generator);
			poll = now + generator->ticks_per_second / 1000 * POLL_MS;
		}
	}
	full->counters[ESTABLISHED].offered =
		pace_offered(&full->pace[SIDE_A], now) + pace_offered(&full->pace[SIDE_B], now);
	full->counters[NEW].offered = with_new ? pace_offered(&full->pace_new, now) : 0;
	return error;
}

static void take_rest(struct full *full)
{
	uint64_t until = clock_ticks() + full->generator->ticks_per_second / 1000 * DRAIN_MS;

	while (clock_ticks() < until) {
		take(full, SIDE_A);
		take(full, SIDE_B);
	}
}

static void print_counters(const char *name, const struct counters *counters, double seconds)
{
	printf("\"%s\": {\"mpps\": %.4f, \"offered\": %" PRIu64 ", \"sent\": %" PRIu64
	       ", \"received\": %" PRIu64 ", \"lost\": %" PRIu64 "}",
		name, (double)counters->received / seconds / 1e6, counters->offered, counters->sent,
		counters->received,
		counters->sent > counters->received ? counters->sent - counters->received : 0);
}

static int measure_round(struct full *full)
{
	const struct options *options = &full->generator->options;
	uint64_t hz = full->generator->ticks_per_second, waited, begin;
	bool with_new = options->new_rate_mpps > 0 && full->n_new > 0;
	double seconds;
	int error;

	start_paces(full, options->new_rate_mpps);
	error = run(full, hz / 1000 * WARM_UP_MS, with_new, false);
	take_rest(full);
	if (error)
		return error;
	full->counters[ESTABLISHED] = full->counters[NEW] = (struct counters){0};
	start_paces(full, options->new_rate_mpps);
	waited = waited_ns();
	begin = clock_ticks();
	error = run(full, hz * options->seconds, with_new, false);
	seconds = (double)(clock_ticks() - begin) / (double)hz;
	waited = waited_ns() - waited;
	take_rest(full);
	if (error)
		return error;
	printf("{\"seconds\": %.3f, \"waited\": %.4f, ", seconds, (double)waited / 1e9 / seconds);
	print_counters("established", &full->counters[ESTABLISHED], seconds);
	printf(", ");
	print_counters("new", &full->counters[NEW], seconds);
	printf(", \"new_answered\": %" PRIu64 "}", full->counters[NEW].answered);
	fflush(stdout);
	return 0;
}

/* One frame of every new flow, as fast as the ring takes them, the established ones going on. */
static int fill(struct full *full)
{
	int error;

	start_paces(full, 0);
	error = run(full, 0, true, true);
	take_rest(full);
	return error;
}

static int measure(struct full *full, const uint64_t opened[N_SIDES])
{
	const struct options *options = &full->generator->options;
	int error = options->fill && full->n_new ? fill(full) : 0;

	if (error)
		return error;
	print_heading(full->generator);
	printf("\"established\": %u, \"new\": %u, ", full->n_established, full->n_new);
	printf("\"opened\": {\"a_to_b\": %" PRIu64 ", \"b_to_a\": %" PRIu64 "}, ", opened[SIDE_A],
		opened[SIDE_B]);
	printf("\"filled\": %" PRIu64 ", \"rounds\": [\n", full->counters[NEW].sent);
	fflush(stdout); /* Whoever reads this line knows that the measuring begins now. */
	for (unsigned int i = 0; i < options->rounds && !error; i++) {
		if (i > 0)
			printf(",\n");
		error = measure_round(full);
	}
	printf("]}\n");
	return error;
}

int mode_full(struct generator *generator)
{
	uint32_t n_flows = generator->maker.traffic.n_flows, n = generator->options.established;
	struct full full = {.generator = generator, .n_established = n};
	uint64_t opened[N_SIDES];
	int error;

	if (generator->options.queue_frames < 2 * SIDE_BURST) {
		fprintf(stderr, "generator: --queue %" PRIu64 ": mode full needs %d at least\n",
			generator->options.queue_frames, 2 * SIDE_BURST);
		return -EINVAL;
	}
	full.n_new = n_flows > n ? n_flows - n : 0;
	for (unsigned int side = 0; side < N_SIDES; side++)
		full.range[side].end = n;
	error = open_flows(generator, n, opened);
	return error ? error : measure(&full, opened);
}
