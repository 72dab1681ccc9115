/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells ThreadSanitizer what DPDK's buffer pools order.  Linked into the switch when it is built
 * with SANITIZE=thread; called by DPDK's pool drivers while they are loaded, then by any thread
 * that gives buffers back to a pool or takes some.
 *
 * A pool's ring is in a library that is not instrumented.  Whoever takes a buffer out of it sees
 * all that was done to the buffer before it was put there, but ThreadSanitizer cannot know that: a
 * buffer that one worker frees and another one fills anew would be reported as a race.  So the
 * function by which drivers register is replaced by one of the same name.  It registers the driver
 * of ordinary pools twice: as it is, under another name, and under its own with both operations
 * wrapped.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_mempool.h>
#include <sanitizer/tsan_interface.h>

static const char wrapped[] = "ring_mp_mc", plain[] = "ring_mp_mc_plain";

/* The driver as it is. */
static const struct rte_mempool_ops *plain_driver(void)
{
	for (uint32_t i = 0; i < rte_mempool_ops_table.num_ops; i++)
		if (strcmp(rte_mempool_ops_table.ops[i].name, plain) == 0)
			return &rte_mempool_ops_table.ops[i];
	abort(); /* It is registered before the one that calls this. */
}

static int give(struct rte_mempool *pool, void *const *buffers, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		__tsan_release(buffers[i]);
	return plain_driver()->enqueue(pool, buffers, n);
}

static int take(struct rte_mempool *pool, void **buffers, unsigned int n)
{
	int result = plain_driver()->dequeue(pool, buffers, n);

	for (unsigned int i = 0; result == 0 && i < n; i++)
		__tsan_acquire(buffers[i]);
	return result;
}

/* Stands in front of DPDK's function of this name. */
int rte_mempool_register_ops(const struct rte_mempool_ops *driver)
{
	int (*next)(const struct rte_mempool_ops *ops);
	struct rte_mempool_ops ops = *driver;

	*(void **)&next = dlsym(RTLD_NEXT, "rte_mempool_register_ops");
	if (next == NULL)
		abort();
	if (strcmp(driver->name, wrapped) == 0) {
		snprintf(ops.name, sizeof(ops.name), "%s", plain);
		if (next(&ops) < 0)
			abort();
		ops = *driver;
		ops.enqueue = give;
		ops.dequeue = take;
	}
	return next(&ops);
}
