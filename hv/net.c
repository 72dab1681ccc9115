/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net: what is this process's of it, beside the control queue (net_control.c): features,
 * configuration space, link.  Called by the transport, by the vhost-user front end and by the event
 * loop, with the machine's lock held.
 *
 * Features.  Those of this process alone are always offered.  Those by which frames and rings look
 * otherwise are the switch's, and are offered once one is there, for the driver's next look.  A
 * switch that comes later has to know what the driver has accepted; vhost_user.c sees to that.
 */
#include "hv/net.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "hv/net_internal.h"

#define BIT(number) (UINT64_C(1) << (number))

/* This process's own. */
#define OWN_FEATURES                                                                               \
	(NET_FEATURE(MAC) | NET_FEATURE(STATUS) | NET_FEATURE(CTRL_VQ) | NET_FEATURE(CTRL_RX) |    \
		NET_FEATURE(CTRL_RX_EXTRA) | NET_FEATURE(CTRL_MAC_ADDR))

/* The switch's: how frames and rings look. */
#define SWITCH_FEATURES                                                                            \
	(NET_FEATURE(CSUM) | NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4) |                   \
		NET_FEATURE(GUEST_TSO6) | NET_FEATURE(GUEST_ECN) | NET_FEATURE(HOST_TSO4) |        \
		NET_FEATURE(HOST_TSO6) | NET_FEATURE(HOST_ECN) | NET_FEATURE(MRG_RXBUF) |          \
		BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

/* For how long a switch may be away before the guest hears of it. */
enum { PATIENCE_MS = 3000 };

static struct net *net_of(struct virtio_device *device)
{
	return (struct net *)device;
}

unsigned int net_queue_pairs(const struct net *net)
{
	return net->device.features & NET_FEATURE(MQ) ? net->options->queue_pairs : 1;
}

unsigned int net_control_queue(const struct net *net)
{
	return 2 * net_queue_pairs(net);
}

void net_use_queue_pairs(struct net *net, unsigned int pairs)
{
	net->queue_pairs_set = pairs;
	for (unsigned int ring = 0; ring < 2 * net->options->queue_pairs; ring++)
		vhost_user_enable(net->vhost, ring, ring / 2 < pairs);
}

/* --- The link --------------------------------------------------------------------------------- */

static void set_patience(struct net *net, unsigned int milliseconds)
{
	const struct itimerspec in = {
		.it_value = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000}};

	(void)timerfd_settime(net->patience.fd, 0, &in, NULL);
}

static void set_link(struct net *net, bool up)
{
	set_patience(net, 0);
	if (net->link_up == up)
		return;
	net->link_up = up;
	net->count.link_changes++;
	/* A device that is on no bus yet has nobody to tell. */
	if (net->device.transport)
		virtio_device_config_changed(&net->device);
}

static void patience_ended(struct event_source *source, uint32_t events)
{
	struct net *net = (struct net *)((char *)source - offsetof(struct net, patience));
	uint64_t times;

	(void)events;
	/* It may have been set anew since it was reported. */
	if (read(source->fd, &times, sizeof(times)) == sizeof(times) && !net->connected)
		set_link(net, false);
}

/* --- The switch ------------------------------------------------------------------------------- */

static uint64_t own_features(const struct net *net)
{
	uint64_t features = OWN_FEATURES;

	if (net->options->queue_pairs > 1)
		features |= NET_FEATURE(MQ);
	if (net->options->mtu > 0)
		features |= NET_FEATURE(MTU);
	return features;
}

static int switch_met(void *owner, struct hv_error *error)
{
	struct net *net = owner;
	struct vhost_user_facts facts;

	vhost_user_facts(net->vhost, &facts);
	if (!(facts.features & BIT(VIRTIO_F_VERSION_1)))
		return hv_fail(error, EPROTO, "it knows no virtio 1 (VIRTIO_F_VERSION_1)");
	if (facts.n_queues < net->options->queue_pairs)
		return hv_fail(error, EPROTO,
			"it has %llu queue pairs, and the network has %u (queues=)",
			(unsigned long long)facts.n_queues, net->options->queue_pairs);
	if (net->options->queue_pairs > 1 && !(facts.features & NET_FEATURE(MQ)))
		return hv_fail(error, EPROTO,
			"it knows one queue pair only, and the network has %u (queues=)",
			net->options->queue_pairs);
	net->device.features_offered = own_features(net) | (facts.features & SWITCH_FEATURES);
	net->connected = true;
	set_link(net, true);
	return 0;
}

/* The network may have forgotten where the guest is, which does not know that it has to speak up.
 */
static void switch_started(void *owner, bool again)
{
	struct net *net = owner;

	if (again)
		vhost_user_announce(net->vhost, net->options->mac);
}

static void switch_left(void *owner)
{
	struct net *net = owner;

	net->connected = false;
	set_patience(net, PATIENCE_MS);
}

static void switch_config_changed(void *owner)
{
	(void)owner; /* It has no configuration space. */
}

static void switch_failed(void *owner, const char *reason)
{
	struct net *net = owner;

	virtio_device_fail(&net->device, reason);
}

static const struct vhost_user_events switch_events = {
	.met = switch_met,
	.started = switch_started,
	.left = switch_left,
	.config_changed = switch_config_changed,
	.failed = switch_failed,
};

/* --- The driver ------------------------------------------------------------------------------- */

static int net_start(struct virtio_device *device)
{
	struct net *net = net_of(device);
	const unsigned int control = net_control_queue(net);

	if (device->features & NET_FEATURE(CTRL_VQ) && device->queues[control].enabled) {
		net->control.fd = device->queues[control].notify_fd;
		if (event_loop_add(device->loop, &net->control, EPOLLIN) < 0)
			return -ENOMEM;
	}
	net_use_queue_pairs(net, 1);
	vhost_user_start(net->vhost, device->features, device->queues, control,
		device->features & NET_FEATURE(MTU) ? (uint16_t)net->options->mtu : 0);
	return 0;
}

static void net_stop(struct virtio_device *device)
{
	struct net *net = net_of(device);

	event_loop_remove(device->loop, &net->control);
	vhost_user_stop(net->vhost);
}

static void net_read_config(
	struct virtio_device *device, uint32_t offset, uint8_t *data, unsigned int bytes)
{
	const struct net *net = net_of(device);
	struct virtio_net_config config = {
		.status = htole16(net->link_up ? VIRTIO_NET_S_LINK_UP : 0),
		.max_virtqueue_pairs = htole16((uint16_t)net->options->queue_pairs),
		.mtu = htole16((uint16_t)net->options->mtu),
	};

	memcpy(config.mac, net->options->mac, sizeof(config.mac));
	memset(data, 0, bytes);
	for (unsigned int i = 0; i < bytes && offset + i < sizeof(config); i++)
		data[i] = ((const uint8_t *)&config)[offset + i];
}

/* Nothing in it is the driver's to write. */
static void net_write_config(
	struct virtio_device *device, uint32_t offset, const uint8_t *data, unsigned int bytes)
{
	(void)device;
	(void)offset;
	(void)data;
	(void)bytes;
}

static unsigned int net_counters(struct virtio_device *device, struct virtio_counter *counters)
{
	const struct net *net = net_of(device);
	struct vhost_user_facts facts;

	vhost_user_facts(net->vhost, &facts);
	const struct virtio_counter all[] = {
		{"switch-connections", facts.connections},
		{"switch-refusals", facts.refusals},
		{"switch-timeouts", facts.timeouts},
		{"link-changes", net->count.link_changes},
		{"control-commands", net->count.commands},
		{"control-commands-refused", net->count.commands_refused},
	};
	memcpy(counters, all, sizeof(all));
	return sizeof(all) / sizeof(all[0]);
}

static void net_destroy(struct virtio_device *device)
{
	struct net *net = net_of(device);

	event_loop_remove(device->loop, &net->control);
	event_loop_remove(device->loop, &net->patience);
	if (net->patience.fd >= 0)
		close(net->patience.fd);
	vhost_user_destroy(net->vhost);
	free(net);
}

static const struct virtio_device_type net_type = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.external_queues = true,
	.start = net_start,
	.stop = net_stop,
	.read_config = net_read_config,
	.write_config = net_write_config,
	.counters = net_counters,
	.destroy = net_destroy,
};

/* --- Life ------------------------------------------------------------------------------------- */

static int create_vhost(struct net *net, struct broker *broker, struct hv_error *error)
{
	const struct vhost_user_setup setup = {
		.name = net->device.name,
		.peer = "the switch",
		.socket = net->options->socket,
		.listens = true,
		.care = VHOST_USER_MAY_LOSE,
		.needed_features = SWITCH_FEATURES | BIT(VIRTIO_F_VERSION_1),
		.protocol_features = BIT(VHOST_USER_PROTOCOL_MQ) | BIT(VHOST_USER_PROTOCOL_RARP) |
				     BIT(VHOST_USER_PROTOCOL_NET_MTU),
		.memory = net->device.memory,
		.loop = net->device.loop,
		.broker = broker,
		.events = &switch_events,
		.owner = net,
	};

	return vhost_user_create(&net->vhost, &setup, error);
}

static int open_patience(struct net *net, struct hv_error *error)
{
	net->patience.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (net->patience.fd < 0 || event_loop_add(net->device.loop, &net->patience, EPOLLIN) < 0)
		return hv_fail(
			error, ENOMEM, "%s: no descriptor is left for a timer", net->device.name);
	return 0;
}

int net_create(struct virtio_device **device, const struct net_options *options, unsigned int index,
	const struct guest_memory *memory, struct event_loop *loop, struct broker *broker,
	struct hv_error *error)
{
	struct net *net = calloc(1, sizeof(*net));
	int result;

	*device = NULL;
	if (!net)
		return hv_fail(error, ENOMEM, "net%u: not enough memory", index);
	net->options = options;
	net->queue_pairs_set = 1;
	net->control = (struct event_source){.fd = -1, .ready = net_control_ready};
	net->patience = (struct event_source){.fd = -1, .ready = patience_ended};
	net->device.type = &net_type;
	snprintf(net->device.name, sizeof(net->device.name), "net%u", index);
	net->device.memory = memory;
	net->device.loop = loop;
	net->device.features_offered = own_features(net);
	net->device.n_queues = 2 * options->queue_pairs + 1;
	net->device.queue_size_max = (uint16_t)options->queue_size;
	result = open_patience(net, error);
	if (result == 0)
		result = create_vhost(net, broker, error);
	if (result < 0) {
		net_destroy(&net->device);
		return result;
	}
	*device = &net->device;
	return 0;
}

void net_wait(struct virtio_device *const *devices, unsigned int n, unsigned int milliseconds)
{
	struct vhost_user *each[OPTIONS_NETS] = {NULL};

	n = n < OPTIONS_NETS ? n : OPTIONS_NETS;
	for (unsigned int i = 0; i < n; i++)
		each[i] = net_of(devices[i])->vhost;
	vhost_user_wait(each, n, milliseconds);
	for (unsigned int i = 0; i < n; i++) {
		if (!net_of(devices[i])->connected)
			fprintf(stderr,
				"cordon-vmm: %s: no switch has connected to %s yet; the guest "
				"starts with its "
				"link down and without offloads\n",
				devices[i]->name, net_of(devices[i])->options->socket);
	}
}

void net_status(const struct virtio_device *device, struct net_status *status)
{
	const struct net *net = (const struct net *)device;
	struct vhost_user_facts facts;

	vhost_user_facts(net->vhost, &facts);
	*status = (struct net_status){
		.connected = net->connected,
		.link_up = net->link_up,
		.queue_pairs = net->options->queue_pairs,
		.queue_pairs_set = net->queue_pairs_set,
		.mtu = net->options->mtu,
		.socket = net->options->socket,
		.trouble = facts.trouble,
	};
	memcpy(status->mac, net->options->mac, sizeof(status->mac));
}
