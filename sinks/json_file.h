/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file of JSON lines that one process appends to: locked, cut back to whole lines, renamed when
 *it is large enough, and opened anew when somebody else has renamed or deleted it.
 *
 *	FILE		the one under way
 *	FILE.1		the one before, and so on: FILE.N is the oldest that is kept
 *
 * Life: json_file_open(); json_file_append() again and again, each time followed sooner or later by
 * json_file_deliver() or json_file_take_back(); json_file_close().  One thread.
 */
#ifndef SINKS_JSON_FILE_H
#define SINKS_JSON_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct json_file {
	const char *path; /* The caller's. */
	int fd;		  /* -1: closed. */
	dev_t device;
	ino_t inode;
	uint64_t begun_ns;  /* When its first line was written, or a little before. */
	uint64_t size;	    /* Bytes in it... */
	uint64_t delivered; /* ...and how many of them stay there whatever comes. */
};

/* Opens the file, or makes it with mode 0640, and cuts off a line that has no end.  Returns 0 or a
 * negative errno, -EBUSY if another process writes it, with a sentence in error[]. */
int json_file_open(struct json_file *file, const char *path, char *error, size_t error_size);

/* The number that the last line of the file has as this member, or else that of FILE.1; 0: none. */
uint64_t json_file_last_number(const struct json_file *file, const char *member);

/* Appends whole lines.  On failure a part of them may be in the file. */
int json_file_append(
	struct json_file *file, const char *lines, size_t length, char *error, size_t error_size);

/* All that was appended stays.  Or: what was appended since it was last called is cut off. */
void json_file_deliver(struct json_file *file);
void json_file_take_back(struct json_file *file);

/* Sees whether the file is still at its path, and how long it is now, since others may rename,
 * delete or truncate it; if it is not there, opens the path anew.  Only when all is delivered. */
int json_file_look(struct json_file *file, char *error, size_t error_size);

/* Renames FILE to FILE.1, FILE.1 to FILE.2 and so on, of which `keep` stay, and begins a new one.
 * Only when all is delivered. */
int json_file_rotate(struct json_file *file, unsigned int keep, char *error, size_t error_size);

/* Leaves what was not delivered where it is.  May be called twice. */
void json_file_close(struct json_file *file);

#endif
