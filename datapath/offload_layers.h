/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files offload*.c share: where the headers of a frame are, its checksum, and the cutting
 * of a large frame.
 */
#ifndef DATAPATH_OFFLOAD_LAYERS_H
#define DATAPATH_OFFLOAD_LAYERS_H

#include <stdbool.h>
#include <stdint.h>

#include "datapath/offload.h"

/* Payload of a piece: who asks for less wants to overload somebody. */
enum { SEGMENT_BYTES_MIN = 8 };

/* Where a frame's headers are.  Offsets are from the frame's first byte. */
struct layers {
	uint16_t l3, l4;
	uint16_t payload; /* Behind the transport header; set only for a frame to be cut. */
	bool is_ip4;
	uint8_t protocol;
	uint32_t end; /* Of the IP packet: Ethernet padding is not part of it. */
};

/* The length of the Ethernet header with its VLAN tags, of which there are at most two. */
uint16_t offload_ethernet_bytes(const struct rte_mbuf *frame);

/* The least that the transport header can have. */
uint32_t offload_least_header(const struct layers *layers);

/* Finds the layers of a frame by its flags and l3_len, and checks them against its bytes. */
bool offload_find_layers(const struct rte_mbuf *frame, struct layers *layers);

/* Fills in the transport checksum. */
bool offload_fill_checksum(struct rte_mbuf *frame, const struct layers *layers);

/* Writes the sum of the pseudo header into the checksum field, for somebody else to finish. */
void offload_begin_checksum(struct rte_mbuf *frame, const struct layers *layers);

/* Cuts a large frame into out[], which has room for OFFLOAD_PIECES_MAX.  Pieces are complete, or
 * left without checksum for a port that fills it.  Returns their number and frees the frame; or 0,
 * leaving it, with *reason set. */
uint16_t offload_cut(const struct port_environment *environment, struct rte_mbuf *frame,
	const struct layers *layers, uint16_t mtu, bool fills_checksum, struct rte_mbuf **out,
	enum drop_reason *reason);

#endif
