/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mode bulk: A sends as much as it can in a few TCP connections, as a guest's stack does whose card
 * has segmentation offload: in frames of up to 64 KiB, with the transport checksum left open.  B
 * takes them as its card gives them, whole or cut, and acknowledges.  Called by main().
 *
 * Window.  What A has sent and B has not acknowledged is less than what B's receive ring holds, so
 * that a device which loses nothing makes A lose nothing.  What is lost nevertheless is sent again
 * after a time-out, beginning with the first byte that B has not got (go back N, RFC 9293, 3.8).
 *
 * The payload is zeros; nobody looks at it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/generator/mode.h"

enum { WARM_UP_MS = 300, CHECK_MS = 5, RETRANSMIT_MS = 20 };
enum { TCP_CHECKSUM_AT = 16, ETHERNET_BYTES = 14 };
/* Of an MTU of 1500, without TCP options. */
enum { SEGMENT_BYTES_IP4 = 1460, SEGMENT_BYTES_IP6 = 1440, SEGMENTS = 44 };

/* One connection, in bytes since the handshake. */
struct bulk_flow {
	uint64_t sent, acknowledged; /* A's. */
	uint64_t received;	     /* B's: in order. */
	uint64_t progress_ticks;     /* When `acknowledged` last grew. */
	bool owes_acknowledgment;    /* B. */
};

struct bulk {
	struct generator *generator;
	struct bulk_flow *flows;
	uint32_t n_flows, next_flow;
	uint32_t first_sequence[N_SIDES]; /* That of byte 0. */
	uint16_t payload_bytes, segment_bytes;
	uint64_t window; /* Of each flow, in bytes. */

	uint64_t delivered; /* Bytes, in order. */
	uint64_t frames_sent, frames_received, retransmits;
};

/* What is left to the card: the checksum, of which only the pseudo header's part is there, and,
 * with `segment_bytes`, to cut. */
static void request_offload(const struct frame_maker *maker, enum side_name side, uint8_t *data,
	uint32_t payload_bytes, uint16_t segment_bytes)
{
	const uint16_t header_bytes = maker->payload_offset - maker->l4_offset;
	uint32_t sum = maker->l4_sum[side] + header_bytes + payload_bytes;
	uint8_t *checksum = data + maker->l4_offset + TCP_CHECKSUM_AT;

	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	checksum[0] = (uint8_t)(sum >> 8);
	checksum[1] = (uint8_t)sum;
	*ring_header(data) = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = maker->l4_offset,
		.csum_offset = TCP_CHECKSUM_AT};
	if (!segment_bytes)
		return;
	ring_header(data)->gso_type =
		maker->traffic.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	ring_header(data)->gso_size = segment_bytes;
	ring_header(data)->hdr_len = maker->payload_offset;
}

static void put_segment(struct bulk *bulk, enum side_name side, const struct tcp_segment *segment,
	uint16_t segment_bytes)
{
	struct frame_maker *maker = &bulk->generator->maker;
	struct ring *ring = &bulk->generator->sides[side].front_end.tx;
	uint8_t *data = ring_frame(ring, 0);
	uint16_t bytes = frame_write_segment(maker, side, segment, data);

	request_offload(maker, side, data, segment->payload_bytes, segment_bytes);
	ring_put(ring, 0, bytes);
	ring_publish(ring, 1);
}

/* --- A -------------------------------------------------------------------------------------- */

static void send_payload(struct bulk *bulk, uint32_t number)
{
	struct bulk_flow *flow = &bulk->flows[number];
	struct tcp_segment segment = {.flow = number,
		.sequence = bulk->first_sequence[SIDE_A] + (uint32_t)flow->sent,
		.acknowledgment = bulk->first_sequence[SIDE_B],
		.payload_bytes = bulk->payload_bytes,
		.flags = TCP_PUSH | TCP_ACK};

	put_segment(bulk, SIDE_A, &segment, bulk->segment_bytes);
	flow->sent += bulk->payload_bytes;
	bulk->frames_sent++;
}

static bool has_window(const struct bulk *bulk, const struct bulk_flow *flow)
{
	return flow->sent - flow->acknowledged + bulk->payload_bytes <= bulk->window;
}

/* At most one frame of each flow. */
static void send_all(struct bulk *bulk)
{
	struct ring *ring = &bulk->generator->sides[SIDE_A].front_end.tx;

	for (uint32_t i = 0; i < bulk->n_flows && ring_room(ring, 1) > 0; i++) {
		uint32_t number = bulk->next_flow;

		bulk->next_flow = number + 1 == bulk->n_flows ? 0 : number + 1;
		if (has_window(bulk, &bulk->flows[number]))
			send_payload(bulk, number);
	}
}

static void send_again(struct bulk *bulk, uint64_t now)
{
	const uint64_t limit = bulk->generator->ticks_per_second / 1000 * RETRANSMIT_MS;

	for (uint32_t i = 0; i < bulk->n_flows; i++) {
		struct bulk_flow *flow = &bulk->flows[i];

		if (flow->sent == flow->acknowledged || now - flow->progress_ticks < limit)
			continue;
		flow->sent = flow->acknowledged;
		flow->progress_ticks = now;
		bulk->retransmits++;
	}
}

/* The offset that 32 bits of it are known of: the one next to `near`. */
static uint64_t offset_of(uint32_t sequence, uint32_t first, uint64_t near)
{
	return near + (uint64_t)(int64_t)(int32_t)(sequence - first - (uint32_t)near);
}

static void note_acknowledgment(struct bulk *bulk, const struct tcp_segment *segment, uint64_t now)
{
	struct bulk_flow *flow = &bulk->flows[segment->flow];
	uint64_t acknowledged = offset_of(
		segment->acknowledgment, bulk->first_sequence[SIDE_A], flow->acknowledged);

	if ((int64_t)(acknowledged - flow->acknowledged) <= 0)
		return;
	flow->acknowledged = acknowledged;
	if (flow->sent < acknowledged)
		flow->sent = acknowledged; /* What was to be sent again had arrived after all. */
	flow->progress_ticks = now;
}

/* --- B -------------------------------------------------------------------------------------- */

static void note_payload(struct bulk *bulk, const struct tcp_segment *segment)
{
	struct bulk_flow *flow = &bulk->flows[segment->flow];
	uint64_t begin = offset_of(segment->sequence, bulk->first_sequence[SIDE_A], flow->received);

	bulk->frames_received++;
	flow->owes_acknowledgment = true;
	if (begin != flow->received)
		return;
	flow->received += segment->payload_bytes;
	bulk->delivered += segment->payload_bytes;
}

/* One for all that has come in a flow since the last one. */
static void acknowledge(struct bulk *bulk)
{
	struct ring *ring = &bulk->generator->sides[SIDE_B].front_end.tx;

	for (uint32_t i = 0; i < bulk->n_flows; i++) {
		struct bulk_flow *flow = &bulk->flows[i];
		struct tcp_segment segment = {.flow = i,
			.sequence = bulk->first_sequence[SIDE_B],
			.acknowledgment = bulk->first_sequence[SIDE_A] + (uint32_t)flow->received,
			.flags = TCP_ACK};

		if (!flow->owes_acknowledgment || ring_room(ring, 1) == 0)
			continue;
		put_segment(bulk, SIDE_B, &segment, 0);
		flow->owes_acknowledgment = false;
	}
}

/* --- Both ----------------------------------------------------------------------------------- */

static unsigned int receive(struct bulk *bulk, enum side_name receiver, uint64_t now)
{
	struct frame_maker *maker = &bulk->generator->maker;
	struct side *side = &bulk->generator->sides[receiver];
	struct ring_frame frames[SIDE_BURST];
	unsigned int n = side_take(side, maker, frames, SIDE_BURST);

	for (unsigned int i = 0; i < n; i++) {
		struct tcp_segment segment = frame_read_segment(maker, receiver, frames[i].data);

		if (segment.flow >= bulk->n_flows)
			continue;
		if (receiver == SIDE_A)
			note_acknowledgment(bulk, &segment, now);
		else
			note_payload(bulk, &segment);
	}
	side_give_back(side);
	return n;
}

static int run_for(struct bulk *bulk, unsigned int milliseconds)
{
	const uint64_t ms = bulk->generator->ticks_per_second / 1000;
	uint64_t now = clock_ticks(), until = now + ms * milliseconds, check = now;

	for (; now < until; now = clock_ticks()) {
		if (now >= check) {
			int error = sides_check(bulk->generator);

			if (error)
				return error;
			send_again(bulk, now);
			check = now + ms * CHECK_MS;
		}
		send_all(bulk);
		if (receive(bulk, SIDE_B, now))
			acknowledge(bulk);
		receive(bulk, SIDE_A, now);
	}
	return 0;
}

static int measure_round(struct bulk *bulk)
{
	const unsigned int timed_ms = (unsigned int)bulk->generator->options.seconds * 1000;
	int error = run_for(bulk, WARM_UP_MS);
	struct bulk before = *bulk;
	uint64_t waited = waited_ns(), begin = clock_ticks();
	double seconds;

	if (!error)
		error = run_for(bulk, timed_ms);
	if (error)
		return error;
	seconds = (double)(clock_ticks() - begin) / (double)bulk->generator->ticks_per_second;
	waited = waited_ns() - waited;
	printf("{\"seconds\": %.3f, \"waited\": %.4f, \"gbit_per_second\": %.3f, ", seconds,
		(double)waited / 1e9 / seconds,
		(double)(bulk->delivered - before.delivered) * 8 / 1e9 / seconds);
	printf("\"frames_sent\": %" PRIu64 ", \"frames_received\": %" PRIu64
	       ", \"retransmits\": %" PRIu64 "}",
		bulk->frames_sent - before.frames_sent,
		bulk->frames_received - before.frames_received,
		bulk->retransmits - before.retransmits);
	fflush(stdout);
	return 0;
}

/* Half of what B's ring holds, shared by the flows; a frame each in any case. */
static void set_window(struct bulk *bulk)
{
	const struct ring *ring = &bulk->generator->sides[SIDE_B].front_end.rx;
	uint64_t ring_bytes = (uint64_t)ring->frames * (ring->buffer_bytes - RING_FRAME_AT);

	bulk->window = ring_bytes / 2 / bulk->n_flows;
	if (bulk->window < bulk->payload_bytes)
		bulk->window = bulk->payload_bytes;
}

static int measure(struct bulk *bulk)
{
	struct generator *generator = bulk->generator;
	const struct front_end *a = &generator->sides[SIDE_A].front_end;
	uint64_t opened[N_SIDES];
	int error = open_flows(generator, bulk->n_flows, opened);

	if (error)
		return error;
	if (!front_end_has(a, VIRTIO_NET_F_CSUM) ||
		!front_end_has(a, generator->maker.traffic.ipv6 ? VIRTIO_NET_F_HOST_TSO6
								: VIRTIO_NET_F_HOST_TSO4)) {
		fprintf(stderr, "generator: the device offers no segmentation to guests (TSO)\n");
		return -ENOTSUP;
	}
	for (unsigned int i = 0; i < N_SIDES; i++)
		bulk->first_sequence[i] = generator->maker.tcp[0].next[i];
	print_heading(generator);
	printf("\"payload_bytes\": %u, \"window\": %" PRIu64 ", \"rounds\": [\n",
		bulk->payload_bytes, bulk->window);
	fflush(stdout); /* Whoever reads this line knows that the measuring begins now. */
	for (unsigned int i = 0; i < generator->options.rounds && !error; i++) {
		if (i > 0)
			printf(",\n");
		error = measure_round(bulk);
	}
	printf("]}\n");
	return error;
}

int mode_bulk(struct generator *generator)
{
	struct bulk bulk = {.generator = generator, .n_flows = generator->maker.traffic.n_flows};
	int error;

	bulk.segment_bytes = generator->maker.traffic.ipv6 ? SEGMENT_BYTES_IP6 : SEGMENT_BYTES_IP4;
	bulk.payload_bytes = (uint16_t)(bulk.segment_bytes * SEGMENTS);
	set_window(&bulk);
	bulk.flows = calloc(bulk.n_flows, sizeof(bulk.flows[0]));
	error = bulk.flows ? measure(&bulk) : -ENOMEM;
	free(bulk.flows);
	return error;
}
