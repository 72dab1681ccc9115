/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table: the switch's one exact-match table, in a file of shared memory.
 *
 * A *flow* is one direction of a connection from one input port; it has a cache line of its own and
 * names the action program for its packets.  A *connection* has two flows, 2i and 2i + 1 for
 * connection i, and what they share.  The index is an array of one-line buckets that hold twelve
 * flow numbers with an eight-bit tag of each hash.
 *
 *      index bucket                 flow 2i          flow 2i+1        connection i
 *      +--------------------+      +-----------+    +-----------+    +------------------+
 *      | 12 tags | 12 flows | ---> | key       |    | reverse   |    | counters, TCP of |
 *      | next    | lock     |      | program   |    | key, ...  |    | both sides, rule |
 *      +--------------------+      +-----------+    +-----------+    +------------------+
 *
 * Synchronisation
 * - Lookups take no lock.  A flow number stays valid for a reader until it has gone through a
 *   quiescent state after the entry was unlinked: conn_free() may only be called a grace period
 *   after conn_unlink().  The table does not know which RCU is used; its owner does.
 * - Inserting and unlinking take the one-bit locks of the buckets concerned, lower number first.
 *   Publishing holds those of both directions at once, so that of two workers that see the two
 *   directions' first packets at the same time exactly one makes the connection.
 * - An entry never changes its slot.  Its flow number is stored (release) before its tag, and read
 *   (acquire) after it; whoever reads a flow number therefore sees the flow's key, and a key stays
 *   as it is until conn_free().  A chain gives back only its last overflow bucket, and only when
 *   that is empty: a reader that stands on it meets strangers' keys at worst, and misses nothing.
 * - Who writes a field is stated beside it.  Fields without a word are immutable while published.
 *
 * Persistence
 * - All state is in the file, by index, without pointers.  A process that is killed at any moment
 *   leaves a file that conn_table_open() can adopt: a connection exists once its `live` byte is
 *   set, which is the last step of adding and the first step of unlinking.  Opening builds the
 *   index and the free list anew from the live connections and trusts neither: nothing that lies
 *   in the file is followed as a reference.
 * - Programs live in the process, so an adopted flow has none: its next packet takes the miss path,
 *   which finds the connection and its state.
 * - The header names the format's version, the sizes, the boot and the hash secret.  Anything that
 *   does not fit in every point is refused by name, and a new table begun.
 *
 * No DPDK, no Open vSwitch: plain C11 atomics.
 */
#ifndef DATAPATH_CONN_H
#define DATAPATH_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/conn_key.h"
#include "zones/tcp_state.h"

enum { CONN_CACHE_LINE = 64 };
#define CONN_FLOW_NONE UINT32_MAX

/* One direction.  One cache line. */
struct flow {
	struct conn_key key;
	/* Written on the miss path under conn_lock(), forwarding_revision first as 0 and last as it
	 * is; the sweep sets it to 0.  A flow whose revisions are not the present ones sends its
	 * next packet to the miss path. */
	_Atomic uint32_t program;
	_Atomic uint32_t forwarding_revision;
	_Atomic uint32_t policy_epoch;
	/* Seconds on conn_clock().  The same worker, on every packet. */
	_Atomic uint32_t last_seen;
	uint32_t hash;
} __attribute__((aligned(CONN_CACHE_LINE)));

/* Per direction, written by the worker that polls that direction's input port.  A direction that is
 * polled by two workers (a frame that changes queue) may lose a count, never more. */
struct conn_direction {
	_Atomic uint64_t packets, bytes;
	struct tcp_side tcp;
};

enum conn_verdict { CONN_ALLOWED = 1, CONN_DENIED };

enum conn_flags {
	CONN_CONFIRMED = 1 << 0, /* Answered: no longer half-open. */
	CONN_LOGGED = 1 << 1,	 /* A start record was written, so an end record is owed. */
	CONN_TCP = 1 << 2,	 /* dir[].tcp is in use. */
	CONN_CLOSE_NOW = 1 << 3, /* Flushed, reset or its port gone: the sweep ends it. */
	CONN_REVERSE = 1 << 4,	 /* flow[1] is in the index. */
	/* Announced by a control connection (related.c), whose server port is in icmp_type and
	 * icmp_code, high byte first... */
	CONN_RELATED = 1 << 5,
	CONN_SERVER_OPENS = 1 << 6, /* ...and whose server opened this one. */
};

/* In conn.quota_port, beside the number of a port.  Whoever takes one of these away by one atomic
 * operation takes as much off the counts: so each is taken off once, whoever else is about to. */
enum {
	/* It counts among what is opened to that port from outside; else, among what it opens. */
	CONN_QUOTA_INBOUND = 1 << 15,
	CONN_QUOTA_HALF_OPEN = 1 << 14, /* It counts as half-open, too. */
};

/* What the two directions share.  96 bytes. */
struct conn {
	struct conn_direction dir[2]; /* [0]: as the initiator sends. */
	/* Of the first packet.  Written when the connection begins, or begins anew: the worker. */
	_Atomic uint64_t start_ns; /* Wall clock. */
	/* The verdict, written together under conn_lock() by whoever evaluates. */
	_Atomic uint32_t rule;
	_Atomic uint32_t policy_revision;
	_Atomic uint16_t source_zone, destination_zone;
	_Atomic uint8_t verdict;     /* enum conn_verdict. */
	_Atomic uint8_t lock;	     /* conn_lock(). */
	_Atomic uint8_t flags;	     /* enum conn_flags; any thread, atomic or/and. */
	_Atomic uint8_t icmp_type;   /* Of the first packet, as is icmp_code; as start_ns. */
	_Atomic uint16_t out_port;   /* The responder's port; 0 if not known. */
	_Atomic uint16_t quota_port; /* Whose quota it counts in; see CONN_QUOTA_INBOUND. */
	_Atomic uint8_t icmp_code;
	/* What it counts in by its rule and zone: of the process, not of the file.  Written under
	 * conn_lock(); see connection_limits.c. */
	_Atomic uint8_t limits_half_open; /* 1: as a half-open connection too. */
	_Atomic uint16_t limits;	  /* The set of limits.h; 0: none. */
} __attribute__((aligned(32)));

_Static_assert(sizeof(struct flow) == CONN_CACHE_LINE, "a flow is one cache line");
_Static_assert(sizeof(struct conn) == 96, "keep a connection within its budget");

struct conn_table;

/* How opening went. */
enum conn_open_result {
	CONN_OPEN_NEW,	   /* No file was there; begun empty. */
	CONN_OPEN_ADOPTED, /* The former process's connections are all here. */
	CONN_OPEN_REFUSED, /* A file was there but not usable, see `why`; begun empty. */
	CONN_OPEN_FAILED,  /* No table; `why` says what is wrong. */
};

struct conn_open_report {
	enum conn_open_result result;
	uint32_t adopted; /* Connections found alive. */
	uint32_t dropped; /* Connections left out because their own fields were damaged. */
	bool huge_pages;  /* The file lies on hugetlbfs. */
	char why[256];
};

/* Opens the file at `path`, creating it if need be, for at most `capacity` connections (1024 to
 * 2^28).  `boot_id` is 16 bytes that change with every boot; a file of another boot is refused.  A
 * file of another capacity is refused too, by name.  The whole file is reserved at once, so that no
 * later access can fault for want of memory.  Takes an exclusive flock for the life of the table.
 * Returns NULL only with CONN_OPEN_FAILED. */
struct conn_table *conn_table_open(const char *path, uint32_t capacity, const uint8_t boot_id[16],
	struct conn_open_report *report);

/* Unmaps; the file stays, to be adopted.  Accepts NULL. */
void conn_table_close(struct conn_table *table);

/* Seconds since boot (CLOCK_BOOTTIME): the clock of flow.last_seen. */
uint32_t conn_clock(void);

/* --- The fast path: any worker, no lock ----------------------------------------------------- */

/* The keyed hash (keyed_hash.h); its secret is drawn when the file is made. */
static inline uint32_t conn_hash(const struct conn_table *table, const struct conn_key *key);

/* Fetches the bucket, then the flow's and the connection's lines, ahead of the lookup: call them a
 * burst apart.  conn_prefetch_flow() returns the first candidate, to be given to
 * conn_lookup_hinted(), or CONN_FLOW_NONE. */
static inline void conn_prefetch_bucket(const struct conn_table *table, uint32_t hash);
static inline uint32_t conn_prefetch_flow(const struct conn_table *table, uint32_t hash);

/* The flow with this key, or CONN_FLOW_NONE. */
static inline uint32_t conn_lookup(
	const struct conn_table *table, const struct conn_key *key, uint32_t hash);

/* The same, trying first the candidate that conn_prefetch_flow() gave for this hash since the
 * caller's last quiescent state. */
static inline uint32_t conn_lookup_hinted(
	const struct conn_table *table, const struct conn_key *key, uint32_t hash, uint32_t hint);

static inline struct flow *conn_flow(const struct conn_table *table, uint32_t flow);
static inline struct conn *conn_of_flow(const struct conn_table *table, uint32_t flow);

/* --- The miss path: any worker -------------------------------------------------------------- */

/* A worker's store of free connections, so that most allocations touch nothing shared. */
struct conn_cache {
	uint32_t n;
	uint32_t free[64];
};

/* Takes a free connection, all zero but for its keys.  `reverse` is NULL if the reverse direction's
 * input port is not known; else reverse_hash is its conn_hash().  It is not to be found until
 * conn_publish(): until then its fields are the caller's alone.  Returns the number of its flow 0,
 * or CONN_FLOW_NONE: the table is full. */
uint32_t conn_alloc(struct conn_table *table, struct conn_cache *cache, const struct conn_key *key,
	uint32_t hash, const struct conn_key *reverse, uint32_t reverse_hash);

/* True if conn_alloc() would find the table full, as of now.  Takes no lock. */
bool conn_is_full(const struct conn_table *table, const struct conn_cache *cache);

/* Enters a connection that conn_alloc() gave into the index.  If another thread has entered the
 * same key meanwhile, gives the new one back to the cache and returns the other's flow.  Returns
 * CONN_FLOW_NONE if the index has no room (it is then given back as well).  If only the reverse
 * key is taken, the connection is entered with its forward flow alone. */
uint32_t conn_publish(struct conn_table *table, struct conn_cache *cache, uint32_t flow);

/* Enters the reverse flow of a connection whose reverse input port has only now become known.
 * Returns false if it has one, if the key is taken, if the index has no room or if the connection
 * has been unlinked meanwhile. */
bool conn_add_reverse(struct conn_table *table, uint32_t flow, uint16_t in_port);

/* Guards the verdict's fields.  Held for a few instructions; never while holding another. */
void conn_lock(struct conn *conn);
void conn_unlock(struct conn *conn);

/* --- The sweep and the control plane: one thread -----------------------------------------------
 */

/* Calls `each` for every live connection with first <= number < limit, which may unlink it.  Their
 * lines are fetched ahead of the calls.  O(live) + high water / 16. */
void conn_for_each(struct conn_table *table, uint32_t first, uint32_t limit,
	void (*each)(struct conn_table *table, uint32_t conn, void *context), void *context);

/* Takes both flows out of the index.  Readers may still hold them: conn_free() after a grace
 * period.  Any thread may call it: true for exactly one caller, who then owes the conn_free(). */
bool conn_unlink(struct conn_table *table, uint32_t conn);

/* True while the connection has not been unlinked.  Any thread. */
bool conn_is_live(const struct conn_table *table, uint32_t conn);

/* Gives n unlinked connections back to the free list, a grace period after. */
void conn_free(struct conn_table *table, const uint32_t *conns, size_t n);

/* Gives a worker's store back, when the worker ends. */
void conn_cache_flush(struct conn_table *table, struct conn_cache *cache);

uint32_t conn_capacity(const struct conn_table *table);
uint32_t conn_high_water(const struct conn_table *table); /* One past the highest ever used. */
uint32_t conn_count(const struct conn_table *table);	  /* Live ones, as of now. */

/* Bytes of memory per connection of the capacity: flows, connection, index, free list, header and
 * rounding, all of it. */
double conn_bytes_per_connection(const struct conn_table *table);

#include "datapath/conn_inline.h"

#endif
