/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: commands as lines of JSON, one answer each (docs/hv.md has the protocol).
 *
 * Nobody who is connected can stop the guest or make this process grow: a line has at most
 * CONTROL_LINE_BYTES, there are at most CONTROL_CLIENTS, a client's next command is read when its
 * last answer has been taken, and every answer is small.
 *
 * Called on the thread of the event loop.
 */
#ifndef HV_CONTROL_H
#define HV_CONTROL_H

#include <jansson.h>

#include "hv/broker.h"
#include "hv/error.h"
#include "hv/machine.h"
#include "hv/options.h"
#include "hv/terminal.h"
#include "hv/virtio_device.h"

enum {
	CONTROL_LINE_BYTES = 4096,
	CONTROL_CLIENTS = 16,
	CONTROL_DEVICES = OPTIONS_NETS + OPTIONS_DISKS + 3,
};

/* What can be commanded and asked.  Everything is borrowed, and outlives the control socket. */
struct control_subject {
	struct machine *machine;
	const struct vmm_options *options;
	struct terminal *serial, *console; /* NULL: the guest has none. */
	/* Disks in the order of the options. */
	unsigned int n_devices;
	struct virtio_device *devices[CONTROL_DEVICES];
	uint64_t started_ns; /* CLOCK_MONOTONIC; set by control_create(). */
};

struct control;

/*
 * Listens at options->control, before the sandbox is entered (libraries draw their random seeds
 * here).  `subject` is copied.  0, or a negative errno and a sentence.  To be ended by
 * control_destroy(), which accepts NULL.
 */
int control_create(struct control **control, const struct control_subject *subject,
	struct broker *broker, struct hv_error *error);
void control_destroy(struct control *control);

/*
 * Answers one line (without its newline): an object, which the caller owns and frees with
 * json_decref(); NULL if there is no memory.  If it was a command `console` that succeeded,
 * *terminal is what the connection is to be attached to from now on, else NULL.  With the machine's
 * lock held.
 */
json_t *control_answer(struct control_subject *subject, const char *line, size_t bytes,
	struct terminal **terminal);

/* The answer to what could not be done: {"ok":false,"error":sentence}. */
json_t *control_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* `text` as a string; what is not UTF-8 in it becomes question marks.  NULL for NULL. */
json_t *control_string(const char *text);

/* Commands with files of their own (control_status.c, control_metrics.c). */
json_t *control_status(struct control_subject *subject);
json_t *control_metrics(struct control_subject *subject);

#endif
