/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net's control queue and configuration space against a driver that writes anything into its
 * ring, its buffers and its registers, at any moment, and starts and stops as it likes.
 *
 * An input is a row of acts, one byte each, with what they need behind it.  AddressSanitizer
 * judges, and two promises: an answer is one byte, OK or ERR, and the pairs in use are never more
 * than there are.
 */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "hv/net_internal.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	PAIRS = 3,
	QUEUES = 2 * PAIRS + 1,
	SIZE = 8,
	MEMORY = 2 << 20,
	RINGS = 0x1000,
	ACTS_MAX = 64
};

struct input {
	const uint8_t *at;
	size_t left;
};

static struct world {
	pthread_mutex_t lock;
	struct event_loop *loop;
	struct guest_memory memory;
	struct virtio_queue queues[QUEUES];
	struct virtio_device *device;
	bool failed;
} world = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void require(bool promise)
{
	if (!promise)
		abort();
}

/* Nobody connects. */
int broker_listen(struct broker *broker, const char *path, struct hv_error *error)
{
	(void)broker;
	return hv_fail(error, EINVAL, "%s", path);
}

int broker_connect(struct broker *broker, const char *path, struct hv_error *error)
{
	(void)broker;
	return hv_fail(error, EINVAL, "%s", path);
}

void virtio_device_fail(struct virtio_device *device, const char *reason)
{
	require(device == world.device && reason);
	world.failed = true;
}

const char *virtio_device_failure(const struct virtio_device *device)
{
	require(device == world.device);
	return world.failed ? "it has failed" : NULL;
}

void virtio_device_config_changed(struct virtio_device *device)
{
	require(device == world.device);
}

static uint32_t take(struct input *input, unsigned int bytes)
{
	uint32_t value = 0;

	for (; bytes && input->left; bytes--, input->left--)
		value = value << 8 | *input->at++;
	return value;
}

/* --- Acts ------------------------------------------------------------------------------------- */

/* Bytes of the input's, anywhere in the first pages. */
static void scribble(struct input *input)
{
	uint32_t address = take(input, 2), n = take(input, 1) % 64;
	uint8_t *at = guest_memory_at(&world.memory, address, 64);

	n = n < input->left ? n : (uint32_t)input->left;
	memcpy(at, input->at, n);
	input->at += n;
	input->left -= n;
}

/* A command of the right form, with data of the input's, and a notification. */
static void command(struct input *input)
{
	struct net *net = (struct net *)world.device;
	const uint64_t queue = RINGS + 0x400 * net_control_queue(net);
	const struct vring_desc table[] = {
		{0x8000, 2 + take(input, 1) % 32, VRING_DESC_F_NEXT, 1},
		{0x9000, take(input, 1) % 4, VRING_DESC_F_WRITE, 0},
	};
	uint8_t *data = guest_memory_at(&world.memory, 0x8000, 64);
	uint16_t *available = guest_memory_at(&world.memory, queue + 0x100, 64);

	for (unsigned int i = 0; i < table[0].len; i++)
		data[i] = (uint8_t)take(input, 1);
	guest_memory_write(&world.memory, queue, table, sizeof(table));
	available[2 + available[1] % SIZE] = 0;
	available[1]++;
	eventfd_write(world.queues[net_control_queue(net)].notify_fd, 1);
}

static void start(struct input *input)
{
	uint64_t features = (uint64_t)take(input, 4);

	if (world.device->started)
		return;
	world.device->features = features & world.device->features_offered;
	for (unsigned int i = 0; i < QUEUES; i++) {
		struct virtio_queue *queue = &world.queues[i];
		const uint64_t base = RINGS + 0x400 * i;

		queue->enabled = !(features >> 24 & (UINT64_C(1) << i));
		queue->size = SIZE;
		queue->descriptors = base;
		queue->available = base + 0x100;
		queue->used = base + 0x200;
		queue->next_available = queue->next_used = 0;
		queue->indirect = features & 1;
		queue->event_index = features & 2;
		require(virtio_queue_start(queue));
	}
	world.failed = false;
	world.device->started = world.device->type->start(world.device) == 0;
	require(world.device->started);
}

static void stop(void)
{
	if (world.device->started)
		world.device->type->stop(world.device);
	world.device->started = false;
}

static void look(void)
{
	struct net *net = (struct net *)world.device;
	struct pollfd at = {net->control.fd, POLLIN, 0};
	uint8_t *answer = guest_memory_at(&world.memory, 0x9000, 4);

	*answer = VIRTIO_NET_ERR;
	if (net->control.added && !world.failed && poll(&at, 1, 0) == 1)
		net->control.ready(&net->control, POLLIN);
	require(*answer == VIRTIO_NET_OK || *answer == VIRTIO_NET_ERR);
	require(net->queue_pairs_set >= 1 && net->queue_pairs_set <= PAIRS);
}

static void configure(struct input *input)
{
	uint8_t bytes[8];
	uint32_t offset = take(input, take(input, 1) % 5);

	world.device->type->write_config(world.device, offset, bytes, 0);
	world.device->type->read_config(
		world.device, offset, bytes, (unsigned int)take(input, 1) % sizeof(bytes) + 1);
}

static void act(struct input *input)
{
	switch (take(input, 1) % 8) {
	case 0: scribble(input); break;
	case 1: start(input); break;
	case 2: stop(); break;
	case 3: configure(input); break;
	case 4: eventfd_write(world.queues[take(input, 1) % QUEUES].notify_fd, 1); break;
	default: command(input);
	}
	look();
}

/* --- A run ------------------------------------------------------------------------------------ */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	require(event_loop_create(&world.loop, &world.lock) == 0 &&
		guest_memory_create(&world.memory, MEMORY, GUEST_PAGES_SMALL, NULL) == 0);
	for (unsigned int i = 0; i < QUEUES; i++)
		world.queues[i] = (struct virtio_queue){
			.memory = &world.memory,
			.notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
			.interrupt_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		};
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct net_options options = {
		.mac = {2, 0, 0, 0, 0, 1}, .queue_pairs = PAIRS, .queue_size = SIZE, .mtu = 1500};
	struct input input = {data, size};

	memset(guest_memory_at(&world.memory, 0, 0x10000), 0, 0x10000);
	require(net_create(&world.device, &options, 0, &world.memory, world.loop, NULL, NULL) == 0);
	world.device->queues = world.queues;
	for (unsigned int n = 0; n < ACTS_MAX && input.left > 0; n++)
		act(&input);
	stop();
	world.device->type->destroy(world.device);
	return 0;
}
