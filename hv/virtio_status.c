/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a virtio device (virtio 1.2, 2.1 and 3.1): what the driver may do with the status
 * register, and what that means to the device.  Called by the transport's registers on vCPU
 *threads, and by devices that fail, with the machine's lock held.
 *
 *	reset -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK (or refused) -> DRIVER_OK: started
 *	anything -> DEVICE_NEEDS_RESET: the device cannot go on; it stays until the driver resets
 *
 * Only a reset takes bits back.  A device that is started may work in guest memory; from the return
 * of type->stop() on it does not, so that a driver which reads 0 from the status register has its
 * memory back.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "hv/virtio_transport.h"

enum {
	STATUS_WRITABLE = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			  VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK |
			  VIRTIO_CONFIG_S_FAILED,
};

bool virtio_transport_is_master(const struct virtio_transport *transport)
{
	return pci_config_get16(&transport->function.config, PCI_COMMAND) & PCI_COMMAND_MASTER;
}

static bool has_feature(const struct virtio_device *device, unsigned int bit)
{
	return device->features >> bit & 1;
}

/* What the device can, what every device of this transport can, and what queues can that are ours.
 */
uint64_t virtio_transport_offered(const struct virtio_transport *transport)
{
	const struct virtio_device *device = transport->device;
	uint64_t features = device->features_offered | UINT64_C(1) << VIRTIO_F_VERSION_1;

	if (!device->type->external_queues)
		features |= UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |
			    UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX;
	return features;
}

/* A driver may take what was offered, and has to take what makes it a modern one. */
static bool accept_features(struct virtio_transport *transport)
{
	uint64_t features = transport->driver_features;

	if ((features & ~virtio_transport_offered(transport)) != 0 ||
		!(features >> VIRTIO_F_VERSION_1 & 1))
		return false;
	transport->device->features = features;
	return true;
}

/* --- Starting -------------------------------------------------------------------------------- */

/* The rings that the driver has set up, looked at for the first time. */
static const char *start_queues(struct virtio_device *device)
{
	for (unsigned int i = 0; i < device->n_queues; i++) {
		struct virtio_queue *queue = &device->queues[i];

		if (!queue->enabled)
			continue;
		queue->indirect = has_feature(device, VIRTIO_RING_F_INDIRECT_DESC);
		queue->event_index = has_feature(device, VIRTIO_RING_F_EVENT_IDX);
		if (!virtio_queue_start(queue))
			return queue->error;
	}
	return NULL;
}

/* What the driver had put into its rings before is looked at as well. */
static void look_at_all_queues(struct virtio_device *device)
{
	for (unsigned int i = 0; i < device->n_queues; i++)
		if (device->queues[i].enabled)
			virtio_device_notify_again(device, i);
}

static void start(struct virtio_transport *transport)
{
	struct virtio_device *device = transport->device;
	const char *rule;
	int error;

	if (!virtio_transport_is_master(transport)) {
		virtio_device_fail(device, "the driver has not switched bus mastering on");
		return;
	}
	rule = start_queues(device);
	if (rule) {
		virtio_device_fail(device, rule);
		return;
	}
	error = device->type->start(device);
	if (error) {
		/* A device that knows why has said it. */
		if (!virtio_device_failure(device))
			virtio_device_fail(device, strerror(-error));
		return;
	}
	device->started = true;
	error = virtio_device_listen(device);
	if (error)
		virtio_device_fail(device, strerror(-error));
	virtio_transport_place_doorbells(transport);
	if (!device->type->external_queues)
		look_at_all_queues(device);
}

/* --- Stopping -------------------------------------------------------------------------------- */

static void stop(struct virtio_transport *transport)
{
	struct virtio_device *device = transport->device;

	if (!device->started)
		return;
	device->started = false;
	virtio_transport_place_doorbells(transport);
	virtio_device_unlisten(device);
	device->type->stop(device);
}

static void reset_queue(struct virtio_transport *transport, unsigned int i)
{
	const struct virtio_device *device = transport->device;
	struct virtio_queue *queue = &device->queues[i];
	eventfd_t count;

	*queue = (struct virtio_queue){
		.memory = device->memory,
		.size = device->queue_size_max,
		.notify_fd = queue->notify_fd,
		.interrupt_fd = queue->interrupt_fd,
	};
	eventfd_read(queue->notify_fd, &count);
	msix_set_vector(&transport->msix, &transport->ends[i].interrupt, MSIX_NO_VECTOR);
	msix_forget(&transport->ends[i].interrupt);
}

void virtio_transport_reset(struct virtio_transport *transport)
{
	struct virtio_device *device = transport->device;

	stop(transport);
	for (unsigned int i = 0; i < device->n_queues; i++)
		reset_queue(transport, i);
	msix_set_vector(&transport->msix, &transport->config_interrupt, MSIX_NO_VECTOR);
	msix_forget(&transport->config_interrupt);
	device->features = 0;
	transport->device_feature_select = transport->driver_feature_select = 0;
	transport->driver_features = 0;
	transport->queue_select = 0;
	transport->status = 0;
	transport->isr = 0;
	transport->failure[0] = '\0';
}

void virtio_transport_set_master(struct virtio_transport *transport, bool master)
{
	if (master || !transport->device->started)
		return;
	stop(transport);
	virtio_device_fail(transport->device, "the driver has switched bus mastering off");
}

/* --- The status register --------------------------------------------------------------------- */

void virtio_transport_set_status(struct virtio_transport *transport, uint8_t status)
{
	uint8_t before = transport->status & STATUS_WRITABLE;

	if (status == 0) {
		virtio_transport_reset(transport);
		return;
	}
	status &= STATUS_WRITABLE;
	if ((status & before) != before)
		return;
	if ((status & ~before & VIRTIO_CONFIG_S_FEATURES_OK) && !accept_features(transport))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
		status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	transport->status |= status;
	if ((status & ~before & VIRTIO_CONFIG_S_DRIVER_OK) &&
		!(transport->status & VIRTIO_CONFIG_S_NEEDS_RESET))
		start(transport);
}

/* --- What devices tell their driver ---------------------------------------------------------- */

static void interrupt_for_config(struct virtio_transport *transport)
{
	transport->isr |= VIRTIO_ISR_CONFIG;
	eventfd_write(transport->config_interrupt.eventfd, 1);
}

void virtio_device_config_changed(struct virtio_device *device)
{
	struct virtio_transport *transport = device->transport;

	transport->generation++;
	if (transport->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt_for_config(transport);
}

void virtio_device_fail(struct virtio_device *device, const char *reason)
{
	struct virtio_transport *transport = device->transport;

	if (transport->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	snprintf(transport->failure, sizeof(transport->failure), "%s", reason);
	transport->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_device_unlisten(device);
	if (transport->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt_for_config(transport);
}

const char *virtio_device_failure(const struct virtio_device *device)
{
	const struct virtio_transport *transport = device->transport;

	return transport->failure[0] != '\0' ? transport->failure : NULL;
}

uint64_t virtio_device_interrupts_refused(const struct virtio_device *device)
{
	return device->transport->msix.refused;
}
