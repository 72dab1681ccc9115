/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2) whose requests another process serves, over vhost-user: a storage
 * daemon that knows formats (qcow2, VMDK) and networks.
 *
 * The daemon listens, this process connects, and connects again when it is gone; requests wait
 * meanwhile. What was in flight is not lost: a daemon that keeps account of it in memory shared
 * with us (INFLIGHT_SHMFD) finds it there again.  One that does not, as qemu-storage-daemon, takes
 * up where the rings say that it ended, if they can say so: if nothing was in flight (a daemon that
 * is told to end finishes first), or requests were finished in the order in which they came.  If
 * not, the device needs a reset, with a sentence.
 *
 * The disk's size and limits are the daemon's to tell, also later: the guest learns of a disk that
 * has grown.
 */
#ifndef HV_VHOST_USER_BLOCK_H
#define HV_VHOST_USER_BLOCK_H

#include "hv/broker.h"
#include "hv/options.h"
#include "hv/virtio_device.h"

/*
 * Connects to options->socket, one of the broker's paths, waits a few seconds for the daemon to say
 * what it has, and makes the device, number `index` of the machine's disks ("disk0"), with at most
 * `n_queues` queues (the guest's vCPUs).  Before the sandbox and before the loop runs.  0, or a
 * negative errno and a sentence: nobody listens, he does not answer, he offers no disk, or one for
 * writing where options->read_only asks for another.  Strings of `options` must outlive the device,
 * which belongs to the caller until it is added to a transport.
 */
int vhost_user_block_create(struct virtio_device **device, const struct disk_options *options,
	unsigned int index, unsigned int n_queues, const struct guest_memory *memory,
	struct event_loop *loop, struct broker *broker, struct hv_error *error);

/* For the control socket; with the machine's lock held. */
struct vhost_user_block_status {
	bool connected;
	bool read_only;
	uint64_t bytes;
	const char *socket;
	const char *trouble; /* Why the connection ended last, or NULL. */
};
void vhost_user_block_status(
	const struct virtio_device *device, struct vhost_user_block_status *status);

#endif
