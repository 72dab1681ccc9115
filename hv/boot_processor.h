/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state that a kernel wants its first processor in: segments, control registers, page tables.
 */
#ifndef HV_BOOT_PROCESSOR_H
#define HV_BOOT_PROCESSOR_H

#include "hv/boot.h"

/* Both write the GDT into guest memory and fill all of `entry` but the kernel's own registers (RIP,
 * RBX, RSI).  Main thread, before the guest runs. */

/* Long mode, the first 4 GiB mapped one to one; selectors as Linux's 64-bit entry wants them. */
void boot_processor_long_mode(const struct guest_memory *memory, struct boot_entry *entry);

/* 32-bit protected mode, no paging: PVH's entry. */
void boot_processor_protected_mode(const struct guest_memory *memory, struct boot_entry *entry);

#endif
