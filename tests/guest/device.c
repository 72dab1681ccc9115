/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio devices other than vNICs: opened when a command needs them first, and kept.
 */
#include "guest.h"

enum { TYPES = 6, EACH = 16, QUEUE_SIZE = 64 };

static struct device devices[TYPES][EACH];

void device_begin(struct device *device)
{
	virtio_begin(&device->virtio, device->wanted);
	for (unsigned int i = 0; i < device->n_queues; i++)
		virtio_queue(&device->virtio, &device->queues[i], i, QUEUE_SIZE, NO_VECTOR);
	virtio_ready(&device->virtio);
}

struct device *device_open(
	enum virtio_type type, uint64_t nth, uint64_t features, unsigned int n_queues)
{
	struct device *device = &devices[type][nth % EACH];

	if (device->open && !(features & ~device->wanted))
		return device;
	if (!device->open && !virtio_find(&device->virtio, type, (unsigned int)nth))
		return NULL;
	device->wanted |= features;
	device->n_queues = n_queues;
	device_begin(device);
	device->open = true;
	return device;
}
