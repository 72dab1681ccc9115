/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the generator can do: a table of modes, in main.c, and what a mode gets.
 *
 * A mode is one function in a file of its own, mode_NAME.c.  It is called once, on the generator's
 * one thread, with the sides connected to the device under test and with no frame sent yet.  It
 * prints one JSON object to stdout: first a heading line, flushed when its set-up is over, so that
 * whoever reads it can start a clock; the rest at its end.  It returns 0, or a negative errno after
 * a sentence on stderr.
 */
#ifndef GENERATOR_MODE_H
#define GENERATOR_MODE_H

#include "tests/bench/generator/options.h"
#include "tests/bench/generator/side.h"

struct generator {
	struct options options;
	struct frame_maker maker;
	struct side sides[N_SIDES];
};

struct mode {
	const char *name;
	int (*run)(struct generator *generator);
	const char *help;
};

/* Ends with an entry without a name. */
extern const struct mode modes[];

int mode_forward(struct generator *generator);

/* --- What modes share, in traffic.c ---------------------------------------------------------- */

/* Opens all flows of the options, each with a frame in each direction (a whole handshake for TCP),
 * and waits for the arrival of each burst, so that addresses are learned and connections made.
 * opened[side] counts the frames of that side which arrived.  Returns 0, or -ENOTCONN after saying
 * so if nothing arrived from one of them. */
int open_flows(struct generator *generator, uint64_t opened[N_SIDES]);

/* Prints what all headings begin with, from "{" on, with a comma at the end. */
void print_heading(const struct generator *generator);

/* Clock ticks (rdtsc) in a second. */
uint64_t ticks_per_second(void);

/* Nanoseconds that this thread was ready to run but did not: others had the core. */
uint64_t waited_ns(void);

#endif
