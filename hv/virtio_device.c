/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices whose queues this process works itself: a notification wakes the event loop, which calls
 * the device for a turn of bounded work.
 *
 * listen and unlisten are called by the transport, the rest by the devices, with the machine's lock
 * held.
 */
#include "hv/virtio_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct virtio_listener {
	struct event_source source;
	struct virtio_device *device;
	unsigned int index;
};

static void ready(struct event_source *source, uint32_t events)
{
	struct virtio_listener *listener = (struct virtio_listener *)source;
	struct virtio_device *device = listener->device;
	eventfd_t count;

	(void)events;
	/* Before the queue is looked at: what comes later wakes again. */
	eventfd_read(source->fd, &count);
	if (device->queues[listener->index].enabled)
		device->type->notified(device, listener->index);
}

int virtio_device_prepare(struct virtio_device *device)
{
	if (device->type->external_queues || device->n_queues == 0)
		return 0;
	device->listeners = calloc(device->n_queues, sizeof(*device->listeners));
	if (!device->listeners)
		return -ENOMEM;
	for (unsigned int i = 0; i < device->n_queues; i++)
		device->listeners[i] = (struct virtio_listener){
			.source = {.fd = device->queues[i].notify_fd, .ready = ready},
			.device = device,
			.index = i,
		};
	return 0;
}

void virtio_device_release(struct virtio_device *device)
{
	free(device->listeners);
	device->listeners = NULL;
}

int virtio_device_listen(struct virtio_device *device)
{
	if (!device->listeners)
		return 0;
	for (unsigned int i = 0; i < device->n_queues; i++) {
		int error;

		if (!device->queues[i].enabled)
			continue;
		error = event_loop_add(device->loop, &device->listeners[i].source, EPOLLIN);
		if (error) {
			virtio_device_unlisten(device);
			return error;
		}
	}
	return 0;
}

void virtio_device_unlisten(struct virtio_device *device)
{
	if (!device->listeners)
		return;
	for (unsigned int i = 0; i < device->n_queues; i++)
		if (device->listeners[i].source.added)
			event_loop_remove(device->loop, &device->listeners[i].source);
}

void virtio_device_notify_again(struct virtio_device *device, unsigned int index)
{
	eventfd_write(device->queues[index].notify_fd, 1);
}

bool virtio_device_take(struct virtio_device *device, unsigned int index,
	struct virtio_chain *chain, unsigned int *turn)
{
	struct virtio_queue *queue = &device->queues[index];
	int taken;

	/* By what was broken last, maybe no ring: its driver has to reset it. */
	if (virtio_device_failure(device))
		return false;
	if (*turn == 0) {
		virtio_device_notify_again(device, index);
		return false;
	}
	taken = virtio_queue_pop(queue, chain);
	if (taken == 0 && virtio_queue_enable_notify(queue)) {
		/* Requests came before the driver knew that it has to notify.  If it takes them
		 * back, it gets another look, but not at once, and not for ever. */
		taken = virtio_queue_pop(queue, chain);
		if (taken == 0)
			virtio_device_notify_again(device, index);
	}
	if (taken < 0)
		virtio_device_fail(device, queue->error);
	if (taken <= 0)
		return false;
	virtio_queue_disable_notify(queue);
	--*turn;
	return true;
}

int virtio_device_start_nothing(struct virtio_device *device)
{
	(void)device;
	return 0;
}

void virtio_device_stop_nothing(struct virtio_device *device)
{
	(void)device;
}

void virtio_device_read_nothing(
	struct virtio_device *device, uint32_t offset, uint8_t *data, unsigned int bytes)
{
	(void)device, (void)offset;
	memset(data, 0, bytes);
}

void virtio_device_write_nothing(
	struct virtio_device *device, uint32_t offset, const uint8_t *data, unsigned int bytes)
{
	(void)device, (void)offset, (void)data, (void)bytes;
}
