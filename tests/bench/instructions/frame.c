/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames, written header by header.  Called by the cases, on the main thread.
 */
#include <config.h>

#include "tests/bench/instructions/frame.h"

#include <arpa/inet.h>
#include <string.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "tests/bench/instructions/stage.h"

enum { FIRST_PORT = 1024, WINDOW = 60000, FRAME_BYTES_MIN = 60 };

static size_t write_ip4(uint8_t *at, const struct stage_guest *source,
	const struct stage_guest *destination, uint8_t protocol, uint16_t bytes)
{
	struct rte_ipv4_hdr ip = {
		.version_ihl = RTE_IPV4_VHL_DEF,
		.total_length = htons((uint16_t)(sizeof(ip) + bytes)),
		.time_to_live = 64,
		.next_proto_id = protocol,
	};

	inet_pton(AF_INET, source->ip4, &ip.src_addr);
	inet_pton(AF_INET, destination->ip4, &ip.dst_addr);
	ip.hdr_checksum = rte_ipv4_cksum(&ip);
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

static size_t write_ip6(uint8_t *at, const struct stage_guest *source,
	const struct stage_guest *destination, uint8_t protocol, uint16_t bytes)
{
	struct rte_ipv6_hdr ip = {
		.vtc_flow = htonl(6u << 28),
		.payload_len = htons(bytes),
		.proto = protocol,
		.hop_limits = 64,
	};

	inet_pton(AF_INET6, source->ip6, ip.src_addr);
	inet_pton(AF_INET6, destination->ip6, ip.dst_addr);
	memcpy(at, &ip, sizeof(ip));
	return sizeof(ip);
}

static void write_tcp(uint8_t *at, const struct frame *frame, uint16_t source, uint16_t destination)
{
	struct rte_tcp_hdr tcp = {
		.src_port = htons(source),
		.dst_port = htons(destination),
		.sent_seq = htonl(frame->sequence),
		.recv_ack = htonl(frame->acknowledgment),
		.data_off = sizeof(tcp) / 4 << 4,
		.tcp_flags = frame->flags,
		.rx_win = htons(WINDOW),
	};

	memcpy(at, &tcp, sizeof(tcp));
}

static void write_udp(uint8_t *at, uint16_t source, uint16_t destination, uint16_t bytes)
{
	struct rte_udp_hdr udp = {
		.src_port = htons(source),
		.dst_port = htons(destination),
		.dgram_len = htons(bytes),
	};

	memcpy(at, &udp, sizeof(udp));
}

/* Of the whole packet at `ip`, with its transport header at `l4`: first packets are verified. */
static void write_checksum(const uint8_t *ip, uint8_t *l4, const struct frame *frame)
{
	uint16_t sum = frame->ip6 ? rte_ipv6_udptcp_cksum((const void *)ip, l4)
				  : rte_ipv4_udptcp_cksum((const void *)ip, l4);

	memcpy(l4 + (frame->tcp ? offsetof(struct rte_tcp_hdr, cksum)
				: offsetof(struct rte_udp_hdr, dgram_cksum)),
		&sum, sizeof(sum));
}

void frame_write(struct rte_mbuf *buffer, const struct frame *frame)
{
	const struct stage_guest *source = &stage_guests[frame->from];
	const struct stage_guest *destination =
		&stage_guests[frame->from == PORT_A ? PORT_B : PORT_A];
	uint8_t *data = rte_pktmbuf_mtod(buffer, uint8_t *), *at = data + 14;
	uint16_t client = (uint16_t)(FIRST_PORT + frame->flow);
	uint16_t source_port = frame->from == PORT_A ? client : frame->service;
	uint16_t destination_port = frame->from == PORT_A ? frame->service : client;
	uint8_t protocol = frame->tcp ? IPPROTO_TCP : IPPROTO_UDP;
	uint16_t bytes =
		(uint16_t)((frame->tcp ? sizeof(struct rte_tcp_hdr) : sizeof(struct rte_udp_hdr)) +
			   frame->payload_bytes);

	memset(data, 0, RTE_ETHER_MAX_LEN / 4);
	memcpy(data, destination->mac, 6);
	memcpy(data + 6, source->mac, 6);
	data[12] = frame->ip6 ? 0x86 : 0x08;
	data[13] = frame->ip6 ? 0xdd : 0x00;
	at += frame->ip6 ? write_ip6(at, source, destination, protocol, bytes)
			 : write_ip4(at, source, destination, protocol, bytes);
	if (frame->tcp)
		write_tcp(at, frame, source_port, destination_port);
	else
		write_udp(at, source_port, destination_port, bytes);
	write_checksum(data + 14, at, frame);
	size_t all = (size_t)(at - data) + bytes;
	buffer->data_len = (uint16_t)(all < FRAME_BYTES_MIN ? FRAME_BYTES_MIN : all);
	buffer->pkt_len = buffer->data_len;
}

/* The IPv4 header of a fragment with `bytes` of payload. */
static void make_fragment(struct rte_mbuf *buffer, uint16_t id, uint16_t field, uint16_t bytes)
{
	struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(buffer, struct rte_ipv4_hdr *, 14);

	ip->packet_id = htons(id);
	ip->fragment_offset = htons(field);
	ip->total_length = htons((uint16_t)(sizeof(*ip) + bytes));
	ip->hdr_checksum = 0;
	ip->hdr_checksum = rte_ipv4_cksum(ip);
	buffer->data_len = (uint16_t)(14 + sizeof(*ip) + bytes);
	buffer->pkt_len = buffer->data_len;
}

void frame_cut(struct rte_mbuf *first, struct rte_mbuf *last, uint16_t bytes, uint16_t id)
{
	const size_t headers = 14 + sizeof(struct rte_ipv4_hdr);
	const uint8_t *whole = rte_pktmbuf_mtod(first, const uint8_t *);
	uint8_t *rest = rte_pktmbuf_mtod(last, uint8_t *);
	uint16_t left = (uint16_t)(rte_pktmbuf_data_len(first) - headers - bytes);

	memcpy(rest, whole, headers);
	memcpy(rest + headers, whole + headers + bytes, left);
	make_fragment(first, id, RTE_IPV4_HDR_MF_FLAG, bytes);
	make_fragment(last, id, bytes / 8, left);
}
