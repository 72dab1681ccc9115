/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model-specific registers that a guest finds set when it starts, as firmware would leave them.
 */
#ifndef HV_MSR_H
#define HV_MSR_H

#include "hv/error.h"
#include "hv/machine.h"

/* Sets them on all processors.  0, or a negative errno and a sentence.  Main thread, after CPUID
 * was set, before the guest runs. */
int msr_set(struct machine *machine, struct hv_error *error);

#endif
