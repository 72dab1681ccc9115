/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI's tables (ACPI 6.5): what the guest is told of its hardware, all of hv/layout.h.
 *
 *	RSDP -> XSDT -> FADT	hardware-reduced: sleep and reset registers, no VGA, no RTC
 *	     |		  `-> DSDT	the PCI root and its windows, COM1, the power button and the
 *	     |				generic event device (GED) that it is reported through, \_S5
 *	     |-> MADT		the processors' APICs and the I/O APIC
 *	     `-> MCFG		PCI's configuration space in memory (ECAM)
 */
#ifndef HV_ACPI_H
#define HV_ACPI_H

#include "hv/error.h"
#include "hv/machine.h"

/* Where the RSDP is, and where all tables end: where BIOSes are searched, reserved in the memory
 * map. */
enum { ACPI_RSDP = 0xe0000, ACPI_END = 0x100000 };

/*
 * Writes the tables into machine->memory, for machine->n_vcpus processors with APIC ids from 0 on.
 * 0, or a negative errno and a sentence.  Main thread, before any processor runs, once the
 * memory is there; reads nothing else of the machine.
 */
int acpi_build(const struct machine *machine, struct hv_error *error);

#endif
