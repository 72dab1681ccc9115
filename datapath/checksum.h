/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifying transport checksums, where a packet that was damaged or forged could change what the
 * switch knows: on first packets, on ICMP, and on TCP segments that begin or end something.  The
 * ordinary packets of a known connection are left to the end points, which check them in any case;
 * to the switch they say nothing but that its window moves on, within bounds.
 */
#ifndef DATAPATH_CHECKSUM_H
#define DATAPATH_CHECKSUM_H

#include <rte_mbuf.h>

#include "datapath/packet.h"

/* DROP_NONE, or DROP_TCP_CHECKSUM, _UDP_, _ICMP_ or _SCTP_CHECKSUM.  Reads all of the packet, in
 * whatever segments it lies.
 *
 * Not verified, and DROP_NONE: what the sender left for somebody else to fill in, or a network card
 * has verified; fragments, whose sum is over all of them; other protocols; UDP without a checksum,
 * over IPv6 too, since a tunnel may use that (RFC 6935) and middleboxes are to pass it (RFC 6936,
 * 5); SCTP's zero, if it is no INIT (RFC 9653); and what Mobile IPv6 sums up over other addresses
 * than those of the header (RFC 6275, 11.3.1).  Any worker; no state. */
enum drop_reason checksum_verify(const struct rte_mbuf *frame, const struct packet *packet);

/* The checksum of an SCTP packet as it stands in its header (RFC 9260, 6.8). */
uint32_t checksum_of_sctp(const struct rte_mbuf *frame, uint32_t l4_offset, uint32_t l4_bytes);

#endif
