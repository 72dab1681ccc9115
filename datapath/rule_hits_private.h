/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the rule hits share: rule_hits.c (slots and revisions), rule_hits_count.c
 * (counting) and rule_hits_file.c (the ledger and the snapshot).
 */
#ifndef DATAPATH_RULE_HITS_PRIVATE_H
#define DATAPATH_RULE_HITS_PRIVATE_H

#include <pthread.h>

#include "datapath/rule_hits.h"
#include "zones/name_table.h"

enum {
	RULE_HITS_SLOTS = RULE_HITS_FIRST_RULE + RULE_HITS_RULES_MAX,
	RULE_HITS_ZONES = 16384, /* Names of zones that have ever been in a revision. */
	RULE_HITS_NO_ZONE = RULE_HITS_ZONES,
	RULE_HITS_NAME_MAX = 128, /* "POLICY/RULE" with its NUL. */
	RULE_HITS_ZONE_MAX = 64,
	RULE_HITS_HEADER = 4096,
};

_Static_assert(RULE_HITS_FIRST_PAIR > RULE_HITS_OTHER_PAIRS, "the built-in slots come first");

/* Signed: `settled` of a rule that has taken connections over may be below 0. */
struct rule_hits_counts {
	_Atomic int64_t packets, bytes, connections;
};

/* A slot.  The first line is written by whoever counts, the second by the sweep and main only. */
struct rule_hits_entry {
	struct rule_hits_counts settled;
	_Atomic uint64_t taken_over, refused;
	_Atomic uint64_t first_ns, last_ns; /* Wall clock; 0: never. */
	_Atomic uint32_t last_seen;	    /* Of last_ns, on conn_clock(). */
	_Atomic uint32_t key;		    /* 0: free.  Of a pair: its zones; else 1. */
	struct rule_hits_counts counted, total;
	_Atomic uint64_t since_ns;
	_Atomic uint32_t number; /* Of the rule in the revision added last; 0: gone. */
	uint32_t spare;
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct rule_hits_entry) == 128, "a slot is two cache lines");

struct rule_hits_zone {
	char name[RULE_HITS_ZONE_MAX];
	_Atomic uint32_t number; /* In the revision added last; 0: gone. */
};

/* The ledger's file: this page, then zones, slots, and names of rules. */
struct rule_hits_header {
	char magic[16];
	uint32_t entry_bytes, n_slots, n_zones_max;
	uint8_t boot_id[16];
	uint32_t checksum; /* Of all before. */
	/* What follows changes. */
	uint32_t table;		   /* Which connection table it goes with; 0: none. */
	_Atomic uint32_t end;	   /* One past the highest slot in use. */
	_Atomic uint32_t n_zones;  /* In use. */
	_Atomic uint32_t revision; /* Added last. */
	_Atomic uint32_t n_rules;  /* Of it. */
};

struct rule_hits_map {
	uint32_t revision, n_rules;
	uint16_t n_zones;
	bool was_recalled;     /* From the ledger, not from the policy itself.  Main thread. */
	_Atomic bool dead;     /* Nobody can hold it any more. */
	_Atomic uint32_t seen; /* The pass that last found a connection of it. */
	uint16_t *zones;       /* By zone number. */
	uint32_t slots[];      /* By rule number. */
};

/* What the sweep found last. */
struct rule_hits_recent {
	struct rule_hits_map *map;
	struct rule_hits_by by;
	bool is_known; /* `slot` is of `by`. */
	uint32_t slot;
};

struct rule_hits {
	/* Immutable after opening. */
	struct rule_hits_header *header;
	struct rule_hits_zone *zones;
	struct rule_hits_entry *entries;
	char (*names)[RULE_HITS_NAME_MAX]; /* By slot. */
	char *ledger_path, *snapshot_path;
	int fd; /* -1: memory without a file. */

	_Atomic(struct rule_hits_map *) maps[RULE_HITS_REVISIONS];
	/* One bit a slot: its total is to be made anew. */
	_Atomic uint64_t *touched;
	/* By slot: what changed hands behind the sweep's back, in this pass. */
	struct rule_hits_counts *moved;

	/* The sweep's. */
	_Atomic uint32_t position; /* Connections below were visited in this pass. */
	_Atomic uint32_t passes;
	uint64_t *live; /* One bit a slot: its total has live connections in it. */
	struct rule_hits_recent recent;

	/* The main thread's, `mutex` held where names change. */
	pthread_mutex_t mutex; /* Keeps names and slots as they are while they are saved. */
	struct name_table by_name, zone_by_name;
	uint32_t allocated; /* Slots that have memory. */
	uint32_t *free_slots, n_free, free_allocated;
	struct rule_hits_map *dropped[RULE_HITS_REVISIONS];
};

/* --- rule_hits.c ---------------------------------------------------------------------------- */

/* The slot of the rule with this name, made if need be; RULE_HITS_OTHER if there is no room. */
uint32_t rule_hits_rule_slot(struct rule_hits *hits, const char *name, uint64_t now_ns);

/* The number of a zone's name; RULE_HITS_NO_ZONE if there is no room. */
uint32_t rule_hits_zone_number(struct rule_hits *hits, const char *name);

/* The slot of a default pair, made if need be. */
uint32_t rule_hits_pair_slot(struct rule_hits *hits, uint32_t from, uint32_t to);

/* Makes the map of the revision added last from the slots' and zones' numbers. */
void rule_hits_recall_map(struct rule_hits *hits);

/* The map of a revision, or NULL. */
struct rule_hits_map *rule_hits_find_map(const struct rule_hits *hits, uint32_t revision);

/* Notes that the slot's total is to be made anew. */
void rule_hits_touch(struct rule_hits *hits, uint32_t slot);

static inline uint32_t rule_hits_pair_key(uint32_t from, uint32_t to)
{
	return (from << 16 | to) + 1;
}

void rule_hits_free_map(struct rule_hits_map *map); /* Accepts NULL. */

/* --- rule_hits_count.c ---------------------------------------------------------------------- */

/* What a connection has is taken off its rule, which has it already.  For conn_for_each(). */
void rule_hits_take_off(struct conn_table *table, uint32_t number, void *hits);

/* --- rule_hits_file.c ----------------------------------------------------------------------- */

/* Gives slots up to `end` memory.  False: there is none. */
bool rule_hits_grow(struct rule_hits *hits, uint32_t end);

/* Adds a sentence to what is said of the opening. */
void rule_hits_say(struct rule_hits_report *report, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* True for what the policy language takes as "POLICY/RULE", and as a zone. */
bool rule_hits_is_rule_name(const char *name);
bool rule_hits_is_zone_name(const char *name);

/* --- rule_hits_save.c ----------------------------------------------------------------------- */

/* Reads the snapshot into slots.  0, -ENOENT, or another negative errno after the reason was said.
 */
int rule_hits_read_snapshot(struct rule_hits *hits, struct rule_hits_report *report);

#endif
