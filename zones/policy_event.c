/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of policy documents, lowest part: events, which come from libyaml and from the scanner
 * of what was lifted out of the text.  Called by policy_yaml.c, on the thread that reads the
 * document.
 */
#include "zones/policy_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct policy_mark mark_of(const yaml_mark_t *mark)
{
	return (struct policy_mark){(unsigned int)mark->line + 1, (unsigned int)mark->column + 1};
}

struct policy_mark policy_here(const struct policy_reader *reader)
{
	return reader->event.start;
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

void policy_stop(struct policy_reader *reader)
{
	reader->stopped = true;
	reader->event = (struct policy_event){.type = YAML_NO_EVENT};
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
	const yaml_event_t *event = &reader->yaml;
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

/* The next event of libyaml. */
static void next_of_yaml(struct policy_reader *reader)
{
	const yaml_event_t *yaml = &reader->yaml;

	yaml_event_delete(&reader->yaml);
	if (!yaml_parser_parse(&reader->parser, &reader->yaml)) {
		reader->yaml.type = YAML_NO_EVENT;
		policy_fail_yaml(reader);
		return;
	}
	reader->event = (struct policy_event){
		.type = yaml->type,
		.start = mark_of(&yaml->start_mark),
		.end = mark_of(&yaml->end_mark),
	};
	if (yaml->type == YAML_SCALAR_EVENT) {
		reader->event.text = (const char *)yaml->data.scalar.value;
		reader->event.length = yaml->data.scalar.length;
		reader->event.plain = yaml->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	}
	policy_refuse(reader);
}

/* True where the empty word stands that a run left behind. */
static bool at_lifted_run(const struct policy_reader *reader)
{
	const struct policy_event *event = &reader->event;
	const struct lifted_run *run;

	if (!reader->lifted || reader->n_taken == reader->lifted->n_runs ||
		event->type != YAML_SCALAR_EVENT || event->length || event->plain)
		return false;
	run = &reader->lifted->runs[reader->n_taken];
	return event->start.line == run->line && event->start.column == run->indent + 3;
}

/* The next event of the run; false if it has ended. */
static bool next_of_run(struct policy_reader *reader)
{
	static const yaml_event_type_t types[] = {
		[LIFTED_WORD] = YAML_SCALAR_EVENT,
		[LIFTED_LIST_BEGIN] = YAML_SEQUENCE_START_EVENT,
		[LIFTED_LIST_END] = YAML_SEQUENCE_END_EVENT,
		[LIFTED_MAPPING_BEGIN] = YAML_MAPPING_START_EVENT,
		[LIFTED_MAPPING_END] = YAML_MAPPING_END_EVENT,
	};
	struct lifted_event event;

	lifted_scanner_next(&reader->scanner, &event);
	if (event.kind >= LIFTED_END)
		return false;
	reader->event.type = types[event.kind];
	reader->event.start = (struct policy_mark){event.line, event.column};
	if (event.kind == LIFTED_WORD) {
		memcpy(reader->word, event.text, event.length);
		reader->word[event.length] = '\0';
		reader->event.text = reader->word;
		reader->event.length = event.length;
		reader->event.plain = event.plain;
		reader->event.end = (struct policy_mark){event.line,
			event.column + (unsigned int)event.length + (event.plain ? 0 : 2)};
	}
	return true;
}

void policy_next(struct policy_reader *reader)
{
	if (reader->stopped)
		return;
	if (!reader->scanning || !next_of_run(reader)) {
		reader->scanning = false;
		next_of_yaml(reader);
		if (at_lifted_run(reader)) {
			lifted_scanner_begin(&reader->scanner,
				&reader->lifted->runs[reader->n_taken++], reader->text);
			reader->scanning = next_of_run(reader);
		}
	}
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
	yaml_parser_set_input_string(&reader->parser,
		(const unsigned char *)(reader->lifted ? reader->lifted->text : reader->text),
		reader->lifted ? reader->lifted->length : reader->length);
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
	yaml_event_delete(&reader->yaml);
	yaml_parser_delete(&reader->parser);
}
