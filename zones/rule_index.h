/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a zone pair and a service to the first rule that matches, at a cost that does not depend on
 * how many rules there are.
 *
 * Rules fall into classes by what they say of the two zones: (from, to), (from, any), (any, to) and
 * (any, any).  For each pair that occurs, the 24-bit line of services (zones/service.h) is cut
 * where rules begin and end; each span between two cuts names the first rule that covers it:
 *
 *	rules of web -> db     2: tcp/5000-6000      1: tcp/5432      3: any
 *
 *	spans      |3           |2      |1  |2       |3              |
 *	           0            tcp/5000 5432 5433   tcp/6001
 *
 * A question probes one hash table and three arrays, and searches at most four sorted lists.  A
 * list that is long has a table of where in it each 256 ports of TCP and of UDP begin, so that a
 * search is over a few neighbours.  With n ranges in all there are at most 2n + 1 spans, and a
 * table is no larger than the list that has it, so memory grows as the document does.
 */
#ifndef ZONES_RULE_INDEX_H
#define ZONES_RULE_INDEX_H

#include <stddef.h>
#include <stdint.h>

enum { RULE_ZONE_ANY = 0xffff };

/* No rule.  Greater than every verdict. */
#define RULE_NO_VERDICT UINT32_MAX

/* One range of services between two zones, each of which may be RULE_ZONE_ANY. */
struct rule_cell {
	uint16_t from, to;
	uint32_t first, last; /* Points, both included. */
	uint32_t verdict;     /* Rules that come first have lower ones. */
};

/* From `first` to the next span's. */
struct rule_span {
	uint32_t first, verdict;
};

/* The spans of one pair; the first of them begins at point 0. */
struct rule_slice {
	uint32_t offset, n;
	uint32_t starts; /* Its table within `starts`; 0: it has none. */
};

struct rule_pair {
	uint32_t zones;		 /* From, to, 16 bits each. */
	struct rule_slice slice; /* n is 0: free. */
};

/* Immutable once built. */
struct rule_index {
	struct rule_span *spans;
	uint32_t *starts; /* For each part of the line, the span that holds its first point. */
	/* Arrays by zone, with one more: a zone that no rule names. */
	struct rule_slice any_to_any, *from_to_any, *any_to;
	struct rule_pair *pairs;
	uint64_t multiplier; /* Odd, drawn: nobody can choose zones that collide. */
	unsigned int shift;
	size_t n_pairs, n_pairs_allocated, n_spans, n_starts, n_zones;
};

/* Builds the index of `n` cells in the order of their verdicts.  Zones are below n_zones. */
void rule_index_build(
	struct rule_index *index, const struct rule_cell *cells, size_t n, size_t n_zones);
void rule_index_free(struct rule_index *index);
size_t rule_index_bytes(const struct rule_index *index);

/* The verdict of the first rule that matches, or RULE_NO_VERDICT.  Any thread. */
uint32_t rule_index_find(
	const struct rule_index *index, uint16_t from, uint16_t to, uint32_t point);

/* The first point after `point` at which rule_index_find() may say something else; past the last
 * one if there is none.  Any thread. */
uint32_t rule_index_next(
	const struct rule_index *index, uint16_t from, uint16_t to, uint32_t point);

#endif
