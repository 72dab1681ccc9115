/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to a VMM's control socket: commands and answers as lines of JSON (docs/hv.md).
 * Nothing here waits; the VMM is not trusted, so that its lines are bounded.
 *
 * Main thread.
 */
#ifndef HV_HOSTD_CONTROL_CLIENT_H
#define HV_HOSTD_CONTROL_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "openvswitch/json.h"

enum { CONTROL_ANSWER_BYTES_MAX = 1 << 20, CONTROL_ANSWER_MS = 10000 };

struct control_client;

/* Connects; 0 or a negative errno (-ENOENT, -ECONNREFUSED: nobody listens; -EAGAIN: he is busy). */
int control_client_open(const char *path, struct control_client **client);
void control_client_close(struct control_client *client); /* Accepts NULL. */

/* The process that listens, as the kernel knows it. */
pid_t control_client_pid(const struct control_client *client);

/* Sends a command, alone or with a number by this name; it is answered in its turn. */
void control_client_send(struct control_client *client, const char *command);
void control_client_send_number(
	struct control_client *client, const char *command, const char *name, int64_t number);

/* How many of these commands have not been answered. */
unsigned int control_client_waiting(const struct control_client *client, const char *command);

/* An answer. */
struct control_answer {
	char command[16];    /* What it answers. */
	struct json *json;   /* The whole object; the caller destroys it. */
	const char *refusal; /* If "ok" is not true, the sentence; it belongs to `json`. */
};

/*
 * Reads and writes what can be, and takes the next answer: 1 with *answer; 0: none yet; -EPIPE: the
 * VMM hung up; -EPROTO: it does not speak the protocol; -ETIMEDOUT: it owes an answer for too long.
 * After an error the client is good for nothing but being closed.
 */
int control_client_take(struct control_client *client, struct control_answer *answer);

/* Has poll_block() wake up when control_client_take() has something to do. */
void control_client_wait(const struct control_client *client);

#endif
