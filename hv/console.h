/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console (virtio 1.2, 5.3) with one port and no size: a serial port that moves many bytes
 * at once.  Linux calls it hvc0.
 */
#ifndef HV_CONSOLE_H
#define HV_CONSOLE_H

#include "hv/terminal.h"
#include "hv/virtio_device.h"

/* Makes the device; the terminal is its cable from now on and must outlive it.  0 or -ENOMEM.  It
 * belongs to the caller until it is added to a transport. */
int console_create(struct virtio_device **device, const struct guest_memory *memory,
	struct event_loop *loop, struct terminal *terminal);

#endif
