/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to a collector, over UDP or TCP, none of whose calls blocks for longer than the
 * place's time limit, name resolution included, nor for long once the place is ending.  The limit
 * counts anew whenever a stream's other end takes something: one that is slow is not one that is
 * gone.
 *
 * Called by a sink's thread.
 */
#ifndef SINKS_SOCKET_H
#define SINKS_SOCKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "sinks/sink_type.h"

enum { SINK_SOCKET_NAME_MAX = SINK_HOST_MAX + SINK_PORT_MAX + 16 };

struct sink_socket {
	int fd;
	int type;			   /* SOCK_STREAM or SOCK_DGRAM. */
	unsigned int address, n_addresses; /* Which of the host's addresses it is for. */
	char name[SINK_SOCKET_NAME_MAX];   /* "udp 192.0.2.1:4739", for messages. */
};

/* Connects to the endpoint, a checked SINK_OPTION_ENDPOINT, trying each of the host's addresses
 * from the `first` on, which is 0 or, where an earlier one proved to be no good, that one's
 * successor. Returns 0 with *out, or a negative errno with a sentence in error[]. */
int sink_socket_open(const struct sink_place *place, const char *endpoint, const char *default_port,
	int type, unsigned int first, struct sink_socket *out, char *error, size_t error_size);

/* Looks a host's name up, for a library that will do so itself and wait for as long as that takes:
 * then it is quick.  Returns 0, or a negative errno with a sentence in error[]. */
int sink_socket_look_up(
	const struct sink_place *place, const char *host, char *error, size_t error_size);

/* Sends all of it: on a stream some bytes, else one datagram.  After an error other than -EMSGSIZE
 * the socket is only good to be closed. */
int sink_socket_send(const struct sink_place *place, const struct sink_socket *socket,
	const void *data, size_t length, char *error, size_t error_size);

/* Sends n datagrams, in as few system calls as can be. */
int sink_socket_send_datagrams(const struct sink_place *place, const struct sink_socket *socket,
	struct mmsghdr *datagrams, unsigned int n, char *error, size_t error_size);

/* Takes what has come on a stream.  Returns its length, -EAGAIN if nothing has, -EPIPE if the other
 * end has closed, or another negative errno. */
ssize_t sink_socket_receive(const struct sink_socket *socket, void *data, size_t size);

/* Waits until something has come, or the stream has ended; `ms` at most.  Returns 0, -ETIMEDOUT, or
 * another negative errno. */
int sink_socket_await(
	const struct sink_place *place, const struct sink_socket *socket, unsigned int ms);

/* Returns 0 if, as far as is known at this moment, the other end neither refuses what comes nor has
 * closed. */
int sink_socket_check(const struct sink_socket *socket, char *error, size_t error_size);

/* Returns 0 once the other end's TCP has all that was sent; over UDP, if nobody refuses it at once.
 */
int sink_socket_settle(const struct sink_place *place, const struct sink_socket *socket,
	char *error, size_t error_size);

void sink_socket_close(
	struct sink_socket *socket); /* Nothing if it is closed, or was never open. */

#endif
