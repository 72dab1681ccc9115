/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads what a guest boots: sees what the kernel file is and has it loaded by its protocol.
 *
 * Called by the main thread once the guest has memory and ACPI's tables, before any processor runs.
 */
#include "hv/boot.h"

#include "hv/bzimage.h"
#include "hv/elf_pvh.h"
#include "hv/kernel_image.h"

int boot_load(const struct machine *machine, const struct vmm_options *options,
	struct boot_entry *entry, struct hv_error *error)
{
	struct kernel_image image;
	int status = kernel_image_open(&image, options->kernel, error);

	if (status == 0 && image.kind == KERNEL_BZIMAGE)
		status = bzimage_load(&machine->memory, &image, options, entry, error);
	else if (status == 0)
		status = elf_pvh_load(&machine->memory, &image, options, entry, error);
	kernel_image_close(&image);
	return status;
}
