/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Conditions on records in memory, as a sink's `filter` option has them: the same as those of
 * `cordon log list`, in words.
 *
 *      kind=denied,spoofed verdict=denied zone=db vm=web-1 port=vm1-eth0 address=10.0.0.0/8
 *      protocol=tcp transport-port=443 rule=db-access/no-internet
 *
 * All words must hold; of the values of one word, separated by commas, one must.  A word with "!="
 * holds where none of its values does.  Gap records always match: what is lost might have.
 */
#ifndef LOG_MATCH_H
#define LOG_MATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "log/record.h"

struct log_match;

/* Reads the words.  "" matches everything.  NULL with a sentence that names the word in error[]. */
struct log_match *log_match_parse(const char *words, char *error, size_t error_size);

bool log_match_holds(const struct log_match *match, const struct log_record *record);
void log_match_free(struct log_match *match); /* Accepts NULL. */

#endif
