/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often which value was seen, for percentiles: log-linear buckets, each power of two cut into
 * 64, so that a value is known to 1/64 of itself, and values below 64 exactly.
 */
#ifndef GENERATOR_HISTOGRAM_H
#define GENERATOR_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_BITS = 6, HISTOGRAM_PARTS = 1 << HISTOGRAM_BITS };
enum { HISTOGRAM_BUCKETS = (64 - HISTOGRAM_BITS + 1) * HISTOGRAM_PARTS };

struct histogram {
	uint64_t n, max;
	uint64_t counts[HISTOGRAM_BUCKETS];
};

/* The bucket that a value is counted in. */
static inline unsigned int histogram_bucket(uint64_t value)
{
	unsigned int shift;

	if (value < HISTOGRAM_PARTS)
		return (unsigned int)value;
	shift = 63 - (unsigned int)__builtin_clzll(value) - HISTOGRAM_BITS;
	return (shift << HISTOGRAM_BITS) + (unsigned int)(value >> shift);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value)
{
	histogram->n++;
	if (value > histogram->max)
		histogram->max = value;
	histogram->counts[histogram_bucket(value)]++;
}

/* The least value that a share of all values, from 0 to 1, is not above: the largest of its bucket,
 * never more than the largest seen.  0 if nothing was seen. */
uint64_t histogram_percentile(const struct histogram *histogram, double share);

#endif
