/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What conn.c (the index and the free list) and conn_file.c (the file) share.
 */
#ifndef DATAPATH_CONN_INTERNAL_H
#define DATAPATH_CONN_INTERNAL_H

#include "datapath/conn.h"

enum { CONN_CAPACITY_MIN = 1024, CONN_CAPACITY_MAX = 1 << 28 };

/* A stack of numbers under a spin lock. */
struct conn_stack {
	_Atomic uint8_t lock;
	_Atomic uint32_t n; /* Under the lock; a look without it is good for a guess. */
	uint32_t *at;
} __attribute__((aligned(CONN_CACHE_LINE)));

/* The part of a table that only the miss path, the sweep and opening need.  In the process's
 * memory, but for `live`. */
struct conn_store {
	/* Immutable after opening. */
	_Atomic uint8_t *live; /* In the file: a byte per connection, 1 while it exists. */
	uint32_t capacity, n_overflow;
	void *map;
	size_t map_bytes;
	int fd;

	struct conn_stack free;	     /* Connections below high_water that nobody has. */
	struct conn_stack overflow;  /* Unused overflow buckets. */
	_Atomic uint32_t high_water; /* Written under free.lock. */
	_Atomic uint32_t count __attribute__((aligned(CONN_CACHE_LINE)));
};

/* Waits a moment in a spin loop. */
static inline void conn_pause(void)
{
	_mm_pause();
}

static inline void conn_spin_lock(_Atomic uint8_t *lock)
{
	while (atomic_exchange_explicit(lock, 1, memory_order_acquire)) {
		while (atomic_load_explicit(lock, memory_order_relaxed))
			conn_pause();
	}
}

static inline void conn_spin_unlock(_Atomic uint8_t *lock)
{
	atomic_store_explicit(lock, 0, memory_order_release);
}

/* Zeroes `bytes`, a multiple of 32, at an address that is one, without a loop: for so little, what
 * the compiler makes of memset() takes longer to begin than to do. */
static inline __attribute__((always_inline)) void conn_zero(void *at, size_t bytes)
{
	__m128i *to = at;

	for (size_t i = 0; i < bytes / sizeof(*to); i += 2) {
		_mm_store_si128(to + i, _mm_setzero_si128());
		_mm_store_si128(to + i + 1, _mm_setzero_si128());
	}
}

/* Fetches all lines of a connection and its flows. */
static inline void conn_prefetch_all(const struct conn_table *table, uint32_t conn)
{
	__builtin_prefetch(&table->conns[conn], 1);
	__builtin_prefetch((const char *)&table->conns[conn + 1] - 1, 1);
	__builtin_prefetch(&table->flows[2 * (size_t)conn], 1);
	__builtin_prefetch(&table->flows[2 * (size_t)conn + 1], 1);
	__builtin_prefetch((const void *)&table->store->live[conn], 1);
}

/* The flow of `key` anywhere in the chain that begins with `bucket`, or CONN_FLOW_NONE. */
uint32_t conn_index_find(
	const struct conn_table *table, uint32_t bucket, const struct conn_key *key, uint32_t hash);

/* Enters `flow`, whose key and hash are set, into the chain of `bucket`.  The caller holds the
 * chain's lock, or is alone.  False if there is no overflow bucket left. */
bool conn_index_insert(struct conn_table *table, uint32_t bucket, uint32_t flow);

/* Marks all overflow buckets as unused, and no connection as free: all are above high water. */
void conn_stacks_reset(struct conn_table *table);

/* Takes over the live connections of a file that is mapped and whose header fits.  False, with the
 * reason in report->why and CONN_OPEN_REFUSED, if it is damaged in its structure. */
bool conn_adopt(struct conn_table *table, struct conn_open_report *report);

#endif
