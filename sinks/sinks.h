/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All sinks of one switch: made, changed and ended as the configuration says, and fed by the log
 * thread.
 *
 * Threads: one feeds (sinks_push), any may configure and ask.  The mutex is held for as long as a
 * list is gone through; nobody holds it while a place is called.
 */
#ifndef SINKS_SINKS_H
#define SINKS_SINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/account.h"
#include "sinks/sink.h"

struct sinks;

/* What the set is told of its switch.  All of it outlives the set. */
struct sinks_owner {
	const char *host;
	const char *directory; /* For places that are given no path. */
	struct log_account *account;
	void (*begin_thread)(void *owner); /* As in struct sink_context. */
	void *owner;
};

/* Makes the set, empty.  NULL without memory. */
struct sinks *sinks_create(const struct sinks_owner *owner);

/* A sink as it is wanted. */
struct sink_wanted {
	const char *name;
	struct sink_settings settings; /* Checked.  No kind: it goes on as it is, if it is there. */
};

/* Makes the sinks be these: begins those that are new, changes those that are there, ends those
 * that are not among them.  Returns the number of those that could not be begun, for want of memory
 * or because there are LOG_ACCOUNT_SINKS. */
size_t sinks_configure(struct sinks *sinks, const struct sink_wanted *wanted, size_t n);

/* True once sinks_configure() was called: until then, nobody knows where records go. */
bool sinks_are_configured(struct sinks *sinks);

/* Hands a batch to all sinks.  The log thread. */
void sinks_push(struct sinks *sinks, struct log_batch *batch);

/* The highest sequence number that any sink knows of. */
uint64_t sinks_known_sequence(const struct sinks *sinks);

/* Waits until the places have been tried that may raise it, but no longer than `ms`.  True if all
 * of them are open. */
bool sinks_await_opening(struct sinks *sinks, unsigned int ms);

struct sinks_row {
	char name[SINK_NAME_MAX];
	const char *type;
	struct sink_statistics statistics;
};

/* Fills at most `n` rows and returns how many. */
size_t sinks_read_statistics(struct sinks *sinks, struct sinks_row *rows, size_t n);

/* The sum over all sinks of what is lost, and the highest number that one has delivered. */
struct sinks_total {
	uint64_t delivered, lost;
};
struct sinks_total sinks_total(struct sinks *sinks);

/* Ends all, each after it has delivered what waits, if its place is in order, for at most
 * `drain_ms`.  Accepts NULL. */
void sinks_destroy(struct sinks *sinks, unsigned int drain_ms);

#endif
