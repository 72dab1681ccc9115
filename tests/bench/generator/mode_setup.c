/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode setup: opens UDP flows from nothing.  Each is one frame from A, and one reply of B as soon
 * as it has come; it is open when A has the reply.  A window limits how many are on their way.
 * Called by main().
 *
 * Memory: a bit per flow, and 6 MiB for what is in flight.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/generator/flight.h"
#include "tests/bench/generator/mode.h"

enum { FLIGHT_BITS = 18, POLL_MS = 10, DRAIN_MS = 20 };

struct setup {
	struct generator *generator;
	struct flight_queue queue;
	uint64_t *done; /* A bit per flow: open, or given up. */
	uint32_t next;	/* The flow that is tried next for the first time. */
	uint32_t in_flight;
	uint64_t opened, retried, failed;
	uint64_t almost_ticks, end_ticks; /* When 99 % and all were open, or given up. */
};

static bool is_done(const struct setup *setup, uint32_t flow)
{
	return setup->done[flow / 64] >> flow % 64 & 1;
}

static uint32_t n_flows(const struct setup *setup)
{
	return setup->generator->maker.traffic.n_flows;
}

static void begin_flows(struct setup *setup, uint64_t now)
{
	struct side *a = &setup->generator->sides[SIDE_A];
	uint32_t free = (uint32_t)setup->generator->options.window - setup->in_flight;
	uint32_t flows[SIDE_BURST], left = n_flows(setup) - setup->next, n;

	if (free > left)
		free = left;
	if (free > SIDE_BURST)
		free = SIDE_BURST;
	if (free == 0 || setup->queue.end - setup->queue.first + free > setup->queue.mask)
		return;
	for (uint32_t i = 0; i < free; i++)
		flows[i] = setup->next + i;
	n = side_send_flows(a, &setup->generator->maker, flows, free);
	for (uint32_t i = 0; i < n; i++)
		flight_push(&setup->queue, (struct flight){.flow = flows[i], .tries = 1}, now);
	setup->next += n;
	setup->in_flight += n;
}

/* B takes no more than it can answer. */
static void reply(struct setup *setup)
{
	const struct frame_maker *maker = &setup->generator->maker;
	struct side *b = &setup->generator->sides[SIDE_B];
	struct ring_frame frames[SIDE_BURST];
	uint32_t flows[SIDE_BURST];
	unsigned int n = side_take(b, maker, frames, side_room(b)), kept = 0;

	for (unsigned int i = 0; i < n; i++) {
		uint32_t flow = frame_flow(maker, SIDE_B, frames[i].data);

		if (flow < n_flows(setup))
			flows[kept++] = flow;
	}
	side_give_back(b);
	side_send_flows(b, maker, flows, kept);
}

static void hear_replies(struct setup *setup)
{
	const struct frame_maker *maker = &setup->generator->maker;
	struct side *a = &setup->generator->sides[SIDE_A];
	struct ring_frame frames[SIDE_BURST];
	unsigned int n = side_take(a, maker, frames, SIDE_BURST);

	for (unsigned int i = 0; i < n; i++) {
		uint32_t flow = frame_flow(maker, SIDE_A, frames[i].data);

		if (flow >= n_flows(setup) || is_done(setup, flow))
			continue;
		setup->done[flow / 64] |= 1ull << flow % 64;
		setup->opened++;
		setup->in_flight--;
	}
	side_give_back(a);
}

/* Tries those again whose time is over.  One that is given up counts as done from then on, so that
 * a late reply does not count twice. */
static void look_at_deadlines(struct setup *setup, uint64_t now)
{
	struct side *a = &setup->generator->sides[SIDE_A];
	const struct flight *first;

	while ((first = flight_first(&setup->queue))) {
		struct flight flight = *first;

		if (is_done(setup, flight.flow)) {
			flight_pop(&setup->queue);
			continue;
		}
		if (flight.deadline > now)
			return;
		if (flight.tries == FLIGHT_TRIES) {
			flight_pop(&setup->queue);
			setup->done[flight.flow / 64] |= 1ull << flight.flow % 64;
			setup->in_flight--;
			setup->failed++;
			continue;
		}
		if (!side_send_flows(a, &setup->generator->maker, &flight.flow, 1))
			return;
		flight_pop(&setup->queue);
		flight.tries++;
		flight_push(&setup->queue, flight, now);
		setup->retried++;
	}
}

static int open_all(struct setup *setup)
{
	uint64_t begin = clock_ticks(), now = begin, poll = begin;
	uint64_t almost = n_flows(setup) - n_flows(setup) / 100;
	int error = 0;

	while (!error && setup->opened + setup->failed < n_flows(setup)) {
		begin_flows(setup, now);
		reply(setup);
		hear_replies(setup);
		look_at_deadlines(setup, now);
		now = clock_ticks();
		if (!setup->almost_ticks && setup->opened + setup->failed >= almost)
			setup->almost_ticks = now - begin;
		if (now >= poll) {
			error = sides_check(setup->generator);
			poll = now + setup->generator->ticks_per_second / 1000 * POLL_MS;
		}
	}
	setup->end_ticks = clock_ticks() - begin;
	return error;
}

/* A flow beyond those that count goes first, so that addresses are learned. */
static int warm_up(struct generator *generator)
{
	int error = open_flow(generator, FRAME_FLOWS_MAX);

	if (!error)
		drain(generator, DRAIN_MS);
	return error;
}

static void print_result(const struct setup *setup, uint64_t waited)
{
	double hz = (double)setup->generator->ticks_per_second;
	double seconds = (double)setup->end_ticks / hz;
	double almost = (double)(n_flows(setup) - n_flows(setup) / 100);

	printf("\"seconds\": %.4f, \"waited\": %.4f, \"flows_per_second\": %.0f, ", seconds,
		(double)waited / 1e9 / seconds, (double)setup->opened / seconds);
	/* Of the first 99 %: a single lost frame at the end would cost a time-out. */
	printf("\"flows_per_second_99\": %.0f, ", almost / ((double)setup->almost_ticks / hz));
	printf("\"opened\": %" PRIu64 ", \"retried\": %" PRIu64 ", \"failed\": %" PRIu64 "}\n",
		setup->opened, setup->retried, setup->failed);
}

int mode_setup(struct generator *generator)
{
	struct setup setup = {.generator = generator};
	uint64_t waited;
	int error;

	setup.done = calloc(n_flows(&setup) / 64 + 1, sizeof(setup.done[0]));
	error = flight_queue_init(&setup.queue, FLIGHT_BITS, generator->ticks_per_second);
	if (!setup.done || error) {
		fprintf(stderr, "generator: no memory for %u flows\n", n_flows(&setup));
		error = -ENOMEM;
		goto out;
	}
	error = warm_up(generator);
	if (error)
		goto out;
	print_heading(generator);
	printf("\"window\": %" PRIu64 ",\n", generator->options.window);
	fflush(stdout); /* Whoever reads this line knows that the first flow comes now. */
	waited = waited_ns();
	error = open_all(&setup);
	if (!error)
		print_result(&setup, waited_ns() - waited);
out:
	flight_queue_free(&setup.queue);
	free(setup.done);
	return error;
}
