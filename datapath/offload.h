/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums and segmentation, for ports that cannot do them.
 *
 * A frame in the switch says in its mbuf what is still to be done, in DPDK's own terms:
 * RTE_MBUF_F_TX_TCP_CKSUM or _UDP_CKSUM with l2_len and l3_len set means that the transport
 * checksum field is not filled in; RTE_MBUF_F_TX_TCP_SEG or _UDP_SEG with tso_segsz and l4_len
 * means, further, that the payload is to be cut.  RTE_MBUF_F_TX_IPV4 or _IPV6 tells the family.
 * Whoever pushes or pops a VLAN tag moves l2_len along.  Any worker; no state.
 */
#ifndef DATAPATH_OFFLOAD_H
#define DATAPATH_OFFLOAD_H

#include <linux/virtio_net.h>

#include "datapath/packet.h"
#include "datapath/port.h"

/* Newer than Debian's headers: UDP datagrams of one size (virtio 1.3, 5.1.6). */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* What is left to be done to a frame; none of them: it can go out as it is. */
#define OFFLOAD_FLAGS (RTE_MBUF_F_TX_L4_MASK | OFFLOAD_CUT)

/* It is a large frame: to be cut into TCP segments, or into UDP datagrams. */
#define OFFLOAD_CUT (RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_UDP_SEG)

enum {
	/* No frame is cut into more pieces: a guest that asks for it wants to overload somebody. */
	OFFLOAD_PIECES_MAX = 512,
};

/* True if the transport checksum field of a TCP or UDP packet equals its folded pseudo header sum.
 */
bool offload_is_partial(const struct rte_mbuf *frame, const struct packet *packet);

/* A frame from a kernel port: if its transport checksum field equals the folded pseudo header sum,
 * the kernel left it unfilled (CHECKSUM_PARTIAL).  Marks the mbuf so and returns true.  SCTP's,
 * which is zero then, is filled in at once. */
bool offload_note_partial_checksum(struct rte_mbuf *frame, const struct packet *packet);

/* A frame from a guest, with the virtio header that it had (virtio 1.2, 5.1.6): notes what the
 * guest left undone in the convention above, or does it where that has no words for it.  Nothing of
 * it is trusted: a request that does not fit the frame's headers is forgotten, and the frame is
 * then treated as it is. */
void offload_note_guest_request(struct rte_mbuf *frame, const struct virtio_net_hdr *request);

/* True if a frame that is not to be cut is within the MTU, which does not count Ethernet's header
 * and tags. */
bool offload_fits(const struct rte_mbuf *frame, uint16_t mtu);

/* Shapes `n` frames for a port with `offloads`: fills checksums, cuts large frames, and makes
 * chains contiguous, as far as the port needs it.  Writes the result, in order, to `out`, which has
 * room for `n_out`, at least OFFLOAD_PIECES_MAX.  Frames that could not be shaped are freed and
 * counted in drops[].  Takes frames from the front until `out` could overflow; returns the number
 * written to out and sets *n_taken, which is at least 1. */
uint16_t offload_shape(const struct port_environment *environment, uint32_t offloads, uint16_t mtu,
	struct rte_mbuf **frames, uint16_t n, struct rte_mbuf **out, uint16_t n_out,
	uint16_t *n_taken, uint64_t drops[DROP_N_REASONS]);

#endif
