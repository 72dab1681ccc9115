/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fragments as frames: what fragment.h decides of ranges of bytes, done with a worker's mbufs.  A
 * datagram that is whole goes through the switch as one packet: its first fragment is the frame,
 * and the others, in struct worker's `followers`, go where that one goes, or are dropped with it.
 */
#ifndef DATAPATH_REASSEMBLY_H
#define DATAPATH_REASSEMBLY_H

#include "datapath/switch.h"

struct reassembly;

/* What a worker holds: its part of HELD_SHARE of all packet buffers.  NULL without memory. */
struct reassembly *reassembly_create(struct worker *worker);
void reassembly_destroy(
	struct reassembly *reassembly); /* After reassembly_flush().  Accepts NULL. */

/* Takes over a fragment (PACKET_FRAGMENT in its flags) of the queue being served.  If its datagram
 * is now whole, and right in its length and checksum, returns the first fragment: *packet is then
 * the datagram with its whole length, and *followers are the others, until the next call: they
 * become worker->followers when the datagram's turn has come, and not while a packet before it is
 * switched.  Else, with NULL, the fragment is held, or was dropped.  It may be held for
 * FRAGMENT_MS, so what lies in a guest's memory is copied; padding is cut off, so that nothing
 * behind the first fragment's bytes can be taken for the datagram's.  The worker. */
struct rte_mbuf *reassembly_add(struct worker *worker, struct rte_mbuf *frame,
	struct packet *packet, struct followers *followers);

/* Drops what has waited for too long by the worker's clock.  The worker, now and then. */
void reassembly_expire(struct worker *worker);

/* Drops all that is held, before the worker ends. */
void reassembly_flush(struct worker *worker);

/* What becomes of the first fragment becomes of the others. */
void reassembly_drop_followers(struct worker *worker, enum drop_reason reason);
void reassembly_run_followers(struct worker *worker, const struct action *actions, size_t n);

#endif
