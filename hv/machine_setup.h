/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the command line asks for, made: the machine and everything on its buses.
 *
 * Main thread, before the guest runs and after it has ended.
 */
#ifndef HV_MACHINE_SETUP_H
#define HV_MACHINE_SETUP_H

#include "hv/broker.h"
#include "hv/control.h"
#include "hv/error.h"
#include "hv/i8042.h"
#include "hv/ioeventfd.h"
#include "hv/machine.h"
#include "hv/options.h"
#include "hv/serial.h"
#include "hv/terminal.h"
#include "hv/virtio_device.h"

/* All zeros before machine_setup_create(). */
struct machine_setup {
	struct machine machine;
	struct broker *broker; /* Borrowed. */
	struct terminal *serial_terminal, *console_terminal;
	struct serial *serial;
	struct control *control;
	struct i8042 *i8042;
	struct ioeventfds *ioeventfds;
	/* On PCI, whose root ends them.  NULL: not asked for. */
	unsigned int n_nets, n_disks;
	struct virtio_device *nets[OPTIONS_NETS], *disks[OPTIONS_DISKS];
	struct virtio_device *rng, *balloon, *console;
};

/* The sockets that the command line names, for broker_start(): how many, at most BROKER_PATHS.  The
 * strings are those of `options`. */
unsigned int machine_setup_paths(
	const struct vmm_options *options, const char *paths[BROKER_PATHS]);

/*
 * The machine, its devices, and the kernel in its memory: all that is opened is opened here.
 * Strings of `options`, and the broker, must outlive it.  0, or a negative errno and a sentence,
 * and nothing is left behind.
 */
int machine_setup_create(struct machine_setup *setup, const struct vmm_options *options,
	struct broker *broker, struct hv_error *error);
void machine_setup_destroy(struct machine_setup *setup);

/*
 * Parts of the two (machine_devices.c): PCI, and all devices on it.  What was made stays in
 * `setup`, also after a failure, until machine_setup_destroy_devices(), when no vCPU runs any more.
 */
int machine_setup_create_devices(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error);
void machine_setup_destroy_devices(struct machine_setup *setup);

#endif
