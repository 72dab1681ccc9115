/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio device that answers each request with its own bytes, and a driver for it: the same steps
 * that virtio 1.2, 3.1.1 has every driver do, each as a function.
 */
#ifndef TESTS_UNIT_TOY_VIRTIO_H
#define TESTS_UNIT_TOY_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "hv/virtio_pci.h"
#include "tests/unit/toy_machine.h"
#include "tests/unit/virtio_driver.h"

enum {
	TOY_QUEUES = 2,
	TOY_QUEUE_SIZE = 128,
	TOY_CONFIG_BYTES = 8,
	TOY_FEATURE = 5, /* Bits of its own that the device offers. */
	TOY_OTHER_FEATURE = 40,
	/* Where it is, and where the driver has put its queues: 64 KiB for each. */
	TOY_FUNCTION = 8,
	TOY_RINGS = 0x20000,
	TOY_RINGS_STEP = 0x10000,
	TOY_STATUS_DRIVER = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
	TOY_STATUS_FEATURES = TOY_STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
	TOY_STATUS_OK = TOY_STATUS_FEATURES | VIRTIO_CONFIG_S_DRIVER_OK,
};

struct toy_device {
	struct virtio_device device; /* First. */
	uint8_t config[TOY_CONFIG_BYTES];
	int start_error;
	unsigned int n_started, n_stopped, n_notified, n_answered;
	bool *destroyed;
};

/* --- The device ------------------------------------------------------------------------------ */

static inline int toy_start(struct virtio_device *device)
{
	struct toy_device *toy = (struct toy_device *)device;

	if (toy->start_error == 0)
		toy->n_started++;
	return toy->start_error;
}

static inline void toy_stop(struct virtio_device *device)
{
	((struct toy_device *)device)->n_stopped++;
}

static inline void toy_answer(
	struct toy_device *toy, struct virtio_queue *queue, const struct virtio_chain *chain)
{
	uint8_t bytes[256];
	uint64_t n = virtio_chain_read(chain, 0, bytes, sizeof(bytes));

	virtio_queue_push(queue, chain->head, (uint32_t)virtio_chain_write(chain, 0, bytes, n));
	toy->n_answered++;
}

static inline void toy_notified(struct virtio_device *device, unsigned int index)
{
	struct toy_device *toy = (struct toy_device *)device;
	unsigned int turn = VIRTIO_DEVICE_TURN;
	struct virtio_chain chain;

	/* Only between start() and stop(). */
	if (toy->n_started != toy->n_stopped + 1)
		abort();
	toy->n_notified++;
	while (virtio_device_take(device, index, &chain, &turn))
		toy_answer(toy, &device->queues[index], &chain);
	virtio_queue_signal(&device->queues[index]);
}

static inline void toy_read_config(
	struct virtio_device *device, uint32_t offset, uint8_t *data, unsigned int bytes)
{
	const struct toy_device *toy = (const struct toy_device *)device;

	for (unsigned int i = 0; i < bytes; i++)
		data[i] = offset + i < TOY_CONFIG_BYTES ? toy->config[offset + i] : 0;
}

static inline void toy_write_config(
	struct virtio_device *device, uint32_t offset, const uint8_t *data, unsigned int bytes)
{
	struct toy_device *toy = (struct toy_device *)device;

	for (unsigned int i = 0; i < bytes && offset + i < TOY_CONFIG_BYTES; i++)
		toy->config[offset + i] = data[i];
}

static inline void toy_destroy(struct virtio_device *device)
{
	struct toy_device *toy = (struct toy_device *)device;

	if (toy->n_started != toy->n_stopped)
		abort();
	*toy->destroyed = true;
	free(toy);
}

static const struct virtio_device_type toy_device_type = {
	.name = "toy",
	.id = 1,
	.start = toy_start,
	.stop = toy_stop,
	.notified = toy_notified,
	.read_config = toy_read_config,
	.write_config = toy_write_config,
	.destroy = toy_destroy,
};

/* One whose queues are another process's. */
static const struct virtio_device_type toy_external_type = {
	.name = "external",
	.id = 2,
	.external_queues = true,
	.start = toy_start,
	.stop = toy_stop,
	.destroy = toy_destroy,
};

/* A device on the machine's bus; *destroyed is set when it ends.  NULL if there is no place. */
static inline struct toy_device *toy_device_create(
	struct toy_machine *machine, const struct virtio_device_type *type, bool *destroyed)
{
	struct toy_device *toy = calloc(1, sizeof(*toy));

	toy->device = (struct virtio_device){
		.type = type,
		.name = "toy0",
		.memory = &machine->memory,
		.loop = machine->loop,
		.features_offered = 1ULL << TOY_FEATURE | 1ULL << TOY_OTHER_FEATURE,
		.n_queues = TOY_QUEUES,
		.queue_size_max = TOY_QUEUE_SIZE,
	};
	memcpy(toy->config, "virtio!", TOY_CONFIG_BYTES);
	toy->destroyed = destroyed;
	*destroyed = false;
	if (virtio_pci_add(machine->root, &toy->device, NULL) == 0)
		return toy;
	free(toy);
	return NULL;
}

/* --- The driver ------------------------------------------------------------------------------ */

struct toy_driver {
	struct toy_machine *machine;
	uint64_t common, isr, config, notify, table, pending; /* Addresses. */
	unsigned int multiplier, window, msix;
	struct driver_ring rings[TOY_QUEUES];
};

/* Where the structure of `type` is (4.1.4). */
static inline uint64_t toy_structure(struct toy_machine *machine, uint64_t bar, unsigned int type)
{
	unsigned int at = toy_find_capability(machine, TOY_FUNCTION, PCI_CAP_ID_VNDR, type);

	return bar + toy_config_read(machine, TOY_FUNCTION, at + VIRTIO_PCI_CAP_OFFSET, 4);
}

/* Finds everything, and switches memory and bus mastering on. */
static inline void toy_driver_probe(struct toy_driver *driver, struct toy_machine *machine)
{
	uint64_t bar = (uint64_t)toy_config_read(machine, TOY_FUNCTION, PCI_BASE_ADDRESS_1, 4)
			       << 32 |
		       (toy_config_read(machine, TOY_FUNCTION, PCI_BASE_ADDRESS_0, 4) & ~0xfU);
	unsigned int notify;

	*driver = (struct toy_driver){.machine = machine};
	toy_config_write(
		machine, TOY_FUNCTION, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	notify = toy_find_capability(
		machine, TOY_FUNCTION, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_NOTIFY_CFG);
	driver->multiplier =
		toy_config_read(machine, TOY_FUNCTION, notify + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
	driver->common = toy_structure(machine, bar, VIRTIO_PCI_CAP_COMMON_CFG);
	driver->isr = toy_structure(machine, bar, VIRTIO_PCI_CAP_ISR_CFG);
	driver->config = toy_structure(machine, bar, VIRTIO_PCI_CAP_DEVICE_CFG);
	driver->notify = toy_structure(machine, bar, VIRTIO_PCI_CAP_NOTIFY_CFG);
	driver->window =
		toy_find_capability(machine, TOY_FUNCTION, PCI_CAP_ID_VNDR, VIRTIO_PCI_CAP_PCI_CFG);
	driver->msix = toy_find_capability(machine, TOY_FUNCTION, PCI_CAP_ID_MSIX, 0);
	driver->table =
		bar + toy_config_read(machine, TOY_FUNCTION, driver->msix + PCI_MSIX_TABLE, 4);
	driver->pending =
		bar + toy_config_read(machine, TOY_FUNCTION, driver->msix + PCI_MSIX_PBA, 4);
}

static inline void toy_common_write(
	struct toy_driver *driver, unsigned int offset, uint64_t value, unsigned int bytes)
{
	toy_write(driver->machine, driver->common + offset, value, bytes);
}

static inline uint64_t toy_common_read(
	struct toy_driver *driver, unsigned int offset, unsigned int bytes)
{
	return toy_read(driver->machine, driver->common + offset, bytes);
}

static inline uint8_t toy_status(struct toy_driver *driver)
{
	return (uint8_t)toy_common_read(driver, VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline void toy_set_status(struct toy_driver *driver, uint8_t status)
{
	toy_common_write(driver, VIRTIO_PCI_COMMON_STATUS, status, 1);
}

static inline uint64_t toy_offered(struct toy_driver *driver)
{
	uint64_t low;

	toy_common_write(driver, VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	low = toy_common_read(driver, VIRTIO_PCI_COMMON_DF, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	return toy_common_read(driver, VIRTIO_PCI_COMMON_DF, 4) << 32 | low;
}

/* Whether the device took them. */
static inline bool toy_negotiate(struct toy_driver *driver, uint64_t features)
{
	toy_set_status(driver, 0);
	toy_set_status(driver, TOY_STATUS_DRIVER);
	toy_common_write(driver, VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_GF, (uint32_t)features, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_GF, features >> 32, 4);
	toy_set_status(driver, TOY_STATUS_FEATURES);
	return toy_status(driver) & VIRTIO_CONFIG_S_FEATURES_OK;
}

/* Puts the rings of queue `i` into memory, in halves of 32 bits as drivers do. */
static inline void toy_set_up_queue(struct toy_driver *driver, uint16_t i, uint16_t size)
{
	uint64_t base = TOY_RINGS + (uint64_t)i * TOY_RINGS_STEP;
	struct driver_ring *ring = &driver->rings[i];
	static const uint8_t zeros[TOY_RINGS_STEP];

	*ring = (struct driver_ring){
		.memory = &driver->machine->memory,
		.descriptors = base,
		.available = base + 0x4000,
		.used = base + 0x8000,
		.size = size,
	};
	guest_memory_write(ring->memory, base, zeros, sizeof(zeros));
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SELECT, i, 2);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_DESCLO, ring->descriptors, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_DESCHI, 0, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_AVAILLO, ring->available, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_AVAILHI, 0, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_USEDLO, ring->used, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_USEDHI, 0, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

/* Vector 0 for the configuration, 1 and 2 for the queues; all unmasked. */
static inline void toy_set_up_vectors(struct toy_driver *driver)
{
	toy_config_write(driver->machine, TOY_FUNCTION, driver->msix + PCI_MSIX_FLAGS,
		PCI_MSIX_FLAGS_ENABLE, 2);
	for (unsigned int i = 0; i <= TOY_QUEUES; i++) {
		uint64_t entry = driver->table + i * PCI_MSIX_ENTRY_SIZE;

		toy_write(driver->machine, entry, 0xfee00000, 4);
		toy_write(driver->machine, entry + PCI_MSIX_ENTRY_DATA, 0x4020 + i, 4);
		toy_write(driver->machine, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0, 4);
	}
	toy_common_write(driver, VIRTIO_PCI_COMMON_MSIX, 0, 2);
	for (uint16_t i = 0; i < TOY_QUEUES; i++) {
		toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SELECT, i, 2);
		toy_common_write(driver, VIRTIO_PCI_COMMON_Q_MSIX, i + 1U, 2);
	}
}

/* All of it: reset to DRIVER_OK. */
static inline void toy_driver_start(struct toy_driver *driver, uint64_t features)
{
	toy_negotiate(driver, features | 1ULL << VIRTIO_F_VERSION_1);
	for (uint16_t i = 0; i < TOY_QUEUES; i++)
		toy_set_up_queue(driver, i, TOY_QUEUE_SIZE);
	toy_set_up_vectors(driver);
	toy_set_status(driver, TOY_STATUS_OK);
}

static inline void toy_notify(struct toy_driver *driver, uint16_t queue)
{
	toy_write(driver->machine, driver->notify + queue * driver->multiplier, queue, 2);
}

#endif
