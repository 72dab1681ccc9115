/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saying what is wrong with a policy document, in words that a person can act upon.
 */
#ifndef ZONES_POLICY_ERROR_H
#define ZONES_POLICY_ERROR_H

#include "zones/zone.h"

/* A place in the document, both from 1. */
struct policy_mark {
	unsigned int line, column;
};

/* Adds an error.  Past the room of `errors` it is only counted. */
void policy_error_add(struct policy_errors *errors, struct policy_mark at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* True if another error would still be kept: what costs time to say may be left out if not. */
bool policy_errors_have_room(const struct policy_errors *errors);

/* Puts the errors that were kept in the order of the document. */
void policy_errors_sort(struct policy_errors *errors);

/* Writes `text` between quotation marks into `buffer`, clipped, without control characters. */
#define POLICY_QUOTE_MAX 72
const char *policy_quote(const char *text, char buffer[POLICY_QUOTE_MAX]);

/* The search for what a misspelt word was meant to be: begin, offer every name there is, print. */
struct policy_guess {
	const char *word, *best;
	size_t distance;
};

void policy_guess_begin(struct policy_guess *guess, const char *word);
void policy_guess_offer(struct policy_guess *guess, const char *candidate);

/* "; did you mean 'web'?", or "" if nothing was near. */
const char *policy_guess_text(const struct policy_guess *guess, char buffer[96]);

#endif
