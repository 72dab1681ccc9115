/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng: fills what the guest offers with random numbers.  Called by the event loop, with the
 * machine's lock held.
 */
#include "hv/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
	QUEUE_SIZE = 16,
	REQUEST_MAX = 4096, /* A driver asks again for more. */
};

struct rng {
	struct virtio_device device;
	struct virtio_chain chain;
	uint64_t requests, bytes;
};

static uint32_t fill(struct rng *rng)
{
	uint8_t random[256];
	uint64_t wanted = rng->chain.writable_bytes, done = 0;

	if (wanted > REQUEST_MAX)
		wanted = REQUEST_MAX;
	while (done < wanted) {
		ssize_t got = getrandom(
			random, wanted - done < sizeof(random) ? wanted - done : sizeof(random), 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += virtio_chain_write(&rng->chain, done, random, (uint64_t)got);
	}
	explicit_bzero(random, sizeof(random));
	return (uint32_t)done;
}

static void notified(struct virtio_device *device, unsigned int index)
{
	struct rng *rng = (struct rng *)device;
	struct virtio_queue *queue = &device->queues[index];
	unsigned int turn = VIRTIO_DEVICE_TURN;
	bool answered = false;

	while (virtio_device_take(device, index, &rng->chain, &turn)) {
		uint32_t written = fill(rng);

		virtio_queue_push(queue, rng->chain.head, written);
		rng->requests++;
		rng->bytes += written;
		answered = true;
	}
	if (answered)
		virtio_queue_signal(queue);
}

static unsigned int counters(struct virtio_device *device, struct virtio_counter *list)
{
	const struct rng *rng = (const struct rng *)device;

	list[0] = (struct virtio_counter){"requests", rng->requests};
	list[1] = (struct virtio_counter){"bytes", rng->bytes};
	return 2;
}

static void destroy(struct virtio_device *device)
{
	free(device);
}

static const struct virtio_device_type rng_type = {
	.name = "rng",
	.id = 4,
	.start = virtio_device_start_nothing,
	.stop = virtio_device_stop_nothing,
	.notified = notified,
	.read_config = virtio_device_read_nothing,
	.write_config = virtio_device_write_nothing,
	.counters = counters,
	.destroy = destroy,
};

int rng_create(
	struct virtio_device **device, const struct guest_memory *memory, struct event_loop *loop)
{
	struct rng *rng = calloc(1, sizeof(*rng));

	if (!rng)
		return -ENOMEM;
	rng->device = (struct virtio_device){.type = &rng_type,
		.name = "rng0",
		.memory = memory,
		.loop = loop,
		.n_queues = 1,
		.queue_size_max = QUEUE_SIZE};
	*device = &rng->device;
	return 0;
}
