/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text in UTF-8 (RFC 3629) that comes from outside, character by character.
 */
#ifndef ZONES_UTF8_H
#define ZONES_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Decodes the first character of `length` bytes, at least one, and returns how many bytes it has;
 * 0, leaving *character alone, if these bytes are none. */
size_t utf8_decode(const char *text, size_t length, uint32_t *character);

#endif
