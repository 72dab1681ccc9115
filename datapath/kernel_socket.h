/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A packet socket (AF_PACKET) on a network device: the way into the kernel that always works.
 *
 * Frames come in through a ring in memory, so looking for some makes no system call, and go out
 * with one sendmmsg(2) a burst.  Each frame carries a virtio-net header in both directions: what
 * the sender's kernel left undone (checksums, segmentation) is known here, and the same may be left
 * to the kernel, so large TCP frames pass whole.  One thread at a time in rx, one in tx.
 */
#ifndef DATAPATH_KERNEL_SOCKET_H
#define DATAPATH_KERNEL_SOCKET_H

#include <stddef.h>
#include <stdint.h>

#include <rte_mbuf.h>

struct kernel_socket;

/* What kernel_socket_tx() takes, as enum port_offload. */
#define KERNEL_SOCKET_OFFLOADS                                                                     \
	(PORT_TX_CHECKSUM | PORT_TX_TSO4 | PORT_TX_TSO6 | PORT_TX_SEGMENTS | PORT_TX_COPIES)

/* Opens a socket on the device with that index.  Received frames come from `pool`.  Returns NULL
 * with a reason in why[]. */
struct kernel_socket *kernel_socket_open(
	unsigned int device_index, struct rte_mempool *pool, char *why, size_t why_size);
void kernel_socket_close(struct kernel_socket *socket); /* Accepts NULL. */

uint16_t kernel_socket_rx(struct kernel_socket *socket, struct rte_mbuf **frames, uint16_t n);

/* Returns how many frames the kernel has taken, from the front; these are freed. */
uint16_t kernel_socket_tx(struct kernel_socket *socket, struct rte_mbuf **frames, uint16_t n);

#endif
