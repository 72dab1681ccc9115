/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lifting plainly written items out of a policy document, and scanning them.  Called by the reader
 * of policy documents, on its thread.
 */
#include "zones/policy_lift.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "zones/arena.h"

/* --- Characters ----------------------------------------------------------------------------- */

enum {
	CHARACTER_WORD = 1,   /* May begin a word without quotation marks. */
	CHARACTER_INSIDE = 2, /* May be in such a word. */
	CHARACTER_KEY = 4,
	CHARACTER_QUOTED = 8, /* May be in one between quotation marks. */
};

#define QUOTED CHARACTER_QUOTED
#define INSIDE (CHARACTER_INSIDE | QUOTED)
#define WORD   (CHARACTER_WORD | INSIDE)
#define KEY    (CHARACTER_KEY | WORD)

/* All others, of which YAML has many uses, are left to its parser. */
static const uint8_t characters[256] = {
	['a' ... 'z'] = KEY,
	['_'] = KEY,
	['A' ... 'Z'] = WORD,
	['0' ... '9'] = WORD,
	['.'] = WORD,
	['/'] = WORD,
	['('] = WORD,
	[')'] = WORD,
	[';'] = WORD,
	['='] = WORD,
	['+'] = WORD,
	['-'] = INSIDE,
	[' '] = QUOTED,
	[':'] = QUOTED,
	[','] = QUOTED,
	['['] = QUOTED,
	[']'] = QUOTED,
	['{'] = QUOTED,
	['}'] = QUOTED,
	['<'] = QUOTED,
	['>'] = QUOTED,
	['!'] = QUOTED,
	['?'] = QUOTED,
	['#'] = QUOTED,
	['*'] = QUOTED,
	['&'] = QUOTED,
	['|'] = QUOTED,
};

static bool is(char c, unsigned int class)
{
	return characters[(unsigned char)c] & class;
}

/* --- Scanning ------------------------------------------------------------------------------- */

void lifted_scanner_begin(
	struct lifted_scanner *scanner, const struct lifted_run *run, const char *text)
{
	*scanner = (struct lifted_scanner){.next = text + run->begin,
		.end = text + run->end,
		.line_begin = text + run->begin,
		.line = run->line,
		.indent = run->indent,
		.expected = LIFTED_ITEM};
}

/* What stands next; NUL: nothing does. */
static char peek(const struct lifted_scanner *scanner)
{
	return scanner->next < scanner->end ? *scanner->next : '\0';
}

static void skip_spaces(struct lifted_scanner *scanner)
{
	while (peek(scanner) == ' ')
		scanner->next++;
}

/* An event that begins here. */
static void set_event(
	const struct lifted_scanner *scanner, struct lifted_event *event, enum lifted_kind kind)
{
	event->kind = kind;
	event->line = scanner->line;
	event->column = (unsigned int)(scanner->next - scanner->line_begin) + 1;
}

static void open_bracket(struct lifted_scanner *scanner, struct lifted_event *event, char bracket)
{
	if (scanner->depth == LIFTED_DEPTH_MAX) {
		event->kind = LIFTED_UNPLAIN;
		return;
	}
	set_event(scanner, event, bracket == '[' ? LIFTED_LIST_BEGIN : LIFTED_MAPPING_BEGIN);
	scanner->open[scanner->depth++] = bracket;
	scanner->expected = bracket == '[' ? LIFTED_VALUE : LIFTED_KEY;
	scanner->first = bracket != '-';
	scanner->next += bracket != '-';
}

static void close_bracket(struct lifted_scanner *scanner, struct lifted_event *event)
{
	char bracket = scanner->open[--scanner->depth];

	set_event(scanner, event, bracket == '[' ? LIFTED_LIST_END : LIFTED_MAPPING_END);
	scanner->next += bracket != '-';
	scanner->expected = scanner->depth ? LIFTED_BEHIND : LIFTED_ITEM;
	scanner->first = false;
}

/* Moves past the end of the line; false if something stands before it. */
static bool end_line(struct lifted_scanner *scanner)
{
	skip_spaces(scanner);
	if (scanner->next == scanner->end)
		return true;
	if (*scanner->next != '\n')
		return false;
	scanner->line_begin = ++scanner->next;
	scanner->line++;
	return true;
}

static void scan_key(struct lifted_scanner *scanner, struct lifted_event *event)
{
	const char *begin = scanner->next;

	set_event(scanner, event, LIFTED_WORD);
	while (is(peek(scanner), CHARACTER_KEY))
		scanner->next++;
	event->text = begin;
	event->length = (size_t)(scanner->next - begin);
	event->plain = true;
	if (!event->length || event->length > LIFTED_WORD_MAX || scanner->end - scanner->next < 2 ||
		scanner->next[0] != ':' || scanner->next[1] != ' ')
		event->kind = LIFTED_UNPLAIN;
	scanner->next++;
	scanner->expected = LIFTED_VALUE;
	scanner->first = false;
}

static void scan_quoted(struct lifted_scanner *scanner, struct lifted_event *event, char quote)
{
	const char *begin = ++scanner->next;

	while (is(peek(scanner), CHARACTER_QUOTED))
		scanner->next++;
	event->text = begin;
	event->length = (size_t)(scanner->next - begin);
	event->plain = false;
	/* Two of them would be one within the word. */
	if (peek(scanner) != quote || event->length > LIFTED_WORD_MAX ||
		(scanner->end - scanner->next > 1 && scanner->next[1] == quote))
		event->kind = LIFTED_UNPLAIN;
	scanner->next++;
}

/* True if the word goes on at a colon or space: what follows would begin a word. */
static bool goes_on(const struct lifted_scanner *scanner)
{
	return (*scanner->next == ':' || *scanner->next == ' ') &&
	       scanner->end - scanner->next > 1 && is(scanner->next[1], CHARACTER_WORD);
}

static void scan_word(struct lifted_scanner *scanner, struct lifted_event *event)
{
	const char *begin = scanner->next;

	event->text = begin;
	event->plain = true;
	if (!is(peek(scanner), CHARACTER_WORD)) {
		event->kind = LIFTED_UNPLAIN;
		return;
	}
	while (scanner->next < scanner->end &&
		(is(*scanner->next, CHARACTER_INSIDE) || goes_on(scanner)))
		scanner->next++;
	event->length = (size_t)(scanner->next - begin);
	if (event->length > LIFTED_WORD_MAX)
		event->kind = LIFTED_UNPLAIN;
}

static void scan_value(struct lifted_scanner *scanner, struct lifted_event *event)
{
	char c = peek(scanner);

	if (c == '[' || c == '{') {
		open_bracket(scanner, event, c);
		return;
	}
	set_event(scanner, event, LIFTED_WORD);
	if (c == '"' || c == '\'')
		scan_quoted(scanner, event, c);
	else
		scan_word(scanner, event);
	scanner->expected = LIFTED_BEHIND;
	scanner->first = false;
}

/* Begins the next item, or ends the run. */
static void scan_item(struct lifted_scanner *scanner, struct lifted_event *event)
{
	if (scanner->next > scanner->line_begin && !end_line(scanner)) {
		event->kind = LIFTED_UNPLAIN;
		return;
	}
	if (scanner->next == scanner->end) {
		event->kind = LIFTED_END;
		return;
	}
	scanner->next += scanner->indent + 2;
	open_bracket(scanner, event, *scanner->next == '{' ? '{' : '-');
}

/* Behind a key's value on a line of its own: the next key, or the item's end. */
static void scan_line(struct lifted_scanner *scanner, struct lifted_event *event)
{
	const char *dash;

	if (!end_line(scanner)) {
		event->kind = LIFTED_UNPLAIN;
		return;
	}
	dash = scanner->next + scanner->indent;
	if (scanner->next == scanner->end || *dash == '-') {
		close_bracket(scanner, event);
		return;
	}
	scanner->next += scanner->indent + 2;
	scan_key(scanner, event);
}

/* Behind a value in brackets: a comma and the next one, or the end. */
static void scan_behind(struct lifted_scanner *scanner, struct lifted_event *event)
{
	char bracket = scanner->open[scanner->depth - 1];

	if (bracket == '-') {
		scan_line(scanner, event);
		return;
	}
	if (peek(scanner) == (bracket == '[' ? ']' : '}')) {
		close_bracket(scanner, event);
		return;
	}
	if (peek(scanner) != ',') {
		event->kind = LIFTED_UNPLAIN;
		return;
	}
	scanner->next++;
	skip_spaces(scanner);
	if (bracket == '[')
		scan_value(scanner, event);
	else
		scan_key(scanner, event);
}

void lifted_scanner_next(struct lifted_scanner *scanner, struct lifted_event *event)
{
	if (scanner->expected == LIFTED_ITEM) {
		scan_item(scanner, event);
		return;
	}
	skip_spaces(scanner);
	if (scanner->first && (peek(scanner) == ']' || peek(scanner) == '}') &&
		peek(scanner) == scanner->open[scanner->depth - 1] + 2)
		close_bracket(scanner, event);
	else if (scanner->expected == LIFTED_KEY)
		scan_key(scanner, event);
	else if (scanner->expected == LIFTED_VALUE)
		scan_value(scanner, event);
	else
		scan_behind(scanner, event);
}

/* --- Lifting -------------------------------------------------------------------------------- */

struct lifter {
	struct lifted_text *lifted;
	const char *text, *end;
	unsigned int line;
};

static const char *line_end(const char *line, const char *end)
{
	const char *newline = memchr(line, '\n', (size_t)(end - line));

	return newline ? newline : end;
}

/* The first byte of a line behind its spaces. */
static const char *line_content(const char *line, const char *end)
{
	while (line < end && *line == ' ')
		line++;
	return line;
}

static bool begins_key(const char *text, const char *end)
{
	const char *colon = text;

	while (colon < end && is(*colon, CHARACTER_KEY))
		colon++;
	return colon > text && end - colon > 2 && colon[0] == ':' && colon[1] == ' ';
}

/* Where the lines of an item end that has its keys on lines of their own, of which the first one
 * begins with the item.  NULL: some line is not that plain. */
static const char *block_end(const char *line, const char *end, size_t indent)
{
	while (line < end) {
		const char *content = line_content(line, end), *stop = line_end(line, end);

		/* A line that is empty or a comment may stand between keys too. */
		if (content == stop || *content == '#' || *content == '\r')
			return NULL;
		if ((size_t)(content - line) <= indent)
			return line;
		if ((size_t)(content - line) != indent + 2 || !begins_key(content, stop))
			return NULL;
		line = stop < end ? stop + 1 : end;
	}
	return line;
}

/* True if the scanner understands all of an item. */
static bool is_plain(const char *item, size_t length, size_t indent)
{
	struct lifted_run run = {.end = length, .line = 1, .indent = (unsigned int)indent};
	struct lifted_scanner scanner;
	struct lifted_event event;

	lifted_scanner_begin(&scanner, &run, item);
	do {
		lifted_scanner_next(&scanner, &event);
	} while (event.kind < LIFTED_END);
	return event.kind == LIFTED_END;
}

/* Where the lines of the item end that begins on this line; NULL: it cannot be lifted. */
static const char *item_end(const char *line, const char *end)
{
	const char *content = line_content(line, end), *next;
	size_t indent = (size_t)(content - line);

	if (end - content < 4 || content[0] != '-' || content[1] != ' ')
		return NULL;
	next = line_end(content, end);
	if (content[2] != '{' && !begins_key(content + 2, next))
		return NULL;
	next += next < end;
	if (content[2] != '{')
		next = block_end(next, end, indent);
	return next && is_plain(line, (size_t)(next - line), indent) ? next : NULL;
}

static void copy(struct lifted_text *lifted, const char *text, size_t length)
{
	memcpy(lifted->text + lifted->length, text, length);
	lifted->length += length;
}

/* Lifts the run that begins on this line, if one does, and returns where it ends. */
static const char *lift_run(struct lifter *lifter, const char *line)
{
	struct lifted_text *lifted = lifter->lifted;
	size_t indent = (size_t)(line_content(line, lifter->end) - line);
	struct lifted_run run = {.begin = (size_t)(line - lifter->text),
		.line = lifter->line,
		.indent = (unsigned int)indent};
	const char *next = line, *stop;

	while (next < lifter->end && (size_t)(line_content(next, lifter->end) - next) == indent &&
		(stop = item_end(next, lifter->end)) != NULL)
		next = stop;
	if (next == line)
		return line;
	run.end = (size_t)(next - lifter->text);
	copy(lifted, line, indent);
	copy(lifted, "- ''", 4);
	for (const char *at = line; at < next; at++) {
		at = line_end(at, next);
		if (at < next) {
			copy(lifted, "\n", 1);
			lifter->line++;
		}
	}
	lifted->runs = zone_grow(
		lifted->runs, lifted->n_runs, &lifted->allocated_runs, sizeof *lifted->runs);
	lifted->runs[lifted->n_runs++] = run;
	return next;
}

void policy_lift(struct lifted_text *lifted, const char *text, size_t length)
{
	struct lifter lifter = {lifted, text, text + length, 1};
	const char *line = text, *next;

	/* Nothing that is lifted leaves more behind than it was. */
	*lifted = (struct lifted_text){.text = zone_allocate(length, 1)};
	while (line < lifter.end) {
		next = lift_run(&lifter, line);
		if (next == line) {
			next = line_end(line, lifter.end);
			next += next < lifter.end;
			copy(lifted, line, (size_t)(next - line));
			lifter.line++;
		}
		line = next;
	}
}

void policy_lift_free(struct lifted_text *lifted)
{
	free(lifted->text);
	free(lifted->runs);
}
