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
#include "tests/unit/valid_frames.h"

enum { BURST = 32, ROUNDS = 20000 };

struct bench {
	struct frame frames[BURST];
	struct packet packets[BURST];
};

struct kind {
	const char *name;
	void (*make)(struct frame *);
};

static const struct kind kinds[] = {
	{"UDP, IPv4", make_udp4},
	{"UDP, IPv4, tagged", make_tagged4},
	{"TCP, IPv4", make_tcp4},
	{"UDP, IPv6", make_udp6},
	{"TCP, IPv6", make_tcp6},
	{"TCP and IPv4 with options", make_tcp4_options},
	{"all extension headers", make_extended6},
	{"ICMP echo", make_echo4},
	{"first fragment, IPv6", make_first_fragment6},
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
			/* The mix is of the common kinds, the first five. */
			kinds[kind < N_KINDS ? kind : i % 5].make(&bench->frames[i]);
		}
		printf("%-26s %6.1f cycles\n",
			kind < N_KINDS ? kinds[kind].name : "the first five, mixed",
			measure(bench));
	}
	free(bench);
	return 0;
}
