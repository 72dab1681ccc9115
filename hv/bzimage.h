/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bzImage, by Linux's 64-bit boot protocol.
 */
#ifndef HV_BZIMAGE_H
#define HV_BZIMAGE_H

#include "hv/boot.h"
#include "hv/kernel_image.h"

/* As boot_load(), for a file that kernel_image_open() found to be a bzImage. */
int bzimage_load(const struct guest_memory *memory, const struct kernel_image *image,
	const struct vmm_options *options, struct boot_entry *entry, struct hv_error *error);

#endif
