/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waking up by the wall clock: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET.  Called by
 * config_policy.c, on the main thread.
 */
#include <config.h>

#include "datapath/wall_clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "openvswitch/poll-loop.h"
#include "util.h"

/* Centuries away, and still to be told in nanoseconds. */
#define LATEST (INT64_C(1) << 32)

struct wall_clock {
	int fd;
	int64_t armed; /* For this second; -1: not. */
};

struct wall_clock *wall_clock_create(void)
{
	struct wall_clock *clock = xmalloc(sizeof(*clock));

	clock->armed = -1;
	clock->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (clock->fd < 0)
		ovs_fatal(errno, "no timer of the wall clock");
	return clock;
}

void wall_clock_destroy(struct wall_clock *clock)
{
	if (clock == NULL)
		return;
	close(clock->fd);
	free(clock);
}

void wall_clock_run(struct wall_clock *clock)
{
	uint64_t expirations;

	/* It has gone off, or the clock was set (ECANCELED). */
	if (read(clock->fd, &expirations, sizeof(expirations)) > 0 || errno != EAGAIN)
		clock->armed = -1;
}

void wall_clock_wait(struct wall_clock *clock, int64_t at)
{
	int64_t second = at < LATEST ? at : LATEST;
	const struct itimerspec timer = {.it_value.tv_sec = second};

	if (second != clock->armed &&
		timerfd_settime(
			clock->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &timer, NULL) == 0)
		clock->armed = second;
	poll_fd_wait(clock->fd, POLLIN);
}
