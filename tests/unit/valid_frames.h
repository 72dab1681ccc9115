/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One valid frame of each kind that the parser knows, for the tests of what reads packets.
 */
#ifndef TESTS_UNIT_VALID_FRAMES_H
#define TESTS_UNIT_VALID_FRAMES_H

#include "tests/unit/frame.h"

/* --- Valid frames --------------------------------------------------------------------------- */

static inline void make_udp4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP);
	frame_udp(f, 1000, 53);
	frame_fill(f, 20);
	frame_end(f);
}

static inline void make_tcp4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_TCP);
	frame_tcp(f, 40000, 80, 0x18);
	frame_fill(f, 11);
	frame_end(f);
}

static inline void make_tcp4_options(struct frame *f)
{
	static const uint8_t router_alert[] = {1, 148, 4, 0, 0, 0, 0, 0};
	static const uint8_t mss[] = {2, 4, 5, 180};

	frame_begin(f, MAC_B, MAC_A);
	frame_ip4_options(f, "10.0.0.1", "10.0.0.2", IPPROTO_TCP, router_alert, 8);
	frame_tcp(f, 40000, 80, 0x02);
	frame_append(f, mss, sizeof(mss));
	f->bytes[f->l4 + 12] = 6 << 4;
	frame_end(f);
}

static inline void make_echo4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_ICMP);
	frame_icmp(f, 8, 0, 0x1234, 1);
	frame_fill(f, 32);
	frame_end(f);
}

static inline void make_sctp4(struct frame *f)
{
	static const uint8_t common[12] = {0x10, 0x00, 0x0b, 0x59, 1, 2, 3, 4};

	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_SCTP);
	frame_append(f, common, sizeof(common));
	frame_end(f);
}

static inline void make_gre4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_GRE);
	frame_fill(f, 30);
	frame_end(f);
}

static inline void make_first_fragment4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP);
	frame_ip4_fragment(f, 0x4321, 0, 1);
	frame_udp(f, 1000, 53);
	frame_fill(f, 24);
	frame_end(f);
	frame_set16(f, f->l4 + 4, 3000); /* Of the whole datagram. */
}

static inline void make_first_fragment4_tcp(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_TCP);
	frame_ip4_fragment(f, 0x4321, 0, 1);
	frame_tcp(f, 40000, 80, 0x10);
	frame_fill(f, 12);
	frame_end(f);
}

static inline void make_last_fragment4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP);
	frame_ip4_fragment(f, 0x4321, 32, 0);
	frame_fill(f, 21);
	frame_end(f);
}

static inline void make_udp6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_udp(f, 1000, 53);
	frame_fill(f, 20);
	frame_end(f);
}

static inline void make_tcp6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_TCP);
	frame_tcp(f, 40000, 80, 0x10);
	frame_end(f);
}

static inline void make_echo6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_ICMPV6);
	frame_icmp(f, 128, 0, 0x1234, 1);
	frame_fill(f, 32);
	frame_end(f);
}

/* Every kind of extension header, in the order that RFC 8200, 4.1 recommends. */
static inline void make_extended6(struct frame *f)
{
	static const uint8_t pad[6] = {1, 4, 0, 0, 0, 0};

	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_TCP);
	frame_extension(f, IPPROTO_HOPOPTS, 8, pad);
	frame_extension(f, IPPROTO_DSTOPTS, 8, pad);
	frame_extension(f, IPPROTO_ROUTING, 24, NULL);
	frame_extension(f, IPPROTO_AH, 24, NULL);
	frame_extension(f, IPPROTO_DSTOPTS, 16, NULL);
	frame_tcp(f, 40000, 80, 0x10);
	frame_end(f);
}

static inline void make_options6(struct frame *f)
{
	static const uint8_t router_alert[6] = {5, 2, 0, 0, 1, 0};

	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_extension(f, IPPROTO_HOPOPTS, 8, router_alert);
	frame_udp(f, 1000, 53);
	frame_end(f);
}

static inline void make_routed6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_extension(f, IPPROTO_ROUTING, 24, NULL);
	frame_udp(f, 1000, 53);
	frame_end(f);
}

static inline void make_first_fragment6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_ip6_fragment(f, 0x12345678, 0, 1);
	frame_udp(f, 1000, 53);
	frame_fill(f, 24);
	frame_end(f);
	frame_set16(f, f->l4 + 4, 3000);
}

static inline void make_last_fragment6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_ip6_fragment(f, 0x12345678, 32, 0);
	frame_fill(f, 21);
	frame_end(f);
}

static inline void make_atomic_fragment6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_ip6_fragment(f, 0x12345678, 0, 0);
	frame_udp(f, 1000, 53);
	frame_fill(f, 5);
	frame_end(f);
}

static inline void make_tagged4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_tag(f, 0x8100, 0x600a);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP);
	frame_udp(f, 1000, 53);
	frame_end(f);
}

static inline void make_priority_tagged4(struct frame *f)
{
	make_tagged4(f);
	frame_set16(f, 14, 0x6000);
}

static inline void make_double_tagged6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_tag(f, 0x88a8, 0x0064);
	frame_tag(f, 0x8100, 0x000a);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_udp(f, 1000, 53);
	frame_end(f);
}

static inline void make_triple_tagged(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_tag(f, 0x88a8, 1);
	frame_tag(f, 0x8100, 2);
	frame_tag(f, 0x8100, 3);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP);
	frame_udp(f, 1000, 53);
	frame_end(f);
}

static inline void make_arp(struct frame *f)
{
	static const uint8_t nobody[6] = {0};

	frame_begin(f, MAC_ALL, MAC_A);
	frame_arp(f, 1, MAC_A, "10.0.0.1", nobody, "10.0.0.2");
}

static inline void make_solicitation6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "fe80::1", "ff02::1:ff00:2", IPPROTO_ICMPV6);
	frame_icmp(f, 135, 0, 0, 0);
	inet_pton(AF_INET6, "fe80::2", frame_zero(f, 16));
	frame_end(f);
}

static inline void make_lldp(struct frame *f)
{
	frame_begin(f, (const uint8_t[6]){1, 0x80, 0xc2, 0, 0, 0x0e}, MAC_A);
	frame_type(f, 0x88cc);
	frame_fill(f, 46);
}

/* A spanning tree BPDU: a length where the ethertype would be. */
static inline void make_llc(struct frame *f)
{
	frame_begin(f, (const uint8_t[6]){1, 0x80, 0xc2, 0, 0, 0}, MAC_A);
	frame_type(f, 38);
	frame_fill(f, 46);
}

static inline void make_detection6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "::", "ff02::1:ff00:2", IPPROTO_ICMPV6);
	frame_icmp(f, 135, 0, 0, 0);
	inet_pton(AF_INET6, "fe80::2", frame_zero(f, 16));
	frame_end(f);
}

#endif
