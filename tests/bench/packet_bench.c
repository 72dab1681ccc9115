/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many cycles (of the time stamp counter) packet_parse() takes for a frame in L1, by kind of
 * frame and for a mix of them.  Each figure is the best of many rounds over a burst of 32 frames.
 * Prints one line per kind; run it on an idle core.
 */
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#include "datapath/packet.h"
#include "tests/unit/frame.h"

enum { BURST = 32, ROUNDS = 20000 };

struct bench {
	struct frame frames[BURST];
	struct packet packets[BURST];
};

static void make_udp4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP);
	frame_udp(f, 1000, 2000);
	frame_fill(f, 18);
}

static void make_tcp4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_TCP);
	frame_tcp(f, 1000, 80, 0x10);
	frame_fill(f, 6);
}

static void make_tcp4_tagged(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_tag(f, 0x8100, 10);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_TCP);
	frame_tcp(f, 1000, 80, 0x10);
}

static void make_udp6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_udp(f, 1000, 2000);
}

static void make_tcp6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_TCP);
	frame_tcp(f, 1000, 80, 0x10);
}

static void make_echo4(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip4(f, "10.0.0.1", "10.0.0.2", IPPROTO_ICMP);
	frame_icmp(f, 8, 0, 77, 1);
	frame_fill(f, 32);
}

static void make_fragment6(struct frame *f)
{
	frame_begin(f, MAC_B, MAC_A);
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_ip6_fragment(f, 1, 0, 1);
	frame_udp(f, 1000, 2000);
}

static void make_arp(struct frame *f)
{
	frame_begin(f, MAC_ALL, MAC_A);
	frame_arp(f, 1, MAC_A, "10.0.0.1", MAC_B, "10.0.0.2");
}

struct kind {
	const char *name;
	void (*make)(struct frame *);
};

static const struct kind kinds[] = {
	{"IPv4 UDP", make_udp4},
	{"IPv4 TCP", make_tcp4},
	{"IPv4 TCP, tagged", make_tcp4_tagged},
	{"IPv6 UDP", make_udp6},
	{"IPv6 TCP", make_tcp6},
	{"IPv4 ICMP echo", make_echo4},
	{"IPv6 UDP, first fragment", make_fragment6},
	{"ARP", make_arp},
};

enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* The best round's cycles per frame. */
static double measure(struct bench *bench)
{
	uint64_t best = UINT64_MAX;

	for (int round = 0; round < ROUNDS; round++) {
		_mm_lfence();
		uint64_t begin = __rdtsc();
		for (int i = 0; i < BURST; i++) {
			const struct frame *f = &bench->frames[i];

			if (packet_parse(f->bytes, f->n, f->n, &bench->packets[i]) != DROP_NONE)
				abort();
		}
		_mm_lfence();
		uint64_t cycles = __rdtsc() - begin;
		if (cycles < best)
			best = cycles;
	}
	return (double)best / BURST;
}

int main(void)
{
	struct bench *bench = aligned_alloc(64, (sizeof(*bench) + 63) / 64 * 64);

	if (bench == NULL)
		return 1;
	for (size_t kind = 0; kind <= N_KINDS; kind++) {
		for (size_t i = 0; i < BURST; i++) {
			/* The mix is of the kinds that have a connection: the first five. */
			kinds[kind < N_KINDS ? kind : i % 5].make(&bench->frames[i]);
			frame_end(&bench->frames[i]);
		}
		printf("%-26s %6.1f cycles\n",
			kind < N_KINDS ? kinds[kind].name : "mixed TCP and UDP", measure(bench));
	}
	free(bench);
	return 0;
}
