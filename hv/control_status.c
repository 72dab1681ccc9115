/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command `status`: what the guest is, has, and does.  Called by control.c with the machine's
 * lock held.
 */
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "hv/balloon.h"
#include "hv/block.h"
#include "hv/control.h"
#include "hv/net.h"
#include "hv/vhost_user_block.h"

static json_t *net_object(const struct virtio_device *device)
{
	struct net_status status;
	char mac[18];

	net_status(device, &status);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", status.mac[0], status.mac[1],
		status.mac[2], status.mac[3], status.mac[4], status.mac[5]);
	return json_pack("{s:s, s:s, s:b, s:b, s:i, s:i, s:i, s:o, s:o*}", "name", device->name,
		"mac", mac, "connected", status.connected, "link_up", status.link_up, "queues",
		(int)status.queue_pairs, "queues_used", (int)status.queue_pairs_set, "mtu",
		(int)status.mtu, "socket", control_string(status.socket), "trouble",
		control_string(status.trouble));
}

static json_t *file_disk_object(
	const struct virtio_device *device, const struct disk_options *options)
{
	return json_pack("{s:s, s:o, s:I, s:b}", "name", device->name, "path",
		control_string(options->path), "bytes", (json_int_t)block_bytes(device),
		"read_only", options->read_only);
}

static json_t *foreign_disk_object(const struct virtio_device *device)
{
	struct vhost_user_block_status status;

	vhost_user_block_status(device, &status);
	return json_pack("{s:s, s:o, s:I, s:b, s:b, s:o*}", "name", device->name, "socket",
		control_string(status.socket), "bytes", (json_int_t)status.bytes, "read_only",
		status.read_only, "connected", status.connected, "trouble",
		control_string(status.trouble));
}

static json_t *net_list(const struct control_subject *subject)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < subject->n_devices; i++)
		if (subject->devices[i]->type->id == VIRTIO_ID_NET)
			json_array_append_new(list, net_object(subject->devices[i]));
	return list;
}

/* Disks come in the order of their options. */
static json_t *disk_list(const struct control_subject *subject)
{
	const struct disk_options *options = subject->options->disks;
	json_t *list = json_array();

	for (unsigned int i = 0; i < subject->n_devices; i++) {
		const struct virtio_device *device = subject->devices[i];

		if (device->type->id == VIRTIO_ID_BLOCK)
			json_array_append_new(list, options->path
							    ? file_disk_object(device, options)
							    : foreign_disk_object(device));
		options += device->type->id == VIRTIO_ID_BLOCK;
	}
	return list;
}

static uint64_t balloon_bytes(const struct control_subject *subject)
{
	for (unsigned int i = 0; i < subject->n_devices; i++)
		if (subject->devices[i]->type->id == VIRTIO_ID_BALLOON)
			return balloon_actual_bytes(subject->devices[i]);
	return 0;
}

static json_int_t uptime_ms(const struct control_subject *subject)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (json_int_t)(((uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec -
				    subject->started_ns) /
			    1000000U);
}

json_t *control_status(struct control_subject *subject)
{
	const struct machine *machine = subject->machine;

	return json_pack("{s:b, s:s, s:o*, s:s, s:i, s:s, s:I, s:i, s:I, s:b, s:o, s:o, s:I}", "ok",
		1, "name", subject->options->name, "uuid", control_string(subject->options->uuid),
		"version", CORDON_VERSION, "pid", (int)getpid(), "state",
		machine_state_name(machine->state), "uptime_ms", uptime_ms(subject), "vcpus",
		(int)machine->n_vcpus, "memory_bytes", (json_int_t)machine->memory.bytes,
		"huge_pages", machine->memory.huge, "nets", net_list(subject), "disks",
		disk_list(subject), "balloon_bytes", (json_int_t)balloon_bytes(subject));
}
