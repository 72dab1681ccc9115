/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the generator was asked for on its command line.
 *
 * All modes share one set of options, so that they mean the same everywhere: to add one, add a
 * field here and a line to the table in options.c.
 */
#ifndef GENERATOR_OPTIONS_H
#define GENERATOR_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/generator/frame.h"

struct options {
	const char *mode;
	const char *socket[N_SIDES];
	const char *device; /* Virtio features, as NAME=0|1 with commas. */
	uint64_t features;  /* The same, as bits. */
	const char *size;   /* As given; NULL for the least possible. */
	uint64_t seconds, rounds, core, queue_frames;
	double rate_mpps; /* 0: as fast as the rings take it. */
	bool no_huge;
	bool watch;		 /* Mode keep: a flow more, see there. */
	const char *socket_c;	 /* Mode attack: the hostile guest's. */
	const char *attack;	 /* What it does: none, random, syn, mac. */
	double attack_rate_mpps; /* 0: as fast as its ring takes it. */
	uint64_t new_flows;	 /* That A opens per second meanwhile. */

	uint64_t window;      /* setup, cps: flows or connections in flight. */
	const char *loads;    /* latency: percents, with commas. */
	uint64_t loss_ppm;    /* latency: frames lost per million that are not yet a loss. */
	uint32_t established; /* full: flows opened first. */
	double new_rate_mpps; /* full: frames of new flows; 0: none. */
	bool fill;	      /* full: first a frame of every new flow. */

	struct traffic traffic;
};

/* Reads the command line.  Ends the process with a message and status 2 if something in it cannot
 * be, with status 0 after --help. */
void options_parse(struct options *options, int argc, char **argv);

/* Works out the sizes, addresses and features, when it is settled what kind of traffic it is. */
void options_finish(struct options *options);

#endif
