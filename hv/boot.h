/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a kernel file, an initrd and a command line to what the boot processor starts with.
 *
 *	bzImage		Linux's 64-bit boot protocol: long mode, pages mapped one to one, the
 *			zero page's address in RSI (Documentation/arch/x86/boot.rst)
 *	ELF		PVH: 32-bit protected mode without paging, the address of
 *			hvm_start_info in EBX (Xen's docs/misc/pvh.pandoc)
 *
 * Where things lie in guest memory, below 1 MiB; the kernel and the initrd are above:
 *
 *	0x00000		nothing: whoever follows a null pointer finds zeros
 *	0x01000		the GDT
 *	0x02000		the zero page, or hvm_start_info with its module and its memory map
 *	0x03000		page tables: 4 GiB one to one, in pages of 2 MiB (64-bit entry only)
 *	0x10000		the boot stack's end (it grows down)
 *	0x20000		the command line
 *	0x9fc00		the end of what E820 calls usable below 1 MiB
 *	0xe0000		ACPI's tables, the RSDP first (hv/acpi.h)
 *
 * Called by the main thread, before any processor runs.
 */
#ifndef HV_BOOT_H
#define HV_BOOT_H

#include <linux/kvm.h>
#include <stdint.h>

#include "hv/error.h"
#include "hv/machine.h"
#include "hv/options.h"

enum {
	BOOT_GDT = 0x1000,
	BOOT_PARAMETERS = 0x2000,
	BOOT_PAGE_TABLES = 0x3000,
	BOOT_STACK_END = 0x10000,
	BOOT_COMMAND_LINE = 0x20000,
	BOOT_COMMAND_LINE_BYTES = 0x10000,
	BOOT_LOW_END = 0x9fc00,
	BOOT_HIGH_START = 0x100000,
};

/*
 * The boot processor's registers.  What is not named here is as after KVM's reset: all other
 * general registers 0, RFLAGS 2, interrupts off, an empty IDT.
 */
struct boot_entry {
	uint64_t rip, rsp, rbx, rsi;
	uint64_t cr0, cr3, cr4, efer;
	/* CS; DS, ES, FS, GS and SS; TR: as KVM_SET_SREGS takes them. */
	struct kvm_segment code, data, task;
	/* The GDT that these selectors are in. */
	uint64_t gdt_base;
	uint16_t gdt_limit;
};

/*
 * Reads options->kernel and options->initrd (if any) straight into machine->memory, writes the
 * command line and the tables, and fills `entry`.  acpi_build() was called before: both protocols
 * are told where the RSDP is.  0, or a negative errno and a sentence that names the file, and what
 * was found and expected.  Guest memory is then in any state.
 */
int boot_load(const struct machine *machine, const struct vmm_options *options,
	struct boot_entry *entry, struct hv_error *error);

#endif
