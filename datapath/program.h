/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Action programs: what is done with the packets of a flow, interned so that all flows that are
 * treated alike share one cache line.
 *
 * The miss path builds a program on its stack and program_intern() finds or enters it; flows name
 * it by number.  A program also states the L2 header that it was made for: on a hit the packet's
 * MACs are compared with it, and any other sends the packet back to the miss path.
 *
 * Life cycle: interned programs are immutable.  The sweep marks those that live flows name with
 * program_mark(), and program_sweep() takes those that were neither marked nor interned since the
 * sweep before out of the index; their slots are reused two sweeps later, which the caller
 * guarantees to be at least a grace period, unless a flow turns out to name them still.
 *
 * Synchronisation: program_get() takes no lock.  program_intern() takes a lock only to enter a new
 * program.  No DPDK.
 */
#ifndef DATAPATH_PROGRAM_H
#define DATAPATH_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum action_type {
	ACTION_OUTPUT = 1, /* port: send a copy of the frame as it is now. */
	ACTION_PUSH_VLAN,  /* tci: insert an 802.1Q tag. */
	ACTION_POP_VLAN,   /* Remove the outer tag. */
	ACTION_DROP,	   /* reason: count and stop. */
};

struct action {
	uint8_t type; /* enum action_type. */
	uint8_t reason;
	uint16_t argument; /* Port number, or tag control information. */
};

/* A program with few actions fits its one cache line, which all but floods do; floods are executed
 * from the miss path's stack and never interned. */
enum { PROGRAM_ACTIONS_MAX = 11 };
enum { PROGRAM_NONE = 0 };

struct program {
	union {
		uint8_t macs[12]; /* As a frame begins. */
		struct {
			uint8_t destination_mac[6], source_mac[6];
		};
	};
	uint8_t n_actions;
	/* For the common case, no loop: if output_only, the frame goes to `output` unchanged. */
	uint8_t output_only;
	uint16_t output;
	uint32_t hash; /* The table's own. */
	struct action actions[PROGRAM_ACTIONS_MAX];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct program) == 64, "a program is one cache line");

/* What program_get() needs to see; the rest is program.c's. */
struct program_table {
	const struct program *programs; /* Number n is at [n]; [0] is empty. */
	struct program_store *store;
};

/* A table of at most `capacity` programs.  NULL with errno set if there is no memory. */
struct program_table *program_table_create(uint32_t capacity);
void program_table_destroy(struct program_table *table); /* Accepts NULL. */

/* The number of the program equal to *program, entering it if it is new.  PROGRAM_NONE if the table
 * is full: the caller then executes its own copy and caches nothing.  Any worker.
 * output_only, output and hash are filled in here. */
uint32_t program_intern(struct program_table *table, const struct program *program);

/* Program `number`, which a live flow names.  Any worker. */
static inline const struct program *program_get(const struct program_table *table, uint32_t number)
{
	return &table->programs[number];
}

/* True if a frame that begins with these twelve bytes has the MACs that the program was made for:
 * compared in two loads. */
static inline bool program_is_for(const struct program *program, const uint8_t *data)
{
	uint64_t a, b;
	uint32_t c, d;

	memcpy(&a, data, sizeof(a));
	memcpy(&b, program->macs, sizeof(b));
	memcpy(&c, data + 8, sizeof(c));
	memcpy(&d, program->macs + 8, sizeof(d));
	return ((a ^ b) | (c ^ d)) == 0;
}

/* The sweep's thread only. */
void program_mark(struct program_table *table, uint32_t number);
void program_sweep(struct program_table *table);
size_t program_count(const struct program_table *table);

#endif
