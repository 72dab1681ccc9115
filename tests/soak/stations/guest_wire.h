/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest as a switch sees it: memory, rings, and the socket of a VMM that speaks vhost-user.
 *
 * Split rings (VIRTIO 1.2, 2.7), one descriptor a frame, each with a buffer of its own that never
 * changes.  Addresses in the rings are offsets into the memory, plus GUEST_BASE.  The rings outlive
 * the connection, so that a switch that comes back goes on where the last one stopped.
 */
#ifndef GUEST_WIRE_H
#define GUEST_WIRE_H

#include "stations.h"

enum {
	RING_SIZE = 256,
	RINGS_MAX = 8,
	RING_REGION = 1 << 20, /* Of the memory, for each ring with its buffers. */
	AVAILABLE_OFFSET = 0x4000,
	USED_OFFSET = 0x8000,
	BUFFERS_OFFSET = 0x10000,
	BUFFER_BYTES = 2048,
	VIRTIO_HEADER_BYTES = 12, /* VIRTIO 1.2, 5.1.6: always with num_buffers. */
	GUEST_BASE = 0x100000,
};

struct guest_ring {
	uint8_t *memory; /* RING_REGION of it. */
	bool receives;
	uint16_t available, used; /* Ours; both go round. */
	uint16_t free[RING_SIZE]; /* Buffers that may be sent in. */
	uint16_t n_free;
	int kick, call;
	struct watch call_watch;
	struct guest *guest;
};

struct guest {
	struct wire *wire;
	char path[108];
	int memory_fd;
	uint8_t *memory;
	size_t memory_bytes;
	unsigned int n_rings; /* Twice the queue pairs: 2q receives, 2q + 1 sends. */
	struct guest_ring rings[RINGS_MAX];
	int connection; /* -1: no switch. */
	struct watch connection_watch;
	unsigned int next_queue; /* Sends go round. */
};

/* --- guest_ring.c --------------------------------------------------------------------------- */

/* Lays an empty ring out in its memory; one that receives offers all its buffers. */
void guest_ring_reset(struct guest_ring *ring);

/* Where a new switch is to go on: what the last one has said that it used. */
uint16_t guest_ring_base(const struct guest_ring *ring);

bool guest_ring_send(struct guest_ring *ring, const uint8_t *frame, size_t bytes);

/* Hands all received frames to the ledger, and their buffers back to the ring. */
void guest_ring_receive(struct guest_ring *ring);

#endif
