/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM as this host has it: /dev/kvm, what it must be able to do, and an empty guest.
 *
 * Main thread, before the guest runs.
 */
#ifndef HV_KVM_H
#define HV_KVM_H

#include "hv/error.h"
#include "hv/guest_memory.h"

/*
 * Opens /dev/kvm and makes sure that it is the API that this program was written for, with all
 * that it needs.  The descriptor, or a negative errno and a sentence that says what is missing and
 * what to do.
 */
int kvm_open(struct hv_error *error);

/* Who has the I/O APIC; the local APICs are KVM's in any case. */
enum kvm_ioapic { KVM_IOAPIC_IN_KERNEL, KVM_IOAPIC_SPLIT };

/* KVM's, if it has one: Linux can be built without. */
enum kvm_ioapic kvm_best_ioapic(int kvm_fd);

/* A guest without memory and processors.  The descriptor, or a negative errno and a sentence. */
int kvm_create_guest(int kvm_fd, enum kvm_ioapic ioapic, struct hv_error *error);

/* Gives the guest its memory, which must outlive `vm_fd`.  0, or a negative errno and a sentence.
 */
int kvm_set_memory(int vm_fd, const struct guest_memory *memory, struct hv_error *error);

/* How many processors a guest can have here. */
unsigned int kvm_vcpus_max(int kvm_fd);

#endif
