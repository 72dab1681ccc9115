/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the PCI transport share.
 *
 *	virtio_pci_add.c	making a function: its identity and capabilities; ending it
 *	virtio_pci.c		what the guest reaches: the parts of the BAR
 *	virtio_registers.c	the common configuration structure
 *	virtio_status.c		the device's life: features, start, failure, reset
 *
 * With the machine's lock held throughout.
 */
#ifndef HV_VIRTIO_TRANSPORT_H
#define HV_VIRTIO_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/msix.h"
#include "hv/pci.h"
#include "hv/virtio_device.h"

/* The parts of the BAR, each on pages of its own. */
enum {
	VIRTIO_BAR_COMMON = 0x0000,
	VIRTIO_COMMON_BYTES = 60, /* virtio 1.2, 4.1.4.3. */
	VIRTIO_BAR_ISR = 0x1000,
	VIRTIO_ISR_BYTES = 1,
	VIRTIO_BAR_DEVICE = 0x2000,
	VIRTIO_DEVICE_BYTES = 0x1000,
	VIRTIO_BAR_NOTIFY = 0x3000,
	VIRTIO_NOTIFY_BYTES = 0x1000,
	VIRTIO_NOTIFY_MULTIPLIER = 4, /* Bytes for each queue. */
	VIRTIO_BAR_TABLE = 0x4000,    /* MSI-X. */
	VIRTIO_TABLE_BYTES = 0x2000,
	VIRTIO_BAR_PENDING = 0x6000,
	VIRTIO_PENDING_BYTES = 0x1000,
	VIRTIO_BAR_BYTES = 0x8000,
};

/* The ISR register (4.1.4.5). */
enum { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 };

enum { VIRTIO_FAILURE_BYTES = 128 };

/* What the transport has for a queue beside the queue itself. */
struct virtio_queue_ends {
	struct msix_source interrupt; /* queue->interrupt_fd. */
	uint64_t doorbell; /* Where KVM turns writes into queue->notify_fd, or PCI_NOWHERE. */
};

struct virtio_transport {
	struct pci_function function; /* First. */
	struct virtio_device *device;
	struct ioeventfds *ioeventfds; /* Or NULL. */
	struct msix msix;
	struct msix_source config_interrupt;
	struct virtio_queue_ends *ends; /* One for each queue. */
	/* Where in the configuration space the capabilities are that do something. */
	unsigned int msix_capability, window;
	/* The driver's registers. */
	uint32_t device_feature_select, driver_feature_select;
	uint64_t driver_features;
	uint16_t queue_select;
	uint8_t status, generation, isr;
	char failure[VIRTIO_FAILURE_BYTES]; /* Empty: none. */
};

/* virtio_pci_add.c: pci_function_type's. */
void virtio_pci_destroy(struct pci_function *function);

/* virtio_pci.c */
extern const struct pci_function_type virtio_pci_function_type;

/* Attaches the queues' doorbells where they should be now, and nowhere else. */
void virtio_transport_place_doorbells(struct virtio_transport *transport);

/* virtio_registers.c */
void virtio_common_read(
	struct virtio_transport *transport, uint64_t offset, uint8_t *data, unsigned int bytes);
void virtio_common_write(struct virtio_transport *transport, uint64_t offset, const uint8_t *data,
	unsigned int bytes);

/* virtio_status.c */

/* The features that the driver may choose from. */
uint64_t virtio_transport_offered(const struct virtio_transport *transport);

/* The driver writes the status register. */
void virtio_transport_set_status(struct virtio_transport *transport, uint8_t status);

/* Stops the device if it is started, and makes everything as it was before the driver came. */
void virtio_transport_reset(struct virtio_transport *transport);

/* The guest has switched bus mastering on or off. */
void virtio_transport_set_master(struct virtio_transport *transport, bool master);

/* Whether the function may touch memory. */
bool virtio_transport_is_master(const struct virtio_transport *transport);

#endif
