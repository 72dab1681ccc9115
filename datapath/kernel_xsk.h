/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One AF_XDP socket: one receive and one transmit queue of a network device, through rings in
 * memory that are shared with the kernel.
 *
 * Frames are copied between the socket's own memory and the switch's buffers.  So a device that
 * goes away, or whose frames the kernel keeps for long, takes no buffer with it.
 *
 * Looking for frames makes no system call, unless the kernel has asked for one.  One thread at a
 * time in rx, one in tx; they may be two.
 */
#ifndef DATAPATH_KERNEL_XSK_H
#define DATAPATH_KERNEL_XSK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_mbuf.h>

#include "datapath/kernel_device.h"

struct kernel_xsk;

/* The largest MTU whose frames, with two VLAN tags, fit one page of the socket's memory, of which
 * XDP keeps 256 bytes for itself. */
enum { KERNEL_XSK_MTU_MAX = 4096 - 256 - 14 - 8 };

/* What kernel_xsk_tx() takes, as enum port_offload. */
#define KERNEL_XSK_OFFLOADS (PORT_TX_SEGMENTS | PORT_TX_COPIES)

/* Opens a socket on receive channel `queue` of the device.  An XDP program has to direct frames
 * to it (kernel_xdp.h).  Received frames come from `pool`.  Returns NULL with a reason in why[]. */
struct kernel_xsk *kernel_xsk_open(const struct kernel_device *device, unsigned int queue,
	bool zero_copy, struct rte_mempool *pool, char *why, size_t why_size);
int kernel_xsk_descriptor(const struct kernel_xsk *xsk);
void kernel_xsk_close(struct kernel_xsk *xsk); /* Accepts NULL. */

uint16_t kernel_xsk_rx(struct kernel_xsk *xsk, struct rte_mbuf **frames, uint16_t n);

/* Returns how many frames there was room for, from the front; these are freed. */
uint16_t kernel_xsk_tx(struct kernel_xsk *xsk, struct rte_mbuf **frames, uint16_t n);

#endif
