/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtqueue whose rings hold anything, and change while they are read: whatever is taken out of
 * it lies in guest memory and keeps to the bounds, and a queue that is broken stays so.
 *
 * The queue's code is compiled in here, with each of its looks at guest memory preceded by
 * guest_runs(): there, between any two looks, the guest may write.
 *
 * The input: how the queue is set up, what memory holds (a byte of length in units of 16 bytes, and
 * so much), then two bytes of length and the steps.  What follows them is what the guest writes
 * meanwhile: a place and a value for each look.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/virtio_queue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void guest_runs(void);

#define __atomic_load_n(at, order) (guest_runs(), __atomic_load_n(at, order))
#define guest_memory_at(memory, address, bytes)                                                    \
	(guest_runs(), guest_memory_at(memory, address, bytes))
#define guest_memory_read(memory, address, to, bytes)                                              \
	(guest_runs(), guest_memory_read(memory, address, to, bytes))
#include "hv/virtio_queue.c"
#undef guest_memory_read
#undef guest_memory_at
#undef __atomic_load_n

enum {
	MEMORY = 0x4000,
	RINGS = 0x1000, /* Descriptors at 0, then these two steps further. */
	STEPS_MAX = 400,
	/* Of one call: three for each descriptor, and some for the rings. */
	LOOKS_MAX = 3 * (VIRTIO_QUEUE_MAX + VIRTIO_CHAIN_MAX) + 16,
};

enum action { POP, PUSH, SIGNAL, ENABLE, DISABLE, OFFER, WRITE, COPY, N_STEPS };

struct input {
	const uint8_t *at;
	size_t left;
};

/* What the accessor's stand-ins work with. */
struct fuzz {
	struct guest_memory memory;
	struct input changes;
	unsigned int looks;
};

static struct fuzz *current;

static void require(bool promise)
{
	if (!promise)
		abort();
}

static uint8_t take(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static uint16_t take16(struct input *input)
{
	uint16_t low = take(input);

	return (uint16_t)(low | take(input) << 8);
}

/* --- The guest -----------------------------------------------------------------------------------
 */

static void poke(struct fuzz *fuzz, uint16_t place, uint8_t value)
{
	fuzz->memory.regions[0].host[place % MEMORY] = value;
}

/* The other processor, which is always a little faster. */
static void guest_runs(void)
{
	uint16_t place;

	current->looks++;
	if (current->changes.left == 0)
		return;
	place = take16(&current->changes);
	poke(current, place, take(&current->changes));
}

/* --- What is promised
 * ------------------------------------------------------------------------------ */

static void check_chain(const struct fuzz *fuzz, const struct virtio_chain *chain, uint16_t size)
{
	const uint8_t *memory = fuzz->memory.regions[0].host;
	unsigned int n = chain->n_readable + chain->n_writable;
	uint64_t sums[2] = {0, 0};

	require(n <= VIRTIO_CHAIN_MAX);
	require(chain->head < size);
	for (unsigned int i = 0; i < n; i++) {
		const uint8_t *buffer = chain->buffers[i].iov_base;

		require(chain->buffers[i].iov_len > 0);
		require(buffer >= memory && buffer + chain->buffers[i].iov_len <= memory + MEMORY);
		sums[i >= chain->n_readable] += chain->buffers[i].iov_len;
	}
	require(sums[0] == chain->readable_bytes && sums[1] == chain->writable_bytes);
	require(sums[0] + sums[1] <= UINT64_C(1) << 32);
}

static void pop(struct fuzz *fuzz, struct virtio_queue *queue, struct virtio_chain *chain,
	unsigned int *in_flight)
{
	bool was_broken = queue->error;
	int popped = virtio_queue_pop(queue, chain);

	require(popped == 0 || popped == 1 || popped == -EBADMSG);
	require((popped == -EBADMSG) == (queue->error != NULL));
	require(!was_broken || popped == -EBADMSG);
	if (popped != 1)
		return;
	check_chain(fuzz, chain, queue->size);
	require(++*in_flight <= queue->size);
}

static void check_copies(const struct virtio_chain *chain, uint16_t offset, uint8_t n)
{
	uint8_t *bytes = calloc(1, n ? n : 1);
	uint64_t readable = offset < chain->readable_bytes ? chain->readable_bytes - offset : 0;
	uint64_t writable = offset < chain->writable_bytes ? chain->writable_bytes - offset : 0;

	require(virtio_chain_read(chain, offset, bytes, n) == (readable < n ? readable : n));
	require(virtio_chain_write(chain, offset, bytes, n) == (writable < n ? writable : n));
	free(bytes);
}

static void act(struct fuzz *fuzz, struct virtio_queue *queue, struct virtio_chain *chain,
	unsigned int *in_flight, struct input *steps)
{
	uint16_t used = queue->next_used, place;

	fuzz->looks = 0;
	switch ((enum action)(take(steps) % N_STEPS)) {
	case POP: pop(fuzz, queue, chain, in_flight); break;
	case PUSH:
		if (*in_flight == 0)
			break;
		virtio_queue_push(queue, chain->head, take(steps));
		require(queue->next_used == (uint16_t)(used + !queue->error));
		*in_flight -= !queue->error;
		break;
	case SIGNAL: virtio_queue_signal(queue); break;
	case ENABLE: virtio_queue_enable_notify(queue); break;
	case DISABLE: virtio_queue_disable_notify(queue); break;
	case OFFER:
		/* One more is available, without a look at what it is. */
		place = (uint16_t)(queue->available + 2);
		poke(fuzz, place, (uint8_t)(queue->next_available + 1));
		poke(fuzz, place + 1, (uint8_t)((uint16_t)(queue->next_available + 1) >> 8));
		break;
	case WRITE:
		place = take16(steps);
		poke(fuzz, place, take(steps));
		break;
	default:
		place = take16(steps);
		check_copies(chain, place, take(steps));
		break;
	}
	require(fuzz->looks <= LOOKS_MAX);
}

static struct virtio_queue make_queue(struct fuzz *fuzz, struct input *input)
{
	uint8_t flags = take(input);
	uint16_t start = take16(input);

	return (struct virtio_queue){
		.memory = &fuzz->memory,
		.size = (uint16_t)(1 << take(input) % 9),
		.descriptors = take(input) % 4 * 16,
		.available = RINGS + take(input),
		.used = 2 * RINGS + take(input),
		.enabled = true,
		.indirect = flags & 1,
		.event_index = flags & 2,
		.next_available = start,
		.next_used = start,
		.notify_fd = -1,
		.interrupt_fd = eventfd(0, EFD_NONBLOCK),
	};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Memory of its own, so that a step outside of it is seen. */
	struct fuzz fuzz = {.memory = {.n_regions = 1, .bytes = MEMORY, .fd = -1}};
	struct input input = {data, size}, steps;
	struct virtio_chain *chain = calloc(1, sizeof(*chain));
	struct virtio_queue queue;
	unsigned int in_flight = 0;
	size_t n;

	fuzz.memory.regions[0] =
		(struct guest_memory_region){.bytes = MEMORY, .host = aligned_alloc(4096, MEMORY)};
	memset(fuzz.memory.regions[0].host, 0, MEMORY);
	current = &fuzz;
	queue = make_queue(&fuzz, &input);
	n = take(&input) * 16U;
	for (size_t i = 0; i < n && input.left > 0; i++)
		poke(&fuzz, (uint16_t)i, take(&input));
	/* The rings' beginnings are the same bytes again. */
	memcpy(fuzz.memory.regions[0].host + queue.available, fuzz.memory.regions[0].host + n / 2,
		64);
	n = take16(&input) % (STEPS_MAX + 1);
	steps = (struct input){input.at, n < input.left ? n : input.left};
	fuzz.changes = (struct input){input.at + steps.left, input.left - steps.left};
	if (virtio_queue_start(&queue))
		while (steps.left > 0)
			act(&fuzz, &queue, chain, &in_flight, &steps);
	close(queue.interrupt_fd);
	free(chain);
	free(fuzz.memory.regions[0].host);
	return 0;
}
