/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The main thread's half of sending a frame in the name of a port; worker.c has the other one.
 * Called for `cordon trace --send`.
 */
#include <config.h>

#include "datapath/inject.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { LOOK_EVERY_US = 50, LOOKS_MAX = 20000 };

/* The worker that polls the first queue of the port, or NULL. */
static struct worker *worker_of(const struct cordon_switch *sw, const struct port *port)
{
	for (unsigned int w = 0; w < sw->n_workers; w++)
		if (worker_polls(sw->workers[w], port, 0))
			return sw->workers[w];
	return NULL;
}

static bool wait_until_done(const struct injection *injection)
{
	for (unsigned int i = 0; i < LOOKS_MAX; i++) {
		if (atomic_load_explicit(&injection->done, memory_order_acquire))
			return true;
		nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_US * 1000}, NULL);
	}
	return false;
}

int inject_frame(struct cordon_switch *sw, struct port *port, struct rte_mbuf *frame,
	struct injection *injection)
{
	struct worker *worker = worker_of(sw, port);

	memset(injection, 0, sizeof(*injection));
	injection->port = port;
	injection->frame = frame;
	if (worker == NULL) {
		rte_pktmbuf_free(frame);
		return -ENODEV;
	}
	atomic_store_explicit(&worker->injection, injection, memory_order_release);
	atomic_fetch_or(&worker->errands, ERRAND_INJECTION);
	if (!wait_until_done(injection) && atomic_exchange(&worker->injection, NULL) != NULL) {
		rte_pktmbuf_free(frame);
		return -ETIMEDOUT;
	}
	while (!wait_until_done(injection)) /* It has taken the frame at this very moment. */
		;
	if (injection->switched)
		return 0;
	rte_pktmbuf_free(frame);
	return -ENODEV;
}
