/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generator's clock: the processor's time stamp counter, in ticks.
 */
#ifndef GENERATOR_CLOCK_H
#define GENERATOR_CLOCK_H

#include <stdint.h>
#include <time.h>
#include <x86intrin.h>

static inline uint64_t clock_ticks(void)
{
	return __rdtsc();
}

/* Compares the counter with the kernel's clock for a twentieth of a second.  Returns ticks per
 * second. */
static inline uint64_t clock_measure_hz(void)
{
	const uint64_t wait_ns = 50 * 1000000ull;
	struct timespec begin, now;
	uint64_t ticks, ns;

	clock_gettime(CLOCK_MONOTONIC_RAW, &begin);
	ticks = clock_ticks();
	do {
		clock_gettime(CLOCK_MONOTONIC_RAW, &now);
		ns = (uint64_t)(now.tv_sec - begin.tv_sec) * 1000000000ull + (uint64_t)now.tv_nsec -
		     (uint64_t)begin.tv_nsec;
	} while (ns < wait_ns);
	ticks = clock_ticks() - ticks;
	return (uint64_t)((double)ticks * 1e9 / (double)ns);
}

#endif
