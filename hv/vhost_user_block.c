/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that a storage daemon serves: features and configuration space are the daemon's, requests
 * go from the guest to it.  Called by the transport, by the vhost-user front end and by the event
 * loop, with the machine's lock held.
 */
#include "hv/vhost_user_block.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/vhost_user.h"

#define BIT(number) (UINT64_C(1) << (number))

/* What is handed on of what the daemon offers. */
#define FEATURES                                                                                   \
	(BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_GEOMETRY) |     \
		BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) |      \
		BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_CONFIG_WCE) | BIT(VIRTIO_BLK_F_MQ) | \
		BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) |                       \
		BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

enum {
	SECTOR = 512,
	QUEUE_SIZE = 128,
	WAIT_MS = 3000, /* For the daemon, at the start. */
	/* Up to the limits of write-zeroes. */
	CONFIG_BYTES = offsetof(struct virtio_blk_config, unused1),
};

struct vhost_user_block {
	struct virtio_device device; /* First. */
	const struct disk_options *options;
	struct vhost_user *vhost;
	bool connected;
	bool complete; /* The device is made: it keeps its features and queues. */
	unsigned int n_queues_max;
	uint8_t config[CONFIG_BYTES]; /* As the guest sees it. */
	uint64_t config_changes;
};

static struct vhost_user_block *block_of(struct virtio_device *device)
{
	return (struct vhost_user_block *)device;
}

static uint64_t capacity(const struct vhost_user_block *block)
{
	uint64_t sectors;

	memcpy(&sectors, block->config + offsetof(struct virtio_blk_config, capacity),
		sizeof(sectors));
	return le64toh(sectors);
}

/* --- The daemon ------------------------------------------------------------------------------- */

/* Takes the daemon's configuration over, but for the number of queues.  True if it is another one.
 */
static bool take_config(struct vhost_user_block *block)
{
	uint16_t n_queues = htole16((uint16_t)block->device.n_queues);
	uint8_t config[CONFIG_BYTES];
	struct vhost_user_facts facts;

	vhost_user_facts(block->vhost, &facts);
	memcpy(config, facts.config, CONFIG_BYTES);
	memcpy(config + offsetof(struct virtio_blk_config, num_queues), &n_queues,
		sizeof(n_queues));
	if (memcmp(config, block->config, CONFIG_BYTES) == 0)
		return false;
	memcpy(block->config, config, CONFIG_BYTES);
	return true;
}

static int judge(const struct vhost_user_block *block, const struct vhost_user_facts *facts,
	struct hv_error *error)
{
	if (!(facts->features & BIT(VIRTIO_F_VERSION_1)))
		return hv_fail(error, EPROTO, "it knows no virtio 1 (VIRTIO_F_VERSION_1)");
	if (!(facts->protocol_features & BIT(VHOST_USER_PROTOCOL_CONFIG)))
		return hv_fail(error, EPROTO,
			"it does not tell a disk's size (protocol feature CONFIG): is it a "
			"vhost-user-blk back end?");
	if (block->options->read_only && !(facts->features & BIT(VIRTIO_BLK_F_RO)))
		return hv_fail(error, EROFS,
			"it serves the disk for writing, and readonly=on was asked for: let it "
			"serve the disk read-only");
	if (block->complete && facts->n_queues < block->device.n_queues)
		return hv_fail(error, EPROTO, "it has %llu queues, and the guest's disk has %u",
			(unsigned long long)facts->n_queues, block->device.n_queues);
	return 0;
}

static int daemon_met(void *owner, struct hv_error *error)
{
	struct vhost_user_block *block = owner;
	struct vhost_user_facts facts;
	int result;

	vhost_user_facts(block->vhost, &facts);
	result = judge(block, &facts, error);
	if (result < 0)
		return result;
	block->device.features_offered = facts.features & FEATURES;
	if (!block->complete)
		block->device.n_queues = facts.n_queues < block->n_queues_max
						 ? (unsigned int)facts.n_queues
						 : block->n_queues_max;
	block->connected = true;
	if (take_config(block) && block->device.transport) {
		block->config_changes++;
		virtio_device_config_changed(&block->device);
	}
	return 0;
}

static void daemon_started(void *owner, bool again)
{
	(void)owner; /* Requests that waited go on by themselves. */
	(void)again;
}

static void daemon_left(void *owner)
{
	struct vhost_user_block *block = owner;

	block->connected = false;
}

static void daemon_config_changed(void *owner)
{
	struct vhost_user_block *block = owner;

	if (!take_config(block) || !block->device.transport)
		return;
	block->config_changes++;
	virtio_device_config_changed(&block->device);
}

static void daemon_failed(void *owner, const char *reason)
{
	struct vhost_user_block *block = owner;

	fprintf(stderr, "cordon-vmm: %s: %s\n", block->device.name, reason);
	virtio_device_fail(&block->device, reason);
}

static const struct vhost_user_events daemon_events = {
	.met = daemon_met,
	.started = daemon_started,
	.left = daemon_left,
	.config_changed = daemon_config_changed,
	.failed = daemon_failed,
};

/* --- The driver ------------------------------------------------------------------------------- */

static int block_start(struct virtio_device *device)
{
	struct vhost_user_block *block = block_of(device);

	vhost_user_start(block->vhost, device->features, device->queues, device->n_queues, 0);
	return 0;
}

static void block_stop(struct virtio_device *device)
{
	vhost_user_stop(block_of(device)->vhost);
}

static void block_read_config(
	struct virtio_device *device, uint32_t offset, uint8_t *data, unsigned int bytes)
{
	const struct vhost_user_block *block = block_of(device);

	memset(data, 0, bytes);
	for (unsigned int i = 0; i < bytes && offset + i < CONFIG_BYTES; i++)
		data[i] = block->config[offset + i];
}

/* The cache's mode is all that a driver may write, if it has accepted that it can. */
static void block_write_config(
	struct virtio_device *device, uint32_t offset, const uint8_t *data, unsigned int bytes)
{
	if (offset != offsetof(struct virtio_blk_config, wce) || bytes != 1 ||
		!(device->features & BIT(VIRTIO_BLK_F_CONFIG_WCE)))
		return;
	(void)vhost_user_write_config(block_of(device)->vhost, offset, data, bytes);
}

static unsigned int block_counters(struct virtio_device *device, struct virtio_counter *counters)
{
	const struct vhost_user_block *block = block_of(device);
	struct vhost_user_facts facts;

	vhost_user_facts(block->vhost, &facts);
	const struct virtio_counter all[] = {
		{"daemon-connections", facts.connections},
		{"daemon-refusals", facts.refusals},
		{"daemon-timeouts", facts.timeouts},
		{"config-changes", block->config_changes},
	};
	memcpy(counters, all, sizeof(all));
	return sizeof(all) / sizeof(all[0]);
}

static void block_destroy(struct virtio_device *device)
{
	struct vhost_user_block *block = block_of(device);

	vhost_user_destroy(block->vhost);
	free(block);
}

static const struct virtio_device_type block_type = {
	.name = "block",
	.id = VIRTIO_ID_BLOCK,
	.external_queues = true,
	.start = block_start,
	.stop = block_stop,
	.read_config = block_read_config,
	.write_config = block_write_config,
	.counters = block_counters,
	.destroy = block_destroy,
};

/* --- Life ------------------------------------------------------------------------------------- */

static int connect_daemon(
	struct vhost_user_block *block, struct broker *broker, struct hv_error *error)
{
	const struct vhost_user_setup setup = {
		.name = block->device.name,
		.peer = "the storage daemon",
		.socket = block->options->socket,
		.listens = false,
		.care = VHOST_USER_EXACT,
		.needed_features = FEATURES | BIT(VIRTIO_F_VERSION_1),
		.protocol_features =
			BIT(VHOST_USER_PROTOCOL_MQ) | BIT(VHOST_USER_PROTOCOL_BACKEND_REQ) |
			BIT(VHOST_USER_PROTOCOL_CONFIG) | BIT(VHOST_USER_PROTOCOL_INFLIGHT_SHMFD),
		.config_bytes = CONFIG_BYTES,
		.memory = block->device.memory,
		.loop = block->device.loop,
		.broker = broker,
		.events = &daemon_events,
		.owner = block,
	};
	struct vhost_user_facts facts;
	int result = vhost_user_create(&block->vhost, &setup, error);

	if (result < 0)
		return result;
	vhost_user_wait(&block->vhost, 1, WAIT_MS);
	vhost_user_facts(block->vhost, &facts);
	if (facts.met)
		return 0;
	if (facts.trouble)
		return hv_fail(error, ENOTCONN, "%s: %s%s", block->device.name, facts.trouble,
			facts.connections ? "" : "; start the storage daemon first");
	return hv_fail(error, ETIMEDOUT,
		"%s: the storage daemon at %s has not answered within %d ms; is it one?",
		block->device.name, block->options->socket, WAIT_MS);
}

int vhost_user_block_create(struct virtio_device **device, const struct disk_options *options,
	unsigned int index, unsigned int n_queues, const struct guest_memory *memory,
	struct event_loop *loop, struct broker *broker, struct hv_error *error)
{
	struct vhost_user_block *block = calloc(1, sizeof(*block));
	int result;

	*device = NULL;
	if (!block)
		return hv_fail(error, ENOMEM, "disk%u: not enough memory", index);
	block->options = options;
	block->n_queues_max = n_queues < 1		    ? 1
			      : n_queues > VHOST_USER_RINGS ? VHOST_USER_RINGS
							    : n_queues;
	block->device.type = &block_type;
	snprintf(block->device.name, sizeof(block->device.name), "disk%u", index);
	block->device.memory = memory;
	block->device.loop = loop;
	block->device.queue_size_max = QUEUE_SIZE;
	result = connect_daemon(block, broker, error);
	if (result < 0) {
		block_destroy(&block->device);
		return result;
	}
	if (options->serial)
		fprintf(stderr,
			"cordon-vmm: warning: disk %s: the serial number %s is not shown to the "
			"guest, for its storage daemon answers that question\n",
			options->socket, options->serial);
	block->complete = true;
	*device = &block->device;
	return 0;
}

void vhost_user_block_status(
	const struct virtio_device *device, struct vhost_user_block_status *status)
{
	const struct vhost_user_block *block = (const struct vhost_user_block *)device;
	struct vhost_user_facts facts;

	vhost_user_facts(block->vhost, &facts);
	*status = (struct vhost_user_block_status){
		.connected = block->connected,
		.read_only = block->device.features_offered & BIT(VIRTIO_BLK_F_RO),
		.bytes = capacity(block) * SECTOR,
		.socket = block->options->socket,
		.trouble = facts.trouble,
	};
}
