/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of a terminal know of each other: terminal.c the bytes, terminal_client.c who
 * reads and types them, terminal_open.c the descriptors that the command line names.
 */
#ifndef HV_TERMINAL_INTERNAL_H
#define HV_TERMINAL_INTERNAL_H

#include "hv/terminal.h"

enum terminal_client_kind {
	TERMINAL_FREE,
	TERMINAL_SOCKET, /* Reads and types. */
	TERMINAL_STREAM, /* Reads: a pipe or a character device. */
	TERMINAL_FILE,	 /* Reads: an ordinary file, kept below TERMINAL_FILE_BYTES. */
	TERMINAL_STDIN,	 /* Types. */
};

struct terminal_client {
	struct event_source source;
	struct terminal *terminal;
	enum terminal_client_kind kind;
	uint32_t watched; /* The events that the loop waits for; 0 if it does not. */
	/* Who types. */
	bool ended;	/* Nothing more is typed. */
	bool unwatched; /* epoll does not take it (an ordinary file): it can always be read. */
	bool escapes;	/* TERMINAL_ESCAPE has its meaning here. */
	/* Who reads. */
	bool full;	   /* It took no more last time. */
	uint64_t position; /* The next byte that it gets, counted from the first of all. */
	uint64_t file_bytes;
	char notice[80]; /* Ours, put into its stream before the next byte. */
	unsigned int notice_bytes, notice_sent;
};

struct terminal {
	const char *name;
	struct event_loop *loop;
	/* Output: kept[written % KEPT] is the next to be overwritten. */
	uint8_t kept[TERMINAL_KEPT_BYTES];
	uint64_t written;
	/* Input: typed[taken % INPUT] is the next that the device gets. */
	uint8_t typed[TERMINAL_INPUT_BYTES];
	uint64_t queued, taken;
	void (*ready)(void *owner);
	void *owner;
	void (*leave)(void *context);
	void *leave_context;
	/* By which a vCPU's thread asks the loop's to send and receive. */
	struct event_source wake;
	bool waking;
	struct terminal_client clients[TERMINAL_CLIENTS];
	uint64_t lost;
};

/* The first byte that is still kept. */
static inline uint64_t terminal_oldest(const struct terminal *terminal)
{
	return terminal->written > TERMINAL_KEPT_BYTES ? terminal->written - TERMINAL_KEPT_BYTES
						       : 0;
}

static inline size_t terminal_room(const struct terminal *terminal)
{
	return TERMINAL_INPUT_BYTES - (size_t)(terminal->queued - terminal->taken);
}

/* Queues what was typed: how much of it there was room for. */
size_t terminal_type(struct terminal *terminal, const uint8_t *bytes, size_t n);

/* Takes a descriptor in: the client, which reads from the oldest byte kept on; NULL if there is no
 * place. */
struct terminal_client *terminal_client_add(
	struct terminal *terminal, int fd, enum terminal_client_kind kind);
void terminal_client_close(struct terminal_client *client);

/* Sends and receives what is possible without waiting, and waits for the rest in the loop. */
void terminal_client_serve(struct terminal_client *client);

#endif
