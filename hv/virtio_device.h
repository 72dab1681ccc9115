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
	/* The driver has put requests into queue `index`.  Not with external_queues. */
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
	struct virtio_transport *transport;
};

/* Called by devices; written by the transport (virtio_pci.c). */

/* The configuration space has changed: the driver is interrupted and sees another generation. */
void virtio_device_config_changed(struct virtio_device *device);

/* The device cannot go on (a broken queue, a back end that refused): DEVICE_NEEDS_RESET, and the
 * reason in metrics. */
void virtio_device_fail(struct virtio_device *device, const char *reason);

#endif
