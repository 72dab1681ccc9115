/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cases.  Called by main, on the main thread.
 */
#include <config.h>

#include "tests/bench/instructions/stage.h"

#include <rte_tcp.h>

#include "tests/bench/instructions/cases.h"
#include "tests/bench/instructions/frame.h"

enum {
	FRAMES = 8192,
	SERVICE = 8000,
	TFTP = 69, /* Which the policy denies. */
	PAYLOAD = 18,
	FRAGMENTED_PAYLOAD = 296,
	LARGE_TABLE = 1 << 17,
	SMALL_TABLE = 1 << 10, /* As small as may be. */
};

enum { FIN = RTE_TCP_FIN_FLAG, SYN = RTE_TCP_SYN_FLAG, ACK = RTE_TCP_ACK_FLAG };

/* What a run must come to. */
struct expected {
	uint32_t sent; /* By both ports. */
	uint64_t misses, dropped;
	enum drop_reason reason;
};

static uint32_t check(const struct bench_case *bench_case, const struct stage_result *result,
	const struct expected *expected)
{
	uint32_t sent = result->sent[PORT_A] + result->sent[PORT_B];

	if (sent != expected->sent || result->misses != expected->misses ||
		(expected->dropped != 0 && result->drops[expected->reason] != expected->dropped))
		give_up("%s: of %u frames %u were sent, %lu took the miss path and %lu were "
			"dropped as %s; expected were %u, %lu and %lu",
			bench_case->name, result->received, sent, result->misses,
			result->drops[expected->reason], drop_name(expected->reason),
			expected->sent, expected->misses, expected->dropped);
	return result->received;
}

static void send_frame(struct stage *stage, struct frame frame)
{
	frame_write(stage_receive(stage, frame.from), &frame);
}

/* Schedules n frames of `frame`'s kind, of flows in turn from flow `first` on, in bursts of one
 * port.  Both sides of the same flows follow each other. */
static void send_turns(struct stage *stage, const struct frame *frame, uint32_t flows, uint32_t n)
{
	for (uint32_t at = 0; at < n; at++) {
		struct frame one = *frame;

		one.from = at / BURST_MAX % 2 ? PORT_B : PORT_A;
		one.flow = (at / BURST_MAX / 2 * BURST_MAX + at % BURST_MAX) % flows;
		send_frame(stage, one);
	}
}

/* --- hits ----------------------------------------------------------------------------------- */

/* Frames both ways of UDP flows that both sides have spoken in. */
static uint32_t run_udp(
	struct stage *stage, const struct bench_case *bench_case, uint32_t flows, bool ip6)
{
	struct frame frame = {.service = SERVICE, .ip6 = ip6, .payload_bytes = PAYLOAD};

	for (uint32_t flow = 0; flow < 2 * flows; flow++) {
		frame.flow = flow % flows;
		frame.from = flow < flows ? PORT_A : PORT_B;
		send_frame(stage, frame);
	}
	stage_run(stage, NULL);
	send_turns(stage, &frame, flows, FRAMES);
	struct stage_result result = stage_run(stage, bench_case->name);
	return check(bench_case, &result, &(struct expected){.sent = FRAMES});
}

static uint32_t run_udp_1(struct stage *stage, const struct bench_case *bench_case)
{
	return run_udp(stage, bench_case, 1, false);
}

static uint32_t run_udp_1k(struct stage *stage, const struct bench_case *bench_case)
{
	return run_udp(stage, bench_case, 1024, false);
}

static uint32_t run_ip6_1k(struct stage *stage, const struct bench_case *bench_case)
{
	return run_udp(stage, bench_case, 1024, true);
}

static void send_tcp(struct stage *stage, uint16_t from, uint32_t flow, uint8_t flags,
	uint32_t sequence, uint32_t acknowledgment, uint16_t payload_bytes)
{
	send_frame(stage, (struct frame){.from = from,
				  .flow = flow,
				  .service = SERVICE,
				  .tcp = true,
				  .flags = flags,
				  .sequence = sequence,
				  .acknowledgment = acknowledgment,
				  .payload_bytes = payload_bytes});
}

/* Segments one way and acknowledgments the other, of 256 established connections. */
static uint32_t run_tcp(struct stage *stage, const struct bench_case *bench_case)
{
	const uint32_t flows = 256, rounds = FRAMES / 2 / flows;

	for (unsigned int step = 0; step < 3; step++)
		for (uint32_t flow = 0; flow < flows; flow++)
			send_tcp(stage, step == 1 ? PORT_B : PORT_A, flow,
				(step < 2 ? SYN : 0) | (step > 0 ? ACK : 0), step == 2, step > 0,
				0);
	stage_run(stage, NULL);
	for (uint32_t round = 0; round < rounds; round++) {
		for (uint32_t flow = 0; flow < flows; flow++)
			send_tcp(stage, PORT_A, flow, ACK, 1 + round * PAYLOAD, 1, PAYLOAD);
		for (uint32_t flow = 0; flow < flows; flow++)
			send_tcp(stage, PORT_B, flow, ACK, 1, 1 + (round + 1) * PAYLOAD, 0);
	}
	struct stage_result result = stage_run(stage, bench_case->name);
	return check(bench_case, &result, &(struct expected){.sent = FRAMES});
}

/* Datagrams of known flows, each in two fragments, in order or the last one first. */
static uint32_t run_in_two(struct stage *stage, const struct bench_case *bench_case, bool reversed)
{
	const uint32_t flows = 256;
	struct frame frame = {
		.from = PORT_A, .service = SERVICE, .payload_bytes = FRAGMENTED_PAYLOAD};

	for (uint32_t at = 0; at < flows + FRAMES / 2; at++) {
		if (at == flows)
			stage_run(stage, NULL);
		frame.flow = at % flows;
		struct rte_mbuf *one = stage_receive(stage, PORT_A);
		struct rte_mbuf *other = stage_receive(stage, PORT_A);
		struct rte_mbuf *first = reversed ? other : one;

		frame_write(first, &frame);
		frame_cut(
			first, reversed ? one : other, (8 + FRAGMENTED_PAYLOAD) / 2, (uint16_t)at);
	}
	struct stage_result result = stage_run(stage, bench_case->name);
	return check(bench_case, &result, &(struct expected){.sent = FRAMES});
}

static uint32_t run_fragments(struct stage *stage, const struct bench_case *bench_case)
{
	return run_in_two(stage, bench_case, false);
}

static uint32_t run_fragments_reversed(struct stage *stage, const struct bench_case *bench_case)
{
	return run_in_two(stage, bench_case, true);
}

/* The same again in flows that were denied. */
static uint32_t run_denied_again(struct stage *stage, const struct bench_case *bench_case)
{
	const uint32_t flows = 256;
	struct frame frame = {.from = PORT_A, .service = TFTP, .payload_bytes = PAYLOAD};

	for (uint32_t at = 0; at < flows + FRAMES; at++) {
		if (at == flows)
			stage_run(stage, NULL);
		frame.flow = at % flows;
		send_frame(stage, frame);
	}
	struct stage_result result = stage_run(stage, bench_case->name);
	return check(
		bench_case, &result, &(struct expected){.dropped = FRAMES, .reason = DROP_POLICY});
}

/* --- misses --------------------------------------------------------------------------------- */

static void send_first_frames(
	struct stage *stage, uint16_t from, uint16_t service, bool ip6, uint32_t first, uint32_t n)
{
	struct frame frame = {
		.from = from, .service = service, .ip6 = ip6, .payload_bytes = PAYLOAD};

	for (uint32_t flow = first; flow < first + n; flow++) {
		frame.flow = flow;
		send_frame(stage, frame);
	}
}

static uint32_t run_new(struct stage *stage, const struct bench_case *bench_case, bool ip6)
{
	send_first_frames(stage, PORT_A, SERVICE, ip6, 0, FRAMES);
	struct stage_result result = stage_run(stage, bench_case->name);

	if (result.events != FRAMES)
		give_up("%s: %u records for the log, of %d connections", bench_case->name,
			result.events, FRAMES);
	return check(bench_case, &result, &(struct expected){.sent = FRAMES, .misses = FRAMES});
}

static uint32_t run_new_ip4(struct stage *stage, const struct bench_case *bench_case)
{
	return run_new(stage, bench_case, false);
}

static uint32_t run_new_ip6(struct stage *stage, const struct bench_case *bench_case)
{
	return run_new(stage, bench_case, true);
}

/* The first frame of the other side: a hit, since the flow is there. */
static uint32_t run_answer(struct stage *stage, const struct bench_case *bench_case)
{
	send_first_frames(stage, PORT_A, SERVICE, false, 0, FRAMES);
	stage_run(stage, NULL);
	send_first_frames(stage, PORT_B, SERVICE, false, 0, FRAMES);
	struct stage_result result = stage_run(stage, bench_case->name);

	if (result.sent[PORT_A] != FRAMES)
		give_up("%s: %u of %d answers were sent", bench_case->name, result.sent[PORT_A],
			FRAMES);
	return result.received;
}

/* One frame of a TCP connection's life. */
struct segment {
	uint16_t from;
	uint8_t flags;
	uint32_t sequence, acknowledgment;
	uint16_t payload_bytes;
};

static const struct segment life[] = {
	{PORT_A, SYN, 0, 0, 0},
	{PORT_B, SYN | ACK, 0, 1, 0},
	{PORT_A, ACK, 1, 1, 0},
	{PORT_A, ACK, 1, 1, PAYLOAD},
	{PORT_B, ACK, 1, 1 + PAYLOAD, PAYLOAD},
	{PORT_A, FIN | ACK, 1 + PAYLOAD, 1 + PAYLOAD, 0},
	{PORT_B, FIN | ACK, 1 + PAYLOAD, 2 + PAYLOAD, 0},
	{PORT_A, ACK, 2 + PAYLOAD, 2 + PAYLOAD, 0},
};

/* Whole TCP connections, BURST_MAX of them in step. */
static uint32_t run_life(struct stage *stage, const struct bench_case *bench_case)
{
	const uint32_t n = RTE_DIM(life), flows = FRAMES / n;

	for (uint32_t first = 0; first < flows; first += BURST_MAX) {
		for (uint32_t at = 0; at < n * BURST_MAX; at++) {
			const struct segment *segment = &life[at / BURST_MAX];

			send_tcp(stage, segment->from, first + at % BURST_MAX, segment->flags,
				segment->sequence, segment->acknowledgment, segment->payload_bytes);
		}
	}
	struct stage_result result = stage_run(stage, bench_case->name);
	return check(bench_case, &result, &(struct expected){.sent = FRAMES, .misses = flows});
}

static uint32_t run_denied(struct stage *stage, const struct bench_case *bench_case)
{
	send_first_frames(stage, PORT_A, TFTP, false, 0, FRAMES);
	struct stage_result result = stage_run(stage, bench_case->name);

	return check(bench_case, &result,
		&(struct expected){.misses = FRAMES, .dropped = FRAMES, .reason = DROP_POLICY});
}

static uint32_t run_full(struct stage *stage, const struct bench_case *bench_case)
{
	send_first_frames(stage, PORT_A, SERVICE, false, 0, 2 * SMALL_TABLE);
	stage_run(stage, NULL);
	send_first_frames(stage, PORT_A, SERVICE, false, 2 * SMALL_TABLE, FRAMES);
	struct stage_result result = stage_run(stage, bench_case->name);

	return check(bench_case, &result,
		&(struct expected){.misses = FRAMES, .dropped = FRAMES, .reason = DROP_TABLE_FULL});
}

/* The next frame of each connection after a policy was put into force. */
static uint32_t run_renewed(struct stage *stage, const struct bench_case *bench_case)
{
	send_first_frames(stage, PORT_A, SERVICE, false, 0, FRAMES);
	stage_run(stage, NULL);
	stage_commit(stage);
	send_first_frames(stage, PORT_A, SERVICE, false, 0, FRAMES);
	struct stage_result result = stage_run(stage, bench_case->name);

	return check(bench_case, &result, &(struct expected){.sent = FRAMES, .misses = FRAMES});
}

const struct bench_case bench_cases[] = {
	{"hit-udp-1", "UDP, 1 flow, both ways", LARGE_TABLE, run_udp_1},
	{"hit-udp-1k", "UDP, 1,024 flows, both ways", LARGE_TABLE, run_udp_1k},
	{"hit-ipv6-1k", "UDP over IPv6, 1,024 flows, both ways", LARGE_TABLE, run_ip6_1k},
	{"hit-tcp", "TCP data and acknowledgments, 256 connections", LARGE_TABLE, run_tcp},
	{"hit-denied", "flows that were denied before", LARGE_TABLE, run_denied_again},
	{"hit-fragments", "UDP in two fragments of 150 bytes, held and verified", LARGE_TABLE,
		run_fragments},
	{"hit-fragments-last", "the same, the last one first", LARGE_TABLE, run_fragments_reversed},
	{"hit-answer", "first answer in a new UDP flow", LARGE_TABLE, run_answer},
	{"miss-udp", "first frame of a UDP flow, allowed and logged", LARGE_TABLE, run_new_ip4},
	{"miss-ipv6", "the same over IPv6", LARGE_TABLE, run_new_ip6},
	{"miss-tcp-life", "whole TCP connections of 8 frames, 1 of them a miss", LARGE_TABLE,
		run_life},
	{"miss-denied", "first frame of a flow that a rule denies", LARGE_TABLE, run_denied},
	{"miss-full", "first frame that finds the table full", SMALL_TABLE, run_full},
	{"miss-renewed", "next frame after a policy commit", LARGE_TABLE, run_renewed},
};
const size_t n_bench_cases = RTE_DIM(bench_cases);
