/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending and receiving on one of the generator's cards.  Called by the generator's one thread.
 *
 * The transmit ring's free buffers are prepared frames: they are written where they lie, and a
 * frame that the ring has no room for is not written.  Nothing is copied, allocated or freed.
 */
#include "tests/bench/generator/side.h"

#include <string.h>

#include "tests/bench/generator/clock.h"

/* How far ahead memory is asked for: about what it takes to come from the other core. */
enum { PREFETCH_FRAMES = 12 };

/* A line that we are going to write: the device has read it, or has its own copy of it. */
static inline void prefetch_for_write(const void *at)
{
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)at));
}

int side_open(struct side *side, enum side_name name, const struct side_setup *setup,
	const struct frame_maker *maker)
{
	struct front_end_setup front_end = {.socket = setup->socket,
		.features = setup->features,
		.no_huge = setup->no_huge,
		.tx = {.frames = setup->queue_frames,
			.chain = setup->tx_chain ? setup->tx_chain : 1,
			.frame_bytes_max = setup->tx_frame_bytes_max ? setup->tx_frame_bytes_max
								     : FRAME_BYTES_MAX},
		.rx = {.frames = setup->queue_frames,
			.chain = 1,
			.frame_bytes_max = FRAME_BYTES_MAX,
			.device_writes = true}};
	int error;

	*side = (struct side){.name = name};
	error = front_end_open(&side->front_end, &front_end);
	for (uint16_t i = 0; !error && i < setup->queue_frames; i++)
		frame_prepare(maker, name, ring_frame(&side->front_end.tx, i));
	return error;
}

void side_close(struct side *side)
{
	front_end_close(&side->front_end);
}

/* --- Sending -------------------------------------------------------------------------------- */

static uint16_t range_step(const struct frame_maker *maker, struct flow_range *range)
{
	uint16_t bytes = maker->traffic.sizes[range->next_size];

	if (++range->next == range->end)
		range->next = range->first;
	if (++range->next_size == maker->traffic.n_sizes)
		range->next_size = 0;
	return bytes;
}

uint32_t side_send(
	struct side *side, struct frame_maker *maker, struct flow_range *range, uint32_t max)
{
	struct ring *ring = &side->front_end.tx;
	uint16_t wanted = max < SIDE_BURST ? (uint16_t)max : SIDE_BURST;
	uint16_t room = ring_room(ring, wanted);
	uint16_t n = room < wanted ? room : wanted;

	for (uint16_t i = 0; i < n; i++) {
		uint8_t *data = ring_frame(ring, i);
		uint32_t flow = range->next;
		uint16_t bytes = range_step(maker, range);

		prefetch_for_write(ring_frame(ring, i + PREFETCH_FRAMES));
		prefetch_for_write(ring_descriptor(ring, i + PREFETCH_FRAMES));
		if (maker->traffic.stamped)
			frame_write_stamped(maker, side->name, flow, bytes, clock_ticks(), data);
		else
			frame_write(maker, side->name, flow, bytes, data);
		frame_sent(maker, side->name, flow, bytes, TCP_DATA_FRAME);
		ring_put(ring, i, bytes);
	}
	ring_publish(ring, n);
	side->sent += n;
	return n;
}

static uint16_t room_for(struct side *side, unsigned int n)
{
	unsigned int room = ring_room(&side->front_end.tx, (uint16_t)n);

	return (uint16_t)(room < n ? room : n);
}

unsigned int side_send_step(struct side *side, struct frame_maker *maker, enum tcp_step step,
	uint32_t first, unsigned int n)
{
	struct ring *ring = &side->front_end.tx;
	uint16_t bytes = frame_bytes_min(&maker->traffic);
	uint16_t room = room_for(side, n);

	for (uint16_t i = 0; i < room; i++) {
		uint8_t *data = ring_frame(ring, i);

		if (maker->tcp)
			frame_write_tcp(maker, side->name, first + i, bytes, step, data);
		else
			frame_write(maker, side->name, first + i, bytes, data);
		ring_put(ring, i, bytes);
	}
	ring_publish(ring, room);
	side->sent += room;
	return room;
}

unsigned int side_send_flows(
	struct side *side, const struct frame_maker *maker, const uint32_t flows[], unsigned int n)
{
	struct ring *ring = &side->front_end.tx;
	uint16_t bytes = maker->traffic.sizes[0], room = room_for(side, n);

	for (uint16_t i = 0; i < room; i++) {
		frame_write(maker, side->name, flows[i], bytes, ring_frame(ring, i));
		ring_put(ring, i, bytes);
	}
	ring_publish(ring, room);
	side->sent += room;
	return room;
}

unsigned int side_send_segments(struct side *side, const struct frame_maker *maker,
	const struct tcp_segment segments[], unsigned int n)
{
	struct ring *ring = &side->front_end.tx;
	uint16_t room = room_for(side, n);

	for (uint16_t i = 0; i < room; i++) {
		uint8_t *data = ring_frame(ring, i);

		ring_put(ring, i, frame_write_segment(maker, side->name, &segments[i], data));
	}
	ring_publish(ring, room);
	side->sent += room;
	return room;
}

/* --- Receiving ------------------------------------------------------------------------------ */

/* How many buffers the frame in this one takes. */
static uint16_t buffers_of(const struct side *side, const struct ring_frame *frame)
{
	if (!front_end_has(&side->front_end, VIRTIO_NET_F_MRG_RXBUF))
		return 1;
	return ring_header(frame->data)->num_buffers;
}

/* The virtio header is in the line before, and only looked at if it may say something.  The
 * descriptor will be written when the buffer is given back. */
static void prefetch_received(struct side *side, uint16_t i)
{
	uint8_t *data = ring_received(&side->front_end.rx, i).data;

	__builtin_prefetch(data);
	if (front_end_has(&side->front_end, VIRTIO_NET_F_MRG_RXBUF))
		__builtin_prefetch(ring_header(data));
	prefetch_for_write(ring_received_descriptor(&side->front_end.rx, i));
}

unsigned int side_take(struct side *side, const struct frame_maker *maker,
	struct ring_frame frames[], unsigned int max)
{
	struct ring *ring = &side->front_end.rx;
	uint16_t wanted = max < SIDE_BURST ? (uint16_t)max : SIDE_BURST;
	uint16_t filled = ring_filled(ring, wanted);
	uint16_t n = filled < wanted ? filled : wanted;
	unsigned int ours = 0;

	side->taken = 0;
	for (uint16_t i = 0; i < n; i++)
		prefetch_received(side, i);
	while (side->taken < n) {
		struct ring_frame frame = ring_received(ring, side->taken);
		uint16_t buffers = buffers_of(side, &frame);

		/* A frame's buffers are all there, or the device is at fault. */
		if (buffers == 0 || buffers > filled - side->taken) {
			ring->broken = true;
			buffers = 1;
		}
		side->taken += buffers;
		if (frame_is_ours(maker, side->name, frame.data, frame.bytes))
			frames[ours++] = frame;
		else
			side->foreign++;
	}
	side->received += ours;
	return ours;
}

void side_give_back(struct side *side)
{
	ring_give_back(&side->front_end.rx, side->taken);
	side->taken = 0;
}

unsigned int side_receive(struct side *side, struct frame_maker *maker)
{
	struct ring_frame frames[SIDE_BURST];
	unsigned int n = side_take(side, maker, frames, SIDE_BURST);
	unsigned int taken = side->taken;

	if (maker->tcp)
		for (unsigned int i = 0; i < n; i++)
			frame_heard(maker, side->name, frames[i].data);
	side_give_back(side);
	return taken;
}
