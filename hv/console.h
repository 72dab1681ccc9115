/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console (virtio 1.2, 5.3) with one port and no size: a serial port that moves many bytes
 * at once.  Linux calls it hvc0.
 */
#ifndef HV_CONSOLE_H
#define HV_CONSOLE_H

#include "hv/error.h"
#include "hv/machine.h"
#include "hv/terminal.h"
#include "hv/virtio_device.h"

/* The terminal must outlive the device.  0, or a negative errno and a sentence. */
int console_create(struct virtio_device **device, struct machine *machine,
	struct terminal *terminal, struct hv_error *error);

#endif
