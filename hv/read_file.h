/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are read whole into guest memory: a kernel, an initrd.  Main thread, before the guest
 * runs.
 */
#ifndef HV_READ_FILE_H
#define HV_READ_FILE_H

#include <stdint.h>

#include "hv/error.h"
#include "hv/guest_memory.h"

/* Opens a regular file for reading and says how long it is.  `what` names it in the sentence
 * ("kernel").  The descriptor, or a negative errno. */
int read_file_open(const char *path, const char *what, uint64_t *bytes, struct hv_error *error);

/* Reads exactly `bytes` at `offset`.  0, -ENODATA if the file ends before, or another negative
 * errno. */
int read_file_exactly(int fd, uint64_t offset, void *to, uint64_t bytes);

/*
 * The same into guest memory.  Where it is on small pages the kernel copies from file to file,
 * which saves this process a page fault for each of them.  -EFAULT if the range is not all memory.
 */
int read_file_to_guest(int fd, uint64_t offset, const struct guest_memory *memory, uint64_t address,
	uint64_t bytes);

#endif
