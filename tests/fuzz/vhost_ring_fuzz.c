/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a guest's memory, its ring in it, and what the guest's other CPU writes while the
 * ring is read.  Beside the sanitizers' findings, a promise of vhost_ring.h that is broken ends the
 * run.
 *
 * Each region is an allocation of exactly its size, so that AddressSanitizer guards both its ends.
 * The ring's code is compiled in here, with each of its loads from shared memory preceded by
 * guest_runs(): there, between any two loads, the guest may write.
 *
 * An input begins with struct setup and the image of the first region.  Steps are read from there
 * on, and what the guest writes meanwhile (struct race) from the input's end backwards.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/vhost_ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void guest_runs(void);

#define __atomic_load_n(at, order) (guest_runs(), __atomic_load_n(at, order))
#include "datapath/vhost_ring.c"
#undef __atomic_load_n

enum {
	REGIONS = 3,
	SIZE_LOG_MAX = 8,
	STEPS_MAX = 64,
	/* For one chain: two for each descriptor, of which there is one more if they are in a
	 * table. */
	CHAIN_LOADS_MAX = 2 * (RING_CHAIN_PIECES + 3),
};

enum { SETUP_RECEIVES = 1, SETUP_EVENT_INDEX = 2 };

struct setup {
	uint8_t size_log, flags;
	uint16_t next_available, next_used;
	uint16_t bytes[REGIONS]; /* Of the first: behind the ring. */
	uint64_t bases[REGIONS];
	uint16_t image_bytes;
} __attribute__((packed));

/* Something that the guest writes while the switch reads. */
struct race {
	uint8_t loads;	/* That come first. */
	uint8_t region; /* The upper bits: how many bytes. */
	uint16_t offset;
	uint64_t value;
} __attribute__((packed));

/* The one guest of a run. */
static struct guest {
	struct guest_memory memory;
	struct vhost_ring ring;
	const uint8_t *front, *back; /* What is left of the input. */
	unsigned int loads;	     /* Since the last look began. */
	unsigned int wait;	     /* Loads until the next race. */
	unsigned int writes;	     /* That the guest has done so far. */
} guest;

static void require(bool promise)
{
	if (!promise)
		abort();
}

/* --- The input -------------------------------------------------------------------------------- */

static size_t left(void)
{
	return (size_t)(guest.back - guest.front);
}

static bool take(void *to, size_t n)
{
	if (left() < n)
		return false;
	memcpy(to, guest.front, n);
	guest.front += n;
	return true;
}

static bool take_back(void *to, size_t n)
{
	if (left() < n)
		return false;
	guest.back -= n;
	memcpy(to, guest.back, n);
	return true;
}

/* --- The guest's other CPU -------------------------------------------------------------------- */

static void guest_writes(const struct race *race)
{
	static const uint8_t widths[] = {1, 2, 4, 8};
	struct guest_region *region = &guest.memory.at[race->region % guest.memory.n];
	uint64_t bytes = widths[race->region >> 6];

	if (region->bytes < bytes)
		return;
	memcpy(region->host + race->offset % (region->bytes - bytes + 1), &race->value, bytes);
	guest.writes++;
}

static void guest_runs(void)
{
	struct race race;

	guest.loads++;
	if (guest.wait > 0) {
		guest.wait--;
		return;
	}
	if (!take_back(&race, sizeof(race)))
		return;
	guest.wait = race.loads;
	guest_writes(&race);
}

/* --- Setting up ------------------------------------------------------------------------------- */

static void begin_ring(const struct setup *setup, uint16_t next_available, uint16_t next_used)
{
	unsigned int places = 1u << setup->size_log % (SIZE_LOG_MAX + 1);
	uint8_t *at = guest.memory.at[0].host;
	struct vring addresses = {.num = places, .desc = (void *)at};

	addresses.avail = (void *)(at + 16 * places);
	addresses.used = (void *)(at + ((16 * places + 6 + 2 * places + 3) & ~3u));
	vhost_ring_start(&guest.ring,
		setup->flags & SETUP_RECEIVES ? RING_TO_GUEST : RING_FROM_GUEST, &addresses,
		setup->flags & SETUP_EVENT_INDEX, next_available, next_used);
}

static uint64_t ring_bytes(const struct setup *setup)
{
	unsigned int places = 1u << setup->size_log % (SIZE_LOG_MAX + 1);

	return ((16 * places + 6 + 2 * places + 3) & ~3u) + 6 + 8 * places;
}

static bool begin(const uint8_t *data, size_t size, struct setup *setup)
{
	guest = (struct guest){.front = data, .back = data + size};
	if (!take(setup, sizeof(*setup)))
		return false;
	for (size_t i = 0; i < REGIONS; i++) {
		struct guest_region *region = &guest.memory.at[guest.memory.n];

		region->bytes = setup->bytes[i] + (i == 0 ? ring_bytes(setup) : 0);
		if (region->bytes == 0)
			continue;
		region->base = setup->bases[i] <= UINT64_MAX - region->bytes
				       ? setup->bases[i]
				       : UINT64_MAX - region->bytes;
		region->host = calloc(1, region->bytes);
		require(region->host != NULL);
		guest.memory.n++;
	}
	uint64_t image = setup->image_bytes;
	if (image > left())
		image = left();
	if (image > guest.memory.at[0].bytes)
		image = guest.memory.at[0].bytes;
	return take(guest.memory.at[0].host, image);
}

static void end(void)
{
	for (size_t i = 0; i < guest.memory.n; i++)
		free(guest.memory.at[i].host);
}

/* --- What is promised ------------------------------------------------------------------------- */

/* A piece is not empty, and lies whole in one region; it may be read, or written. */
static void check_piece(const struct guest_piece *piece)
{
	bool inside = false;

	require(piece->bytes > 0);
	for (size_t i = 0; i < guest.memory.n; i++) {
		const struct guest_region *region = &guest.memory.at[i];
		uint64_t offset = (uintptr_t)piece->data - (uintptr_t)region->host;

		inside |= offset < region->bytes && piece->bytes <= region->bytes - offset;
	}
	require(inside);
	if (guest.ring.direction == RING_TO_GUEST)
		piece->data[piece->bytes - 1] ^= piece->data[0];
}

static void check_chain(const struct ring_burst *burst, const struct guest_chain *chain)
{
	uint64_t bytes = 0;

	require(chain->head < guest.ring.size);
	require(chain->n <= RING_CHAIN_PIECES);
	require(chain->n == 0 || chain->pieces + chain->n <= RING_BURST_PIECES);
	for (unsigned int i = 0; i < chain->n; i++) {
		check_piece(&burst->pieces[chain->pieces + i]);
		bytes += burst->pieces[chain->pieces + i].bytes;
	}
	require(bytes == chain->bytes);
}

/* Chains share no pieces. */
static void check_burst(const struct ring_burst *burst, unsigned int n, unsigned int wanted)
{
	unsigned int pieces = 0;

	require(n == burst->n && n <= wanted && n <= RING_BURST && n <= guest.ring.size);
	for (unsigned int i = 0; i < n; i++) {
		const struct guest_chain *chain = &burst->chains[i];

		check_chain(burst, chain);
		if (chain->n == 0)
			continue;
		require(chain->pieces >= pieces);
		pieces = chain->pieces + chain->n;
	}
	/* The index, the heads, and the chains with one that may have to wait for the next burst.
	 */
	require(guest.loads <= 1 + wanted + (n + 1) * CHAIN_LOADS_MAX);
}

/* Takes the first n chains of a burst. */
static void use(const struct ring_burst *burst, unsigned int n)
{
	struct vhost_ring *ring = &guest.ring;

	for (unsigned int i = 0; i < n; i++) {
		const struct guest_chain *chain = &burst->chains[i];
		uint16_t place = ring->next_used & (ring->size - 1);
		uint16_t next = ring->next_available + 1;

		vhost_ring_use(ring, chain->head, chain->bytes);
		require(ring->used->ring[place].id == chain->head);
		require(ring->used->ring[place].len == chain->bytes);
		require(ring->next_available == next);
	}
}

static void publish(void)
{
	struct vhost_ring *ring = &guest.ring;
	bool news = ring->published != ring->next_used;
	unsigned int writes = guest.writes;
	vhost_ring_publish(ring);
	bool interrupt = vhost_ring_wants_interrupt(ring);

	require(news || !interrupt);
	require(ring->published == ring->next_used);
	require(!news || guest.writes != writes || ring->used->idx == ring->next_used);
}

/* --- Steps ------------------------------------------------------------------------------------ */

/* Looks, takes some of it, and tells the guest.  A broken ring gives nothing, whatever the guest
 * writes. */
static void look_and_use(uint8_t choice)
{
	bool broken = guest.ring.fault != RING_SOUND;
	uint16_t next = guest.ring.next_available;
	unsigned int wanted = choice % (RING_BURST + 2);
	struct ring_burst *burst = malloc(sizeof(*burst));

	require(burst != NULL);
	guest.loads = 0;
	unsigned int n = vhost_ring_look(&guest.ring, &guest.memory, burst, wanted);
	check_burst(burst, n, wanted);
	require(!broken || n == 0);
	require(guest.ring.next_available == next);
	vhost_ring_fetch_ahead(&guest.ring, &guest.memory);
	use(burst, choice & 0x80 ? n / 2 : n);
	publish();
	free(burst);
}

static void step(const struct setup *setup)
{
	uint8_t what, choice;
	struct race write;

	if (!take(&what, 1) || !take(&choice, 1))
		return;
	switch (what % 4) {
	case 0:
	case 1: look_and_use(choice); break;
	case 2:
		if (take(&write, sizeof(write)))
			guest_writes(&write);
		break;
	default: begin_ring(setup, guest.ring.next_available, guest.ring.next_used); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct setup setup;

	if (begin(data, size, &setup)) {
		begin_ring(&setup, setup.next_available, setup.next_used);
		for (unsigned int i = 0; i < STEPS_MAX && left() >= 2; i++)
			step(&setup);
	}
	end();
	return 0;
}
