/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end of a vhost-user connection: what QEMU does for a guest with a network card of one
 * queue pair.  It listens on a socket, the device under test connects; it then offers the guest's
 * memory and the two rings in it.
 *
 * The rings' contents outlive the device: when it disconnects they stay as they are, and the next
 * one that connects goes on where the device had got to, as a guest's card does whose switch is
 * restarted.  Frames that the device had taken and not returned are handed to it once more.
 *
 * Not offered: packed rings, several queues, the control queue, dirty logging.
 */
#ifndef GENERATOR_FRONT_END_H
#define GENERATOR_FRONT_END_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/bench/generator/ring.h"

struct front_end_setup {
	const char *socket;
	uint64_t features; /* The virtio features wanted; those that the device has are used. */
	struct ring_shape tx, rx;
	bool no_huge; /* Memory of ordinary pages. */
};

struct front_end {
	struct ring tx, rx;
	uint64_t wanted;   /* Features. */
	uint64_t features; /* As negotiated with the present or last device. */
	const char *socket;
	int listen_fd, fd; /* fd is -1 while no device is connected. */
	int memory_fd;
	uint8_t *memory;
	size_t memory_bytes;
	unsigned int connections; /* So far. */
	bool reply_ack;		  /* The device says whether it could do what it was told. */
};

#define FRONT_END_CLOSED                                                                           \
	((struct front_end){.listen_fd = -1,                                                       \
		.fd = -1,                                                                          \
		.memory_fd = -1,                                                                   \
		.tx = {.kick_fd = -1, .call_fd = -1},                                              \
		.rx = {.kick_fd = -1, .call_fd = -1}})

/* Maps the memory, lays out the rings and listens.  Returns 0, or a negative errno after saying
 * why. */
int front_end_open(struct front_end *front_end, const struct front_end_setup *setup);
void front_end_close(struct front_end *front_end);

/* Looks after the connection: to be called every few milliseconds, at the cost of a system call.
 * Accepts a device that wants to connect, notices one that went.  Returns true while one is
 * connected. */
bool front_end_poll(struct front_end *front_end);

static inline bool front_end_has(const struct front_end *front_end, unsigned int feature)
{
	return front_end->features >> feature & 1;
}

#endif
