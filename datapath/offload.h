/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checksums and segmentation, for ports that cannot do them.
 *
 * A frame in the switch says in its mbuf what is still to be done, in DPDK's own terms:
 * RTE_MBUF_F_TX_TCP_CKSUM or _UDP_CKSUM with l2_len and l3_len set means that the transport
 * checksum field holds the pseudo header's sum only; RTE_MBUF_F_TX_TCP_SEG with tso_segsz and
 * l4_len means that the payload is to be cut.  Any worker; no state.
 */
#ifndef DATAPATH_OFFLOAD_H
#define DATAPATH_OFFLOAD_H

#include "datapath/packet.h"
#include "datapath/port.h"

/* A frame from a kernel port: if its transport checksum field equals the folded pseudo header sum,
 * the kernel left it unfilled (CHECKSUM_PARTIAL).  Marks the mbuf so and returns true. */
bool offload_note_partial_checksum(struct rte_mbuf *frame, const struct packet *packet);

/* Shapes `n` frames for a port with `offloads`: fills checksums, cuts large frames (rte_gso), and
 * makes chains contiguous, as far as the port needs it.  Writes the result, in order, to `out`,
 * which has room for `n_out`.  Frames that could not be shaped are freed and counted in drops[].
 * Takes frames from the front until `out` could overflow; returns the number written to out and
 * sets *n_taken. */
uint16_t offload_shape(const struct port_environment *environment, uint32_t offloads, uint16_t mtu,
	struct rte_mbuf **frames, uint16_t n, struct rte_mbuf **out, uint16_t n_out,
	uint16_t *n_taken, uint64_t drops[DROP_N_REASONS]);

#endif
