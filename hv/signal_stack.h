/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack for handlers of faults: a thread whose own is used up, or whose stack pointer leads
 * nowhere, can still say so.
 */
#ifndef HV_SIGNAL_STACK_H
#define HV_SIGNAL_STACK_H

#include <stddef.h>

/* All zeros may be freed. */
struct signal_stack {
	void *memory;
	size_t bytes;
};

/*
 * From now on handlers with SA_ONSTACK run on a stack of their own in the calling thread, unless it
 * has one already.  Before the thread enters its list of system calls.  0 or a negative errno.
 */
int signal_stack_enter(struct signal_stack *stack);

/* Frees it, when its thread has ended. */
void signal_stack_free(struct signal_stack *stack);

#endif
