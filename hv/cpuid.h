/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest's processors say of themselves (CPUID): what KVM can do on this host, less what
 * guests are not to have, and with the guest's own topology: one socket, a core for each processor,
 * no hyper-threads.
 *
 * Main thread, before the guest runs.
 */
#ifndef HV_CPUID_H
#define HV_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/error.h"
#include "hv/machine.h"

enum { CPUID_ENTRIES_MAX = 256 };

/* The list of leaves, laid out as struct kvm_cpuid2, with room for CPUID_ENTRIES_MAX. */
struct cpuid {
	uint32_t n, padding;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

/* What the list is adapted to. */
struct cpuid_guest {
	unsigned int n_vcpus;
	uint32_t tsc_khz;  /* 0: not known. */
	bool tsc_deadline; /* KVM's local APICs have a timer with a TSC deadline. */
};

/* Gives all processors of `machine` their CPUID, without the features of `mask` (Linux's names with
 * commas, or NULL).  0, or a negative errno and a sentence. */
int cpuid_set(struct machine *machine, const char *mask, struct hv_error *error);

/* From what KVM supports to what a guest has.  Pure. */
void cpuid_filter(struct cpuid *cpuid, const struct cpuid_guest *guest);

/* Makes the list that of processor `index`: APIC ids.  Pure; after cpuid_filter(). */
void cpuid_number(struct cpuid *cpuid, unsigned int index);

/* The leaf, or NULL. */
struct kvm_cpuid_entry2 *cpuid_find(struct cpuid *cpuid, uint32_t function, uint32_t index);

#endif
