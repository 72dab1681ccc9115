/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the guest ended, for whoever started it: a file with one JSON object (docs/hv.md), and a
 * sentence on stderr.
 *
 * The file is opened before the sandbox is entered, with its room reserved, and written once,
 * whole, at the end.  If the process dies of its own fault (a signal, a forbidden system call), it
 * is written by the signal's handler, which has a stack of its own.  A file that begins with '{' is
 * whole; any other holds no outcome.
 */
#ifndef HV_OUTCOME_H
#define HV_OUTCOME_H

#include "hv/error.h"
#include "hv/machine.h"
#include "hv/terminal.h"

struct outcome;

/*
 * Opens `path` (made with mode 0600, emptied, and its room reserved where the file system can), or
 * none if it is NULL, and takes the signals
 * that tell of faults of this process: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT and SIGSYS.
 * `serial` (or NULL) is whose output's end is told; it must outlive the outcome.  One at a time in
 * a process.  0, or a negative errno and a sentence.
 */
int outcome_open(struct outcome **outcome, const char *path, const struct terminal *serial,
	struct hv_error *error);

/*
 * Writes the file, and the sentence and the report on stderr.  `report`: registers and so on, for
 * faults, or NULL.  0; or a negative errno, a second sentence on stderr, and the file is empty.
 */
int outcome_write(
	struct outcome *outcome, enum machine_outcome how, const char *reason, const char *report);

/* Closes; accepts NULL. */
void outcome_close(struct outcome *outcome);

#endif
