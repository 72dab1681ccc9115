/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the command line where both boot protocols say that it is.
 *
 * Called by the loaders of kernels on the main thread, before the guest runs.
 */
#include "hv/boot_command_line.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "hv/boot.h"

int boot_command_line_write(const struct guest_memory *memory, const char *text, uint64_t longest,
	struct hv_error *error)
{
	size_t bytes = text ? strlen(text) : 0;

	if (longest > BOOT_COMMAND_LINE_BYTES - 1)
		longest = BOOT_COMMAND_LINE_BYTES - 1;
	if (bytes > longest)
		return hv_fail(error, E2BIG,
			"the command line has %zu bytes, but this kernel takes only %" PRIu64
			"; shorten it",
			bytes, longest);
	guest_memory_write(memory, BOOT_COMMAND_LINE, text ? text : "", bytes + 1);
	return 0;
}
