/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory map, from the guest's memory and hv/layout.h.
 *
 * Called by the loaders of kernels on the main thread, before the guest runs.
 */
#include "hv/e820.h"

#include "hv/boot.h"
#include "hv/layout.h"

unsigned int e820_build(const struct guest_memory *memory, struct e820_range *ranges)
{
	unsigned int n = 0;

	ranges[n++] = (struct e820_range){0, BOOT_LOW_END, E820_MEMORY};
	/* What PCs have there, and ACPI's tables. */
	ranges[n++] =
		(struct e820_range){BOOT_LOW_END, BOOT_HIGH_START - BOOT_LOW_END, E820_RESERVED};
	ranges[n++] = (struct e820_range){
		BOOT_HIGH_START, memory->regions[0].bytes - BOOT_HIGH_START, E820_MEMORY};
	/* Linux trusts ECAM only if the memory map has it reserved. */
	ranges[n++] = (struct e820_range){LAYOUT_ECAM_BASE, LAYOUT_ECAM_BYTES, E820_RESERVED};
	ranges[n++] = (struct e820_range){
		LAYOUT_KVM_IDENTITY_MAP, GUEST_HOLE_END - LAYOUT_KVM_IDENTITY_MAP, E820_RESERVED};
	for (unsigned int i = 1; i < memory->n_regions; i++)
		ranges[n++] = (struct e820_range){
			memory->regions[i].address, memory->regions[i].bytes, E820_MEMORY};
	return n;
}
