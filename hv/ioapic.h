/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O APIC (Intel 82093AA), for a KVM that has none of its own: each of its lines becomes the
 * message that the guest has programmed for it.
 *
 * All lines here are pulses (LAYOUT_LINE_...): a line that the guest takes for level-triggered is
 * signalled in the same way, and never waits for an end of interrupt.  As on the hardware, what
 * comes while a line is masked is lost.
 */
#ifndef HV_IOAPIC_H
#define HV_IOAPIC_H

#include "hv/error.h"
#include "hv/machine.h"

struct ioapic;

/* Puts it on machine->mmio, all lines masked; machine->interrupts are KVM's, with
 * KVM_IOAPIC_SPLIT.  0, or a negative errno and a sentence; to be ended by ioapic_destroy(). */
int ioapic_create(struct ioapic **ioapic, struct machine *machine, struct hv_error *error);
void ioapic_destroy(struct ioapic *ioapic);

/* How often KVM has refused where a line is to go. */
uint64_t ioapic_refused(const struct ioapic *ioapic);

#endif
