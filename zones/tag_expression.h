/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tag expressions: which endpoints belong to a zone, such as
 *
 *	tier=web and env!=test
 *	tier in (web, proxy) and not legacy
 *
 *	expression := term { "or" term }
 *	term       := factor { "and" factor }
 *	factor     := "not" factor | "(" expression ")" | test
 *	test       := word | word "=" word | word "!=" word
 *	            | word ["not"] "in" "(" word { "," word } ")"
 *	word       := letters, digits and _ . / : @ + -, or anything in '...' or "..."
 *
 * A word alone holds if the endpoint has a tag of that key, whatever its value.
 * An endpoint may carry several values of one key.  `key=value` holds if any of them is the value;
 * `key!=value` is `not key=value`, so it holds for an endpoint that has no such key.
 */
#ifndef ZONES_TAG_EXPRESSION_H
#define ZONES_TAG_EXPRESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "zones/arena.h"

enum { TAG_EXPRESSION_MAX = 4096, TAG_NESTING_MAX = 16 };

struct tag_expression;

/* What is wrong with an expression, and at which byte of it. */
struct tag_problem {
	size_t offset;
	char message[160];
};

/* Reads an expression; the result lives in `arena`.  Returns NULL with *problem set if the text is
 * none. */
struct tag_expression *tag_expression_parse(
	struct arena *arena, const char *text, struct tag_problem *problem);

/* True if an endpoint with these tags, each "key=value" or "key", is meant.  Any thread. */
bool tag_expression_matches(
	const struct tag_expression *expression, const char *const *tags, size_t n_tags);

#endif
