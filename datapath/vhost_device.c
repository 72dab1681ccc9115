/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What librte_vhost has agreed with a guest's VMM, taken over for the packet path, and handed back.
 * Called by port_vhost.c on librte_vhost's threads, while no worker is within the port.
 */
#include "datapath/vhost_device.h"

#include <stdlib.h>

#include <rte_vhost.h>

#include "datapath/vhost_message.h"

#define FEATURE(number) (UINT64_C(1) << (number))

/* The log of writes.  The library goes on telling of one that it has unmapped. */
static int watch_log(struct vhost_device *device)
{
	uint64_t base, bytes;

	if (!device->has_log || rte_vhost_get_log_base(device->vid, &base, &bytes) != 0 ||
		base == 0)
		return 0;
	return guest_memory_fault_watch(&device->watch, (void *)(uintptr_t)base, bytes);
}

static int take_memory(struct vhost_device *device)
{
	struct rte_vhost_memory *table;
	int result = watch_log(device);

	device->memory.n = 0;
	if (result != 0 || rte_vhost_get_mem_table(device->vid, &table) != 0)
		return -1;
	for (uint32_t i = 0; i < table->nregions && i < GUEST_REGIONS_MAX && result == 0; i++) {
		const struct rte_vhost_mem_region *region = &table->regions[i];

		result = guest_memory_fault_watch(
			&device->watch, region->mmap_addr, region->mmap_size);
		device->memory.at[device->memory.n++] = (struct guest_region){
			.base = region->guest_phys_addr,
			.bytes = region->size,
			.host = (uint8_t *)(uintptr_t)region->host_user_addr,
		};
	}
	free(table);
	return result;
}

/* True if all parts of a ring are in memory, aligned as they must be (virtio 1.2, 2.7).  The
 * library checks that too, but when it is told the addresses, for the size that it knows then; and
 * shows us parts that it has found to be wrong. */
static bool ring_is_mapped(const struct vhost_device *device, const struct rte_vhost_vring *ring)
{
	uint64_t places = ring->size;

	return places != 0 && (places & (places - 1)) == 0 && (uintptr_t)ring->desc % 16 == 0 &&
	       (uintptr_t)ring->avail % 2 == 0 && (uintptr_t)ring->used % 4 == 0 &&
	       guest_memory_holds(&device->memory, ring->desc, 16 * places) &&
	       guest_memory_holds(&device->memory, ring->avail, 6 + 2 * places) &&
	       guest_memory_holds(&device->memory, ring->used, 6 + 8 * places);
}

/* Takes ring `number` over, if the guest has set it up. */
static void take_ring(
	struct vhost_device *device, struct vhost_queue *queue, uint16_t number, uint64_t features)
{
	struct rte_vhost_vring shared;
	struct vring addresses;
	uint16_t next_available, next_used;

	queue->usable = false;
	if (rte_vhost_get_vhost_vring(device->vid, number, &shared) != 0 || shared.desc == NULL ||
		shared.avail == NULL || shared.used == NULL ||
		rte_vhost_get_vring_base(device->vid, number, &next_available, &next_used) != 0)
		return;
	if (!ring_is_mapped(device, &shared)) {
		atomic_store_explicit(&queue->ring.fault, RING_FAULT_PLACE, memory_order_relaxed);
		return;
	}
	addresses = (struct vring){
		.num = shared.size,
		.desc = shared.desc,
		.avail = shared.avail,
		.used = shared.used,
	};
	vhost_ring_start(&queue->ring, number % 2 != 0 ? RING_FROM_GUEST : RING_TO_GUEST,
		&addresses, features & FEATURE(VIRTIO_RING_F_EVENT_IDX), next_available, next_used);
	queue->call = vhost_message_call(shared.callfd);
	queue->usable = true;
	/* What was used before may not have been told. */
	vhost_interrupt(queue);
}

int vhost_device_load(struct vhost_device *device, int vid, uint64_t features)
{
	const uint64_t modern = FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_NET_F_MRG_RXBUF);

	device->vid = vid;
	device->header_bytes = features & modern ? sizeof(struct virtio_net_hdr_mrg_rxbuf)
						 : sizeof(struct virtio_net_hdr);
	device->mergeable = features & FEATURE(VIRTIO_NET_F_MRG_RXBUF);
	device->tracks_writes = device->has_log && RTE_VHOST_NEED_LOG(features);
	if (device->memory_lost)
		return -1;
	if (take_memory(device) != 0) {
		vhost_device_unload(device);
		return -1;
	}
	for (uint16_t i = 0; i < PORT_QUEUES_MAX; i++) {
		take_ring(device, &device->to_guest[i], 2 * i, features);
		take_ring(device, &device->from_guest[i], 2 * i + 1, features);
	}
	return 0;
}

static void give_ring_back(
	const struct vhost_device *device, const struct vhost_queue *queue, uint16_t number)
{
	if (queue->usable)
		(void)rte_vhost_set_vring_base(
			device->vid, number, queue->ring.next_available, queue->ring.next_used);
}

void vhost_device_unload(struct vhost_device *device)
{
	for (uint16_t i = 0; i < PORT_QUEUES_MAX; i++) {
		give_ring_back(device, &device->to_guest[i], 2 * i);
		give_ring_back(device, &device->from_guest[i], 2 * i + 1);
		device->to_guest[i].usable = false;
		device->from_guest[i].usable = false;
	}
	device->memory.n = 0;
	device->memory_lost |= guest_memory_fault_unwatch(&device->watch);
}

bool vhost_device_memory_lost(const struct vhost_device *device)
{
	return device->memory_lost || guest_memory_fault_happened(&device->watch);
}

enum ring_fault vhost_device_fault(const struct vhost_device *device)
{
	for (uint16_t i = 0; i < PORT_QUEUES_MAX; i++) {
		enum ring_fault to =
			atomic_load_explicit(&device->to_guest[i].ring.fault, memory_order_relaxed);
		enum ring_fault from = atomic_load_explicit(
			&device->from_guest[i].ring.fault, memory_order_relaxed);

		if (from != RING_SOUND || to != RING_SOUND)
			return from != RING_SOUND ? from : to;
	}
	return RING_SOUND;
}
