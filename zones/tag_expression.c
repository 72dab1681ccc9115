/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and evaluating tag expressions.
 *
 * An expression is turned into steps in postfix order ("a b and not"), which are evaluated on a
 * small stack: no recursion when evaluating, and recursion bounded by TAG_NESTING_MAX when reading.
 *
 * Read by the reader of policy documents; evaluated by whoever asks for an endpoint's zone.
 */
#include "zones/tag_expression.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/policy_error.h"

enum tag_operation { TAG_HAS_KEY, TAG_EQUALS, TAG_NOT, TAG_AND, TAG_OR };

struct tag_step {
	enum tag_operation operation;
	const char *key, *value;
	size_t key_length;
};

struct tag_expression {
	size_t n_steps;
	struct tag_step steps[];
};

/* Each level of nesting holds at most an operand of `or`, one of `and` and one of `in`. */
enum { TAG_STACK_MAX = 3 * (TAG_NESTING_MAX + 2) };

/* --- Words ---------------------------------------------------------------------------------- */

enum token_kind {
	TOKEN_END,
	TOKEN_WORD,
	TOKEN_EQUALS,
	TOKEN_DIFFERS,
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_COMMA,
	TOKEN_AND,
	TOKEN_OR,
	TOKEN_NOT,
	TOKEN_IN,
	TOKEN_BAD,
};

struct token {
	enum token_kind kind;
	const char *text; /* Where it begins in the expression. */
	size_t length;
	const char *word; /* The text without its quotation marks. */
	size_t word_length;
};

struct tag_reader {
	struct arena *arena;
	const char *text, *next;
	struct token token; /* The one to be read next. */
	struct tag_problem *problem;
	bool failed;
	unsigned int nesting;
	struct tag_step *steps;
	size_t n_steps, allocated_steps;
};

static bool is_word_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (unsigned char)c >= 0x80 || (c && strchr("_./:@+-", c));
}

static enum token_kind keyword(const char *text, size_t length)
{
	static const struct {
		const char *word;
		enum token_kind kind;
	} keywords[] = {{"and", TOKEN_AND}, {"or", TOKEN_OR}, {"not", TOKEN_NOT}, {"in", TOKEN_IN}};

	for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
		if (strlen(keywords[i].word) == length && !memcmp(keywords[i].word, text, length))
			return keywords[i].kind;
	}
	return TOKEN_WORD;
}

static void token_read_quoted(struct token *token)
{
	const char *end = strchr(token->text + 1, token->text[0]);

	if (!end) {
		token->length = strlen(token->text);
		return;
	}
	token->kind = TOKEN_WORD;
	token->word = token->text + 1;
	token->word_length = (size_t)(end - token->word);
	token->length = token->word_length + 2;
}

static void token_read_word(struct token *token)
{
	while (is_word_character(token->text[token->length]))
		token->length++;
	token->word = token->text;
	token->word_length = token->length;
	token->kind = keyword(token->word, token->length);
}

static void token_read_sign(struct token *token)
{
	token->length = 1;
	switch (token->text[0]) {
	case '\0':
		token->kind = TOKEN_END;
		token->length = 0;
		break;
	case '=': token->kind = TOKEN_EQUALS; break;
	case '(': token->kind = TOKEN_OPEN; break;
	case ')': token->kind = TOKEN_CLOSE; break;
	case ',': token->kind = TOKEN_COMMA; break;
	case '!':
		if (token->text[1] == '=') {
			token->kind = TOKEN_DIFFERS;
			token->length = 2;
		}
		break;
	default: break;
	}
}

/* Moves to the next token. */
static void tag_advance(struct tag_reader *reader)
{
	struct token *token = &reader->token;

	reader->next += strspn(reader->next, " \t\r\n");
	*token = (struct token){.kind = TOKEN_BAD, .text = reader->next};
	if (*token->text == '\'' || *token->text == '"')
		token_read_quoted(token);
	else if (is_word_character(*token->text))
		token_read_word(token);
	else
		token_read_sign(token);
	reader->next += token->length;
}

static void tag_fail_at(struct tag_reader *reader, const char *where, const char *message)
{
	if (reader->failed)
		return;
	reader->failed = true;
	reader->problem->offset = (size_t)(where - reader->text);
	snprintf(reader->problem->message, sizeof reader->problem->message, "%s", message);
}

/* Fails because the next token is not what is `expected`. */
static void tag_fail_expected(struct tag_reader *reader, const char *expected)
{
	const struct token *token = &reader->token;
	char found[POLICY_QUOTE_MAX], quoted[POLICY_QUOTE_MAX], message[160];

	if (token->kind == TOKEN_BAD && (*token->text == '\'' || *token->text == '"')) {
		tag_fail_at(reader, token->text, "the quotation mark is never closed");
		return;
	}
	snprintf(found, sizeof found, "%.*s", (int)(token->length < 64 ? token->length : 64),
		token->text);
	snprintf(message, sizeof message, "expected %s, found %s", expected,
		token->kind == TOKEN_END ? "the end" : policy_quote(found, quoted));
	tag_fail_at(reader, token->text, message);
}

/* --- Grammar -------------------------------------------------------------------------------- */

static void tag_emit(struct tag_reader *reader, struct tag_step step)
{
	reader->steps = zone_grow(
		reader->steps, reader->n_steps, &reader->allocated_steps, sizeof *reader->steps);
	reader->steps[reader->n_steps++] = step;
}

static void tag_emit_operator(struct tag_reader *reader, enum tag_operation operation)
{
	tag_emit(reader, (struct tag_step){.operation = operation});
}

static void tag_emit_test(
	struct tag_reader *reader, enum tag_operation operation, const char *key, const char *value)
{
	tag_emit(reader, (struct tag_step){.operation = operation,
				 .key = key,
				 .value = value,
				 .key_length = strlen(key)});
}

static bool tag_accept(struct tag_reader *reader, enum token_kind kind)
{
	if (reader->failed || reader->token.kind != kind)
		return false;
	tag_advance(reader);
	return true;
}

static void tag_expect(struct tag_reader *reader, enum token_kind kind, const char *expected)
{
	if (!tag_accept(reader, kind))
		tag_fail_expected(reader, expected);
}

/* Reads a word; returns "" after a failure. */
static const char *tag_read_word(struct tag_reader *reader, const char *expected)
{
	struct token token = reader->token;

	if (!tag_accept(reader, TOKEN_WORD)) {
		tag_fail_expected(reader, expected);
		return "";
	}
	return arena_copy_text(reader->arena, token.word, token.word_length);
}

static void tag_read_set(struct tag_reader *reader, const char *key)
{
	tag_expect(reader, TOKEN_OPEN, "'(' and the values after 'in'");
	tag_emit_test(reader, TAG_EQUALS, key, tag_read_word(reader, "a value"));
	while (tag_accept(reader, TOKEN_COMMA)) {
		tag_emit_test(reader, TAG_EQUALS, key, tag_read_word(reader, "a value after ','"));
		tag_emit_operator(reader, TAG_OR);
	}
	tag_expect(reader, TOKEN_CLOSE, "',' or ')' after a value");
}

static void tag_read_test(struct tag_reader *reader)
{
	const char *where = reader->token.text;
	const char *key = tag_read_word(reader, "a tag's key, 'not' or '('");

	if (!reader->failed && (!*key || strchr(key, '=')))
		tag_fail_at(reader, where, "a tag's key may not be empty or contain '='");
	if (tag_accept(reader, TOKEN_EQUALS)) {
		tag_emit_test(reader, TAG_EQUALS, key, tag_read_word(reader, "a value after '='"));
	} else if (tag_accept(reader, TOKEN_DIFFERS)) {
		tag_emit_test(reader, TAG_EQUALS, key, tag_read_word(reader, "a value after '!='"));
		tag_emit_operator(reader, TAG_NOT);
	} else if (tag_accept(reader, TOKEN_IN)) {
		tag_read_set(reader, key);
	} else if (tag_accept(reader, TOKEN_NOT)) {
		tag_expect(reader, TOKEN_IN, "'in' after 'not'");
		tag_read_set(reader, key);
		tag_emit_operator(reader, TAG_NOT);
	} else {
		tag_emit_test(reader, TAG_HAS_KEY, key, NULL);
	}
}

static void tag_read_expression(struct tag_reader *reader);

static void tag_read_factor(struct tag_reader *reader)
{
	if (++reader->nesting > TAG_NESTING_MAX) {
		tag_fail_at(reader, reader->token.text, "nested too deeply: at most 16 levels");
	} else if (tag_accept(reader, TOKEN_NOT)) {
		tag_read_factor(reader);
		tag_emit_operator(reader, TAG_NOT);
	} else if (tag_accept(reader, TOKEN_OPEN)) {
		tag_read_expression(reader);
		tag_expect(reader, TOKEN_CLOSE, "'and', 'or' or ')'");
	} else {
		tag_read_test(reader);
	}
	reader->nesting--;
}

static void tag_read_term(struct tag_reader *reader)
{
	tag_read_factor(reader);
	while (tag_accept(reader, TOKEN_AND)) {
		tag_read_factor(reader);
		tag_emit_operator(reader, TAG_AND);
	}
}

static void tag_read_expression(struct tag_reader *reader)
{
	tag_read_term(reader);
	while (tag_accept(reader, TOKEN_OR)) {
		tag_read_term(reader);
		tag_emit_operator(reader, TAG_OR);
	}
}

struct tag_expression *tag_expression_parse(
	struct arena *arena, const char *text, struct tag_problem *problem)
{
	struct tag_reader reader = {.arena = arena, .text = text, .next = text, .problem = problem};
	struct tag_expression *expression = NULL;

	if (strlen(text) > TAG_EXPRESSION_MAX) {
		tag_fail_at(&reader, text, "longer than 4096 bytes");
		return NULL;
	}
	tag_advance(&reader);
	tag_read_expression(&reader);
	if (!reader.failed && reader.token.kind != TOKEN_END)
		tag_fail_expected(&reader, "'and', 'or' or the end");
	if (!reader.failed) {
		size_t bytes = reader.n_steps * sizeof *reader.steps;

		expression = arena_allocate(arena, sizeof *expression + bytes);
		expression->n_steps = reader.n_steps;
		memcpy(expression->steps, reader.steps, bytes);
	}
	free(reader.steps);
	return expression;
}

/* --- Evaluation ----------------------------------------------------------------------------- */

static bool tag_step_holds(const struct tag_step *step, const char *const *tags, size_t n_tags)
{
	for (size_t i = 0; i < n_tags; i++) {
		const char *rest;

		if (strncmp(tags[i], step->key, step->key_length))
			continue;
		rest = tags[i] + step->key_length;
		if (step->operation == TAG_HAS_KEY && (!*rest || *rest == '='))
			return true;
		if (step->operation == TAG_EQUALS && *rest == '=' && !strcmp(rest + 1, step->value))
			return true;
	}
	return false;
}

bool tag_expression_matches(
	const struct tag_expression *expression, const char *const *tags, size_t n_tags)
{
	bool stack[TAG_STACK_MAX] = {false};
	size_t n = 0;

	for (size_t i = 0; i < expression->n_steps; i++) {
		const struct tag_step *step = &expression->steps[i];

		switch (step->operation) {
		case TAG_NOT: stack[n - 1] = !stack[n - 1]; break;
		case TAG_AND:
			n--;
			stack[n - 1] = stack[n - 1] && stack[n];
			break;
		case TAG_OR:
			n--;
			stack[n - 1] = stack[n - 1] || stack[n];
			break;
		default:
			assert(n < TAG_STACK_MAX);
			stack[n++] = tag_step_holds(step, tags, n_tags);
			break;
		}
	}
	return stack[0];
}
