/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending in both directions and receiving.  Called by modes, on the generator's one thread.
 */
#include "tests/bench/generator/exchange.h"

#include <stdio.h>

enum { POLL_MS = 10 };
/* A ring that is almost full is left alone, so that it is written in batches. */
enum { WORTHWHILE_FRAMES = SIDE_BURST / 2 };

static enum side_name other(enum side_name side)
{
	return side == SIDE_A ? SIDE_B : SIDE_A;
}

void exchange_start(struct exchange *exchange, const struct generator *generator, double mpps)
{
	uint64_t now = clock_ticks();

	*exchange = (struct exchange){.ticks_per_second = generator->ticks_per_second};
	for (unsigned int side = 0; side < N_SIDES; side++) {
		pace_start(&exchange->pace[side], mpps * 1e6 / N_SIDES, now,
			generator->ticks_per_second);
		exchange->range[side].end = generator->maker.traffic.n_flows;
	}
}

/* Books the time of one burst, and returns the time now. */
static uint64_t book(struct exchange *exchange, uint32_t n, uint64_t begin)
{
	uint64_t now = clock_ticks();

	if (n)
		exchange->busy_ticks += now - begin;
	return now;
}

static uint64_t send_burst(
	struct exchange *exchange, struct generator *generator, enum side_name from, uint64_t now)
{
	struct pace *pace = &exchange->pace[from];
	struct side *side = &generator->sides[from];
	uint32_t n = pace_due(pace, now, SIDE_BURST);
	uint16_t worthwhile = n < WORTHWHILE_FRAMES ? (uint16_t)n : WORTHWHILE_FRAMES;

	if (n == 0 || ring_room(&side->front_end.tx, worthwhile) < worthwhile)
		return now;
	n = side_send(side, &generator->maker, &exchange->range[from], n);
	pace_sent(pace, n);
	exchange->sent[from] += n;
	return book(exchange, n, now);
}

static void note_latency(struct exchange *exchange, const struct frame_maker *maker,
	const struct ring_frame frames[], unsigned int n, uint64_t now)
{
	for (unsigned int i = 0; i < n; i++) {
		uint64_t stamp = frame_stamp(maker, frames[i].data);

		histogram_add(exchange->latency, stamp < now ? now - stamp : 0);
	}
}

static uint64_t take_burst(struct exchange *exchange, struct generator *generator,
	enum side_name at, uint64_t counts[N_SIDES], uint64_t now)
{
	struct side *side = &generator->sides[at];
	struct ring_frame frames[SIDE_BURST];
	unsigned int n = side_take(side, &generator->maker, frames, SIDE_BURST);

	if (exchange->latency)
		note_latency(exchange, &generator->maker, frames, n, now);
	else if (generator->maker.tcp)
		for (unsigned int i = 0; i < n; i++)
			frame_heard(&generator->maker, at, frames[i].data);
	side_give_back(side);
	counts[other(at)] += n;
	return book(exchange, n, now);
}

int exchange_run(struct exchange *exchange, struct generator *generator, unsigned int milliseconds)
{
	uint64_t begin = clock_ticks(), now = begin, poll = begin;
	uint64_t until = begin + generator->ticks_per_second / 1000 * milliseconds;
	int error = 0;

	while (now < until && !error) {
		now = send_burst(exchange, generator, SIDE_A, now);
		now = take_burst(exchange, generator, SIDE_B, exchange->received, now);
		now = send_burst(exchange, generator, SIDE_B, now);
		now = take_burst(exchange, generator, SIDE_A, exchange->received, now);
		if (now >= poll) {
			error = sides_check(generator);
			poll = now + generator->ticks_per_second / 1000 * POLL_MS;
			now = clock_ticks();
		}
	}
	exchange->ticks += now - begin;
	for (unsigned int side = 0; side < N_SIDES; side++)
		exchange->offered[side] = pace_offered(&exchange->pace[side], now);
	return error;
}

void exchange_drain(
	struct exchange *exchange, struct generator *generator, unsigned int milliseconds)
{
	uint64_t now = clock_ticks();
	uint64_t until = now + generator->ticks_per_second / 1000 * milliseconds;

	while (now < until) {
		now = take_burst(exchange, generator, SIDE_A, exchange->drained, now);
		now = take_burst(exchange, generator, SIDE_B, exchange->drained, now);
	}
}

struct exchange exchange_since(const struct exchange *now, const struct exchange *then)
{
	struct exchange difference = *now;

	for (unsigned int side = 0; side < N_SIDES; side++) {
		difference.offered[side] -= then->offered[side];
		difference.sent[side] -= then->sent[side];
		difference.received[side] -= then->received[side];
		difference.drained[side] -= then->drained[side];
	}
	difference.ticks -= then->ticks;
	difference.busy_ticks -= then->busy_ticks;
	return difference;
}

double exchange_seconds(const struct exchange *exchange)
{
	return (double)exchange->ticks / (double)exchange->ticks_per_second;
}

double exchange_mpps(const struct exchange *exchange)
{
	return (double)(exchange->received[SIDE_A] + exchange->received[SIDE_B]) /
	       exchange_seconds(exchange) / 1e6;
}

void exchange_print_load(const struct exchange *exchange)
{
	double busy = (double)exchange->busy_ticks;
	uint64_t frames = exchange->received[SIDE_A] + exchange->received[SIDE_B];

	printf("\"generator_busy\": %.3f, ", busy / (double)exchange->ticks);
	if (frames == 0) {
		printf("\"cycles_per_frame\": null, \"generator_limit_mpps\": null");
		return;
	}
	printf("\"cycles_per_frame\": %.1f, \"generator_limit_mpps\": %.1f", busy / (double)frames,
		(double)exchange->ticks_per_second / 1e6 * (double)frames / busy);
}
