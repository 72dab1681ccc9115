/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode keep: open flows at a steady rate in both directions, each frame with a number of its own,
 * while somebody kills the switch, restarts it or changes its policy.  Says how long no frame came,
 * how many were lost, and which flows are still alive in the end.  Called by main().
 *
 * Numbers.  A side sends in its flows in turn, so that frame number n is of flow n mod n_flows.  A
 * UDP frame carries its number; a TCP segment's follows from its sequence number, since all
 * segments of a side have the same size.
 *
 * The watched flow.  With --watch there is one UDP flow more, at a rate of its own and with a
 * service port of its own, which a new policy may deny: the time at which its last frame arrived is
 * when the policy was in force.
 *
 * The roll call.  In the end, B sends in every flow until A has heard it, some times at most, and
 * then A to B.  B is first because its frames are replies: a stateful switch that has forgotten the
 * flow does not let them in.
 *
 * Memory: a byte per flow.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/bench/generator/mode.h"

enum { DRAIN_MS = 200, POLL_MS = 1 };
enum { WATCH_PER_SECOND = 10000 };
enum { ROLL_CALLS = 3, ROLL_CALL_WAIT_MS = 100, ROLL_CALL_BURST = 16 };

/* What has arrived of one side's frames. */
struct keep_arrivals {
	uint64_t received;
	uint64_t last_ticks, last_number;

	/* The longest time without. */
	uint64_t gap_begin, gap_ticks;
	uint64_t gap_lost; /* Frames of the numbers between those before and after it. */
};

/* Arrays are by the side that sent. */
struct keep {
	struct generator *generator;
	struct pace pace[N_SIDES], watch_pace[N_SIDES];
	uint64_t sent[N_SIDES]; /* The number of the next frame. */
	uint32_t first_sequence[N_SIDES];
	uint32_t next_flow[N_SIDES];
	struct keep_arrivals arrivals[N_SIDES];
	uint32_t watched; /* Number of that flow, or 0. */
	uint64_t watched_sent[N_SIDES], watched_received[N_SIDES], watched_last[N_SIDES];
	uint64_t own_pause_ticks; /* The longest time that this thread did not get round. */
	unsigned int reconnected;
	uint8_t *heard; /* By flow, a bit per side that sent. */
};

/* One time by three clocks, to convert ticks. */
struct moment {
	uint64_t ticks, monotonic_ns, realtime_ns;
};

static enum side_name other(enum side_name side)
{
	return side == SIDE_A ? SIDE_B : SIDE_A;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct moment moment_now(void)
{
	return (struct moment){clock_ticks(), clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_REALTIME)};
}

/* --- Sending -------------------------------------------------------------------------------- */

static void write_numbered(
	struct keep *keep, enum side_name side, uint32_t flow, uint64_t number, uint8_t *data)
{
	struct frame_maker *maker = &keep->generator->maker;
	uint16_t bytes = maker->traffic.sizes[0];

	if (maker->tcp)
		frame_write(maker, side, flow, bytes, data);
	else
		frame_write_stamped(maker, side, flow, bytes, number, data);
	frame_sent(maker, side, flow, bytes, TCP_DATA_FRAME);
}

/* Sends the next frames in turn, as many as are due and the ring takes. */
static void send_due(struct keep *keep, enum side_name side, uint64_t now)
{
	struct frame_maker *maker = &keep->generator->maker;
	struct ring *ring = &keep->generator->sides[side].front_end.tx;
	uint16_t due = (uint16_t)pace_due(&keep->pace[side], now, SIDE_BURST), room;

	if (due == 0)
		return;
	room = ring_room(ring, due);
	if (room > due)
		room = due;
	for (uint16_t i = 0; i < room; i++) {
		uint32_t flow = keep->next_flow[side];

		write_numbered(keep, side, flow, keep->sent[side]++, ring_frame(ring, i));
		ring_put(ring, i, maker->traffic.sizes[0]);
		keep->next_flow[side] = flow + 1 == maker->traffic.n_flows ? 0 : flow + 1;
	}
	ring_publish(ring, room);
	pace_sent(&keep->pace[side], room);
}

/* One frame of this flow.  Returns how many the ring took. */
static unsigned int send_one(struct keep *keep, enum side_name side, uint32_t flow)
{
	struct ring *ring = &keep->generator->sides[side].front_end.tx;

	if (ring_room(ring, 1) == 0)
		return 0;
	write_numbered(keep, side, flow, 0, ring_frame(ring, 0));
	ring_put(ring, 0, keep->generator->maker.traffic.sizes[0]);
	ring_publish(ring, 1);
	return 1;
}

static void send_watched(struct keep *keep, enum side_name side, uint64_t now)
{
	if (!keep->watched || !pace_due(&keep->watch_pace[side], now, 1))
		return;
	if (send_one(keep, side, keep->watched)) {
		pace_sent(&keep->watch_pace[side], 1);
		keep->watched_sent[side]++;
	}
}

/* --- Receiving ------------------------------------------------------------------------------ */

static uint64_t number_of(
	const struct keep *keep, enum side_name receiver, uint32_t flow, const uint8_t *data)
{
	const struct frame_maker *maker = &keep->generator->maker;
	struct tcp_segment segment;

	if (!maker->tcp)
		return frame_stamp(maker, data);
	segment = frame_read_segment(maker, receiver, data);
	return (uint64_t)((segment.sequence - keep->first_sequence[other(receiver)]) /
			  (maker->traffic.sizes[0] - maker->payload_offset)) *
		       maker->traffic.n_flows +
	       flow;
}

static void note_arrival(struct keep_arrivals *arrivals, uint64_t number, uint64_t now)
{
	if (arrivals->received && now - arrivals->last_ticks > arrivals->gap_ticks) {
		arrivals->gap_begin = arrivals->last_ticks;
		arrivals->gap_ticks = now - arrivals->last_ticks;
		arrivals->gap_lost =
			number > arrivals->last_number ? number - arrivals->last_number - 1 : 0;
	}
	arrivals->received++;
	arrivals->last_ticks = now;
	arrivals->last_number = number;
}

/* A gap that nothing has ended so far counts until now. */
static void note_end(struct keep_arrivals *arrivals, uint64_t sent, uint64_t now)
{
	if (!arrivals->received || now - arrivals->last_ticks <= arrivals->gap_ticks)
		return;
	arrivals->gap_begin = arrivals->last_ticks;
	arrivals->gap_ticks = now - arrivals->last_ticks;
	arrivals->gap_lost = sent - arrivals->last_number - 1;
}

static void receive(struct keep *keep, enum side_name receiver)
{
	struct frame_maker *maker = &keep->generator->maker;
	struct side *side = &keep->generator->sides[receiver];
	enum side_name sender = other(receiver);
	struct ring_frame frames[SIDE_BURST];
	unsigned int n = side_take(side, maker, frames, SIDE_BURST);
	uint64_t now = clock_ticks();

	for (unsigned int i = 0; i < n; i++) {
		uint32_t flow = frame_flow(maker, receiver, frames[i].data);

		if (flow < maker->traffic.n_flows) {
			note_arrival(&keep->arrivals[sender],
				number_of(keep, receiver, flow, frames[i].data), now);
			if (maker->tcp)
				frame_heard(maker, receiver, frames[i].data);
		} else if (flow == keep->watched) {
			keep->watched_received[sender]++;
			keep->watched_last[sender] = now;
		}
	}
	side_give_back(side);
}

/* --- The run -------------------------------------------------------------------------------- */

/* Any device may go and come back meanwhile. */
static void run_for(struct keep *keep, unsigned int milliseconds, bool send)
{
	const uint64_t ms = keep->generator->ticks_per_second / 1000;
	uint64_t now = clock_ticks(), until = now + ms * milliseconds, poll = now, before = now;

	for (; now < until; before = now, now = clock_ticks()) {
		if (now - before > keep->own_pause_ticks)
			keep->own_pause_ticks = now - before;
		if (now >= poll) {
			sides_poll(keep->generator);
			poll = now + ms * POLL_MS;
		}
		for (unsigned int i = 0; i < N_SIDES && send; i++) {
			send_due(keep, (enum side_name)i, now);
			send_watched(keep, (enum side_name)i, now);
		}
		receive(keep, SIDE_A);
		receive(keep, SIDE_B);
	}
}

static void start(struct keep *keep)
{
	const struct generator *generator = keep->generator;
	uint64_t now = clock_ticks(), hz = generator->ticks_per_second;

	for (unsigned int i = 0; i < N_SIDES; i++) {
		pace_start(&keep->pace[i], generator->options.rate_mpps * 1e6 / 2, now, hz);
		pace_start(&keep->watch_pace[i], WATCH_PER_SECOND, now, hz);
		if (generator->maker.tcp)
			keep->first_sequence[i] = generator->maker.tcp[0].next[i];
	}
}

/* --- The roll call -------------------------------------------------------------------------- */

static void roll_call_receive(struct keep *keep, enum side_name receiver)
{
	struct frame_maker *maker = &keep->generator->maker;
	struct side *side = &keep->generator->sides[receiver];
	struct ring_frame frames[SIDE_BURST];
	unsigned int n = side_take(side, maker, frames, SIDE_BURST);

	for (unsigned int i = 0; i < n; i++) {
		uint32_t flow = frame_flow(maker, receiver, frames[i].data);

		if (flow >= maker->traffic.n_flows)
			continue;
		keep->heard[flow] |= 1u << other(receiver);
		if (maker->tcp)
			frame_heard(maker, receiver, frames[i].data);
	}
	side_give_back(side);
}

static void roll_call_wait(struct keep *keep, enum side_name receiver)
{
	uint64_t until =
		clock_ticks() + keep->generator->ticks_per_second / 1000 * ROLL_CALL_WAIT_MS;

	while (clock_ticks() < until)
		roll_call_receive(keep, receiver);
}

/* One frame in each flow that `side` has not been heard in.  Gives up if there is no room in the
 * ring for long: nobody is taking frames. */
static void roll_call_once(struct keep *keep, enum side_name side)
{
	const uint64_t patience = keep->generator->ticks_per_second;
	uint64_t last = clock_ticks();

	for (uint32_t flow = 0; flow < keep->generator->maker.traffic.n_flows; flow++) {
		if (keep->heard[flow] & 1u << side)
			continue;
		while (!send_one(keep, side, flow)) {
			roll_call_receive(keep, other(side));
			if (clock_ticks() - last > patience)
				return;
		}
		last = clock_ticks();
		if (flow % ROLL_CALL_BURST == 0)
			roll_call_receive(keep, other(side));
	}
	roll_call_wait(keep, other(side));
}

/* Returns how many flows were heard from in both directions. */
static uint32_t roll_call(struct keep *keep)
{
	const uint8_t both = 1u << SIDE_A | 1u << SIDE_B;
	uint32_t n = 0;

	for (unsigned int i = 0; i < ROLL_CALLS; i++)
		roll_call_once(keep, SIDE_B);
	for (unsigned int i = 0; i < ROLL_CALLS; i++)
		roll_call_once(keep, SIDE_A);
	for (uint32_t flow = 0; flow < keep->generator->maker.traffic.n_flows; flow++)
		n += keep->heard[flow] == both;
	return n;
}

/* --- The report ----------------------------------------------------------------------------- */

static double milliseconds_of(const struct keep *keep, uint64_t ticks)
{
	return (double)ticks * 1e3 / (double)keep->generator->ticks_per_second;
}

/* Both clocks' time, in ns, of a time in ticks; 0 for what never was. */
static void print_time(
	const struct keep *keep, const struct moment *start, const char *name, uint64_t ticks)
{
	double ns =
		(double)(ticks - start->ticks) * 1e9 / (double)keep->generator->ticks_per_second;
	bool was = ticks != 0;

	printf("\"%s_monotonic_ns\": %" PRIu64 ", \"%s_realtime_ns\": %" PRIu64, name,
		was ? start->monotonic_ns + (uint64_t)ns : 0, name,
		was ? start->realtime_ns + (uint64_t)ns : 0);
}

static void print_direction(
	const struct keep *keep, const struct moment *start, enum side_name from, const char *name)
{
	const struct keep_arrivals *arrivals = &keep->arrivals[from];
	uint64_t sent = keep->sent[from], received = arrivals->received;
	uint64_t lost = sent > received ? sent - received : 0;

	printf("\"%s\": {\"sent\": %" PRIu64 ", \"received\": %" PRIu64 ", \"lost\": %" PRIu64
	       ", \"lost_in_gap\": %" PRIu64 ", \"not_sent\": %" PRIu64 ", \"gap_ms\": %.3f, ",
		name, sent, received, lost, arrivals->gap_lost < lost ? arrivals->gap_lost : lost,
		keep->pace[from].skipped, milliseconds_of(keep, arrivals->gap_ticks));
	print_time(keep, start, "gap_begin", arrivals->gap_begin);
	printf("}, ");
}

static void print_watched(const struct keep *keep, const struct moment *start)
{
	static const char *const names[N_SIDES] = {"a_to_b", "b_to_a"};

	if (!keep->watched)
		return;
	printf("\"watched\": {");
	for (unsigned int i = 0; i < N_SIDES; i++) {
		printf("%s\"%s\": {\"sent\": %" PRIu64 ", \"received\": %" PRIu64 ", ",
			i ? ", " : "", names[i], keep->watched_sent[i], keep->watched_received[i]);
		print_time(keep, start, "last", keep->watched_last[i]);
		printf("}");
	}
	printf("}, ");
}

/* --- The mode ------------------------------------------------------------------------------- */

/* UDP frames carry a number: the cards' buffers are prepared once more, for such frames. */
static int prepare_numbered(struct generator *generator)
{
	struct traffic traffic = generator->maker.traffic;
	int error;

	if (traffic.tcp)
		return 0;
	traffic.stamped = true;
	if (traffic.sizes[0] < frame_bytes_min(&traffic))
		traffic.sizes[0] = frame_bytes_min(&traffic);
	frame_maker_free(&generator->maker);
	error = frame_maker_init(&generator->maker, &traffic);
	for (unsigned int i = 0; i < N_SIDES && !error; i++) {
		struct ring *ring = &generator->sides[i].front_end.tx;

		for (uint16_t frame = 0; frame < ring->frames; frame++)
			frame_prepare(
				&generator->maker, (enum side_name)i, ring_frame(ring, frame));
	}
	return error;
}

static int options_check(const struct options *options)
{
	if (options->traffic.n_sizes != 1) {
		fprintf(stderr, "generator: mode keep sends frames of one size, not IMIX\n");
		return -ENOTSUP;
	}
	if (options->watch && options->traffic.tcp) {
		fprintf(stderr, "generator: --watch is for UDP flows, not for --tcp\n");
		return -ENOTSUP;
	}
	if (options->rate_mpps == 0) {
		fprintf(stderr, "generator: mode keep needs a --rate\n");
		return -EINVAL;
	}
	return 0;
}

static void print_keep_heading(const struct keep *keep, const struct moment *start)
{
	const struct generator *generator = keep->generator;

	print_heading(generator);
	printf("\"rate_mpps\": %.4f, ", generator->options.rate_mpps);
	if (keep->watched)
		printf("\"watched_port\": %u, ", frame_service_port(keep->watched));
	print_time(keep, start, "begin", start->ticks);
	printf(",\n");
	fflush(stdout); /* Whoever reads this line may begin to do harm. */
}

static int measure(struct keep *keep)
{
	struct generator *generator = keep->generator;
	uint64_t opened[N_SIDES], waited;
	int error = open_flows(generator, generator->maker.traffic.n_flows, opened);
	struct moment begin;

	if (error)
		return error;
	drain(generator, DRAIN_MS);
	begin = moment_now();
	print_keep_heading(keep, &begin);
	start(keep);
	waited = waited_ns();
	run_for(keep, (unsigned int)generator->options.seconds * 1000, true);
	waited = waited_ns() - waited;
	for (unsigned int i = 0; i < N_SIDES; i++)
		note_end(&keep->arrivals[i], keep->sent[i], clock_ticks());
	run_for(keep, DRAIN_MS, false);

	printf("\"waited\": %.4f, \"own_pause_ms\": %.3f, ",
		(double)waited / 1e9 / (double)generator->options.seconds,
		milliseconds_of(keep, keep->own_pause_ticks));
	print_direction(keep, &begin, SIDE_A, "a_to_b");
	print_direction(keep, &begin, SIDE_B, "b_to_a");
	print_watched(keep, &begin);
	printf("\"connections\": {\"a\": %u, \"b\": %u}, ",
		generator->sides[SIDE_A].front_end.connections,
		generator->sides[SIDE_B].front_end.connections);
	printf("\"opened\": {\"a_to_b\": %" PRIu64 ", \"b_to_a\": %" PRIu64 "}, ", opened[SIDE_A],
		opened[SIDE_B]);
	printf("\"heard_again\": %u}\n", roll_call(keep));
	return 0;
}

int mode_keep(struct generator *generator)
{
	struct keep keep = {.generator = generator};
	int error = options_check(&generator->options);

	if (!error)
		error = prepare_numbered(generator);
	if (error)
		return error;
	if (generator->options.watch)
		keep.watched = frame_flow_of_next_service(generator->maker.traffic.n_flows);
	keep.heard = calloc(generator->maker.traffic.n_flows, sizeof(keep.heard[0]));
	error = keep.heard ? measure(&keep) : -ENOMEM;
	free(keep.heard);
	return error;
}
