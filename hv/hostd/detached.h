/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that outlives this one: started in a session of its own, or found running; held by a
 * pidfd, so that no other process of the same number is ever meant.
 *
 * Main thread.
 */
#ifndef HV_HOSTD_DETACHED_H
#define HV_HOSTD_DETACHED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* All zeros: none. */
struct detached {
	pid_t pid;
	int pidfd;
	bool child; /* Ours to collect. */
};

/* What a process is started with. */
struct detached_start {
	char *const *arguments; /* The first is the program's path; ended by NULL.  No shell. */
	const char *log;	/* Its output, both kinds, is appended there. */
	const char *pid_file;	/* Where it leaves its number before it is the program; or NULL. */
	const int *groups;	/* Into which it writes "0" first (cgroup.h). */
	unsigned int n_groups;
};

/* 0 or a negative errno.  That the program cannot be run shows as exit status 127, and in `log`. */
int detached_start(struct detached *process, const struct detached_start *start);

/* Takes one over that runs.  0 or a negative errno (-ESRCH: it is gone). */
int detached_adopt(struct detached *process, pid_t pid);

/* Takes over the one whose number is in a file, if `word` is on its command line: numbers are used
 * again.  0 or a negative errno. */
int detached_find(struct detached *process, const char *pid_file, const char *word);

/* How a process ended. */
struct detached_end {
	bool known;	 /* Only our own children tell. */
	int exit_status; /* -1: by a signal. */
	int signal;
};

/* True once it has ended; *process is then none. */
bool detached_ended(struct detached *process, struct detached_end *end);

/* True if one of the words of its command line holds `text`. */
bool detached_has_word(pid_t pid, const char *text);

void detached_signal(const struct detached *process, int number);
void detached_wait(const struct detached *process); /* Has poll_block() wake up at its end. */
void detached_close(struct detached *process);	    /* Lets it run on. */

#endif
