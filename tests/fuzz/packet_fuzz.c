/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a frame: through the parser, and through all that reads the packet it makes of them.
 * Beside the sanitizers' findings, a promise of packet.h that is broken ends the run.  The seeds
 * are frames of real hosts.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/packet.h"
#include "datapath/packet_private.h"
#include "datapath/spoof.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
	if (!promise)
		abort();
}

/* What packet.h says of the offsets. */
static void check_offsets(const struct packet *packet, uint32_t header_bytes, uint32_t frame_bytes)
{
	require(packet->l3_offset >= ETHERNET_BYTES && packet->l3_offset <= header_bytes);
	if (packet->key.kind == CONN_KEY_ETHERNET) {
		require(packet->l4_offset == 0 && packet->protocol == 0);
		require(!(packet->flags & PACKET_ARP) ||
			packet->l3_offset + ARP_BYTES <= header_bytes);
		return;
	}
	require(packet->l3_offset + packet->l4_bytes < frame_bytes);
	if (packet->flags & PACKET_FRAGMENT_LATER) {
		require(packet->l4_offset == 0 && packet->fragment_offset != 0);
		require(packet->fragment_offset + packet->l4_bytes <= UINT16_MAX);
		return;
	}
	require(packet->l4_offset >= packet->l3_offset + IP4_BYTES);
	require(packet->l4_offset + packet->l4_bytes <= frame_bytes);
	require(packet->payload_offset >= packet->l4_offset);
	require(packet->payload_offset <= header_bytes);
	require(packet->payload_offset <= packet->l4_offset + packet->l4_bytes);
	require(packet->protocol != IPPROTO_TCP ||
		packet->payload_offset >= packet->l4_offset + TCP_BYTES);
	require(!(packet->flags & (PACKET_ND | PACKET_ICMP_ERROR)) ||
		packet->payload_offset == packet->l4_offset + ICMP_BYTES);
}

/* What packet.h says of the key and the flags. */
static void check_key(const struct packet *packet)
{
	bool v4 = packet->key.kind == CONN_KEY_IPV4, v6 = packet->key.kind == CONN_KEY_IPV6;

	require(v4 || v6 || packet->key.kind == CONN_KEY_ETHERNET);
	require(packet->key.net == 0 && packet->key.in_port == 0);
	require(packet->key.protocol == packet->protocol);
	if (v4 || v6) {
		require(IN6_IS_ADDR_V4MAPPED(&packet->key.source) == v4);
		require(IN6_IS_ADDR_V4MAPPED(&packet->key.destination) == v4);
		require(!IN6_IS_ADDR_MULTICAST(&packet->key.source));
	}
	require(!(packet->flags & PACKET_FRAGMENT_FIRST) ||
		!(packet->flags & PACKET_FRAGMENT_LATER));
	require(!(packet->flags & (PACKET_PRIORITY_TAGGED | PACKET_DOUBLE_TAGGED)) ||
		packet->flags & PACKET_TAGGED);
}

/* What the miss path does with a packet, for a vNIC that owns the packet's source address and for
 * one that does not. */
static void guard(const uint8_t *data, uint32_t size, const struct packet *packet)
{
	struct in6_addr addresses[2] = {packet->key.source, packet->key.destination}, claimed;
	uint8_t macs[2][6];

	memcpy(macs, data, sizeof(macs));
	for (unsigned int i = 0; i < 8; i++) {
		const struct spoof_binding binding = {
			.macs = (const uint8_t(*)[6])macs,
			.n_macs = i & 1 ? 2 : 0,
			.addresses = &addresses[i >> 1 & 1],
			.n_addresses = i & 4 ? 1 : 0,
		};
		spoof_check(&binding, data, size, packet);
	}
	spoof_claim(data, size, packet, &claimed);
}

/* A fragment's part of its datagram lies behind the IP header, and holds the transport header. */
static void check_fragment(const uint8_t *data, const struct packet *packet)
{
	uint32_t payload_at;

	if (!(packet->flags & PACKET_FRAGMENT))
		return;
	payload_at = packet_fragment_payload(data, packet);
	require(payload_at >= packet->l3_offset + IP4_BYTES);
	require(packet->l4_offset == 0 || payload_at <= packet->l4_offset);
}

static void quote(const uint8_t *data, uint32_t size, const struct packet *packet)
{
	struct packet quoted;

	if (!packet_parse_quoted(data, size, packet, &quoted))
		return;
	require(quoted.key.kind == packet->key.kind);
	require(quoted.l4_offset >= packet->payload_offset + IP4_BYTES);
	require(quoted.l4_offset + 8u <= size);
}

/* The same frame, of which only a part is contiguous, is the same packet or none. */
static void parse_part(const uint8_t *data, uint32_t size, const struct packet *whole)
{
	uint32_t part_bytes = size / 2 + data[size - 1] % (size / 2 + 1);
	uint8_t *part = malloc(part_bytes + (part_bytes == 0));
	struct packet packet;

	require(part != NULL);
	memcpy(part, data, part_bytes);
	if (packet_parse(part, part_bytes, size, &packet) == DROP_NONE) {
		check_offsets(&packet, part_bytes, size);
		require(memcmp(&packet, whole, sizeof(packet)) == 0);
		quote(part, part_bytes, &packet);
		guard(part, part_bytes, &packet);
	}
	free(part);
}

static void parse(const uint8_t *data, uint32_t size)
{
	struct packet packet;

	if (packet_parse(data, size, size, &packet) != DROP_NONE)
		return;
	check_offsets(&packet, size, size);
	check_key(&packet);
	check_fragment(data, &packet);
	parse_part(data, size, &packet);
	quote(data, size, &packet);
	guard(data, size, &packet);
}

/* Most changes to an IPv4 header end at its checksum, so that is made right. */
static void parse_mended(const uint8_t *data, size_t size)
{
	uint32_t ip = ETHERNET_BYTES, sum = 0;

	while (ip + 2 < size && ip < 22 && load_be16(data + ip - 2) != TYPE_IP4)
		ip += TAG_BYTES;
	if (ip + IP4_BYTES > size || load_be16(data + ip - 2) != TYPE_IP4)
		return;
	uint32_t header_bytes = (data[ip] & 0xfu) * 4;
	if (header_bytes < IP4_BYTES || ip + header_bytes > size)
		return;
	uint8_t *mended = malloc(size);
	require(mended != NULL);
	memcpy(mended, data, size);
	memset(mended + ip + 10, 0, 2);
	for (uint32_t at = ip; at < ip + header_bytes; at += 2)
		sum += load_be16(mended + at);
	sum = (sum & UINT16_MAX) + (sum >> 16);
	sum = ~((sum & UINT16_MAX) + (sum >> 16));
	mended[ip + 10] = (uint8_t)(sum >> 8);
	mended[ip + 11] = (uint8_t)sum;
	parse(mended, (uint32_t)size);
	free(mended);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > UINT16_MAX)
		return 0;
	parse(data, (uint32_t)size);
	parse_mended(data, size);
	return 0;
}
