/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's rings (see guest_wire.h): sending, and receiving.  Called by guest_wire.c, on the
 * program's one thread; the switch is at the other end of the same memory.
 */
#include "guest_wire.h"

#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

static struct vring_desc *descriptors(const struct guest_ring *ring)
{
	return (struct vring_desc *)ring->memory;
}

static struct vring_avail *available(const struct guest_ring *ring)
{
	return (struct vring_avail *)(ring->memory + AVAILABLE_OFFSET);
}

static struct vring_used *used(const struct guest_ring *ring)
{
	return (struct vring_used *)(ring->memory + USED_OFFSET);
}

static uint8_t *buffer(const struct guest_ring *ring, unsigned int i)
{
	return ring->memory + BUFFERS_OFFSET + (size_t)i * BUFFER_BYTES;
}

static void kick(struct guest_ring *ring)
{
	if (!(__atomic_load_n(&used(ring)->flags, __ATOMIC_SEQ_CST) & VRING_USED_F_NO_NOTIFY))
		(void)eventfd_write(ring->kick, 1);
}

static void offer(struct guest_ring *ring, uint16_t i)
{
	available(ring)->ring[ring->available % RING_SIZE] = i;
	/* An exchange and no store: kick() may look at the switch's flags only after it. */
	__atomic_exchange_n(&available(ring)->idx, ++ring->available, __ATOMIC_SEQ_CST);
}

void guest_ring_reset(struct guest_ring *ring)
{
	size_t region = (size_t)(ring->memory - ring->guest->memory);

	memset(ring->memory, 0, BUFFERS_OFFSET);
	ring->available = ring->used = ring->n_free = 0;
	for (uint16_t i = 0; i < RING_SIZE; i++) {
		descriptors(ring)[i] = (struct vring_desc){
			.addr = GUEST_BASE + region + BUFFERS_OFFSET + (size_t)i * BUFFER_BYTES,
			.len = BUFFER_BYTES,
			.flags = ring->receives ? VRING_DESC_F_WRITE : 0,
		};
		if (ring->receives)
			offer(ring, i);
		else
			ring->free[ring->n_free++] = i;
	}
}

uint16_t guest_ring_base(const struct guest_ring *ring)
{
	return __atomic_load_n(&used(ring)->idx, __ATOMIC_ACQUIRE);
}

/* The next used element; false if there is none. */
static bool take_used(struct guest_ring *ring, struct vring_used_elem *element)
{
	if (ring->used == __atomic_load_n(&used(ring)->idx, __ATOMIC_ACQUIRE))
		return false;
	*element = used(ring)->ring[ring->used++ % RING_SIZE];
	return element->id < RING_SIZE;
}

bool guest_ring_send(struct guest_ring *ring, const uint8_t *frame, size_t bytes)
{
	struct vring_used_elem element;

	while (ring->n_free < RING_SIZE && take_used(ring, &element))
		ring->free[ring->n_free++] = (uint16_t)element.id;
	if (ring->n_free == 0)
		return false;
	uint16_t i = ring->free[--ring->n_free];
	memset(buffer(ring, i), 0, VIRTIO_HEADER_BYTES);
	memcpy(buffer(ring, i) + VIRTIO_HEADER_BYTES, frame, bytes);
	descriptors(ring)[i].len = (uint32_t)(VIRTIO_HEADER_BYTES + bytes);
	offer(ring, i);
	kick(ring);
	return true;
}

void guest_ring_receive(struct guest_ring *ring)
{
	struct vring_used_elem element;
	bool any = false;

	while (take_used(ring, &element)) {
		if (element.len > VIRTIO_HEADER_BYTES && element.len <= BUFFER_BYTES)
			ledger_receive(ring->guest->wire,
				buffer(ring, element.id) + VIRTIO_HEADER_BYTES,
				element.len - VIRTIO_HEADER_BYTES);
		else
			ring->guest->wire->foreign++;
		offer(ring, (uint16_t)element.id);
		any = true;
	}
	if (any)
		kick(ring);
}
