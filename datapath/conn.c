/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table: its index and its free list.  Workers call this on the miss path, the sweep
 * thread ends connections; conn.h has the rules.
 */
#include "datapath/conn_internal.h"

#include <time.h>

enum {
	CACHE_BATCH = 32,
	CACHE_AHEAD = 6, /* So many allocations ahead, a connection's lines are fetched. */
};
enum { LOCKED = 1 };

uint32_t conn_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec;
}

/* --- Chains of buckets ---------------------------------------------------------------------- */

static uint32_t bucket_next(const struct conn_bucket *bucket)
{
	return atomic_load_explicit(&bucket->next, memory_order_acquire) >> 1;
}

/* Sets where the chain goes on, keeping the lock bit. */
static void bucket_set_next(struct conn_bucket *bucket, uint32_t next)
{
	uint32_t lock = atomic_load_explicit(&bucket->next, memory_order_relaxed) & LOCKED;

	atomic_store_explicit(&bucket->next, next << 1 | lock, memory_order_release);
}

static void chain_lock(struct conn_table *table, uint32_t bucket)
{
	_Atomic uint32_t *word = &table->buckets[bucket].next;

	while (atomic_fetch_or_explicit(word, LOCKED, memory_order_acquire) & LOCKED) {
		while (atomic_load_explicit(word, memory_order_relaxed) & LOCKED)
			conn_pause();
	}
}

static void chain_unlock(struct conn_table *table, uint32_t bucket)
{
	_Atomic uint32_t *word = &table->buckets[bucket].next;

	/* Nobody else changes the word of a locked chain but by setting the bit that is set. */
	atomic_store_explicit(word,
		atomic_load_explicit(word, memory_order_relaxed) & ~(uint32_t)LOCKED,
		memory_order_release);
}

static void chain_lock_two(struct conn_table *table, uint32_t a, uint32_t b)
{
	chain_lock(table, a < b ? a : b);
	if (a != b)
		chain_lock(table, a < b ? b : a);
}

static void chain_unlock_two(struct conn_table *table, uint32_t a, uint32_t b)
{
	chain_unlock(table, a);
	if (a != b)
		chain_unlock(table, b);
}

uint32_t conn_index_find(
	const struct conn_table *table, uint32_t bucket, const struct conn_key *key, uint32_t hash)
{
	do {
		uint32_t flow = conn_bucket_lookup(table, &table->buckets[bucket], key, hash);

		if (flow != CONN_FLOW_NONE)
			return flow;
		bucket = bucket_next(&table->buckets[bucket]);
	} while (bucket);
	return CONN_FLOW_NONE;
}

uint32_t conn_lookup_chain(
	const struct conn_table *table, const struct conn_key *key, uint32_t hash, uint32_t next)
{
	return conn_index_find(table, next, key, hash);
}

/* Fills a free slot.  The number goes first, see "Synchronisation" in conn.h. */
static void bucket_fill(struct conn_bucket *bucket, unsigned int slot, uint32_t flow, uint8_t tag)
{
	atomic_store_explicit(&bucket->flows[slot], flow, memory_order_release);
	atomic_store_explicit(&bucket->tags[slot], tag, memory_order_release);
}

/* The stack's height may be looked at without its lock: it is written in one piece. */
static uint32_t stack_height(const struct conn_stack *stack)
{
	return atomic_load_explicit(&stack->n, memory_order_relaxed);
}

static void stack_set_height(struct conn_stack *stack, uint32_t n)
{
	atomic_store_explicit(&stack->n, n, memory_order_relaxed);
}

/* Takes an overflow bucket, empty.  0: there is none left. */
static uint32_t overflow_take(struct conn_table *table)
{
	struct conn_stack *stack = &table->store->overflow;
	uint32_t bucket = 0, height;

	conn_spin_lock(&stack->lock);
	height = stack_height(stack);
	if (height) {
		bucket = stack->at[height - 1];
		stack_set_height(stack, height - 1);
	}
	conn_spin_unlock(&stack->lock);
	return bucket;
}

static void overflow_give(struct conn_table *table, uint32_t bucket)
{
	struct conn_stack *stack = &table->store->overflow;
	uint32_t height;

	conn_spin_lock(&stack->lock);
	height = stack_height(stack);
	stack->at[height] = bucket;
	stack_set_height(stack, height + 1);
	conn_spin_unlock(&stack->lock);
}

bool conn_index_insert(struct conn_table *table, uint32_t bucket, uint32_t flow)
{
	uint8_t tag = conn_tag_of(conn_flow(table, flow)->hash);
	uint32_t last, free_slots, extra;

	do {
		last = bucket;
		free_slots = conn_bucket_match(&table->buckets[bucket], 0);
		if (free_slots) {
			bucket_fill(&table->buckets[bucket], __builtin_ctz(free_slots), flow, tag);
			return true;
		}
		bucket = bucket_next(&table->buckets[bucket]);
	} while (bucket);

	extra = overflow_take(table);
	if (!extra)
		return false;
	bucket_set_next(&table->buckets[extra], 0);
	bucket_fill(&table->buckets[extra], 0, flow, tag);
	bucket_set_next(&table->buckets[last], extra);
	return true;
}

/* Gives the empty overflow buckets at the end of a chain back. */
static void chain_trim(struct conn_table *table, uint32_t first)
{
	const uint32_t all_slots = (1u << CONN_BUCKET_SLOTS) - 1;

	for (;;) {
		uint32_t last = first, previous = first, next;

		while ((next = bucket_next(&table->buckets[last]))) {
			previous = last;
			last = next;
		}
		if (last == first || conn_bucket_match(&table->buckets[last], 0) != all_slots)
			return;
		bucket_set_next(&table->buckets[previous], 0);
		overflow_give(table, last);
	}
}

/* Takes `flow` out of its chain, if it is there. */
static void index_remove(struct conn_table *table, uint32_t flow)
{
	uint32_t hash = conn_flow(table, flow)->hash;
	uint32_t first = conn_bucket_of(table, hash), at = first;

	chain_lock(table, first);
	do {
		struct conn_bucket *bucket = &table->buckets[at];
		uint32_t mask = conn_bucket_match(bucket, conn_tag_of(hash));

		for (; mask; mask &= mask - 1) {
			unsigned int slot = __builtin_ctz(mask);

			if (atomic_load_explicit(&bucket->flows[slot], memory_order_relaxed) !=
				flow)
				continue;
			atomic_store_explicit(&bucket->tags[slot], 0, memory_order_release);
			if (bucket_next(&table->buckets[first]))
				chain_trim(table, first);
			chain_unlock(table, first);
			return;
		}
		at = bucket_next(bucket);
	} while (at);
	chain_unlock(table, first);
}

/* --- Free connections ----------------------------------------------------------------------- */

bool conn_is_full(const struct conn_table *table, const struct conn_cache *cache)
{
	const struct conn_store *store = table->store;

	return !cache->n && !stack_height(&store->free) &&
	       atomic_load_explicit(&store->high_water, memory_order_relaxed) == store->capacity;
}

/* Takes up to `n` from the free list, last in first out, so that memory in use stays dense and
 * warm; and where that is empty, numbers that were never used, to hand out the lowest first. */
static uint32_t free_take(struct conn_table *table, uint32_t *conns, uint32_t n)
{
	struct conn_store *store = table->store;
	struct conn_stack *stack = &store->free;
	uint32_t height, high;

	conn_spin_lock(&stack->lock);
	height = stack_height(stack);
	if (height) {
		n = height < n ? height : n;
		stack_set_height(stack, height - n);
		memcpy(conns, stack->at + height - n, n * sizeof(conns[0]));
	} else {
		high = atomic_load_explicit(&store->high_water, memory_order_relaxed);
		n = store->capacity - high < n ? store->capacity - high : n;
		for (uint32_t i = 0; i < n; i++)
			conns[i] = high + n - 1 - i;
		atomic_store_explicit(&store->high_water, high + n, memory_order_relaxed);
	}
	conn_spin_unlock(&stack->lock);
	return n;
}

/* Puts a batch under what is left, and begins to fetch the lines of what comes next. */
static void cache_refill(struct conn_table *table, struct conn_cache *cache)
{
	uint32_t batch[CACHE_BATCH], n, left = cache->n;

	if (conn_is_full(table, cache))
		return;
	n = free_take(table, batch, CACHE_BATCH);
	memmove(cache->free + n, cache->free, left * sizeof(cache->free[0]));
	memcpy(cache->free, batch, n * sizeof(batch[0]));
	cache->n += n;
	for (uint32_t i = 0; i < CACHE_AHEAD && left + i < CACHE_AHEAD && i < n; i++)
		conn_prefetch_all(table, cache->free[n - 1 - i]);
}

void conn_free(struct conn_table *table, const uint32_t *conns, size_t n)
{
	struct conn_stack *stack = &table->store->free;
	uint32_t height;

	conn_spin_lock(&stack->lock);
	height = stack_height(stack);
	memcpy(stack->at + height, conns, n * sizeof(conns[0]));
	stack_set_height(stack, height + (uint32_t)n);
	conn_spin_unlock(&stack->lock);
}

void conn_cache_flush(struct conn_table *table, struct conn_cache *cache)
{
	conn_free(table, cache->free, cache->n);
	cache->n = 0;
}

/* Gives back a connection that no reader can have seen. */
static void cache_give(struct conn_table *table, struct conn_cache *cache, uint32_t conn)
{
	if (cache->n == sizeof(cache->free) / sizeof(cache->free[0])) {
		cache->n -= CACHE_BATCH;
		conn_free(table, cache->free + cache->n, CACHE_BATCH);
	}
	cache->free[cache->n++] = conn;
}

uint32_t conn_alloc(struct conn_table *table, struct conn_cache *cache, const struct conn_key *key,
	uint32_t hash, const struct conn_key *reverse, uint32_t reverse_hash)
{
	struct flow *flow;
	uint32_t conn;

	if (cache->n <= CACHE_AHEAD)
		cache_refill(table, cache);
	if (!cache->n)
		return CONN_FLOW_NONE;
	conn = cache->free[--cache->n];
	if (cache->n >= CACHE_AHEAD)
		conn_prefetch_all(table, cache->free[cache->n - CACHE_AHEAD]);

	flow = conn_flow(table, 2 * conn);
	conn_zero(&table->conns[conn], sizeof(table->conns[conn]));
	conn_zero(flow, 2 * sizeof(*flow));
	flow[0].key = *key;
	flow[0].hash = hash;
	if (reverse) {
		flow[1].key = *reverse;
		flow[1].hash = reverse_hash;
	}
	return 2 * conn;
}

void conn_stacks_reset(struct conn_table *table)
{
	struct conn_store *store = table->store;

	stack_set_height(&store->free, 0);
	stack_set_height(&store->overflow, store->n_overflow);
	for (uint32_t i = 0; i < store->n_overflow; i++)
		store->overflow.at[i] = table->n_buckets + store->n_overflow - 1 - i;
}

/* --- Publishing and unlinking --------------------------------------------------------------- */

void conn_lock(struct conn *conn)
{
	conn_spin_lock(&conn->lock);
}

void conn_unlock(struct conn *conn)
{
	conn_spin_unlock(&conn->lock);
}

/* Enters flow[1] of a connection, if its key is not taken.  The chain is locked. */
static bool insert_reverse(struct conn_table *table, uint32_t bucket, uint32_t flow)
{
	const struct flow *reverse = conn_flow(table, flow + 1);

	return conn_index_find(table, bucket, &reverse->key, reverse->hash) == CONN_FLOW_NONE &&
	       conn_index_insert(table, bucket, flow + 1);
}

/* Enters both directions, the chains of both being locked.  Returns the flow that has the key. */
static uint32_t insert_both(struct conn_table *table, uint32_t flow, uint32_t a, uint32_t b)
{
	const struct flow *forward = conn_flow(table, flow);
	struct conn *conn = conn_of_flow(table, flow);
	struct conn_store *store = table->store;
	uint32_t other = conn_index_find(table, a, &forward->key, forward->hash);
	uint8_t flags = atomic_load_explicit(&conn->flags, memory_order_relaxed);

	if (other != CONN_FLOW_NONE)
		return other;
	/* The flag goes ahead, while nobody else can change the others. */
	if (forward[1].key.kind)
		atomic_store_explicit(&conn->flags, flags | CONN_REVERSE, memory_order_relaxed);
	if (!conn_index_insert(table, a, flow))
		return CONN_FLOW_NONE;
	if (forward[1].key.kind && !insert_reverse(table, b, flow))
		atomic_fetch_and_explicit(&conn->flags, ~CONN_REVERSE, memory_order_relaxed);
	atomic_store_explicit(&store->live[flow / 2], 1, memory_order_release);
	atomic_fetch_add_explicit(&store->count, 1, memory_order_relaxed);
	return flow;
}

uint32_t conn_publish(struct conn_table *table, struct conn_cache *cache, uint32_t flow)
{
	const struct flow *forward = conn_flow(table, flow);
	uint32_t a = conn_bucket_of(table, forward->hash), b = a, entered;

	if (forward[1].key.kind)
		b = conn_bucket_of(table, forward[1].hash);
	chain_lock_two(table, a, b);
	entered = insert_both(table, flow, a, b);
	chain_unlock_two(table, a, b);
	if (entered != flow)
		cache_give(table, cache, flow / 2);
	return entered;
}

/* The connection's lock keeps a second call, and conn_unlink(), away until the flag says whether
 * flow[1] is in the index.  Lock order: connection, then chain. */
bool conn_add_reverse(struct conn_table *table, uint32_t flow, uint16_t in_port)
{
	uint32_t number = flow / 2, bucket;
	struct flow *pair = conn_flow(table, 2 * number);
	struct conn *conn = &table->conns[number];
	bool added = false;

	conn_lock(conn);
	/* Acquire: publishing reads flow[1] until the connection is live. */
	if (atomic_load_explicit(&table->store->live[number], memory_order_acquire) &&
		!(atomic_load_explicit(&conn->flags, memory_order_relaxed) & CONN_REVERSE)) {
		pair[1].key = conn_key_reverse(&pair[0].key, in_port);
		pair[1].hash = conn_hash(table, &pair[1].key);
		bucket = conn_bucket_of(table, pair[1].hash);
		chain_lock(table, bucket);
		added = insert_reverse(table, bucket, 2 * number);
		chain_unlock(table, bucket);
		/* Release: whoever sees the flag may read the key. */
		if (added)
			atomic_fetch_or_explicit(&conn->flags, CONN_REVERSE, memory_order_release);
	}
	conn_unlock(conn);
	return added;
}

bool conn_is_live(const struct conn_table *table, uint32_t conn)
{
	return atomic_load_explicit(&table->store->live[conn], memory_order_acquire);
}

bool conn_unlink(struct conn_table *table, uint32_t conn)
{
	struct conn_store *store = table->store;
	bool mine, reverse;

	conn_lock(&table->conns[conn]);
	mine = atomic_exchange_explicit(&store->live[conn], 0, memory_order_acq_rel);
	reverse = atomic_load_explicit(&table->conns[conn].flags, memory_order_relaxed) &
		  CONN_REVERSE;
	conn_unlock(&table->conns[conn]);
	if (!mine)
		return false;

	index_remove(table, 2 * conn);
	if (reverse)
		index_remove(table, 2 * conn + 1);
	atomic_fetch_sub_explicit(&store->count, 1, memory_order_relaxed);
	return true;
}

/* --- Going through all ---------------------------------------------------------------------- */

/* Which of the 16 connections from `first`, a multiple of 16, are live, as a bit mask. */
static uint32_t live_mask(const _Atomic uint8_t *live, uint32_t first)
{
#ifdef CONN_NO_VECTORS
	uint32_t mask = 0;

	for (uint32_t i = 0; i < 16; i++)
		mask |= (uint32_t)atomic_load_explicit(&live[first + i], memory_order_acquire) << i;
	return mask;
#else
	__m128i bytes = _mm_load_si128((const __m128i *)(const void *)(live + first));
	uint32_t dead = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));

	atomic_thread_fence(memory_order_acquire);
	return ~dead & 0xffff;
#endif
}

void conn_for_each(struct conn_table *table, uint32_t first, uint32_t limit,
	void (*each)(struct conn_table *table, uint32_t conn, void *context), void *context)
{
	struct conn_store *store = table->store;
	uint32_t high = atomic_load_explicit(&store->high_water, memory_order_relaxed);

	if (limit > high)
		limit = high;
	for (uint32_t group = first & ~15u; group < limit; group += 16) {
		uint32_t mask = live_mask(store->live, group);

		if (group < first)
			mask &= ~0u << (first - group);
		if (limit - group < 16)
			mask &= (1u << (limit - group)) - 1;
		for (uint32_t rest = mask; rest; rest &= rest - 1)
			conn_prefetch_all(table, group + __builtin_ctz(rest));
		for (uint32_t rest = mask; rest; rest &= rest - 1) {
			uint32_t conn = group + __builtin_ctz(rest);

			/* A call before this one may have unlinked it. */
			if (atomic_load_explicit(&store->live[conn], memory_order_acquire))
				each(table, conn, context);
		}
	}
}

uint32_t conn_capacity(const struct conn_table *table)
{
	return table->store->capacity;
}

uint32_t conn_high_water(const struct conn_table *table)
{
	return atomic_load_explicit(&table->store->high_water, memory_order_relaxed);
}

uint32_t conn_count(const struct conn_table *table)
{
	return atomic_load_explicit(&table->store->count, memory_order_relaxed);
}
