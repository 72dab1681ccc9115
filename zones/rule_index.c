/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building and asking the index of rules.  Built by the thread that compiles a policy; asked by
 * every worker, for the first packet of every connection.
 */
#include "zones/rule_index.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "zones/arena.h"
#include "zones/service.h"

/* --- Looking up ----------------------------------------------------------------------------- */

/* The parts of the line that a long slice's table tells apart: 256 ports each of TCP and of UDP,
 * and what is before, between and behind these. */
enum {
	PART_PORTS_BITS = 8,
	PARTS_OF_PROTOCOL = 0x10000 >> PART_PORTS_BITS,
	PART_TCP = 1,
	PART_BETWEEN = PART_TCP + PARTS_OF_PROTOCOL,
	PART_UDP,
	PART_BEHIND = PART_UDP + PARTS_OF_PROTOCOL,
	PARTS,
	LONG_SLICE = (PARTS + 1) / 2, /* So that the table takes no more than the spans. */
};

/* Which part a point is in; parts are in the order of their points. */
static inline uint32_t part_of(uint32_t point)
{
	uint32_t protocol = point >> 16, ports = (point & 0xffff) >> PART_PORTS_BITS;

	if (protocol == IPPROTO_TCP)
		return PART_TCP + ports;
	if (protocol == IPPROTO_UDP)
		return PART_UDP + ports;
	if (protocol < IPPROTO_TCP)
		return 0;
	return protocol < IPPROTO_UDP ? PART_BETWEEN : PART_BEHIND;
}

static uint32_t zones_of(uint16_t from, uint16_t to)
{
	return (uint32_t)from << 16 | to;
}

static size_t pair_home(const struct rule_index *index, uint32_t zones)
{
	uint64_t product = zones * index->multiplier;

	/* Zones that count up give products at even distances, which this breaks up. */
	return (size_t)((product ^ product >> 32) * index->multiplier >> index->shift);
}

/* The pair's place in the hash table, or the free one where it belongs. */
static inline struct rule_pair *pair_slot(const struct rule_index *index, uint32_t zones)
{
	size_t mask = index->n_pairs_allocated - 1;

	for (size_t i = pair_home(index, zones);; i = (i + 1) & mask) {
		if (!index->pairs[i].slice.n || index->pairs[i].zones == zones)
			return &index->pairs[i];
	}
}

/* The verdict for a point among the spans of one pair. */
static inline uint32_t slice_find(
	const struct rule_index *index, struct rule_slice slice, uint32_t point)
{
	const struct rule_span *span;

	if (!slice.n)
		return RULE_NO_VERDICT;
	span = index->spans + slice.offset;
	if (slice.starts) {
		const uint32_t *start = index->starts + slice.starts + part_of(point);

		span += start[0];
		slice.n = start[1] - start[0] + 1;
	}
	while (slice.n > 1) {
		uint32_t half = slice.n / 2;

		span += span[half].first <= point ? half : 0;
		slice.n -= half;
	}
	return span->verdict;
}

static inline uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

uint32_t rule_index_find(const struct rule_index *index, uint16_t from, uint16_t to, uint32_t point)
{
	uint32_t pair = slice_find(index, pair_slot(index, zones_of(from, to))->slice, point);
	uint32_t source = slice_find(index, index->from_to_any[from], point);
	uint32_t destination = slice_find(index, index->any_to[to], point);
	uint32_t any = slice_find(index, index->any_to_any, point);

	return least(least(pair, source), least(destination, any));
}

/* Where the span that holds the point ends. */
static uint32_t slice_next(const struct rule_index *index, struct rule_slice slice, uint32_t point)
{
	const struct rule_span *spans = index->spans + slice.offset;
	uint32_t low = 0, high = slice.n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (spans[middle].first <= point)
			low = middle + 1;
		else
			high = middle;
	}
	return low < slice.n ? spans[low].first : SERVICE_POINT_MAX + 1;
}

uint32_t rule_index_next(const struct rule_index *index, uint16_t from, uint16_t to, uint32_t point)
{
	uint32_t pair = slice_next(index, pair_slot(index, zones_of(from, to))->slice, point);
	uint32_t source = slice_next(index, index->from_to_any[from], point);
	uint32_t destination = slice_next(index, index->any_to[to], point);
	uint32_t any = slice_next(index, index->any_to_any, point);

	return least(least(pair, source), least(destination, any));
}

/* --- Building ------------------------------------------------------------------------------- */

/* While building, slices count and place the cells of their pair; `order` lists cells by pair. */
struct rule_builder {
	struct rule_index *index;
	const struct rule_cell *cells;
	uint32_t *order;
	uint32_t *cuts, *owners, *next; /* Room for the largest pair. */
	size_t allocated_spans, allocated_starts;
};

static void pairs_allocate(struct rule_index *index, unsigned int bits)
{
	index->n_pairs_allocated = (size_t)1 << bits;
	index->shift = 64 - bits;
	index->pairs = zone_allocate(index->n_pairs_allocated, sizeof *index->pairs);
}

static void pairs_double(struct rule_index *index)
{
	struct rule_pair *old = index->pairs;
	size_t n_old = index->n_pairs_allocated;

	pairs_allocate(index, 64 - index->shift + 1);
	for (size_t i = 0; i < n_old; i++) {
		if (old[i].slice.n)
			*pair_slot(index, old[i].zones) = old[i];
	}
	free(old);
}

/* Counts the cells of each pair. */
static void count_cells(struct rule_index *index, const struct rule_cell *cells, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t zones = zones_of(cells[i].from, cells[i].to);
		struct rule_pair *pair = pair_slot(index, zones);

		if (pair->slice.n) {
			pair->slice.n++;
			continue;
		}
		if ((index->n_pairs + 1) * 2 > index->n_pairs_allocated) {
			pairs_double(index);
			pair = pair_slot(index, zones);
		}
		*pair = (struct rule_pair){.zones = zones, .slice.n = 1};
		index->n_pairs++;
	}
}

/* Lists the cells pair by pair, each pair's in the order of the rules.  Returns the size of the
 * largest pair. */
static uint32_t order_cells(struct rule_builder *builder, size_t n)
{
	struct rule_index *index = builder->index;
	uint32_t offset = 0, largest = 0;

	for (size_t i = 0; i < index->n_pairs_allocated; i++) {
		struct rule_slice *slice = &index->pairs[i].slice;

		slice->offset = offset;
		offset += slice->n;
		if (slice->n > largest)
			largest = slice->n;
	}
	/* Each pair's offset moves to its end as its cells are placed, and back afterwards. */
	for (size_t i = 0; i < n; i++) {
		const struct rule_cell *cell = &builder->cells[i];

		builder->order[pair_slot(index, zones_of(cell->from, cell->to))->slice.offset++] =
			(uint32_t)i;
	}
	for (size_t i = 0; i < index->n_pairs_allocated; i++)
		index->pairs[i].slice.offset -= index->pairs[i].slice.n;
	return largest;
}

static int compare_points(const void *a_, const void *b_)
{
	uint32_t a = *(const uint32_t *)a_, b = *(const uint32_t *)b_;

	return a < b ? -1 : a > b;
}

/* Cuts the line wherever a rule begins or ends.  Returns the number of cuts, 0 being the first. */
static uint32_t find_cuts(struct rule_builder *builder, const uint32_t *order, uint32_t n)
{
	uint32_t *cuts = builder->cuts, n_cuts = 0, unique = 1;

	cuts[n_cuts++] = 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct rule_cell *cell = &builder->cells[order[i]];

		cuts[n_cuts++] = cell->first;
		if (cell->last < SERVICE_POINT_MAX)
			cuts[n_cuts++] = cell->last + 1;
	}
	qsort(cuts, n_cuts, sizeof *cuts, compare_points);
	for (uint32_t i = 1; i < n_cuts; i++) {
		if (cuts[i] != cuts[unique - 1])
			cuts[unique++] = cuts[i];
	}
	return unique;
}

static uint32_t cut_at(const uint32_t *cuts, uint32_t n_cuts, uint32_t point)
{
	const uint32_t *cut = bsearch(&point, cuts, n_cuts, sizeof *cuts, compare_points);

	return (uint32_t)(cut - cuts);
}

/* The first piece at or after `i` that no rule owns yet.  next[] leaps over owned ones; leaps are
 * shortened on the way (union-find), so all pieces are owned in almost linear time. */
static uint32_t find_free(uint32_t *next, uint32_t i)
{
	while (next[i] != i) {
		next[i] = next[next[i]];
		i = next[i];
	}
	return i;
}

/* Gives each piece between two cuts to the first rule that covers it. */
static void assign_owners(
	struct rule_builder *builder, const uint32_t *order, uint32_t n, uint32_t n_cuts)
{
	uint32_t *next = builder->next;

	for (uint32_t i = 0; i <= n_cuts; i++) {
		next[i] = i;
		builder->owners[i] = RULE_NO_VERDICT;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct rule_cell *cell = &builder->cells[order[i]];
		uint32_t piece = find_free(next, cut_at(builder->cuts, n_cuts, cell->first));

		while (piece < n_cuts && builder->cuts[piece] <= cell->last) {
			builder->owners[piece] = cell->verdict;
			next[piece] = piece + 1;
			piece = find_free(next, piece);
		}
	}
}

/* Writes the spans of one pair, neighbours of one owner as one. */
static struct rule_slice emit_spans(struct rule_builder *builder, uint32_t n_cuts)
{
	struct rule_index *index = builder->index;
	struct rule_slice slice = {.offset = (uint32_t)index->n_spans};

	for (uint32_t i = 0; i < n_cuts; i++) {
		if (i && builder->owners[i] == builder->owners[i - 1])
			continue;
		index->spans = zone_grow(index->spans, index->n_spans, &builder->allocated_spans,
			sizeof *index->spans);
		index->spans[index->n_spans++] = (struct rule_span){
			.first = builder->cuts[i], .verdict = builder->owners[i]};
		slice.n++;
	}
	return slice;
}

/* The first point of a part; past the line for the one behind the last. */
static uint32_t part_begin(uint32_t part)
{
	if (part >= PARTS)
		return SERVICE_POINT_MAX + 1;
	if (part >= PART_BEHIND)
		return (IPPROTO_UDP + 1) << 16;
	if (part >= PART_UDP)
		return (IPPROTO_UDP << 16) + ((part - PART_UDP) << PART_PORTS_BITS);
	if (part >= PART_BETWEEN)
		return (IPPROTO_TCP + 1) << 16;
	return part ? (IPPROTO_TCP << 16) + ((part - PART_TCP) << PART_PORTS_BITS) : 0;
}

/* Gives a long slice its table, which has one entry more: the last span. */
static void emit_starts(struct rule_builder *builder, struct rule_slice *slice)
{
	struct rule_index *index = builder->index;
	const struct rule_span *spans = index->spans + slice->offset;
	uint32_t span = 0;

	if (slice->n < LONG_SLICE)
		return;
	slice->starts = (uint32_t)index->n_starts;
	for (uint32_t part = 0; part <= PARTS; part++) {
		while (span + 1 < slice->n && spans[span + 1].first <= part_begin(part))
			span++;
		index->starts = zone_grow(index->starts, index->n_starts,
			&builder->allocated_starts, sizeof *index->starts);
		index->starts[index->n_starts++] = span;
	}
}

static void build_pair(struct rule_builder *builder, struct rule_pair *pair)
{
	const uint32_t *order = builder->order + pair->slice.offset;
	uint32_t n_cuts = find_cuts(builder, order, pair->slice.n);
	uint16_t from = (uint16_t)(pair->zones >> 16), to = (uint16_t)pair->zones;

	assign_owners(builder, order, pair->slice.n, n_cuts);
	pair->slice = emit_spans(builder, n_cuts);
	emit_starts(builder, &pair->slice);
	if (from == RULE_ZONE_ANY && to == RULE_ZONE_ANY)
		builder->index->any_to_any = pair->slice;
	else if (to == RULE_ZONE_ANY)
		builder->index->from_to_any[from] = pair->slice;
	else if (from == RULE_ZONE_ANY)
		builder->index->any_to[to] = pair->slice;
}

static void build_pairs(struct rule_builder *builder, uint32_t largest)
{
	struct rule_index *index = builder->index;
	size_t room = (size_t)largest * 2 + 2;

	builder->cuts = zone_allocate(room * 3, sizeof *builder->cuts);
	builder->owners = builder->cuts + room;
	builder->next = builder->owners + room;
	for (size_t i = 0; i < index->n_pairs_allocated; i++) {
		if (index->pairs[i].slice.n)
			build_pair(builder, &index->pairs[i]);
	}
	free(builder->cuts);
}

void rule_index_build(
	struct rule_index *index, const struct rule_cell *cells, size_t n, size_t n_zones)
{
	struct rule_builder builder = {.index = index, .cells = cells};
	uint64_t drawn = 0;

	if (getrandom(&drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn)
		drawn = UINT64_C(0x9e3779b97f4a7c15);
	*index = (struct rule_index){.multiplier = drawn | 1, .n_zones = n_zones};
	pairs_allocate(index, 4);
	index->from_to_any = zone_allocate((n_zones + 1) * 2, sizeof *index->from_to_any);
	index->any_to = index->from_to_any + n_zones + 1;
	count_cells(index, cells, n);
	/* The first is nobody's. */
	index->starts = zone_grow(NULL, 0, &builder.allocated_starts, sizeof *index->starts);
	index->starts[index->n_starts++] = 0;
	builder.order = zone_allocate(n, sizeof *builder.order);
	build_pairs(&builder, order_cells(&builder, n));
	free(builder.order);
	index->spans = zone_trim(index->spans, index->n_spans, sizeof *index->spans);
	index->starts = zone_trim(index->starts, index->n_starts, sizeof *index->starts);
}

void rule_index_free(struct rule_index *index)
{
	free(index->spans);
	free(index->starts);
	free(index->from_to_any);
	free(index->pairs);
}

size_t rule_index_bytes(const struct rule_index *index)
{
	return index->n_spans * sizeof *index->spans + index->n_starts * sizeof *index->starts +
	       (index->n_zones + 1) * 2 * sizeof *index->from_to_any +
	       index->n_pairs_allocated * sizeof *index->pairs;
}
