/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for what is in flight.  Called by modes setup and cps.
 */
#include "tests/bench/generator/flight.h"

#include <errno.h>
#include <stdlib.h>

int flight_queue_init(struct flight_queue *queue, unsigned int bits, uint64_t ticks_per_second)
{
	*queue = (struct flight_queue){.mask = (1u << bits) - 1,
		.timeout = ticks_per_second / 1000 * FLIGHT_TIMEOUT_MS,
		.flights = calloc(1u << bits, sizeof(queue->flights[0]))};
	return queue->flights ? 0 : -ENOMEM;
}

void flight_queue_free(struct flight_queue *queue)
{
	free(queue->flights);
	queue->flights = NULL;
}
