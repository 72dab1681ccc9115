/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a packet in words to a frame's bytes, with every length and checksum as a host would write
 * it.  Called by `cordon trace`; pure functions.
 */
#include "cli/trace.h"

#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <string.h>

#include "zones/address.h"

enum {
	ETHERNET_BYTES = 14,
	TAG_BYTES = 4,
	IP4_BYTES = 20,
	IP6_BYTES = 40,
	ARP_BYTES = 28,
	TCP_BYTES = 20,
	UDP_BYTES = 8,
	SCTP_BYTES = 12,
	CHUNK_BYTES = 20, /* An INIT chunk without parameters (RFC 9260, 3.3.2). */
	ICMP_BYTES = 8,
	SOLICITATION_BYTES = 32, /* RFC 4861, 4.3, with the sender's MAC. */
};

/* --- bytes ---------------------------------------------------------------------------------- */

static uint8_t *put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return at + 2;
}

static uint8_t *put32(uint8_t *at, uint32_t value)
{
	return put16(put16(at, (uint16_t)(value >> 16)), (uint16_t)value);
}

static const uint8_t *ip4_of(const struct in6_addr *address)
{
	return address->s6_addr + 12;
}

/* --- checksums ------------------------------------------------------------------------------ */

/* Adds to a sum of 16-bit words (RFC 1071). */
static uint32_t sum_words(uint32_t sum, const uint8_t *at, size_t n)
{
	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)(at[i] << 8 | at[i + 1]);
	if (n % 2)
		sum += (uint32_t)at[n - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t sum_pseudo_header(const struct trace_packet *packet, size_t n)
{
	bool v4 = ip_is_v4(&packet->destination);
	size_t skip = v4 ? 12 : 0;
	uint32_t sum = (uint32_t)n + packet->protocol;

	sum = sum_words(sum, packet->source.s6_addr + skip, 16 - skip);
	return sum_words(sum, packet->destination.s6_addr + skip, 16 - skip);
}

/* CRC32c, bit by bit (RFC 9260, appendix A). */
static uint32_t crc32c(const uint8_t *at, size_t n)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		crc ^= at[i];
		for (unsigned int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

static void put_sctp_checksum(uint8_t *l4, size_t n)
{
	uint32_t crc = crc32c(l4, n);

	for (unsigned int i = 0; i < 4; i++) /* The least significant byte first. */
		l4[8 + i] = (uint8_t)(crc >> 8 * i);
}

/* Fills in the checksum of what lies at l4, n bytes, where its field is still 0. */
static void put_checksum(const struct trace_packet *packet, uint8_t *l4, size_t n)
{
	uint32_t sum = packet->protocol == IPPROTO_ICMP ? 0 : sum_pseudo_header(packet, n);
	uint16_t checksum = (uint16_t)~sum_words(sum, l4, n);

	switch (packet->protocol) {
	case IPPROTO_TCP: put16(l4 + 16, checksum); break;
	case IPPROTO_UDP: put16(l4 + 6, checksum ? checksum : 0xffff); break; /* RFC 768. */
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: put16(l4 + 2, checksum); break;
	case IPPROTO_SCTP: put_sctp_checksum(l4, n); break;
	}
}

/* --- headers -------------------------------------------------------------------------------- */

static size_t header_bytes(const struct trace_packet *packet)
{
	if (packet->kind == TRACE_ND)
		return SOLICITATION_BYTES;
	switch (packet->protocol) {
	case IPPROTO_TCP: return TCP_BYTES;
	case IPPROTO_UDP: return UDP_BYTES;
	case IPPROTO_SCTP: return SCTP_BYTES + CHUNK_BYTES;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6: return ICMP_BYTES;
	default: return 0;
	}
}

static uint8_t *put_ethernet(const struct trace_packet *packet, uint8_t *at, uint16_t ethertype)
{
	memcpy(at, packet->destination_mac, 6);
	memcpy(at + 6, packet->source_mac, 6);
	at += 12;
	if (packet->vlan >= 0)
		at = put16(put16(at, ETHERTYPE_VLAN), (uint16_t)packet->vlan);
	return put16(at, ethertype);
}

static uint8_t *put_ip4(const struct trace_packet *packet, uint8_t *at, size_t l4_bytes)
{
	uint8_t *ip = at;

	memset(ip, 0, IP4_BYTES);
	ip[0] = 0x45;
	put16(ip + 2, (uint16_t)(IP4_BYTES + l4_bytes));
	put16(ip + 6, 0x4000); /* Not to be fragmented. */
	ip[8] = packet->ttl;
	ip[9] = packet->protocol;
	memcpy(ip + 12, ip4_of(&packet->source), 4);
	memcpy(ip + 16, ip4_of(&packet->destination), 4);
	put16(ip + 10, (uint16_t)~sum_words(0, ip, IP4_BYTES));
	return ip + IP4_BYTES;
}

/* Where a neighbour solicitation goes: ff02::1:ffXX:XXXX (RFC 4291, 2.7.1). */
static struct in6_addr solicited_node(const struct in6_addr *address)
{
	const uint8_t *a = address->s6_addr;

	return (struct in6_addr){
		.s6_addr = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a[13], a[14], a[15]}};
}

static uint8_t *put_ip6(const struct trace_packet *packet, uint8_t *at, size_t l4_bytes)
{
	put32(at, UINT32_C(6) << 28);
	put16(at + 4, (uint16_t)l4_bytes);
	at[6] = packet->protocol;
	at[7] = packet->ttl;
	memcpy(at + 8, &packet->source, 16);
	memcpy(at + 24, &packet->destination, 16);
	return at + IP6_BYTES;
}

static void put_tcp(const struct trace_packet *packet, uint8_t *l4)
{
	put32(l4 + 4, packet->sequence);
	put32(l4 + 8, packet->acknowledgment);
	l4[12] = TCP_BYTES / 4 << 4;
	l4[13] = packet->tcp_flags;
	put16(l4 + 14, packet->window);
}

static void put_sctp(uint8_t *l4)
{
	uint8_t *chunk = l4 + SCTP_BYTES;

	chunk[0] = 1; /* INIT. */
	put16(chunk + 2, CHUNK_BYTES);
	put32(chunk + 4, 1);	   /* Initiate tag. */
	put32(chunk + 8, 1 << 16); /* Receive window. */
	put16(chunk + 12, 1);	   /* Streams out and in. */
	put16(chunk + 14, 1);
	put32(chunk + 16, 1); /* First TSN. */
}

static void put_solicitation(const struct trace_packet *packet, uint8_t *l4)
{
	memcpy(l4 + 8, &packet->destination, 16);
	l4[24] = 1; /* The sender's MAC. */
	l4[25] = 1;
	memcpy(l4 + 26, packet->source_mac, 6);
}

/* The transport header, but for its checksum; all of it is zero before. */
static void put_transport(const struct trace_packet *packet, uint8_t *l4, size_t l4_bytes)
{
	switch (packet->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		put16(l4, packet->source_port);
		put16(l4 + 2, packet->destination_port);
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		l4[0] = packet->icmp_type;
		l4[1] = packet->icmp_code;
		put16(l4 + 4, packet->identifier);
		put16(l4 + 6, packet->identifier != 0);
		break;
	}
	if (packet->protocol == IPPROTO_TCP)
		put_tcp(packet, l4);
	else if (packet->protocol == IPPROTO_UDP)
		put16(l4 + 4, (uint16_t)l4_bytes);
	else if (packet->protocol == IPPROTO_SCTP)
		put_sctp(l4);
}

/* --- frames --------------------------------------------------------------------------------- */

static size_t build_arp(const struct trace_packet *packet, uint8_t *frame)
{
	uint8_t *arp = put_ethernet(packet, frame, ETHERTYPE_ARP), *at = arp;

	at = put16(at, ARPHRD_ETHER);
	at = put16(at, ETHERTYPE_IP);
	*at++ = 6;
	*at++ = 4;
	at = put16(at, ARPOP_REQUEST);
	memcpy(at, packet->source_mac, 6);
	memcpy(at + 6, ip4_of(&packet->source), 4);
	memset(at + 10, 0, 6);
	memcpy(at + 16, ip4_of(&packet->destination), 4);
	return (size_t)(arp + ARP_BYTES - frame);
}

static size_t build_ip(
	const struct trace_packet *packet, uint8_t frame[TRACE_FRAME_MAX], size_t payload_bytes)
{
	bool v4 = ip_is_v4(&packet->destination);
	size_t l4_bytes = header_bytes(packet) + payload_bytes;
	size_t l3_bytes = v4 ? IP4_BYTES : IP6_BYTES;
	size_t l2_bytes = ETHERNET_BYTES + (packet->vlan >= 0 ? TAG_BYTES : 0);
	uint8_t *at;

	if (payload_bytes > TRACE_FRAME_MAX || l2_bytes + l3_bytes + l4_bytes > TRACE_FRAME_MAX)
		return 0;
	at = put_ethernet(packet, frame, v4 ? ETHERTYPE_IP : ETHERTYPE_IPV6);
	at = v4 ? put_ip4(packet, at, l4_bytes) : put_ip6(packet, at, l4_bytes);
	memset(at, 0, l4_bytes);
	put_transport(packet, at, l4_bytes);
	put_checksum(packet, at, l4_bytes);
	return l2_bytes + l3_bytes + l4_bytes;
}

static size_t build_solicitation(const struct trace_packet *packet, uint8_t *frame)
{
	struct trace_packet sent = *packet;
	size_t n;
	uint8_t *l4;

	sent.destination = solicited_node(&packet->destination);
	sent.protocol = IPPROTO_ICMPV6;
	sent.icmp_type = ND_NEIGHBOR_SOLICIT;
	sent.icmp_code = 0;
	sent.identifier = 0;
	sent.ttl = 255;
	n = build_ip(&sent, frame, 0);
	l4 = frame + n - SOLICITATION_BYTES;
	put_solicitation(packet, l4);
	put16(l4 + 2, 0);
	put_checksum(&sent, l4, SOLICITATION_BYTES);
	return n;
}

size_t trace_packet_build(const struct trace_packet *packet, uint8_t frame[TRACE_FRAME_MAX])
{
	switch (packet->kind) {
	case TRACE_ARP: return build_arp(packet, frame);
	case TRACE_ND: return build_solicitation(packet, frame);
	case TRACE_IP: break;
	}
	return build_ip(packet, frame, packet->payload_bytes);
}

bool trace_group_mac(const struct in6_addr *address, uint8_t mac[6])
{
	const uint8_t *a = address->s6_addr;
	const uint8_t *v4 = ip4_of(address);

	if (!ip_is_v4(address)) {
		memcpy(mac, (uint8_t[6]){0x33, 0x33, a[12], a[13], a[14], a[15]}, 6);
		return IN6_IS_ADDR_MULTICAST(address);
	}
	if (memcmp(v4, "\xff\xff\xff\xff", 4) == 0) {
		memset(mac, 0xff, 6);
		return true;
	}
	memcpy(mac, (uint8_t[6]){0x01, 0x00, 0x5e, v4[1] & 0x7f, v4[2], v4[3]}, 6);
	return v4[0] >= 224 && v4[0] < 240;
}
