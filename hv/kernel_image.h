/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel file that a person named: opened, and told what it is.
 *
 * Nothing in it is believed: offsets and lengths that come from it are checked by whoever uses
 * them, and kernel_image_read() reads no byte beyond what the file has, even if it shrinks
 * meanwhile.
 */
#ifndef HV_KERNEL_IMAGE_H
#define HV_KERNEL_IMAGE_H

#include <stdint.h>

#include "hv/error.h"
#include "hv/guest_memory.h"

/* As much as all decisions about the kind of a file need: the boot sector and the setup header
 * behind it. */
enum { KERNEL_IMAGE_HEAD = 1024 };

enum kernel_kind { KERNEL_BZIMAGE, KERNEL_ELF };

struct kernel_image {
	const char *path; /* The caller's; for messages. */
	int fd;
	uint64_t bytes;
	enum kernel_kind kind;
	uint8_t head[KERNEL_IMAGE_HEAD]; /* The file's beginning; zeros beyond its end. */
};

/*
 * Opens `path` and sees whether it is a bzImage or a 64-bit ELF program for x86-64.  0, or a
 * negative errno and a sentence that says what it is instead.  To be ended by kernel_image_close(),
 * in both cases.
 */
int kernel_image_open(struct kernel_image *image, const char *path, struct hv_error *error);
void kernel_image_close(struct kernel_image *image);

/* Reads exactly `bytes` at `offset`; `what` names them in the sentence if the file ends before. */
int kernel_image_read(const struct kernel_image *image, uint64_t offset, void *to, uint64_t bytes,
	const char *what, struct hv_error *error);

/* The same into guest memory, of which the range must be part. */
int kernel_image_load(const struct kernel_image *image, uint64_t offset,
	const struct guest_memory *memory, uint64_t address, uint64_t bytes, const char *what,
	struct hv_error *error);

#endif
