/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames that the cases are made of: 64 bytes or little more, from one guest to the other.
 */
#ifndef TESTS_BENCH_INSTRUCTIONS_FRAME_H
#define TESTS_BENCH_INSTRUCTIONS_FRAME_H

#include <stdbool.h>
#include <stdint.h>

struct rte_mbuf;

/* What a frame says.  Flows differ in the port of the guest behind A. */
struct frame {
	uint16_t from; /* PORT_A or PORT_B. */
	uint32_t flow;
	uint16_t service; /* The port at B. */
	bool ip6, tcp;
	uint8_t flags; /* TCP's, as are these: */
	uint32_t sequence, acknowledgment;
	uint16_t payload_bytes;
};

enum { FLOWS_MAX = 60000 };

void frame_write(struct rte_mbuf *buffer, const struct frame *frame);

/* Makes two fragments of the IPv4 packet in `first`, which keeps `bytes` of its payload, a multiple
 * of 8; `last` gets the others. */
void frame_cut(struct rte_mbuf *first, struct rte_mbuf *last, uint16_t bytes, uint16_t id);

#endif
