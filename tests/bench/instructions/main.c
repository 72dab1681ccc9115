/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives known packets through the packet path, so that callgrind can count its instructions.  Run
 * by tests/bench/instructions.py:
 *
 *      valgrind --tool=callgrind --collect-atstart=no --callgrind-out-file=PREFIX instructions
 *
 * Prints a line for each case: its name, the number of frames counted, and what it is, with tabs
 * between them; the counts are in the dumps that carry the case's name.  All must be built for a
 * machine that valgrind knows, so without AVX-512; Debian's DPDK is.
 */
#include <config.h>

#include "tests/bench/instructions/stage.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <rte_eal.h>

#include "ovs-rcu.h"
#include "tests/bench/instructions/cases.h"

void give_up(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "instructions: ");
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(EXIT_FAILURE);
}

int main(int argc, char *argv[])
{
	char *eal[] = {argv[0], "--no-huge", "-m", "128", "--no-shconf", "--no-pci",
		"--no-telemetry", "--log-level=4", "--lcores", "0@(0-1)", NULL};

	(void)argc;
	if (rte_eal_init(RTE_DIM(eal) - 1, eal) < 0)
		give_up("DPDK could not be started");
	ovsrcu_quiesce_start();
	for (size_t i = 0; i < n_bench_cases; i++) {
		const struct bench_case *bench_case = &bench_cases[i];
		struct stage *stage = stage_open(bench_case->capacity);
		uint32_t frames = bench_case->run(stage, bench_case);

		stage_close(stage);
		printf("%s\t%u\t%s\n", bench_case->name, frames, bench_case->what);
		fflush(stdout);
	}
	return EXIT_SUCCESS;
}
