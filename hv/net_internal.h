/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of virtio-net share.
 */
#ifndef HV_NET_INTERNAL_H
#define HV_NET_INTERNAL_H

#include <linux/virtio_net.h>

#include "hv/net.h"
#include "hv/vhost_user.h"

#define NET_FEATURE(name) (UINT64_C(1) << VIRTIO_NET_F_##name)

struct net {
	struct virtio_device device; /* First. */
	const struct net_options *options;
	struct vhost_user *vhost;
	bool connected;		      /* A switch is there, and has been accepted. */
	bool link_up;		      /* What the guest was told. */
	unsigned int queue_pairs_set; /* That the driver uses. */
	struct event_source control;  /* The control queue's notifications. */
	struct event_source patience; /* Until the link goes down. */
	struct {
		uint64_t commands, commands_refused, link_changes;
	} count;
};

/* The control queue's place: behind all pairs, or behind the first for a driver that knows of one.
 */
unsigned int net_control_queue(const struct net *net);

/* How many queue pairs the driver is to be given. */
unsigned int net_queue_pairs(const struct net *net);

/* The switch works the queues of the first `pairs` pairs from now on. */
void net_use_queue_pairs(struct net *net, unsigned int pairs);

/* The driver has put commands into the control queue (net_control.c). */
void net_control_ready(struct event_source *source, uint32_t events);

#endif
