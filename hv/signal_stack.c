/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stacks for handlers of faults.  Entered by each thread for itself: by the main thread when it
 * takes the signals (outcome.c), by vCPU threads when they start (vcpu.c), and freed by whoever has
 * joined the thread.
 *
 * Below each lies a page that nobody may touch: a handler that needs more than there is ends the
 * process, and writes over nothing.
 */
#include "hv/signal_stack.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

/* What a handler of ours takes, beside what the kernel saves of the processor. */
enum { HANDLER_BYTES = 64 * 1024 };

static bool has_one(void)
{
	stack_t now;

	return sigaltstack(NULL, &now) == 0 && !(now.ss_flags & SS_DISABLE);
}

int signal_stack_enter(struct signal_stack *stack)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t usable = (HANDLER_BYTES + getauxval(AT_MINSIGSTKSZ) + page - 1) / page * page;
	stack_t wanted = {.ss_size = usable};
	void *memory;

	*stack = (struct signal_stack){0};
	/* A sanitizer's. */
	if (has_one())
		return 0;
	memory = mmap(NULL, page + usable, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	*stack = (struct signal_stack){memory, page + usable};
	wanted.ss_sp = (char *)memory + page;
	if (mprotect(wanted.ss_sp, usable, PROT_READ | PROT_WRITE) < 0 ||
		sigaltstack(&wanted, NULL) < 0) {
		int status = -errno;

		signal_stack_free(stack);
		return status;
	}
	return 0;
}

void signal_stack_free(struct signal_stack *stack)
{
	if (stack->memory)
		munmap(stack->memory, stack->bytes);
	*stack = (struct signal_stack){0};
}
