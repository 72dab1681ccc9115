/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser: what it makes of valid frames, that it gives each malformation its name, that it
 * never reads past what it was given, and what it finds quoted in ICMP errors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datapath/packet.h"
#include "tests/unit/valid_frames.h"

/* --- Valid frames --------------------------------------------------------------------------- */

struct valid {
	const char *name;
	void (*make)(struct frame *f);
	uint32_t header_end; /* Without so many bytes from l4 (or from l3) on there is no packet. */
};

static const struct valid valid[] = {
	{"UDP, IPv4", make_udp4, 8},
	{"TCP, IPv4", make_tcp4, 20},
	{"TCP and IPv4 with options", make_tcp4_options, 24},
	{"ICMP echo", make_echo4, 8},
	{"SCTP", make_sctp4, 12},
	{"GRE", make_gre4, 0},
	{"first fragment, IPv4", make_first_fragment4, 8},
	{"last fragment, IPv4", make_last_fragment4, 0},
	{"UDP, IPv6", make_udp6, 8},
	{"TCP, IPv6", make_tcp6, 20},
	{"ICMPv6 echo", make_echo6, 8},
	{"all extension headers", make_extended6, 20},
	{"hop-by-hop options", make_options6, 8},
	{"routing header with no segments left", make_routed6, 8},
	{"first fragment, IPv6", make_first_fragment6, 8},
	{"last fragment, IPv6", make_last_fragment6, 0},
	{"atomic fragment", make_atomic_fragment6, 8},
	{"tagged", make_tagged4, 8},
	{"priority-tagged", make_priority_tagged4, 8},
	{"double-tagged", make_double_tagged6, 8},
	{"neighbour solicitation", make_solicitation6, 8},
	{"duplicate address detection", make_detection6, 8},
	{"ARP", make_arp, 28},
	{"LLDP", make_lldp, 0},
	{"LLC", make_llc, 0},
};

enum { N_VALID = sizeof(valid) / sizeof(valid[0]) };

/* Parses a copy that has not a byte more than `header_bytes`, so that a sanitizer sees every read
 * past it. */
static enum drop_reason parse_exactly(
	const struct frame *f, uint32_t header_bytes, uint32_t frame_bytes, struct packet *packet)
{
	uint8_t *copy = malloc(header_bytes + (header_bytes == 0));

	assert_non_null(copy);
	memcpy(copy, f->bytes, header_bytes);
	enum drop_reason reason = packet_parse(copy, header_bytes, frame_bytes, packet);
	free(copy);
	return reason;
}

static struct packet parse(const struct frame *f)
{
	struct packet packet;

	assert_string_equal(drop_name(parse_exactly(f, f->n, f->n, &packet)), "none");
	return packet;
}

/* --- What valid frames are parsed into ------------------------------------------------------ */

static void assert_address(const struct in6_addr *address, const char *expected)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, address, text, sizeof(text));
	assert_string_equal(text, expected);
}

static void assert_ports(const struct packet *packet, uint32_t source, uint32_t destination)
{
	assert_int_equal(ntohs(packet->key.source_port), source);
	assert_int_equal(ntohs(packet->key.destination_port), destination);
}

static void assert_offsets(const struct packet *packet, uint32_t l3, uint32_t l4, uint32_t payload)
{
	assert_int_equal(packet->l3_offset, l3);
	assert_int_equal(packet->l4_offset, l4);
	assert_int_equal(packet->payload_offset, payload);
}

static void test_udp4(void **state)
{
	struct frame f;

	(void)state;
	make_udp4(&f);
	struct packet packet = parse(&f);
	assert_int_equal(packet.key.kind, CONN_KEY_IPV4);
	assert_int_equal(packet.key.protocol, IPPROTO_UDP);
	assert_int_equal(packet.protocol, IPPROTO_UDP);
	assert_int_equal(packet.key.net, 0);
	assert_int_equal(packet.key.in_port, 0);
	assert_address(&packet.key.source, "::ffff:10.0.0.1");
	assert_address(&packet.key.destination, "::ffff:10.0.0.2");
	assert_ports(&packet, 1000, 53);
	assert_offsets(&packet, 14, 34, 42);
	assert_int_equal(packet.l4_bytes, 28);
	assert_int_equal(packet.ethertype, 0x0800);
	assert_int_equal(packet.flags, 0);
	assert_int_equal(packet.vlan_tci, 0);
}

static void test_tcp(void **state)
{
	struct frame f;

	(void)state;
	make_tcp4(&f);
	struct packet packet = parse(&f);
	assert_ports(&packet, 40000, 80);
	assert_offsets(&packet, 14, 34, 54);
	assert_int_equal(packet.l4_bytes, 31);
	assert_int_equal(packet.tcp_flags, 0x18);
	make_tcp6(&f);
	packet = parse(&f);
	assert_int_equal(packet.key.kind, CONN_KEY_IPV6);
	assert_address(&packet.key.source, "2001:db8::1");
	assert_address(&packet.key.destination, "2001:db8::2");
	assert_ports(&packet, 40000, 80);
	assert_offsets(&packet, 14, 54, 74);
	assert_int_equal(packet.ethertype, 0x86dd);
}

static void test_options(void **state)
{
	struct frame f;

	(void)state;
	make_tcp4_options(&f);
	struct packet packet = parse(&f);
	assert_offsets(&packet, 14, 42, 66);
	assert_int_equal(packet.l4_bytes, 24);
	assert_int_equal(packet.tcp_flags, 0x02);
	make_extended6(&f);
	packet = parse(&f);
	assert_int_equal(packet.protocol, IPPROTO_TCP);
	assert_offsets(&packet, 14, 54 + 80, 54 + 80 + 20);
	assert_int_equal(packet.l4_bytes, 20);
	assert_int_equal(packet.flags, 0);
}

/* An echo's reply is the mirror of its request. */
static void test_echo(void **state)
{
	struct frame f;

	(void)state;
	make_echo4(&f);
	struct packet packet = parse(&f);
	assert_int_equal(packet.icmp_type, 8);
	assert_ports(&packet, 0x1234, 8);
	assert_offsets(&packet, 14, 34, 42);
	frame_begin(&f, MAC_A, MAC_B);
	frame_ip4(&f, "10.0.0.2", "10.0.0.1", IPPROTO_ICMP);
	frame_icmp(&f, 0, 0, 0x1234, 1);
	frame_end(&f);
	struct packet reply = parse(&f);
	struct conn_key mirror = conn_key_reverse(&packet.key, 0);
	assert_memory_equal(&reply.key, &mirror, sizeof(mirror));
	make_echo6(&f);
	packet = parse(&f);
	assert_int_equal(packet.icmp_type, 128);
	assert_ports(&packet, 0x1234, 128);
	assert_int_equal(packet.flags, 0);
}

static void test_other_icmp(void **state)
{
	struct frame f;

	(void)state;
	make_echo4(&f);
	f.bytes[f.l4] = 13;
	struct packet packet = parse(&f);
	assert_ports(&packet, 13, 0);
	assert_int_equal(packet.flags, 0);
	f.bytes[f.l4] = 5; /* A redirect quotes a packet, but is no error. */
	packet = parse(&f);
	assert_int_equal(packet.flags, 0);
	f.bytes[f.l4] = 11;
	f.bytes[f.l4 + 1] = 1;
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_ICMP_ERROR);
	assert_int_equal(packet.icmp_type, 11);
	assert_int_equal(packet.icmp_code, 1);
	make_solicitation6(&f);
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_ND);
	assert_ports(&packet, 135, 0);
	f.bytes[f.l4] = 2;
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_ICMP_ERROR);
}

/* The other family's ICMP is a protocol like any other. */
static void test_foreign_icmp(void **state)
{
	struct frame f;

	(void)state;
	make_echo6(&f);
	f.bytes[f.l3 + 6] = IPPROTO_ICMP;
	struct packet packet = parse(&f);
	assert_ports(&packet, 0, 0);
	assert_int_equal(packet.protocol, IPPROTO_ICMP);
	assert_offsets(&packet, 14, 54, 54);
}

static void test_other_protocols(void **state)
{
	struct frame f;

	(void)state;
	make_sctp4(&f);
	struct packet packet = parse(&f);
	assert_ports(&packet, 0x1000, 0x0b59);
	assert_offsets(&packet, 14, 34, 46);
	make_gre4(&f);
	packet = parse(&f);
	assert_int_equal(packet.protocol, IPPROTO_GRE);
	assert_ports(&packet, 0, 0);
	assert_offsets(&packet, 14, 34, 34);
}

static void test_fragments(void **state)
{
	struct frame f;

	(void)state;
	make_first_fragment4(&f);
	struct packet packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_FRAGMENT_FIRST);
	assert_int_equal(packet.fragment_id, 0x4321);
	assert_ports(&packet, 1000, 53);
	make_last_fragment4(&f);
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_FRAGMENT_LATER | PACKET_FRAGMENT_LAST);
	assert_int_equal(packet.fragment_offset, 32);
	assert_int_equal(packet.l4_bytes, 21);
	assert_ports(&packet, 0, 0);
	assert_offsets(&packet, 14, 0, 0);
	assert_int_equal(packet.protocol, IPPROTO_UDP);
	make_first_fragment6(&f);
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_FRAGMENT_FIRST);
	assert_int_equal(packet.fragment_id, 0x12345678);
	assert_offsets(&packet, 14, 62, 70);
	assert_int_equal(packet.l4_bytes, 32);
	make_last_fragment6(&f);
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_FRAGMENT_LATER | PACKET_FRAGMENT_LAST);
	assert_int_equal(packet.fragment_offset, 32);
	assert_int_equal(packet.l4_bytes, 21);
	assert_offsets(&packet, 14, 0, 0);
	make_atomic_fragment6(&f);
	packet = parse(&f);
	assert_int_equal(packet.flags, 0);
	assert_ports(&packet, 1000, 53);
}

static void test_tags(void **state)
{
	struct frame f;

	(void)state;
	make_tagged4(&f);
	struct packet packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_TAGGED);
	assert_int_equal(packet.vlan_tci, 0x600a);
	assert_int_equal(packet.ethertype, 0x0800);
	assert_offsets(&packet, 18, 38, 46);
	make_priority_tagged4(&f);
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_TAGGED | PACKET_PRIORITY_TAGGED);
	make_double_tagged6(&f);
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_TAGGED | PACKET_DOUBLE_TAGGED);
	assert_int_equal(packet.vlan_tci, 0x0064);
	assert_int_equal(packet.inner_tci, 0x000a);
	assert_int_equal(packet.ethertype, 0x86dd);
	assert_offsets(&packet, 22, 62, 70);
}

static void test_not_ip(void **state)
{
	static const uint8_t ten_zeros[10] = {0};
	struct frame f;

	(void)state;
	make_arp(&f);
	struct packet packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_ARP | PACKET_GROUP);
	assert_int_equal(packet.key.kind, CONN_KEY_ETHERNET);
	assert_memory_equal(packet.key.source.s6_addr, ten_zeros, 10);
	assert_memory_equal(packet.key.source.s6_addr + 10, MAC_A, 6);
	assert_memory_equal(packet.key.destination.s6_addr + 10, MAC_ALL, 6);
	assert_ports(&packet, 0x0806, 0x0806);
	assert_offsets(&packet, 14, 0, 0);
	make_lldp(&f);
	packet = parse(&f);
	assert_int_equal(packet.flags, PACKET_GROUP);
	assert_int_equal(packet.ethertype, 0x88cc);
	assert_ports(&packet, 0x88cc, 0x88cc);
	make_llc(&f);
	packet = parse(&f);
	assert_int_equal(packet.ethertype, 0);
	assert_ports(&packet, 0, 0);
	assert_int_equal(packet.protocol, 0);
}

/* Ethernet pads short frames; the padding belongs to no packet. */
static void test_padding(void **state)
{
	struct frame f;

	(void)state;
	make_udp4(&f);
	frame_fill(&f, 30);
	struct packet packet = parse(&f);
	assert_int_equal(packet.l4_bytes, 28);
	make_udp6(&f);
	frame_fill(&f, 30);
	packet = parse(&f);
	assert_int_equal(packet.l4_bytes, 28);
}

/* A large frame whose headers alone are contiguous. */
static void test_chained(void **state)
{
	struct frame f;
	struct packet packet;

	(void)state;
	make_tcp4(&f);
	frame_set16(&f, f.l3 + 2, 64000);
	frame_ip4_checksum(&f);
	assert_int_equal(parse_exactly(&f, 54, 64014, &packet), DROP_NONE);
	assert_int_equal(packet.l4_bytes, 63980);
	assert_int_equal(parse_exactly(&f, 54, 64013, &packet), DROP_IP4_TOTAL_LENGTH);
}

/* However a valid frame is cut off, it is refused while a header is missing and never else. */
static void test_truncation(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_VALID; i++) {
		struct frame f;
		valid[i].make(&f);
		struct packet whole = parse(&f), packet;
		uint32_t end = whole.key.kind == CONN_KEY_ETHERNET || f.l4 == 0
				       ? 14 + valid[i].header_end
				       : f.l4 + valid[i].header_end;

		for (uint32_t n = 0; n < f.n; n++) {
			bool parsed = parse_exactly(&f, n, f.n, &packet) == DROP_NONE;
			if (parsed != (n >= end))
				fail_msg("%s: %u of %u bytes", valid[i].name, n, f.n);
			if (parsed)
				assert_memory_equal(&packet, &whole, sizeof(packet));
			parsed = parse_exactly(&f, n, n, &packet) == DROP_NONE;
			if (parsed != (n >= end && whole.key.kind == CONN_KEY_ETHERNET))
				fail_msg("%s, ending after %u bytes", valid[i].name, n);
		}
	}
}

/* --- Malformed frames ----------------------------------------------------------------------- */

enum layer { FRAME, L3, L4 };
enum after { AS_IS, CHECKSUM, LENGTHS };

/* A valid frame, in which `patch` replaces what is at an offset of a layer, and which loses its
 * last `cut` bytes.  Then the IPv4 checksum, or all lengths and checksums, are made right again. */
struct malformed {
	enum drop_reason expected;
	void (*make)(struct frame *f);
	enum layer layer;
	uint32_t at;
	uint32_t n_patch;
	const char *patch;
	uint32_t cut;
	enum after after;
};

#define BYTES(text) sizeof(text) - 1, text

static const struct malformed malformed[] = {
	{DROP_ETHERNET_SHORT, make_lldp, FRAME, 0, BYTES(""), 47, AS_IS},
	{DROP_ETHERNET_SOURCE, make_udp4, FRAME, 6, BYTES("\x03"), 0, AS_IS},
	{DROP_ETHERNET_SOURCE, make_arp, FRAME, 6, BYTES("\xff\xff\xff\xff\xff\xff"), 0, AS_IS},
	{DROP_VLAN_SHORT, make_tagged4, FRAME, 0, BYTES(""), 29, AS_IS},
	{DROP_VLAN_SHORT, make_double_tagged6, FRAME, 0, BYTES(""), 49, AS_IS},
	{DROP_VLAN_DEPTH, make_triple_tagged, FRAME, 0, BYTES(""), 0, AS_IS},
	{DROP_VLAN_DEPTH, make_triple_tagged, FRAME, 0, BYTES(""), 32, AS_IS},
	{DROP_VLAN_PRIORITY, make_double_tagged6, FRAME, 14, BYTES("\xe0\x00"), 0, AS_IS},
	{DROP_ARP_SHORT, make_arp, FRAME, 0, BYTES(""), 1, AS_IS},
	{DROP_ARP_FORMAT, make_arp, L3, 1, BYTES("\x06"), 0, AS_IS},
	{DROP_ARP_FORMAT, make_arp, L3, 2, BYTES("\x86\xdd"), 0, AS_IS},
	{DROP_ARP_FORMAT, make_arp, L3, 4, BYTES("\x08"), 0, AS_IS},
	{DROP_ARP_FORMAT, make_arp, L3, 5, BYTES("\x10"), 0, AS_IS},
	{DROP_ARP_FORMAT, make_arp, L3, 7, BYTES("\x00"), 0, AS_IS},
	{DROP_ARP_FORMAT, make_arp, L3, 7, BYTES("\x03"), 0, AS_IS},
	{DROP_ARP_FORMAT, make_arp, L3, 6, BYTES("\x01"), 0, AS_IS},
	{DROP_ARP_SENDER, make_arp, L3, 14, BYTES("\x7f\0\0\x01"), 0, AS_IS},
	{DROP_ARP_SENDER, make_arp, L3, 14, BYTES("\xe0\0\0\x01"), 0, AS_IS},
	{DROP_ARP_SENDER, make_arp, L3, 14, BYTES("\xff\xff\xff\xff"), 0, AS_IS},
	{DROP_IP4_SHORT, make_udp4, FRAME, 0, BYTES(""), 29, AS_IS},
	{DROP_IP4_VERSION, make_udp4, L3, 0, BYTES("\x65"), 0, CHECKSUM},
	{DROP_IP4_VERSION, make_udp4, L3, 0, BYTES("\x05"), 0, AS_IS},
	{DROP_IP4_HEADER_LENGTH, make_udp4, L3, 0, BYTES("\x44"), 0, AS_IS},
	{DROP_IP4_HEADER_LENGTH, make_tcp4_options, FRAME, 0, BYTES(""), 25, AS_IS},
	{DROP_IP4_TOTAL_LENGTH, make_udp4, L3, 2, BYTES("\0\x31"), 0, CHECKSUM},
	{DROP_IP4_TOTAL_LENGTH, make_udp4, L3, 2, BYTES("\0\x13"), 0, CHECKSUM},
	{DROP_IP4_TOTAL_LENGTH, make_udp4, L3, 2, BYTES("\0\0"), 0, CHECKSUM},
	{DROP_IP4_TOTAL_LENGTH, make_tcp4_options, L3, 2, BYTES("\0\x1b"), 0, CHECKSUM},
	{DROP_IP4_TOTAL_LENGTH, make_udp4, FRAME, 0, BYTES(""), 1, AS_IS},
	{DROP_IP4_CHECKSUM, make_udp4, L3, 8, BYTES("\x3f"), 0, AS_IS},
	{DROP_IP4_CHECKSUM, make_tcp4_options, L3, 25, BYTES("\x01"), 0, AS_IS},
	{DROP_IP4_OPTIONS, make_tcp4_options, L3, 20, BYTES("\x83\x07\x04\x0a\0\0\x03"), 0,
		CHECKSUM},
	{DROP_IP4_OPTIONS, make_tcp4_options, L3, 20, BYTES("\x89\x07\x04\x0a\0\0\x03"), 0,
		CHECKSUM},
	{DROP_IP4_OPTIONS, make_tcp4_options, L3, 20, BYTES("\x07\x01"), 0, CHECKSUM},
	{DROP_IP4_OPTIONS, make_tcp4_options, L3, 20, BYTES("\x07\x09"), 0, CHECKSUM},
	{DROP_IP4_OPTIONS, make_tcp4_options, L3, 24, BYTES("\x01\x01\x01\x07"), 0, CHECKSUM},
	{DROP_IP4_SOURCE, make_udp4, L3, 12, BYTES("\xe0\0\0\x01"), 0, CHECKSUM},
	{DROP_IP4_SOURCE, make_udp4, L3, 12, BYTES("\xef\xff\xff\xff"), 0, CHECKSUM},
	{DROP_IP4_SOURCE, make_udp4, L3, 12, BYTES("\xff\xff\xff\xff"), 0, CHECKSUM},
	{DROP_IP4_SOURCE, make_udp4, L3, 12, BYTES("\x7f\x01\x02\x03"), 0, CHECKSUM},
	{DROP_IP4_DESTINATION, make_udp4, L3, 16, BYTES("\x7f\0\0\x01"), 0, CHECKSUM},
	{DROP_IP4_DESTINATION, make_udp4, L3, 16, BYTES("\0\0\0\0"), 0, CHECKSUM},
	{DROP_IP6_SHORT, make_udp6, FRAME, 0, BYTES(""), 29, AS_IS},
	{DROP_IP6_VERSION, make_udp6, L3, 0, BYTES("\x45"), 0, AS_IS},
	{DROP_IP6_PAYLOAD_LENGTH, make_udp6, L3, 4, BYTES("\0\x1d"), 0, AS_IS},
	{DROP_IP6_PAYLOAD_LENGTH, make_udp6, FRAME, 0, BYTES(""), 1, AS_IS},
	{DROP_IP6_JUMBOGRAM, make_options6, L3, 4, BYTES("\0\0"), 0, AS_IS},
	{DROP_IP6_JUMBOGRAM, make_options6, L3, 42, BYTES("\xc2\x04\0\x01\0\0"), 0, AS_IS},
	{DROP_IP6_EXTENSION, make_options6, L3, 43, BYTES("\x05"), 0, AS_IS},
	{DROP_IP6_EXTENSION, make_options6, L3, 41, BYTES("\x02"), 0, AS_IS},
	{DROP_IP6_EXTENSION, make_options6, L3, 42, BYTES("\0\0\0\0\0\x01"), 0, AS_IS},
	{DROP_IP6_EXTENSION, make_routed6, L3, 40, BYTES("\0"), 0, AS_IS},
	{DROP_IP6_EXTENSION, make_atomic_fragment6, L3, 40, BYTES("\x2c"), 0, AS_IS},
	{DROP_IP6_EXTENSION, make_routed6, FRAME, 0, BYTES(""), 9, LENGTHS},
	{DROP_IP6_EXTENSION, make_routed6, FRAME, 0, BYTES(""), 25, LENGTHS},
	{DROP_IP6_ROUTING, make_routed6, L3, 42, BYTES("\0\x01"), 0, AS_IS},
	{DROP_IP6_ROUTING, make_routed6, L3, 42, BYTES("\x02\x02"), 0, AS_IS},
	{DROP_IP6_ROUTING, make_routed6, L3, 42, BYTES("\x04\x01"), 0, AS_IS},
	{DROP_IP6_SOURCE, make_udp6, L3, 8, BYTES("\xff\x02"), 0, AS_IS},
	{DROP_IP6_SOURCE, make_udp6, L3, 8, BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"), 0, AS_IS},
	{DROP_IP6_SOURCE, make_udp6, L3, 8, BYTES("\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x01"), 0,
		AS_IS},
	{DROP_IP6_DESTINATION, make_udp6, L3, 24, BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), 0,
		AS_IS},
	{DROP_IP6_DESTINATION, make_udp6, L3, 24, BYTES("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"), 0,
		AS_IS},
	{DROP_IP6_DESTINATION, make_udp6, L3, 24, BYTES("\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1"),
		0, AS_IS},
	{DROP_TCP_SHORT, make_tcp4, FRAME, 0, BYTES(""), 12, LENGTHS},
	{DROP_TCP_SHORT, make_tcp6, FRAME, 0, BYTES(""), 1, LENGTHS},
	{DROP_TCP_SHORT, make_extended6, FRAME, 0, BYTES(""), 1, LENGTHS},
	{DROP_TCP_OFFSET, make_tcp4, L4, 12, BYTES("\x40"), 0, AS_IS},
	{DROP_TCP_OFFSET, make_tcp4, L4, 12, BYTES("\x80"), 0, AS_IS},
	{DROP_TCP_OFFSET, make_tcp6, L4, 12, BYTES("\x60"), 0, AS_IS},
	{DROP_UDP_SHORT, make_udp4, FRAME, 0, BYTES(""), 21, LENGTHS},
	{DROP_UDP_SHORT, make_options6, FRAME, 0, BYTES(""), 8, LENGTHS},
	{DROP_UDP_LENGTH, make_udp4, L4, 4, BYTES("\0\x07"), 0, AS_IS},
	{DROP_UDP_LENGTH, make_udp4, L4, 4, BYTES("\0\x1d"), 0, AS_IS},
	{DROP_UDP_LENGTH, make_udp6, L4, 4, BYTES("\0\0"), 0, AS_IS},
	{DROP_UDP_LENGTH, make_first_fragment4, L4, 4, BYTES("\0\x07"), 0, AS_IS},
	{DROP_ICMP_SHORT, make_echo4, FRAME, 0, BYTES(""), 33, LENGTHS},
	{DROP_ICMP_SHORT, make_echo6, FRAME, 0, BYTES(""), 40, LENGTHS},
	{DROP_SCTP_SHORT, make_sctp4, FRAME, 0, BYTES(""), 1, LENGTHS},
	{DROP_FRAGMENT_TINY, make_first_fragment4_tcp, FRAME, 0, BYTES(""), 16, LENGTHS},
	{DROP_FRAGMENT_TINY, make_first_fragment4_tcp, L4, 12, BYTES("\x90"), 0, AS_IS},
	{DROP_FRAGMENT_TINY, make_first_fragment4_tcp, L3, 9, BYTES("\x84"), 24, LENGTHS},
	{DROP_FRAGMENT_TINY, make_first_fragment6, L3, 40, BYTES("\x06"), 16, LENGTHS},
	{DROP_FRAGMENT_TINY, make_first_fragment6, L3, 40, BYTES("\x3c\0\0\1\0\0\0\0\x11\x09"), 0,
		AS_IS},
	{DROP_FRAGMENT_LENGTH, make_first_fragment4, FRAME, 0, BYTES(""), 1, LENGTHS},
	{DROP_FRAGMENT_LENGTH, make_last_fragment4, L3, 6, BYTES("\x20\x04"), 0, CHECKSUM},
	{DROP_FRAGMENT_LENGTH, make_last_fragment4, FRAME, 0, BYTES(""), 21, LENGTHS},
	{DROP_FRAGMENT_LENGTH, make_last_fragment6, FRAME, 0, BYTES(""), 21, LENGTHS},
	{DROP_FRAGMENT_LENGTH, make_first_fragment6, FRAME, 0, BYTES(""), 3, LENGTHS},
	{DROP_FRAGMENT_OVERSIZE, make_last_fragment4, L3, 6, BYTES("\x1f\xff"), 0, CHECKSUM},
	{DROP_FRAGMENT_OVERSIZE, make_last_fragment6, L3, 42, BYTES("\xff\xf8"), 0, AS_IS},
};

enum { N_MALFORMED = sizeof(malformed) / sizeof(malformed[0]) };

static void make_malformed(const struct malformed *row, struct frame *f)
{
	row->make(f);
	const uint32_t base = row->layer == L4 ? f->l4 : row->layer == L3 ? f->l3 : 0;
	memcpy(f->bytes + base + row->at, row->patch, row->n_patch);
	f->n -= row->cut;
	if (row->after == LENGTHS)
		frame_end(f);
	else if (row->after == CHECKSUM)
		frame_ip4_checksum(f);
}

static void test_malformed(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_MALFORMED; i++) {
		struct frame f;
		struct packet packet;
		make_malformed(&malformed[i], &f);
		enum drop_reason reason = parse_exactly(&f, f.n, f.n, &packet);
		if (reason != malformed[i].expected)
			fail_msg("row %zu: %s instead of %s", i, drop_name(reason),
				drop_name(malformed[i].expected));
	}
}

/* The parser's reasons are the first ones of the list; each has a row. */
static void test_every_reason_has_a_row(void **state)
{
	(void)state;
	for (unsigned int reason = DROP_ETHERNET_SHORT; reason <= DROP_FRAGMENT_OVERSIZE;
		reason++) {
		size_t n = 0;
		for (size_t i = 0; i < N_MALFORMED; i++)
			n += malformed[i].expected == reason;
		/* The two that take a chain of headers have tests of their own. */
		if (n == 0 && reason != DROP_IP6_EXTENSION_DEPTH)
			fail_msg("no test for %s", drop_name(reason));
	}
}

/* The patterns that almost look like an error. */
static void test_tolerated(void **state)
{
	static const struct malformed rows[] = {
		{DROP_NONE, make_udp4, L3, 12, BYTES("\0\0\0\0"), 0, CHECKSUM},
		{DROP_NONE, make_udp4, L3, 12, BYTES("\xf0\0\0\x01"), 0, CHECKSUM},
		{DROP_NONE, make_udp4, L3, 16, BYTES("\xff\xff\xff\xff"), 0, CHECKSUM},
		{DROP_NONE, make_udp4, L3, 6, BYTES("\x40\0"), 0, CHECKSUM},
		{DROP_NONE, make_udp4, L4, 4, BYTES("\0\x10"), 0, AS_IS},
		{DROP_NONE, make_udp6, L3, 24, BYTES("\xff\x02"), 0, AS_IS},
		{DROP_NONE, make_routed6, L3, 42, BYTES("\x02\x01"), 0, AS_IS},
		{DROP_NONE, make_arp, L3, 14, BYTES("\0\0\0\0"), 0, AS_IS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct frame f;
		make_malformed(&rows[i], &f);
		parse(&f);
	}
}

static void test_extension_depth(void **state)
{
	struct frame f;
	struct packet packet;

	(void)state;
	for (unsigned int n = 8; n <= 9; n++) {
		frame_begin(&f, MAC_B, MAC_A);
		frame_ip6(&f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
		for (unsigned int i = 0; i < n; i++)
			frame_extension(&f, IPPROTO_DSTOPTS, 8, NULL);
		frame_udp(&f, 1000, 53);
		frame_end(&f);
		assert_int_equal(parse_exactly(&f, f.n, f.n, &packet),
			n == 8 ? DROP_NONE : DROP_IP6_EXTENSION_DEPTH);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp4),
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_echo),
		cmocka_unit_test(test_other_icmp),
		cmocka_unit_test(test_foreign_icmp),
		cmocka_unit_test(test_other_protocols),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_not_ip),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_chained),
		cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_every_reason_has_a_row),
		cmocka_unit_test(test_tolerated),
		cmocka_unit_test(test_extension_depth),
	};

	return cmocka_run_group_tests_name("packet", tests, NULL, NULL);
}
