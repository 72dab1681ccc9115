/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The common configuration structure (virtio 1.2, 4.1.4.3), through which a driver sets a device
 * up. Accessed by the guest, on vCPU threads, with the machine's lock held.
 *
 * One table says what is there.  Reads may be of any length at any place; writes have to be of a
 * whole field, or of a half of one of 64 bits, and are ignored otherwise.  VIRTIO_F_RING_RESET is
 * not offered: queue_reset reads 0 and ignores writes, and so does queue_notify_data.
 */
#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "hv/virtio_transport.h"

enum { FEATURE_WORD_BITS = 32, HALF_BYTES = 4, FIELD_BYTES_MAX = 8 };

/* The queue that the driver has selected, or NULL if there is none of that number. */
static struct virtio_queue *selected(const struct virtio_transport *transport)
{
	const struct virtio_device *device = transport->device;

	return transport->queue_select < device->n_queues ? &device->queues[transport->queue_select]
							  : NULL;
}

/* The same if it may still be set up. */
static struct virtio_queue *changeable(const struct virtio_transport *transport)
{
	struct virtio_queue *queue = selected(transport);

	if (!queue || queue->enabled || (transport->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return NULL;
	return queue;
}

/* --- The whole device ------------------------------------------------------------------------ */

/* The half of the features that `select` names; there are none beyond 64. */
static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> select * FEATURE_WORD_BITS) : 0;
}

static uint64_t read_device_feature_select(const struct virtio_transport *transport)
{
	return transport->device_feature_select;
}

static void write_device_feature_select(struct virtio_transport *transport, uint64_t value)
{
	transport->device_feature_select = (uint32_t)value;
}

static uint64_t read_device_feature(const struct virtio_transport *transport)
{
	return feature_word(virtio_transport_offered(transport), transport->device_feature_select);
}

static uint64_t read_driver_feature_select(const struct virtio_transport *transport)
{
	return transport->driver_feature_select;
}

static void write_driver_feature_select(struct virtio_transport *transport, uint64_t value)
{
	transport->driver_feature_select = (uint32_t)value;
}

static uint64_t read_driver_feature(const struct virtio_transport *transport)
{
	return feature_word(transport->driver_features, transport->driver_feature_select);
}

/* What is beyond 64 was not offered, and the driver knows. */
static void write_driver_feature(struct virtio_transport *transport, uint64_t value)
{
	unsigned int shift = transport->driver_feature_select * FEATURE_WORD_BITS;

	if (transport->driver_feature_select >= 2 ||
		(transport->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	transport->driver_features &= ~((uint64_t)UINT32_MAX << shift);
	transport->driver_features |= value << shift;
}

static uint64_t read_config_vector(const struct virtio_transport *transport)
{
	return transport->config_interrupt.vector;
}

static void write_config_vector(struct virtio_transport *transport, uint64_t value)
{
	msix_set_vector(&transport->msix, &transport->config_interrupt, (uint16_t)value);
}

static uint64_t read_num_queues(const struct virtio_transport *transport)
{
	return transport->device->n_queues;
}

static uint64_t read_status(const struct virtio_transport *transport)
{
	return transport->status;
}

static void write_status(struct virtio_transport *transport, uint64_t value)
{
	virtio_transport_set_status(transport, (uint8_t)value);
}

static uint64_t read_generation(const struct virtio_transport *transport)
{
	return transport->generation;
}

/* --- The selected queue ---------------------------------------------------------------------- */

static uint64_t read_queue_select(const struct virtio_transport *transport)
{
	return transport->queue_select;
}

static void write_queue_select(struct virtio_transport *transport, uint64_t value)
{
	transport->queue_select = (uint16_t)value;
}

/* 0: there is no such queue. */
static uint64_t read_queue_size(const struct virtio_transport *transport)
{
	const struct virtio_queue *queue = selected(transport);

	return queue ? queue->size : 0;
}

static void write_queue_size(struct virtio_transport *transport, uint64_t value)
{
	struct virtio_queue *queue = changeable(transport);

	if (queue && value != 0 && value <= transport->device->queue_size_max &&
		(value & (value - 1)) == 0)
		queue->size = (uint16_t)value;
}

static uint64_t read_queue_vector(const struct virtio_transport *transport)
{
	return selected(transport) ? transport->ends[transport->queue_select].interrupt.vector
				   : MSIX_NO_VECTOR;
}

static void write_queue_vector(struct virtio_transport *transport, uint64_t value)
{
	if (selected(transport))
		msix_set_vector(&transport->msix,
			&transport->ends[transport->queue_select].interrupt, (uint16_t)value);
}

static uint64_t read_queue_enable(const struct virtio_transport *transport)
{
	const struct virtio_queue *queue = selected(transport);

	return queue && queue->enabled;
}

/* A driver cannot disable a queue but by a reset. */
static void write_queue_enable(struct virtio_transport *transport, uint64_t value)
{
	struct virtio_queue *queue = changeable(transport);

	if (queue && value == 1)
		queue->enabled = true;
}

static uint64_t read_queue_notify_off(const struct virtio_transport *transport)
{
	return selected(transport) ? transport->queue_select : 0;
}

static uint64_t read_descriptors(const struct virtio_transport *transport)
{
	const struct virtio_queue *queue = selected(transport);

	return queue ? queue->descriptors : 0;
}

static void write_descriptors(struct virtio_transport *transport, uint64_t value)
{
	struct virtio_queue *queue = changeable(transport);

	if (queue)
		queue->descriptors = value;
}

static uint64_t read_available(const struct virtio_transport *transport)
{
	const struct virtio_queue *queue = selected(transport);

	return queue ? queue->available : 0;
}

static void write_available(struct virtio_transport *transport, uint64_t value)
{
	struct virtio_queue *queue = changeable(transport);

	if (queue)
		queue->available = value;
}

static uint64_t read_used(const struct virtio_transport *transport)
{
	const struct virtio_queue *queue = selected(transport);

	return queue ? queue->used : 0;
}

static void write_used(struct virtio_transport *transport, uint64_t value)
{
	struct virtio_queue *queue = changeable(transport);

	if (queue)
		queue->used = value;
}

static uint64_t read_zero(const struct virtio_transport *transport)
{
	(void)transport;
	return 0;
}

static void ignore(struct virtio_transport *transport, uint64_t value)
{
	(void)transport;
	(void)value;
}

/* --- All of them ----------------------------------------------------------------------------- */

struct field {
	uint8_t offset, bytes;
	uint64_t (*read)(const struct virtio_transport *transport);
	void (*write)(struct virtio_transport *transport, uint64_t value);
};

/* Without gaps, in order. */
static const struct field fields[] = {
	{VIRTIO_PCI_COMMON_DFSELECT, 4, read_device_feature_select, write_device_feature_select},
	{VIRTIO_PCI_COMMON_DF, 4, read_device_feature, ignore},
	{VIRTIO_PCI_COMMON_GFSELECT, 4, read_driver_feature_select, write_driver_feature_select},
	{VIRTIO_PCI_COMMON_GF, 4, read_driver_feature, write_driver_feature},
	{VIRTIO_PCI_COMMON_MSIX, 2, read_config_vector, write_config_vector},
	{VIRTIO_PCI_COMMON_NUMQ, 2, read_num_queues, ignore},
	{VIRTIO_PCI_COMMON_STATUS, 1, read_status, write_status},
	{VIRTIO_PCI_COMMON_CFGGENERATION, 1, read_generation, ignore},
	{VIRTIO_PCI_COMMON_Q_SELECT, 2, read_queue_select, write_queue_select},
	{VIRTIO_PCI_COMMON_Q_SIZE, 2, read_queue_size, write_queue_size},
	{VIRTIO_PCI_COMMON_Q_MSIX, 2, read_queue_vector, write_queue_vector},
	{VIRTIO_PCI_COMMON_Q_ENABLE, 2, read_queue_enable, write_queue_enable},
	{VIRTIO_PCI_COMMON_Q_NOFF, 2, read_queue_notify_off, ignore},
	{VIRTIO_PCI_COMMON_Q_DESCLO, 8, read_descriptors, write_descriptors},
	{VIRTIO_PCI_COMMON_Q_AVAILLO, 8, read_available, write_available},
	{VIRTIO_PCI_COMMON_Q_USEDLO, 8, read_used, write_used},
	{VIRTIO_PCI_COMMON_Q_NDATA, 2, read_zero, ignore},
	{VIRTIO_PCI_COMMON_Q_RESET, 2, read_zero, ignore},
};

enum { N_FIELDS = sizeof(fields) / sizeof(fields[0]) };

/* The field that holds the byte at `offset`, or NULL behind the last one. */
static const struct field *find(uint64_t offset)
{
	for (unsigned int i = 0; i < N_FIELDS; i++)
		if (offset < fields[i].offset + (uint64_t)fields[i].bytes)
			return &fields[i];
	return NULL;
}

void virtio_common_read(
	struct virtio_transport *transport, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	memset(data, 0, bytes);
	for (unsigned int i = 0; i < bytes; i++) {
		const struct field *field = find(offset + i);

		if (field)
			data[i] = (uint8_t)(field->read(transport) >>
					    (offset + i - field->offset) * 8);
	}
}

void virtio_common_write(struct virtio_transport *transport, uint64_t offset, const uint8_t *data,
	unsigned int bytes)
{
	const struct field *field = find(offset);
	uint64_t value = 0, mask = UINT64_MAX;
	unsigned int shift;

	if (!field)
		return;
	memcpy(&value, data, bytes);
	value = le64toh(value);
	shift = (unsigned int)(offset - field->offset) * 8;
	if (bytes == field->bytes && shift == 0) {
		field->write(transport, value);
	} else if (field->bytes == FIELD_BYTES_MAX && bytes == HALF_BYTES &&
		   shift % (HALF_BYTES * 8) == 0) {
		mask = (uint64_t)UINT32_MAX << shift;
		field->write(transport, (field->read(transport) & ~mask) | value << shift);
	}
}
