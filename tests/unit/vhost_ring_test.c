/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues from the device's side: what a guest offers, well-behaved or not, as tables of
 * descriptors, and what it is told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "datapath/vhost_ring.h"

enum { SIZE = 8, REGION_BYTES = 65536 };

/* Guest physical addresses: two regions that touch, then a hole. */
#define LOW	 UINT64_C(0x100000)
#define HIGH	 (LOW + REGION_BYTES)
#define HOLE	 (HIGH + REGION_BYTES)
#define INDIRECT (HIGH + 4096)

struct guest {
	struct vring_desc descriptors[SIZE];
	struct {
		struct vring_avail ring;
		uint16_t places[SIZE], used_event;
	} available;
	struct {
		struct vring_used ring;
		struct vring_used_elem places[SIZE];
		uint16_t available_event;
	} used;
	uint8_t *low, *high;
	struct guest_memory memory;
	struct vhost_ring ring;
	struct ring_burst burst;
};

static void start(struct guest *guest, enum ring_direction direction, bool event_index, uint16_t at)
{
	const struct vring addresses = {
		.num = SIZE,
		.desc = guest->descriptors,
		.avail = &guest->available.ring,
		.used = &guest->used.ring,
	};

	guest->available.ring.idx = at;
	guest->used.ring.idx = at;
	vhost_ring_start(&guest->ring, direction, &addresses, event_index, at, at);
}

static int set_up(void **state)
{
	struct guest *guest = aligned_alloc(64, sizeof(*guest));

	memset(guest, 0, sizeof(*guest));
	guest->low = calloc(1, REGION_BYTES);
	guest->high = calloc(1, REGION_BYTES);
	guest->memory.n = 2;
	guest->memory.at[0] = (struct guest_region){LOW, REGION_BYTES, guest->low};
	guest->memory.at[1] = (struct guest_region){HIGH, REGION_BYTES, guest->high};
	start(guest, RING_FROM_GUEST, false, 0);
	*state = guest;
	return 0;
}

static int tear_down(void **state)
{
	struct guest *guest = *state;

	free(guest->low);
	free(guest->high);
	free(guest);
	return 0;
}

static void offer(struct guest *guest, uint16_t head)
{
	guest->available.places[guest->available.ring.idx % SIZE] = head;
	guest->available.ring.idx++;
}

static unsigned int look(struct guest *guest)
{
	return vhost_ring_look(&guest->ring, &guest->memory, &guest->burst, RING_BURST);
}

static const struct guest_piece *piece(
	const struct guest *guest, unsigned int chain, unsigned int n)
{
	assert_true(n < guest->burst.chains[chain].n);
	return &guest->burst.pieces[guest->burst.chains[chain].pieces + n];
}

static void a_buffer_is_found_where_it_is(void **state)
{
	struct guest *guest = *state;

	assert_int_equal(look(guest), 0);
	guest->descriptors[5] = (struct vring_desc){.addr = LOW + 100, .len = 76};
	offer(guest, 5);
	assert_int_equal(look(guest), 1);
	assert_int_equal(guest->burst.chains[0].head, 5);
	assert_int_equal(guest->burst.chains[0].bytes, 76);
	assert_ptr_equal(piece(guest, 0, 0)->data, guest->low + 100);
	/* It was only looked at. */
	assert_int_equal(look(guest), 1);
	vhost_ring_use(&guest->ring, 5, 0);
	assert_int_equal(look(guest), 0);
	assert_int_equal(guest->used.ring.idx, 0);
	vhost_ring_publish(&guest->ring);
	assert_int_equal(guest->used.ring.idx, 1);
	assert_int_equal(guest->used.places[0].id, 5);
}

static void chains_and_tables_are_followed(void **state)
{
	struct guest *guest = *state;
	struct vring_desc *table = (struct vring_desc *)(guest->high + (INDIRECT - HIGH));

	guest->descriptors[0] = (struct vring_desc){LOW, 12, VRING_DESC_F_NEXT, 3};
	guest->descriptors[3] = (struct vring_desc){LOW + 500, 1000, 0, 0};
	table[0] = (struct vring_desc){LOW + 50, 10, VRING_DESC_F_NEXT, 2};
	table[2] = (struct vring_desc){LOW + 70, 20, 0, 0};
	guest->descriptors[1] =
		(struct vring_desc){INDIRECT, 3 * sizeof(*table), VRING_DESC_F_INDIRECT, 0};
	offer(guest, 0);
	offer(guest, 1);
	assert_int_equal(look(guest), 2);
	assert_int_equal(guest->burst.chains[0].n, 2);
	assert_int_equal(guest->burst.chains[0].bytes, 1012);
	assert_ptr_equal(piece(guest, 0, 1)->data, guest->low + 500);
	assert_int_equal(guest->burst.chains[1].n, 2);
	assert_ptr_equal(piece(guest, 1, 1)->data, guest->low + 70);
}

static void a_buffer_in_two_regions_is_two_pieces(void **state)
{
	struct guest *guest = *state;

	guest->descriptors[0] = (struct vring_desc){.addr = HIGH - 30, .len = 100};
	offer(guest, 0);
	assert_int_equal(look(guest), 1);
	assert_int_equal(guest->burst.chains[0].n, 2);
	assert_int_equal(piece(guest, 0, 0)->bytes, 30);
	assert_ptr_equal(piece(guest, 0, 1)->data, guest->high);
	assert_int_equal(piece(guest, 0, 1)->bytes, 70);
}

/* Chains that are given back unused: none has a piece. */
static void bad_chains_are_refused(void **state)
{
	static const struct {
		const char *what;
		struct vring_desc first, second;
	} cases[] = {
		{"in the hole", {HOLE, 64, 0, 0}, {0}},
		{"reaches into the hole", {HOLE - 10, 64, 0, 0}, {0}},
		{"below all memory", {0, 64, 0, 0}, {0}},
		{"wraps around", {UINT64_MAX - 10, 64, 0, 0}, {0}},
		{"four GiB", {LOW, UINT32_MAX, 0, 0}, {0}},
		{"no bytes", {LOW, 0, 0, 0}, {0}},
		{"for writing", {LOW, 64, VRING_DESC_F_WRITE, 0}, {0}},
		{"a part for writing", {LOW, 64, VRING_DESC_F_NEXT, 1},
			{LOW, 64, VRING_DESC_F_WRITE, 0}},
		{"its own next", {LOW, 64, VRING_DESC_F_NEXT, 0}, {0}},
		{"a loop of two", {LOW, 0, VRING_DESC_F_NEXT, 1}, {LOW, 0, VRING_DESC_F_NEXT, 0}},
		{"next out of range", {LOW, 64, VRING_DESC_F_NEXT, SIZE}, {0}},
		{"no table", {HOLE, 32, VRING_DESC_F_INDIRECT, 0}, {0}},
		{"a table cut off", {INDIRECT, 24, VRING_DESC_F_INDIRECT, 0}, {0}},
		{"an empty table", {INDIRECT, 0, VRING_DESC_F_INDIRECT, 0}, {0}},
		{"a misaligned table", {INDIRECT + 4, 32, VRING_DESC_F_INDIRECT, 0}, {0}},
		{"a table that goes on",
			{INDIRECT, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1},
			{LOW, 64, 0, 0}},
		{"a table in two regions", {HIGH - 16, 32, VRING_DESC_F_INDIRECT, 0}, {0}},
	};
	struct guest *guest = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		start(guest, RING_FROM_GUEST, false, 0);
		guest->descriptors[0] = cases[i].first;
		guest->descriptors[1] = cases[i].second;
		guest->descriptors[2] = (struct vring_desc){.addr = LOW, .len = 60};
		offer(guest, 0);
		offer(guest, 2);
		if (look(guest) != 2 || guest->burst.chains[0].n != 0)
			fail_msg("%s: was not refused", cases[i].what);
		/* The one behind it is as good as ever. */
		assert_int_equal(guest->burst.chains[1].bytes, 60);
	}
}

static void a_table_within_a_table_is_refused(void **state)
{
	struct guest *guest = *state;
	struct vring_desc *table = (struct vring_desc *)(guest->high + (INDIRECT - HIGH));

	table[0] = (struct vring_desc){INDIRECT, 16, VRING_DESC_F_INDIRECT, 0};
	guest->descriptors[0] = (struct vring_desc){INDIRECT, 16, VRING_DESC_F_INDIRECT, 0};
	offer(guest, 0);
	assert_int_equal(look(guest), 1);
	assert_int_equal(guest->burst.chains[0].n, 0);
}

static void what_cannot_be_breaks_the_ring(void **state)
{
	struct guest *guest = *state;

	guest->available.ring.idx = SIZE + 1;
	assert_int_equal(look(guest), 0);
	assert_int_equal(guest->ring.fault, RING_FAULT_INDEX);
	/* For good, until it is set up anew. */
	guest->available.ring.idx = 1;
	assert_int_equal(look(guest), 0);

	start(guest, RING_FROM_GUEST, false, 0);
	guest->descriptors[0] = (struct vring_desc){.addr = LOW, .len = 60};
	offer(guest, 0);
	offer(guest, SIZE);
	/* What was before it is still taken. */
	assert_int_equal(look(guest), 1);
	assert_int_equal(guest->ring.fault, RING_SOUND);
	vhost_ring_use(&guest->ring, 0, 0);
	assert_int_equal(look(guest), 0);
	assert_int_equal(guest->ring.fault, RING_FAULT_HEAD);
}

static void indexes_wrap_around(void **state)
{
	struct guest *guest = *state;

	start(guest, RING_TO_GUEST, false, UINT16_MAX - 2);
	guest->descriptors[4] = (struct vring_desc){LOW, 2048, VRING_DESC_F_WRITE, 0};
	for (unsigned int i = 0; i < 3 * SIZE; i++) {
		offer(guest, 4);
		assert_int_equal(look(guest), 1);
		vhost_ring_use(&guest->ring, 4, 100 + i);
		vhost_ring_publish(&guest->ring);
		uint16_t place = (uint16_t)(UINT16_MAX - 2 + i) % SIZE;
		assert_int_equal(guest->used.places[place].len, 100 + i);
	}
	assert_int_equal(guest->used.ring.idx, (uint16_t)(UINT16_MAX - 2 + 3 * SIZE));
}

static void use_one(struct guest *guest)
{
	guest->descriptors[0] = (struct vring_desc){.addr = LOW, .len = 60};
	offer(guest, 0);
	assert_int_equal(look(guest), 1);
	vhost_ring_use(&guest->ring, 0, 0);
	vhost_ring_publish(&guest->ring);
}

static void guests_are_interrupted_as_they_wish(void **state)
{
	struct guest *guest = *state;

	assert_false(vhost_ring_wants_interrupt(&guest->ring)); /* Nothing was used. */
	use_one(guest);
	assert_true(vhost_ring_wants_interrupt(&guest->ring));
	assert_false(vhost_ring_wants_interrupt(&guest->ring)); /* It was told. */
	guest->available.ring.flags = VRING_AVAIL_F_NO_INTERRUPT;
	use_one(guest);
	assert_false(vhost_ring_wants_interrupt(&guest->ring));

	/* By index: when the third is used, whenever it is asked. */
	guest->available.ring.flags = 0;
	start(guest, RING_FROM_GUEST, true, 0);
	guest->available.used_event = 2;
	use_one(guest);
	assert_false(vhost_ring_wants_interrupt(&guest->ring));
	use_one(guest);
	use_one(guest);
	assert_true(vhost_ring_wants_interrupt(&guest->ring));
	use_one(guest);
	assert_false(vhost_ring_wants_interrupt(&guest->ring));
}

static void guests_are_asked_not_to_kick(void **state)
{
	struct guest *guest = *state;

	assert_int_equal(guest->used.ring.flags, VRING_USED_F_NO_NOTIFY);
	start(guest, RING_FROM_GUEST, true, 7);
	/* The guest kicks when it passes this index: it lies behind. */
	assert_int_equal(guest->used.available_event, 6);
}

/* A chain of more pieces than a burst has left waits for the next one. */
static void long_chains_take_turns(void **state)
{
	struct guest *guest = *state;
	struct vring_desc *table = (struct vring_desc *)(guest->high + (INDIRECT - HIGH));

	for (unsigned int i = 0; i < RING_CHAIN_PIECES; i++)
		table[i] = (struct vring_desc){LOW + i, 1,
			i + 1 < RING_CHAIN_PIECES ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1)};
	guest->descriptors[0] = (struct vring_desc){
		INDIRECT, RING_CHAIN_PIECES * sizeof(*table), VRING_DESC_F_INDIRECT, 0};
	for (unsigned int i = 0; i < 6; i++)
		offer(guest, 0);
	assert_int_equal(look(guest), RING_BURST_PIECES / RING_CHAIN_PIECES);
	assert_int_equal(guest->burst.chains[3].bytes, RING_CHAIN_PIECES);
	/* One more descriptor is too many. */
	table[RING_CHAIN_PIECES - 1].flags = VRING_DESC_F_NEXT;
	guest->descriptors[0].len += sizeof(*table);
	assert_int_equal(look(guest), 6);
	assert_int_equal(guest->burst.chains[0].n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(a_buffer_is_found_where_it_is),
		TEST(chains_and_tables_are_followed),
		TEST(a_buffer_in_two_regions_is_two_pieces),
		TEST(bad_chains_are_refused),
		TEST(a_table_within_a_table_is_refused),
		TEST(what_cannot_be_breaks_the_ring),
		TEST(indexes_wrap_around),
		TEST(guests_are_interrupted_as_they_wish),
		TEST(guests_are_asked_not_to_kick),
		TEST(long_chains_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
