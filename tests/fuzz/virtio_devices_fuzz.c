/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk, random numbers, balloon and console against a guest that writes anything into its queues,
 * its buffers and the configuration space, at any moment, resets in mid-traffic included.
 *
 * The first byte chooses the device and features; then follow steps of a few bytes each.
 * AddressSanitizer judges.
 */
#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/balloon.h"
#include "hv/block.h"
#include "hv/console.h"
#include "hv/rng.h"
#include "hv/terminal_internal.h"

enum {
	MEMORY = 2 << 20,
	SIZE = 16,
	QUEUES = 4,
	RINGS = 0x1000, /* A page for each part of each queue. */
	DATA = 0x20000,
	DISK_BYTES = 1 << 20,
};

struct input {
	const uint8_t *at;
	size_t left;
};

/* Made once, for all inputs. */
struct bench {
	struct guest_memory memory;
	pthread_mutex_t lock;
	struct event_loop *loop;
	char disk[64];
	int notify, interrupt;
	struct terminal *terminal; /* What the console is plugged into. */
};

static uint32_t take(struct input *input, unsigned int bytes)
{
	uint32_t value = 0;

	for (; bytes && input->left; bytes--, input->left--)
		value = value << 8 | *input->at++;
	return value;
}

/* The transport's part: what it knows of a device is why it failed. */
struct virtio_transport {
	const char *failure;
};

void virtio_device_fail(struct virtio_device *device, const char *reason)
{
	if (!reason)
		abort();
	device->transport->failure = reason;
}

const char *virtio_device_failure(const struct virtio_device *device)
{
	return device->transport->failure;
}

void virtio_device_config_changed(struct virtio_device *device)
{
	if (!device)
		abort();
}

static struct bench *bench_of(void)
{
	static struct bench *bench;
	int fd;

	if (bench)
		return bench;
	bench = calloc(1, sizeof(*bench));
	fd = memfd_create("disk", MFD_CLOEXEC);
	if (!bench || fd < 0 || ftruncate(fd, DISK_BYTES))
		abort();
	snprintf(bench->disk, sizeof(bench->disk), "/proc/self/fd/%d", fd);
	pthread_mutex_init(&bench->lock, NULL);
	bench->notify = eventfd(0, EFD_NONBLOCK);
	bench->interrupt = eventfd(0, EFD_NONBLOCK);
	if (guest_memory_create(&bench->memory, MEMORY, GUEST_PAGES_SMALL, NULL) ||
		event_loop_create(&bench->loop, &bench->lock) ||
		terminal_create(&bench->terminal, "console", bench->loop))
		abort();
	return bench;
}

static struct virtio_device *make(struct bench *bench, unsigned int choice)
{
	const struct disk_options options = {
		.path = bench->disk, .direct = DISK_DIRECT_OFF, .read_only = choice & 8};
	struct virtio_device *device;
	int result;

	if (choice % 4 == 0)
		result = block_create(&device, &options, 0, &bench->memory, bench->loop, NULL);
	else if (choice % 4 == 1)
		result = rng_create(&device, &bench->memory, bench->loop);
	else if (choice % 4 == 2)
		result = balloon_create(&device, &bench->memory, bench->loop);
	else
		result = console_create(&device, &bench->memory, bench->loop, bench->terminal);
	if (result)
		abort();
	return device;
}

static void start(struct bench *bench, struct virtio_device *device, struct virtio_queue *queues,
	uint64_t features)
{
	device->features = features & device->features_offered;
	device->queues = queues;
	device->transport->failure = NULL;
	for (unsigned int i = 0; i < device->n_queues; i++) {
		queues[i] = (struct virtio_queue){
			.memory = &bench->memory,
			.size = SIZE,
			.descriptors = RINGS + i * 0x3000UL,
			.available = RINGS + i * 0x3000UL + 0x1000,
			.used = RINGS + i * 0x3000UL + 0x2000,
			.enabled = true,
			.indirect = features >> 28 & 1,
			.event_index = features >> 29 & 1,
			.notify_fd = bench->notify,
			.interrupt_fd = bench->interrupt,
		};
		if (!virtio_queue_start(&queues[i]))
			abort();
	}
	if (!device->type->start(device))
		device->started = true;
}

static void stop(struct virtio_device *device)
{
	device->type->stop(device);
	device->started = false;
}

/* Mostly an address that is memory, so that something happens; now and then any. */
static uint64_t take_address(struct input *input)
{
	uint32_t value = take(input, 3);

	return value & 0x800000 ? (uint64_t)value << (value & 31) : DATA + (value & 0xffff);
}

static void write_descriptor(struct bench *bench, struct input *input, unsigned int table)
{
	struct vring_desc descriptor = {
		.addr = htole64(take_address(input)),
		.len = htole32(take(input, 2) << (take(input, 1) & 16)),
		.flags = htole16((uint16_t)take(input, 1)),
		.next = htole16((uint16_t)take(input, 1)),
	};
	unsigned int index = take(input, 1) % 64;

	guest_memory_write(&bench->memory,
		(table < QUEUES ? RINGS + table * 0x3000UL : DATA) + index * 16UL, &descriptor,
		sizeof(descriptor));
}

static void offer(struct bench *bench, struct input *input, unsigned int queue)
{
	uint16_t *ring = guest_memory_at(&bench->memory, RINGS + queue * 0x3000UL + 0x1000, 64);
	uint16_t head = (uint16_t)take(input, 1), by = (uint16_t)take(input, 1);

	ring[2 + le16toh(ring[1]) % SIZE] = htole16(by & 0x80 ? head : head % SIZE);
	ring[1] = htole16((uint16_t)(le16toh(ring[1]) + (by & 0x40 ? by : 1)));
}

static void write_data(struct bench *bench, struct input *input)
{
	uint64_t address = DATA + (take(input, 1) << 4);
	uint8_t bytes[16];

	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)take(input, 1);
	guest_memory_write(&bench->memory, address, bytes, sizeof(bytes));
}

static void access_config(struct virtio_device *device, struct input *input)
{
	uint8_t data[8];
	uint32_t offset = take(input, 1) * 2, bytes = 1U << (take(input, 1) % 4);

	device->type->read_config(device, offset, data, bytes);
	device->type->write_config(device, offset, data, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = {data, bytes};
	struct bench *bench = bench_of();
	struct virtio_queue queues[QUEUES];
	struct virtio_counter counters[VIRTIO_COUNTERS];
	struct virtio_transport transport;
	struct virtio_device *device = make(bench, take(&input, 1));
	uint64_t features = (uint64_t)take(&input, 4);

	device->transport = &transport;
	memset(guest_memory_at(&bench->memory, RINGS, 0x10000), 0, 0x10000);
	start(bench, device, queues, features);
	while (input.left) {
		unsigned int step = take(&input, 1), queue = (step >> 4) % device->n_queues;

		switch (step % 8) {
		case 0:
		case 1: write_descriptor(bench, &input, queue); break;
		case 2: write_descriptor(bench, &input, QUEUES); break;
		case 3: offer(bench, &input, queue); break;
		case 4: write_data(bench, &input); break;
		case 5: device->type->notified(device, queue); break;
		case 6:
			terminal_type(bench->terminal, input.at, input.left < 8 ? input.left : 8);
			access_config(device, &input);
			break;
		default: stop(device); start(bench, device, queues, features);
		}
	}
	for (unsigned int i = 0; i < device->n_queues; i++)
		device->type->notified(device, i);
	if (device->type->counters(device, counters) > VIRTIO_COUNTERS)
		abort();
	stop(device);
	device->type->destroy(device);
	return 0;
}
