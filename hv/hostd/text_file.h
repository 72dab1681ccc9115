/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small files that other processes have written: how a VMM ended, and last words.  Main thread.
 */
#ifndef HV_HOSTD_TEXT_FILE_H
#define HV_HOSTD_TEXT_FILE_H

#include <stdbool.h>

#include "hv/hostd/decide.h"
#include "hv/hostd/detached.h"

/* The last line of a file that says something, without control characters and in bounds; "" if
 * there is none.  The caller frees. */
char *text_file_last_line(const char *path);

/* How a VMM that ran in `directory` ended, from what it has written there, and from what is known
 * of its process.  *reason, a sentence, is the caller's to free. */
enum vm_outcome outcome_read(const char *directory, const struct detached_end *end, char **reason);

#endif
