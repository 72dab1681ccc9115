/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch of log records on its way from the log thread to the sinks: one allocation of the size
 * that it needs, with the records and all their strings, never changed once it is made, shared by
 * all sinks and freed by the last.
 *
 * Life: log_batch_add() to a builder, again and again; log_batch_create() makes a batch of what is
 * in it and empties it; log_batch_take() by each sink, and log_batch_put() by each and the maker.
 */
#ifndef LOG_BATCH_H
#define LOG_BATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log/record.h"

enum { LOG_BATCH_RECORDS = 64, LOG_BATCH_TEXT = LOG_BATCH_RECORDS * 512 };

/* A batch in the making: one thread's.  All zero is an empty one. */
struct log_batch_builder {
	uint32_t n;
	size_t used; /* Of `text`. */
	struct log_record records[LOG_BATCH_RECORDS];
	char text[LOG_BATCH_TEXT];
};

struct log_batch {
	_Atomic uint32_t references;
	uint32_t n;
	/* How many of the switch's events it accounts for: its records, and those that a gap record
	 * among them says are lost. */
	uint64_t events;
	size_t bytes; /* The memory that it takes. */
	struct log_record records[];
};

/* Copies the record and its strings.  False if the builder is full: make a batch of it first.  An
 * empty one takes any record; strings too long for that are cut short. */
bool log_batch_add(struct log_batch_builder *builder, const struct log_record *record);

/* What is in the builder, which is empty afterwards, as a batch with one reference.  NULL without
 * memory: then nothing has changed. */
struct log_batch *log_batch_create(struct log_batch_builder *builder);

/* Any thread. */
struct log_batch *log_batch_take(struct log_batch *batch);
void log_batch_put(struct log_batch *batch); /* Accepts NULL. */

#endif
