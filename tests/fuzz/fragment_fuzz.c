/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any sequence of fragments, of a few datagrams by a few ports, over any time.  Whatever comes:
 *
 * - what leaves is a datagram from its first byte to its last, each byte once, of fragments that
 *   were held, none of which was ever said otherwise by another fragment;
 * - each fragment leaves or is dropped, once;
 * - no more is held than may be, and by no port more than it lets the others have.
 *
 * The input is a byte, of which the lowest bit chooses a table with less room for datagrams, and a
 * list of steps of eight bytes: who (a byte: datagram, port, family), flags (last,
 * "don't fragment", ECN, other bytes, ICMP), the offset in units of eight bytes (2), the length
 * (2), headers and buffers (1), and how long before (1).
 */
#include <stdlib.h>
#include <string.h>

#include "datapath/fragment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	FEW = 16,
	DATAGRAMS = 64,
	BUFFERS = 160,
	STEPS_MAX = 1024,
	STEP_BYTES = 8,
	IDS = 4,
	PORTS = 3
};
enum { LAST = 1, DONT_FRAGMENT = 2, ECN_SHIFT = 2, OTHER_BYTES = 16, ICMP = 32 };

enum fate { FRESH, HELD, SENT, DROPPED };

/* A fragment, as it came. */
struct part {
	struct packet packet;
	struct fragment fragment;
	enum fate fate;
	bool last, other_bytes;
	uint32_t who;
	uint64_t came_ns;
};

struct world {
	struct fragment_table *table;
	bool few; /* Datagrams that were refused may give way, and nobody is told. */
	struct part parts[STEPS_MAX];
	size_t n;
	uint64_t now_ns;
	/* The datagram that is under way: when it began (0: none is), and with which part. */
	uint64_t began_ns[256];
	size_t began_with[256];
	struct fragment_datagram whole;
};

static void require(bool promise)
{
	if (!promise)
		abort();
}

static uint32_t end_of(const struct part *part)
{
	return (uint32_t)part->packet.fragment_offset + part->fragment.bytes;
}

/* --- The table's user ----------------------------------------------------------------------- */

static bool same(const struct fragment *a, const struct fragment *b)
{
	const struct part *left = a->frame, *right = b->frame;

	require(a->bytes == b->bytes && a->offset == b->offset);
	return left->other_bytes == right->other_bytes;
}

static void drop(
	void *world_, const struct fragment *fragment, uint16_t in_port, enum drop_reason reason)
{
	struct world *world = world_;
	struct part *part = fragment->frame;

	require(part->fate == FRESH || part->fate == HELD);
	require(in_port == part->packet.key.in_port && fragment->bytes == part->fragment.bytes);
	require(reason >= DROP_FRAGMENT_OVERSIZE && reason <= DROP_FRAGMENT_TIMEOUT);
	require(reason != DROP_FRAGMENT_DUPLICATE || part->fate == FRESH);
	/* It was let go, and begins anew; and so may all of its port's, to make room. */
	if (reason == DROP_FRAGMENT_TIMEOUT)
		world->began_ns[part->who] = 0;
	for (uint32_t who = 0; reason == DROP_FRAGMENT_TABLE_FULL && who < 256; who++)
		if ((who >> 4 & 7) == in_port)
			world->began_ns[who] = 0;
	part->fate = DROPPED;
}

/* --- What must be so ------------------------------------------------------------------------ */

/* Nobody has said anything else of these bytes since the datagram began. */
static void check_undisputed(const struct world *world, const struct part *part)
{
	for (size_t i = world->began_with[part->who]; !world->few && i < world->n; i++) {
		const struct part *other = &world->parts[i];
		bool overlaps = other->packet.fragment_offset < end_of(part) &&
				part->packet.fragment_offset < end_of(other);

		if (other == part || other->who != part->who || !overlaps)
			continue;
		require(other->fate == DROPPED && end_of(other) == end_of(part) &&
			other->packet.fragment_offset == part->packet.fragment_offset &&
			other->last == part->last && other->other_bytes == part->other_bytes);
	}
}

static void check_whole(struct world *world, const struct part *newest)
{
	const struct fragment_datagram *whole = &world->whole;
	uint32_t end = 0;

	require(whole->n >= 2 && whole->n <= FRAGMENTS_MAX);
	for (uint16_t i = 0; i < whole->n; i++) {
		struct part *part = whole->fragments[i].frame;

		require(part == newest || part->fate == HELD);
		require(part->who == newest->who);
		require(whole->fragments[i].offset == end && part->packet.fragment_offset == end);
		require(part->last == (i + 1 == whole->n));
		require(!part->fragment.dont_fragment == !newest->fragment.dont_fragment);
		require(world->now_ns - part->came_ns < FRAGMENT_MS * UINT64_C(1000000));
		require(!(part->packet.flags & PACKET_ND));
		check_undisputed(world, part);
		end += part->fragment.bytes;
		part->fate = SENT;
	}
	const struct part *first = whole->fragments[0].frame;
	require(end == whole->bytes && end + first->fragment.header_bytes <= UINT16_MAX);
	world->began_ns[newest->who] = 0;
}

static void check_bounds(const struct world *world)
{
	uint32_t held = 0, buffers = 0, of_port[PORTS + 1] = {0};

	for (size_t i = 0; i < world->n; i++) {
		const struct part *part = &world->parts[i];

		if (part->fate != HELD)
			continue;
		held++;
		buffers += part->fragment.buffers;
		of_port[part->packet.key.in_port] += part->fragment.buffers;
	}
	require(held == fragment_held(world->table));
	require(buffers <= BUFFERS &&
		fragment_datagrams(world->table) <= (world->few ? FEW : DATAGRAMS));
	for (uint16_t port = 1; port <= PORTS; port++)
		require(of_port[port] <= BUFFERS / 2);
}

/* --- Steps ---------------------------------------------------------------------------------- */

/* What the parser would say of a fragment; false if it would let none such pass. */
static bool make_part(struct part *part, const uint8_t *step)
{
	uint32_t offset = (step[2] | step[3] << 8) % 8192u * 8;
	uint32_t bytes = (step[4] | step[5] << 8) % 2048u;
	bool v6 = step[0] & 0x80;

	memset(part, 0, sizeof(*part));
	part->last = step[1] & LAST;
	part->other_bytes = step[1] & OTHER_BYTES;
	if (!part->last)
		bytes &= ~7u;
	if (bytes == 0 || offset + bytes > UINT16_MAX || (offset == 0 && part->last))
		return false;
	part->packet.key.kind = v6 ? CONN_KEY_IPV6 : CONN_KEY_IPV4;
	part->packet.key.in_port = 1 + (step[0] >> 4 & 7) % PORTS;
	part->packet.fragment_id = step[0] & 15 % IDS;
	part->who = (uint32_t)(v6 << 7 | part->packet.key.in_port << 4 | part->packet.fragment_id);
	part->packet.fragment_offset = (uint16_t)offset;
	part->packet.flags = offset == 0  ? PACKET_FRAGMENT_FIRST
			     : part->last ? PACKET_FRAGMENT_LATER | PACKET_FRAGMENT_LAST
					  : PACKET_FRAGMENT_LATER;
	if (offset == 0 && step[1] & ICMP)
		part->packet.flags |= PACKET_ND;
	part->fragment = (struct fragment){
		.frame = part,
		.bytes = (uint16_t)bytes,
		.buffers = 1 + (step[6] >> 4),
		.header_bytes = (uint16_t)((v6 ? 0 : 20) + (step[6] & 15) * 8),
		.ecn = step[1] >> ECN_SHIFT & 3,
		.dont_fragment = step[1] & DONT_FRAGMENT,
	};
	return true;
}

static void take_step(struct world *world, const uint8_t *step)
{
	static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
	struct part *part = &world->parts[world->n];

	/* Mostly none, at times more than a fragment's life. */
	world->now_ns += (uint64_t)(step[7] & 0x0f) * (step[7] >> 4) * 20000000;
	fragment_expire(world->table, world->now_ns);
	if (!make_part(part, step))
		return;
	if (world->began_ns[part->who] + FRAGMENT_MS * UINT64_C(1000000) <= world->now_ns)
		world->began_ns[part->who] = 0;
	if (world->began_ns[part->who] == 0) {
		world->began_ns[part->who] = world->now_ns;
		world->began_with[part->who] = world->n;
	}
	part->came_ns = world->now_ns;
	world->n++;
	if (fragment_add(world->table, &part->packet, macs, &part->fragment, world->now_ns,
		    &world->whole))
		check_whole(world, part);
	else if (part->fate == FRESH)
		part->fate = HELD;
	check_bounds(world);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *world = calloc(1, sizeof(*world));
	const struct fragment_user user = {.context = world, .same = same, .drop = drop};

	require(world != NULL);
	world->few = size > 0 && data[0] & 1;
	world->table = fragment_table_create(world->few ? FEW : DATAGRAMS, BUFFERS, &user);
	require(world->table != NULL);
	world->now_ns = 1;
	for (size_t at = 1; at + STEP_BYTES <= size && world->n < STEPS_MAX; at += STEP_BYTES)
		take_step(world, data + at);
	fragment_flush(world->table);
	require(fragment_held(world->table) == 0 && fragment_datagrams(world->table) == 0);
	for (size_t i = 0; i < world->n; i++)
		require(world->parts[i].fate == SENT || world->parts[i].fate == DROPPED);
	fragment_table_destroy(world->table);
	free(world);
	return 0;
}
