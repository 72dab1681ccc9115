/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a back end that has just come begins in the rings.  Called by vhost_user_talk.c.
 *
 * After the driver's start that is the rings' beginning.  When another one has worked them since,
 * the used ring tells how many requests are finished, and the new one begins behind them, as the
 * vhost-user protocol has it.  That is right if they were finished in the order in which they came;
 * frames are, and a request more or less does no harm there.
 *
 * A disk's may be finished in any order.  A back end that keeps account of them in memory that the
 * front end holds (INFLIGHT_SHMFD) leaves it to the next, which sees what is to be done again.
 * Without such an account the rings are witnesses: if everything was finished, or if what is left
 * of the two rings names the same requests in the same order, the used ring's word is taken.
 * Otherwise some request would be lost and another one answered twice, which a driver does not
 * survive: the device fails instead, and the driver may reset it.
 *
 * The witness can be deceived by a request that was slow while others, with the same heads again
 * and again, went once around the ring.  Only an account helps there.
 */
#include <errno.h>
#include <unistd.h>

#include "hv/vhost_user_private.h"

enum { RING_INDEX = 2, RING_ENTRIES = 4, AVAILABLE_ENTRY = 2, USED_ENTRY = 8 };

static uint16_t ring_index(const struct guest_memory *memory, uint64_t ring)
{
	uint16_t index = 0;

	(void)guest_memory_read(memory, ring + RING_INDEX, &index, sizeof(index));
	return index;
}

/* The request at place `at` of each ring is the same. */
static bool same_request(
	const struct guest_memory *memory, const struct virtio_queue *queue, uint16_t at)
{
	uint64_t place = at & (queue->size - 1);
	uint16_t head = 0;
	uint32_t finished = 0;

	(void)guest_memory_read(memory, queue->available + RING_ENTRIES + place * AVAILABLE_ENTRY,
		&head, sizeof(head));
	(void)guest_memory_read(memory, queue->used + RING_ENTRIES + place * USED_ENTRY, &finished,
		sizeof(finished));
	return head == finished;
}

/* Whether all that is finished is what came first, as far back as the rings go. */
static bool is_in_order(
	const struct guest_memory *memory, const struct virtio_queue *queue, uint16_t used)
{
	uint16_t available = ring_index(memory, queue->available);
	uint16_t waiting = (uint16_t)(available - used);

	if (waiting == 0)
		return true;
	if (waiting > queue->size)
		return false;
	for (uint16_t at = (uint16_t)(available - queue->size); at != used; at++) {
		uint16_t now;

		if (same_request(memory, queue, at))
			continue;
		/* The driver goes on, and writes over the oldest. */
		now = ring_index(memory, queue->available);
		if ((int16_t)(at - (uint16_t)(now - queue->size)) >= 0)
			return false;
	}
	return true;
}

static bool has_account(struct vhost_user *vhost)
{
	if (vhost->inflight_fd < 0)
		return false;
	if (vhost_user_agreed(vhost, VHOST_USER_PROTOCOL_INFLIGHT_SHMFD))
		return true;
	close(vhost->inflight_fd);
	vhost->inflight_fd = -1;
	return false;
}

int vhost_user_recover(struct vhost_user *vhost, struct hv_error *error)
{
	const struct guest_memory *memory = vhost->setup.memory;
	bool trusted = vhost->setup.care == VHOST_USER_MAY_LOSE || has_account(vhost);

	for (unsigned int ring = 0; ring < vhost->n_rings; ring++) {
		const struct virtio_queue *queue = &vhost->queues[ring];
		uint16_t used;

		vhost->base[ring] = 0;
		if (!vhost->begun || !queue->enabled)
			continue;
		used = ring_index(memory, queue->used);
		if (!trusted && !is_in_order(memory, queue, used))
			return hv_fail(error, EUNATCH,
				"%s at %s went while requests were in flight, in queue %u, and "
				"kept no account of them "
				"(INFLIGHT_SHMFD): the guest must reset the device",
				vhost->setup.peer, vhost->setup.socket, ring);
		vhost->base[ring] = used;
	}
	return 0;
}
