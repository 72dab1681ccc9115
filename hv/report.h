/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the operator about what goes on while the guest runs: not too many, whatever the guest
 * or a back end does to cause them.
 */
#ifndef HV_REPORT_H
#define HV_REPORT_H

#include <stdint.h>

#include "hv/error.h"

/* One for each thing that reports.  All zeros is one that has said nothing yet. */
struct report {
	uint64_t since_ms;
	unsigned int n;
	char last[2 * HV_ERROR_BYTES];
};

/*
 * Writes "cordon-vmm: NAME: TEXT" on stderr: the same text again once a minute, and 20 lines a
 * minute at most.  With the machine's lock held, or before the guest runs.
 */
void report_line(struct report *report, const char *name, const char *text);

#endif
