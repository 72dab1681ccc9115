/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fragments: only a datagram's first fragment has the ports, so they are remembered for those that
 * follow.  Nothing is reassembled: each fragment goes its way as soon as its flow is known.
 *
 * A table is one worker's own: no locks, no allocation after it was made.  All fragments of a
 * datagram must reach the same worker, which holds when the port has one queue or its peer
 * spreads frames by address.  A fragment that overtakes its first one is dropped; senders have
 * sent the first one first for twenty years.
 *
 * No port can take the table for itself: a port holds no more entries than are free at that moment
 * (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998),
 * so that ports which take all they can get leave as much free as each of them has.
 */
#ifndef DATAPATH_FRAGMENT_H
#define DATAPATH_FRAGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "datapath/drop.h"
#include "datapath/packet.h"

/* RFC 791 (3.2) suggests 15 seconds, RFC 8200 (4.5) fixes 60, for a host that waits for the rest of
 * a datagram.  The fragments of one leave their sender together, so the shorter half will do. */
enum { FRAGMENT_SECONDS = 30 };

struct fragment_table;

/* A table for `entries` datagrams at a time (16 to 2^24).  NULL with errno set. */
struct fragment_table *fragment_table_create(uint32_t entries);
void fragment_table_destroy(struct fragment_table *table); /* Accepts NULL. */

/* Remembers the ports of a first fragment (PACKET_FRAGMENT_FIRST; key.net and key.in_port filled
 * in), for FRAGMENT_SECONDS from `now_s` (conn_clock()) or until all of the datagram has passed.  A
 * datagram with the same identification takes the older one's place.  DROP_NONE, or
 * DROP_FRAGMENT_TABLE_FULL. */
enum drop_reason fragment_note_first(
	struct fragment_table *table, const struct packet *packet, uint32_t now_s);

/* Completes a later fragment (PACKET_FRAGMENT_LATER) from its first one: the key's ports, the ICMP
 * type and code, and for IPv6, where only the first fragment's word counts (RFC 8200, 4.5), the
 * protocol.  DROP_NONE; DROP_FRAGMENT_NO_FIRST; or DROP_FRAGMENT_OVERLAP if it would overwrite any
 * of the first fragment, its transport header before all (RFC 1858, 3; RFC 5722). */
enum drop_reason fragment_find(struct fragment_table *table, struct packet *packet, uint32_t now_s);

/* The number of datagrams that are remembered, expired ones that were not yet cleared away too. */
size_t fragment_count(const struct fragment_table *table);

#endif
