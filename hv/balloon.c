/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-balloon: inflate, deflate, statistics and free page reporting.
 *
 * Which queue is which follows from what the driver accepted: a queue whose feature is off has no
 * number, as Linux's driver counts them.  Called by the event loop and by the control socket, with
 * the machine's lock held.
 */
#include "hv/balloon.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAGE = 4096,
	QUEUE_SIZE = 128,
	PAGES_AT_ONCE = 1024, /* In one request; Linux's driver gives 256. */
	INFLATE = 0,
	DEFLATE = 1,
	N_QUEUES = 4,
	N_STATISTICS = 10,
	NO_QUEUE = 255,
};

/* By the numbers of VIRTIO_BALLOON_S_*. */
static const char *const statistic_names[N_STATISTICS] = {"swapped-in-bytes", "swapped-out-bytes",
	"major-faults", "minor-faults", "free-bytes", "total-bytes", "available-bytes",
	"disk-cache-bytes", "huge-pages-allocated", "huge-pages-failed"};

struct balloon {
	struct virtio_device device;
	struct virtio_balloon_config config;
	struct virtio_chain chain;
	uint8_t statistics_queue, reporting_queue; /* NO_QUEUE: the driver does not have it. */
	/* The driver's request for statistics is kept until they are wanted again. */
	bool statistics_waiting;
	uint16_t statistics_head;
	uint64_t statistics[N_STATISTICS];
	uint32_t statistics_known; /* A bit for each. */
	uint64_t inflated, deflated, reported, discarded_bytes, refused;
};

static struct balloon *balloon_of(struct virtio_device *device)
{
	return (struct balloon *)device;
}

static bool has_feature(const struct balloon *balloon, unsigned int bit)
{
	return balloon->device.features >> bit & 1;
}

/* --- Inflating -------------------------------------------------------------------------------- */

static void discard(struct balloon *balloon, uint64_t address, uint64_t bytes)
{
	if (balloon->device.memory->huge)
		return;
	if (guest_memory_discard(balloon->device.memory, address, bytes))
		balloon->refused++;
	else
		balloon->discarded_bytes += bytes;
}

/* Pages that follow each other, upwards or downwards, go in one piece. */
static void discard_pages(struct balloon *balloon, const uint32_t *pages, unsigned int n)
{
	unsigned int i = 0;

	while (i < n) {
		uint64_t first = le32toh(pages[i]), last = first;

		for (i++; i < n; i++) {
			uint64_t page = le32toh(pages[i]);

			if (page == last + 1)
				last = page;
			else if (page + 1 == first)
				first = page;
			else
				break;
		}
		discard(balloon, first * PAGE, (last - first + 1) * PAGE);
	}
}

/* What is beyond PAGES_AT_ONCE stays the guest's: a request may be as long as it likes, our
 * patience is not. */
static void inflate(struct balloon *balloon)
{
	uint32_t pages[PAGES_AT_ONCE];
	uint64_t got =
		virtio_chain_read(&balloon->chain, 0, pages, sizeof(pages)) / sizeof(pages[0]);

	discard_pages(balloon, pages, (unsigned int)got);
	balloon->inflated += got;
	balloon->refused += balloon->chain.readable_bytes / sizeof(pages[0]) - got;
}

/* --- Reporting -------------------------------------------------------------------------------- */

/* Where in the guest a pointer of the accessor's points. */
static uint64_t address_of(const struct guest_memory *memory, const void *pointer)
{
	const uint8_t *at = pointer;

	for (unsigned int i = 0; i < memory->n_regions; i++) {
		const struct guest_memory_region *region = &memory->regions[i];

		if (at >= region->host && (uint64_t)(at - region->host) < region->bytes)
			return region->address + (uint64_t)(at - region->host);
	}
	return UINT64_MAX;
}

static void report(struct balloon *balloon)
{
	for (unsigned int i = 0; i < balloon->chain.n_writable; i++) {
		const struct iovec *buffer = &balloon->chain.buffers[balloon->chain.n_readable + i];

		balloon->reported += buffer->iov_len / PAGE;
		discard(balloon, address_of(balloon->device.memory, buffer->iov_base),
			buffer->iov_len);
	}
}

/* --- Statistics ------------------------------------------------------------------------------- */

static void keep_statistics(struct balloon *balloon)
{
	struct virtio_balloon_stat statistic;
	uint64_t offset = 0;

	balloon->statistics_known = 0;
	for (unsigned int i = 0;
		i < 2 * N_STATISTICS && virtio_chain_read(&balloon->chain, offset, &statistic,
						sizeof(statistic)) == sizeof(statistic);
		i++, offset += sizeof(statistic)) {
		unsigned int tag = le16toh(statistic.tag);

		if (tag >= N_STATISTICS)
			continue;
		balloon->statistics[tag] = le64toh(statistic.val);
		balloon->statistics_known |= 1U << tag;
	}
}

/* Gives the driver's request back, and so asks it for new statistics. */
static void refresh_statistics(struct balloon *balloon)
{
	struct virtio_queue *queue;

	if (!balloon->device.started || !balloon->statistics_waiting)
		return;
	queue = &balloon->device.queues[balloon->statistics_queue];
	balloon->statistics_waiting = false;
	virtio_queue_push(queue, balloon->statistics_head, 0);
	virtio_queue_signal(queue);
}

/* --- Queues ----------------------------------------------------------------------------------- */

static void handle(struct balloon *balloon, unsigned int index)
{
	struct virtio_queue *queue = &balloon->device.queues[index];
	uint16_t head = balloon->chain.head;

	if (index == balloon->statistics_queue) {
		keep_statistics(balloon);
		if (!balloon->statistics_waiting) {
			balloon->statistics_waiting = true;
			balloon->statistics_head = head;
			return;
		}
	} else if (index == balloon->reporting_queue) {
		report(balloon);
	} else if (index == INFLATE) {
		inflate(balloon);
	} else if (index == DEFLATE) {
		balloon->deflated += balloon->chain.readable_bytes / sizeof(uint32_t);
	}
	virtio_queue_push(queue, head, 0);
}

static void notified(struct virtio_device *device, unsigned int index)
{
	struct balloon *balloon = balloon_of(device);
	unsigned int turn = VIRTIO_DEVICE_TURN;
	bool taken = false;

	while (virtio_device_take(device, index, &balloon->chain, &turn)) {
		handle(balloon, index);
		taken = true;
	}
	if (taken)
		virtio_queue_signal(&device->queues[index]);
}

static int start(struct virtio_device *device)
{
	struct balloon *balloon = balloon_of(device);
	uint8_t next = DEFLATE + 1;

	balloon->statistics_queue =
		has_feature(balloon, VIRTIO_BALLOON_F_STATS_VQ) ? next++ : NO_QUEUE;
	balloon->reporting_queue =
		has_feature(balloon, VIRTIO_BALLOON_F_REPORTING) ? next++ : NO_QUEUE;
	return 0;
}

static void stop(struct virtio_device *device)
{
	struct balloon *balloon = balloon_of(device);

	balloon->statistics_waiting = false;
	balloon->statistics_known = 0;
	balloon->config.actual = 0;
}

/* --- The device ------------------------------------------------------------------------------- */

enum { CONFIG_BYTES = offsetof(struct virtio_balloon_config, actual) + sizeof(uint32_t) };

static void read_config(
	struct virtio_device *device, uint32_t offset, uint8_t *data, unsigned int bytes)
{
	const uint8_t *config = (const uint8_t *)&balloon_of(device)->config;

	for (unsigned int i = 0; i < bytes; i++)
		data[i] = offset + i < CONFIG_BYTES ? config[offset + i] : 0;
}

/* The driver writes what it has given, and nothing else. */
static void write_config(
	struct virtio_device *device, uint32_t offset, const uint8_t *data, unsigned int bytes)
{
	if (offset == offsetof(struct virtio_balloon_config, actual) && bytes == sizeof(uint32_t))
		memcpy(&balloon_of(device)->config.actual, data, bytes);
}

static unsigned int counters(struct virtio_device *device, struct virtio_counter *list)
{
	struct balloon *balloon = balloon_of(device);
	const struct virtio_counter all[] = {
		{"target-bytes", balloon_target_bytes(device)},
		{"actual-bytes", balloon_actual_bytes(device)},
		{"pages-inflated", balloon->inflated},
		{"pages-deflated", balloon->deflated},
		{"pages-reported", balloon->reported},
		{"bytes-given-back", balloon->discarded_bytes},
		{"refused", balloon->refused},
	};
	unsigned int n = sizeof(all) / sizeof(all[0]);

	memcpy(list, all, sizeof(all));
	for (unsigned int i = 0; i < N_STATISTICS; i++) {
		if (balloon->statistics_known >> i & 1)
			list[n++] =
				(struct virtio_counter){statistic_names[i], balloon->statistics[i]};
	}
	refresh_statistics(balloon);
	return n;
}

static void destroy(struct virtio_device *device)
{
	free(device);
}

static const struct virtio_device_type balloon_type = {
	.name = "balloon",
	.id = 5,
	.start = start,
	.stop = stop,
	.notified = notified,
	.read_config = read_config,
	.write_config = write_config,
	.counters = counters,
	.destroy = destroy,
};

int balloon_create(
	struct virtio_device **device, const struct guest_memory *memory, struct event_loop *loop)
{
	struct balloon *balloon = calloc(1, sizeof(*balloon));

	if (!balloon)
		return -ENOMEM;
	balloon->device = (struct virtio_device){.type = &balloon_type,
		.name = "balloon0",
		.memory = memory,
		.loop = loop,
		.n_queues = N_QUEUES,
		.queue_size_max = QUEUE_SIZE};
	balloon->device.features_offered = UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ |
					   UINT64_C(1) << VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
	if (!memory->huge)
		balloon->device.features_offered |= UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING;
	balloon->statistics_queue = balloon->reporting_queue = NO_QUEUE;
	*device = &balloon->device;
	return 0;
}

int balloon_set_target(struct virtio_device *device, uint64_t bytes)
{
	struct balloon *balloon = balloon_of(device);

	if (bytes >= device->memory->bytes)
		return -ERANGE;
	balloon->config.num_pages = htole32((uint32_t)(bytes / PAGE));
	virtio_device_config_changed(device);
	return 0;
}

uint64_t balloon_target_bytes(const struct virtio_device *device)
{
	return (uint64_t)le32toh(((const struct balloon *)device)->config.num_pages) * PAGE;
}

uint64_t balloon_actual_bytes(const struct virtio_device *device)
{
	return (uint64_t)le32toh(((const struct balloon *)device)->config.actual) * PAGE;
}
