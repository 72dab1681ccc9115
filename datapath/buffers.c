/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet buffers.  Made by main; a thread of its own fills the pool, piece by piece, while
 * workers use it already, and ends when it is full.  It begins when the first ports are open.
 *
 * DPDK can add buffers to a pool that is in use: they are put into its ring, which any thread may
 * do.  But it initialises packet buffers only afterwards, all at once.  So the pool has operations
 * of its own: those of DPDK's ring, but for `populate`, which initialises each buffer before it
 * goes into the ring.
 */
#include <config.h>

#include "datapath/buffers.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_memzone.h>

#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(buffers);

enum {
	FIRST_BUFFERS = 4096,
	BUFFER_CACHE = 512,
	CHUNK_BYTES = 4 << 20, /* Added at once: others wait for as long to allocate memory. */
};

struct buffers {
	struct rte_mempool *pool;
	unsigned int n_chunks;
	bool begun;   /* buffers_fill() was called. */
	bool filling; /* There is a thread to wait for. */
	pthread_t thread;
};

/* --- The pool's operations ------------------------------------------------------------------ */

static const char operations_name[] = "cordon_buffers";

struct addition {
	rte_mempool_populate_obj_cb_t *add;
	void *argument;
};

/* Initialises the buffer at `object`, which asks its header where it is, and adds it. */
static void add_buffer(struct rte_mempool *pool, void *addition_, void *object, rte_iova_t iova)
{
	const struct addition *addition = addition_;

	rte_mempool_get_header(object)->iova = iova;
	rte_pktmbuf_init(pool, NULL, object, 0);
	addition->add(pool, addition->argument, object, iova);
}

static int populate(struct rte_mempool *pool, unsigned int most, void *memory, rte_iova_t iova,
	size_t bytes, rte_mempool_populate_obj_cb_t *add, void *argument)
{
	struct addition addition = {.add = add, .argument = argument};

	return rte_mempool_op_populate_default(
		pool, most, memory, iova, bytes, add_buffer, &addition);
}

/* False: DPDK's ring operations are not there, or its table is full. */
static bool register_operations(void)
{
	for (unsigned int i = 0; i < rte_mempool_ops_table.num_ops; i++) {
		struct rte_mempool_ops operations = *rte_mempool_get_ops((int)i);

		if (strcmp(operations.name, "ring_mp_mc") != 0)
			continue;
		ovs_strlcpy(operations.name, operations_name, sizeof(operations.name));
		operations.populate = populate;
		return rte_mempool_register_ops(&operations) >= 0;
	}
	rte_errno = ENOENT;
	return false;
}

/* --- Filling -------------------------------------------------------------------------------- */

/* Adds what fits into `bytes` of new memory.  False, and rte_errno set, if there is none. */
static bool add_chunk(struct buffers *buffers, size_t bytes)
{
	char name[RTE_MEMZONE_NAMESIZE];

	snprintf(name, sizeof(name), "buffers%u", buffers->n_chunks);
	const struct rte_memzone *zone = rte_memzone_reserve(name, bytes, SOCKET_ID_ANY, 0);
	if (zone == NULL)
		return false;
	buffers->n_chunks++;
	int added = rte_mempool_populate_virt(
		buffers->pool, zone->addr, zone->len, zone->hugepage_sz, NULL, NULL);
	if (added <= 0)
		rte_errno = added < 0 ? -added : ENOMEM;
	return added > 0;
}

static bool is_full(const struct buffers *buffers)
{
	return buffers->pool->populated_size >= buffers->pool->size;
}

static size_t bytes_of(const struct rte_mempool *pool, uint32_t n)
{
	return (size_t)n * (pool->header_size + pool->elt_size + pool->trailer_size);
}

static void *fill(void *buffers_)
{
	struct buffers *buffers = buffers_;
	struct rte_mempool *pool = buffers->pool;

	ovsrcu_quiesce_start();
	/* As urgent as the main thread, which waits for DPDK's memory lock meanwhile: giving way to
	 * busy workers here would hold up guests that connect. */
	while (!is_full(buffers)) {
		size_t missing = bytes_of(pool, pool->size - pool->populated_size) + 4096;

		if (!add_chunk(buffers, MIN(missing, CHUNK_BYTES))) {
			VLOG_WARN("there is memory for %u packet buffers only, not %u (%s); free "
				  "memory, or say so with --buffers",
				pool->populated_size, pool->size, rte_strerror(rte_errno));
			break;
		}
	}
	return NULL;
}

/* --- The buffers ---------------------------------------------------------------------------- */

static struct rte_mempool *create_pool(uint32_t n)
{
	struct rte_mempool *pool = rte_mempool_create_empty("buffers", n,
		sizeof(struct rte_mbuf) + RTE_MBUF_DEFAULT_BUF_SIZE, BUFFER_CACHE,
		sizeof(struct rte_pktmbuf_pool_private), SOCKET_ID_ANY, 0);

	if (pool == NULL)
		return NULL;
	int result = rte_mempool_set_ops_byname(pool, operations_name, NULL);
	if (result != 0) {
		rte_mempool_free(pool);
		rte_errno = -result;
		return NULL;
	}
	rte_pktmbuf_pool_init(pool, NULL);
	return pool;
}

struct buffers *buffers_create(uint32_t n)
{
	struct buffers *buffers = xzalloc(sizeof(*buffers));

	buffers->pool = register_operations() ? create_pool(n) : NULL;
	if (buffers->pool == NULL || !add_chunk(buffers, bytes_of(buffers->pool, FIRST_BUFFERS))) {
		rte_mempool_free(buffers->pool);
		free(buffers);
		return NULL;
	}
	return buffers;
}

void buffers_fill(struct buffers *buffers)
{
	if (buffers->begun)
		return;
	buffers->begun = true;
	if (is_full(buffers))
		return;
	buffers->thread = ovs_thread_create("buffers", fill, buffers);
	buffers->filling = true;
}

struct rte_mempool *buffers_pool(const struct buffers *buffers)
{
	return buffers->pool;
}

void buffers_wait(struct buffers *buffers)
{
	buffers_fill(buffers);
	if (!buffers->filling)
		return;
	ovsrcu_quiesce_start();
	pthread_join(buffers->thread, NULL);
	ovsrcu_quiesce_end();
	buffers->filling = false;
}

void buffers_destroy(struct buffers *buffers)
{
	if (buffers == NULL)
		return;
	buffers->begun = true;
	buffers_wait(buffers);
	free(buffers);
}
