/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A split virtqueue (virtio 1.2, 2.7) as the device sees it, for devices that this process emulates
 * itself.
 *
 * Nothing that the guest writes there is believed.  Each index, descriptor, length and chain is
 * copied out once, and checked on the copy: indexes within the queue, buffers wholly in guest
 * memory, readable ones before writable ones, no more descriptors in a chain than the queue has, an
 * indirect table whose length is a multiple of 16 and which names no other table.  A queue that
 * breaks a rule is broken for good until the driver resets the device: it is not looked at any
 * more, the device says DEVICE_NEEDS_RESET, and `error` names the rule.
 *
 * Used by one thread at a time, with the machine's lock held.
 */
#ifndef HV_VIRTIO_QUEUE_H
#define HV_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "hv/guest_memory.h"

enum {
	VIRTIO_QUEUE_MAX = 1024, /* Descriptors in a queue. */
	VIRTIO_CHAIN_MAX = 256,	 /* Buffers in a chain, those of an indirect table included. */
};

struct virtio_queue {
	const struct guest_memory *memory;
	/* As the driver set them; immutable while the queue is enabled. */
	uint16_t size;
	uint64_t descriptors, available, used;
	bool enabled;
	bool indirect, event_index; /* What was negotiated. */
	/* The device's own places in the rings. */
	uint16_t next_available, next_used;
	uint16_t signalled_used; /* Where next_used was at the last interrupt. */
	bool signalled_valid;
	const char *error; /* The rule that was broken, or NULL. */
	/* Raised by the driver (ioeventfd), and by the device (irqfd).  The transport's; valid
	 * throughout. */
	int notify_fd, interrupt_fd;
};

/* A request: what the driver wrote, then where it wants the answer.  Valid until the device is
 * reset. */
struct virtio_chain {
	uint16_t head;
	unsigned int n_readable, n_writable;
	uint64_t readable_bytes, writable_bytes;
	struct iovec buffers[VIRTIO_CHAIN_MAX]; /* Readable ones first. */
};

/*
 * Before the first use: checks that the rings, of the size and at the addresses that the driver
 * gave, lie in guest memory and are aligned.  False, and `error` set, if not.
 */
bool virtio_queue_start(struct virtio_queue *queue);

/* Takes the next request: 1; 0 if there is none; -EBADMSG if the queue is, or is now, broken. */
int virtio_queue_pop(struct virtio_queue *queue, struct virtio_chain *chain);

/* Gives a request back, of whose writable bytes the first `written` were filled. */
void virtio_queue_push(struct virtio_queue *queue, uint16_t head, uint32_t written);

/* Interrupts the driver unless it asked not to be (flag or event index). */
void virtio_queue_signal(struct virtio_queue *queue);

/* Asks to be notified, or not.  True if requests have come meanwhile and the queue has to be looked
 * at again. */
bool virtio_queue_enable_notify(struct virtio_queue *queue);
void virtio_queue_disable_notify(struct virtio_queue *queue);

/* Copies from the readable or into the writable buffers, from `offset` on: how much could be. */
uint64_t virtio_chain_read(
	const struct virtio_chain *chain, uint64_t offset, void *to, uint64_t bytes);
uint64_t virtio_chain_write(
	const struct virtio_chain *chain, uint64_t offset, const void *from, uint64_t bytes);

#endif
