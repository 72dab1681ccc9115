/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting: what the miss path and the sweep do to the slots; see rule_hits.h for how the numbers
 * fit together.  Workers call it for packets without a connection and for connections that change
 * hands; the sweep for all connections, once a pass.
 */
#include "datapath/rule_hits_private.h"

#define SECOND_NS UINT64_C(1000000000)

/* What a connection has, and what is done with it. */
struct share {
	int64_t packets, bytes, connections;
};

static void add(struct rule_hits_counts *counts, const struct share *share, int sign)
{
	atomic_fetch_add_explicit(&counts->packets, sign * share->packets, memory_order_relaxed);
	atomic_fetch_add_explicit(&counts->bytes, sign * share->bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(
		&counts->connections, sign * share->connections, memory_order_relaxed);
}

void rule_hits_touch(struct rule_hits *hits, uint32_t slot)
{
	_Atomic uint64_t *word = &hits->touched[slot / 64];
	uint64_t bit = UINT64_C(1) << slot % 64;

	if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(word, bit, memory_order_release);
}

/* --- when ----------------------------------------------------------------------------------- */

/* The moment `seen` on the wall clock. */
static uint64_t wall_time(struct rule_hits_time now, uint32_t seen)
{
	uint64_t ago = now.seconds > seen ? (now.seconds - seen) * SECOND_NS : 0;

	return now.wall_ns > ago ? now.wall_ns - ago : 1;
}

/* Whether a hit is the newest is decided by the clock that never goes back; should the other one
 * have been set back since, the first hit goes with the last. */
static void note_times(
	struct rule_hits_entry *entry, uint64_t first_ns, uint32_t seen, struct rule_hits_time now)
{
	uint64_t last_ns = wall_time(now, seen), none = 0;

	if (first_ns > last_ns)
		first_ns = last_ns;
	atomic_compare_exchange_strong(&entry->first_ns, &none, first_ns);
	if (seen < atomic_load_explicit(&entry->last_seen, memory_order_relaxed) ||
		(seen == atomic_load_explicit(&entry->last_seen, memory_order_relaxed) &&
			last_ns <= atomic_load_explicit(&entry->last_ns, memory_order_relaxed)))
		return;
	atomic_store_explicit(&entry->last_seen, seen, memory_order_relaxed);
	atomic_store_explicit(&entry->last_ns, last_ns, memory_order_relaxed);
	if (atomic_load_explicit(&entry->first_ns, memory_order_relaxed) > last_ns)
		atomic_store_explicit(&entry->first_ns, last_ns, memory_order_relaxed);
}

/* --- connections ---------------------------------------------------------------------------- */

static struct share share_of(const struct conn *conn)
{
	struct share share = {.connections = 1};

	for (unsigned int i = 0; i < 2; i++) {
		share.packets +=
			(int64_t)atomic_load_explicit(&conn->dir[i].packets, memory_order_relaxed);
		share.bytes +=
			(int64_t)atomic_load_explicit(&conn->dir[i].bytes, memory_order_relaxed);
	}
	return share;
}

static struct rule_hits_by decided_by(const struct conn *conn)
{
	return (struct rule_hits_by){
		.rule = atomic_load_explicit(&conn->rule, memory_order_relaxed),
		.revision = atomic_load_explicit(&conn->policy_revision, memory_order_relaxed),
		.allowed =
			atomic_load_explicit(&conn->verdict, memory_order_relaxed) == CONN_ALLOWED,
	};
}

static uint32_t last_seen(const struct conn_table *table, uint32_t number)
{
	uint32_t a = atomic_load_explicit(
		&conn_flow(table, 2 * number)->last_seen, memory_order_relaxed);
	uint32_t b = atomic_load_explicit(
		&conn_flow(table, 2 * number + 1)->last_seen, memory_order_relaxed);

	return a > b ? a : b;
}

/* Adds a connection's share to what a slot has for good, or takes it off.  The sweep has been at
 * the connection in this pass, or will be: the total of this pass must have it once. */
static void settle(
	struct rule_hits *hits, uint32_t slot, uint32_t number, const struct share *share, int sign)
{
	struct rule_hits_entry *entry = &hits->entries[slot];

	add(&entry->settled, share, sign);
	if (number < atomic_load_explicit(&hits->position, memory_order_relaxed))
		add(&hits->moved[slot], share, -sign);
	rule_hits_touch(hits, slot);
}

struct rule_hits_settled rule_hits_end(struct rule_hits *hits, const struct conn_table *table,
	uint32_t number, struct rule_hits_time now)
{
	const struct conn *conn = conn_of_flow(table, 2 * number);
	uint32_t slot = rule_hits_slot(hits, decided_by(conn));
	struct share share = share_of(conn);
	uint64_t start_ns = atomic_load_explicit(&conn->start_ns, memory_order_relaxed);

	settle(hits, slot, number, &share, 1);
	note_times(&hits->entries[slot], start_ns, last_seen(table, number), now);
	return (struct rule_hits_settled){
		.number = number,
		.start_ns = start_ns,
		.packets = (uint64_t)share.packets,
		.bytes = (uint64_t)share.bytes,
	};
}

/* The sweep has not visited the connection since it settled it, so `counted` is as it should be. */
void rule_hits_late(struct rule_hits *hits, const struct conn_table *table,
	const struct rule_hits_settled *settled, struct rule_hits_time now)
{
	const struct conn *conn = conn_of_flow(table, 2 * settled->number);
	struct share share = share_of(conn);

	/* Begun anew by a worker that did not know: that is a connection of its own. */
	if (atomic_load_explicit(&conn->start_ns, memory_order_relaxed) == settled->start_ns) {
		share.packets -= (int64_t)settled->packets;
		share.bytes -= (int64_t)settled->bytes;
		share.connections = 0;
	}
	if (share.packets == 0)
		return;
	uint32_t slot = rule_hits_slot(hits, decided_by(conn));
	add(&hits->entries[slot].settled, &share, 1);
	rule_hits_touch(hits, slot);
	note_times(&hits->entries[slot], settled->start_ns, last_seen(table, settled->number), now);
}

void rule_hits_move(struct rule_hits *hits, const struct conn_table *table, uint32_t number,
	struct rule_hits_by to, struct rule_hits_time now)
{
	const struct conn *conn = conn_of_flow(table, 2 * number);
	struct rule_hits_by by = decided_by(conn);

	if (by.rule == to.rule && by.revision == to.revision && by.allowed == to.allowed)
		return;
	uint32_t old = rule_hits_slot(hits, by), new = rule_hits_slot(hits, to);
	if (old == new || !conn_is_live(table, number))
		return; /* What has ended is settled already. */
	struct share share = share_of(conn);
	settle(hits, old, number, &share, 1);
	settle(hits, new, number, &share, -1);
	note_times(&hits->entries[old], atomic_load_explicit(&conn->start_ns, memory_order_relaxed),
		last_seen(table, number), now);
	note_times(&hits->entries[new], now.wall_ns, now.seconds, now);
	atomic_fetch_add_explicit(&hits->entries[new].taken_over, 1, memory_order_relaxed);
}

void rule_hits_take_off(struct conn_table *table, uint32_t number, void *hits_)
{
	struct rule_hits *hits = hits_;
	const struct conn *conn = conn_of_flow(table, 2 * number);
	struct share share = share_of(conn);
	uint32_t slot = rule_hits_slot(hits, decided_by(conn));

	add(&hits->entries[slot].settled, &share, -1);
	rule_hits_touch(hits, slot);
}

/* --- packets without a connection ----------------------------------------------------------- */

void rule_hits_packet(struct rule_hits *hits, struct rule_hits_by by, uint32_t frames,
	uint64_t bytes, unsigned int connections, struct rule_hits_time now)
{
	uint32_t slot = rule_hits_slot(hits, by);
	const struct share share = {
		.packets = frames, .bytes = (int64_t)bytes, .connections = connections};

	add(&hits->entries[slot].settled, &share, 1);
	rule_hits_touch(hits, slot);
	note_times(&hits->entries[slot], now.wall_ns, now.seconds, now);
}

void rule_hits_refused(struct rule_hits *hits, struct rule_hits_by by, struct rule_hits_time now)
{
	uint32_t slot = rule_hits_slot(hits, by);

	atomic_fetch_add_explicit(&hits->entries[slot].refused, 1, memory_order_relaxed);
	note_times(&hits->entries[slot], now.wall_ns, now.seconds, now);
}

/* --- passes --------------------------------------------------------------------------------- */

/* What is found in the maps is remembered until the sweep is quiescent. */
static uint32_t slot_in_pass(struct rule_hits *hits, struct rule_hits_by by)
{
	struct rule_hits_recent *recent = &hits->recent;
	struct rule_hits_map *map = recent->map;

	if (recent->by.rule == by.rule && recent->by.revision == by.revision &&
		recent->by.allowed == by.allowed && recent->is_known)
		return recent->slot;
	if (map == NULL || map->revision != by.revision) {
		map = recent->map = rule_hits_find_map(hits, by.revision);
		if (map != NULL)
			atomic_store_explicit(&map->seen,
				atomic_load_explicit(&hits->passes, memory_order_relaxed),
				memory_order_relaxed);
	}
	if (map != NULL && by.rule != RULE_NONE && by.rule <= map->n_rules)
		return map->slots[by.rule];
	recent->by = by;
	recent->slot = rule_hits_slot(hits, by);
	recent->is_known = true;
	return recent->slot;
}

/* The sweep alone writes `counted`, so that it need not lock each addition. */
static void count(_Atomic int64_t *counted, int64_t n)
{
	atomic_store_explicit(counted, atomic_load_explicit(counted, memory_order_relaxed) + n,
		memory_order_relaxed);
}

void rule_hits_visit(struct rule_hits *hits, const struct conn_table *table, uint32_t number,
	struct rule_hits_time now)
{
	const struct conn *conn = conn_of_flow(table, 2 * number);
	struct share share = share_of(conn);
	uint32_t slot = slot_in_pass(hits, decided_by(conn)), seen = last_seen(table, number);
	struct rule_hits_entry *entry = &hits->entries[slot];

	count(&entry->counted.packets, share.packets);
	count(&entry->counted.bytes, share.bytes);
	count(&entry->counted.connections, 1);
	rule_hits_touch(hits, slot);
	if (seen > atomic_load_explicit(&entry->last_seen, memory_order_relaxed) ||
		atomic_load_explicit(&entry->first_ns, memory_order_relaxed) == 0)
		note_times(entry, atomic_load_explicit(&conn->start_ns, memory_order_relaxed), seen,
			now);
	atomic_store_explicit(&hits->position, number + 1, memory_order_relaxed);
}

void rule_hits_pause(struct rule_hits *hits, uint32_t next)
{
	atomic_store_explicit(&hits->position, next, memory_order_relaxed);
	hits->recent = (struct rule_hits_recent){.map = NULL};
}

/* True if the total is more than what is settled, so that it has to be made anew next time. */
static bool make_total(_Atomic int64_t *settled, _Atomic int64_t *counted, _Atomic int64_t *moved,
	_Atomic int64_t *total)
{
	int64_t live = atomic_load_explicit(counted, memory_order_relaxed);
	int64_t gone = atomic_exchange_explicit(moved, 0, memory_order_relaxed);

	atomic_store_explicit(total,
		atomic_load_explicit(settled, memory_order_relaxed) + live + gone,
		memory_order_relaxed);
	atomic_store_explicit(counted, 0, memory_order_relaxed);
	return live != 0 || gone != 0;
}

static bool publish(struct rule_hits *hits, uint32_t slot)
{
	struct rule_hits_entry *entry = &hits->entries[slot];
	struct rule_hits_counts *settled = &entry->settled, *counted = &entry->counted,
				*moved = &hits->moved[slot], *total = &entry->total;
	bool more =
		make_total(&settled->packets, &counted->packets, &moved->packets, &total->packets);

	more |= make_total(&settled->bytes, &counted->bytes, &moved->bytes, &total->bytes);
	more |= make_total(&settled->connections, &counted->connections, &moved->connections,
		&total->connections);
	return more;
}

/* What had live connections in the last pass is looked at again: they may be another rule's now,
 * though nobody said so, since their revision is no longer known. */
static void publish_word(struct rule_hits *hits, uint32_t word)
{
	uint64_t bits = atomic_exchange_explicit(&hits->touched[word], 0, memory_order_acquire) |
			hits->live[word];

	hits->live[word] = 0;
	for (; bits != 0; bits &= bits - 1) {
		uint32_t bit = (uint32_t)__builtin_ctzll(bits);

		if (publish(hits, word * 64 + bit))
			hits->live[word] |= UINT64_C(1) << bit;
	}
}

void rule_hits_end_pass(struct rule_hits *hits)
{
	uint32_t words = (atomic_load(&hits->header->end) + 63) / 64;

	atomic_store_explicit(&hits->position, 0, memory_order_relaxed);
	for (uint32_t word = 0; word < words; word++)
		publish_word(hits, word);
	atomic_fetch_add(&hits->passes, 1);
}
