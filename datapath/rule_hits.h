/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule hits: the packets, bytes and connections that each rule of the policy, and each default pair
 * of zones, has decided; and when it was hit first and last.
 *
 * A rule is known by its name, POLICY/RULE, and a default pair by the names of its zones, since
 * numbers change with each revision.  Each has a *slot* for as long as it is known.  A *revision
 * map* says which slot each rule number of a revision has; it is kept while connections name the
 * revision.
 *
 * The packets of a live connection are in its entry of the connection table, and nowhere else: the
 * fast path counts nothing for its rule.  A slot has
 *
 *      settled    what is known for good: of connections that ended, of packets without one.  When
 *                 a connection goes over from rule A to rule B, what it had so far is added to A
 *                 and taken off B, so that nothing need be remembered of it.
 *      counted    what the sweep has found in live connections so far in this pass.
 *      total      settled + counted at the end of the last pass: this is what is read.
 *
 * Whoever changes `settled` for a connection that the sweep has been at in this pass notes the
 * opposite for `counted`, so that a total never has a connection twice or not at all (but for one
 * that changes hands at the very moment of the visit, until the next pass).
 *
 *      sum of all slots' connections = connections begun + packets denied without one
 *
 * Files.  The ledger, RUNDIR/rule-hits, is memory that outlives the process: together with the
 * connection table, which does too, it loses nothing when the process is killed.  The snapshot,
 * STATEDIR/rule-hits, is text, written anew now and then and at the end; it is read when there is
 * no ledger of this boot.  Neither is trusted: one that makes no sense is refused by name.
 *
 * Threads: as each function says.  No DPDK, no Open vSwitch; what is called RCU here is the
 * caller's: a revision that was dropped is freed by the next rule_hits_add_revision() after its
 * `*dead` flag was set, which the caller does a grace period later.
 */
#ifndef DATAPATH_RULE_HITS_H
#define DATAPATH_RULE_HITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "datapath/conn.h"
#include "zones/zone.h"

struct rule_hits;

/* --- Opening -------------------------------------------------------------------------------- */

struct rule_hits_place {
	const char *run_directory, *state_directory; /* NULL, both: in memory alone, for benches. */
	uint8_t boot_id[16];			     /* The ledger of another boot is not used. */
};

enum rule_hits_begun {
	RULE_HITS_NEW,	     /* Nothing was there, or nothing of use. */
	RULE_HITS_CONTINUED, /* The ledger of the last process goes on. */
	RULE_HITS_RESTORED,  /* From the snapshot. */
};

struct rule_hits_report {
	enum rule_hits_begun begun;
	uint32_t n_rules; /* Rules and pairs known from before. */
	char why[512];	  /* Which file was refused and why, or why there is no ledger; else "". */
};

/* Opens the ledger, or begins one with what the snapshot says.  Without a place for the file it is
 * kept in the process's memory alone, and report->why says so.  NULL: no memory.  Main thread. */
struct rule_hits *rule_hits_open(
	const struct rule_hits_place *place, struct rule_hits_report *report);

/* The ledger's file stays.  Accepts NULL. */
void rule_hits_close(struct rule_hits *hits);

/* Tells which connection table the hits go with.  If it is the one that they went with before, its
 * connections go on being counted; else what they have so far is taken as counted already.  Before
 * any worker or the sweep runs. */
void rule_hits_attach(
	struct rule_hits *hits, struct conn_table *table, const struct rule_hits_report *report);

/* --- Revisions: the main thread ------------------------------------------------------------- */

enum { RULE_HITS_REVISIONS = 66 };

/* Gives each rule of the policy, and each zone, its slot.  Call it before the policy is in force.
 * Nothing happens if the revision is known.  `now_ns` is the wall clock. */
void rule_hits_add_revision(
	struct rule_hits *hits, const struct zone_policy *policy, uint64_t now_ns);

/* True while connections may name the revision, as far as the last two passes have seen. */
bool rule_hits_in_use(const struct rule_hits *hits, uint32_t revision);

/* Takes the revision's map away from all who look for it from now on.  Returns the flag to be set
 * when nobody can hold it any more, or NULL if there is no such map. */
_Atomic bool *rule_hits_drop_revision(struct rule_hits *hits, uint32_t revision);

/* --- Slots: any thread, under RCU ----------------------------------------------------------- */

enum {
	RULE_HITS_QUARANTINE,  /* Denied by no rule: an end is in quarantine. */
	RULE_HITS_UNJUDGED,    /* Allowed by no rule: neither end is a vNIC. */
	RULE_HITS_OTHER,       /* Of rules that are no longer known, or have no room. */
	RULE_HITS_OTHER_PAIRS, /* Of default pairs that have no room. */
	RULE_HITS_FIRST_PAIR = 16,
	RULE_HITS_PAIRS = 16384,
	RULE_HITS_FIRST_RULE = RULE_HITS_FIRST_PAIR + RULE_HITS_PAIRS,
	RULE_HITS_RULES_MAX = 1 << 21,
};

/* Who decided: a rule number of a revision.  `allowed` tells the two verdicts without a rule. */
struct rule_hits_by {
	uint32_t rule, revision;
	bool allowed;
};

uint32_t rule_hits_slot(struct rule_hits *hits, struct rule_hits_by by);

/* "POLICY/RULE" of a rule number, as far as the map of its revision is known; else false. */
bool rule_hits_name(struct rule_hits *hits, uint32_t revision, uint32_t rule, char name[160]);

/* The name of a zone of a revision, likewise; else "". */
const char *rule_hits_zone_name(const struct rule_hits *hits, uint32_t revision, uint16_t zone);

/* --- Counting ------------------------------------------------------------------------------- */

/* One moment on both clocks. */
struct rule_hits_time {
	uint64_t wall_ns;
	uint32_t seconds; /* conn_clock(). */
};

/* A packet that is in no connection's counters, and the frames that it came in: a denial that is
 * not cached, with `connections` 1; or one to a group, with 0.  Workers. */
void rule_hits_packet(struct rule_hits *hits, struct rule_hits_by by, uint32_t frames,
	uint64_t bytes, unsigned int connections, struct rule_hits_time now);

/* A connection that the rule allowed, and that was refused for want of room or by a limit.
 * Workers. */
void rule_hits_refused(struct rule_hits *hits, struct rule_hits_by by, struct rule_hits_time now);

/* Connection `number` goes over from the rule that it names, still, to another.  Under its
 * conn_lock().  Workers and the sweep. */
void rule_hits_move(struct rule_hits *hits, const struct conn_table *table, uint32_t number,
	struct rule_hits_by to, struct rule_hits_time now);

/* What a connection had when it was settled. */
struct rule_hits_settled {
	uint32_t number;
	uint64_t start_ns, packets, bytes;
};

/* The connection ends, or its counters are about to be set back: what it has goes to its rule.
 * Workers (who begin a connection anew in its place) and the sweep. */
struct rule_hits_settled rule_hits_end(struct rule_hits *hits, const struct conn_table *table,
	uint32_t number, struct rule_hits_time now);

/* What came in between the unlinking of a connection that rule_hits_end() has settled and the end
 * of the grace period.  The sweep. */
void rule_hits_late(struct rule_hits *hits, const struct conn_table *table,
	const struct rule_hits_settled *settled, struct rule_hits_time now);

/* --- Passes: the sweep ---------------------------------------------------------------------- */

/* A live connection.  A pass visits all, from number 0 on. */
void rule_hits_visit(struct rule_hits *hits, const struct conn_table *table, uint32_t number,
	struct rule_hits_time now);

/* Whenever the sweep is about to be quiescent: all connections below `next` have been visited. */
void rule_hits_pause(struct rule_hits *hits, uint32_t next);

/* All connections have been visited: the totals are made. */
void rule_hits_end_pass(struct rule_hits *hits);

/* --- Reading: the main thread --------------------------------------------------------------- */

struct rule_hits_total {
	const char *name;	  /* "POLICY/RULE"; "from->to" of a pair; "" of the others. */
	bool is_pair, is_in_last; /* A pair; a rule of the revision added last. */
	uint64_t packets, bytes, connections;
	uint64_t taken_over; /* Live connections that came to it from another rule. */
	uint64_t refused;    /* Allowed, and refused for want of room or by a limit. */
	/* Wall clock, to the second or so; 0: never hit. */
	uint64_t first_ns, last_ns;
	uint64_t since_ns; /* Since when it is counted. */
};

/* As of the last pass.  `name` holds a pair's name. */
struct rule_hits_total rule_hits_read(const struct rule_hits *hits, uint32_t slot, char name[160]);

/* Calls `each` for every slot in use. */
void rule_hits_each(
	const struct rule_hits *hits, void (*each)(uint32_t slot, void *context), void *context);

/* The number of passes that have ended.  Any thread. */
uint32_t rule_hits_passes(const struct rule_hits *hits);

/* Bytes of memory in use. */
size_t rule_hits_memory_bytes(const struct rule_hits *hits);

/* --- The snapshot: any one thread at a time ------------------------------------------------- */

/* Writes the totals to STATEDIR/rule-hits, whole or not at all.  Returns 0 or a negative errno.
 * Waits for the disk. */
int rule_hits_save(struct rule_hits *hits);

#endif
