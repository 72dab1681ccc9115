/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shortcut past the YAML parser for what makes a policy long: lists of items that are plainly
 * written, each on one line or one key to the line.
 *
 *	rules:					rules:
 *	- {id: r1, from: a, to: b}		- ''
 *	- {id: r2, from: a, to: c}	->
 *	- {id: r3, ..., label: "\u00e4"}	- {id: r3, ..., label: "\u00e4"}
 *
 * A run of such items is lifted out of the text: one empty word stands in its place, and lines stay
 * where they are.  The parser reads what is left, and decides alone what the lines around mean;
 * where it comes to that word, as the item of a list, it gets the run's events instead, which a
 * scanner of a few dozen lines makes.  Only what has one meaning in YAML whatever is around it is
 * lifted: plain and quoted words of a few characters without special meaning, in braces and
 * brackets that close on their line.
 *
 * It is a shortcut only.  If a run is never come to (it was within a longer text), or if anything
 * at all is wrong with the document, it is read again without.
 */
#ifndef ZONES_POLICY_LIFT_H
#define ZONES_POLICY_LIFT_H

#include <stdbool.h>
#include <stddef.h>

/* Items of one list, on lines that follow one another. */
struct lifted_run {
	size_t begin, end;   /* Bytes of the text, whole lines. */
	unsigned int line;   /* Of the first item, from 1. */
	unsigned int indent; /* Spaces before each item's dash. */
};

struct lifted_text {
	char *text; /* What is left. */
	size_t length;
	struct lifted_run *runs;
	size_t n_runs, allocated_runs;
};

/* Lifts what can be lifted out of `length` bytes at `text`. */
void policy_lift(struct lifted_text *lifted, const char *text, size_t length);
void policy_lift_free(struct lifted_text *lifted);

/* The things that a run consists of. */
enum lifted_kind {
	LIFTED_WORD,
	LIFTED_LIST_BEGIN,
	LIFTED_LIST_END,
	LIFTED_MAPPING_BEGIN,
	LIFTED_MAPPING_END,
	LIFTED_END,	/* The run's. */
	LIFTED_UNPLAIN, /* It is not to be lifted. */
};

struct lifted_event {
	enum lifted_kind kind;
	const char *text; /* Of a word: no NUL behind it. */
	size_t length;
	bool plain;		   /* A word without quotation marks. */
	unsigned int line, column; /* From 1. */
};

enum { LIFTED_DEPTH_MAX = 8, LIFTED_WORD_MAX = 255 };

/* Goes through one run. */
struct lifted_scanner {
	const char *next, *end, *line_begin;
	unsigned int line, indent;
	unsigned int depth;
	char open[LIFTED_DEPTH_MAX]; /* '{', '[', or '-': keys on lines of their own. */
	enum { LIFTED_ITEM, LIFTED_KEY, LIFTED_VALUE, LIFTED_BEHIND } expected;
	bool first; /* Nothing stands between the bracket and here. */
};

void lifted_scanner_begin(
	struct lifted_scanner *scanner, const struct lifted_run *run, const char *text);
void lifted_scanner_next(struct lifted_scanner *scanner, struct lifted_event *event);

#endif
