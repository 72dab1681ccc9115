/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A control group for each guest: what it uses is accounted for, and it cannot multiply.  Version 2
 * of the kernel's control groups or version 1, whichever has the controllers.
 *
 *	v2	ROOT/cordon/RUNDIR/vm-NAME
 *	v1	ROOT/memory/cordon/RUNDIR/vm-NAME, ROOT/cpuacct/..., ROOT/cpu/..., ROOT/pids/...
 *
 * None of them is below this process's own group, even if systemd has delegated that: guests run on
 * while the service is restarted, and systemd can put no process into a group that has handed its
 * controllers on to others.
 *
 * Where groups cannot be made, guests run without, and a warning says so once.
 *
 * Main thread.
 */
#ifndef HV_HOSTD_CGROUP_H
#define HV_HOSTD_CGROUP_H

#include <stdbool.h>

#include "hv/hostd/counts.h"

enum { CGROUP_HIERARCHIES = 5 };

struct cgroups;

/* Finds out what there is; never fails.  `run_directory` tells hosts on one machine apart. */
struct cgroups *cgroups_create(const char *run_directory);
void cgroups_destroy(struct cgroups *cgroups); /* Accepts NULL; groups of guests stay. */

/* "v2 at /sys/fs/cgroup/...", or why there are none; owned by *cgroups. */
const char *cgroups_describe(const struct cgroups *cgroups);

/*
 * Makes the group of guest `name` if it is not there, for at most `n_tasks` threads, and opens in
 * fds[] (close-on-exec) what a process writes "0" into to be in it.  Returns how many were opened.
 */
unsigned int cgroups_enter(struct cgroups *cgroups, const char *name, unsigned int n_tasks,
	int fds[CGROUP_HIERARCHIES]);

/* Memory and CPU time in use. */
void cgroups_count(const struct cgroups *cgroups, const char *name, struct counts *counts);

/* Removes a group that nobody is in any more. */
void cgroups_remove(const struct cgroups *cgroups, const char *name);

#endif
