/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams in fragments: what has come of each is held until all of it is there (virtual
 * reassembly), so that nothing leaves that was not judged as a whole.  Knows ranges of bytes and
 * what may be held, and no frames: those are its user's (reassembly.c), which it calls back.
 *
 * A datagram is whole if its fragments cover it from the first byte to the last, and no byte twice.
 * Anything that two hosts could put together in two ways is refused with all that belongs to it,
 * also with what is yet to come (RFC 5722; for IPv4 as well, where RFC 791 would let the later
 * fragment win, and hosts differ).
 *
 * A table is one worker's own: no locks, no allocation after it was made.  All fragments of a
 * datagram must reach the same worker: see docs/packet-path.md.
 *
 * No port can take the table for itself: a port holds no more than is free at that moment
 * (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998),
 * so that ports which take all they can get leave as much free as each of them has.  A port that
 * wants more loses its own oldest datagrams, so that one which sends parts without end does not
 * keep out whole datagrams of its own either: their fragments come close together.
 */
#ifndef DATAPATH_FRAGMENT_H
#define DATAPATH_FRAGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/drop.h"
#include "datapath/packet.h"

enum {
	/* How long a datagram is waited for.  Its fragments leave their sender together, and paths
	 * delay one against another by parts of a second, if they do; nobody sends a single one
	 * again.  RFC 791 (3.2: 15 s) and RFC 8200 (4.5: 60 s) speak for the host at the end, which
	 * has no other datagrams to look after.  Here what waits takes buffers from others, and the
	 * longer it does the sooner a sender uses the 16 bits of its identification again, and two
	 * datagrams become one (RFC 4963). */
	FRAGMENT_MS = 3000,
	/* Of one datagram: as many as carry the largest one over links of 576 bytes (RFC 791, 3.1),
	 * the smallest MTU in use. */
	FRAGMENTS_MAX = 128,
};

/* One fragment, as its user describes it.  Without padding behind the datagram's bytes. */
struct fragment {
	void *frame, *origin;  /* The user's own: not looked at. */
	uint16_t payload_at;   /* Likewise: where its part of the datagram begins in the frame. */
	uint16_t buffers;      /* That holding it takes, at least 1. */
	uint16_t header_bytes; /* That the datagram's length counts beside its payload: IPv4's
				* header, IPv6's extension headers before the fragment header. */
	uint8_t ecn;	       /* RFC 3168's two bits. */
	bool dont_fragment;    /* IPv4's flag. */
	uint16_t bytes;	       /* Of the datagram. */
	/* Filled in by fragment_add(). */
	bool more;
	uint16_t offset;
};

/* What the table asks its user to do. */
struct fragment_user {
	void *context;
	/* True if both have the same bytes; their lengths are equal. */
	bool (*same)(const struct fragment *a, const struct fragment *b);
	/* Takes a fragment, which came in by `in_port`, away. */
	void (*drop)(void *context, const struct fragment *fragment, uint16_t in_port,
		enum drop_reason reason);
};

/* A datagram that is all there, its fragments in order. */
struct fragment_datagram {
	uint16_t n;
	uint32_t bytes; /* Payload of all. */
	struct fragment fragments[FRAGMENTS_MAX];
};

struct fragment_table;

/* A table for `datagrams` at a time (16 to 2^24) that hold no more than `buffers` (likewise).  NULL
 * with errno set. */
struct fragment_table *fragment_table_create(
	uint32_t datagrams, uint32_t buffers, const struct fragment_user *user);

/* Fragments that are still held are forgotten: fragment_flush() comes first.  Accepts NULL. */
void fragment_table_destroy(struct fragment_table *table);

/* Takes over a fragment, which is either held, or dropped, with others of its datagram if they
 * contradict each other; or it was the last one that was missing, and *whole has them all, which
 * are the user's again: then it returns true.  `packet` is what packet_parse() said of it, with
 * PACKET_FRAGMENT_FIRST or _LATER, and key.net and key.in_port (below CONN_PORTS_MAX) filled in;
 * `macs` are the frame's first twelve bytes, by which fragments of one datagram may not differ
 * either.  `now_ns` is a clock that never goes back.
 *
 * Drop reasons: DROP_FRAGMENT_OVERLAP, _INCONSISTENT, _OVERSIZE, _TOO_MANY, _ICMP and _TABLE_FULL,
 * for the whole datagram; _DUPLICATE for this fragment only. */
bool fragment_add(struct fragment_table *table, const struct packet *packet, const uint8_t macs[12],
	const struct fragment *fragment, uint64_t now_ns, struct fragment_datagram *whole);

/* Drops what has waited for too long (DROP_FRAGMENT_TIMEOUT).  Cheap if there is nothing. */
void fragment_expire(struct fragment_table *table, uint64_t now_ns);

/* Drops all that is held, as if its time were over. */
void fragment_flush(struct fragment_table *table);

/* Fragments that are held now, and the datagrams that are known, refused ones too. */
uint32_t fragment_held(const struct fragment_table *table);
uint32_t fragment_datagrams(const struct fragment_table *table);

#endif
