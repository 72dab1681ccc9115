/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of policy documents, lower half: events as nodes, mappings and lists.  Called by
 * policy_read.c and what is beside it, on the thread that reads the document.
 */
#include "zones/policy_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Nodes ---------------------------------------------------------------------------------- */

void policy_skip(struct policy_reader *reader)
{
	unsigned int level = 0;

	do {
		switch (reader->event.type) {
		case YAML_SEQUENCE_START_EVENT:
		case YAML_MAPPING_START_EVENT: level++; break;
		case YAML_SEQUENCE_END_EVENT:
		case YAML_MAPPING_END_EVENT: level--; break;
		default: break;
		}
		policy_next(reader);
	} while (level && !reader->stopped);
}

static const char *scalar_text(const struct policy_reader *reader)
{
	return reader->event.text;
}

bool policy_is_null(const struct policy_reader *reader)
{
	const struct policy_event *event = &reader->event;

	if (event->type != YAML_SCALAR_EVENT || !event->plain)
		return false;
	return !event->length || !strcmp(event->text, "~") || !strcmp(event->text, "null");
}

void policy_fail_expected(struct policy_reader *reader, const char *expected)
{
	char quoted[POLICY_QUOTE_MAX];

	switch (reader->event.type) {
	case YAML_SCALAR_EVENT:
		policy_fail(reader, "expected %s, found %s", expected,
			policy_is_null(reader) ? "nothing"
					       : policy_quote(scalar_text(reader), quoted));
		break;
	case YAML_SEQUENCE_START_EVENT:
		policy_fail(reader, "expected %s, found a list", expected);
		break;
	case YAML_MAPPING_START_EVENT:
		policy_fail(reader, "expected %s, found keys and values", expected);
		break;
	default: break;
	}
	policy_skip(reader);
}

/* True if the node is a text; if not, says so and passes it over. */
static bool policy_is_text(struct policy_reader *reader, const char *expected)
{
	if (reader->event.type != YAML_SCALAR_EVENT || policy_is_null(reader)) {
		policy_fail_expected(reader, expected);
		return false;
	}
	if (strlen(scalar_text(reader)) != reader->event.length) {
		policy_fail(reader, "expected %s, found a text with a NUL character", expected);
		policy_skip(reader);
		return false;
	}
	return true;
}

const char *policy_read_text(
	struct policy_reader *reader, const char *expected, struct policy_mark *at)
{
	const char *text;

	*at = policy_here(reader);
	if (!policy_is_text(reader, expected))
		return NULL;
	text = arena_copy_text(&reader->document->arena, scalar_text(reader), reader->event.length);
	policy_next(reader);
	return text;
}

static bool is_name(const char *text)
{
	size_t length = 0;

	for (; text[length]; length++) {
		char c = text[length];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			    c == '-' || c == '_' || c == '.'))
			return false;
	}
	return length && length <= POLICY_NAME_MAX;
}

/* Checks a name that was read as text. */
static bool name_check(struct policy_reader *reader, const char *what, struct document_name *name)
{
	char quoted[POLICY_QUOTE_MAX];

	if (is_name(name->text))
		return true;
	policy_error_add(reader->errors, name->at,
		"%s cannot be the name of %s: use at most %d letters, digits, '_', '.' and '-'",
		policy_quote(name->text, quoted), what, POLICY_NAME_MAX);
	return false;
}

bool policy_read_name(struct policy_reader *reader, const char *what, struct document_name *name)
{
	char expected[64];

	name->index = 0;
	name->text = NULL;
	name->at = policy_here(reader);
	if (reader->event.type != YAML_SCALAR_EVENT || policy_is_null(reader)) {
		snprintf(expected, sizeof expected, "the name of %s", what);
		policy_fail_expected(reader, expected);
		return false;
	}
	name->text = policy_read_text(reader, "a name", &name->at);
	if (name->text && name_check(reader, what, name))
		return true;
	name->text = NULL;
	return false;
}

/* "allow, deny or reject". */
static void list_choices(const struct policy_choice *choices, size_t n_choices, char text[128])
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n_choices && used < 128; i++) {
		const char *separator = i + 1 < n_choices ? ", " : " or ";

		used += (size_t)snprintf(
			text + used, 128 - used, "%s%s", i ? separator : "", choices[i].word);
	}
}

static void fail_choice(struct policy_reader *reader, const char *what,
	const struct policy_choice *choices, size_t n_choices)
{
	char expected[128], quoted[POLICY_QUOTE_MAX], hint[96];
	struct policy_guess guess;

	list_choices(choices, n_choices, expected);
	if (!policy_is_text(reader, expected))
		return;
	policy_guess_begin(&guess, scalar_text(reader));
	for (size_t i = 0; i < n_choices; i++)
		policy_guess_offer(&guess, choices[i].word);
	policy_fail(reader, "%s is no %s: expected %s%s", policy_quote(scalar_text(reader), quoted),
		what, expected, policy_guess_text(&guess, hint));
	policy_skip(reader);
}

bool policy_read_choice(struct policy_reader *reader, const char *what,
	const struct policy_choice *choices, size_t n_choices, uint8_t *value)
{
	const struct policy_event *event = &reader->event;

	for (size_t i = 0; event->type == YAML_SCALAR_EVENT && i < n_choices; i++) {
		if (event->text[0] != choices[i].word[0] ||
			strlen(choices[i].word) != event->length ||
			memcmp(event->text, choices[i].word, event->length) != 0)
			continue;
		*value = choices[i].value;
		policy_next(reader);
		return true;
	}
	fail_choice(reader, what, choices, n_choices);
	return false;
}

/* --- Mappings and lists --------------------------------------------------------------------- */

/* Enters a mapping or list; if the node is none, says so and passes it over.  `format` takes
 * `what`. */
__attribute__((format(printf, 3, 0))) static bool policy_enter(
	struct policy_reader *reader, yaml_event_type_t type, const char *format, const char *what)
{
	char expected[96];

	if (reader->event.type != type) {
		snprintf(expected, sizeof expected, format, what);
		policy_fail_expected(reader, expected);
		return false;
	}
	policy_next(reader);
	return true;
}

static void policy_fail_key(struct policy_reader *reader, const char *what,
	const struct policy_key *keys, size_t n_keys)
{
	char quoted[POLICY_QUOTE_MAX], hint[96], known[96] = "";
	struct policy_guess guess;

	policy_guess_begin(&guess, scalar_text(reader));
	for (size_t i = 0; i < n_keys; i++) {
		size_t used = strlen(known);

		policy_guess_offer(&guess, keys[i].name);
		snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", keys[i].name);
	}
	policy_fail(reader, "unknown key %s in %s%s (known: %s)",
		policy_quote(scalar_text(reader), quoted), what, policy_guess_text(&guess, hint),
		known);
}

/* The index of the key at which the reader stands; n_keys, having complained, if it is none.  The
 * search begins at `likely`, since keys most often come in the order of the manual. */
static size_t policy_find_key(struct policy_reader *reader, const char *what,
	const struct policy_key *keys, size_t n_keys, size_t likely)
{
	if (reader->event.type != YAML_SCALAR_EVENT) {
		policy_fail(reader, "expected a key of %s, found %s", what,
			reader->event.type == YAML_SEQUENCE_START_EVENT ? "a list"
									: "keys and values");
		return n_keys;
	}
	for (size_t i = 0; i < n_keys; i++, likely++) {
		if (likely >= n_keys)
			likely = 0;
		if (scalar_text(reader)[0] == keys[likely].name[0] &&
			!strcmp(scalar_text(reader), keys[likely].name))
			return likely;
	}
	policy_fail_key(reader, what, keys, n_keys);
	return n_keys;
}

static void policy_check_required(struct policy_reader *reader, struct policy_mark at,
	const char *what, const struct policy_key *keys, size_t n_keys, uint32_t seen)
{
	for (size_t i = 0; i < n_keys; i++) {
		if (keys[i].required && !(seen & UINT32_C(1) << i))
			policy_error_add(
				reader->errors, at, "%s needs the key '%s'", what, keys[i].name);
	}
}

void policy_read_mapping(struct policy_reader *reader, const char *what,
	const struct policy_key *keys, size_t n_keys, void *into)
{
	struct policy_mark at = policy_here(reader);
	uint32_t seen = 0;
	size_t i = n_keys;
	bool twice;

	if (!policy_enter(reader, YAML_MAPPING_START_EVENT, "%s, as keys and values", what))
		return;
	while (!reader->stopped && reader->event.type != YAML_MAPPING_END_EVENT) {
		i = policy_find_key(reader, what, keys, n_keys, i + 1);
		twice = i < n_keys && (seen & UINT32_C(1) << i);
		if (twice)
			policy_fail(reader, "the key '%s' is in %s twice", keys[i].name, what);
		policy_skip(reader);
		if (i == n_keys || twice) {
			policy_skip(reader);
			continue;
		}
		seen |= UINT32_C(1) << i;
		keys[i].read(reader, into);
	}
	if (!reader->stopped)
		policy_check_required(reader, at, what, keys, n_keys, seen);
	policy_next(reader);
}

void policy_read_named(struct policy_reader *reader, const char *what,
	void (*each)(struct policy_reader *reader, const struct document_name *name))
{
	if (!policy_enter(reader, YAML_MAPPING_START_EVENT, "for each %s its name and what it is",
		    what + 2))
		return;
	while (!reader->stopped && reader->event.type != YAML_MAPPING_END_EVENT) {
		struct document_name name;

		if (policy_read_name(reader, what, &name))
			each(reader, &name);
		else
			policy_skip(reader);
	}
	policy_next(reader);
}

void policy_read_sequence(struct policy_reader *reader, const char *what,
	void (*each)(struct policy_reader *reader, void *into), void *into)
{
	if (!policy_enter(reader, YAML_SEQUENCE_START_EVENT, "a list of %s", what))
		return;
	while (!reader->stopped && reader->event.type != YAML_SEQUENCE_END_EVENT)
		each(reader, into);
	policy_next(reader);
}

/* Counts a list's words into the whole document's; what holds too many is not worth reading on. */
static void count_words(struct policy_reader *reader, struct policy_mark at, size_t n)
{
	reader->document->n_words += n;
	if (reader->stopped || reader->document->n_words <= POLICY_WORDS_MAX)
		return;
	policy_error_add(reader->errors, at,
		"with this list the document's lists hold more than %d words", POLICY_WORDS_MAX);
	policy_stop(reader);
}

/* The words between the brackets, into an array that the caller frees. */
static struct document_name *read_list(
	struct policy_reader *reader, const char *what, size_t max, size_t *n)
{
	struct document_name *names = NULL, name = {0};
	size_t allocated = 0;

	policy_next(reader);
	while (!reader->stopped && reader->event.type != YAML_SEQUENCE_END_EVENT) {
		if (*n == max) {
			policy_fail(reader, "the list holds more than %zu words", max);
			while (!reader->stopped && reader->event.type != YAML_SEQUENCE_END_EVENT)
				policy_skip(reader);
			break;
		}
		name.text = policy_read_text(reader, what, &name.at);
		if (!name.text)
			continue;
		names = zone_grow(names, *n, &allocated, sizeof *names);
		names[(*n)++] = name;
	}
	policy_next(reader);
	return names;
}

struct document_names policy_read_words(struct policy_reader *reader, const char *what, size_t max)
{
	struct arena *arena = &reader->document->arena;
	struct policy_mark at = policy_here(reader);
	struct document_name one = {0}, *names = &one;
	struct document_names words = {0};
	size_t errors = reader->errors->n_total, n = 0;

	if (reader->event.type == YAML_SEQUENCE_START_EVENT) {
		names = read_list(reader, what, max, &n);
		count_words(reader, at, n);
		if (!n && reader->errors->n_total == errors)
			policy_error_add(
				reader->errors, at, "the list is empty: expected %s", what);
	} else {
		one.text = policy_read_text(reader, what, &one.at);
		n = one.text != NULL;
	}
	if (n) {
		words.n = (uint32_t)n;
		words.names = arena_allocate(arena, n * sizeof *names);
		memcpy(words.names, names, n * sizeof *names);
	}
	if (names != &one)
		free(names);
	return words;
}
