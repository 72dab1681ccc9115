/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DPDK's start, and its drivers.
 */
#ifndef DATAPATH_DPDK_H
#define DATAPATH_DPDK_H

#include <stdbool.h>
#include <stddef.h>

struct switch_options;

/* Initialises DPDK, with memory from huge pages or from ordinary ones, and without drivers.  Its
 * messages go to our log.  False if it refuses: rte_errno says why.  Main thread, once. */
bool dpdk_start(const struct switch_options *options, bool huge_pages);

/* Loads one driver, such as "net_tap".  One that is loaded already is left alone.  Returns 0, or
 * -ENOENT with a sentence in error[].  Main thread. */
int dpdk_load_driver(const char *name, char *error, size_t error_size);

/* Loads all drivers that DPDK is installed with.  Takes tens of milliseconds the first time.  One
 * that cannot be loaded, for want of a library that it needs, is named in the log only.  Main
 * thread. */
void dpdk_load_drivers(void);

#endif
