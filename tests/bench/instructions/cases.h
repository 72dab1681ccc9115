/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is counted: each case opens a stage, makes what must be there before, and runs its frames.
 */
#ifndef TESTS_BENCH_INSTRUCTIONS_CASES_H
#define TESTS_BENCH_INSTRUCTIONS_CASES_H

#include <stddef.h>
#include <stdint.h>

struct bench_case {
	const char *name; /* "hit-..." or "miss-...", by the path that its frames take. */
	const char *what;
	uint32_t capacity; /* Of the connection table. */
	/* Runs it; returns the number of frames that were counted.  Frames that go another way than
	 * the case says end the program. */
	uint32_t (*run)(struct stage *stage, const struct bench_case *bench_case);
};

extern const struct bench_case bench_cases[];
extern const size_t n_bench_cases;

#endif
