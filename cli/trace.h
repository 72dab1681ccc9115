/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon trace` share.
 *
 *      trace.c          the command: asks the switch, and waits for an answer to what was sent
 *      trace_options.c  what the line and the port's configuration say of the packet
 *      trace_packet.c   the packet as bytes
 *      trace_pcap.c     or a frame of a capture
 *      trace_story.c    the switch's answer as a story
 */
#ifndef CLI_TRACE_H
#define CLI_TRACE_H

#include <netinet/in.h>

#include "cli/cordon.h"

enum { TRACE_FRAME_MAX = 65535 };

enum trace_kind {
	TRACE_IP,
	TRACE_ARP, /* A request: who has `destination`? */
	TRACE_ND,  /* A neighbour solicitation for `destination`. */
};

/* A packet in words.  IPv4 addresses are IPv4-mapped; numbers are in host byte order. */
struct trace_packet {
	enum trace_kind kind;
	uint8_t source_mac[6], destination_mac[6];
	int vlan; /* Of a tag; -1: none. */
	struct in6_addr source, destination;
	uint8_t protocol, ttl;
	uint16_t source_port, destination_port; /* TCP, UDP, SCTP. */
	uint8_t tcp_flags;
	uint32_t sequence, acknowledgment;
	uint16_t window;
	uint8_t icmp_type, icmp_code;
	uint16_t identifier;
	size_t payload_bytes;
};

/* Writes the frame, with all lengths and checksums right, to `frame`.  Returns its length, or 0 if
 * it would be longer than TRACE_FRAME_MAX, or than IP can say. */
size_t trace_packet_build(const struct trace_packet *packet, uint8_t frame[TRACE_FRAME_MAX]);

/* The MAC to which a multicast or broadcast address goes (RFC 1112, 6.4; RFC 2464, 7).  False for
 * any other address. */
bool trace_group_mac(const struct in6_addr *address, uint8_t mac[6]);

/* Reads frame number `number`, from 1, of a capture.  Returns its length; 0, after a message to the
 * person and with the exit status in *status, if there is none that can be used. */
size_t trace_pcap_read(struct cli *cli, const char *path, int64_t number,
	uint8_t frame[TRACE_FRAME_MAX], enum cli_status *status);

/* Makes the frame that the line asks for; 0 as above. */
size_t trace_read_options(struct cli *cli, uint8_t frame[TRACE_FRAME_MAX], enum cli_status *status);

/* Prints the switch's answer. */
void trace_print(struct cli *cli, const struct json *story);

#endif
