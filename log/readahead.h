/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading ahead in one bucket file.  A reader looks up one record after the other, and on a file
 * that is not in the page cache waits for the disk each time; a disk can do many such reads at
 * once.  So threads of their own look up what the reader will, and throw it away: it is in the page
 * cache then.  They use nothing but SQLite, each with a connection of its own, and neither see the
 * caller nor hold a read transaction for longer than a piece.
 */
#ifndef LOG_READAHEAD_H
#define LOG_READAHEAD_H

#include "log/condition.h"

struct log_readahead;

/* What is to be read; all of it must stay as it is until log_readahead_stop(). */
struct log_readahead_plan {
	const char *path;
	const struct log_conditions *conditions;
	const struct log_pieces *pieces;
	size_t from;	    /* The first piece. */
	uint64_t low, high; /* Sequence numbers. */
};

/* Begins.  NULL if there is no memory or thread for it: then the reader does it all. */
struct log_readahead *log_readahead_start(const struct log_readahead_plan *plan);

/* Ends it, finished or not.  Accepts NULL. */
void log_readahead_stop(struct log_readahead *ahead);

/* How much the calling thread has waited for a disk so far, in reads of 512 bytes; 0 on a system
 * that does not count them. */
uint64_t log_readahead_waited(void);

#endif
