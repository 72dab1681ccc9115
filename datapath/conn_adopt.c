/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Adopting the connections that a former process left in the file, in whatever state a kill -9 left
 * it.  Called by conn_table_open(), on the main thread, before there are workers.
 *
 * The index and the free list are not read but built anew.  What is left are the live connections,
 * each of which is checked on its own, and left out if its fields make no sense.
 */
#include "datapath/conn_internal.h"

#include <stdio.h>

enum { ADOPT_BATCH = 32 };

static bool net_valid(uint32_t net)
{
	return net >> 24 <= 1;
}

static bool key_valid(const struct conn_key *key)
{
	if (key->kind < CONN_KEY_IPV4 || key->kind > CONN_KEY_ETHERNET)
		return false;
	if (!key->in_port || key->in_port >= CONN_PORTS_MAX || !net_valid(key->net))
		return false;
	return key->kind != CONN_KEY_IPV4 ||
	       (IN6_IS_ADDR_V4MAPPED(&key->source) && IN6_IS_ADDR_V4MAPPED(&key->destination));
}

static bool flow_valid(const struct conn_table *table, const struct flow *flow)
{
	return key_valid(&flow->key) && flow->hash == conn_hash(table, &flow->key);
}

/* True if a connection's own fields make sense.  Rule, zones and revision are numbers of a policy,
 * which are looked up with a check wherever they are used. */
static bool conn_valid(const struct conn_table *table, uint32_t number)
{
	const struct flow *flow = &table->flows[2 * (size_t)number];
	const struct conn *conn = &table->conns[number];
	const unsigned int known = CONN_CONFIRMED | CONN_LOGGED | CONN_TCP | CONN_CLOSE_NOW |
				   CONN_REVERSE | CONN_RELATED | CONN_SERVER_OPENS;
	struct conn_key reverse;

	if (!flow_valid(table, &flow[0]) || conn->flags & ~known)
		return false;
	if (conn->verdict < CONN_ALLOWED || conn->verdict > CONN_DENIED)
		return false;
	if (conn->out_port >= CONN_PORTS_MAX ||
		(conn->quota_port & ~(CONN_QUOTA_INBOUND | CONN_QUOTA_HALF_OPEN)) >= CONN_PORTS_MAX)
		return false;
	if (conn->flags & CONN_TCP &&
		(flow->key.kind == CONN_KEY_ETHERNET || flow->key.protocol != IPPROTO_TCP ||
			!tcp_side_valid(&conn->dir[0].tcp) || !tcp_side_valid(&conn->dir[1].tcp)))
		return false;
	if (!(conn->flags & CONN_REVERSE))
		return true;
	reverse = conn_key_reverse(&flow[0].key, flow[1].key.in_port);
	return flow_valid(table, &flow[1]) && conn_key_equal(&reverse, &flow[1].key);
}

/* Takes from a flow what only the former process knew.  A time in the future would never be long
 * ago. */
static void flow_adopt(struct flow *flow, uint32_t now)
{
	atomic_store_explicit(&flow->program, 0, memory_order_relaxed);
	atomic_store_explicit(&flow->forwarding_revision, 0, memory_order_relaxed);
	atomic_store_explicit(&flow->policy_epoch, 0, memory_order_relaxed);
	if (atomic_load_explicit(&flow->last_seen, memory_order_relaxed) > now)
		atomic_store_explicit(&flow->last_seen, now, memory_order_relaxed);
}

static bool reverse_enter(struct conn_table *table, uint32_t flow)
{
	const struct flow *reverse = conn_flow(table, flow);
	uint32_t bucket = conn_bucket_of(table, reverse->hash);

	return conn_index_find(table, bucket, &reverse->key, reverse->hash) == CONN_FLOW_NONE &&
	       conn_index_insert(table, bucket, flow);
}

/* Enters a live connection into the index.  False if its key is there already: two connections
 * cannot have one. */
static bool conn_enter(struct conn_table *table, uint32_t number, uint32_t now)
{
	uint32_t flow = 2 * number;
	struct flow *pair = conn_flow(table, flow);
	struct conn *conn = &table->conns[number];
	uint32_t bucket = conn_bucket_of(table, pair[0].hash);

	if (conn_index_find(table, bucket, &pair[0].key, pair[0].hash) != CONN_FLOW_NONE ||
		!conn_index_insert(table, bucket, flow))
		return false;
	flow_adopt(&pair[0], now);
	flow_adopt(&pair[1], now);
	atomic_store_explicit(&conn->lock, 0, memory_order_relaxed);
	atomic_store_explicit(&conn->limits, 0, memory_order_relaxed);
	atomic_store_explicit(&conn->limits_half_open, 0, memory_order_relaxed);
	if (conn->flags & CONN_REVERSE && !reverse_enter(table, flow + 1))
		atomic_fetch_and_explicit(&conn->flags, ~CONN_REVERSE, memory_order_relaxed);
	return true;
}

/* Adopts up to ADOPT_BATCH live connections: checks them all, while their buckets are fetched, then
 * enters them. */
static void adopt_batch(struct conn_table *table, struct conn_open_report *report,
	const uint32_t *numbers, uint32_t n, uint32_t now)
{
	bool valid[ADOPT_BATCH];

	for (uint32_t i = 0; i < n; i++) {
		const struct flow *flow = &table->flows[2 * (size_t)numbers[i]];

		valid[i] = conn_valid(table, numbers[i]);
		if (!valid[i])
			continue;
		__builtin_prefetch(&table->buckets[conn_bucket_of(table, flow[0].hash)], 1);
		__builtin_prefetch(&table->buckets[conn_bucket_of(table, flow[1].hash)], 1);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (valid[i] && conn_enter(table, numbers[i], now)) {
			report->adopted++;
			continue;
		}
		atomic_store_explicit(&table->store->live[numbers[i]], 0, memory_order_relaxed);
		report->dropped++;
	}
}

/* One past the highest live connection, or -1 with the reason said if a live byte is neither 0 nor
 * 1: the file is damaged then, who knows where else. */
static int64_t find_high_water(const struct conn_store *store, struct conn_open_report *report)
{
	const uint8_t *live = (const uint8_t *)store->live;
	uint32_t high = 0;

	for (uint32_t i = 0; i < store->capacity; i++) {
		if (!live[i])
			continue;
		if (live[i] != 1) {
			report->result = CONN_OPEN_REFUSED;
			snprintf(report->why, sizeof(report->why),
				"damaged: connection %u has a live byte of %u", i, live[i]);
			return -1;
		}
		high = i + 1;
	}
	return high;
}

/* Builds the index, the free list and the counters from the live connections.  False if the file is
 * damaged in its structure. */
bool conn_adopt(struct conn_table *table, struct conn_open_report *report)
{
	struct conn_store *store = table->store;
	const uint8_t *live = (const uint8_t *)store->live;
	uint32_t batch[ADOPT_BATCH] = {0}, n = 0, now = conn_clock();
	int64_t high = find_high_water(table->store, report);

	if (high < 0)
		return false;
	conn_stacks_reset(table);
	memset(table->buckets, 0,
		((size_t)table->n_buckets + store->n_overflow) * sizeof(struct conn_bucket));
	for (uint32_t i = 0; i < high; i++) {
		if (!live[i])
			continue;
		conn_prefetch_all(table, i);
		batch[n++] = i;
		if (n == ADOPT_BATCH) {
			adopt_batch(table, report, batch, n, now);
			n = 0;
		}
	}
	adopt_batch(table, report, batch, n, now);

	uint32_t n_free = 0;
	for (int64_t i = high - 1; i >= 0; i--) {
		if (!live[i])
			store->free.at[n_free++] = i;
	}
	store->free.n = n_free;
	store->high_water = high;
	store->count = report->adopted;
	report->result = CONN_OPEN_ADOPTED;
	return true;
}
