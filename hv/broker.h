/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process's UNIX sockets, and who looks after them once the process may not any more.
 *
 * Inside the sandbox there are no paths: a socket can be neither connected to nor removed.  So a
 * small process, forked before anything else was opened, keeps these two rights and no other: it
 * connects again to the back ends that the command line names, and it removes the sockets that were
 * made here as soon as the virtual machine monitor is gone, however it went.  It takes the number
 * of a path, never a path, and it has a list of allowed system calls of its own.
 *
 * Main thread only, machine's lock not needed.
 */
#ifndef HV_BROKER_H
#define HV_BROKER_H

#include "hv/error.h"
#include "hv/seccomp.h"

struct broker;

/*
 * Forks the broker, which knows the `n` paths from now on (borrowed; at most BROKER_PATHS) and
 * enters its list of system calls (NULL: none).  Call this while the process has one thread, little
 * memory and no descriptors but stdin, stdout and stderr: if stdin is a terminal, its settings are
 * restored at the end.  0, or a negative errno and a sentence.
 */
enum { BROKER_PATHS = 64 };
int broker_start(struct broker **broker, const char *const *paths, unsigned int n,
	const struct seccomp *seccomp, struct hv_error *error);

/*
 * Listens at `path`, one of the broker's, with mode 0600; non-blocking, close-on-exec.  A socket
 * that a dead process left behind is replaced; one that somebody listens at is -EADDRINUSE.  Before
 * the sandbox is entered.  The descriptor, the caller's; or a negative errno and a sentence.
 */
int broker_listen(struct broker *broker, const char *path, struct hv_error *error);

/*
 * Connects to `path`, one of the broker's; also from within the sandbox.  Waits for the broker for
 * a second at most, and never for who listens there: -EAGAIN if he does not keep up, -ECONNREFUSED
 * or -ENOENT if there is nobody.  The descriptor (non-blocking, close-on-exec), the caller's.
 */
int broker_connect(struct broker *broker, const char *path, struct hv_error *error);

/* Has the sockets of broker_listen() removed, waits until they are, and ends the broker.  NULL is
 * accepted. */
void broker_destroy(struct broker *broker);

#endif
