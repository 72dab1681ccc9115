/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in flight: begun, not finished, and to be looked at again when its time is over.
 *
 * A queue in the order of deadlines, since all have the same time-out.  What has finished stays in
 * it until it is the first; a look at the deadline finds that out.
 */
#ifndef GENERATOR_FLIGHT_H
#define GENERATOR_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

/* Frames are lost for good if they have not come after so long, and given up after so many tries.
 */
enum { FLIGHT_TIMEOUT_MS = 100, FLIGHT_TRIES = 10 };

struct flight {
	uint32_t flow;
	uint32_t sequence; /* TCP: A's initial sequence number. */
	uint64_t deadline; /* In ticks. */
	uint8_t step;	   /* TCP: how far it was when it was put here. */
	uint8_t tries;	   /* In this step. */
};

struct flight_queue {
	struct flight *flights;
	uint32_t mask, first, end; /* Running numbers. */
	uint64_t timeout;	   /* In ticks. */
};

/* Makes room for 2^bits flights.  Returns 0 or -ENOMEM. */
int flight_queue_init(struct flight_queue *queue, unsigned int bits, uint64_t ticks_per_second);
void flight_queue_free(struct flight_queue *queue);

static inline bool flight_queue_is_full(const struct flight_queue *queue)
{
	return queue->end - queue->first > queue->mask;
}

/* The queue is not full. */
static inline void flight_push(struct flight_queue *queue, struct flight flight, uint64_t now)
{
	flight.deadline = now + queue->timeout;
	queue->flights[queue->end++ & queue->mask] = flight;
}

/* The first one, or NULL. */
static inline const struct flight *flight_first(const struct flight_queue *queue)
{
	return queue->first == queue->end ? (const struct flight *)0
					  : &queue->flights[queue->first & queue->mask];
}

static inline void flight_pop(struct flight_queue *queue)
{
	queue->first++;
}

#endif
