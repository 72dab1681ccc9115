/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading YAML by its events, straight into a document: no tree is built, so memory is what the
 * document itself takes.
 *
 * The reader stands at one node at a time.  Every function named policy_read_* reads the node at
 * which the reader stands, whole, and leaves it at the one behind; a node that is not what it
 * should be becomes an error and is passed over, so that one mistake is one message.  Text that is
 * no YAML, or uses what a policy may not use (anchors, aliases, tags), stops the reader: it then
 * stands nowhere, and everything returns at once.
 */
#ifndef ZONES_POLICY_READER_H
#define ZONES_POLICY_READER_H

#include <yaml.h>

#include "zones/policy_document.h"
#include "zones/policy_lift.h"

/* One node, or the end of a list or mapping. */
struct policy_event {
	yaml_event_type_t type;
	/* Of a scalar: */
	const char *text;
	size_t length;
	bool plain; /* Without quotation marks. */
	struct policy_mark start, end;
};

struct policy_reader {
	yaml_parser_t parser;
	yaml_event_t yaml; /* What libyaml said last. */
	struct policy_event event;
	const char *text; /* The document's own. */
	size_t length;
	/* What was lifted out of what libyaml reads; NULL: nothing. */
	const struct lifted_text *lifted;
	struct lifted_scanner scanner;
	size_t n_taken;			/* Runs that have been come to. */
	bool scanning;			/* Within the last of them. */
	char word[LIFTED_WORD_MAX + 1]; /* The scanner's. */
	unsigned int depth;
	bool stopped;
	struct policy_errors *errors;
	struct policy_document *document;
};

/* Moves to the next event. */
void policy_next(struct policy_reader *reader);

/* Stops reading: the reader stands nowhere. */
void policy_stop(struct policy_reader *reader);

/* Begins, and moves to the document's one node.  Returns false if there is none.  In any case
 * policy_reader_close() must follow. */
bool policy_reader_open(struct policy_reader *reader);

/* Makes sure that nothing follows the node, and frees what the reader holds. */
void policy_reader_close(struct policy_reader *reader);

/* Where the reader stands. */
struct policy_mark policy_here(const struct policy_reader *reader);

/* Adds an error at that place. */
void policy_fail(struct policy_reader *reader, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Adds the error that `expected` is not what stands here, and passes it over. */
void policy_fail_expected(struct policy_reader *reader, const char *expected);

/* Passes over the node. */
void policy_skip(struct policy_reader *reader);

/* True if the node is empty: `key:` with nothing behind it. */
bool policy_is_null(const struct policy_reader *reader);

/* The text of a scalar, copied into the document's arena; NULL if the node is none. */
const char *policy_read_text(
	struct policy_reader *reader, const char *expected, struct policy_mark *at);

/* A name: letters, digits, _ . and -, at most POLICY_NAME_MAX.  `what` says whose: "a zone". */
bool policy_read_name(struct policy_reader *reader, const char *what, struct document_name *name);

/* One of several words. */
struct policy_choice {
	const char *word;
	uint8_t value;
};

bool policy_read_choice(struct policy_reader *reader, const char *what,
	const struct policy_choice *choices, size_t n_choices, uint8_t *value);

/* One key of a mapping, and the function that reads what belongs to it. */
struct policy_key {
	const char *name;
	bool required;
	void (*read)(struct policy_reader *reader, void *into);
};

/* A mapping with known keys. */
void policy_read_mapping(struct policy_reader *reader, const char *what,
	const struct policy_key *keys, size_t n_keys, void *into);

/* A mapping whose keys are names of the author's. */
void policy_read_named(struct policy_reader *reader, const char *what,
	void (*each)(struct policy_reader *reader, const struct document_name *name));

/* A list of nodes, each read by `each`. */
void policy_read_sequence(struct policy_reader *reader, const char *what,
	void (*each)(struct policy_reader *reader, void *into), void *into);

/* One word, or a list of words that is not empty.  The array lives in the document's arena. */
struct document_names policy_read_words(struct policy_reader *reader, const char *what, size_t max);

/* Shared by the parts of the grammar. */
void policy_read_log(struct policy_reader *reader, uint8_t *log);
void policy_read_expires(struct policy_reader *reader, int64_t *expires);
void policy_read_schedule(struct policy_reader *reader, uint32_t *number);
void policy_read_limits(struct policy_reader *reader, struct zone_limits *limits);
void policy_read_policies(struct policy_reader *reader, void *unused);

#endif
