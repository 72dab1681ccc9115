/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vhost-user conversation as tables: what is said to a back end in which order, and what its
 * answers mean.  Called by vhost_user_talk.c.
 *
 * Ring addresses are told as addresses of this process, by the protocol; they are guest-physical
 * ones here, for the memory table says that the two are the same.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/vhost_user_private.h"

enum {
	STATUS_DRIVER = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
	STATUS_FEATURES = STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
	STATUS_READY = STATUS_FEATURES | VIRTIO_CONFIG_S_DRIVER_OK,
	INFLIGHT_BYTES_MAX = 16 << 20,
};

/* --- Payloads --------------------------------------------------------------------------------- */

static void value(struct vhost_user_outgoing *out, uint64_t number)
{
	out->message.bytes = sizeof(out->message.payload.value);
	out->message.payload.value = number;
}

static void state(struct vhost_user_outgoing *out, unsigned int ring, uint32_t number)
{
	out->message.bytes = sizeof(out->message.payload.state);
	out->message.payload.state.index = ring;
	out->message.payload.state.number = number;
}

static void descriptor(struct vhost_user_outgoing *out, int fd)
{
	out->descriptors[out->n_descriptors++] = fd;
}

/* --- A back end comes ------------------------------------------------------------------------- */

static int hear_features(struct vhost_user *vhost, unsigned int ring,
	struct vhost_user_reader *answer, struct hv_error *error)
{
	(void)ring;
	(void)error;
	vhost->features = answer->message.payload.value;
	return 0;
}

static bool knows_protocol_features(const struct vhost_user *vhost, unsigned int ring)
{
	(void)ring;
	return vhost->features & VHOST_USER_F_PROTOCOL_FEATURES;
}

/* What is of use to both. */
static int hear_protocol_features(struct vhost_user *vhost, unsigned int ring,
	struct vhost_user_reader *answer, struct hv_error *error)
{
	const uint64_t always = UINT64_C(1) << VHOST_USER_PROTOCOL_REPLY_ACK |
				UINT64_C(1) << VHOST_USER_PROTOCOL_STATUS |
				UINT64_C(1) << VHOST_USER_PROTOCOL_RESET_DEVICE;

	(void)ring;
	(void)error;
	vhost->protocol_features =
		answer->message.payload.value & (vhost->setup.protocol_features | always);
	return 0;
}

static void say_protocol_features(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)ring;
	value(out, vhost->protocol_features);
}

static int hear_queue_number(struct vhost_user *vhost, unsigned int ring,
	struct vhost_user_reader *answer, struct hv_error *error)
{
	(void)ring;
	vhost->n_queues = answer->message.payload.value;
	if (vhost->n_queues == 0)
		return hv_fail(error, EBADMSG, "it says that it has no queues");
	return 0;
}

/* A channel of its own for its requests.  That there is none for want of descriptors costs only
 * them. */
static void say_channel(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	int ends[2];

	(void)ring;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return;
	vhost->channel.fd = ends[0];
	if (event_loop_add(vhost->setup.loop, &vhost->channel, EPOLLIN) != 0) {
		close(ends[0]);
		vhost->channel.fd = -1;
	}
	descriptor(out, ends[1]);
}

static void say_get_config(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)ring;
	out->message.payload.config.bytes = vhost->setup.config_bytes;
	out->message.bytes = VHOST_USER_CONFIG_HEADER_BYTES + vhost->setup.config_bytes;
	vhost->config_stale = false;
}

static int hear_config(struct vhost_user *vhost, unsigned int ring,
	struct vhost_user_reader *answer, struct hv_error *error)
{
	const unsigned int bytes = vhost->setup.config_bytes;
	const struct vhost_user_message *message = &answer->message;
	uint8_t config[VHOST_USER_CONFIG_BYTES];

	(void)ring;
	if (message->bytes != VHOST_USER_CONFIG_HEADER_BYTES + bytes)
		return hv_fail(error, EBADMSG, "it does not tell the %u bytes of its configuration",
			bytes);
	if (message->payload.config.offset != 0 || message->payload.config.bytes != bytes)
		return hv_fail(error, EBADMSG,
			"it tells another part of its configuration than was asked for");
	memcpy(config, message->payload.config.data, bytes);
	if (memcmp(config, vhost->config, bytes) == 0)
		return 0;
	memcpy(vhost->config, config, bytes);
	if (vhost->met)
		vhost->setup.events->config_changed(vhost->setup.owner);
	return 0;
}

static const struct vhost_user_step meeting[] = {
	{VHOST_USER_GET_FEATURES, .hear = hear_features},
	{VHOST_USER_GET_PROTOCOL_FEATURES, .due = knows_protocol_features,
		.hear = hear_protocol_features},
	{VHOST_USER_SET_PROTOCOL_FEATURES, .due = knows_protocol_features,
		.say = say_protocol_features},
	{VHOST_USER_SET_OWNER, .say = NULL},
	{VHOST_USER_GET_QUEUE_NUM, .hear = hear_queue_number},
	{VHOST_USER_SET_BACKEND_REQ_FD, .say = say_channel},
	{VHOST_USER_GET_CONFIG, .say = say_get_config, .hear = hear_config},
};

/* --- It is to work the rings ------------------------------------------------------------------ */

static void say_status_driver(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)vhost;
	(void)ring;
	value(out, STATUS_DRIVER);
}

static void say_features(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)ring;
	value(out, vhost->features & (vhost->driver_features | VHOST_USER_F_PROTOCOL_FEATURES));
}

static void say_status_features(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)vhost;
	(void)ring;
	value(out, STATUS_FEATURES);
}

static int hear_status(struct vhost_user *vhost, unsigned int ring,
	struct vhost_user_reader *answer, struct hv_error *error)
{
	(void)ring;
	if (!(answer->message.payload.value & VIRTIO_CONFIG_S_FEATURES_OK))
		return hv_fail(error, EPROTO, "it does not accept the features %#llx",
			(unsigned long long)(vhost->features & vhost->driver_features));
	return 0;
}

static void say_memory(struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	const struct guest_memory *memory = vhost->setup.memory;
	struct vhost_user_memory table = {.n = memory->n_regions};

	(void)ring;
	for (unsigned int i = 0; i < memory->n_regions; i++) {
		table.regions[i] = (struct vhost_user_region){
			.guest_address = memory->regions[i].address,
			.bytes = memory->regions[i].bytes,
			.user_address = memory->regions[i].address,
			.offset = memory->regions[i].offset,
		};
		descriptor(out, memory->fd);
	}
	out->message.payload.memory = table;
	out->message.bytes = offsetof(struct vhost_user_memory, regions) +
			     memory->n_regions * sizeof(struct vhost_user_region);
}

static bool has_mtu(const struct vhost_user *vhost, unsigned int ring)
{
	(void)ring;
	return vhost->mtu != 0;
}

static void say_mtu(struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)ring;
	value(out, vhost->mtu);
}

static bool no_inflight(const struct vhost_user *vhost, unsigned int ring)
{
	(void)ring;
	return vhost->inflight_fd < 0;
}

static void say_get_inflight(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	struct vhost_user_inflight inflight = {.n_queues = (uint16_t)vhost->n_rings};

	(void)ring;
	for (unsigned int i = 0; i < vhost->n_rings; i++) {
		if (vhost->queues[i].enabled && vhost->queues[i].size > inflight.queue_size)
			inflight.queue_size = vhost->queues[i].size;
	}
	vhost->inflight = inflight;
	out->message.payload.inflight = inflight;
	out->message.bytes = sizeof(inflight);
}

/* Kept for the next back end, and never mapped here. */
static int hear_inflight(struct vhost_user *vhost, unsigned int ring,
	struct vhost_user_reader *answer, struct hv_error *error)
{
	struct vhost_user_inflight told = answer->message.payload.inflight;

	(void)ring;
	if (told.bytes == 0 || told.bytes > INFLIGHT_BYTES_MAX || told.offset > INFLIGHT_BYTES_MAX)
		return hv_fail(error, EBADMSG,
			"it wants %llu bytes for requests in flight; 1 to %d are possible",
			(unsigned long long)told.bytes, INFLIGHT_BYTES_MAX);
	vhost->inflight.bytes = told.bytes;
	vhost->inflight.offset = told.offset;
	vhost->inflight_fd = answer->descriptors[0];
	answer->descriptors[0] = -1;
	return 0;
}

static void say_set_inflight(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)ring;
	out->message.payload.inflight = vhost->inflight;
	out->message.bytes = sizeof(vhost->inflight);
	descriptor(out, vhost->inflight_fd);
}

static void say_size(struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	state(out, ring, vhost->queues[ring].size);
}

static void say_base(struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	state(out, ring, vhost->base[ring]);
}

static void say_addresses(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	const struct virtio_queue *queue = &vhost->queues[ring];

	out->message.payload.address = (struct vhost_user_ring_address){
		.index = ring,
		.descriptors = queue->descriptors,
		.used = queue->used,
		.available = queue->available,
	};
	out->message.bytes = sizeof(struct vhost_user_ring_address);
}

static void say_kick(struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	value(out, ring);
	descriptor(out, vhost->queues[ring].notify_fd);
}

static void say_call(struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	value(out, ring);
	descriptor(out, vhost->queues[ring].interrupt_fd);
}

static void say_enable(struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	vhost->told_enabled[ring] = vhost->enabled[ring];
	state(out, ring, vhost->enabled[ring]);
}

static void say_status_ready(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)vhost;
	(void)ring;
	value(out, STATUS_READY);
}

static const struct vhost_user_step starting[] = {
	{VHOST_USER_SET_STATUS, .say = say_status_driver},
	{VHOST_USER_SET_FEATURES, .say = say_features},
	{VHOST_USER_SET_STATUS, .say = say_status_features},
	{VHOST_USER_GET_STATUS, .hear = hear_status},
	{VHOST_USER_SET_MEM_TABLE, .say = say_memory},
	{VHOST_USER_NET_SET_MTU, .due = has_mtu, .say = say_mtu},
	{VHOST_USER_GET_INFLIGHT_FD, .due = no_inflight, .say = say_get_inflight,
		.hear = hear_inflight},
	{VHOST_USER_SET_INFLIGHT_FD, .say = say_set_inflight},
	{VHOST_USER_SET_VRING_NUM, true, .say = say_size},
	{VHOST_USER_SET_VRING_BASE, true, .say = say_base},
	{VHOST_USER_SET_VRING_ADDR, true, .say = say_addresses},
	{VHOST_USER_SET_VRING_CALL, true, .say = say_call},
	{VHOST_USER_SET_VRING_KICK, true, .say = say_kick},
	/* Without protocol features a kick enables its ring. */
	{VHOST_USER_SET_VRING_ENABLE, true, .due = knows_protocol_features, .say = say_enable},
	{VHOST_USER_SET_STATUS, .say = say_status_ready},
};

/* --- Meanwhile -------------------------------------------------------------------------------- */

static bool is_otherwise_enabled(const struct vhost_user *vhost, unsigned int ring)
{
	return vhost->running && knows_protocol_features(vhost, ring) &&
	       vhost->told_enabled[ring] != vhost->enabled[ring];
}

static bool has_config_write(const struct vhost_user *vhost, unsigned int ring)
{
	(void)ring;
	return vhost->config_write.bytes != 0;
}

static void say_set_config(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)ring;
	out->message.payload.config = vhost->config_write;
	out->message.bytes = VHOST_USER_CONFIG_HEADER_BYTES + vhost->config_write.bytes;
	vhost->config_write.bytes = 0;
	vhost->config_stale = true;
}

static bool is_config_stale(const struct vhost_user *vhost, unsigned int ring)
{
	(void)ring;
	return vhost->config_stale;
}

static bool has_announcement(const struct vhost_user *vhost, unsigned int ring)
{
	(void)ring;
	return vhost->running && vhost->announcement != 0;
}

static void say_announcement(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)ring;
	value(out, vhost->announcement);
	vhost->announcement = 0;
}

static const struct vhost_user_step upkeep[] = {
	{VHOST_USER_SET_VRING_ENABLE, true, .due = is_otherwise_enabled, .say = say_enable},
	{VHOST_USER_SET_CONFIG, .due = has_config_write, .say = say_set_config},
	{VHOST_USER_GET_CONFIG, .due = is_config_stale, .say = say_get_config, .hear = hear_config},
	{VHOST_USER_SEND_RARP, .due = has_announcement, .say = say_announcement},
};

/* --- It is to end ----------------------------------------------------------------------------- */

static void say_get_base(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)vhost;
	state(out, ring, 0);
}

/* Where it was is of no interest: a driver that has reset the device begins anew. */
static int hear_base(struct vhost_user *vhost, unsigned int ring, struct vhost_user_reader *answer,
	struct hv_error *error)
{
	(void)vhost;
	if (answer->message.payload.state.index != ring)
		return hv_fail(error, EBADMSG, "it was asked to stop ring %u and stopped ring %u",
			ring, answer->message.payload.state.index);
	return 0;
}

static void say_status_reset(
	struct vhost_user *vhost, unsigned int ring, struct vhost_user_outgoing *out)
{
	(void)vhost;
	(void)ring;
	value(out, 0);
}

static const struct vhost_user_step stopping[] = {
	{VHOST_USER_GET_VRING_BASE, true, .say = say_get_base, .hear = hear_base},
	{VHOST_USER_RESET_DEVICE, .say = NULL},
	{VHOST_USER_SET_STATUS, .say = say_status_reset},
};

#define SCRIPT(rows)                                                                               \
	{                                                                                          \
		rows, sizeof(rows) / sizeof((rows)[0])                                             \
	}

const struct vhost_user_script vhost_user_meeting = SCRIPT(meeting);
const struct vhost_user_script vhost_user_starting = SCRIPT(starting);
const struct vhost_user_script vhost_user_upkeep = SCRIPT(upkeep);
const struct vhost_user_script vhost_user_stopping = SCRIPT(stopping);
