/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where everything is: guest-physical addresses, I/O ports, interrupt lines.
 *
 *	0 .. 3 GiB		memory (or less)
 *	0xc0000000 .. 0xdfffffff	PCI: 32-bit window
 *	0xe0000000 .. 0xe00fffff	PCI: configuration space (ECAM) of bus 0
 *	0xfec00000, 0xfee00000	I/O APIC, local APICs (KVM's)
 *	0xfffbc000 .. 0xfffbffff	pages that KVM on Intel keeps for itself
 *	4 GiB ..		memory, if there is more than 3 GiB
 *	behind all memory	PCI: 64-bit window (layout_pci64_base())
 *
 * The numbers are told to the guest by ACPI's tables (acpi.c), E820 and PCI; a guest has no other
 * way to know them.
 */
#ifndef HV_LAYOUT_H
#define HV_LAYOUT_H

#include <stdint.h>

#include "hv/guest_memory.h"

/* PCI: one bus, whose configuration space is 1 MiB (32 devices of 8 functions of 4 KiB). */
#define LAYOUT_PCI32_BASE	GUEST_HOLE_START
#define LAYOUT_PCI32_BYTES	UINT64_C(0x20000000)
#define LAYOUT_ECAM_BASE	UINT64_C(0xe0000000)
#define LAYOUT_ECAM_BYTES	UINT64_C(0x100000)
#define LAYOUT_PCI64_BYTES	UINT64_C(0x100000000)

#define LAYOUT_IOAPIC_BASE	UINT64_C(0xfec00000)
#define LAYOUT_LOCAL_APIC_BASE	UINT64_C(0xfee00000)
#define LAYOUT_KVM_IDENTITY_MAP UINT64_C(0xfffbc000)
#define LAYOUT_KVM_TSS		UINT64_C(0xfffbd000) /* Three pages. */

/* I/O ports. */
enum layout_port {
	LAYOUT_PORT_I8042 = 0x60, /* Data; the command and status register is at 0x64. */
	LAYOUT_PORT_I8042_BYTES = 5,
	LAYOUT_PORT_COM1 = 0x3f8,
	LAYOUT_PORT_COM1_BYTES = 8,
	LAYOUT_PORT_POWER = 0x600, /* The block below. */
	LAYOUT_PORT_POWER_BYTES = 8,
	LAYOUT_PORT_PCI_ADDRESS = 0xcf8,
	LAYOUT_PORT_PCI_DATA = 0xcfc,
	LAYOUT_PORT_PCI_BYTES = 8, /* Address and data together. */
};

/* The I/O APIC's lines.  All of them are edge-triggered, active high. */
enum layout_line {
	LAYOUT_LINE_COM1 = 4,
	LAYOUT_LINE_POWER = 9, /* ACPI's Generic Event Device. */
	LAYOUT_LINES = 24,
};

/* Behind all memory, where 64-bit BARs are; LAYOUT_PCI64_BYTES long, and aligned to 1 GiB. */
static inline uint64_t layout_pci64_base(const struct guest_memory *memory)
{
	const struct guest_memory_region *last = &memory->regions[memory->n_regions - 1];
	uint64_t end = last->address + last->bytes;

	if (end < GUEST_HOLE_END)
		return GUEST_HOLE_END;
	return (end + UINT64_C(0x3fffffff)) & ~UINT64_C(0x3fffffff);
}

#endif
