/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The initial RAM disk: a file that lies whole in guest memory beside the kernel.
 */
#ifndef HV_INITRD_H
#define HV_INITRD_H

#include <stdint.h>

#include "hv/error.h"
#include "hv/guest_memory.h"

struct initrd {
	uint64_t address, bytes; /* 0 bytes: none. */
};

/* What the kernel leaves of memory. */
struct initrd_room {
	uint64_t kernel_start, kernel_end; /* The kernel, and all that it needs until it runs. */
	uint64_t last;			   /* The highest address that may belong to the initrd. */
};

/*
 * Reads the file to the highest address that is a multiple of the page size, inside `room` and the
 * memory below 3 GiB, and not in the kernel.  `path` may be NULL: no initrd.  0, or a negative
 * errno and a sentence, with sizes if it does not fit.  Main thread, before the guest runs.
 */
int initrd_load(struct initrd *initrd, const char *path, const struct guest_memory *memory,
	const struct initrd_room *room, struct hv_error *error);

#endif
