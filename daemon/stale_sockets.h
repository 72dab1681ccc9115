/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control sockets that a daemon left behind when it was killed.
 */
#ifndef DAEMON_STALE_SOCKETS_H
#define DAEMON_STALE_SOCKETS_H

/*
 * Removes the sockets named "PROGRAM.PID.ctl" in `directory` at which nobody listens any more:
 * those of predecessors that could not tidy up.  What has another name, is no socket, or is
 * listened at, stays.  How many there were, or a negative errno if the directory cannot be read.
 *
 * Main thread, at the start; the daemon holds the directory's lock, so that no other one of its
 * kind is about to listen there.
 */
int stale_sockets_remove(const char *directory, const char *program);

#endif
