/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet buffers: a DPDK mempool that fills up while it is in use already.
 *
 * Getting the memory for all buffers takes longer than all else that a start does, most of it for
 * clearing the pages, and the first frames need few of them.  So the pool begins with FIRST_BUFFERS
 * and a thread adds the others once the first ports are open.
 */
#ifndef DATAPATH_BUFFERS_H
#define DATAPATH_BUFFERS_H

#include <stdint.h>

struct rte_mempool;
struct buffers;

/* Begins a pool of n packet buffers.  NULL, and rte_errno set, if there is no memory for the first
 * ones.  Main thread. */
struct buffers *buffers_create(uint32_t n);

/* The pool, for the rte_pktmbuf functions. */
struct rte_mempool *buffers_pool(const struct buffers *buffers);

/* Begins to add the others, if that has not begun.  Main thread. */
void buffers_fill(struct buffers *buffers);

/* Returns when all buffers are there, or it is known that there is no memory for the rest of them,
 * which the log says.  For what takes many buffers at once.  Main thread. */
void buffers_wait(struct buffers *buffers);

/* Waits, and forgets them; the memory is DPDK's, and goes with it.  Accepts NULL.  Main thread. */
void buffers_destroy(struct buffers *buffers);

#endif
