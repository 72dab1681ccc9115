/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of entries of any length between one producer and one consumer, neither of which ever
 * waits for the other.  Captured frames go through it from a worker to the capture's thread.
 *
 * The producer reserves entries, fills them, and publishes all that it has reserved so far; before
 * that it may change them, or take them back.  An entry is contiguous and aligned to eight bytes.
 * No DPDK.
 */
#ifndef DATAPATH_CAPTURE_RING_H
#define DATAPATH_CAPTURE_RING_H

#include <stddef.h>
#include <stdint.h>

struct capture_ring;

/* A ring of at least `bytes` bytes, all of it backed by memory, so that the producer never waits
 * for any.  NULL with errno set if there is none. */
struct capture_ring *capture_ring_create(size_t bytes);
void capture_ring_destroy(struct capture_ring *ring); /* Accepts NULL. */

/* --- The producer --------------------------------------------------------------------------- */

/* The place of an entry of `bytes` bytes, to be filled before capture_ring_publish(); NULL if there
 * is no room, or could never be. */
void *capture_ring_reserve(struct capture_ring *ring, size_t bytes);

/* What is reserved up to now; and back to that: later entries are gone, as if never reserved.  Not
 * across capture_ring_publish(). */
uint64_t capture_ring_mark(const struct capture_ring *ring);
void capture_ring_rewind(struct capture_ring *ring, uint64_t mark);

/* Lets the consumer see all that is reserved. */
void capture_ring_publish(struct capture_ring *ring);

/* --- The consumer --------------------------------------------------------------------------- */

/* The oldest published entry; NULL if there is none.  Good until capture_ring_release(). */
const void *capture_ring_first(struct capture_ring *ring);

/* Gives the entry that capture_ring_first() returned back. */
void capture_ring_release(struct capture_ring *ring);

#endif
