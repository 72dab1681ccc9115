/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of what is wrong with a document, and the search for what was meant.  Called by the
 * reader of policy documents, on its thread.
 */
#include "zones/policy_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ERRORS_KEPT = sizeof((struct policy_errors *)0)->at / sizeof(struct policy_error) };

/* Longer words are not compared: no name is that long. */
enum { GUESS_MAX = 64 };

bool policy_errors_have_room(const struct policy_errors *errors)
{
	return errors->n < ERRORS_KEPT;
}

void policy_error_add(struct policy_errors *errors, struct policy_mark at, const char *format, ...)
{
	struct policy_error *error;
	va_list arguments;

	errors->n_total++;
	if (!policy_errors_have_room(errors))
		return;
	error = &errors->at[errors->n++];
	error->line = at.line;
	error->column = at.column;
	va_start(arguments, format);
	vsnprintf(error->message, sizeof error->message, format, arguments);
	va_end(arguments);
}

static int compare_places(const void *a_, const void *b_)
{
	const struct policy_error *a = a_, *b = b_;

	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	return strcmp(a->message, b->message);
}

void policy_errors_sort(struct policy_errors *errors)
{
	qsort(errors->at, errors->n, sizeof errors->at[0], compare_places);
}

const char *policy_quote(const char *text, char buffer[POLICY_QUOTE_MAX])
{
	const size_t max = POLICY_QUOTE_MAX - 6; /* Two quotation marks, an ellipsis, the NUL. */
	size_t n = strlen(text);
	bool clipped = n > max;

	if (clipped) {
		/* Cut before a character of several bytes, not within it. */
		for (n = max; n && ((unsigned char)text[n] & 0xc0) == 0x80;)
			n--;
	}
	snprintf(buffer, POLICY_QUOTE_MAX, "'%.*s%s'", (int)n, text, clipped ? "..." : "");
	for (char *c = buffer; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	return buffer;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The number of typing mistakes between two words: a letter too many, missing, wrong, or two
 * changed over (optimal string alignment, Boytsov 2011). */
static size_t mistakes(const char *a, size_t n_a, const char *b, size_t n_b)
{
	size_t rows[3][GUESS_MAX + 1];

	for (size_t j = 0; j <= n_b; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n_a; i++) {
		size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= n_b; j++) {
			size_t cost = above[j - 1] + (a[i - 1] != b[j - 1]);

			cost = least(cost, least(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				cost = least(cost, second[j - 2] + 1);
			row[j] = cost;
		}
	}
	return rows[n_a % 3][n_b];
}

void policy_guess_begin(struct policy_guess *guess, const char *word)
{
	size_t length = strlen(word);

	/* A guess that changes more than a third of the word is no help. */
	*guess = (struct policy_guess){.word = word, .distance = length / 3 + 1};
	if (length < 2 || length > GUESS_MAX)
		guess->distance = 0;
	if (guess->distance > 4)
		guess->distance = 4;
}

void policy_guess_offer(struct policy_guess *guess, const char *candidate)
{
	size_t n_word = strlen(guess->word), n_candidate = strlen(candidate), distance;
	size_t apart = n_word > n_candidate ? n_word - n_candidate : n_candidate - n_word;

	if (apart >= guess->distance || n_candidate > GUESS_MAX)
		return;
	distance = mistakes(guess->word, n_word, candidate, n_candidate);
	if (distance < guess->distance) {
		guess->distance = distance;
		guess->best = candidate;
	}
}

const char *policy_guess_text(const struct policy_guess *guess, char buffer[96])
{
	char quoted[POLICY_QUOTE_MAX];

	buffer[0] = '\0';
	if (guess->best)
		snprintf(buffer, 96, "; did you mean %s?", policy_quote(guess->best, quoted));
	return buffer;
}
