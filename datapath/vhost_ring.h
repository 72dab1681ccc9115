/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue, from the device's side (virtio 1.2, 2.7).
 *
 * The guest makes descriptor chains available, each a list of buffers in its memory; the device
 * uses them and says so:
 *
 *      vhost_ring_look()     what is available, as pieces of mapped memory
 *      vhost_ring_use()      this many chains from the front are used, with so many bytes written
 *      vhost_ring_publish()  the guest may see it
 *      vhost_ring_wants_interrupt()   does it want to be told?  A full barrier later
 *
 * Between looking and publishing the guest must leave the buffers alone, and may not do so: every
 * index, descriptor and header is read once into memory of our own and judged there.  A frame's
 * bytes may change until they are copied, so headers are copied before they are read.
 *
 * Nothing that a guest writes does more than harm itself:
 *  - an index or head that cannot be breaks the ring: nothing more is taken from it, until the
 * guest sets it up anew;
 *  - a chain that points outside of memory, loops, or is used in the wrong direction is given back
 *    unused.
 *
 * Knows neither DPDK nor mbufs.  One thread at a time: the worker that polls the ring, or who holds
 * its lock.
 */
#ifndef DATAPATH_VHOST_RING_H
#define DATAPATH_VHOST_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <linux/virtio_ring.h>

#include "datapath/guest_memory.h"
#include "datapath/sanitizer.h"

enum {
	RING_BURST = 64,	  /* Chains that are looked at together. */
	RING_CHAIN_PIECES = 256,  /* A chain of more pieces, or descriptors, is refused: a frame of
				   * 64 KiB needs far less. */
	RING_BURST_PIECES = 1024, /* Of one burst; at least RING_CHAIN_PIECES. */
	RING_FETCH_AHEAD = 32,	  /* Chains whose memory is fetched before they are looked at. */
};

/* A part of a guest's buffer that is contiguous here. */
struct guest_piece {
	uint8_t *data;
	uint32_t bytes;
};

/* One descriptor chain. */
struct guest_chain {
	uint16_t head;	 /* Names it to the guest. */
	uint16_t pieces; /* Index of its first piece in the burst. */
	uint16_t n;	 /* Number of pieces; 0 if the chain is not to be used. */
	uint32_t bytes;	 /* Of all pieces. */
};

struct ring_burst {
	unsigned int n;
	struct guest_chain chains[RING_BURST];
	struct guest_piece pieces[RING_BURST_PIECES];
};

/* Which way a ring's buffers go.  Chains of the other way are refused. */
enum ring_direction {
	RING_FROM_GUEST, /* The device reads. */
	RING_TO_GUEST,	 /* The device writes. */
};

/* Why a ring is broken. */
enum ring_fault {
	RING_SOUND,
	RING_FAULT_INDEX, /* More is available than the ring has places. */
	RING_FAULT_HEAD,  /* A chain begins at a descriptor that the ring does not have. */
	RING_FAULT_PLACE, /* The ring itself is not all in the guest's memory. */
};

struct vhost_ring {
	/* Immutable between vhost_ring_start() and the next. */
	const struct vring_desc *descriptors;
	const struct vring_avail *available;
	struct vring_used *used;
	uint16_t size; /* A power of two. */
	enum ring_direction direction;
	bool event_index; /* VIRTIO_RING_F_EVENT_IDX was negotiated. */

	/* The thread's that uses the ring. */
	uint16_t next_available; /* The next chain to take. */
	uint16_t seen;		 /* The guest's index, when it was last read. */
	uint16_t next_used;	 /* Where the next used chain is told of. */
	uint16_t published;	 /* Used chains that the guest may know of, */
	uint16_t told;		 /* and those of them that it was asked about. */

	_Atomic uint8_t fault; /* enum ring_fault.  That thread writes, anyone reads, relaxed. */
} __attribute__((aligned(64)));

/* Headers and the first bytes of a small frame lie within two cache lines.  Lines that are to be
 * written are fetched for that, or each store would wait for the guest's CPU to give one up. */
static inline void vhost_ring_fetch(const uint8_t *data, enum ring_direction direction)
{
	if (direction == RING_TO_GUEST) {
		__builtin_prefetch(data, 1);
		__builtin_prefetch(data + 64, 1);
	} else {
		__builtin_prefetch(data);
		__builtin_prefetch(data + 64);
	}
}

/* Begins with a ring at the given addresses, which are mapped for `size` places.  next_available
 * and next_used are where the device that used it before left off.  Asks the guest not to kick:
 * rings are polled. */
void vhost_ring_start(struct vhost_ring *ring, enum ring_direction direction,
	const struct vring *addresses, bool event_index, uint16_t next_available,
	uint16_t next_used);

/* Looks at up to n (at most RING_BURST) chains from the front, without taking them, and fetches the
 * beginning of each one's memory.  Fewer than are there, if the burst's pieces run out.  Returns
 * their number, which is burst->n. */
unsigned int vhost_ring_look(struct vhost_ring *ring, const struct guest_memory *memory,
	struct ring_burst *burst, unsigned int n);

/* Fetches the memory of the chain that is RING_FETCH_AHEAD places behind the next, if the guest is
 * known to have made it available, and the descriptor of the one twice as far.  Called for each
 * frame that is copied, so that the other CPU's cache lines come in meanwhile.  What it reads is
 * used for nothing else. */
static inline void vhost_ring_fetch_ahead(
	const struct vhost_ring *ring, const struct guest_memory *memory)
{
	const uint16_t mask = ring->size - 1;
	const unsigned int waiting = (uint16_t)(ring->seen - ring->next_available);
	const unsigned int place = ring->next_available + RING_FETCH_AHEAD;
	const __virtio16 *heads = ring->available->ring;

	if (2 * RING_FETCH_AHEAD < waiting)
		__builtin_prefetch(
			&ring->descriptors[heads[(place + RING_FETCH_AHEAD) & mask] & mask]);
	if (RING_FETCH_AHEAD >= waiting)
		return;
	const struct vring_desc *descriptor = &ring->descriptors[heads[place & mask] & mask];
	uint32_t bytes = 1;
	const uint8_t *data = guest_memory_at(
		memory, __atomic_load_n(&descriptor->addr, __ATOMIC_RELAXED), &bytes);

	if (data != NULL)
		vhost_ring_fetch(data, ring->direction);
}

/* Takes the next chain, which has `head`, and says that `bytes` were written into it. */
static inline void vhost_ring_use(struct vhost_ring *ring, uint16_t head, uint32_t bytes)
{
	volatile struct vring_used_elem *entry =
		&ring->used->ring[ring->next_used & (ring->size - 1)];

	entry->id = head;
	entry->len = bytes;
	ring->next_used++;
	ring->next_available++;
}

/* A guest hands a buffer that one ring has filled on to another ring, perhaps another worker's,
 * after it has seen that it is used: the order goes through the guest, out of the sanitizer's
 * sight.  Publishing any ring comes before looking at one later. */
extern const char vhost_ring_through_guests[1];

/* Lets the guest see what was used. */
static inline void vhost_ring_publish(struct vhost_ring *ring)
{
	sanitizer_release(vhost_ring_through_guests);
	__atomic_store_n(&ring->used->idx, ring->next_used, __ATOMIC_RELEASE);
	ring->published = ring->next_used;
}

/* True if the guest wants an interrupt for what was published since the last call.  The caller has
 * made a full barrier since (virtio 1.2, 2.7.10: the guest says what it wants, then looks at the
 * index; we do it the other way round).  One barrier does for many rings, and costs less when what
 * was written has had time to leave. */
bool vhost_ring_wants_interrupt(struct vhost_ring *ring);

#endif
