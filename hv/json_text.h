/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON strings of bytes that may be anything: what a guest wrote to its serial port.
 */
#ifndef HV_JSON_TEXT_H
#define HV_JSON_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* The most that one byte becomes, quotation marks not counted. */
enum { JSON_TEXT_GROWTH = 6 };

/*
 * Writes `n` bytes as a JSON string, with its quotation marks and without a NUL, into `to`, which
 * has room for n * JSON_TEXT_GROWTH + 2 bytes: how many it has become.  UTF-8 stays as it is; a
 * byte that belongs to none becomes U+FFFD, and so does NUL, which many readers of JSON refuse.
 * Takes no memory and no lock: also for a signal's handler.
 */
size_t json_text_quote(char *to, const void *bytes, size_t n);

#endif
