/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a PCI function of a virtio device (virtio 1.2, 4.1.2 and 4.1.4), and ending it: identity,
 * capabilities, queues, and the eventfds of both directions.  Called while the machine is set up,
 * and when it ends.
 */
#include "hv/virtio_pci.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/virtio_transport.h"

enum {
	VECTORS_MAX = VIRTIO_TABLE_BYTES / MSIX_ENTRY_BYTES,
	QUEUES_MAX = VECTORS_MAX - 1, /* One vector is for changes of the configuration. */
	VIRTIO_VENDOR = 0x1af4,
	VIRTIO_DEVICE_BASE = 0x1040,
	VIRTIO_SUBSYSTEM_BASE = 0x40,
	VIRTIO_REVISION = 1, /* Not a transitional device. */
};

static uint32_t class_of(uint16_t id)
{
	switch (id) {
	case VIRTIO_ID_NET: return 0x020000;	 /* Ethernet. */
	case VIRTIO_ID_BLOCK: return 0x018000;	 /* Other mass storage. */
	case VIRTIO_ID_CONSOLE: return 0x078000; /* Other communication. */
	default: return 0xff0000;		 /* None that is defined. */
	}
}

static int add_capability(struct virtio_transport *transport, uint8_t type, uint32_t offset,
	uint32_t bytes, struct virtio_pci_cap *capability, unsigned int capability_bytes)
{
	*capability = (struct virtio_pci_cap){
		.cap_len = (uint8_t)capability_bytes,
		.cfg_type = type,
		.offset = htole32(offset),
		.length = htole32(bytes),
	};
	return pci_config_add_capability(
		&transport->function.config, PCI_CAP_ID_VNDR, capability, capability_bytes);
}

static int add_virtio_capabilities(struct virtio_transport *transport)
{
	struct virtio_pci_notify_cap notify = {
		.notify_off_multiplier = htole32(VIRTIO_NOTIFY_MULTIPLIER)};
	struct virtio_pci_cfg_cap window = {0};
	struct virtio_pci_cap cap;
	int at;

	add_capability(transport, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_BAR_COMMON, VIRTIO_COMMON_BYTES,
		&cap, sizeof(cap));
	add_capability(transport, VIRTIO_PCI_CAP_ISR_CFG, VIRTIO_BAR_ISR, VIRTIO_ISR_BYTES, &cap,
		sizeof(cap));
	add_capability(transport, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_BAR_DEVICE, VIRTIO_DEVICE_BYTES,
		&cap, sizeof(cap));
	add_capability(transport, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_BAR_NOTIFY, VIRTIO_NOTIFY_BYTES,
		&notify.cap, sizeof(notify));
	at = add_capability(transport, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, &window.cap, sizeof(window));
	if (at < 0)
		return at;
	transport->window = (unsigned int)at;
	/* What the driver says of the access that it wants, and its data. */
	pci_config_allow(&transport->function.config, transport->window + VIRTIO_PCI_CAP_BAR, 1);
	pci_config_allow(&transport->function.config, transport->window + VIRTIO_PCI_CAP_OFFSET,
		sizeof(window) - VIRTIO_PCI_CAP_OFFSET);
	return 0;
}

/* Of which the guest may change two bits: enabled, and masked as a whole. */
static int add_msix_capability(struct virtio_transport *transport)
{
	struct pci_config *config = &transport->function.config;
	uint8_t capability[PCI_CAP_MSIX_SIZEOF] = {0};
	int at = pci_config_add_capability(config, PCI_CAP_ID_MSIX, capability, sizeof(capability));

	if (at < 0)
		return at;
	transport->msix_capability = (unsigned int)at;
	pci_config_set16(config, transport->msix_capability + PCI_MSIX_FLAGS,
		(uint16_t)(transport->msix.n_entries - 1));
	pci_config_set32(config, transport->msix_capability + PCI_MSIX_TABLE, VIRTIO_BAR_TABLE);
	pci_config_set32(config, transport->msix_capability + PCI_MSIX_PBA, VIRTIO_BAR_PENDING);
	config->writable[transport->msix_capability + PCI_MSIX_FLAGS + 1] =
		(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	return 0;
}

static int configure(struct virtio_transport *transport)
{
	uint16_t id = transport->device->type->id;
	const struct pci_identity identity = {
		.vendor = VIRTIO_VENDOR,
		.device = VIRTIO_DEVICE_BASE + id,
		.subsystem_vendor = VIRTIO_VENDOR,
		.subsystem = VIRTIO_SUBSYSTEM_BASE + id,
		.class = class_of(id),
		.revision = VIRTIO_REVISION,
	};
	int status;

	pci_config_init(&transport->function.config, &identity);
	status = add_virtio_capabilities(transport);
	return status ? status : add_msix_capability(transport);
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Ends what virtio_pci_add() has made, but for the device. */
static void transport_free(struct virtio_transport *transport)
{
	struct virtio_device *device = transport->device;

	virtio_device_release(device);
	msix_destroy(&transport->msix);
	close_if_open(transport->config_interrupt.eventfd);
	for (unsigned int i = 0; device->queues && i < device->n_queues; i++) {
		close_if_open(device->queues[i].notify_fd);
		close_if_open(device->queues[i].interrupt_fd);
	}
	free(device->queues);
	device->queues = NULL;
	device->transport = NULL;
	free(transport->ends);
	free(transport);
}

void virtio_pci_destroy(struct pci_function *function)
{
	struct virtio_transport *transport = (struct virtio_transport *)function;
	struct virtio_device *device = transport->device;

	virtio_transport_reset(transport);
	transport_free(transport);
	device->type->destroy(device);
}

/* Room for the queues; their descriptors are not open yet. */
static int allocate_queues(struct virtio_transport *transport)
{
	struct virtio_device *device = transport->device;

	transport->config_interrupt.eventfd = -1;
	transport->ends = calloc(device->n_queues, sizeof(*transport->ends));
	device->queues = calloc(device->n_queues, sizeof(*device->queues));
	for (unsigned int i = 0; device->queues && i < device->n_queues; i++)
		device->queues[i].notify_fd = device->queues[i].interrupt_fd = -1;
	return transport->ends && device->queues ? 0 : -ENOMEM;
}

static int open_event(int *fd)
{
	*fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

static int open_events(struct virtio_transport *transport)
{
	struct virtio_device *device = transport->device;
	int status = open_event(&transport->config_interrupt.eventfd);

	for (unsigned int i = 0; status == 0 && i < device->n_queues; i++) {
		status = open_event(&device->queues[i].notify_fd);
		if (status == 0)
			status = open_event(&device->queues[i].interrupt_fd);
	}
	return status;
}

static void add_sources(struct virtio_transport *transport)
{
	msix_add_source(&transport->msix, &transport->config_interrupt);
	for (unsigned int i = 0; i < transport->device->n_queues; i++) {
		struct virtio_queue_ends *ends = &transport->ends[i];

		ends->doorbell = PCI_NOWHERE;
		ends->interrupt.eventfd = transport->device->queues[i].interrupt_fd;
		msix_add_source(&transport->msix, &ends->interrupt);
	}
}

static int set_up(struct virtio_transport *transport, struct pci_root *root, struct hv_error *error)
{
	struct virtio_device *device = transport->device;
	int status = allocate_queues(transport);

	if (status == 0)
		status = open_events(transport);
	if (status == 0)
		status = virtio_device_prepare(device);
	if (status != 0)
		return hv_fail(error, -status, "%s: its %u queues cannot be made: %s%s",
			device->name, device->n_queues, strerror(-status),
			status == -EMFILE ? "; raise the limit of open files (ulimit -n)" : "");
	status = msix_create(&transport->msix, pci_root_environment(root)->interrupts, device->name,
		device->n_queues + 1, error);
	if (status != 0)
		return status;
	add_sources(transport);
	status = configure(transport);
	if (status != 0)
		return hv_fail(error, -status, "%s: its capabilities do not fit", device->name);
	virtio_transport_reset(transport);
	return pci_add_function(root, &transport->function, error);
}

int virtio_pci_add(struct pci_root *root, struct virtio_device *device, struct hv_error *error)
{
	struct virtio_transport *transport;
	int status;

	if (device->n_queues == 0 || device->n_queues > QUEUES_MAX)
		return hv_fail(error, EINVAL, "%s: %u queues, of 1 to %u that a device can have",
			device->name, device->n_queues, QUEUES_MAX);
	transport = calloc(1, sizeof(*transport));
	if (!transport)
		return hv_fail(error, ENOMEM, "%s: no memory for its registers", device->name);
	transport->function.type = &virtio_pci_function_type;
	transport->function.bar_bytes = VIRTIO_BAR_BYTES;
	transport->function.bar_address = PCI_NOWHERE;
	transport->device = device;
	transport->ioeventfds = pci_root_environment(root)->ioeventfds;
	device->transport = transport;
	status = set_up(transport, root, error);
	if (status != 0)
		transport_free(transport);
	return status;
}
