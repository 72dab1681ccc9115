/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio over PCI (virtio 1.2, 4.1): makes a function of a virtio device.
 *
 * A modern function, without the legacy interface: vendor 0x1af4, device 0x1040 plus the device's
 * id, one BAR with all structures and the MSI-X table.  Each queue has a notification address of
 * its own, which KVM turns into queue->notify_fd, and an eventfd of its own, queue->interrupt_fd,
 * which KVM turns into the vector that the driver chose for the queue.
 */
#ifndef HV_VIRTIO_PCI_H
#define HV_VIRTIO_PCI_H

#include "hv/error.h"
#include "hv/pci.h"
#include "hv/virtio_device.h"

/*
 * Puts `device` on the bus; its type, features, queues and their size stand by now.  It is the
 * root's from now on, which ends it by type->destroy().  0, or a negative errno, a sentence, and
 * the device is still the caller's.
 */
int virtio_pci_add(struct pci_root *root, struct virtio_device *device, struct hv_error *error);

#endif
