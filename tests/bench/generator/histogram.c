/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Percentiles of what was counted.  Called by mode latency, at its end.
 */
#include "tests/bench/generator/histogram.h"

static uint64_t bucket_largest(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < 2 * HISTOGRAM_PARTS)
		return bucket;
	shift = (bucket >> HISTOGRAM_BITS) - 1;
	return (((uint64_t)(bucket & (HISTOGRAM_PARTS - 1)) + HISTOGRAM_PARTS) << shift) +
	       ((1ull << shift) - 1);
}

uint64_t histogram_percentile(const struct histogram *histogram, double share)
{
	double wanted = share * (double)histogram->n;
	uint64_t seen = 0, value;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->counts[i];
		if (seen == 0 || (double)seen < wanted)
			continue;
		value = bucket_largest(i);
		return value < histogram->max ? value : histogram->max;
	}
	return histogram->max;
}
