/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest reaches of a virtio function (virtio 1.2, 4.1): the parts of its BAR, and the
 * capabilities in its configuration space that do something.  Accesses come on vCPU threads, with
 * the machine's lock held.
 *
 * What is between the parts of the BAR reads as zeros.  There is no INTx; the ISR register tells a
 * driver that polls it of what no vector tells.
 */
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>

#include "hv/virtio_transport.h"

enum { WINDOW_BYTES_MAX = 4 };

static struct virtio_transport *transport_of(void *function)
{
	return function;
}

/* --- Notifications --------------------------------------------------------------------------- */

static uint64_t doorbell_of(const struct virtio_transport *transport, unsigned int queue)
{
	const struct virtio_device *device = transport->device;

	if (!device->started || !device->queues[queue].enabled ||
		transport->function.bar_address == PCI_NOWHERE)
		return PCI_NOWHERE;
	return transport->function.bar_address + VIRTIO_BAR_NOTIFY +
	       queue * VIRTIO_NOTIFY_MULTIPLIER;
}

void virtio_transport_place_doorbells(struct virtio_transport *transport)
{
	struct ioeventfds *ioeventfds = transport->ioeventfds;

	for (unsigned int i = 0; ioeventfds && i < transport->device->n_queues; i++) {
		struct virtio_queue_ends *ends = &transport->ends[i];
		int notify_fd = transport->device->queues[i].notify_fd;
		uint64_t wanted = doorbell_of(transport, i);

		if (ends->doorbell == wanted)
			continue;
		if (ends->doorbell != PCI_NOWHERE)
			ioeventfds->operations->detach(ioeventfds, ends->doorbell, notify_fd);
		ends->doorbell = PCI_NOWHERE;
		/* If KVM has no room for it, notifications leave the guest. */
		if (wanted != PCI_NOWHERE &&
			ioeventfds->operations->attach(ioeventfds, wanted, notify_fd) == 0)
			ends->doorbell = wanted;
	}
}

/* Each queue has an address of its own: which one it is, the value need not tell. */
static void notify_write(struct virtio_transport *transport, uint64_t offset, const uint8_t *data,
	unsigned int bytes)
{
	struct virtio_device *device = transport->device;
	uint64_t queue = offset / VIRTIO_NOTIFY_MULTIPLIER;

	(void)data;
	(void)bytes;
	if (offset % VIRTIO_NOTIFY_MULTIPLIER == 0 && queue < device->n_queues && device->started &&
		device->queues[queue].enabled)
		eventfd_write(device->queues[queue].notify_fd, 1);
}

/* --- The other parts of the BAR -------------------------------------------------------------- */

/* Reading takes it back (4.1.4.5).  What a vector tells of is not told here. */
static void isr_read(
	struct virtio_transport *transport, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	(void)offset;
	(void)bytes;
	for (unsigned int i = 0; i < transport->device->n_queues; i++)
		if (msix_take_untold(&transport->msix, &transport->ends[i].interrupt))
			transport->isr |= VIRTIO_ISR_QUEUE;
	msix_take_untold(&transport->msix, &transport->config_interrupt);
	data[0] = transport->isr;
	transport->isr = 0;
}

static void device_read(
	struct virtio_transport *transport, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	struct virtio_device *device = transport->device;

	if (device->type->read_config)
		device->type->read_config(device, (uint32_t)offset, data, bytes);
}

static void device_write(struct virtio_transport *transport, uint64_t offset, const uint8_t *data,
	unsigned int bytes)
{
	struct virtio_device *device = transport->device;

	if (device->type->write_config)
		device->type->write_config(device, (uint32_t)offset, data, bytes);
}

static void table_read(
	struct virtio_transport *transport, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	msix_table_read(&transport->msix, offset, data, bytes);
}

static void table_write(struct virtio_transport *transport, uint64_t offset, const uint8_t *data,
	unsigned int bytes)
{
	msix_table_write(&transport->msix, offset, data, bytes);
}

static void pending_read(
	struct virtio_transport *transport, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	msix_pending_read(&transport->msix, offset, data, bytes);
}

/* What may be NULL reads as zeros, or ignores writes. */
struct part {
	uint32_t offset, bytes;
	void (*read)(struct virtio_transport *transport, uint64_t offset, uint8_t *data,
		unsigned int bytes);
	void (*write)(struct virtio_transport *transport, uint64_t offset, const uint8_t *data,
		unsigned int bytes);
};

static const struct part parts[] = {
	{VIRTIO_BAR_COMMON, VIRTIO_COMMON_BYTES, virtio_common_read, virtio_common_write},
	{VIRTIO_BAR_ISR, VIRTIO_ISR_BYTES, isr_read, NULL},
	{VIRTIO_BAR_DEVICE, VIRTIO_DEVICE_BYTES, device_read, device_write},
	{VIRTIO_BAR_NOTIFY, VIRTIO_NOTIFY_BYTES, NULL, notify_write},
	{VIRTIO_BAR_TABLE, VIRTIO_TABLE_BYTES, table_read, table_write},
	{VIRTIO_BAR_PENDING, VIRTIO_PENDING_BYTES, pending_read, NULL},
};

/* The part that the whole access is in. */
static const struct part *find(uint64_t offset, unsigned int bytes)
{
	for (unsigned int i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (offset >= parts[i].offset && bytes <= parts[i].bytes &&
			offset - parts[i].offset <= parts[i].bytes - bytes)
			return &parts[i];
	return NULL;
}

static void bar_read(void *function, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	const struct part *part = find(offset, bytes);

	memset(data, 0, bytes);
	if (part && part->read)
		part->read(transport_of(function), offset - part->offset, data, bytes);
}

static void bar_write(void *function, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	const struct part *part = find(offset, bytes);

	if (part && part->write)
		part->write(transport_of(function), offset - part->offset, data, bytes);
}

static void bar_moved(struct pci_function *function)
{
	virtio_transport_place_doorbells(transport_of(function));
}

/* --- The configuration space ----------------------------------------------------------------- */

static bool touches(unsigned int offset, unsigned int bytes, unsigned int from, unsigned int n)
{
	return offset < from + n && offset + bytes > from;
}

static unsigned int window_data(const struct virtio_transport *transport)
{
	return transport->window + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
}

/* The access that the window asks for (4.1.4.9); false if it can be none. */
static bool find_window(
	const struct virtio_transport *transport, uint32_t *offset, unsigned int *bytes)
{
	const struct pci_config *config = &transport->function.config;

	*offset = pci_config_get32(config, transport->window + VIRTIO_PCI_CAP_OFFSET);
	*bytes = pci_config_get32(config, transport->window + VIRTIO_PCI_CAP_LENGTH);
	return config->bytes[transport->window + VIRTIO_PCI_CAP_BAR] == 0 &&
	       (*bytes == 1 || *bytes == 2 || *bytes == 4) && *offset % *bytes == 0 &&
	       *offset <= VIRTIO_BAR_BYTES - *bytes;
}

static void config_reading(struct pci_function *function, unsigned int offset, unsigned int bytes)
{
	struct virtio_transport *transport = transport_of(function);
	unsigned int data = window_data(transport), window_bytes;
	uint32_t window_offset;

	if (touches(offset, bytes, data, WINDOW_BYTES_MAX) &&
		find_window(transport, &window_offset, &window_bytes))
		bar_read(transport, window_offset, function->config.bytes + data, window_bytes);
}

static void control_msix(struct virtio_transport *transport)
{
	const struct pci_config *config = &transport->function.config;
	uint16_t flags = pci_config_get16(config, transport->msix_capability + PCI_MSIX_FLAGS);

	/* Messages are writes to memory, which only a bus master may do. */
	msix_control(&transport->msix, flags & PCI_MSIX_FLAGS_ENABLE,
		(flags & PCI_MSIX_FLAGS_MASKALL) || !virtio_transport_is_master(transport));
}

static void config_written(struct pci_function *function, unsigned int offset, unsigned int bytes)
{
	struct virtio_transport *transport = transport_of(function);
	unsigned int data = window_data(transport), window_bytes;
	uint32_t window_offset;

	if (touches(offset, bytes, PCI_COMMAND, 2)) {
		virtio_transport_set_master(transport, virtio_transport_is_master(transport));
		control_msix(transport);
	}
	if (touches(offset, bytes, transport->msix_capability + PCI_MSIX_FLAGS, 2))
		control_msix(transport);
	if (touches(offset, bytes, data, WINDOW_BYTES_MAX) &&
		find_window(transport, &window_offset, &window_bytes))
		bar_write(transport, window_offset, function->config.bytes + data, window_bytes);
}

const struct pci_function_type virtio_pci_function_type = {
	.bar = {bar_read, bar_write},
	.bar_moved = bar_moved,
	.config_reading = config_reading,
	.config_written = config_written,
	.destroy = virtio_pci_destroy,
};
