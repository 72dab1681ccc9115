/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Split virtqueues: reading what a guest offers, and telling it what was used.  Called by the vhost
 * port's receive and send sides, on workers.
 *
 * The guest runs on other CPUs meanwhile.  What it shares with us is loaded by explicit single
 * loads, in the order that virtio 1.2, 2.7.13 and 2.7.14 want: the index, then what it covers.
 */
#include "datapath/vhost_ring.h"

#include <string.h>

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

enum { UNWANTED_KICKS = VRING_USED_F_NO_NOTIFY };

const char vhost_ring_through_guests[1];

/* --- What the guest writes, each read once --------------------------------------------------- */

static inline uint16_t load16(const __virtio16 *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* In two loads, so that length, flags and next are of one time. */
static inline struct vring_desc load_descriptor(const struct vring_desc *at)
{
	const uint64_t *words = (const uint64_t *)at;
	uint64_t copy[2] = {
		__atomic_load_n(&words[0], __ATOMIC_RELAXED),
		__atomic_load_n(&words[1], __ATOMIC_RELAXED),
	};
	struct vring_desc descriptor;

	memcpy(&descriptor, copy, sizeof(descriptor));
	return descriptor;
}

/* The index of used buffers at which the guest wants to be told, if event_index. */
static inline uint16_t wanted_event(const struct vhost_ring *ring)
{
	return load16(&ring->available->ring[ring->size]);
}

/* --- Beginning -------------------------------------------------------------------------------- */

void vhost_ring_start(struct vhost_ring *ring, enum ring_direction direction,
	const struct vring *addresses, bool event_index, uint16_t next_available,
	uint16_t next_used)
{
	ring->descriptors = addresses->desc;
	ring->available = addresses->avail;
	ring->used = addresses->used;
	ring->size = (uint16_t)addresses->num;
	ring->direction = direction;
	ring->event_index = event_index;
	ring->next_available = next_available;
	ring->seen = next_available;
	ring->next_used = next_used;
	ring->published = next_used;
	ring->told = next_used;
	atomic_store_explicit(&ring->fault, RING_SOUND, memory_order_relaxed);
	/* With event_index the flag is not read: the event lies behind all that is to come. */
	__atomic_store_n(&ring->used->flags, UNWANTED_KICKS, __ATOMIC_RELAXED);
	__atomic_store_n((__virtio16 *)&ring->used->ring[ring->size],
		(uint16_t)(next_available - 1), __ATOMIC_RELAXED);
}

/* --- Chains ----------------------------------------------------------------------------------- */

/* A walk along one chain. */
struct walk {
	const struct guest_memory *memory;
	struct ring_burst *burst;
	unsigned int pieces; /* Of the burst, used so far. */
	struct guest_chain *chain;
	enum ring_direction direction;
};

/* Why a walk ends. */
enum walk_end { WALK_DONE, WALK_REFUSED, WALK_NO_ROOM };

/* Adds a descriptor's buffer, which may lie in several regions. */
static enum walk_end add_buffer(struct walk *walk, const struct vring_desc *descriptor)
{
	struct guest_chain *chain = walk->chain;
	uint64_t address = descriptor->addr;
	uint32_t left = descriptor->len;
	bool written = descriptor->flags & VRING_DESC_F_WRITE;

	if (written != (walk->direction == RING_TO_GUEST) || left > UINT32_MAX - chain->bytes)
		return WALK_REFUSED;
	while (left > 0) {
		struct guest_piece piece = {.bytes = left};

		piece.data = guest_memory_at(walk->memory, address, &piece.bytes);
		if (piece.data == NULL || chain->n == RING_CHAIN_PIECES)
			return WALK_REFUSED;
		if (walk->pieces == RING_BURST_PIECES)
			return WALK_NO_ROOM;
		walk->burst->pieces[walk->pieces++] = piece;
		chain->n++;
		chain->bytes += piece.bytes;
		left -= piece.bytes;
		address += piece.bytes;
	}
	return WALK_DONE;
}

/* The table that an indirect descriptor names, or NULL: it lies whole in one region. */
static const struct vring_desc *indirect_table(
	const struct guest_memory *memory, const struct vring_desc *descriptor, uint32_t *n)
{
	uint32_t bytes = descriptor->len;
	uint8_t *table = guest_memory_at(memory, descriptor->addr, &bytes);

	*n = bytes / sizeof(struct vring_desc);
	if (table == NULL || bytes != descriptor->len || bytes == 0 ||
		bytes % sizeof(struct vring_desc) != 0 || (uintptr_t)table % sizeof(uint64_t) != 0)
		return NULL;
	return (const struct vring_desc *)table;
}

/* Follows a chain from its head to its end.  The limit on its descriptors also ends loops. */
static enum walk_end walk_chain(
	struct walk *walk, const struct vring_desc *table, uint32_t n, uint32_t at)
{
	struct vring_desc descriptor = load_descriptor(&table[at]);
	bool indirect = descriptor.flags & VRING_DESC_F_INDIRECT;

	if (indirect) {
		table = indirect_table(walk->memory, &descriptor, &n);
		if (table == NULL || descriptor.flags & VRING_DESC_F_NEXT)
			return WALK_REFUSED;
		descriptor = load_descriptor(&table[0]);
	}
	for (uint32_t steps = 1;; steps++) {
		if (descriptor.flags & VRING_DESC_F_INDIRECT)
			return WALK_REFUSED;
		enum walk_end end = add_buffer(walk, &descriptor);
		if (end != WALK_DONE || !(descriptor.flags & VRING_DESC_F_NEXT))
			return end;
		if (steps == RING_CHAIN_PIECES || descriptor.next >= n)
			return WALK_REFUSED;
		descriptor = load_descriptor(&table[descriptor.next]);
	}
}

/* A chain that is more than one buffer in one region, or none.  False if it has to wait for the
 * next burst. */
static __attribute__((noinline)) bool look_at_chain(
	struct vhost_ring *ring, struct walk *walk, uint16_t head)
{
	struct guest_chain *chain = walk->chain;
	unsigned int before = walk->pieces;

	*chain = (struct guest_chain){.head = head, .pieces = (uint16_t)before};
	enum walk_end end = walk_chain(walk, ring->descriptors, ring->size, head);
	if (end == WALK_DONE && chain->n > 0)
		return true;
	walk->pieces = before;
	if (end == WALK_NO_ROOM)
		return false;
	chain->n = 0;
	chain->bytes = 0;
	return true;
}

/* --- Bursts ----------------------------------------------------------------------------------- */

static __attribute__((noinline)) void break_ring(struct vhost_ring *ring, enum ring_fault fault)
{
	atomic_store_explicit(&ring->fault, fault, memory_order_relaxed);
}

/* Chains that the guest has made available; at most n. */
static inline unsigned int count_available(struct vhost_ring *ring, unsigned int n)
{
	uint16_t index = __atomic_load_n(&ring->available->idx, __ATOMIC_ACQUIRE);
	sanitizer_acquire(vhost_ring_through_guests);
	uint16_t available = (uint16_t)(index - ring->next_available);

	if (likely(available <= ring->size))
		return available < n ? available : n;
	break_ring(ring, RING_FAULT_INDEX);
	return 0;
}

/* Reads the heads of the next n chains, and fetches their descriptors. */
static inline unsigned int read_heads(
	struct vhost_ring *ring, struct ring_burst *burst, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		uint16_t place = (uint16_t)(ring->next_available + i) & (ring->size - 1);
		uint16_t head = load16(&ring->available->ring[place]);

		if (unlikely(head >= ring->size)) {
			/* Those before it are in order. */
			if (i == 0)
				break_ring(ring, RING_FAULT_HEAD);
			return i;
		}
		burst->chains[i].head = head;
		__builtin_prefetch(&ring->descriptors[head]);
	}
	return n;
}

unsigned int vhost_ring_look(struct vhost_ring *ring, const struct guest_memory *memory,
	struct ring_burst *burst, unsigned int n)
{
	const uint16_t plain = ring->direction == RING_TO_GUEST ? VRING_DESC_F_WRITE : 0;
	struct walk walk = {.memory = memory, .burst = burst, .direction = ring->direction};

	burst->n = 0;
	if (unlikely(atomic_load_explicit(&ring->fault, memory_order_relaxed) != RING_SOUND))
		return 0;
	n = count_available(ring, n < RING_BURST ? n : RING_BURST);
	n = read_heads(ring, burst, n);
	for (unsigned int i = 0; i < n; i++) {
		struct guest_chain *chain = &burst->chains[i];
		struct vring_desc descriptor = load_descriptor(&ring->descriptors[chain->head]);
		struct guest_piece piece = {.bytes = descriptor.len};

		piece.data = guest_memory_at(memory, descriptor.addr, &piece.bytes);
		if (likely(descriptor.flags == plain && piece.data != NULL &&
			    piece.bytes == descriptor.len && piece.bytes > 0 &&
			    walk.pieces < RING_BURST_PIECES)) {
			vhost_ring_fetch(piece.data, ring->direction);
			chain->pieces = (uint16_t)walk.pieces;
			chain->n = 1;
			chain->bytes = piece.bytes;
			burst->pieces[walk.pieces++] = piece;
		} else {
			walk.chain = chain;
			if (!look_at_chain(ring, &walk, chain->head))
				break;
		}
		burst->n++;
	}
	return burst->n;
}

/* --- Interrupts ------------------------------------------------------------------------------- */

bool vhost_ring_wants_interrupt(struct vhost_ring *ring)
{
	uint16_t before = ring->told;

	if (ring->published == before)
		return false;
	ring->told = ring->published;
	if (!ring->event_index)
		return !(load16(&ring->available->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(wanted_event(ring), ring->published, before);
}
