/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection table's fast path, inline because a worker runs it for every packet.  Included by
 * conn.h, which says what the functions mean; nobody else includes it.
 */
#ifndef DATAPATH_CONN_INLINE_H
#define DATAPATH_CONN_INLINE_H

#include <emmintrin.h>

#include "datapath/keyed_hash.h"

/* The thread sanitizer does not know that a vector of bytes is loaded byte by byte, as atomics. */
#ifdef __SANITIZE_THREAD__
#define CONN_NO_VECTORS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CONN_NO_VECTORS 1
#endif
#endif

enum { CONN_BUCKET_SLOTS = 12, CONN_KEY_WORDS = 11 };

/* One line of the index.  A tag of 0 is a free slot; its flow number is then without meaning.  All
 * but the lock bit: written under the lock of the chain's first bucket. */
struct conn_bucket {
	_Atomic uint8_t tags[CONN_BUCKET_SLOTS];
	_Atomic uint32_t flows[CONN_BUCKET_SLOTS];
	/* Bit 0 is the lock.  The rest is the number of the chain's next bucket, or 0. */
	_Atomic uint32_t next;
} __attribute__((aligned(CONN_CACHE_LINE)));

_Static_assert(sizeof(struct conn_bucket) == CONN_CACHE_LINE, "a bucket is one cache line");

/* Immutable after opening; what it points to is the file. */
struct conn_table {
	struct conn_bucket *buckets; /* The overflow buckets follow the n_buckets first ones. */
	struct flow *flows;
	struct conn *conns;
	uint32_t n_buckets;
	uint64_t secrets[1 + CONN_KEY_WORDS];
	uint64_t ipv4_base; /* The hash of the words that all IPv4 keys share. */
	struct conn_store *store;
};

/* The rest of a lookup, behind the first bucket of a chain. */
uint32_t conn_lookup_chain(
	const struct conn_table *table, const struct conn_key *key, uint32_t hash, uint32_t next);

/* The words of an IPv4-mapped address that do not vary go into ipv4_base: the result is the same
 * function of the key, in five multiplications in place of eleven. */
static inline uint32_t conn_hash(const struct conn_table *table, const struct conn_key *key)
{
	const uint64_t *secret = table->secrets + 1;
	uint32_t words[CONN_KEY_WORDS];
	uint64_t sum;

	memcpy(words, key, 9 * sizeof(words[0]));
	/* Put together in registers: the parser has just stored these fields one by one, and a
	 * wider load would have to wait until the stores have left for the cache. */
	words[9] = key->source_port | (uint32_t)key->destination_port << 16;
	words[10] = key->in_port | (uint32_t)key->protocol << 16 | (uint32_t)key->kind << 24;
	if (__builtin_expect(key->kind == CONN_KEY_IPV4, 1)) {
		sum = table->ipv4_base;
	} else {
		sum = table->secrets[0] + secret[0] * words[0] + secret[1] * words[1] +
		      secret[2] * words[2] + secret[4] * words[4] + secret[5] * words[5] +
		      secret[6] * words[6];
	}
	sum += secret[3] * words[3] + secret[7] * words[7] + secret[8] * words[8] +
	       secret[9] * words[9] + secret[10] * words[10];
	return keyed_hash_finish(sum);
}

/* The bucket takes the hash's high bits (fastrange), the tag its low ones. */
static inline uint32_t conn_bucket_of(const struct conn_table *table, uint32_t hash)
{
	return ((uint64_t)hash * table->n_buckets) >> 32;
}

static inline uint8_t conn_tag_of(uint32_t hash)
{
	uint8_t tag = hash;

	return tag + !tag;
}

/* The slots of a bucket with this tag, as a bit mask.  Reads before all that the caller then reads
 * of the slots. */
static inline uint32_t conn_bucket_match(const struct conn_bucket *bucket, uint8_t tag)
{
#ifdef CONN_NO_VECTORS
	uint32_t mask = 0;

	for (unsigned int slot = 0; slot < CONN_BUCKET_SLOTS; slot++) {
		if (atomic_load_explicit(&bucket->tags[slot], memory_order_acquire) == tag)
			mask |= 1u << slot;
	}
	return mask;
#else
	__m128i tags = _mm_load_si128((const __m128i *)(const void *)bucket);
	uint32_t mask = _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag)));

	atomic_thread_fence(memory_order_acquire);
	return mask & ((1u << CONN_BUCKET_SLOTS) - 1);
#endif
}

static inline bool conn_key_equal(const struct conn_key *a, const struct conn_key *b)
{
	const char *x = (const char *)a, *y = (const char *)b;
	__m128i equal = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)x),
		_mm_loadu_si128((const __m128i *)(const void *)y));

	for (size_t at = 16; at <= 28; at += 12) {
		equal = _mm_and_si128(equal,
			_mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(x + at)),
				_mm_loadu_si128((const __m128i *)(const void *)(y + at))));
	}
	return _mm_movemask_epi8(equal) == 0xffff;
}

static inline struct flow *conn_flow(const struct conn_table *table, uint32_t flow)
{
	return &table->flows[flow];
}

static inline struct conn *conn_of_flow(const struct conn_table *table, uint32_t flow)
{
	return &table->conns[flow / 2];
}

static inline void conn_prefetch_bucket(const struct conn_table *table, uint32_t hash)
{
	__builtin_prefetch(&table->buckets[conn_bucket_of(table, hash)]);
}

static inline uint32_t conn_prefetch_flow(const struct conn_table *table, uint32_t hash)
{
	const struct conn_bucket *bucket = &table->buckets[conn_bucket_of(table, hash)];
	uint32_t mask = conn_bucket_match(bucket, conn_tag_of(hash));
	uint32_t flow;

	if (!mask)
		return CONN_FLOW_NONE;
	flow = atomic_load_explicit(&bucket->flows[__builtin_ctz(mask)], memory_order_acquire);
	__builtin_prefetch(conn_flow(table, flow), 1);
	__builtin_prefetch(conn_of_flow(table, flow), 1);
	__builtin_prefetch((const char *)(conn_of_flow(table, flow) + 1) - 1, 1);
	return flow;
}

/* The flow of `key` in one bucket, or CONN_FLOW_NONE. */
static inline uint32_t conn_bucket_lookup(const struct conn_table *table,
	const struct conn_bucket *bucket, const struct conn_key *key, uint32_t hash)
{
	for (uint32_t mask = conn_bucket_match(bucket, conn_tag_of(hash)); mask; mask &= mask - 1) {
		uint32_t flow = atomic_load_explicit(
			&bucket->flows[__builtin_ctz(mask)], memory_order_acquire);

		if (__builtin_expect(conn_key_equal(&conn_flow(table, flow)->key, key), 1))
			return flow;
	}
	return CONN_FLOW_NONE;
}

static inline uint32_t conn_lookup(
	const struct conn_table *table, const struct conn_key *key, uint32_t hash)
{
	const struct conn_bucket *bucket = &table->buckets[conn_bucket_of(table, hash)];
	uint32_t flow = conn_bucket_lookup(table, bucket, key, hash);
	uint32_t next;

	if (__builtin_expect(flow != CONN_FLOW_NONE, 1))
		return flow;
	next = atomic_load_explicit(&bucket->next, memory_order_acquire) >> 1;
	return next ? conn_lookup_chain(table, key, hash, next) : CONN_FLOW_NONE;
}

static inline uint32_t conn_lookup_hinted(
	const struct conn_table *table, const struct conn_key *key, uint32_t hash, uint32_t hint)
{
	if (hint != CONN_FLOW_NONE && conn_key_equal(&conn_flow(table, hint)->key, key))
		return hint;
	return conn_lookup(table, key, hash);
}

#endif
