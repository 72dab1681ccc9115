/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode attack: A and B talk at a steady rate in open flows, and A opens new ones that B answers,
 * while a third guest, C, does its worst.  What A and B keep of both is what the attack costs
 * them.  Without --socket-c there is no third guest.  Called by main().
 *
 *	A (10.77.0.1) ----+
 *			  +---- device under test ---- C (02:00:00:77:00:03, 10.77.0.3)
 *	B (10.77.0.2) ----+
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/bench/generator/attack_frame.h"
#include "tests/bench/generator/mode.h"

enum { WARM_UP_MS = 300, DRAIN_MS = 100, CHECK_MS = 5 };
/* New flows that B has heard of and not yet answered. */
enum { PENDING_MAX = 1024 };

/* What has happened in a round. */
struct attack_counts {
	uint64_t sent[N_SIDES];	    /* In the flows that were open before. */
	uint64_t received[N_SIDES]; /* Likewise. */
	uint64_t tried, answered;   /* New flows. */
	uint64_t attack_sent;
};

struct attack_run {
	struct generator *generator;
	struct side attacker;
	struct attack attack;
	struct pace attack_pace, new_pace, pace[N_SIDES];
	struct flow_range open[N_SIDES]; /* The flows that were open before. */
	uint32_t next_new;		 /* Number of the next flow to open. */
	uint32_t pending[PENDING_MAX];
	unsigned int n_pending;
	struct attack_counts counts;
};

static struct attack_counts counts_since(
	const struct attack_counts *now, const struct attack_counts *then)
{
	struct attack_counts since = {.attack_sent = now->attack_sent - then->attack_sent};

	for (unsigned int i = 0; i < N_SIDES; i++)
		since.received[i] = now->received[i] - then->received[i];
	return since;
}

/* --- C -------------------------------------------------------------------------------------- */

static void attack_send(struct attack_run *run, uint64_t now)
{
	struct ring *ring = &run->attacker.front_end.tx;
	uint16_t wanted, room;

	if (run->attack.kind == ATTACK_NONE)
		return;
	wanted = (uint16_t)pace_due(&run->attack_pace, now, SIDE_BURST);
	room = ring_room(ring, wanted);
	if (room > wanted)
		room = wanted;
	for (uint16_t i = 0; i < room; i++) {
		attack_frame_write(&run->attack, ring_frame(ring, i));
		ring_put(ring, i, ATTACK_FRAME_BYTES);
	}
	ring_publish(ring, room);
	pace_sent(&run->attack_pace, room);
	run->counts.attack_sent += room;
}

/* C ignores what it gets. */
static void attacker_receive(struct attack_run *run)
{
	struct ring *ring = &run->attacker.front_end.rx;

	if (run->generator->options.socket_c)
		ring_give_back(ring, ring_filled(ring, 1));
}

static int attacker_open(struct attack_run *run)
{
	struct generator *generator = run->generator;
	const struct side_setup setup = {.socket = generator->options.socket_c,
		.features = generator->options.features,
		.queue_frames = (uint16_t)generator->options.queue_frames,
		.no_huge = generator->options.no_huge};
	/* Its frames are not A's: all that they have is written by attack_frame_write(). */
	int error = side_open(&run->attacker, SIDE_A, &setup, &generator->maker);

	return error ? error : wait_for_device(&run->attacker, generator->ticks_per_second);
}

static void attack_init(struct attack *attack, enum attack_kind kind, const struct traffic *traffic)
{
	static const uint8_t mac[6] = {2, 0, 0, 0x77, 0, 3}, address[4] = {10, 77, 0, 3};
	static const uint8_t b_address[4] = {10, 77, 0, 2};

	*attack = (struct attack){.kind = kind, .random = 0x9e3779b97f4a7c15};
	memcpy(attack->from_mac, mac, sizeof(mac));
	memcpy(attack->to_mac, traffic->mac[SIDE_B], sizeof(attack->to_mac));
	memcpy(attack->from_ip4, address, sizeof(address));
	memcpy(attack->to_ip4, b_address, sizeof(b_address));
}

/* --- A and B -------------------------------------------------------------------------------- */

static void send_open(struct attack_run *run, enum side_name side, uint64_t now)
{
	struct generator *generator = run->generator;
	uint32_t due = pace_due(&run->pace[side], now, SIDE_BURST), sent;

	if (due == 0)
		return;
	sent = side_send(&generator->sides[side], &generator->maker, &run->open[side], due);
	pace_sent(&run->pace[side], sent);
	run->counts.sent[side] += sent;
}

/* One frame in each of n flows, from `first` on. */
static uint32_t send_flows(struct attack_run *run, enum side_name side, uint32_t first, uint32_t n)
{
	return side_send_step(
		&run->generator->sides[side], &run->generator->maker, TCP_DATA_FRAME, first, n);
}

static void open_new(struct attack_run *run, uint64_t now)
{
	uint32_t due = pace_due(&run->new_pace, now, SIDE_BURST), sent;

	if (run->generator->options.new_flows == 0 || due == 0)
		return;
	sent = send_flows(run, SIDE_A, run->next_new, due);
	pace_sent(&run->new_pace, sent);
	run->next_new += sent;
	run->counts.tried += sent;
}

static void answer_new(struct attack_run *run)
{
	unsigned int done = 0;

	while (done < run->n_pending && send_flows(run, SIDE_B, run->pending[done], 1) == 1)
		done++;
	run->n_pending -= done;
	memmove(run->pending, run->pending + done, run->n_pending * sizeof(run->pending[0]));
}

static void receive(struct attack_run *run, enum side_name name)
{
	struct generator *generator = run->generator;
	struct side *side = &generator->sides[name];
	struct ring_frame frames[SIDE_BURST];
	unsigned int n = side_take(side, &generator->maker, frames, SIDE_BURST);

	for (unsigned int i = 0; i < n; i++) {
		uint32_t flow = frame_flow(&generator->maker, name, frames[i].data);

		if (flow < generator->maker.traffic.n_flows)
			run->counts.received[name]++;
		else if (name == SIDE_A)
			run->counts.answered++;
		else if (run->n_pending < PENDING_MAX)
			run->pending[run->n_pending++] = flow;
	}
	side_give_back(side);
}

/* --- Rounds --------------------------------------------------------------------------------- */

static int run_for(struct attack_run *run, unsigned int milliseconds, bool send)
{
	const uint64_t ms = run->generator->ticks_per_second / 1000;
	uint64_t now = clock_ticks(), until = now + ms * milliseconds, check = now;

	for (; now < until; now = clock_ticks()) {
		if (now >= check) {
			int error = sides_check(run->generator);

			if (error)
				return error;
			check = now + ms * CHECK_MS;
		}
		if (send) {
			/* New flows first: the open ones may take all the room there is. */
			open_new(run, now);
			answer_new(run);
			send_open(run, SIDE_A, now);
			send_open(run, SIDE_B, now);
			attack_send(run, now);
		} else {
			answer_new(run);
		}
		receive(run, SIDE_A);
		receive(run, SIDE_B);
		attacker_receive(run);
	}
	return 0;
}

static void start_paces(struct attack_run *run)
{
	const struct options *options = &run->generator->options;
	uint64_t now = clock_ticks(), hz = run->generator->ticks_per_second;

	for (unsigned int i = 0; i < N_SIDES; i++)
		pace_start(&run->pace[i], options->rate_mpps * 1e6 / 2, now, hz);
	pace_start(&run->new_pace, (double)options->new_flows, now, hz);
	pace_start(&run->attack_pace, options->attack_rate_mpps * 1e6, now, hz);
}

static void print_direction(const struct attack_run *run, const char *name, enum side_name from,
	const struct attack_counts *timed, double seconds)
{
	const enum side_name to = from == SIDE_A ? SIDE_B : SIDE_A;
	uint64_t sent = run->counts.sent[from], received = run->counts.received[to];

	printf("\"%s\": {\"mpps\": %.4f, \"offered\": %" PRIu64 ", \"sent\": %" PRIu64
	       ", \"received\": %" PRIu64 ", \"lost\": %" PRIu64 "}, ",
		name, (double)timed->received[to] / seconds / 1e6, sent + run->pace[from].skipped,
		sent, received, sent > received ? sent - received : 0);
}

static void print_round(const struct attack_run *run, const struct attack_counts *timed,
	double seconds, double waited)
{
	const struct attack_counts *all = &run->counts;

	printf("{\"seconds\": %.3f, \"waited\": %.4f, \"mpps\": %.4f, ", seconds, waited / seconds,
		(double)(timed->received[SIDE_A] + timed->received[SIDE_B]) / seconds / 1e6);
	print_direction(run, "a_to_b", SIDE_A, timed, seconds);
	print_direction(run, "b_to_a", SIDE_B, timed, seconds);
	printf("\"new_flows\": {\"tried\": %" PRIu64 ", \"answered\": %" PRIu64 "}, ", all->tried,
		all->answered);
	printf("\"attacker\": {\"sent\": %" PRIu64 ", \"mpps\": %.4f}}", all->attack_sent,
		(double)timed->attack_sent / seconds / 1e6);
	fflush(stdout);
}

/* Rates are of the timed part; counts are of all frames, after the rings are dry. */
static int measure_round(struct attack_run *run)
{
	const unsigned int timed_ms = (unsigned int)run->generator->options.seconds * 1000;
	struct attack_counts timed;
	uint64_t begin, ticks, waited;
	int error;

	run->counts = (struct attack_counts){0};
	start_paces(run);
	error = run_for(run, WARM_UP_MS, true);
	if (error)
		return error;
	timed = run->counts;
	waited = waited_ns();
	begin = clock_ticks();
	error = run_for(run, timed_ms, true);
	ticks = clock_ticks() - begin;
	waited = waited_ns() - waited;
	timed = counts_since(&run->counts, &timed);
	if (!error)
		error = run_for(run, DRAIN_MS, false);
	if (!error)
		print_round(run, &timed, (double)ticks / (double)run->generator->ticks_per_second,
			(double)waited / 1e9);
	return error;
}

static int options_check(const struct options *options)
{
	if (attack_kind_find(options->attack) == ATTACK_N_KINDS) {
		fprintf(stderr, "generator: --attack %s: give none, random, syn or mac\n",
			options->attack);
		return -EINVAL;
	}
	if (!options->socket_c && attack_kind_find(options->attack) != ATTACK_NONE) {
		fprintf(stderr, "generator: --attack %s: who attacks needs a --socket-c\n",
			options->attack);
		return -EINVAL;
	}
	return 0;
}

static int measure(struct attack_run *run)
{
	struct generator *generator = run->generator;
	uint64_t opened[N_SIDES];
	int error = open_flows(generator, generator->maker.traffic.n_flows, opened);

	if (error)
		return error;
	print_heading(generator);
	printf("\"attack\": \"%s\", \"rounds\": [\n", generator->options.attack);
	fflush(stdout); /* Whoever reads this line knows that the measuring begins now. */
	for (unsigned int i = 0; i < generator->options.rounds && !error; i++) {
		if (i > 0)
			printf(",\n");
		error = measure_round(run);
	}
	printf("], \"foreign\": {\"a\": %" PRIu64 ", \"b\": %" PRIu64 "}}\n",
		generator->sides[SIDE_A].foreign, generator->sides[SIDE_B].foreign);
	return error;
}

int mode_attack(struct generator *generator)
{
	const struct traffic *traffic = &generator->maker.traffic;
	struct attack_run run = {
		.generator = generator, .attacker = SIDE_CLOSED, .next_new = traffic->n_flows};
	int error = options_check(&generator->options);

	if (error)
		return error;
	for (unsigned int i = 0; i < N_SIDES; i++)
		run.open[i] = (struct flow_range){.end = traffic->n_flows};
	attack_init(&run.attack, attack_kind_find(generator->options.attack), traffic);
	if (generator->options.socket_c)
		error = attacker_open(&run);
	if (!error)
		error = measure(&run);
	side_close(&run.attacker);
	return error;
}
