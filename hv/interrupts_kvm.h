/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts through KVM: routes of the I/O APIC's lines and of messages, and irqfds.
 */
#ifndef HV_INTERRUPTS_KVM_H
#define HV_INTERRUPTS_KVM_H

#include "hv/error.h"
#include "hv/interrupts.h"

/*
 * KVM's interrupts of this guest, with the I/O APIC's lines in place.  0, or a negative errno and a
 * sentence; to be ended by interrupts_kvm_destroy(), after all that use it.
 */
int interrupts_kvm_create(
	struct interrupts **interrupts, int kvm_fd, int vm_fd, struct hv_error *error);
void interrupts_kvm_destroy(struct interrupts *interrupts);

#endif
