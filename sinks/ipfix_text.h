/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The texts of one record, made fit for one IPFIX message.
 */
#ifndef SINKS_IPFIX_TEXT_H
#define SINKS_IPFIX_TEXT_H

#include <fixbuf/public.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds and checks n texts, which together may take `room` bytes on the wire, their own lengths
 * included.  Those that must change are copied to scratch[], of `room` bytes.  Returns the bytes
 * that they take. */
size_t ipfix_texts_fit(fbVarfield_t *const texts[], size_t n, size_t room, uint8_t *scratch);

#endif
