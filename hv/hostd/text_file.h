/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files that other processes have written: how a VMM ended, and last words.  Main thread.
 */
#ifndef HV_HOSTD_TEXT_FILE_H
#define HV_HOSTD_TEXT_FILE_H

#include <stdbool.h>

#include "hv/hostd/decide.h"
#include "hv/hostd/detached.h"

/* A copy of a text that anybody may have written, as a line that may be shown and stored: UTF-8,
 * without control characters, in bounds.  The caller frees. */
char *text_readable(const char *text);

/* The last line of a file that says something, without control characters and in bounds; "" if
 * there is none.  The caller frees. */
char *text_file_last_line(const char *path);

/* How a VMM that ran in `directory` ended, from what it has written there, and from what is known
 * of its process.  *reason, a sentence, is the caller's to free. */
enum vm_outcome outcome_read(const char *directory, const struct detached_end *end, char **reason);

#endif
