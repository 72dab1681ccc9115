/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are read whole into guest memory: a kernel, an initrd.  Main thread, before the guest
 * runs.
 */
#ifndef HV_READ_FILE_H
#define HV_READ_FILE_H

#include <stdint.h>

#include "hv/error.h"

/* Opens a regular file for reading and says how long it is.  `what` names it in the sentence
 * ("kernel").  The descriptor, or a negative errno. */
int read_file_open(const char *path, const char *what, uint64_t *bytes, struct hv_error *error);

/* Reads exactly `bytes` at `offset`.  0, -ENODATA if the file ends before, or another negative
 * errno. */
int read_file_exactly(int fd, uint64_t offset, void *to, uint64_t bytes);

#endif
