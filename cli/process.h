/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes that `cordon up` starts and `cordon down` ends: finding programs and files, running
 * them, and telling whether a process id is still theirs.
 */
#ifndef CLI_PROCESS_H
#define CLI_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "cli/cordon.h"

#define CLI_SWITCH   "cordon-switchd"
#define CLI_HOSTD    "cordon-hostd"
#define CLI_DATABASE "ovsdb-server"

/* The process that RUNDIR/PROGRAM.pid names, if it is alive and really runs that program; else 0.
 */
pid_t cli_process_find(const char *run_directory, const char *program);

/* True if a word of the process's command line is this one. */
bool cli_process_has_word(pid_t pid, const char *word);

/* What `cordon status` says of guests (status_guests.c): an array of objects with name, state,
 * error, running and pid, as far as cordon-hostd (its answer, or NULL), the database (NULL: none)
 * and the run directory know.  The caller destroys it. */
struct json *cli_status_guests(struct cli *cli, struct model *model, const struct json *hostd);
/* The same as a line for people, which the caller frees; NULL: there is nothing to say. */
char *cli_status_guests_line(const struct cli *cli, const struct json *guests,
	const struct json *hostd, bool switch_runs);

/* Waits until it is gone.  False: it is not, `timeout_ms` later. */
bool cli_process_wait_end(pid_t pid, const char *program, unsigned int timeout_ms);

/* The path of a program: beside this one, in ../sbin, or in PATH and the system's sbin directories.
 * NULL: nowhere.  The caller frees. */
char *cli_find_program(const char *name);

/* The path of the database's schema: beside this program or where it is installed.  NULL: nowhere.
 * The caller frees. */
char *cli_find_schema(void);

/* Runs a program to its end, with arguments ended by NULL; one that detaches itself ends when it is
 * ready.  Its output, both kinds, goes to *output, which the caller frees.  Returns its exit
 * status, or -1 with a reason in *output. */
int cli_run_program(char *const arguments[], char **output);

/* Makes a directory, and those above it, with this mode.  0 or a negative errno. */
int cli_make_directory(const char *path, mode_t mode);

#endif
