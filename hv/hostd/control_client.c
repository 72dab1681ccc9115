/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to a VMM's control socket (control_client.h).  Called by vmm.c on the main thread.
 */
#include <config.h>

#include "hv/hostd/control_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "openvswitch/dynamic-string.h"
#include "openvswitch/list.h"
#include "openvswitch/poll-loop.h"
#include "timeval.h"
#include "util.h"

/* A command that was not answered yet. */
struct waiting {
	struct ovs_list node;
	char command[16];
	long long int deadline;
};

struct control_client {
	int fd;
	struct ds out, in;
	struct ovs_list waiting; /* In the order of their answers. */
};

int control_client_open(const char *path, struct control_client **client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	ovs_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* On a UNIX socket this is done at once or not at all. */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		error = -errno;
		close(fd);
		return error;
	}
	*client = xzalloc(sizeof(**client));
	(*client)->fd = fd;
	ds_init(&(*client)->out);
	ds_init(&(*client)->in);
	ovs_list_init(&(*client)->waiting);
	return 0;
}

void control_client_close(struct control_client *client)
{
	struct waiting *waiting;

	if (!client)
		return;
	LIST_FOR_EACH_POP (waiting, node, &client->waiting)
		free(waiting);
	ds_destroy(&client->out);
	ds_destroy(&client->in);
	close(client->fd);
	free(client);
}

pid_t control_client_pid(const struct control_client *client)
{
	struct ucred peer = {.pid = 0};
	socklen_t bytes = sizeof(peer);

	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes))
		return 0;
	return peer.pid;
}

static void await(struct control_client *client, const char *command)
{
	struct waiting *waiting = xzalloc(sizeof(*waiting));

	ovs_strlcpy(waiting->command, command, sizeof(waiting->command));
	waiting->deadline = time_msec() + CONTROL_ANSWER_MS;
	ovs_list_push_back(&client->waiting, &waiting->node);
}

void control_client_send(struct control_client *client, const char *command)
{
	await(client, command);
	ds_put_format(&client->out, "{\"command\":\"%s\"}\n", command);
}

void control_client_send_number(
	struct control_client *client, const char *command, const char *name, int64_t number)
{
	await(client, command);
	ds_put_format(
		&client->out, "{\"command\":\"%s\",\"%s\":%" PRId64 "}\n", command, name, number);
}

unsigned int control_client_waiting(const struct control_client *client, const char *command)
{
	const struct waiting *waiting;
	unsigned int n = 0;

	LIST_FOR_EACH (waiting, node, &client->waiting)
		n += !strcmp(waiting->command, command);
	return n;
}

/* --- Bytes ---------------------------------------------------------------------------------- */

static void drop_front(struct ds *text, size_t bytes)
{
	memmove(text->string, text->string + bytes, text->length - bytes);
	ds_truncate(text, text->length - bytes);
}

static int write_out(struct control_client *client)
{
	while (client->out.length) {
		ssize_t n = send(client->fd, client->out.string, client->out.length, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
		drop_front(&client->out, (size_t)n);
	}
	return 0;
}

static int read_in(struct control_client *client)
{
	char buffer[4096];

	while (client->in.length < CONTROL_ANSWER_BYTES_MAX) {
		ssize_t n = read(client->fd, buffer, sizeof(buffer));

		if (n > 0)
			ds_put_buffer(&client->in, buffer, (size_t)n);
		else if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		else
			return -EPIPE;
	}
	return 0;
}

/* --- Answers -------------------------------------------------------------------------------- */

static int parse(struct control_client *client, size_t length, struct control_answer *answer)
{
	struct waiting *waiting = CONTAINER_OF(client->waiting.next, struct waiting, node);
	const struct json *member;

	if (ovs_list_is_empty(&client->waiting))
		return -EPROTO;
	client->in.string[length] = '\0';
	*answer = (struct control_answer){.json = json_from_string(client->in.string)};
	drop_front(&client->in, length + 1);
	if (answer->json->type != JSON_OBJECT) {
		json_destroy(answer->json);
		return -EPROTO;
	}
	member = shash_find_data(json_object(answer->json), "ok");
	if (!member || member->type != JSON_TRUE) {
		member = shash_find_data(json_object(answer->json), "error");
		answer->refusal =
			member && member->type == JSON_STRING ? member->string : "no reason given";
	}
	ovs_strlcpy(answer->command, waiting->command, sizeof(answer->command));
	ovs_list_remove(&waiting->node);
	free(waiting);
	return 1;
}

int control_client_take(struct control_client *client, struct control_answer *answer)
{
	int error = write_out(client), ended = read_in(client);
	const char *end =
		client->in.length ? memchr(client->in.string, '\n', client->in.length) : NULL;
	const struct waiting *first;

	if (end)
		return parse(client, (size_t)(end - client->in.string), answer);
	if (client->in.length >= CONTROL_ANSWER_BYTES_MAX)
		return -EPROTO;
	if (error || ended)
		return -EPIPE;
	if (ovs_list_is_empty(&client->waiting))
		return 0;
	first = CONTAINER_OF(client->waiting.next, struct waiting, node);
	return time_msec() >= first->deadline ? -ETIMEDOUT : 0;
}

void control_client_wait(const struct control_client *client)
{
	poll_fd_wait(client->fd, client->out.length ? POLLIN | POLLOUT : POLLIN);
	if (!ovs_list_is_empty(&client->waiting))
		poll_timer_wait_until(
			CONTAINER_OF(client->waiting.next, struct waiting, node)->deadline);
}
