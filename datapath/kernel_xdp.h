/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XDP program that brings a device's frames to AF_XDP sockets: what comes in by a receive
 * channel that has a socket goes there, everything else on to the host.
 *
 * It is attached by a BPF link, which the kernel takes away with the process, however that ends.
 * The main thread.  Functions return 0 or a negative errno.
 */
#ifndef DATAPATH_KERNEL_XDP_H
#define DATAPATH_KERNEL_XDP_H

struct kernel_xdp {
	int map, program, link; /* Descriptors; -1: not open. */
};

/* Loads and attaches it, in the driver if it has XDP, else in front of the host's stack.  -EBUSY if
 * there is another program on the device.  On error nothing is left open. */
int kernel_xdp_attach(struct kernel_xdp *xdp, unsigned int device_index, unsigned int n_queues);

/* Directs what comes in by channel `queue` to a socket. */
int kernel_xdp_direct(const struct kernel_xdp *xdp, unsigned int queue, int socket);

/* Detaches it.  May be called again. */
void kernel_xdp_detach(struct kernel_xdp *xdp);

#endif
