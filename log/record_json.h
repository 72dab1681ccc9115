/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record of the traffic log as the text of a JSON object (RFC 8259): the one place that knows the
 * members' names, which docs/log.md lists.  Read by collectors of JSON lines, and by whoever asks
 * `cordon log` for --json.
 *
 * The text has no line ends and is valid UTF-8 whatever the record's strings hold: a byte that is
 * not UTF-8 becomes the four characters \xNN, written "\\xNN" in JSON.
 */
#ifndef LOG_RECORD_JSON_H
#define LOG_RECORD_JSON_H

#include <stddef.h>

#include "log/record.h"

/* The most bytes that the record's text can take. */
size_t log_record_json_size(const struct log_record *record);

/* Writes the text to `text`, which has log_record_json_size() bytes, and returns its length.  No
 * NUL is written.  Any thread. */
size_t log_record_json(const struct log_record *record, char *text);

#endif
