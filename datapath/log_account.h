/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of the traffic log: how many events were handed to the log thread, and of how many it
 * is known for good what became of them.  It lies in a file of the run directory, so that it
 * outlives a process that is killed: the next one reads how many records died with it, and says so
 * in the log.
 *
 * Not counted are events of a machine that went down: the run directory goes with it.
 */
#ifndef DATAPATH_LOG_ACCOUNT_H
#define DATAPATH_LOG_ACCOUNT_H

#include <stdatomic.h>
#include <stdint.h>

struct log_account;

/* Opens the account in `directory`, or begins one.  *missing is the number of events that the last
 * process has taken in and not settled: exact, but for those of the one transaction during which it
 * may have died, which it may have stored.  They are this process's to settle.  NULL with a
 * negative errno in *error if there can be none.  Main thread. */
struct log_account *log_account_open(const char *directory, uint64_t *missing, int *error);

/* Where producer `number`, from 0 to LOG_ACCOUNT_PRODUCERS - 1, counts its events.  It alone writes
 * there. */
enum { LOG_ACCOUNT_PRODUCERS = 65 };
_Atomic uint64_t *log_account_producer(struct log_account *account, unsigned int number);

/* So many more events are stored, or counted in a stored gap record.  The log thread. */
void log_account_settle(struct log_account *account, uint64_t n);

/* Accepts NULL. */
void log_account_close(struct log_account *account);

#endif
