/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unfinished frames: telling which ones are, and filling their checksums.  Called by the receive
 * side of ports that hand over such frames, and when frames are shaped; any worker.
 *
 * Checksums are always computed from the bytes, never from what the field held before: guests and
 * rte_vhost leave different things in it.
 */
#include "datapath/offload_layers.h"

#include <netinet/in.h>
#include <string.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_net.h>
#include <rte_sctp.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "datapath/checksum.h"

uint16_t offload_ethernet_bytes(const struct rte_mbuf *frame)
{
	const uint8_t *data = rte_pktmbuf_mtod(frame, const uint8_t *);
	uint32_t n = rte_pktmbuf_data_len(frame);
	uint16_t at = 2 * RTE_ETHER_ADDR_LEN;

	for (unsigned int tags = 0; tags < 2 && at + 6u <= n; tags++) {
		uint16_t type = data[at] << 8 | data[at + 1];

		if (type != RTE_ETHER_TYPE_VLAN && type != RTE_ETHER_TYPE_QINQ)
			break;
		at += 4;
	}
	return at + 2;
}

uint32_t offload_least_header(const struct layers *layers)
{
	return layers->protocol == IPPROTO_UDP ? sizeof(struct rte_udp_hdr)
					       : sizeof(struct rte_tcp_hdr);
}

bool offload_find_layers(const struct rte_mbuf *frame, struct layers *layers)
{
	const uint8_t *data = rte_pktmbuf_mtod(frame, const uint8_t *);
	uint32_t n = rte_pktmbuf_data_len(frame);
	bool is_udp = (frame->ol_flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM;
	uint32_t length;

	layers->l3 = offload_ethernet_bytes(frame);
	layers->l4 = layers->l3 + frame->l3_len;
	layers->is_ip4 = frame->ol_flags & RTE_MBUF_F_TX_IPV4;
	layers->protocol = is_udp ? IPPROTO_UDP : IPPROTO_TCP;
	if (layers->l4 + offload_least_header(layers) > n)
		return false;
	if (layers->is_ip4) {
		const struct rte_ipv4_hdr *ip = (const void *)(data + layers->l3);

		if (ip->version_ihl >> 4 != 4 || rte_ipv4_hdr_len(ip) != frame->l3_len ||
			frame->l3_len < sizeof(*ip))
			return false;
		length = rte_be_to_cpu_16(ip->total_length);
	} else {
		const struct rte_ipv6_hdr *ip = (const void *)(data + layers->l3);

		if (data[layers->l3] >> 4 != 6 || frame->l3_len < sizeof(*ip))
			return false;
		length = sizeof(*ip) + rte_be_to_cpu_16(ip->payload_len);
	}
	layers->end = layers->l3 + length;
	return layers->end <= rte_pktmbuf_pkt_len(frame) &&
	       layers->end >= layers->l4 + offload_least_header(layers);
}

/* --- Checksums ------------------------------------------------------------------------------ */

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum, folded and not inverted, of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1).  With a
 * routing header the final destination is not looked for: such a frame's sum is of no use to its
 * receiver anyway, which refuses the header. */
static uint16_t pseudo_header_sum(const uint8_t *data, const struct layers *layers)
{
	uint32_t bytes = layers->end - layers->l4;
	uint64_t sum = rte_cpu_to_be_16(bytes) + rte_cpu_to_be_16(layers->protocol);

	if (layers->is_ip4)
		sum += rte_raw_cksum(
			data + layers->l3 + offsetof(struct rte_ipv4_hdr, src_addr), 2 * 4);
	else
		sum += rte_raw_cksum(
			data + layers->l3 + offsetof(struct rte_ipv6_hdr, src_addr), 2 * 16);
	return fold(sum);
}

static uint16_t *checksum_field(uint8_t *data, const struct layers *layers)
{
	size_t offset = layers->protocol == IPPROTO_UDP ? offsetof(struct rte_udp_hdr, dgram_cksum)
							: offsetof(struct rte_tcp_hdr, cksum);

	return (uint16_t *)(data + layers->l4 + offset);
}

bool offload_fill_checksum(struct rte_mbuf *frame, const struct layers *layers)
{
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);
	uint16_t *field = checksum_field(data, layers);
	uint16_t sum;

	*field = 0;
	if (rte_raw_cksum_mbuf(frame, layers->l4, layers->end - layers->l4, &sum) != 0)
		return false;
	sum = ~fold((uint32_t)sum + pseudo_header_sum(data, layers));
	/* A UDP checksum of zero would say that there is none (RFC 768). */
	*field = sum == 0 && layers->protocol == IPPROTO_UDP ? 0xffff : sum;
	return true;
}

void offload_begin_checksum(struct rte_mbuf *frame, const struct layers *layers)
{
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);

	*checksum_field(data, layers) = pseudo_header_sum(data, layers);
}

/* A checksum of zero that the kernel left to the network card.  There is none that could take it
 * over, so it is filled in here. */
static void fill_sctp(struct rte_mbuf *frame, const struct packet *packet)
{
	if (packet->l4_offset == 0 || packet->flags & PACKET_FRAGMENT_FIRST)
		return;
	struct rte_sctp_hdr *sctp =
		rte_pktmbuf_mtod_offset(frame, struct rte_sctp_hdr *, packet->l4_offset);

	if (sctp->cksum == 0)
		sctp->cksum = checksum_of_sctp(frame, packet->l4_offset, packet->l4_bytes);
}

bool offload_is_partial(const struct rte_mbuf *frame, const struct packet *packet)
{
	uint8_t *data = rte_pktmbuf_mtod(frame, uint8_t *);
	struct layers layers = {
		.l3 = packet->l3_offset,
		.l4 = packet->l4_offset,
		.is_ip4 = packet->key.kind == CONN_KEY_IPV4,
		.protocol = packet->protocol,
		.end = packet->l4_offset + packet->l4_bytes,
	};

	if ((packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP) ||
		packet->l4_offset == 0 || packet->flags & PACKET_FRAGMENT)
		return false;
	return *checksum_field(data, &layers) == pseudo_header_sum(data, &layers);
}

bool offload_note_partial_checksum(struct rte_mbuf *frame, const struct packet *packet)
{
	if (unlikely(packet->protocol == IPPROTO_SCTP))
		fill_sctp(frame, packet);
	if (!offload_is_partial(frame, packet))
		return false;
	frame->l2_len = packet->l3_offset;
	frame->l3_len = packet->l4_offset - packet->l3_offset;
	frame->l4_len = packet->payload_offset - packet->l4_offset;
	frame->ol_flags |=
		(packet->key.kind == CONN_KEY_IPV4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6) |
		(packet->protocol == IPPROTO_TCP ? RTE_MBUF_F_TX_TCP_CKSUM
						 : RTE_MBUF_F_TX_UDP_CKSUM);
	return true;
}

/* --- What a guest asks for ------------------------------------------------------------------ */

/* The transmit flags for a frame of this kind; 0 if it is nothing that we finish. */
static uint64_t transmit_flags(uint32_t packet_type)
{
	uint64_t flags = RTE_ETH_IS_IPV4_HDR(packet_type)   ? RTE_MBUF_F_TX_IPV4
			 : RTE_ETH_IS_IPV6_HDR(packet_type) ? RTE_MBUF_F_TX_IPV6
							    : 0;

	if (flags == 0)
		return 0;
	switch (packet_type & RTE_PTYPE_L4_MASK) {
	case RTE_PTYPE_L4_TCP: return flags | RTE_MBUF_F_TX_TCP_CKSUM;
	case RTE_PTYPE_L4_UDP: return flags | RTE_MBUF_F_TX_UDP_CKSUM;
	default: return 0;
	}
}

/* True if the checksum that is asked for is the one of the frame's own transport header. */
static bool asks_for_transport(const struct virtio_net_hdr *request,
	const struct rte_net_hdr_lens *lengths, uint64_t flags)
{
	bool is_udp = (flags & RTE_MBUF_F_TX_L4_MASK) == RTE_MBUF_F_TX_UDP_CKSUM;
	size_t offset = is_udp ? offsetof(struct rte_udp_hdr, dgram_cksum)
			       : offsetof(struct rte_tcp_hdr, cksum);

	return flags != 0 && request->csum_start == lengths->l2_len + lengths->l3_len &&
	       request->csum_offset == offset;
}

/* A checksum somewhere else, such as in a packet within a tunnel: it is filled in at once.  One
 * beyond the frame's headers is left as it is. */
static void fill_at(struct rte_mbuf *frame, uint32_t start, uint32_t offset)
{
	uint32_t field = start + offset;
	uint16_t sum;

	if (field + sizeof(sum) > rte_pktmbuf_data_len(frame) ||
		rte_raw_cksum_mbuf(frame, start, rte_pktmbuf_pkt_len(frame) - start, &sum) != 0)
		return;
	sum = ~sum;
	sum = sum == 0 ? 0xffff : sum;
	memcpy(rte_pktmbuf_mtod_offset(frame, uint8_t *, field), &sum, sizeof(sum));
}

/* Notes that the frame is to be cut, if the segments that are asked for can be. */
static void note_segments(
	struct rte_mbuf *frame, const struct virtio_net_hdr *request, const struct layers *layers)
{
	bool is_udp = layers->protocol == IPPROTO_UDP;
	uint8_t type = request->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	uint8_t wanted = is_udp		  ? VIRTIO_NET_HDR_GSO_UDP_L4
			 : layers->is_ip4 ? VIRTIO_NET_HDR_GSO_TCPV4
					  : VIRTIO_NET_HDR_GSO_TCPV6;
	uint32_t headers = (uint32_t)layers->l4 + frame->l4_len;

	if (type != wanted || frame->l4_len < offload_least_header(layers) ||
		headers > rte_pktmbuf_data_len(frame) || request->gso_size < SEGMENT_BYTES_MIN ||
		layers->end <= headers + request->gso_size)
		return;
	frame->tso_segsz = request->gso_size;
	frame->ol_flags |= is_udp ? RTE_MBUF_F_TX_UDP_SEG : RTE_MBUF_F_TX_TCP_SEG;
}

void offload_note_guest_request(struct rte_mbuf *frame, const struct virtio_net_hdr *request)
{
	struct rte_net_hdr_lens lengths;
	struct layers layers;

	if (!(request->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return;
	uint64_t flags = transmit_flags(rte_net_get_ptype(
		frame, &lengths, RTE_PTYPE_L2_MASK | RTE_PTYPE_L3_MASK | RTE_PTYPE_L4_MASK));
	if (!asks_for_transport(request, &lengths, flags)) {
		fill_at(frame, request->csum_start, request->csum_offset);
		return;
	}
	uint64_t before = frame->ol_flags;
	frame->ol_flags |= flags;
	frame->l2_len = lengths.l2_len;
	frame->l3_len = lengths.l3_len;
	frame->l4_len = lengths.l4_len;
	if (!offload_find_layers(frame, &layers) || layers.l3 != lengths.l2_len)
		frame->ol_flags = before;
	else if (request->gso_type != VIRTIO_NET_HDR_GSO_NONE)
		note_segments(frame, request, &layers);
}
