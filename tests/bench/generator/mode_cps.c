/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode cps: whole TCP connections, one after another in a window of many at once.  Called by
 *main().
 *
 *	   A                       B
 *	   | SYN ----------------> |
 *	   | <------------ SYN,ACK |
 *	   | ACK ----------------> |
 *	   | request ------------> |
 *	   | <----------- response |	acknowledges the request
 *	   | FIN ----------------> |	acknowledges the response
 *	   | <---------------- FIN |	acknowledges A's
 *	   | ACK ----------------> |
 *
 * A connection is complete when B has A's last ACK.  B keeps no state: all that it answers follows
 * from what came.  What is lost is sent again by the side that would notice: A, but for B's FIN.
 *
 * A connection has at most two frames on their way to one side, so a window of half a ring never
 * asks for more than the ring has room for.
 *
 * Memory: 8 bytes per flow (a connection's ports), and 6 MiB for what is in flight.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/generator/flight.h"
#include "tests/bench/generator/mode.h"

enum { REQUEST_BYTES = 64, RESPONSE_BYTES = 100 };
enum { FLIGHT_BITS = 18, POLL_MS = 10, WARM_UP_MS = 300, FIRST_SECONDS = 5 };

/* What A has sent last. */
enum step { STEP_NONE, STEP_SYN, STEP_REQUEST, STEP_FIN, STEP_LAST_ACK };

struct connection {
	uint32_t sequence; /* A's initial one. */
	uint8_t step;
};

struct counters {
	uint64_t completed, retried, failed;
};

struct cps {
	struct generator *generator;
	struct flight_queue queue;
	struct connection *connections; /* Of each flow. */
	uint32_t next;			/* The flow of the next connection. */
	uint32_t in_flight, window;
	uint32_t n_begun; /* So that a flow's next connection has other sequence numbers. */
	struct counters counters;
};

/* A segment list that goes out as one burst. */
struct batch {
	struct tcp_segment segments[SIDE_BURST];
	unsigned int n;
};

static void batch_add(struct batch *batch, uint32_t flow, uint8_t flags, uint32_t sequence,
	uint32_t acknowledgment, uint16_t payload_bytes)
{
	batch->segments[batch->n++] = (struct tcp_segment){.flow = flow,
		.flags = flags,
		.sequence = sequence,
		.acknowledgment = acknowledgment,
		.payload_bytes = payload_bytes};
}

static void batch_send(struct batch *batch, struct cps *cps, enum side_name from)
{
	side_send_segments(
		&cps->generator->sides[from], &cps->generator->maker, batch->segments, batch->n);
}

/* B's initial sequence number follows from A's. */
static uint32_t sequence_of_b(uint32_t sequence_of_a)
{
	return sequence_of_a * 2654435761u + 1013904223u;
}

/* --- B -------------------------------------------------------------------------------------- */

static void b_hears(struct cps *cps, const struct tcp_segment *segment, struct batch *batch)
{
	uint32_t flow = segment->flow, sequence = segment->sequence;

	if (segment->flags & TCP_SYN) {
		batch_add(batch, flow, TCP_SYN | TCP_ACK, sequence_of_b(sequence), sequence + 1, 0);
	} else if (segment->flags & TCP_FIN) {
		batch_add(batch, flow, TCP_FIN | TCP_ACK, segment->acknowledgment, sequence + 1, 0);
	} else if (segment->payload_bytes) {
		batch_add(batch, flow, TCP_PUSH | TCP_ACK, segment->acknowledgment,
			sequence + segment->payload_bytes, RESPONSE_BYTES);
	} else if (cps->connections[flow].step == STEP_LAST_ACK) {
		cps->connections[flow].step = STEP_NONE;
		cps->in_flight--;
		cps->counters.completed++;
	}
}

/* --- A -------------------------------------------------------------------------------------- */

static void a_hears(struct cps *cps, const struct tcp_segment *segment, struct batch *batch)
{
	uint32_t flow = segment->flow, sequence = segment->acknowledgment;
	uint32_t heard = segment->sequence + segment->payload_bytes;
	uint8_t step = cps->connections[flow].step;

	if (step == STEP_SYN && segment->flags & TCP_SYN) {
		batch_add(batch, flow, TCP_ACK, sequence, heard + 1, 0);
		batch_add(batch, flow, TCP_PUSH | TCP_ACK, sequence, heard + 1, REQUEST_BYTES);
		cps->connections[flow].step = STEP_REQUEST;
	} else if (step == STEP_REQUEST && segment->payload_bytes) {
		batch_add(batch, flow, TCP_FIN | TCP_ACK, sequence, heard, 0);
		cps->connections[flow].step = STEP_FIN;
	} else if ((step == STEP_FIN || step == STEP_LAST_ACK) && segment->flags & TCP_FIN) {
		batch_add(batch, flow, TCP_ACK, sequence, heard + 1, 0);
		cps->connections[flow].step = STEP_LAST_ACK;
	}
}

/* Hears no more than can be answered: a SYN-ACK takes two frames. */
static void hear(struct cps *cps, enum side_name at)
{
	const struct frame_maker *maker = &cps->generator->maker;
	struct side *side = &cps->generator->sides[at];
	struct ring_frame frames[SIDE_BURST];
	unsigned int room = side_room(side) / 2, n;
	struct batch batch;

	batch.n = 0;
	n = side_take(side, maker, frames, room < SIDE_BURST / 2 ? room : SIDE_BURST / 2);
	for (unsigned int i = 0; i < n; i++) {
		struct tcp_segment segment = frame_read_segment(maker, at, frames[i].data);

		if (segment.flow >= maker->traffic.n_flows)
			continue;
		if (at == SIDE_B)
			b_hears(cps, &segment, &batch);
		else
			a_hears(cps, &segment, &batch);
	}
	side_give_back(side);
	batch_send(&batch, cps, at);
}

static uint32_t next_flow(struct cps *cps)
{
	uint32_t flow = cps->next;

	if (++cps->next == cps->generator->maker.traffic.n_flows)
		cps->next = 0;
	return flow;
}

static void begin_connections(struct cps *cps, uint64_t now)
{
	uint32_t n = cps->window - cps->in_flight, room = side_room(&cps->generator->sides[SIDE_A]);
	struct batch batch;

	batch.n = 0;
	if (n > room)
		n = room;
	if (n > SIDE_BURST)
		n = SIDE_BURST;
	for (uint32_t i = 0; i < n && !flight_queue_is_full(&cps->queue); i++) {
		uint32_t flow = next_flow(cps), sequence = ++cps->n_begun * 2246822519u;

		/* Ports that are still in use are passed over. */
		if (cps->connections[flow].step != STEP_NONE)
			continue;
		cps->connections[flow] = (struct connection){sequence, STEP_SYN};
		cps->in_flight++;
		batch_add(&batch, flow, TCP_SYN, sequence, 0, 0);
		flight_push(&cps->queue,
			(struct flight){
				.flow = flow, .sequence = sequence, .step = STEP_SYN, .tries = 1},
			now);
	}
	batch_send(&batch, cps, SIDE_A);
}

/* --- What is lost --------------------------------------------------------------------------- */

/* Sends again what this step waits for an answer to.  Returns false if there is no room for it. */
static bool send_again(struct cps *cps, const struct flight *flight)
{
	uint32_t a = flight->sequence, b = sequence_of_b(a);
	enum side_name from = flight->step == STEP_LAST_ACK ? SIDE_B : SIDE_A;
	struct batch batch;

	batch.n = 0;
	if (side_room(&cps->generator->sides[from]) == 0)
		return false;
	if (flight->step == STEP_SYN)
		batch_add(&batch, flight->flow, TCP_SYN, a, 0, 0);
	else if (flight->step == STEP_REQUEST)
		batch_add(&batch, flight->flow, TCP_PUSH | TCP_ACK, a + 1, b + 1, REQUEST_BYTES);
	else if (flight->step == STEP_FIN)
		batch_add(&batch, flight->flow, TCP_FIN | TCP_ACK, a + 1 + REQUEST_BYTES,
			b + 1 + RESPONSE_BYTES, 0);
	else
		batch_add(&batch, flight->flow, TCP_FIN | TCP_ACK, b + 1 + RESPONSE_BYTES,
			a + 2 + REQUEST_BYTES, 0);
	batch_send(&batch, cps, from);
	cps->counters.retried++;
	return true;
}

static void give_up(struct cps *cps, const struct flight *flight)
{
	cps->connections[flight->flow].step = STEP_NONE;
	cps->in_flight--;
	cps->counters.failed++;
}

/* The step of a flight's connection, which may be over, and its ports in use by another one. */
static uint8_t step_of(const struct cps *cps, const struct flight *flight)
{
	const struct connection *connection = &cps->connections[flight->flow];

	return connection->sequence == flight->sequence ? connection->step : STEP_NONE;
}

static void look_at_deadlines(struct cps *cps, uint64_t now)
{
	const struct flight *first;

	while ((first = flight_first(&cps->queue))) {
		struct flight flight = *first;
		uint8_t step = step_of(cps, &flight);

		if (step != STEP_NONE && flight.deadline > now)
			return;
		if (step != STEP_NONE && step == flight.step) {
			if (flight.tries == FLIGHT_TRIES) {
				give_up(cps, &flight);
				step = STEP_NONE;
			} else if (!send_again(cps, &flight)) {
				return;
			}
			flight.tries++;
		} else {
			flight.tries = 1;
		}
		flight_pop(&cps->queue);
		flight.step = step;
		if (step != STEP_NONE)
			flight_push(&cps->queue, flight, now);
	}
}

/* --- Rounds --------------------------------------------------------------------------------- */

/* Until so much time has passed, or so many connections are complete. */
static int run(struct cps *cps, uint64_t ticks, uint64_t completed)
{
	uint64_t now = clock_ticks(), until = now + ticks, poll = now;
	int error = 0;

	while (now < until && cps->counters.completed < completed && !error) {
		begin_connections(cps, now);
		hear(cps, SIDE_B);
		hear(cps, SIDE_A);
		look_at_deadlines(cps, now);
		now = clock_ticks();
		if (now >= poll) {
			error = sides_check(cps->generator);
			poll = now + cps->generator->ticks_per_second / 1000 * POLL_MS;
		}
	}
	return error;
}

static int measure_round(struct cps *cps)
{
	uint64_t hz = cps->generator->ticks_per_second, waited = waited_ns(), ticks = clock_ticks();
	struct counters before = cps->counters;
	int error = run(cps, hz * cps->generator->options.seconds, UINT64_MAX);
	double seconds;

	if (error)
		return error;
	waited = waited_ns() - waited;
	seconds = (double)(clock_ticks() - ticks) / (double)hz;
	printf("{\"seconds\": %.3f, \"waited\": %.4f, \"connections_per_second\": %.0f, ", seconds,
		(double)waited / 1e9 / seconds,
		(double)(cps->counters.completed - before.completed) / seconds);
	printf("\"completed\": %" PRIu64 ", \"retried\": %" PRIu64 ", \"failed\": %" PRIu64 "}",
		cps->counters.completed - before.completed, cps->counters.retried - before.retried,
		cps->counters.failed - before.failed);
	fflush(stdout);
	return 0;
}

/* One connection first, so that addresses are learned; then all, for a moment. */
static int warm_up(struct cps *cps)
{
	uint64_t hz = cps->generator->ticks_per_second;
	int error;

	cps->window = 1;
	error = run(cps, FIRST_SECONDS * hz, 1);
	if (error)
		return error;
	if (cps->counters.completed == 0) {
		fprintf(stderr,
			"generator: no connection is complete after %d s; is there a policy that "
			"allows the traffic?\n",
			FIRST_SECONDS);
		return -ENOTCONN;
	}
	cps->window = (uint32_t)cps->generator->options.window;
	return run(cps, hz / 1000 * WARM_UP_MS, UINT64_MAX);
}

static int measure(struct cps *cps)
{
	struct generator *generator = cps->generator;
	int error = warm_up(cps);

	if (error)
		return error;
	print_heading(generator);
	printf("\"window\": %" PRIu64 ", \"rounds\": [\n", generator->options.window);
	fflush(stdout); /* Whoever reads this line knows that the measuring begins now. */
	for (unsigned int i = 0; i < generator->options.rounds && !error; i++) {
		if (i > 0)
			printf(",\n");
		error = measure_round(cps);
	}
	printf("], \"reused_after\": %u, \"foreign\": %" PRIu64 "}\n",
		generator->maker.traffic.n_flows,
		generator->sides[SIDE_A].foreign + generator->sides[SIDE_B].foreign);
	return error;
}

int mode_cps(struct generator *generator)
{
	struct cps cps = {.generator = generator};
	int error;

	cps.connections = calloc(generator->maker.traffic.n_flows, sizeof(cps.connections[0]));
	error = flight_queue_init(&cps.queue, FLIGHT_BITS, generator->ticks_per_second);
	if (!cps.connections || error) {
		fprintf(stderr, "generator: no memory for %u flows\n",
			generator->maker.traffic.n_flows);
		error = -ENOMEM;
	} else {
		error = measure(&cps);
	}
	flight_queue_free(&cps.queue);
	free(cps.connections);
	return error;
}
