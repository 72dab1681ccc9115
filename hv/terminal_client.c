/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who reads a terminal's output, and types its input.  Called on the thread of the event loop, with
 * the machine's lock held; nothing here waits.
 *
 * A reader has a place in the stream of all output.  Output that has been overwritten before he
 * took it is lost to him: he is told how much in a line of his own, and goes on at the oldest byte
 * that is kept.
 */
#include "hv/terminal_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static bool reads(const struct terminal_client *client)
{
	return client->kind == TERMINAL_SOCKET || client->kind == TERMINAL_STREAM ||
	       client->kind == TERMINAL_FILE;
}

static bool types(const struct terminal_client *client)
{
	return (client->kind == TERMINAL_SOCKET || client->kind == TERMINAL_STDIN) &&
	       !client->ended;
}

static void unwatch(struct terminal_client *client)
{
	if (client->watched)
		event_loop_remove(client->terminal->loop, &client->source);
	client->watched = 0;
}

/* Waits for what is needed.  A socket is always waited for: that it is gone is seen without asking
 * for it. */
static void watch(struct terminal_client *client)
{
	uint32_t events = client->kind == TERMINAL_SOCKET ? EPOLLHUP : 0;

	if (types(client) && !client->unwatched && terminal_room(client->terminal) > 0)
		events |= EPOLLIN;
	if (reads(client) && client->full)
		events |= EPOLLOUT;
	if (events == client->watched)
		return;
	if (!events) {
		unwatch(client);
		return;
	}
	if (event_loop_add(client->terminal->loop, &client->source, events) == 0)
		client->watched = events;
	else if (client->kind == TERMINAL_STDIN)
		client->unwatched = true;
	else
		terminal_client_close(client);
}

void terminal_client_close(struct terminal_client *client)
{
	if (client->kind == TERMINAL_FREE)
		return;
	unwatch(client);
	close(client->source.fd);
	client->kind = TERMINAL_FREE;
}

/* --- Reading: output goes to the client --- */

static ssize_t put(const struct terminal_client *client, const void *bytes, size_t n)
{
	ssize_t sent;

	do {
		sent = client->kind == TERMINAL_SOCKET
			       ? send(client->source.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL)
			       : write(client->source.fd, bytes, n);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

static void say(struct terminal_client *client, const char *what, uint64_t bytes)
{
	client->notice_bytes = (unsigned int)snprintf(client->notice, sizeof(client->notice),
		"\r\n[cordon-vmm: %" PRIu64 " bytes %s]\r\n", bytes, what);
	client->notice_sent = 0;
}

/* Skips what has been overwritten.  A notice that is on its way is finished first. */
static void skip_lost(struct terminal_client *client)
{
	struct terminal *terminal = client->terminal;
	uint64_t oldest = terminal_oldest(terminal);

	if (client->position >= oldest || client->notice_sent < client->notice_bytes)
		return;
	terminal->lost += oldest - client->position;
	say(client, "lost here: they were not read in time", oldest - client->position);
	client->position = oldest;
}

/* A file that is full is begun anew.  Whoever reads it finds at least the last output kept. */
static void bound_file(struct terminal_client *client, size_t more)
{
	if (client->kind != TERMINAL_FILE || client->file_bytes + more <= TERMINAL_FILE_BYTES)
		return;
	if (ftruncate(client->source.fd, 0) < 0)
		return;
	say(client, "removed: the file was full", client->file_bytes);
	client->position = terminal_oldest(client->terminal);
	client->file_bytes = 0;
}

/* The next piece of the stream: how long it is, 0 at its end. */
static size_t next_piece(const struct terminal_client *client, const void **bytes)
{
	const struct terminal *terminal = client->terminal;
	size_t start = client->position % TERMINAL_KEPT_BYTES;
	uint64_t left = terminal->written - client->position;

	if (client->notice_sent < client->notice_bytes) {
		*bytes = client->notice + client->notice_sent;
		return client->notice_bytes - client->notice_sent;
	}
	*bytes = terminal->kept + start;
	return left < TERMINAL_KEPT_BYTES - start ? (size_t)left : TERMINAL_KEPT_BYTES - start;
}

static void advance(struct terminal_client *client, size_t sent)
{
	if (client->notice_sent < client->notice_bytes)
		client->notice_sent += (unsigned int)sent;
	else
		client->position += sent;
	client->file_bytes += sent;
}

/*
 * Sends until there is nothing left or the client takes no more.  A file that cannot be written (a
 * full disk) is tried again with the next output; anybody else is closed.
 */
static void send_output(struct terminal_client *client)
{
	const void *bytes;
	size_t n;

	client->full = false;
	for (;;) {
		ssize_t sent;

		skip_lost(client);
		n = next_piece(client, &bytes);
		if (!n)
			return;
		bound_file(client, n);
		n = next_piece(client, &bytes);
		sent = put(client, bytes, n);
		if (sent == -EAGAIN) {
			client->full = client->kind != TERMINAL_FILE;
			return;
		}
		if (sent < 0) {
			if (client->kind != TERMINAL_FILE)
				terminal_client_close(client);
			return;
		}
		advance(client, (size_t)sent);
	}
}

/* --- Typing: the client's bytes go to the input --- */

/* Takes the escape out of what was typed; true if it was there. */
static bool find_escape(uint8_t *bytes, size_t *n)
{
	for (size_t i = 0; i < *n; i++)
		if (bytes[i] == TERMINAL_ESCAPE) {
			*n = i;
			return true;
		}
	return false;
}

/* False if there was nothing. */
static bool receive_input(struct terminal_client *client)
{
	struct terminal *terminal = client->terminal;
	uint8_t bytes[512];
	size_t room = terminal_room(terminal), n;
	ssize_t received;

	received = read(client->source.fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
	if (received < 0) {
		client->ended = errno != EAGAIN && errno != EINTR;
		return false;
	}
	n = (size_t)received;
	client->ended = n == 0;
	if (client->escapes && find_escape(bytes, &n) && terminal->leave)
		terminal->leave(terminal->leave_context);
	terminal_type(terminal, bytes, n);
	return !client->ended;
}

/* Everything that can be typed at once.  An ordinary file is always ready, so that nobody calls
 * again. */
static void receive_all(struct terminal_client *client)
{
	while (types(client) && terminal_room(client->terminal) > 0)
		if (!receive_input(client))
			return;
}

/* The other end is closed: what it typed last is still there. */
static void take_leave(struct terminal_client *client)
{
	receive_all(client);
	terminal_client_close(client);
}

void terminal_client_serve(struct terminal_client *client)
{
	if (client->unwatched)
		receive_all(client);
	else if (types(client) && terminal_room(client->terminal) > 0)
		receive_input(client);
	if (reads(client))
		send_output(client);
	if (client->kind == TERMINAL_STDIN && client->ended)
		terminal_client_close(client);
	if (client->kind != TERMINAL_FREE)
		watch(client);
}

static void ready(struct event_source *source, uint32_t events)
{
	struct terminal_client *client =
		(struct terminal_client *)((char *)source -
					   offsetof(struct terminal_client, source));

	if (client->kind == TERMINAL_SOCKET && (events & (EPOLLHUP | EPOLLERR)))
		take_leave(client);
	else
		terminal_client_serve(client);
}

struct terminal_client *terminal_client_add(
	struct terminal *terminal, int fd, enum terminal_client_kind kind)
{
	for (unsigned int i = 0; i < TERMINAL_CLIENTS; i++) {
		struct terminal_client *client = &terminal->clients[i];

		if (client->kind != TERMINAL_FREE)
			continue;
		*client = (struct terminal_client){
			.source = {.fd = fd, .ready = ready},
			.terminal = terminal,
			.kind = kind,
			.position = terminal_oldest(terminal),
		};
		return client;
	}
	return NULL;
}

int terminal_attach(struct terminal *terminal, int fd, const void *typed, size_t n)
{
	struct terminal_client *client = terminal_client_add(terminal, fd, TERMINAL_SOCKET);

	if (!client)
		return -ENOSPC;
	terminal_type(terminal, typed, n);
	terminal_client_serve(client);
	return 0;
}
