/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk (virtio 1.2, 5.2) on a raw file or block device of the host's.
 *
 * Reads, writes, flushes, discards and write-zeroes become io_uring operations on the guest's own
 * memory; nothing is copied.  A write is on the disk when the driver's flush after it has returned;
 * for a driver that did not negotiate flushes, as soon as the write has.  What the host's disk
 * fails is an I/O error to the guest, counted here.
 */
#ifndef HV_BLOCK_H
#define HV_BLOCK_H

#include "hv/options.h"
#include "hv/virtio_device.h"

/*
 * Opens and locks the disk and makes the device, number `index` of the machine's disks ("disk0").
 * Before the sandbox. 0, or a negative errno and a sentence: missing, a folder, read-only, in use
 * by another process, not whole sectors, no io_uring.  The device belongs to the caller until it is
 * added to a transport.
 */
int block_create(struct virtio_device **device, const struct disk_options *options,
	unsigned int index, const struct guest_memory *memory, struct event_loop *loop,
	struct hv_error *error);

/* The disk's size, for status. */
uint64_t block_bytes(const struct virtio_device *device);

#endif
