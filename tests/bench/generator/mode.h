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

#include "tests/bench/generator/clock.h"
#include "tests/bench/generator/options.h"
#include "tests/bench/generator/pace.h"
#include "tests/bench/generator/side.h"

struct generator {
	struct options options;
	uint64_t ticks_per_second; /* Of clock_ticks(). */
	struct frame_maker maker;
	struct side sides[N_SIDES];
};

struct mode {
	const char *name;
	int (*run)(struct generator *generator);
	const char *help;
	/* What its traffic and its cards are like, if not as usual. */
	bool stamped;
	bool tcp, udp;		     /* Only this. */
	uint32_t n_flows, window;    /* If the options do not say; 0 means 1024. */
	uint64_t features;	     /* Virtio features beside those of --device. */
	uint32_t tx_frame_bytes_max; /* See struct side_setup. */
	uint16_t tx_chain;
};

/* Ends with an entry without a name. */
extern const struct mode modes[];

int mode_forward(struct generator *generator);
int mode_attack(struct generator *generator);
int mode_keep(struct generator *generator);
int mode_bulk(struct generator *generator);
int mode_latency(struct generator *generator);
int mode_setup(struct generator *generator);
int mode_cps(struct generator *generator);
int mode_full(struct generator *generator);

/* --- What modes share, in traffic.c ---------------------------------------------------------- */

/* Waits for a device to connect.  Returns 0, or -ETIMEDOUT after saying so. */
int wait_for_device(struct side *side, uint64_t ticks_per_second);

/* Looks after both connections; to be called every few milliseconds.  Returns true while a device
 * is connected to each of them. */
bool sides_poll(struct generator *generator);

/* The same for modes that cannot go on without a device: returns 0, or -ENOTCONN after saying so if
 * the device is gone, -EPROTO if it has broken a ring. */
int sides_check(struct generator *generator);

/* Opens the first n_flows flows, each with a frame in each direction (a whole handshake for TCP),
 * and waits for the arrival of each burst, so that addresses are learned and connections made.
 * opened[side] counts the frames of that side which arrived.  Returns 0, or -ENOTCONN after saying
 * so if nothing arrived from one of them. */
int open_flows(struct generator *generator, uint32_t n_flows, uint64_t opened[N_SIDES]);

/* The same for this UDP flow only, which may be beyond those of the traffic. */
int open_flow(struct generator *generator, uint32_t flow);

/* Takes in what arrives at both sides for so long, so that nothing is on its way any more. */
void drain(struct generator *generator, unsigned int milliseconds);

/* Prints what all headings begin with, from "{" on, with a comma at the end. */
void print_heading(const struct generator *generator);

/* Nanoseconds that this thread was ready to run but did not: others had the core. */
uint64_t waited_ns(void);

#endif
