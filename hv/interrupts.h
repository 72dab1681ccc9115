/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How devices interrupt the guest: a descriptor each, which KVM (irqfd) turns into an interrupt
 * without this process.
 *
 * Lines are the I/O APIC's (GSI 0 to 23), for the serial port and ACPI's events.  Messages are
 * MSI-X: PCI reserves a GSI beyond the lines for each vector, gives it address and data when the
 * guest programs them, and attaches the eventfds that raise it.  A vector that is masked has none
 * attached: an event that comes meanwhile stays in its eventfd, and KVM raises the interrupt as
 * soon as the eventfd is attached again.  So nothing is lost, and the pending bit is whether the
 * eventfd is readable.
 *
 * The operations are KVM's (interrupts_kvm.c), or a test's that records them.  All are called with
 * the machine's lock held, or before the guest runs.
 */
#ifndef HV_INTERRUPTS_H
#define HV_INTERRUPTS_H

#include <stdint.h>

struct interrupts;

struct interrupt_operations {
	/* Reserves `n` message GSIs in a row: the first, or -ENOSPC. */
	int (*reserve)(struct interrupts *interrupts, unsigned int n);
	/* The message that `gsi` sends from now on. */
	int (*route)(
		struct interrupts *interrupts, unsigned int gsi, uint64_t address, uint32_t data);
	/* From now on a write to `eventfd` (non-blocking) raises `gsi`, at once if it is readable
	 * already; and no longer. */
	int (*attach)(struct interrupts *interrupts, unsigned int gsi, int eventfd);
	void (*detach)(struct interrupts *interrupts, unsigned int gsi, int eventfd);
};

struct interrupts {
	const struct interrupt_operations *operations;
};

#endif
