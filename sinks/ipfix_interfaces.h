/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers for the names of ports, as IPFIX's interface elements want them: each name that comes has
 * a number of its own for as long as the transport session, and is told to the collector with it
 * before it is used.  Memory is bounded: after very many names all are forgotten, and get new
 * numbers when they come again.
 *
 * One thread's.
 */
#ifndef SINKS_IPFIX_INTERFACES_H
#define SINKS_IPFIX_INTERFACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IPFIX_INTERFACES_MAX = 4096 };

struct ipfix_interfaces;

struct ipfix_interfaces *ipfix_interfaces_create(void);		 /* NULL without memory. */
void ipfix_interfaces_free(struct ipfix_interfaces *interfaces); /* Accepts NULL. */

/* The name's number: 0 for "", or if it has none. */
uint32_t ipfix_interfaces_find(const struct ipfix_interfaces *interfaces, const char *name);

/* Gives a name a number, which it must not have yet.  0 without memory. */
uint32_t ipfix_interfaces_add(struct ipfix_interfaces *interfaces, const char *name);

/* The names that have a number, in no particular order: *at begins with 0.  False after the last.
 * The name is valid until the next ipfix_interfaces_add(). */
bool ipfix_interfaces_next(
	const struct ipfix_interfaces *interfaces, size_t *at, const char **name, uint32_t *number);

#endif
