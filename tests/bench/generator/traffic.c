/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What several modes do: opening flows, headings, clocks.  Called by the modes, on the generator's
 * one thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/bench/generator/mode.h"

enum { LINK_WAIT_SECONDS = 30, LINK_POLL_US = 5000 };
enum { STEP_WAIT_MS = 50, FIRST_TRIES = 100, LATER_TRIES = 3 };

int wait_for_device(struct side *side, uint64_t ticks_per_second)
{
	uint64_t until = clock_ticks() + LINK_WAIT_SECONDS * ticks_per_second;

	while (!front_end_poll(&side->front_end)) {
		if (clock_ticks() > until) {
			fprintf(stderr, "generator: no switch connected to %s within %d s\n",
				side->front_end.socket, LINK_WAIT_SECONDS);
			return -ETIMEDOUT;
		}
		usleep(LINK_POLL_US);
	}
	return 0;
}

bool sides_poll(struct generator *generator)
{
	bool a = front_end_poll(&generator->sides[SIDE_A].front_end);
	bool b = front_end_poll(&generator->sides[SIDE_B].front_end);

	return a && b;
}

int sides_check(struct generator *generator)
{
	for (unsigned int i = 0; i < N_SIDES; i++) {
		struct front_end *front_end = &generator->sides[i].front_end;

		if (front_end->tx.broken || front_end->rx.broken) {
			fprintf(stderr,
				"generator: the device returns what %s never gave it, or fills in "
				"nonsense\n",
				front_end->socket);
			return -EPROTO;
		}
		if (!front_end_poll(front_end)) {
			fprintf(stderr, "generator: the device has left %s\n", front_end->socket);
			return -ENOTCONN;
		}
	}
	return 0;
}

/* See "schedstat" in the kernel's documentation. */
uint64_t waited_ns(void)
{
	FILE *file = fopen("/proc/thread-self/schedstat", "r");
	uint64_t ran = 0, waited = 0;

	if (file) {
		if (fscanf(file, "%" SCNu64 " %" SCNu64, &ran, &waited) != 2)
			waited = 0;
		fclose(file);
	}
	return waited;
}

/* Sends the frame of a step in each of n flows and waits a little for their arrival.  Returns how
 * many have arrived. */
static unsigned int try_exchange(struct generator *generator, enum side_name from,
	enum tcp_step step, uint32_t first, unsigned int n)
{
	struct side *to = &generator->sides[from == SIDE_A ? SIDE_B : SIDE_A];
	uint64_t until = clock_ticks() + generator->ticks_per_second / 1000 * STEP_WAIT_MS;
	uint64_t before = to->received;
	unsigned int sent = 0;

	while (to->received - before < n && clock_ticks() < until) {
		if (sent < n)
			sent += side_send_step(&generator->sides[from], &generator->maker, step,
				first + sent, n - sent);
		side_receive(to, &generator->maker);
		/* Whatever else the switch floods. */
		side_receive(&generator->sides[from], &generator->maker);
	}
	before = to->received - before;
	return before < n ? (unsigned int)before : n;
}

static unsigned int exchange_step(struct generator *generator, enum side_name from,
	enum tcp_step step, uint32_t first, unsigned int n, unsigned int tries)
{
	unsigned int arrived = 0;

	for (unsigned int i = 0; i < tries && arrived < n; i++)
		arrived = try_exchange(generator, from, step, first, n);
	for (unsigned int i = 0; i < n; i++)
		frame_sent(&generator->maker, from, first + i,
			frame_bytes_min(&generator->maker.traffic), step);
	return arrived;
}

/* The first flows are tried for some seconds: a switch that has connected may not forward yet. */
static int open_range(
	struct generator *generator, uint32_t first, uint32_t n, uint64_t opened[N_SIDES])
{
	static const struct {
		enum side_name from;
		enum tcp_step step;
	} steps[] = {
		{SIDE_A, TCP_SYN_FRAME}, {SIDE_B, TCP_SYN_ACK_FRAME}, {SIDE_A, TCP_DATA_FRAME}};
	unsigned int n_steps = generator->maker.tcp ? 3 : 2, tries = FIRST_TRIES;

	opened[SIDE_A] = opened[SIDE_B] = 0;
	for (uint32_t done = 0; done < n; done += SIDE_BURST, tries = LATER_TRIES) {
		uint32_t left = n - done, burst = left < SIDE_BURST ? left : SIDE_BURST;

		for (unsigned int i = 0; i < n_steps; i++)
			opened[steps[i].from] += exchange_step(generator, steps[i].from,
				steps[i].step, first + done, burst, tries);
	}
	if (opened[SIDE_A] && opened[SIDE_B])
		return 0;
	fprintf(stderr, "generator: %s arrived; is there a policy that allows the traffic?\n",
		opened[SIDE_A] ? "nothing from B" : "nothing from A");
	return -ENOTCONN;
}

int open_flows(struct generator *generator, uint32_t n_flows, uint64_t opened[N_SIDES])
{
	return open_range(generator, 0, n_flows, opened);
}

int open_flow(struct generator *generator, uint32_t flow)
{
	uint64_t opened[N_SIDES];

	return open_range(generator, flow, 1, opened);
}

void drain(struct generator *generator, unsigned int milliseconds)
{
	uint64_t until = clock_ticks() + generator->ticks_per_second / 1000 * milliseconds;

	while (clock_ticks() < until) {
		side_receive(&generator->sides[SIDE_A], &generator->maker);
		side_receive(&generator->sides[SIDE_B], &generator->maker);
	}
}

void print_heading(const struct generator *generator)
{
	const struct traffic *traffic = &generator->maker.traffic;

	printf("{\"mode\": \"%s\", \"flows\": %u, \"protocol\": \"%s\", \"ip\": %d, \"size\": "
	       "\"%s\", ",
		generator->options.mode, traffic->n_flows, traffic->tcp ? "tcp" : "udp",
		traffic->ipv6 ? 6 : 4, generator->options.size ? generator->options.size : "least");
}
