/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts through KVM: routes of the I/O APIC's lines and of messages, and irqfds.
 */
#ifndef HV_INTERRUPTS_KVM_H
#define HV_INTERRUPTS_KVM_H

#include "hv/error.h"
#include "hv/interrupts.h"
#include "hv/kvm.h"

/*
 * KVM's interrupts of this guest.  With KVM_IOAPIC_IN_KERNEL the I/O APIC's lines are in place;
 * else they go nowhere until interrupts_kvm_route_line() says where.  0, or a negative errno and a
 * sentence; to be ended by interrupts_kvm_destroy(), after all that use it.
 */
int interrupts_kvm_create(struct interrupts **interrupts, int kvm_fd, int vm_fd,
	enum kvm_ioapic ioapic, struct hv_error *error);
void interrupts_kvm_destroy(struct interrupts *interrupts);

/* The message that a line sends from now on, or none.  0 or a negative errno, and it is as before.
 * With the machine's lock held; only with KVM_IOAPIC_SPLIT. */
int interrupts_kvm_route_line(
	struct interrupts *interrupts, unsigned int line, uint64_t address, uint32_t data);
int interrupts_kvm_unroute_line(struct interrupts *interrupts, unsigned int line);

#endif
