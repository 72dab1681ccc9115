/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines on stderr while the guest runs, of a bounded number.  Called by devices and their back
 * ends, on the main thread and on vCPU threads, with the machine's lock held.
 */
#include "hv/report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MINUTE_MS = 60 * 1000, LINES_MAX = 20 };

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void report_line(struct report *report, const char *name, const char *text)
{
	uint64_t now = now_ms();

	if (now - report->since_ms >= MINUTE_MS) {
		report->since_ms = now;
		report->n = 0;
		report->last[0] = '\0';
	}
	if (strncmp(text, report->last, sizeof(report->last) - 1) == 0 || report->n >= LINES_MAX)
		return;
	report->n++;
	snprintf(report->last, sizeof(report->last), "%s", text);
	fprintf(stderr, "cordon-vmm: %s: %s\n", name, text);
}
