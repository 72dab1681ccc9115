/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The number of the last record, in a file of the state directory: so that after a restart of the
 * machine, with which the account (log/account.h) is gone, no number is given twice, whichever
 * places have the records and can tell.
 *
 * A number is written ahead of those that are given, so that it need not be written often, and the
 * exact one when the process ends in order.  What lies between is a hole after a crash of the
 * machine, of which nobody knows how many records it took along.
 */
#ifndef LOG_SEQUENCE_H
#define LOG_SEQUENCE_H

#include <stdint.h>

/* The number from which to go on; 0 if there is none. */
uint64_t log_sequence_read(const char *directory);

/* Puts the number in the place of the one that is there, and waits for the disk.  Returns 0 or a
 * negative errno. */
int log_sequence_write(const char *directory, uint64_t number);

#endif
