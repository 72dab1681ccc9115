/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket's clients.  Called by the event loop with the machine's lock held.
 *
 * A client is either heard or answered: its next line is looked at when its last answer has been
 * taken, so that it holds one line and one answer of memory however it behaves.  One line is
 * answered a turn, and whoever has sent more waits for the next turn, as the others do.
 */
#include "hv/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct control_client {
	struct event_source source; /* First. */
	struct control *control;
	char line[CONTROL_LINE_BYTES];
	size_t used;
	bool ended; /* Nothing more is heard: it is closed once it is answered. */
	char *answer;
	size_t answer_bytes, sent;
	struct terminal *terminal; /* What it is attached to once it is answered, or NULL. */
};

struct control {
	struct event_source listener; /* First. */
	struct event_loop *loop;
	struct control_subject subject;
	struct control_client *clients[CONTROL_CLIENTS];
	int spare; /* A descriptor to give up when there are no others. */
};

/* --- A client's end --------------------------------------------------------------------------- */

static void forget(struct control_client *client)
{
	struct control *control = client->control;

	event_loop_remove(control->loop, &client->source);
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		if (control->clients[i] == client)
			control->clients[i] = NULL;
	free(client->answer);
	free(client);
}

static void close_client(struct control_client *client)
{
	close(client->source.fd);
	forget(client);
}

/* The connection is a cable from now on.  What came behind the command has been typed. */
static void become_cable(struct control_client *client)
{
	static const char full[] =
		"\r\n[cordon-vmm: too many clients watch this device already]\r\n";
	int fd = client->source.fd;

	event_loop_remove(client->control->loop, &client->source);
	if (terminal_attach(client->terminal, fd, client->line, client->used) < 0) {
		send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
	}
	forget(client);
}

/* --- Answering -------------------------------------------------------------------------------- */

/* NULL if there is no memory for an answer. */
static char *text_of(json_t *answer, size_t *bytes)
{
	char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
	char *line;

	json_decref(answer);
	if (!text)
		return NULL;
	*bytes = strlen(text) + 1;
	line = realloc(text, *bytes);
	if (!line)
		free(text);
	else
		line[*bytes - 1] = '\n';
	return line;
}

static bool answer_line(struct control_client *client, const char *line, size_t bytes)
{
	client->answer =
		text_of(control_answer(&client->control->subject, line, bytes, &client->terminal),
			&client->answer_bytes);
	client->sent = 0;
	return client->answer;
}

/* 1: all of it has been taken; 0: not yet; or a negative errno. */
static int send_answer(struct control_client *client)
{
	while (client->sent < client->answer_bytes) {
		ssize_t sent = send(client->source.fd, client->answer + client->sent,
			client->answer_bytes - client->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN ? 0 : -errno;
		client->sent += (size_t)sent;
	}
	free(client->answer);
	client->answer = NULL;
	return 1;
}

/* --- Hearing ---------------------------------------------------------------------------------- */

static void receive(struct control_client *client)
{
	ssize_t received;

	if (client->ended || client->used == CONTROL_LINE_BYTES)
		return;
	received = recv(client->source.fd, client->line + client->used,
		CONTROL_LINE_BYTES - client->used, MSG_DONTWAIT);
	if (received > 0)
		client->used += (size_t)received;
	else if (received == 0 || (errno != EAGAIN && errno != EINTR))
		client->ended = true;
}

/* The length of the first line that is there whole, its newline not counted; -1 if none is.  Who
 * has ended has ended his last line, too. */
static ssize_t line_length(const struct control_client *client)
{
	const char *end = memchr(client->line, '\n', client->used);

	if (end)
		return end - client->line;
	return client->ended && client->used ? (ssize_t)client->used : -1;
}

/* Answers the first line, if there is one.  False if the client is to be closed. */
static bool hear(struct control_client *client)
{
	ssize_t length = line_length(client);
	size_t gone;
	bool answered;

	if (length < 0 && client->used == CONTROL_LINE_BYTES) {
		client->ended = true;
		client->used = 0;
		client->answer = text_of(
			control_refuse("a line has at most %d bytes", CONTROL_LINE_BYTES - 1),
			&client->answer_bytes);
		client->sent = 0;
		return client->answer;
	}
	if (length < 0)
		return !client->ended;
	answered = answer_line(client, client->line, (size_t)length);
	gone = (size_t)length < client->used ? (size_t)length + 1 : client->used;
	client->used -= gone;
	memmove(client->line, client->line + gone, client->used);
	return answered;
}

/* Waits for what is needed next: room for the answer, another turn for a line that is there, or
 * bytes. */
static bool wait_for_next(struct control_client *client)
{
	bool writes = client->answer || client->ended || line_length(client) >= 0;

	return event_loop_add(
		       client->control->loop, &client->source, writes ? EPOLLOUT : EPOLLIN) == 0;
}

static void ready(struct event_source *source, uint32_t events)
{
	struct control_client *client = (struct control_client *)source;
	int sent;

	(void)events;
	if (!client->answer) {
		if (line_length(client) < 0)
			receive(client);
		if (!hear(client)) {
			close_client(client);
			return;
		}
	}
	sent = client->answer ? send_answer(client) : 0;
	if (sent > 0 && client->terminal)
		become_cable(client);
	else if (sent < 0 || !wait_for_next(client))
		close_client(client);
}

/* --- Connecting ------------------------------------------------------------------------------- */

static void add_client(struct control *control, unsigned int place, int fd)
{
	struct control_client *client = calloc(1, sizeof(*client));

	if (!client) {
		close(fd);
		return;
	}
	client->control = control;
	client->source.fd = fd;
	client->source.ready = ready;
	control->clients[place] = client;
	if (!wait_for_next(client))
		close_client(client);
}

static void refuse_client(int fd)
{
	static const char full[] = "{\"ok\":false,\"error\":\"too many clients are connected\"}\n";

	send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

/* Without a descriptor for it a connection would be reported for ever: it is taken with the spare
 * one, and closed. */
static void turn_away(struct control *control)
{
	int fd;

	close(control->spare);
	fd = accept4(control->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	control->spare = fcntl(control->listener.fd, F_DUPFD_CLOEXEC, 0);
}

static void connected(struct event_source *source, uint32_t events)
{
	struct control *control = (struct control *)source;
	int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			turn_away(control);
		return;
	}
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		if (!control->clients[i]) {
			add_client(control, i, fd);
			return;
		}
	refuse_client(fd);
}

/* --- Life ------------------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static int listen_at(struct control *control, struct broker *broker, struct hv_error *error)
{
	const char *path = control->subject.options->control;
	int status;

	control->listener.ready = connected;
	control->listener.fd = broker_listen(broker, path, error);
	if (control->listener.fd < 0)
		return control->listener.fd;
	control->spare = fcntl(control->listener.fd, F_DUPFD_CLOEXEC, 0);
	status = event_loop_add(control->loop, &control->listener, EPOLLIN);
	return status < 0
		       ? hv_fail(error, -status, "the control socket '%s' cannot be waited for: %s",
				 path, strerror(-status))
		       : 0;
}

int control_create(struct control **created, const struct control_subject *subject,
	struct broker *broker, struct hv_error *error)
{
	struct control *control = calloc(1, sizeof(*control));
	int status;

	*created = NULL;
	if (!control)
		return hv_fail(error, ENOMEM, "there is no memory for the control socket");
	control->loop = subject->machine->loop;
	control->subject = *subject;
	control->subject.started_ns = now_ns();
	control->spare = control->listener.fd = -1;
	json_object_seed(0);
	status = listen_at(control, broker, error);
	if (status < 0) {
		control_destroy(control);
		return status;
	}
	*created = control;
	return 0;
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		if (control->clients[i])
			close_client(control->clients[i]);
	if (control->listener.fd >= 0) {
		event_loop_remove(control->loop, &control->listener);
		close(control->listener.fd);
	}
	if (control->spare >= 0)
		close(control->spare);
	free(control);
}
