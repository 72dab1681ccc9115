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

/* Loads it and attaches it to the driver: -EOPNOTSUPP if that has no XDP, -ERANGE if not for the
 * device's MTU, -EBUSY if there is another program.  Not in front of the host's stack, where frames
 * come in that were merged or not yet cut, and would be lost.  On error nothing is left open. */
int kernel_xdp_attach(struct kernel_xdp *xdp, unsigned int device_index, unsigned int n_queues);

/* Directs what comes in by channel `queue` to a socket. */
int kernel_xdp_direct(const struct kernel_xdp *xdp, unsigned int queue, int socket);

/* Detaches it.  May be called again. */
void kernel_xdp_detach(struct kernel_xdp *xdp);

#endif
