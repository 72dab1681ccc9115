/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator's frames: what the two sides, A and B, say to each other.
 *
 * Flow number f has ports that depend on f alone, and what B sends in it is the reply to what A
 * sends.  All frames of one side have the same addresses.  Every frame carries a magic word that
 * names its sender, at the same offset whatever the frame's size, so that a receiver tells them
 * from foreign frames by one load.
 *
 * Buffers are prepared once with frame_prepare(); frame_write() then changes only the fields that
 * differ from frame to frame, checksums included, so that a buffer can be sent again and again.
 */
#ifndef GENERATOR_FRAME_H
#define GENERATOR_FRAME_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum side_name { SIDE_A, SIDE_B, N_SIDES };

/* Frame sizes are without the frame check sequence: the largest is what an MTU of 1500 allows. */
enum { FRAME_BYTES_MIN = 64, FRAME_BYTES_MAX = 1514 };
enum { FRAME_FLOWS_MAX = 10000000, FRAME_SIZES_MAX = 12 };
enum { FRAME_STAMP_BYTES = 8 };

/* What the traffic is like. */
struct traffic {
	uint32_t n_flows;
	bool tcp, ipv6;
	bool stamped;	      /* UDP: a number of eight bytes lies before the magic word. */
	unsigned int n_sizes; /* Sent in turn. */
	uint16_t sizes[FRAME_SIZES_MAX];
	uint8_t mac[N_SIDES][6];
	struct in6_addr address[N_SIDES]; /* IPv4: the last four bytes. */
};

/* Where both sides of one TCP connection are. */
struct tcp_flow {
	uint32_t next[N_SIDES];	 /* The sequence number that this side sends next. */
	uint32_t heard[N_SIDES]; /* What this side has received up to: its acknowledgment. */
};

/* What a TCP frame is for. */
enum tcp_step { TCP_SYN_FRAME, TCP_SYN_ACK_FRAME, TCP_DATA_FRAME };

/* The traffic made ready: templates and checksums begun. */
struct frame_maker {
	struct traffic traffic;
	struct tcp_flow *tcp; /* One per flow; NULL for UDP. */
	uint16_t l4_offset, payload_offset, magic_offset;
	uint8_t header[N_SIDES][FRAME_BYTES_MIN + 32];
	uint32_t ip_sum[N_SIDES];     /* Of the IPv4 header but for its total length. */
	uint32_t l4_sum[N_SIDES];     /* Of all that never changes in a transport checksum. */
	uint32_t magic_word[N_SIDES]; /* As it lies in memory. */
};

/* The least size that this kind of traffic can have. */
uint16_t frame_bytes_min(const struct traffic *traffic);

/* Makes ready.  Returns 0, -EINVAL for a size or number that cannot be, or -ENOMEM. */
int frame_maker_init(struct frame_maker *maker, const struct traffic *traffic);
void frame_maker_free(struct frame_maker *maker);

/* Fills a buffer of FRAME_BYTES_MAX with side's frame, but for what frame_write() writes. */
void frame_prepare(const struct frame_maker *maker, enum side_name side, uint8_t *data);

/* Makes the prepared buffer the next frame of `flow`.  Changes nothing but the buffer: what was
 * written may be written again; frame_sent() says that it went out. */
void frame_write(const struct frame_maker *maker, enum side_name side, uint32_t flow,
	uint16_t frame_bytes, uint8_t *data);

/* The same for a UDP frame with this stamp; the traffic is `stamped`. */
void frame_write_stamped(const struct frame_maker *maker, enum side_name side, uint32_t flow,
	uint16_t frame_bytes, uint64_t stamp, uint8_t *data);

/* The same for the frames of a TCP handshake. */
void frame_write_tcp(const struct frame_maker *maker, enum side_name side, uint32_t flow,
	uint16_t frame_bytes, enum tcp_step step, uint8_t *data);

/* Any TCP segment, with what frame_heard_segment() would give back.  A segment with payload has the
 * magic word and zeros in it; one without has them in the Ethernet padding. */
struct tcp_segment {
	uint32_t flow, sequence, acknowledgment;
	uint16_t payload_bytes; /* Even. */
	uint8_t flags;		/* As in the header: 0x02 is SYN, 0x10 ACK, ... */
};

enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_PUSH = 0x08, TCP_ACK = 0x10 };

/* Returns the frame's size. */
uint16_t frame_write_segment(const struct frame_maker *maker, enum side_name side,
	const struct tcp_segment *segment, uint8_t *data);

/* Reads the fields of a frame that is ours. */
struct tcp_segment frame_read_segment(
	const struct frame_maker *maker, enum side_name receiver, const uint8_t *data);

/* Advances the sequence number of a flow by a frame sent. */
void frame_sent(struct frame_maker *maker, enum side_name side, uint32_t flow, uint16_t bytes,
	enum tcp_step step);

/* True if side `receiver` may count this frame as one that the other side sent. */
static inline bool frame_is_ours(const struct frame_maker *maker, enum side_name receiver,
	const uint8_t *data, uint32_t frame_bytes)
{
	uint32_t found;

	if (frame_bytes < (uint32_t)maker->magic_offset + sizeof(found))
		return false;
	memcpy(&found, data + maker->magic_offset, sizeof(found));
	return found == maker->magic_word[receiver == SIDE_A ? SIDE_B : SIDE_A];
}

/* The flow that a frame of ours is of; n_flows or more if its ports are of none. */
uint32_t frame_flow(const struct frame_maker *maker, enum side_name receiver, const uint8_t *data);

/* Of all flows that n_flows or more precede, the first with a port of its own on B's side. */
uint32_t frame_flow_of_next_service(uint32_t n_flows);

/* The port that a flow has on B's side. */
uint16_t frame_service_port(uint32_t flow);

/* The stamp in a frame of ours. */
static inline uint64_t frame_stamp(const struct frame_maker *maker, const uint8_t *data)
{
	uint64_t stamp;

	memcpy(&stamp, data + maker->magic_offset - sizeof(stamp), sizeof(stamp));
	return stamp;
}

/* For TCP: the receiver notes how far it has heard. */
void frame_heard(struct frame_maker *maker, enum side_name receiver, const uint8_t *data);

#endif
