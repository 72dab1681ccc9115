/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames of a hostile guest, side C: each is different from all before it, in what a switch has
 * to remember.
 */
#ifndef GENERATOR_ATTACK_FRAME_H
#define GENERATOR_ATTACK_FRAME_H

#include <stdint.h>

enum { ATTACK_FRAME_BYTES = 64 };

enum attack_kind {
	ATTACK_NONE,   /* Silence. */
	ATTACK_RANDOM, /* From C's address, to random ones behind B's MAC; random protocols, ports.
			*/
	ATTACK_SYN,    /* TCP SYNs from C's address to B's, with random ports. */
	ATTACK_MAC,    /* One UDP flow to B, with a new source MAC in each frame. */
	ATTACK_N_KINDS,
};

struct attack {
	enum attack_kind kind;
	uint8_t from_mac[6], to_mac[6];
	uint8_t from_ip4[4], to_ip4[4];
	uint64_t random; /* The state of the sequence: not zero. */
};

/* Returns the kind of this name, or ATTACK_N_KINDS if there is none. */
enum attack_kind attack_kind_find(const char *name);

/* Writes the next frame, of ATTACK_FRAME_BYTES, with all checksums. */
void attack_frame_write(struct attack *attack, uint8_t *data);

#endif
