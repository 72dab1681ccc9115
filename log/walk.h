/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a log, as whoever asks a question goes through them, and what is said of those that
 * cannot be read.  Used by query.c, flows.c, timeline.c and gaps.c; one thread each.
 */
#ifndef LOG_WALK_H
#define LOG_WALK_H

#include "log/bucket.h"
#include "log/reader.h"

struct log_walk {
	const char *directory;
	struct log_bucket_list list;
	size_t n_bad;
	char *error;
	size_t error_size;
};

/* Lists the files; error[] is kept for what is said of them.  Returns 0 or a negative errno. */
int log_walk_open(struct log_walk *files, const char *directory, char *error, size_t error_size);
void log_walk_close(struct log_walk *files);

/* False if the name of file `i` says that none of its records can be within the span; until_ns 0:
 * no end. */
bool log_walk_may_have(
	const struct log_walk *files, size_t i, uint64_t since_ns, uint64_t until_ns);

/* Opens file `i`.  NULL if it is gone (retention), empty, set aside or bad, which is noted. */
struct log_reader *log_walk_read(struct log_walk *files, size_t i, const struct log_filter *filter);

/* Notes a file that cannot be read: the first one's reason is kept. */
void log_walk_note(struct log_walk *files, const char *reason);

/* 0, or -EIO with what is said of bad files in error[]. */
int log_walk_result(struct log_walk *files);

#endif
