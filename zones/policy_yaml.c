/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of policy documents, lower half: YAML's events as nodes, mappings and lists.  Called
 * by policy_read.c and policy_read_rules.c, on the thread that reads the document.
 */
#include "zones/policy_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Events --------------------------------------------------------------------------------- */

static struct policy_mark mark_of(const yaml_mark_t *mark)
{
	return (struct policy_mark){(unsigned int)mark->line + 1, (unsigned int)mark->column + 1};
}

struct policy_mark policy_here(const struct policy_reader *reader)
{
	return mark_of(&reader->event.start_mark);
}

void policy_fail(struct policy_reader *reader, const char *format, ...)
{
	char message[sizeof reader->errors->at[0].message];
	va_list arguments;

	if (reader->stopped)
		return;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	policy_error_add(reader->errors, policy_here(reader), "%s", message);
}

static void policy_stop(struct policy_reader *reader)
{
	reader->stopped = true;
	yaml_event_delete(&reader->event);
	reader->event.type = YAML_NO_EVENT;
}

/* What stands in the text at a place, up to the end of the line. */
static const char *text_at(
	const struct policy_reader *reader, struct policy_mark at, char quoted[POLICY_QUOTE_MAX])
{
	const char *here = reader->text, *end = reader->text + reader->length;
	char word[32];
	size_t n = 0;

	for (unsigned int line = 1; line < at.line; line++) {
		here = memchr(here, '\n', (size_t)(end - here));
		if (!here)
			return "the end";
		here++;
	}
	for (unsigned int column = 1; column < at.column && here < end; here++)
		column += ((unsigned char)here[0] & 0xc0) != 0x80;
	while (here < end && *here != '\n' && n < sizeof word - 1)
		word[n++] = *here++;
	word[n] = '\0';
	return n ? policy_quote(word, quoted) : "the end of the line";
}

/* libyaml could not go on. */
static void policy_fail_yaml(struct policy_reader *reader)
{
	const yaml_parser_t *parser = &reader->parser;
	struct policy_mark at = mark_of(&parser->problem_mark);
	char quoted[POLICY_QUOTE_MAX];

	policy_error_add(reader->errors, at, "not valid YAML at %s: %s%s%s",
		text_at(reader, at, quoted), parser->problem ? parser->problem : "unreadable",
		parser->context ? " " : "", parser->context ? parser->context : "");
	policy_stop(reader);
}

/* Refuses what YAML has and a policy may not have. */
static void policy_refuse(struct policy_reader *reader)
{
	const yaml_event_t *event = &reader->event;
	const yaml_char_t *anchor = NULL, *tag = NULL;
	const char *what = "anchor";

	switch (event->type) {
	case YAML_ALIAS_EVENT:
		anchor = event->data.alias.anchor;
		what = "alias";
		break;
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		break;
	default: return;
	}
	if (tag)
		what = "YAML tag";
	if (anchor || tag) {
		char quoted[POLICY_QUOTE_MAX];

		policy_fail(reader, "the %s %s is not allowed in a policy: write the value out",
			what, policy_quote((const char *)(tag ? tag : anchor), quoted));
		policy_stop(reader);
	}
}

/* Keeps the count of open lists and mappings. */
static void policy_count_depth(struct policy_reader *reader)
{
	switch (reader->event.type) {
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		if (++reader->depth > POLICY_NESTING_MAX) {
			policy_fail(
				reader, "nested too deeply: at most %d levels", POLICY_NESTING_MAX);
			policy_stop(reader);
		}
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: reader->depth--; break;
	default: break;
	}
}

/* Moves to the next event. */
static void policy_next(struct policy_reader *reader)
{
	if (reader->stopped)
		return;
	yaml_event_delete(&reader->event);
	if (!yaml_parser_parse(&reader->parser, &reader->event)) {
		reader->event.type = YAML_NO_EVENT;
		policy_fail_yaml(reader);
		return;
	}
	policy_refuse(reader);
	policy_count_depth(reader);
}

bool policy_reader_open(struct policy_reader *reader)
{
	if (!yaml_parser_initialize(&reader->parser)) {
		policy_error_add(reader->errors, (struct policy_mark){0}, "out of memory");
		reader->stopped = true;
		return false;
	}
	yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(
		&reader->parser, (const unsigned char *)reader->text, reader->length);
	policy_next(reader); /* The stream's start. */
	policy_next(reader); /* The document's start, or the stream's end. */
	if (reader->event.type == YAML_DOCUMENT_START_EVENT)
		policy_next(reader);
	return !reader->stopped && reader->event.type != YAML_STREAM_END_EVENT;
}

void policy_reader_close(struct policy_reader *reader)
{
	if (reader->event.type == YAML_DOCUMENT_END_EVENT)
		policy_next(reader);
	if (reader->event.type == YAML_DOCUMENT_START_EVENT)
		policy_fail(reader, "a second YAML document begins here: a policy is one document");
	yaml_event_delete(&reader->event);
	yaml_parser_delete(&reader->parser);
}

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
	return (const char *)reader->event.data.scalar.value;
}

bool policy_is_null(const struct policy_reader *reader)
{
	return reader->event.type == YAML_SCALAR_EVENT &&
	       reader->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
	       (!*scalar_text(reader) || !strcmp(scalar_text(reader), "~") ||
		       !strcmp(scalar_text(reader), "null"));
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

const char *policy_read_text(
	struct policy_reader *reader, const char *expected, struct policy_mark *at)
{
	size_t length;
	char *text;

	*at = policy_here(reader);
	if (reader->event.type != YAML_SCALAR_EVENT || policy_is_null(reader)) {
		policy_fail_expected(reader, expected);
		return NULL;
	}
	length = reader->event.data.scalar.length;
	if (strlen(scalar_text(reader)) != length) {
		policy_fail(reader, "expected %s, found a text with a NUL character", expected);
		policy_skip(reader);
		return NULL;
	}
	text = arena_copy_text(&reader->document->arena, scalar_text(reader), length);
	policy_next(reader);
	return text;
}

static bool is_name(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_.-";
	size_t length = strlen(text);

	return length && length <= POLICY_NAME_MAX && strspn(text, allowed) == length;
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

	snprintf(expected, sizeof expected, "the name of %s", what);
	name->index = 0;
	name->text = policy_read_text(reader, expected, &name->at);
	if (!name->text)
		return false;
	if (name_check(reader, what, name))
		return true;
	name->text = NULL;
	return false;
}

bool policy_read_choice(struct policy_reader *reader, const char *what,
	const struct policy_choice *choices, size_t n_choices, uint8_t *value)
{
	char expected[128] = "", quoted[POLICY_QUOTE_MAX], hint[96];
	struct policy_guess guess;
	struct policy_mark at;
	const char *text;

	for (size_t i = 0; i < n_choices; i++) {
		const char *separator = i + 1 < n_choices ? ", " : " or ";
		size_t used = strlen(expected);

		snprintf(expected + used, sizeof expected - used, "%s%s", i ? separator : "",
			choices[i].word);
	}
	text = policy_read_text(reader, expected, &at);
	if (!text)
		return false;
	policy_guess_begin(&guess, text);
	for (size_t i = 0; i < n_choices; i++) {
		if (!strcmp(text, choices[i].word)) {
			*value = choices[i].value;
			return true;
		}
		policy_guess_offer(&guess, choices[i].word);
	}
	policy_error_add(reader->errors, at, "%s is no %s: expected %s%s",
		policy_quote(text, quoted), what, expected, policy_guess_text(&guess, hint));
	return false;
}

/* --- Mappings and lists --------------------------------------------------------------------- */

/* Enters a mapping or list; if the node is none, says so and passes it over. */
static bool policy_enter(struct policy_reader *reader, yaml_event_type_t type, const char *expected)
{
	if (reader->event.type != type) {
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

/* The index of the key at which the reader stands; n_keys, having complained, if it is none. */
static size_t policy_find_key(struct policy_reader *reader, const char *what,
	const struct policy_key *keys, size_t n_keys)
{
	size_t i = 0;

	if (reader->event.type != YAML_SCALAR_EVENT) {
		policy_fail(reader, "expected a key of %s, found %s", what,
			reader->event.type == YAML_SEQUENCE_START_EVENT ? "a list"
									: "keys and values");
		return n_keys;
	}
	while (i < n_keys && strcmp(scalar_text(reader), keys[i].name))
		i++;
	if (i == n_keys)
		policy_fail_key(reader, what, keys, n_keys);
	return i;
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
	char expected[96];
	uint32_t seen = 0;

	snprintf(expected, sizeof expected, "%s, as keys and values", what);
	if (!policy_enter(reader, YAML_MAPPING_START_EVENT, expected))
		return;
	while (!reader->stopped && reader->event.type != YAML_MAPPING_END_EVENT) {
		size_t i = policy_find_key(reader, what, keys, n_keys);
		bool twice = i < n_keys && (seen & UINT32_C(1) << i);

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
	char expected[96];

	snprintf(expected, sizeof expected, "for each %s its name and what it is", what + 2);
	if (!policy_enter(reader, YAML_MAPPING_START_EVENT, expected))
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
	char expected[96];

	snprintf(expected, sizeof expected, "a list of %s", what);
	if (!policy_enter(reader, YAML_SEQUENCE_START_EVENT, expected))
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
