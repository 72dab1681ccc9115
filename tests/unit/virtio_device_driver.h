/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver of virtio devices for tests: plays the guest and the transport, with queues in guest
 *memory and the event loop in a thread of its own, as in the virtual machine monitor.
 *
 *	driver_open() -> X_create(&driver.device, &driver.memory, driver.loop) -> driver_start() ->
 *	driver_request() ... driver_answer() -> driver_close()
 */
#ifndef TESTS_UNIT_VIRTIO_DEVICE_DRIVER_H
#define TESTS_UNIT_VIRTIO_DEVICE_DRIVER_H

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/virtio_device.h"
#include "tests/unit/virtio_driver.h"

enum { DRIVER_QUEUES = 8, DRIVER_MEMORY = 64 << 20, DRIVER_WAIT_MS = 20000 };

struct driver {
	struct guest_memory memory;
	pthread_mutex_t lock;
	struct event_loop *loop;
	pthread_t thread;
	struct virtio_device *device;
	struct virtio_queue queues[DRIVER_QUEUES];
	uint64_t next_address; /* Guest memory from here on is free. */
	struct driver_ring rings[DRIVER_QUEUES];
	uint16_t next_descriptor[DRIVER_QUEUES], answered[DRIVER_QUEUES];
	const char *failure;
	unsigned int config_changes;
};

/* A buffer of a request; those that the device fills in come last. */
struct driver_buffer {
	uint64_t address;
	uint32_t bytes;
	bool writable;
};

static inline void *driver_run_loop(void *loop)
{
	event_loop_run(loop);
	return NULL;
}

static inline void driver_open(struct driver *driver)
{
	struct hv_error error = {""};

	memset(driver, 0, sizeof(*driver));
	pthread_mutex_init(&driver->lock, NULL);
	if (guest_memory_create(&driver->memory, DRIVER_MEMORY, GUEST_PAGES_SMALL, &error))
		fail_msg("%s", error.text);
	assert_int_equal(event_loop_create(&driver->loop, &driver->lock), 0);
	assert_int_equal(pthread_create(&driver->thread, NULL, driver_run_loop, driver->loop), 0);
	driver->next_address = 0x10000;
}

/* The address of `bytes` bytes of guest memory that nobody else uses, on a page of their own. */
static inline uint64_t driver_allocate(struct driver *driver, uint64_t bytes)
{
	uint64_t address = driver->next_address;

	driver->next_address += (bytes + 4095) & ~UINT64_C(4095);
	assert_non_null(guest_memory_at(&driver->memory, address, bytes));
	return address;
}

static inline void *driver_at(struct driver *driver, uint64_t address, uint64_t bytes)
{
	void *at = guest_memory_at(&driver->memory, address, bytes);

	assert_non_null(at);
	return at;
}

/* Negotiates `features` and starts all queues, `size` descriptors each. */
static inline void driver_start(struct driver *driver, uint64_t features, uint16_t size)
{
	struct virtio_device *device = driver->device;

	assert_true(device->n_queues <= DRIVER_QUEUES);
	assert_int_equal(features & ~device->features_offered, 0);
	pthread_mutex_lock(&driver->lock);
	device->features = features;
	device->queues = driver->queues;
	device->transport = (struct virtio_transport *)driver;
	for (unsigned int i = 0; i < device->n_queues; i++) {
		struct virtio_queue *queue = &driver->queues[i];

		*queue = (struct virtio_queue){.memory = &driver->memory, .size = size};
		queue->descriptors = driver_allocate(driver, 16UL * size);
		queue->available = driver_allocate(driver, 6 + 2UL * size);
		queue->used = driver_allocate(driver, 6 + 8UL * size);
		queue->enabled = true;
		queue->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		queue->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		driver->rings[i] = (struct driver_ring){&driver->memory, queue->descriptors,
			queue->available, queue->used, size, 0};
		driver->next_descriptor[i] = driver->answered[i] = 0;
		assert_true(virtio_queue_start(queue));
	}
	assert_int_equal(virtio_device_prepare(device), 0);
	assert_int_equal(device->type->start(device), 0);
	assert_int_equal(virtio_device_listen(device), 0);
	device->started = true;
	pthread_mutex_unlock(&driver->lock);
}

/* Resets the device. */
static inline void driver_stop(struct driver *driver)
{
	struct virtio_device *device = driver->device;

	pthread_mutex_lock(&driver->lock);
	device->started = false;
	virtio_device_unlisten(device);
	device->type->stop(device);
	virtio_device_release(device);
	for (unsigned int i = 0; i < device->n_queues; i++) {
		close(driver->queues[i].notify_fd);
		close(driver->queues[i].interrupt_fd);
	}
	pthread_mutex_unlock(&driver->lock);
}

static inline void driver_close(struct driver *driver)
{
	if (driver->device) {
		if (driver->device->started)
			driver_stop(driver);
		pthread_mutex_lock(&driver->lock);
		driver->device->type->destroy(driver->device);
		pthread_mutex_unlock(&driver->lock);
	}
	event_loop_stop(driver->loop);
	pthread_join(driver->thread, NULL);
	event_loop_destroy(driver->loop);
	guest_memory_destroy(&driver->memory);
	pthread_mutex_destroy(&driver->lock);
}

/* Puts a request of `n` buffers into the queue, and notifies.  Its head. */
static inline uint16_t driver_request(struct driver *driver, unsigned int index,
	const struct driver_buffer *buffers, unsigned int n)
{
	struct driver_ring *ring = &driver->rings[index];
	uint16_t head = driver->next_descriptor[index] % ring->size;

	for (unsigned int i = 0; i < n; i++) {
		uint16_t at = driver->next_descriptor[index]++ % ring->size;
		const struct driver_descriptor descriptor = {
			.address = buffers[i].address,
			.bytes = buffers[i].bytes,
			.flags = (buffers[i].writable ? DRIVER_WRITE : 0) |
				 (i + 1 < n ? DRIVER_NEXT : 0),
			.next = driver->next_descriptor[index] % ring->size,
		};

		driver_describe(ring, ring->descriptors, at, &descriptor);
	}
	driver_offer(ring, head);
	eventfd_write(driver->queues[index].notify_fd, 1);
	return head;
}

/* Waits for the next answer: its head, and how many bytes were written.  Fails the test after
 * DRIVER_WAIT_MS. */
static inline uint16_t driver_answer(struct driver *driver, unsigned int index, uint32_t *written)
{
	const struct driver_ring *ring = &driver->rings[index];
	struct pollfd interrupt = {.fd = driver->queues[index].interrupt_fd, .events = POLLIN};
	uint16_t answer;

	while (driver_used_index(ring) == driver->answered[index]) {
		eventfd_t count;

		if (poll(&interrupt, 1, DRIVER_WAIT_MS) != 1)
			fail_msg("queue %u has no answer", index);
		eventfd_read(interrupt.fd, &count);
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	answer = driver->answered[index]++;
	if (written)
		*written = driver_used_bytes(ring, answer);
	return (uint16_t)driver_used_head(ring, answer);
}

/* The transport's part: a test asks driver->failure and driver->config_changes. */
#ifdef DRIVER_IS_TRANSPORT
void virtio_device_fail(struct virtio_device *device, const char *reason)
{
	struct driver *driver = (struct driver *)device->transport;

	if (!driver->failure)
		driver->failure = reason;
}

void virtio_device_config_changed(struct virtio_device *device)
{
	struct driver *driver = (struct driver *)device->transport;

	if (driver)
		driver->config_changes++;
}

const char *virtio_device_failure(const struct virtio_device *device)
{
	return ((const struct driver *)device->transport)->failure;
}
#endif

#endif
