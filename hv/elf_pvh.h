/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ELF file with a PVH note: it is entered at the address of the note, in 32-bit protected mode.
 */
#ifndef HV_ELF_PVH_H
#define HV_ELF_PVH_H

#include "hv/boot.h"
#include "hv/kernel_image.h"

/* As boot_load(), for a file that kernel_image_open() found to be an ELF file. */
int elf_pvh_load(const struct guest_memory *memory, const struct kernel_image *image,
	const struct vmm_options *options, struct boot_entry *entry, struct hv_error *error);

#endif
