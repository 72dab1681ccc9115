/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A number for each row of a table of a bucket file, by the row's own, which counts up from 1. Used
 * by the parts of the log store; one thread each.
 */
#ifndef LOG_MEMO_H
#define LOG_MEMO_H

#include <stdbool.h>
#include <stdint.h>

/* All zero is an empty one. */
struct log_memo {
	uint32_t *at;
	uint32_t allocated;
};

/* 0 if nothing is noted of it. */
uint32_t log_memo_get(const struct log_memo *memo, uint32_t id);

/* False: no memory, or an id so high that only a damaged file can have it. */
bool log_memo_set(struct log_memo *memo, uint32_t id, uint32_t value);

void log_memo_clear(struct log_memo *memo); /* Keeps the memory. */
void log_memo_free(struct log_memo *memo);

#endif
