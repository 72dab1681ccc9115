/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's command line in guest memory.
 */
#ifndef HV_BOOT_COMMAND_LINE_H
#define HV_BOOT_COMMAND_LINE_H

#include <stdint.h>

#include "hv/error.h"
#include "hv/guest_memory.h"

/* How long Linux lets it be on x86, where the kernel file does not say. */
enum { BOOT_COMMAND_LINE_LINUX = 2047 };

/*
 * Writes `text` (NULL: an empty one) to BOOT_COMMAND_LINE.  `longest` is how many bytes the kernel
 * takes, without the zero at the end.  0, or -E2BIG and a sentence.  Main thread, before the
 * guest runs.
 */
int boot_command_line_write(const struct guest_memory *memory, const char *text, uint64_t longest,
	struct hv_error *error);

#endif
