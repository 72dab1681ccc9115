/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Features of processors by the names that Linux has for them in /proc/cpuinfo; and what KVM adds
 * to a processor, by the names of <asm/kvm_para.h>: KVM_FEATURE_PV_SEND_IPI is kvm_pv_send_ipi.
 */
#ifndef HV_CPU_FEATURES_H
#define HV_CPU_FEATURES_H

#include "hv/cpuid.h"

/*
 * Clears the features of `mask` ("xsave,smap"; NULL or "": none) in `cpuid`; with NULL for cpuid
 * it only checks the names.  0; or -EINVAL and a sentence that names the first unknown name and
 * those that are near it, and nothing is cleared.
 */
int cpu_features_mask(struct cpuid *cpuid, const char *mask, struct hv_error *error);

#endif
