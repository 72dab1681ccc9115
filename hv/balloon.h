/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-balloon (virtio 1.2, 5.5): memory that the guest gives back while it does not need it.
 *
 * Pages come back in three ways: the host asks for some (balloon_set_target(), and the guest
 * inflates), the guest takes them again when it is short of memory (DEFLATE_ON_OOM), and it reports
 * pages that happen to be free (PAGE_REPORTING), without being asked.  Each is given back to the
 * host at once, and reads as zeros when it is touched again, by whichever process.  Memory on huge
 * pages is never given back: the pool might be empty when the guest wants it again, and that would
 * end the process.
 *
 * All functions with the machine's lock held.
 */
#ifndef HV_BALLOON_H
#define HV_BALLOON_H

#include "hv/virtio_device.h"

/* Makes the device.  0 or -ENOMEM.  It belongs to the caller until it is added to a transport. */
int balloon_create(
	struct virtio_device **device, const struct guest_memory *memory, struct event_loop *loop);

/* Asks the guest to keep `bytes` (rounded down to 4 KiB) away from itself.  -ERANGE if that is all
 * it has, or more. */
int balloon_set_target(struct virtio_device *device, uint64_t bytes);

/* What was asked for, and what the guest says it has given. */
uint64_t balloon_target_bytes(const struct virtio_device *device);
uint64_t balloon_actual_bytes(const struct virtio_device *device);

#endif
