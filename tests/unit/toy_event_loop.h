/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event loop that turns when it is told to: the functions of hv/event_loop.h, for a test that
 * wants to know what happens when.  Included by one file of a program, which then gets these.
 */
#ifndef TESTS_UNIT_TOY_EVENT_LOOP_H
#define TESTS_UNIT_TOY_EVENT_LOOP_H

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "hv/event_loop.h"

enum { TOY_SOURCES = 64 };

struct event_loop {
	bool refuse; /* To add. */
	struct event_source *sources[TOY_SOURCES];
};

int event_loop_create(struct event_loop **loop, pthread_mutex_t *lock)
{
	(void)lock;
	*loop = calloc(1, sizeof(**loop));
	return *loop ? 0 : -ENOMEM;
}

void event_loop_destroy(struct event_loop *loop)
{
	free(loop);
}

int event_loop_add(struct event_loop *loop, struct event_source *source, uint32_t events)
{
	(void)events;
	if (loop->refuse)
		return -ENOSPC;
	for (unsigned int i = 0; i < TOY_SOURCES && !source->added; i++)
		if (!loop->sources[i]) {
			loop->sources[i] = source;
			source->added = true;
		}
	return source->added ? 0 : -ENOSPC;
}

void event_loop_remove(struct event_loop *loop, struct event_source *source)
{
	for (unsigned int i = 0; i < TOY_SOURCES; i++)
		if (loop->sources[i] == source)
			loop->sources[i] = NULL;
	source->added = false;
}

/* Calls each source that is ready, once.  How many were. */
static inline unsigned int toy_loop_turn(struct event_loop *loop)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < TOY_SOURCES; i++) {
		struct event_source *source = loop->sources[i];
		struct pollfd descriptor = {.fd = source ? source->fd : -1, .events = POLLIN};

		if (poll(&descriptor, 1, 0) == 1) {
			source->ready(source, EPOLLIN);
			n++;
		}
	}
	return n;
}

static inline unsigned int toy_loop_n_sources(const struct event_loop *loop)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < TOY_SOURCES; i++)
		n += loop->sources[i] != NULL;
	return n;
}

#endif
