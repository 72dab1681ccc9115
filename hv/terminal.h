/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is at the other end of a character device's cable: the last output, whoever watches it, and
 * what they type.
 *
 *	serial.c, console.c ── terminal_write() ──▶ the last 64 KiB ──▶ each reader at his own place
 *	                    ◀─ terminal_read() ──── 4 KiB typed  ◀── clients, stdin
 *
 * Output is the guest's: it is passed on byte for byte, and interpreted nowhere.  The guest never
 * waits for a reader.  Who reads too slowly loses the oldest bytes, and is told in the stream how
 * many.  A client that types faster than the guest reads is simply not read from meanwhile.
 *
 * Everything is called with the machine's lock held, or before guests run.  terminal_write() and
 * terminal_read() by vCPU threads too; bytes are sent and received by the thread of the event loop.
 */
#ifndef HV_TERMINAL_H
#define HV_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/error.h"
#include "hv/event_loop.h"

enum {
	TERMINAL_KEPT_BYTES = 65536, /* Output that a new client is shown first. */
	TERMINAL_INPUT_BYTES = 4096,
	TERMINAL_CLIENTS = 8, /* stdio or a file among them. */
	TERMINAL_FILE_BYTES = 64 * 1024 * 1024,
};

struct terminal;

/* `name` is a literal, for messages.  0 or a negative errno; to be ended by terminal_destroy(). */
int terminal_create(struct terminal **terminal, const char *name, struct event_loop *loop);

/* Sends what can be sent without waiting, closes all clients.  Accepts NULL. */
void terminal_destroy(struct terminal *terminal);

/* Sends what can be sent without waiting.  On the thread of the event loop, or when it has ended.
 */
void terminal_flush(struct terminal *terminal);

/* --- The device's side --- */

/* `ready` is called whenever something has been typed, on the thread of the event loop. */
void terminal_set_owner(struct terminal *terminal, void (*ready)(void *owner), void *owner);
void terminal_write(struct terminal *terminal, const void *bytes, size_t n);
size_t terminal_read(struct terminal *terminal, void *bytes, size_t n);

/* --- The readers' side --- */

/*
 * "stdio", "none" or a file that output is appended to, which is made with mode 0600 and kept below
 * TERMINAL_FILE_BYTES: one that is full is begun anew with the last output kept.  Before the
 * sandbox is entered.  0, or a negative errno and a sentence.
 */
int terminal_open(struct terminal *terminal, const char *where, struct hv_error *error);

/* Whoever types this on stdin, if that is a terminal (Ctrl-]), calls `leave`. */
enum { TERMINAL_ESCAPE = 0x1d };
void terminal_set_escape(struct terminal *terminal, void (*leave)(void *context), void *context);

/*
 * A connected socket becomes a client: it gets the output kept and all that follows, and what it
 * sends is typed, beginning with the `n` bytes of `typed` that were read from it already (as many
 * of them as there is room for).  The descriptor (non-blocking) is the terminal's from now on,
 * unless -ENOSPC says that there are too many clients.
 */
int terminal_attach(struct terminal *terminal, int fd, const void *typed, size_t n);

/* The last output, at most `n` bytes: how many.  Also from a signal handler. */
size_t terminal_tail(const struct terminal *terminal, void *bytes, size_t n);

/* For metrics. */
struct terminal_counters {
	uint64_t output_bytes, input_bytes, lost_bytes;
	unsigned int clients;
};
void terminal_count(const struct terminal *terminal, struct terminal_counters *counters);

#endif
