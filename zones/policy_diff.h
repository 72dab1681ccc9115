/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes from one policy document to another, thing by thing and in words.
 *
 * The words are made here and nowhere else: a plan, a comparison of two revisions and a refusal
 * because somebody else was faster all say the same.  No thread of its own; a document of a hundred
 * thousand rules takes some tenths of a second.
 */
#ifndef ZONES_POLICY_DIFF_H
#define ZONES_POLICY_DIFF_H

#include "zones/policy_document.h"

/* The things that a document consists of, in the order in which changes are told. */
enum policy_part {
	POLICY_PART_TIERS, /* All of them: their order is what counts. */
	POLICY_PART_ZONE,
	POLICY_PART_SERVICE,
	POLICY_PART_POLICY,
	POLICY_PART_RULE,
	POLICY_PART_BASELINE,
};

enum policy_difference {
	POLICY_ADDED,
	POLICY_REMOVED,
	POLICY_CHANGED, /* One of its keys. */
	POLICY_MOVED,	/* Tried earlier or later than before, among its own. */
};

/* One difference.  Texts belong to the diff. */
struct policy_change {
	uint8_t part, difference;
	const char *policy; /* Of a rule, the policy it is in; else NULL. */
	const char *name;   /* NULL: tiers and baseline have none. */
	const char *key;    /* POLICY_CHANGED: which of its keys; else NULL. */
	/* The key's value, or the whole thing's, before and after; "" if there was none.  Long
	 * lists are cut, and say how much is left out.  POLICY_MOVED: what it stands behind, "" if
	 * it comes first. */
	const char *before, *after;
	const char *title; /* "rule shop/web-to-app" */
	const char *words; /* "service: http -> https"; "added: from web to db, postgres, allow" */
};

struct policy_diff {
	struct arena arena;
	struct policy_change *at;
	size_t n, allocated;
};

/* Compares two documents that have been read and checked without an error.  `before` may be NULL:
 * no policy yet.  policy_diff_free() must follow. */
void policy_diff_make(struct policy_diff *diff, const struct policy_document *before,
	const struct policy_document *after);
void policy_diff_free(struct policy_diff *diff);

/* "zone", "rule" and so on; "added", "removed", "changed", "moved". */
const char *policy_part_name(unsigned int part);
const char *policy_difference_name(unsigned int difference);

/* --- policy_words.c: the keys of a thing ---------------------------------------------------- */

/* The values of one key: none if it was not given. */
struct policy_values {
	const char **texts;
	size_t n, allocated;
	struct arena *arena; /* For texts that have to be made. */
};

/* The key of a thing that has no others: a service.  Left out of the words. */
#define POLICY_KEY_ONLY "is"

/* A key, and how its values are read from a thing: a document_zone, document_rule... */
struct policy_value_key {
	const char *key;
	void (*read)(const struct policy_document *document, const void *thing,
		struct policy_values *values);
	/* May be NULL.  True: the values are surely equal, and need not be read. */
	bool (*same)(const void *before, const void *after);
};

/* The keys of a part; the last one's name is NULL. */
const struct policy_value_key *policy_value_keys(enum policy_part part);

void policy_values_add(struct policy_values *values, const char *text);

#endif
