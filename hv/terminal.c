/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal's bytes: the last output, what was typed, and the wake-up between the two threads.
 * Called by the serial port and the console with the machine's lock held, on vCPU threads and on
 * the event loop's; only the latter sends and receives.
 */
#include "hv/terminal_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Copies into a ring of `size` bytes, from place `at` on. */
static void ring_put(uint8_t *ring, size_t size, uint64_t at, const uint8_t *bytes, size_t n)
{
	size_t start = at % size, first = smaller(n, size - start);

	memcpy(ring + start, bytes, first);
	memcpy(ring, bytes + first, n - first);
}

static void ring_get(const uint8_t *ring, size_t size, uint64_t at, uint8_t *bytes, size_t n)
{
	size_t start = at % size, first = smaller(n, size - start);

	memcpy(bytes, ring + start, first);
	memcpy(bytes + first, ring, n - first);
}

static void wake(struct terminal *terminal)
{
	uint64_t one = 1;

	if (terminal->waking)
		return;
	terminal->waking = write(terminal->wake.fd, &one, sizeof(one)) == sizeof(one);
}

static void woken(struct event_source *source, uint32_t events)
{
	struct terminal *terminal =
		(struct terminal *)((char *)source - offsetof(struct terminal, wake));
	uint64_t count;

	(void)events;
	if (read(source->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	terminal->waking = false;
	for (unsigned int i = 0; i < TERMINAL_CLIENTS; i++)
		terminal_client_serve(&terminal->clients[i]);
}

int terminal_create(struct terminal **created, const char *name, struct event_loop *loop)
{
	struct terminal *terminal = calloc(1, sizeof(*terminal));
	int status;

	*created = NULL;
	if (!terminal)
		return -ENOMEM;
	terminal->name = name;
	terminal->loop = loop;
	terminal->wake.ready = woken;
	terminal->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	status = terminal->wake.fd < 0 ? -errno : event_loop_add(loop, &terminal->wake, EPOLLIN);
	if (status < 0) {
		terminal_destroy(terminal);
		return status;
	}
	*created = terminal;
	return 0;
}

void terminal_flush(struct terminal *terminal)
{
	for (unsigned int i = 0; i < TERMINAL_CLIENTS; i++)
		terminal_client_serve(&terminal->clients[i]);
}

void terminal_destroy(struct terminal *terminal)
{
	if (!terminal)
		return;
	terminal->ready = NULL;
	terminal->leave = NULL;
	terminal_flush(terminal);
	for (unsigned int i = 0; i < TERMINAL_CLIENTS; i++)
		terminal_client_close(&terminal->clients[i]);
	if (terminal->wake.fd >= 0) {
		event_loop_remove(terminal->loop, &terminal->wake);
		close(terminal->wake.fd);
	}
	free(terminal);
}

void terminal_set_owner(struct terminal *terminal, void (*ready)(void *owner), void *owner)
{
	terminal->ready = ready;
	terminal->owner = owner;
}

void terminal_set_escape(struct terminal *terminal, void (*leave)(void *context), void *context)
{
	terminal->leave = leave;
	terminal->leave_context = context;
}

static bool has_clients(const struct terminal *terminal)
{
	for (unsigned int i = 0; i < TERMINAL_CLIENTS; i++)
		if (terminal->clients[i].kind != TERMINAL_FREE)
			return true;
	return false;
}

void terminal_write(struct terminal *terminal, const void *bytes, size_t n)
{
	const uint8_t *from = bytes;

	/* What would be overwritten by the same call is counted, not copied. */
	if (n > TERMINAL_KEPT_BYTES) {
		terminal->written += n - TERMINAL_KEPT_BYTES;
		from += n - TERMINAL_KEPT_BYTES;
		n = TERMINAL_KEPT_BYTES;
	}
	ring_put(terminal->kept, TERMINAL_KEPT_BYTES, terminal->written, from, n);
	terminal->written += n;
	if (has_clients(terminal))
		wake(terminal);
}

size_t terminal_read(struct terminal *terminal, void *bytes, size_t n)
{
	size_t take = smaller(n, (size_t)(terminal->queued - terminal->taken));
	bool was_full = terminal_room(terminal) == 0;

	ring_get(terminal->typed, TERMINAL_INPUT_BYTES, terminal->taken, bytes, take);
	terminal->taken += take;
	if (was_full && take)
		wake(terminal);
	return take;
}

size_t terminal_type(struct terminal *terminal, const uint8_t *bytes, size_t n)
{
	size_t take = smaller(n, terminal_room(terminal));

	if (!take)
		return 0;
	ring_put(terminal->typed, TERMINAL_INPUT_BYTES, terminal->queued, bytes, take);
	terminal->queued += take;
	if (terminal->ready)
		terminal->ready(terminal->owner);
	return take;
}

size_t terminal_tail(const struct terminal *terminal, void *bytes, size_t n)
{
	size_t kept = (size_t)(terminal->written - terminal_oldest(terminal));
	size_t take = smaller(n, kept);

	ring_get(terminal->kept, TERMINAL_KEPT_BYTES, terminal->written - take, bytes, take);
	return take;
}

void terminal_count(const struct terminal *terminal, struct terminal_counters *counters)
{
	*counters = (struct terminal_counters){.output_bytes = terminal->written,
		.input_bytes = terminal->queued,
		.lost_bytes = terminal->lost};
	for (unsigned int i = 0; i < TERMINAL_CLIENTS; i++)
		counters->clients += terminal->clients[i].kind != TERMINAL_FREE;
}
