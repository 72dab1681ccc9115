/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop, on epoll.  Run by the main thread; sources are added and removed by it and, with
 * the machine's lock held, by vCPU threads.
 *
 * epoll_wait() runs without the lock, so that a source may be removed, and its memory freed,
 * between its being reported and its being called.  What epoll reports is therefore no pointer but
 * the number of a slot and how many times that slot has been given out; with the lock held they are
 * looked up, and a report for a slot that has been emptied, or given to somebody else, is dropped.
 * Nothing is lost by that: epoll is level-triggered here.
 */
#include "hv/event_loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { REPORTS = 16, SLOTS_AT_FIRST = 32 };

/* What is reported for the loop's own descriptor. */
#define STOP_REPORT UINT64_MAX

struct slot {
	struct event_source *source; /* NULL: free. */
	uint32_t generation, events;
};

struct event_loop {
	int epoll_fd, stop_fd;
	atomic_bool stopped;
	pthread_mutex_t *lock; /* The machine's; guards the slots. */
	struct slot *slots;
	uint32_t n_slots;
};

static int watch(
	const struct event_loop *loop, int operation, int fd, uint32_t events, uint64_t report)
{
	struct epoll_event event = {.events = events, .data.u64 = report};

	return epoll_ctl(loop->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

int event_loop_create(struct event_loop **created, pthread_mutex_t *lock)
{
	struct event_loop *loop = calloc(1, sizeof(*loop));
	int status;

	*created = NULL;
	if (!loop)
		return -ENOMEM;
	loop->lock = lock;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->stop_fd < 0)
		status = -errno;
	else
		status = watch(loop, EPOLL_CTL_ADD, loop->stop_fd, EPOLLIN, STOP_REPORT);
	if (status < 0) {
		event_loop_destroy(loop);
		return status;
	}
	*created = loop;
	return 0;
}

void event_loop_destroy(struct event_loop *loop)
{
	if (!loop)
		return;
	if (loop->stop_fd >= 0)
		close(loop->stop_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop->slots);
	free(loop);
}

static struct slot *slot_of(const struct event_loop *loop, const struct event_source *source)
{
	for (uint32_t i = 0; i < loop->n_slots; i++) {
		if (loop->slots[i].source == source)
			return &loop->slots[i];
	}
	return NULL;
}

static struct slot *free_slot(struct event_loop *loop)
{
	struct slot *slot = slot_of(loop, NULL), *slots;
	uint32_t n = loop->n_slots ? 2 * loop->n_slots : SLOTS_AT_FIRST;

	if (slot)
		return slot;
	slots = reallocarray(loop->slots, n, sizeof(*slots));
	if (!slots)
		return NULL;
	memset(slots + loop->n_slots, 0, (n - loop->n_slots) * sizeof(*slots));
	slot = slots + loop->n_slots;
	loop->slots = slots;
	loop->n_slots = n;
	return slot;
}

static uint64_t report_of(const struct event_loop *loop, const struct slot *slot)
{
	return (uint64_t)slot->generation << 32 | (uint64_t)(slot - loop->slots);
}

int event_loop_add(struct event_loop *loop, struct event_source *source, uint32_t events)
{
	struct slot *slot = source->added ? slot_of(loop, source) : free_slot(loop);
	int status;

	if (!slot)
		return -ENOMEM;
	status = watch(loop, source->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, source->fd, events,
		report_of(loop, slot));
	if (status < 0)
		return status;
	slot->source = source;
	slot->events = events;
	source->added = true;
	return 0;
}

void event_loop_remove(struct event_loop *loop, struct event_source *source)
{
	struct slot *slot;

	if (!source->added)
		return;
	slot = slot_of(loop, source);
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	slot->source = NULL;
	slot->generation++;
	source->added = false;
}

static void call(struct event_loop *loop, const struct epoll_event *event)
{
	const struct slot *slot = &loop->slots[(uint32_t)event->data.u64];
	/* It may have been added for other events since. */
	uint32_t events = event->events & (slot->events | EPOLLERR | EPOLLHUP);

	if (slot->source && slot->generation == event->data.u64 >> 32 && events)
		slot->source->ready(slot->source, events);
}

void event_loop_run(struct event_loop *loop)
{
	struct epoll_event events[REPORTS];

	while (!atomic_load(&loop->stopped)) {
		int n = epoll_wait(loop->epoll_fd, events, REPORTS, -1);

		for (int i = 0; i < n && !atomic_load(&loop->stopped); i++) {
			if (events[i].data.u64 == STOP_REPORT)
				continue;
			pthread_mutex_lock(loop->lock);
			call(loop, &events[i]);
			pthread_mutex_unlock(loop->lock);
		}
	}
}

void event_loop_stop(struct event_loop *loop)
{
	uint64_t one = 1;

	atomic_store(&loop->stopped, true);
	/* It cannot fail: the counter is full only after 2^64 - 2 stops. */
	(void)!write(loop->stop_fd, &one, sizeof(one));
}
