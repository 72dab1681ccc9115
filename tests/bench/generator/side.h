/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator's two sides: each is a virtio_user port that plays a guest's network card.
 */
#ifndef GENERATOR_SIDE_H
#define GENERATOR_SIDE_H

#include <stdint.h>

#include <rte_mbuf.h>

#include "tests/bench/generator/frame.h"

enum { SIDE_BURST = 32 };

struct side {
	enum side_name name;
	uint16_t port;
	/* Prepared frames, whose buffers come back from the ring to be written again. */
	struct rte_mempool *tx_pool;
	struct rte_mbuf *blank[SIDE_BURST];
	uint32_t next_flow;
	unsigned int next_size;
	uint64_t sent, received, foreign;
};

/* Configures and starts the port.  Returns 0, or a negative errno after saying why. */
int side_open(struct side *side, enum side_name name, uint16_t port, uint16_t queue_frames,
	const struct frame_maker *maker);
void side_close(struct side *side);

/* Offers one burst of the next flows' frames.  What the ring does not take is not sent. */
void side_send(struct side *side, struct frame_maker *maker);

/* Sends a frame of `step` in each of n flows from `first` on.  Returns how many the ring took; the
 * flows are not advanced, so that a lost step can be sent again. */
unsigned int side_send_step(struct side *side, struct frame_maker *maker, enum tcp_step step,
	uint32_t first, unsigned int n);

/* Takes in what is there, at most one burst.  Returns how many frames it was. */
unsigned int side_receive(struct side *side, struct frame_maker *maker);

#endif
