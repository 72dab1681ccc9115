/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a log as an answer of its own: how far back it reaches, which spans no file covers,
 * and when the clock of the host was set back.
 */
#ifndef LOG_FILES_H
#define LOG_FILES_H

#include <stddef.h>
#include <stdint.h>

/* The state of a file. */
enum log_file_state {
	LOG_FILE_GOOD,
	LOG_FILE_EMPTY, /* It has no record yet. */
	LOG_FILE_UNREADABLE,
	LOG_FILE_SET_ASIDE, /* Found damaged by the writer, who renamed it. */
};

struct log_file {
	const char *name; /* Without the directory. */
	enum log_file_state state;
	uint64_t bucket_ns; /* Where its span of time begins, by its name. */
	/* Of the records with the lowest and the highest number; 0 without records. */
	uint64_t first_sequence, last_sequence, first_ns, last_ns;
	/* Later than last_ns if the clock was set back so far that another file was begun. */
	uint64_t newest_ns;
};

/* The files of a directory. */
struct log_files {
	struct log_file *at;
	size_t n;
};

/* Looks into the files, in the order of their records' numbers; those without records come first,
 * by name.  Returns 0, -ENOENT (there is no log) or another negative errno with the reason in
 * error[].  A file that cannot be read is listed as such.  Costs some disk reads a file.  Any
 * thread.  log_files_free() must follow in any case. */
int log_files_read(const char *directory, struct log_files *files, char *error, size_t error_size);
void log_files_free(struct log_files *files);

/* The time of the oldest and the newest record; both 0: there are none. */
void log_files_reach(const struct log_files *files, uint64_t *first_ns, uint64_t *last_ns);

#endif
