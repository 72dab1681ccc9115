/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of the traffic log: how many events the switch has seen, and of how many each sink
 * has delivered what is to be said of them, or said that it is lost.  It lies in a file of the run
 * directory, so that it outlives a process that is killed: the next one reads how many records died
 * with it, and every sink says so in its log.
 *
 * Not counted are events of a machine that went down: the run directory goes with it.
 */
#ifndef LOG_ACCOUNT_H
#define LOG_ACCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_account;

enum { LOG_ACCOUNT_PRODUCERS = 65, LOG_ACCOUNT_SINKS = 32, LOG_ACCOUNT_NAME_MAX = 64 };

/* Opens the account in `directory`, or begins one.  If there can be none, *error is a negative
 * errno, and the account is one that ends with the process.  NULL without memory.  Main thread. */
struct log_account *log_account_open(const char *directory, int *error);

/* Where producer `number`, from 0 to LOG_ACCOUNT_PRODUCERS - 1, counts its events, those included
 * that it loses.  It alone writes there. */
_Atomic uint64_t *log_account_producer(struct log_account *account, unsigned int number);

/* So many more events were made into records, or into a gap record, and handed to the sinks.  The
 * log thread. */
void log_account_add(struct log_account *account, uint64_t n);

/* Where sink `name` counts the events that it has settled: it alone writes there.  *missing is the
 * number of events that it had not settled when the last process ended; 0 for one that is new,
 * which owes nothing of what was handed out before.  They are the sink's to settle.  Exact, but for
 * the delivery during which the process may have died.  Of two that have the same name, because the
 * first is still about to end, the second is the one that the next process finds.  NULL if there
 * are too many sinks.  One thread at a time. */
_Atomic uint64_t *log_account_sink(
	struct log_account *account, const char *name, uint64_t *missing);

/* Forgets the sink that has counted there, and does so no more.  One thread at a time. */
void log_account_forget(struct log_account *account, const _Atomic uint64_t *settled);

/* Forgets sinks of former processes that this one does not have, but for those of these names: one
 * that comes back one day owes nothing of what happened while nobody wanted it.  One thread at a
 * time. */
void log_account_forget_others(struct log_account *account, const char *const *names, size_t n);

/* The highest sequence number given to a record.  The log thread writes it. */
_Atomic uint64_t *log_account_sequence(struct log_account *account);

/* The sequence number of the gap record that says what died with the last process.  The same for
 * all sinks: a number that no record has got, or the last record's, which died too. */
uint64_t log_account_gap_sequence(const struct log_account *account);

/* Accepts NULL. */
void log_account_close(struct log_account *account);

#endif
