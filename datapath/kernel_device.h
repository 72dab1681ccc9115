/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network devices of the kernel, as far as a kernel port needs to know and set them: by rtnetlink
 * and ethtool's ioctl.  The main thread.  Functions return 0 or a negative errno.
 */
#ifndef DATAPATH_KERNEL_DEVICE_H
#define DATAPATH_KERNEL_DEVICE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct kernel_device {
	unsigned int index;
	char name[IFNAMSIZ];
	bool is_marked;	    /* By kernel_device_mark(). */
	char kind[16];	    /* "veth", "bridge" and so on; "" for hardware. */
	unsigned int flags; /* IFF_*. */
	uint32_t mtu;
	uint8_t mac[6];
	bool has_carrier;     /* Up, and so is what it is connected to. */
	uint32_t xdp_program; /* Its id; 0: there is none. */
};

/* Reads what the device is now.  -ENODEV if it is not there, in this network namespace. */
int kernel_device_by_name(const char *name, struct kernel_device *device);
int kernel_device_by_index(unsigned int index, struct kernel_device *device);

/* Brings it up. */
int kernel_device_set_up(const struct kernel_device *device);

/* Marks it as made by Cordon, by its alias. */
int kernel_device_mark(unsigned int index);

/* Has the device receive frames for any address, for as long as the descriptor that is returned is
 * open. */
int kernel_device_hold_promiscuous(const struct kernel_device *device);

/* The number of receive channels that are in use; 1 if the driver has no notion of them. */
unsigned int kernel_device_channels(const struct kernel_device *device);

/* The name of the XDP program that is attached, or "" if it cannot be told. */
void kernel_device_xdp_name(const struct kernel_device *device, char name[16]);

#endif
