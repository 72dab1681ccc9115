/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of modern virtio-pci devices (virtio 1.2, 4.1), and of split queues (2.7).
 */
#include "guest.h"

enum {
	VENDOR_VIRTIO = 0x1af4,
	DEVICE_MODERN = 0x1040,
	CAPABILITY_VENDOR = 9,
	CAPABILITY_MSIX = 0x11,
	STRUCTURE_COMMON = 1,
	STRUCTURE_NOTIFY = 2,
	STRUCTURE_ISR = 3,
	STRUCTURE_DEVICE = 4,
};

/* The common structure (4.1.4.3). */
enum {
	COMMON_DEVICE_FEATURE_SELECT = 0,
	COMMON_DEVICE_FEATURE = 4,
	COMMON_DRIVER_FEATURE_SELECT = 8,
	COMMON_DRIVER_FEATURE = 12,
	COMMON_CONFIG_VECTOR = 16,
	COMMON_N_QUEUES = 18,
	COMMON_STATUS = 20,
	COMMON_QUEUE_SELECT = 22,
	COMMON_QUEUE_SIZE = 24,
	COMMON_QUEUE_VECTOR = 26,
	COMMON_QUEUE_ENABLE = 28,
	COMMON_QUEUE_NOTIFY = 30,
	COMMON_QUEUE_DESCRIPTORS = 32,
	COMMON_QUEUE_AVAILABLE = 40,
	COMMON_QUEUE_USED = 48,
};

enum { STATUS_ACKNOWLEDGE = 1, STATUS_DRIVER = 2, STATUS_READY = 4, STATUS_FEATURES = 8 };

enum {
	MSIX_ENTRY_BYTES = 16,
	MSIX_CONTROL = 12,
	MSIX_ENABLE = 0x8000,
	MSIX_FUNCTION_MASK = 0x4000
};

static void find_structures(struct virtio *device)
{
	unsigned int at = 0;

	while ((at = pci_capability(&device->pci, CAPABILITY_VENDOR, at)) != 0) {
		uint64_t config = device->pci.config + at;
		uint64_t where = pci_bar(&device->pci, get8(config + 4)) + get32(config + 8);

		switch (get8(config + 3)) {
		case STRUCTURE_COMMON: device->common = where; break;
		case STRUCTURE_NOTIFY:
			device->notify = where;
			device->notify_multiplier = get32(config + 16);
			break;
		case STRUCTURE_ISR: device->isr = where; break;
		case STRUCTURE_DEVICE: device->config = where; break;
		default: break;
		}
	}
}

static void find_msix(struct virtio *device)
{
	uint64_t config;
	uint32_t table;

	device->msix_capability = pci_capability(&device->pci, CAPABILITY_MSIX, 0);
	if (device->msix_capability == 0)
		fail("a device has no MSI-X");
	config = device->pci.config + device->msix_capability;
	table = get32(config + 4);
	device->n_vectors = (get16(config + 2) & 0x7ff) + 1U;
	device->msix_table = pci_bar(&device->pci, table & 7) + (table & ~7U);
	set16(config + 2, MSIX_ENABLE);
}

bool virtio_find(struct virtio *device, enum virtio_type type, unsigned int nth)
{
	unsigned int place = 0;

	memset(device, 0, sizeof(*device));
	device->type = type;
	while (pci_next(&device->pci, place)) {
		place = device->pci.place + 1;
		if (device->pci.vendor != VENDOR_VIRTIO ||
			device->pci.device != DEVICE_MODERN + type || nth-- > 0)
			continue;
		find_structures(device);
		find_msix(device);
		if (!device->common || !device->notify)
			fail("a virtio device lacks a structure");
		return true;
	}
	return false;
}

void virtio_reset(struct virtio *device)
{
	set8(device->common + COMMON_STATUS, 0);
	while (virtio_status(device) != 0)
		__asm__ volatile("pause");
}

uint8_t virtio_status(const struct virtio *device)
{
	return get8(device->common + COMMON_STATUS);
}

static uint64_t offered(const struct virtio *device)
{
	uint64_t features;

	set32(device->common + COMMON_DEVICE_FEATURE_SELECT, 0);
	features = get32(device->common + COMMON_DEVICE_FEATURE);
	set32(device->common + COMMON_DEVICE_FEATURE_SELECT, 1);
	return features | (uint64_t)get32(device->common + COMMON_DEVICE_FEATURE) << 32;
}

void virtio_begin(struct virtio *device, uint64_t features)
{
	uint64_t common = device->common;

	virtio_reset(device);
	set8(common + COMMON_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	device->features = offered(device) & (features | VIRTIO_F_VERSION_1);
	set32(common + COMMON_DRIVER_FEATURE_SELECT, 0);
	set32(common + COMMON_DRIVER_FEATURE, (uint32_t)device->features);
	set32(common + COMMON_DRIVER_FEATURE_SELECT, 1);
	set32(common + COMMON_DRIVER_FEATURE, (uint32_t)(device->features >> 32));
	set8(common + COMMON_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES);
	if (!(virtio_status(device) & STATUS_FEATURES))
		fail("a device refuses the features that it offered");
	set16(common + COMMON_CONFIG_VECTOR, NO_VECTOR);
	device->n_queues = get16(common + COMMON_N_QUEUES);
}

static void allocate(struct queue *queue)
{
	size_t size = queue->size;

	if (!queue->free) {
		queue->descriptors = arena(size * sizeof(*queue->descriptors));
		queue->available = arena(sizeof(*queue->available) + 2 * size + 2);
		queue->used = arena(sizeof(*queue->used) + 8 * size + 2);
		queue->free = arena(2 * size);
	}
	memset((void *)(uint64_t)queue->available, 0, sizeof(*queue->available));
	memset((void *)(uint64_t)queue->used, 0, sizeof(*queue->used));
	for (uint16_t i = 0; i < queue->size; i++)
		queue->free[i] = (uint16_t)(queue->size - 1 - i);
	queue->n_free = queue->size;
	queue->available_index = queue->used_index = 0;
}

/* Entry `index` of the table sends `vector` to this processor. */
static void set_vector(struct virtio *device, unsigned int index, unsigned int vector)
{
	uint64_t entry = device->msix_table + (uint64_t)index * MSIX_ENTRY_BYTES;

	set32(entry, 0xfee00000);
	set32(entry + 4, 0);
	set32(entry + 8, vector);
	set32(entry + MSIX_CONTROL, 0);
	set16(device->common + COMMON_QUEUE_VECTOR, (uint16_t)index);
	if (get16(device->common + COMMON_QUEUE_VECTOR) != index)
		fail("a device refuses a vector");
}

void virtio_queue(struct virtio *device, struct queue *queue, unsigned int index, unsigned int size,
	unsigned int vector)
{
	uint64_t common = device->common;
	unsigned int largest;

	set16(common + COMMON_QUEUE_SELECT, (uint16_t)index);
	largest = get16(common + COMMON_QUEUE_SIZE);
	if (largest == 0)
		fail("a device lacks a queue");
	queue->index = (uint16_t)index;
	queue->size = (uint16_t)(largest < size ? largest : size);
	allocate(queue);
	set16(common + COMMON_QUEUE_SIZE, queue->size);
	set64(common + COMMON_QUEUE_DESCRIPTORS, (uint64_t)queue->descriptors);
	set64(common + COMMON_QUEUE_AVAILABLE, (uint64_t)queue->available);
	set64(common + COMMON_QUEUE_USED, (uint64_t)queue->used);
	if (vector == NO_VECTOR || index >= device->n_vectors)
		set16(common + COMMON_QUEUE_VECTOR, NO_VECTOR);
	else
		set_vector(device, index, vector);
	queue->doorbell = device->notify +
			  (uint64_t)get16(common + COMMON_QUEUE_NOTIFY) * device->notify_multiplier;
	set16(common + COMMON_QUEUE_ENABLE, 1);
}

void virtio_ready(struct virtio *device)
{
	set8(device->common + COMMON_STATUS,
		STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES | STATUS_READY);
}

void virtio_mask(const struct virtio *device, unsigned int entry, bool masked)
{
	set32(device->msix_table + (uint64_t)entry * MSIX_ENTRY_BYTES + MSIX_CONTROL, masked);
}

bool virtio_pending(const struct virtio *device, unsigned int entry)
{
	uint32_t place = get32(device->pci.config + device->msix_capability + 8);
	uint64_t array = pci_bar(&device->pci, place & 7) + (place & ~7U);

	return get32(array + (uint64_t)(entry / 32) * 4) >> (entry % 32) & 1;
}

/* --- Queues --- */

bool queue_put(
	struct queue *queue, const struct part *parts, unsigned int n, unsigned int n_writable)
{
	uint16_t head;

	if (queue->n_free < n)
		return false;
	head = queue->free[queue->n_free - 1];
	for (unsigned int i = 0; i < n; i++) {
		uint16_t index = queue->free[--queue->n_free];
		volatile struct descriptor *descriptor = &queue->descriptors[index];

		descriptor->address = (uint64_t)parts[i].at;
		descriptor->length = parts[i].bytes;
		descriptor->flags = (uint16_t)((i + 1 < n ? VIRTIO_NEXT : 0) |
					       (i + n_writable >= n ? VIRTIO_WRITE : 0));
		descriptor->next = i + 1 < n ? queue->free[queue->n_free - 1] : 0;
	}
	queue->available->heads[queue->available_index++ & (queue->size - 1)] = head;
	compiler_barrier();
	queue->available->index = queue->available_index;
	return true;
}

void queue_kick(struct queue *queue)
{
	full_barrier();
	if (!(queue->used->flags & VIRTIO_NO_INTERRUPT))
		set16(queue->doorbell, queue->index);
}

static void free_chain(struct queue *queue, uint16_t head)
{
	for (;;) {
		volatile struct descriptor *descriptor = &queue->descriptors[head];

		queue->free[queue->n_free++] = head;
		if (!(descriptor->flags & VIRTIO_NEXT))
			return;
		head = descriptor->next;
	}
}

bool queue_take(struct queue *queue, uint16_t *head, uint32_t *length)
{
	unsigned int at = queue->used_index & (queue->size - 1U);

	if (queue->used->index == queue->used_index)
		return false;
	compiler_barrier();
	*head = (uint16_t)queue->used->done[at].head;
	*length = queue->used->done[at].length;
	if (*head >= queue->size)
		fail("a device gives back a descriptor that there is not");
	queue->used_index++;
	free_chain(queue, *head);
	return true;
}

int64_t queue_request(
	struct queue *queue, const struct part *parts, unsigned int n, unsigned int n_writable)
{
	uint64_t end = clock_cycles() + 1000 * cycles_per_ms();
	uint32_t length;
	uint16_t head;

	if (!queue_put(queue, parts, n, n_writable))
		return -1;
	queue_kick(queue);
	while (clock_cycles() < end) {
		if (queue_take(queue, &head, &length))
			return length;
		__asm__ volatile("pause");
	}
	return -1;
}
