/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the process gives up before a guest runs: the file system, the network, other processes,
 * privileges.
 *
 *	everything is opened -> sandbox_enter() -> vCPU threads start (each: seccomp_enter()) ->
 *	main thread: seccomp_enter() -> guests run
 *
 * Afterwards the root is an empty read-only directory, the network namespace has no device, the
 * process is nobody, has no capability and never gets one, and can be neither dumped nor traced.
 * Only descriptors are left.  hv/broker.h is the way to a UNIX socket.
 */
#ifndef HV_SANDBOX_H
#define HV_SANDBOX_H

#include "hv/error.h"
#include "hv/options.h"

/*
 * With options->sandbox: all of it, or a negative errno and a sentence that names the step.
 * Without: only what never fails (no new privileges, limits).  While the process has one thread.
 */
int sandbox_enter(const struct vmm_options *options, struct hv_error *error);

#endif
