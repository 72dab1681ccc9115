/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2, 5.1) whose frames the switch moves: a vhost-user front end.
 *
 * This process listens, the switch connects; whenever it goes it may come again, and the guest
 * notices a pause.  The receive and transmit queues are the switch's, which is handed their
 * eventfds; the control queue is worked here.
 *
 * What is offered to the guest: always MAC, link state and the control queue, MTU and several queue
 * pairs if they are asked for; checksums, segmentation, mergeable buffers, indirect descriptors and
 * event indexes as far as the switch has them that is connected when the driver looks (net_wait()
 * waits for one).  A switch that lacks what the driver has accepted since is refused, with a
 * sentence.
 *
 * The link goes down when the switch has been away for a few seconds, and up when one is back.
 */
#ifndef HV_NET_H
#define HV_NET_H

#include "hv/broker.h"
#include "hv/options.h"
#include "hv/virtio_device.h"

/*
 * Listens at options->socket, one of the broker's paths, and makes the device, number `index` of
 * the machine's networks ("net0").  Before the sandbox.  0, or a negative errno and a sentence.
 * Strings of `options` must outlive the device, which belongs to the caller until it is added to a
 * transport.
 */
int net_create(struct virtio_device **device, const struct net_options *options, unsigned int index,
	const struct guest_memory *memory, struct event_loop *loop, struct broker *broker,
	struct hv_error *error);

/*
 * Before the loop runs and before the sandbox: waits until a switch has connected to each of the
 * `n` networks and said what it can, so that the guest is offered that; at most `milliseconds`
 * altogether.  Of a network for which nobody came a line on stderr says so; the guest starts all
 * the same.
 */
enum { NET_WAIT_MS = 1500 };
void net_wait(struct virtio_device *const *devices, unsigned int n, unsigned int milliseconds);

/* For the control socket; with the machine's lock held. */
struct net_status {
	bool connected; /* A switch is there, and has been accepted. */
	bool link_up;	/* What the guest is told. */
	uint8_t mac[6];
	unsigned int queue_pairs;     /* That the device has, */
	unsigned int queue_pairs_set; /* and that the driver uses. */
	unsigned int mtu;	      /* 0: not offered. */
	const char *socket;
	const char *trouble; /* Why the last switch was hung up on, or it on us; or NULL. */
};
void net_status(const struct virtio_device *device, struct net_status *status);

#endif
