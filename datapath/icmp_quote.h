/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an ICMP error quotes, and whether the error can be believed: it is about a packet that its
 * receiver has sent, not long ago, as far as that can be told (RFC 5927).  Knows bytes and TCP's
 * numbers only: no DPDK, so that tests and fuzzers call it as it is.
 */
#ifndef DATAPATH_ICMP_QUOTE_H
#define DATAPATH_ICMP_QUOTE_H

#include "datapath/packet.h"
#include "zones/tcp_state.h"

/* What is known of a connection in which the quoted packet may have been sent. */
struct icmp_subject {
	/* Of who sent the quoted packet, and of who was to get it.  NULL: TCP's state is not kept.
	 */
	const struct tcp_side *sender, *receiver;
};

/* Finds the live connection of a packet with *key, but for net and in_port, which the function is
 * to fill in.  False if there is none that the error may be about. */
typedef bool icmp_find_function(struct conn_key *key, struct icmp_subject *subject, void *context);

/* True if the error in `error`, which packet_parse() has made of the frame at `data`, can be about
 * a packet of the connection that `find` finds:
 * - it quotes a whole header of a packet that its receiver has sent, and no other ICMP error;
 * - of TCP, one whose sequence number its sender may wait for (RFC 5927, 4.1);
 * - if it tells a path's MTU, that is one which a path may have (RFC 791, 3.2: 68, or 0 of old
 *   routers, RFC 1191, 5; RFC 8200, 5: 1280);
 * - it is not in fragments.
 * Any worker; no state. */
bool icmp_quote_check(const uint8_t *data, uint32_t header_bytes, const struct packet *error,
	icmp_find_function *find, void *context);

#endif
