/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng (virtio 1.2, 5.4): the host's random numbers, from getrandom().
 */
#ifndef HV_RNG_H
#define HV_RNG_H

#include "hv/virtio_device.h"

/* Makes the device.  0 or -ENOMEM.  It belongs to the caller until it is added to a transport. */
int rng_create(
	struct virtio_device **device, const struct guest_memory *memory, struct event_loop *loop);

#endif
