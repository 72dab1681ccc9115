/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Model-specific registers at the start of a guest.  Called by machine_create() on the main thread.
 */
#include "hv/msr.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/vcpu.h"

/* Intel's SDM, volume 4. */
#define MSR_SYSENTER_CS	   0x174
#define MSR_SYSENTER_ESP   0x175
#define MSR_SYSENTER_EIP   0x176
#define MSR_MISC_ENABLE	   0x1a0
#define MSR_PAT		   0x277
#define MSR_MTRR_DEF_TYPE  0x2ff
#define MSR_STAR	   0xc0000081
#define MSR_LSTAR	   0xc0000082
#define MSR_CSTAR	   0xc0000083
#define MSR_SYSCALL_MASK   0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102

enum {
	MISC_ENABLE_FAST_STRING = 1,
	MTRR_ENABLE = 1 << 11,
	MTRR_WRITE_BACK = 6,
	MSRS_MAX = 512, /* That KVM may name. */
};

/* The value, and what it is for. */
static const struct {
	uint32_t index;
	uint64_t value;
} wanted[] = {
	{MSR_SYSENTER_CS, 0},
	{MSR_SYSENTER_ESP, 0},
	{MSR_SYSENTER_EIP, 0},
	{MSR_STAR, 0},
	{MSR_LSTAR, 0},
	{MSR_CSTAR, 0},
	{MSR_SYSCALL_MASK, 0},
	{MSR_KERNEL_GS_BASE, 0},
	/* Linux takes it for a sign of a broken processor if this is off. */
	{MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING},
	/* The order after a reset: WB, WT, UC-, UC, and the same again. */
	{MSR_PAT, UINT64_C(0x0007040600070406)},
	/* All memory is cached; devices' is what PAT makes of it.  Without firmware nobody else
	 * would switch this on. */
	{MSR_MTRR_DEF_TYPE, MTRR_ENABLE | MTRR_WRITE_BACK},
};

enum { N_WANTED = sizeof(wanted) / sizeof(wanted[0]) };

/* As struct kvm_msr_list. */
struct msr_list {
	uint32_t n, indexes[MSRS_MAX];
};

/* As struct kvm_msrs. */
struct msr_values {
	uint32_t n, padding;
	struct kvm_msr_entry entries[N_WANTED];
};

/* MTRRs and PAT are not among those that KVM lists, but it has them on all hosts. */
static bool is_had(const struct msr_list *had, uint32_t index)
{
	if (index == MSR_PAT || index == MSR_MTRR_DEF_TYPE)
		return true;
	for (uint32_t i = 0; i < had->n; i++) {
		if (had->indexes[i] == index)
			return true;
	}
	return false;
}

static void choose(struct msr_values *values, const struct msr_list *had)
{
	memset(values, 0, sizeof(*values));
	for (unsigned int i = 0; i < N_WANTED; i++) {
		if (is_had(had, wanted[i].index))
			values->entries[values->n++] = (struct kvm_msr_entry){
				.index = wanted[i].index, .data = wanted[i].value};
	}
}

static int set_all(const struct machine *machine, struct msr_values *values, struct hv_error *error)
{
	for (unsigned int i = 0; i < machine->n_vcpus; i++) {
		int n = ioctl(machine->vcpus[i]->fd, KVM_SET_MSRS, values);

		if (n < 0)
			return hv_fail(error, errno, "KVM sets no registers of processor %u: %s", i,
				strerror(errno));
		if ((uint32_t)n < values->n)
			return hv_fail(error, EINVAL,
				"KVM does not set the model-specific register 0x%x of processor %u",
				values->entries[n].index, i);
	}
	return 0;
}

int msr_set(struct machine *machine, struct hv_error *error)
{
	struct msr_list *had = calloc(1, sizeof(*had));
	struct msr_values values;
	int code;

	if (!had)
		return hv_fail(error, ENOMEM, "there is no memory for the processors' registers");
	had->n = MSRS_MAX;
	code = ioctl(machine->kvm_fd, KVM_GET_MSR_INDEX_LIST, had) < 0 ? errno : 0;
	if (code == 0)
		choose(&values, had);
	free(had);
	if (code)
		return hv_fail(error, code, "KVM does not name its model-specific registers: %s",
			strerror(code));
	return set_all(machine, &values, error);
}
