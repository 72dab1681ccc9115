/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue from the device's side: requests out of the available ring, answers into the
 * used ring, and who wakes whom.  Called by the devices that this process emulates, with the
 * machine's lock held.
 *
 * The driver is on another processor and may write anything at any moment.  Indexes are loaded
 * once, by one instruction; descriptors are copied out once, by guest_memory_read(); all decisions
 * are by the copies.  Pointers into the rings are asked for anew each time, so that none can
 * outlive what was checked.
 *
 * Two pairs of accesses cross each other, and each needs a full barrier on both sides: "the used
 * index is written, then the driver's wish is read" here against "the wish is written, then the
 * used index is read" there (virtio_queue_signal()); and the same with the available index when
 * this side goes to sleep (virtio_queue_enable_notify()).
 */
#include "hv/virtio_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

/* virtio 1.2, 2.7.5 to 2.7.10. */
enum {
	DESCRIPTOR_BYTES = 16,
	DESCRIPTOR_NEXT = 1 << 0,
	DESCRIPTOR_WRITE = 1 << 1,
	DESCRIPTOR_INDIRECT = 1 << 2,
	RING_INDEX = 2, /* Behind the flags, in both rings. */
	RING_ENTRIES = 4,
	AVAILABLE_NO_INTERRUPT = 1,
	USED_NO_NOTIFY = 1,
	USED_ENTRY_BYTES = 8,
	EVENT_BYTES = 2, /* Behind the entries, in both rings. */
};

#define CHAIN_BYTES_MAX (UINT64_C(1) << 32)

struct descriptor {
	uint64_t address;
	uint32_t bytes;
	uint16_t flags, next;
};

_Static_assert(sizeof(struct descriptor) == DESCRIPTOR_BYTES, "as in the guest's memory");

struct used_entry {
	uint32_t head, written;
};

/* Where the descriptors of a chain are read from: the queue's table, or an indirect one. */
struct table {
	uint64_t address;
	unsigned int n;
	bool indirect;
};

static int broken(struct virtio_queue *queue, const char *rule)
{
	queue->error = rule;
	return -EBADMSG;
}

/* A 16-bit field of a ring. NULL only if the queue was never checked. */
static uint16_t *field(const struct virtio_queue *queue, uint64_t ring, uint64_t offset)
{
	return guest_memory_at(queue->memory, ring + offset, sizeof(uint16_t));
}

static uint16_t load(const uint16_t *from)
{
	return from ? __atomic_load_n(from, __ATOMIC_ACQUIRE) : 0;
}

static void store(uint16_t *to, uint16_t value)
{
	if (to)
		__atomic_store_n(to, value, __ATOMIC_RELEASE);
}

static bool is_usable(const struct virtio_queue *queue)
{
	return queue->enabled && !queue->error;
}

static bool is_ring(
	const struct virtio_queue *queue, uint64_t address, uint64_t bytes, unsigned int alignment)
{
	return address % alignment == 0 && guest_memory_at(queue->memory, address, bytes);
}

bool virtio_queue_start(struct virtio_queue *queue)
{
	uint64_t size = queue->size;

	queue->error = NULL;
	if (size == 0 || size > VIRTIO_QUEUE_MAX || (size & (size - 1)) != 0)
		queue->error = "the queue's size is no power of two that was offered";
	else if (!is_ring(queue, queue->descriptors, size * DESCRIPTOR_BYTES, 16))
		queue->error = "the descriptor table is not aligned, or not in memory";
	else if (!is_ring(queue, queue->available,
			 RING_ENTRIES + size * sizeof(uint16_t) + EVENT_BYTES, 2))
		queue->error = "the available ring is not aligned, or not in memory";
	else if (!is_ring(queue, queue->used, RING_ENTRIES + size * USED_ENTRY_BYTES + EVENT_BYTES,
			 4))
		queue->error = "the used ring is not aligned, or not in memory";
	queue->signalled_used = queue->next_used;
	queue->signalled_valid = false;
	return !queue->error;
}

/* --- Requests -------------------------------------------------------------------------------- */

static int add_buffer(
	struct virtio_queue *queue, struct virtio_chain *chain, const struct descriptor *descriptor)
{
	bool writable = descriptor->flags & DESCRIPTOR_WRITE;
	unsigned int n = chain->n_readable + chain->n_writable;
	void *host;

	if (!writable && chain->n_writable > 0)
		return broken(queue, "a readable buffer follows a writable one");
	if (descriptor->bytes == 0)
		return 0;
	host = guest_memory_at(queue->memory, descriptor->address, descriptor->bytes);
	if (!host)
		return broken(queue, "a buffer is not in memory");
	if (n == VIRTIO_CHAIN_MAX)
		return broken(queue, "a chain has too many buffers");
	chain->buffers[n] = (struct iovec){.iov_base = host, .iov_len = descriptor->bytes};
	chain->n_readable += !writable;
	chain->n_writable += writable;
	*(writable ? &chain->writable_bytes : &chain->readable_bytes) += descriptor->bytes;
	if (chain->readable_bytes + chain->writable_bytes > CHAIN_BYTES_MAX)
		return broken(queue, "a chain has more than 4 GiB");
	return 0;
}

/* The table that a descriptor leads to, which ends the chain that it is in. */
static int enter_table(
	struct virtio_queue *queue, struct table *table, const struct descriptor *descriptor)
{
	if (!queue->indirect)
		return broken(queue, "an indirect table, which was not negotiated");
	if (table->indirect)
		return broken(queue, "an indirect table names another one");
	if (descriptor->flags & DESCRIPTOR_NEXT)
		return broken(queue, "an indirect table is followed by a descriptor");
	if (descriptor->bytes == 0 || descriptor->bytes % DESCRIPTOR_BYTES != 0)
		return broken(queue, "an indirect table is not of whole descriptors");
	if (!guest_memory_at(queue->memory, descriptor->address, descriptor->bytes))
		return broken(queue, "an indirect table is not in memory");
	*table = (struct table){
		.address = descriptor->address,
		.n = descriptor->bytes / DESCRIPTOR_BYTES,
		.indirect = true,
	};
	return 0;
}

/*
 * Walks the chain that begins at `head`.  Each step reads one descriptor, and there are no more
 * steps than a chain may have descriptors, so that a loop ends.  An indirect table counts by
 * itself: drivers put more into it than the queue is long.
 */
static int walk(struct virtio_queue *queue, uint16_t head, struct virtio_chain *chain)
{
	struct table table = {.address = queue->descriptors, .n = queue->size};
	unsigned int left = queue->size;
	unsigned int at = head;
	int error;

	for (;;) {
		struct descriptor descriptor;

		if (at >= table.n)
			return broken(queue, "a descriptor is outside of its table");
		if (left-- == 0)
			return broken(queue, "a chain is longer than the queue, or loops");
		if (!guest_memory_read(queue->memory, table.address + at * DESCRIPTOR_BYTES,
			    &descriptor, sizeof(descriptor)))
			return broken(queue, "a descriptor is not in memory");
		if (descriptor.flags & DESCRIPTOR_INDIRECT) {
			error = enter_table(queue, &table, &descriptor);
			if (error)
				return error;
			at = 0;
			left = table.n < VIRTIO_CHAIN_MAX ? table.n : VIRTIO_CHAIN_MAX;
			continue;
		}
		error = add_buffer(queue, chain, &descriptor);
		if (error)
			return error;
		if (!(descriptor.flags & DESCRIPTOR_NEXT))
			return 0;
		at = descriptor.next;
	}
}

/* How many requests wait, by the driver's index as it is now. */
static uint16_t n_waiting(const struct virtio_queue *queue)
{
	return load(field(queue, queue->available, RING_INDEX)) - queue->next_available;
}

int virtio_queue_pop(struct virtio_queue *queue, struct virtio_chain *chain)
{
	uint16_t n, head;
	int error;

	if (queue->error)
		return -EBADMSG;
	if (!queue->enabled)
		return 0;
	n = n_waiting(queue);
	if (n == 0)
		return 0;
	if (n > queue->size)
		return broken(queue, "the available index is ahead by more than the queue's size");
	if ((uint16_t)(queue->next_available - queue->next_used) >= queue->size)
		return broken(queue, "more requests are made than the queue has descriptors");
	head = load(field(queue, queue->available,
		RING_ENTRIES + (queue->next_available % queue->size) * sizeof(uint16_t)));
	if (head >= queue->size)
		return broken(queue, "the available ring names a descriptor outside of the table");
	chain->head = head;
	chain->n_readable = chain->n_writable = 0;
	chain->readable_bytes = chain->writable_bytes = 0;
	error = walk(queue, head, chain);
	if (error)
		return error;
	queue->next_available++;
	return 1;
}

void virtio_queue_push(struct virtio_queue *queue, uint16_t head, uint32_t written)
{
	const struct used_entry entry = {.head = head, .written = written};

	if (!is_usable(queue))
		return;
	guest_memory_write(queue->memory,
		queue->used + RING_ENTRIES + (queue->next_used % queue->size) * USED_ENTRY_BYTES,
		&entry, sizeof(entry));
	queue->next_used++;
	/* Once around since the last interrupt: the difference says nothing any more. */
	if (queue->next_used == queue->signalled_used)
		queue->signalled_valid = false;
	store(field(queue, queue->used, RING_INDEX), queue->next_used);
}

/* --- Who wakes whom -------------------------------------------------------------------------- */

/* Whether the driver's event index is among the entries that were used since the last interrupt. */
static bool is_event_reached(const struct virtio_queue *queue)
{
	uint16_t event =
		load(field(queue, queue->available, RING_ENTRIES + queue->size * sizeof(uint16_t)));

	return (uint16_t)(queue->next_used - event - 1) <
	       (uint16_t)(queue->next_used - queue->signalled_used);
}

static bool is_interrupt_wanted(const struct virtio_queue *queue)
{
	if (queue->event_index)
		return !queue->signalled_valid || is_event_reached(queue);
	if (queue->signalled_valid && queue->signalled_used == queue->next_used)
		return false;
	return !(load(field(queue, queue->available, 0)) & AVAILABLE_NO_INTERRUPT);
}

void virtio_queue_signal(struct virtio_queue *queue)
{
	bool wanted;

	if (!is_usable(queue))
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	wanted = is_interrupt_wanted(queue);
	queue->signalled_used = queue->next_used;
	queue->signalled_valid = true;
	/* It can only fail if the interrupt is pending 2^64 times. */
	if (wanted)
		eventfd_write(queue->interrupt_fd, 1);
}

bool virtio_queue_enable_notify(struct virtio_queue *queue)
{
	if (!is_usable(queue))
		return false;
	if (queue->event_index)
		store(field(queue, queue->used, RING_ENTRIES + queue->size * USED_ENTRY_BYTES),
			queue->next_available);
	else
		store(field(queue, queue->used, 0), 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return n_waiting(queue) != 0;
}

/* With the event index there is nothing to do: it is behind until it is moved. */
void virtio_queue_disable_notify(struct virtio_queue *queue)
{
	if (is_usable(queue) && !queue->event_index)
		store(field(queue, queue->used, 0), USED_NO_NOTIFY);
}

/* --- What is in a request -------------------------------------------------------------------- */

/* Copies between `n` buffers, from `offset` on, and `bytes` at `host`: how much could be. */
static uint64_t copy(const struct iovec *buffers, unsigned int n, uint64_t offset, uint8_t *host,
	uint64_t bytes, bool into_guest)
{
	uint64_t done = 0;

	for (unsigned int i = 0; i < n && done < bytes; i++) {
		uint64_t part = buffers[i].iov_len;
		uint8_t *guest = buffers[i].iov_base;

		if (offset >= part) {
			offset -= part;
			continue;
		}
		guest += offset;
		part -= offset;
		offset = 0;
		if (part > bytes - done)
			part = bytes - done;
		memcpy(into_guest ? guest : host + done, into_guest ? host + done : guest, part);
		done += part;
	}
	return done;
}

uint64_t virtio_chain_read(
	const struct virtio_chain *chain, uint64_t offset, void *to, uint64_t bytes)
{
	return copy(chain->buffers, chain->n_readable, offset, to, bytes, false);
}

uint64_t virtio_chain_write(
	const struct virtio_chain *chain, uint64_t offset, const void *from, uint64_t bytes)
{
	return copy(chain->buffers + chain->n_readable, chain->n_writable, offset, (uint8_t *)from,
		bytes, true);
}
