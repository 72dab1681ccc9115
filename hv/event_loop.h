/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device thread's loop: waits for descriptors and calls whom they belong to, with the machine's
 * lock held.
 *
 * Everything is called on the thread that runs the loop, or, before it runs, on the one that sets
 * up; but for event_loop_add() and event_loop_remove(), which vCPU threads may also call with the
 * machine's lock held (a driver starts or resets a device).  A source that was removed is not
 * called any more, even if it was ready.
 */
#ifndef HV_EVENT_LOOP_H
#define HV_EVENT_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Embedded in what it wakes.  Owned by whoever declares it; must outlive its being in the loop. */
struct event_source {
	int fd;
	void (*ready)(struct event_source *source, uint32_t events); /* EPOLLIN, ... */
	bool added;						     /* The loop's own. */
};

struct event_loop;

/* `lock` is the machine's.  0 or a negative errno; *loop to be ended by event_loop_destroy(). */
int event_loop_create(struct event_loop **loop, pthread_mutex_t *lock);
void event_loop_destroy(struct event_loop *loop);

/* Waits for `events` (EPOLLIN, EPOLLOUT; level-triggered) of source->fd.  Again with others: they
 * replace these. */
int event_loop_add(struct event_loop *loop, struct event_source *source, uint32_t events);
void event_loop_remove(struct event_loop *loop, struct event_source *source);

/* Runs until event_loop_stop(), which any thread may call, also before. */
void event_loop_run(struct event_loop *loop);
void event_loop_stop(struct event_loop *loop);

#endif
