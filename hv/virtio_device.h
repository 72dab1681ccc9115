/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a virtio device is to its transport (virtio-pci), and the transport to it.
 *
 *	X_create() -> virtio_pci_add() -> [driver: features, queues, DRIVER_OK] -> start() ->
 *notified()... -> stop()
 *
 * start() and stop() alternate, any number of times: a driver may reset a device in mid-traffic.
 *All operations are called with the machine's lock held, by a vCPU thread or by the event loop.
 */
#ifndef HV_VIRTIO_DEVICE_H
#define HV_VIRTIO_DEVICE_H

#include "hv/event_loop.h"
#include "hv/virtio_queue.h"

struct virtio_device;

/* A number that a device counts, for metrics: "reads", "bytes-read". */
struct virtio_counter {
	const char *name;
	uint64_t value;
};

enum { VIRTIO_COUNTERS = 24 };

struct virtio_device_type {
	const char *name;     /* "net", "block", ... */
	uint16_t id;	      /* virtio 1.2, 5. */
	bool external_queues; /* Another process works the queues: notify_fd and interrupt_fd are
				 handed to it. */
	/* The driver is ready (DRIVER_OK); features and queues stand.  A negative errno: the device
	 * needs a reset. */
	int (*start)(struct virtio_device *device);
	/* The driver reset the device.  Once it returns nobody touches guest memory for this device
	 * any more. */
	void (*stop)(struct virtio_device *device);
	/*
	 * The driver has put requests into queue `index`: take them with virtio_device_take().  On
	 * the event loop's thread, between start() and stop().  Not with external_queues.
	 */
	void (*notified)(struct virtio_device *device, unsigned int index);
	/* The device's own configuration space; outside of it, reads give 0 and writes are ignored.
	 */
	void (*read_config)(
		struct virtio_device *device, uint32_t offset, uint8_t *data, unsigned int bytes);
	void (*write_config)(struct virtio_device *device, uint32_t offset, const uint8_t *data,
		unsigned int bytes);
	/* Fills in what the device has counted since it was made: how many numbers, at most
	 * VIRTIO_COUNTERS.  Or NULL. */
	unsigned int (*counters)(struct virtio_device *device, struct virtio_counter *counters);
	/* Frees the device; it was stopped before. */
	void (*destroy)(struct virtio_device *device);
};

/* How many requests one call of notified() may take before others get their turn. */
enum { VIRTIO_DEVICE_TURN = 64 };

/* Embedded first in each device. */
struct virtio_device {
	const struct virtio_device_type *type;
	char name[32]; /* "net0", "disk1": in messages and metrics. */
	const struct guest_memory *memory;
	struct event_loop *loop;
	/* Set by the device before it is added. */
	uint64_t features_offered; /* VIRTIO_F_VERSION_1 and the transport's are added by the
				      transport. */
	unsigned int n_queues;
	uint16_t queue_size_max; /* A power of two, at most VIRTIO_QUEUE_MAX. */
	/* The transport's. */
	uint64_t features; /* What the driver accepted, a part of what was offered. */
	struct virtio_queue *queues;
	bool started;
	struct virtio_listener *listeners; /* virtio_device.c's, one for each queue. */
	struct virtio_transport *transport;
};

/*
 * Takes the next request of queue `index`, in notified() or whenever the device is started:
 *
 *	unsigned int turn = VIRTIO_DEVICE_TURN;
 *
 *	while (virtio_device_take(device, index, &chain, &turn))
 *		...
 *
 * False if there is none: the driver then notifies of the next one.  False too if the turn has
 * ended (notified() is called again soon) and if the queue is broken (virtio_device_fail() has been
 * called).
 */
bool virtio_device_take(struct virtio_device *device, unsigned int index,
	struct virtio_chain *chain, unsigned int *turn);

/* Calls notified() soon, on the event loop's thread: for who left requests in the queue. */
void virtio_device_notify_again(struct virtio_device *device, unsigned int index);

/* For the types of devices that have nothing to do there, and no configuration of their own. */
int virtio_device_start_nothing(struct virtio_device *device);
void virtio_device_stop_nothing(struct virtio_device *device);
void virtio_device_read_nothing(
	struct virtio_device *device, uint32_t offset, uint8_t *data, unsigned int bytes);
void virtio_device_write_nothing(
	struct virtio_device *device, uint32_t offset, const uint8_t *data, unsigned int bytes);

/* Called by devices; written by the transport (virtio_pci.c). */

/* The configuration space has changed: the driver is interrupted and sees another generation. */
void virtio_device_config_changed(struct virtio_device *device);

/* The device cannot go on (a broken queue, a back end that refused): DEVICE_NEEDS_RESET, and the
 * reason in metrics. */
void virtio_device_fail(struct virtio_device *device, const char *reason);

/* Why it needs a reset, or NULL: what virtio_device_fail() was called with since the last one. */
const char *virtio_device_failure(const struct virtio_device *device);

/* How often KVM has refused an interrupt of this device (a message, or to wait for its eventfd). */
uint64_t virtio_device_interrupts_refused(const struct virtio_device *device);

/*
 * For the transport (virtio_device.c).  The loop calls notified() from listen to unlisten; prepare
 * and release, once in a life, make and free what that takes, when the queues have their notify_fd.
 * They do nothing for external queues.
 */
int virtio_device_prepare(struct virtio_device *device);
int virtio_device_listen(struct virtio_device *device);
void virtio_device_unlisten(struct virtio_device *device);
void virtio_device_release(struct virtio_device *device);

#endif
