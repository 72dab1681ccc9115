/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator's sides: each is a guest's network card on a vhost-user socket.
 *
 * For frames of flows in turn there are side_send() and side_receive().  What wants to write or
 * read frames of its own takes the rings themselves (front_end.tx, see ring.h) and side_take().
 */
#ifndef GENERATOR_SIDE_H
#define GENERATOR_SIDE_H

#include <stdint.h>

#include "tests/bench/generator/frame.h"
#include "tests/bench/generator/front_end.h"

/* Frames that are handled together. */
enum { SIDE_BURST = 64 };

struct side {
	enum side_name name;
	struct front_end front_end;
	uint16_t taken; /* Receive buffers that side_give_back() returns. */
	uint64_t sent, received, foreign;
};

/* What side_close() may be called with though side_open() was not. */
#define SIDE_CLOSED ((struct side){.front_end = FRONT_END_CLOSED})

/* Flows whose frames are sent in turn, sizes likewise. */
struct flow_range {
	uint32_t first, end; /* The flows from first to end - 1. */
	uint32_t next;
	unsigned int next_size;
};

struct side_setup {
	const char *socket;
	uint64_t features;	     /* The virtio features wanted. */
	uint16_t queue_frames;	     /* Of each ring, a power of two. */
	uint16_t tx_chain;	     /* Descriptors per frame sent, a power of two; 0 means 1. */
	uint32_t tx_frame_bytes_max; /* 0: FRAME_BYTES_MAX. */
	bool no_huge;
};

/* Makes the card and its socket, with all transmit buffers prepared as frames of this side. Returns
 * 0, or a negative errno after saying why. */
int side_open(struct side *side, enum side_name name, const struct side_setup *setup,
	const struct frame_maker *maker);
void side_close(struct side *side);

/* Sends the next frames of the range, at most `max` or SIDE_BURST.  Returns how many the ring took.
 * If the traffic is stamped, each carries the time in ticks. */
uint32_t side_send(
	struct side *side, struct frame_maker *maker, struct flow_range *range, uint32_t max);

/* Sends a frame of `step` in each of n flows from `first` on.  Returns how many the ring took; the
 * flows are not advanced, so that a lost step can be sent again. */
unsigned int side_send_step(struct side *side, struct frame_maker *maker, enum tcp_step step,
	uint32_t first, unsigned int n);

/* Sends a frame in each of these n flows.  Returns how many the ring took: the first ones. */
unsigned int side_send_flows(
	struct side *side, const struct frame_maker *maker, const uint32_t flows[], unsigned int n);

/* Sends these n TCP segments.  Returns how many the ring took: the first ones. */
unsigned int side_send_segments(struct side *side, const struct frame_maker *maker,
	const struct tcp_segment segments[], unsigned int n);

/* How many frames the ring takes now, counted to at least a burst if there is room for it. */
static inline unsigned int side_room(struct side *side)
{
	return ring_room(&side->front_end.tx, SIDE_BURST);
}

/* Takes in what is there, at most one burst.  Returns how many frames it was. */
unsigned int side_receive(struct side *side, struct frame_maker *maker);

/* The same, for a look at the frames: fills in those that the other side sent, at most `max` or
 * SIDE_BURST, and counts them.  They are there until side_give_back(), which must be called before
 * the next side_take(). */
unsigned int side_take(struct side *side, const struct frame_maker *maker,
	struct ring_frame frames[], unsigned int max);
void side_give_back(struct side *side);

#endif
