/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing: one pass over a frame's headers, by one bounds-checked cursor, into a `struct packet`.
 * Knows bytes only: no DPDK, so that tests and fuzzers call it as it is.
 */
#ifndef DATAPATH_PACKET_H
#define DATAPATH_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "datapath/conn_key.h"
#include "datapath/drop.h"

/* What kind of frame it is, for the miss path.  Any number of them. */
enum packet_flags {
	PACKET_FRAGMENT_FIRST = 1 << 0, /* Offset 0, more to come. */
	PACKET_FRAGMENT_LATER = 1 << 1, /* Offset above 0: the key's ports are 0.  None such comes
					 * further than to reassembly_add(). */
	PACKET_ARP = 1 << 2,
	PACKET_ND = 1 << 3,		  /* Neighbour or router discovery (ICMPv6 133 to 137). */
	PACKET_ICMP_ERROR = 1 << 4,	  /* Quotes another packet, at l4_offset + 8.  A redirect
					   * does too, but is no error: it is judged as itself. */
	PACKET_CHECKSUM_PARTIAL = 1 << 5, /* Set by the port: transport checksum unfilled. */
	PACKET_GROUP = 1 << 6,		  /* Destination MAC is a group address. */
	PACKET_TAGGED = 1 << 7,		  /* A VLAN tag is in the frame. */
	PACKET_PRIORITY_TAGGED = 1 << 8,  /* With VLAN id 0: counts as untagged. */
	PACKET_DOUBLE_TAGGED = 1 << 9,	  /* And another one behind it: whoever removes the first
					   * one sends the frame into the VLAN of the second. */
	PACKET_FRAGMENT_LAST = 1 << 10,	  /* With _LATER: no more to come. */
};

/* It is not all of its datagram. */
enum { PACKET_FRAGMENT = PACKET_FRAGMENT_FIRST | PACKET_FRAGMENT_LATER };

/* The headers of one frame.  Offsets are from the frame's first byte. */
struct packet {
	struct conn_key key; /* net and in_port are the caller's to fill. */
	uint32_t hash;	     /* Of the key; the caller's to fill. */
	uint16_t flags;	     /* enum packet_flags. */
	uint16_t ethertype;  /* Behind the VLAN tags, host byte order. */
	uint16_t vlan_tci;   /* Outer tag's, host byte order; 0 without PACKET_TAGGED. */
	uint16_t l3_offset;
	uint16_t l4_offset;	 /* 0 if there is no transport header in this frame. */
	uint16_t payload_offset; /* Behind the transport header; equals l4_offset if unknown. */
	uint32_t l4_bytes;	 /* Transport header and payload, by the IP header's length.  Behind
				  * reassembly_add(), with PACKET_FRAGMENT_FIRST, of the whole datagram,
				  * of which only the first fragment is in the frame. */
	uint32_t fragment_id;
	uint16_t fragment_offset; /* In bytes. */
	uint8_t tcp_flags;
	uint8_t icmp_type, icmp_code;
	uint8_t protocol;   /* IANA protocol number; 0 if not IP. */
	uint16_t inner_tci; /* Inner tag's, host byte order; 0 without PACKET_DOUBLE_TAGGED. */
};

/* Parses a frame of `frame_bytes`, of which `header_bytes` (<= frame_bytes) lie contiguous at
 * `data`.  Headers must lie within header_bytes; lengths are checked against frame_bytes.  Returns
 * DROP_NONE with *packet filled, or why the frame is malformed; *packet is then of no use.  Reads
 * nothing outside `data`.
 *
 * The key: IP frames have both addresses, the protocol and for TCP, UDP and SCTP the ports; ICMP
 * echo requests have the identifier as source_port and the type as destination_port, and replies
 * the mirror of that; other ICMP has the type in source_port and destination_port 0.  Frames that
 * are not IP have the MACs in the addresses' last six bytes and the ethertype in source_port and
 * destination_port; it is 0 for IEEE 802.3 frames, which have a length in its place (LLC).  Of a
 * fragment that is not the first, the ports are 0.
 *
 * What is looked at: up to two VLAN tags; ARP; IPv4 with options and header checksum; IPv6 with up
 * to eight extension headers (RFC 8200, 4.1); TCP, UDP, SCTP, ICMP, ICMPv6.  Any other protocol is
 * a protocol without ports.  Whether TCP's flags make sense is tcp_step()'s to say.  Bytes behind
 * the IP packet's end are Ethernet's padding, and no matter. */
enum drop_reason packet_parse(
	const uint8_t *data, uint32_t header_bytes, uint32_t frame_bytes, struct packet *packet);

/* Where the datagram's bytes begin in the frame of a fragment (PACKET_FRAGMENT), which was parsed
 * as `packet`: behind IPv4's header, or behind IPv6's fragment header.  They end with the packet.
 */
uint16_t packet_fragment_payload(const uint8_t *data, const struct packet *packet);

/* Parses the packet that the ICMP error in `packet` quotes, as far as the eight bytes of transport
 * header that RFC 792 promises.  Fills key (all but net and in_port), protocol, icmp_type and
 * l4_offset of *quoted.  False if nothing usable is quoted: no whole header, a fragment that is not
 * the first, another ICMP error, or a packet that was not sent by whom the error is sent to. */
bool packet_parse_quoted(const uint8_t *data, uint32_t header_bytes, const struct packet *packet,
	struct packet *quoted);

#endif
