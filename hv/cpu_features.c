/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Features of processors by name: where CPUID tells of them.  Called by options_read() and
 * cpuid_set(), on the main thread.
 *
 * Why hide one: a host whose KVM names more than it can run, or guests that are to find the same
 * processor on different hosts.  A feature that needs a hidden one is not hidden with it; guests
 * such as Linux know by themselves that AVX needs XSAVE.
 */
#include "hv/cpu_features.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum cpuid_register { EAX, EBX, ECX, EDX };

struct cpu_feature {
	const char *name;
	uint32_t function, index;
	enum cpuid_register reg;
	unsigned int bit;
};

/* clang-format off */
static const struct cpu_feature features[] = {
	{"fpu", 0x1, 0, EDX, 0},
	{"vme", 0x1, 0, EDX, 1},
	{"de", 0x1, 0, EDX, 2},
	{"pse", 0x1, 0, EDX, 3},
	{"tsc", 0x1, 0, EDX, 4},
	{"msr", 0x1, 0, EDX, 5},
	{"pae", 0x1, 0, EDX, 6},
	{"mce", 0x1, 0, EDX, 7},
	{"cx8", 0x1, 0, EDX, 8},
	{"apic", 0x1, 0, EDX, 9},
	{"sep", 0x1, 0, EDX, 11},
	{"mtrr", 0x1, 0, EDX, 12},
	{"pge", 0x1, 0, EDX, 13},
	{"mca", 0x1, 0, EDX, 14},
	{"cmov", 0x1, 0, EDX, 15},
	{"pat", 0x1, 0, EDX, 16},
	{"pse36", 0x1, 0, EDX, 17},
	{"pn", 0x1, 0, EDX, 18},
	{"clflush", 0x1, 0, EDX, 19},
	{"dts", 0x1, 0, EDX, 21},
	{"acpi", 0x1, 0, EDX, 22},
	{"mmx", 0x1, 0, EDX, 23},
	{"fxsr", 0x1, 0, EDX, 24},
	{"sse", 0x1, 0, EDX, 25},
	{"sse2", 0x1, 0, EDX, 26},
	{"ss", 0x1, 0, EDX, 27},
	{"ht", 0x1, 0, EDX, 28},
	{"tm", 0x1, 0, EDX, 29},
	{"ia64", 0x1, 0, EDX, 30},
	{"pbe", 0x1, 0, EDX, 31},
	{"pni", 0x1, 0, ECX, 0},
	{"pclmulqdq", 0x1, 0, ECX, 1},
	{"dtes64", 0x1, 0, ECX, 2},
	{"monitor", 0x1, 0, ECX, 3},
	{"ds_cpl", 0x1, 0, ECX, 4},
	{"vmx", 0x1, 0, ECX, 5},
	{"smx", 0x1, 0, ECX, 6},
	{"est", 0x1, 0, ECX, 7},
	{"tm2", 0x1, 0, ECX, 8},
	{"ssse3", 0x1, 0, ECX, 9},
	{"cid", 0x1, 0, ECX, 10},
	{"sdbg", 0x1, 0, ECX, 11},
	{"fma", 0x1, 0, ECX, 12},
	{"cx16", 0x1, 0, ECX, 13},
	{"xtpr", 0x1, 0, ECX, 14},
	{"pdcm", 0x1, 0, ECX, 15},
	{"pcid", 0x1, 0, ECX, 17},
	{"dca", 0x1, 0, ECX, 18},
	{"sse4_1", 0x1, 0, ECX, 19},
	{"sse4_2", 0x1, 0, ECX, 20},
	{"x2apic", 0x1, 0, ECX, 21},
	{"movbe", 0x1, 0, ECX, 22},
	{"popcnt", 0x1, 0, ECX, 23},
	{"tsc_deadline_timer", 0x1, 0, ECX, 24},
	{"aes", 0x1, 0, ECX, 25},
	{"xsave", 0x1, 0, ECX, 26},
	{"avx", 0x1, 0, ECX, 28},
	{"f16c", 0x1, 0, ECX, 29},
	{"rdrand", 0x1, 0, ECX, 30},
	{"hypervisor", 0x1, 0, ECX, 31},
	{"arat", 0x6, 0, EAX, 2},
	{"fsgsbase", 0x7, 0, EBX, 0},
	{"tsc_adjust", 0x7, 0, EBX, 1},
	{"sgx", 0x7, 0, EBX, 2},
	{"bmi1", 0x7, 0, EBX, 3},
	{"hle", 0x7, 0, EBX, 4},
	{"avx2", 0x7, 0, EBX, 5},
	{"smep", 0x7, 0, EBX, 7},
	{"bmi2", 0x7, 0, EBX, 8},
	{"erms", 0x7, 0, EBX, 9},
	{"invpcid", 0x7, 0, EBX, 10},
	{"rtm", 0x7, 0, EBX, 11},
	{"cqm", 0x7, 0, EBX, 12},
	{"mpx", 0x7, 0, EBX, 14},
	{"rdt_a", 0x7, 0, EBX, 15},
	{"avx512f", 0x7, 0, EBX, 16},
	{"avx512dq", 0x7, 0, EBX, 17},
	{"rdseed", 0x7, 0, EBX, 18},
	{"adx", 0x7, 0, EBX, 19},
	{"smap", 0x7, 0, EBX, 20},
	{"avx512ifma", 0x7, 0, EBX, 21},
	{"clflushopt", 0x7, 0, EBX, 23},
	{"clwb", 0x7, 0, EBX, 24},
	{"intel_pt", 0x7, 0, EBX, 25},
	{"avx512pf", 0x7, 0, EBX, 26},
	{"avx512er", 0x7, 0, EBX, 27},
	{"avx512cd", 0x7, 0, EBX, 28},
	{"sha_ni", 0x7, 0, EBX, 29},
	{"avx512bw", 0x7, 0, EBX, 30},
	{"avx512vl", 0x7, 0, EBX, 31},
	{"avx512vbmi", 0x7, 0, ECX, 1},
	{"umip", 0x7, 0, ECX, 2},
	{"pku", 0x7, 0, ECX, 3},
	{"waitpkg", 0x7, 0, ECX, 5},
	{"avx512_vbmi2", 0x7, 0, ECX, 6},
	{"user_shstk", 0x7, 0, ECX, 7},
	{"gfni", 0x7, 0, ECX, 8},
	{"vaes", 0x7, 0, ECX, 9},
	{"vpclmulqdq", 0x7, 0, ECX, 10},
	{"avx512_vnni", 0x7, 0, ECX, 11},
	{"avx512_bitalg", 0x7, 0, ECX, 12},
	{"tme", 0x7, 0, ECX, 13},
	{"avx512_vpopcntdq", 0x7, 0, ECX, 14},
	{"la57", 0x7, 0, ECX, 16},
	{"rdpid", 0x7, 0, ECX, 22},
	{"bus_lock_detect", 0x7, 0, ECX, 24},
	{"cldemote", 0x7, 0, ECX, 25},
	{"movdiri", 0x7, 0, ECX, 27},
	{"movdir64b", 0x7, 0, ECX, 28},
	{"enqcmd", 0x7, 0, ECX, 29},
	{"sgx_lc", 0x7, 0, ECX, 30},
	{"avx512_4vnniw", 0x7, 0, EDX, 2},
	{"avx512_4fmaps", 0x7, 0, EDX, 3},
	{"fsrm", 0x7, 0, EDX, 4},
	{"avx512_vp2intersect", 0x7, 0, EDX, 8},
	{"md_clear", 0x7, 0, EDX, 10},
	{"rtm_always_abort", 0x7, 0, EDX, 11},
	{"serialize", 0x7, 0, EDX, 14},
	{"hybrid_cpu", 0x7, 0, EDX, 15},
	{"tsxldtrk", 0x7, 0, EDX, 16},
	{"pconfig", 0x7, 0, EDX, 18},
	{"arch_lbr", 0x7, 0, EDX, 19},
	{"ibt", 0x7, 0, EDX, 20},
	{"amx_bf16", 0x7, 0, EDX, 22},
	{"avx512_fp16", 0x7, 0, EDX, 23},
	{"amx_tile", 0x7, 0, EDX, 24},
	{"amx_int8", 0x7, 0, EDX, 25},
	{"spec_ctrl", 0x7, 0, EDX, 26},
	{"stibp", 0x7, 0, EDX, 27},
	{"flush_l1d", 0x7, 0, EDX, 28},
	{"arch_capabilities", 0x7, 0, EDX, 29},
	{"core_capabilities", 0x7, 0, EDX, 30},
	{"ssbd", 0x7, 0, EDX, 31},
	{"avx_vnni", 0x7, 1, EAX, 4},
	{"avx512_bf16", 0x7, 1, EAX, 5},
	{"cmpccxadd", 0x7, 1, EAX, 7},
	{"fzrm", 0x7, 1, EAX, 10},
	{"fsrs", 0x7, 1, EAX, 11},
	{"fsrc", 0x7, 1, EAX, 12},
	{"fred", 0x7, 1, EAX, 17},
	{"lkgs", 0x7, 1, EAX, 18},
	{"wrmsrns", 0x7, 1, EAX, 19},
	{"amx_fp16", 0x7, 1, EAX, 21},
	{"avx_ifma", 0x7, 1, EAX, 23},
	{"lam", 0x7, 1, EAX, 26},
	{"avx_vnni_int8", 0x7, 1, EDX, 4},
	{"avx_ne_convert", 0x7, 1, EDX, 5},
	{"amx_complex", 0x7, 1, EDX, 8},
	{"prefetchiti", 0x7, 1, EDX, 14},
	{"xsaveopt", 0xd, 1, EAX, 0},
	{"xsavec", 0xd, 1, EAX, 1},
	{"xgetbv1", 0xd, 1, EAX, 2},
	{"xsaves", 0xd, 1, EAX, 3},
	{"xfd", 0xd, 1, EAX, 4},
	/* What KVM does for guests that know it (Linux: KVM_FEATURE_...). */
	{"kvm_clocksource", 0x40000001, 0, EAX, 0},
	{"kvm_nop_io_delay", 0x40000001, 0, EAX, 1},
	{"kvm_mmu_op", 0x40000001, 0, EAX, 2},
	{"kvm_clocksource2", 0x40000001, 0, EAX, 3},
	{"kvm_async_pf", 0x40000001, 0, EAX, 4},
	{"kvm_steal_time", 0x40000001, 0, EAX, 5},
	{"kvm_pv_eoi", 0x40000001, 0, EAX, 6},
	{"kvm_pv_unhalt", 0x40000001, 0, EAX, 7},
	{"kvm_pv_tlb_flush", 0x40000001, 0, EAX, 9},
	{"kvm_async_pf_vmexit", 0x40000001, 0, EAX, 10},
	{"kvm_pv_send_ipi", 0x40000001, 0, EAX, 11},
	{"kvm_poll_control", 0x40000001, 0, EAX, 12},
	{"kvm_pv_sched_yield", 0x40000001, 0, EAX, 13},
	{"kvm_async_pf_int", 0x40000001, 0, EAX, 14},
	{"kvm_msi_ext_dest_id", 0x40000001, 0, EAX, 15},
	{"kvm_hc_map_gpa_range", 0x40000001, 0, EAX, 16},
	{"kvm_migration_control", 0x40000001, 0, EAX, 17},
	{"kvm_clocksource_stable", 0x40000001, 0, EAX, 24},
	{"syscall", 0x80000001, 0, EDX, 11},
	{"mp", 0x80000001, 0, EDX, 19},
	{"nx", 0x80000001, 0, EDX, 20},
	{"mmxext", 0x80000001, 0, EDX, 22},
	{"fxsr_opt", 0x80000001, 0, EDX, 25},
	{"pdpe1gb", 0x80000001, 0, EDX, 26},
	{"rdtscp", 0x80000001, 0, EDX, 27},
	{"lm", 0x80000001, 0, EDX, 29},
	{"3dnowext", 0x80000001, 0, EDX, 30},
	{"3dnow", 0x80000001, 0, EDX, 31},
	{"lahf_lm", 0x80000001, 0, ECX, 0},
	{"cmp_legacy", 0x80000001, 0, ECX, 1},
	{"svm", 0x80000001, 0, ECX, 2},
	{"extapic", 0x80000001, 0, ECX, 3},
	{"cr8_legacy", 0x80000001, 0, ECX, 4},
	{"abm", 0x80000001, 0, ECX, 5},
	{"sse4a", 0x80000001, 0, ECX, 6},
	{"misalignsse", 0x80000001, 0, ECX, 7},
	{"3dnowprefetch", 0x80000001, 0, ECX, 8},
	{"osvw", 0x80000001, 0, ECX, 9},
	{"ibs", 0x80000001, 0, ECX, 10},
	{"xop", 0x80000001, 0, ECX, 11},
	{"skinit", 0x80000001, 0, ECX, 12},
	{"wdt", 0x80000001, 0, ECX, 13},
	{"lwp", 0x80000001, 0, ECX, 15},
	{"fma4", 0x80000001, 0, ECX, 16},
	{"tce", 0x80000001, 0, ECX, 17},
	{"nodeid_msr", 0x80000001, 0, ECX, 19},
	{"tbm", 0x80000001, 0, ECX, 21},
	{"topoext", 0x80000001, 0, ECX, 22},
	{"perfctr_core", 0x80000001, 0, ECX, 23},
	{"perfctr_nb", 0x80000001, 0, ECX, 24},
	{"bpext", 0x80000001, 0, ECX, 26},
	{"ptsc", 0x80000001, 0, ECX, 27},
	{"perfctr_llc", 0x80000001, 0, ECX, 28},
	{"mwaitx", 0x80000001, 0, ECX, 29},
	{"nonstop_tsc", 0x80000007, 0, EDX, 8},
	{"clzero", 0x80000008, 0, EBX, 0},
	{"irperf", 0x80000008, 0, EBX, 1},
	{"xsaveerptr", 0x80000008, 0, EBX, 2},
	{"rdpru", 0x80000008, 0, EBX, 4},
	{"wbnoinvd", 0x80000008, 0, EBX, 9},
	{"ibpb", 0x80000008, 0, EBX, 12},
	{"ibrs", 0x80000008, 0, EBX, 14},
	{"amd_stibp", 0x80000008, 0, EBX, 15},
	{"amd_ssbd", 0x80000008, 0, EBX, 24},
	{"virt_ssbd", 0x80000008, 0, EBX, 25},
	{"amd_psfd", 0x80000008, 0, EBX, 28},
	{"lfence_rdtsc", 0x80000021, 0, EAX, 2},
	{"nullseg_clears_base", 0x80000021, 0, EAX, 6},
	{"autoibrs", 0x80000021, 0, EAX, 8},
};
/* clang-format on */

enum {
	N_FEATURES = sizeof(features) / sizeof(features[0]),
	NAME_MAX_BYTES = 24, /* Longer than any name above. */
	NEAR_MAX = 5,
};

static const struct cpu_feature *find(const char *name, size_t bytes)
{
	for (unsigned int i = 0; i < N_FEATURES; i++) {
		if (strlen(features[i].name) == bytes && memcmp(features[i].name, name, bytes) == 0)
			return &features[i];
	}
	return NULL;
}

/* --- unknown names ---------------------------------------------------------------------------- */

static unsigned int smallest(unsigned int a, unsigned int b, unsigned int c)
{
	a = a < b ? a : b;
	return a < c ? a : c;
}

/* How many letters are to be put in, left out or changed (Levenshtein's distance). */
static unsigned int distance(const char *a, size_t a_bytes, const char *b)
{
	unsigned int row[NAME_MAX_BYTES + 1];
	size_t b_bytes = strlen(b);

	for (unsigned int j = 0; j <= b_bytes; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= a_bytes; i++) {
		unsigned int before = row[0];

		row[0] = i;
		for (unsigned int j = 1; j <= b_bytes; j++) {
			unsigned int above = row[j];

			row[j] = smallest(
				above + 1, row[j - 1] + 1, before + (a[i - 1] != b[j - 1]));
			before = above;
		}
	}
	return row[b_bytes];
}

static bool is_near(const char *name, size_t bytes, const char *known)
{
	size_t known_bytes = strlen(known);

	if (bytes >= 3 && known_bytes > bytes && memmem(known, known_bytes, name, bytes))
		return true;
	if (known_bytes >= 3 && bytes > known_bytes && memmem(name, bytes, known, known_bytes))
		return true;
	return distance(name, bytes, known) <= (bytes > 3 ? 2 : 1);
}

/* "; near it are xsave and xsaveopt", or "". */
static void write_near(const char *name, size_t bytes, char *text, size_t text_bytes)
{
	unsigned int n = 0;
	size_t used = 0;

	text[0] = '\0';
	if (bytes > NAME_MAX_BYTES)
		return;
	for (unsigned int i = 0; i < N_FEATURES && n < NEAR_MAX; i++) {
		if (is_near(name, bytes, features[i].name))
			used += (size_t)snprintf(text + used, text_bytes - used, "%s%s",
				n++ ? ", " : "; names near it: ", features[i].name);
	}
}

static int refuse(const char *name, size_t bytes, struct hv_error *error)
{
	char near_it[NEAR_MAX * (NAME_MAX_BYTES + 2) + 32];

	write_near(name, bytes, near_it, sizeof(near_it));
	return hv_fail(error, EINVAL,
		"--cpu-mask: '%.*s' is no feature of a processor by Linux's names (those of "
		"/proc/cpuinfo, and kvm_... for what KVM adds)%s",
		(int)(bytes > NAME_MAX_BYTES ? NAME_MAX_BYTES : bytes), name, near_it);
}

/* --- the mask --------------------------------------------------------------------------------- */

static uint32_t *register_of(struct kvm_cpuid_entry2 *entry, enum cpuid_register reg)
{
	uint32_t *const registers[] = {&entry->eax, &entry->ebx, &entry->ecx, &entry->edx};

	return registers[reg];
}

static void hide(struct cpuid *cpuid, const struct cpu_feature *feature)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, feature->function, feature->index);

	if (entry)
		*register_of(entry, feature->reg) &= ~(UINT32_C(1) << feature->bit);
}

/* All names, in order; without cpuid it only checks them. */
static int each(struct cpuid *cpuid, const char *mask, struct hv_error *error)
{
	while (*mask) {
		size_t bytes = strcspn(mask, ",");
		const struct cpu_feature *feature = find(mask, bytes);

		if (!feature)
			return refuse(mask, bytes, error);
		if (cpuid)
			hide(cpuid, feature);
		mask += bytes;
		if (*mask == ',' && mask[1])
			mask++;
		else if (*mask == ',')
			return hv_fail(error, EINVAL, "--cpu-mask ends with a comma");
	}
	return 0;
}

int cpu_features_mask(struct cpuid *cpuid, const char *mask, struct hv_error *error)
{
	int status = mask ? each(NULL, mask, error) : 0;

	return status == 0 && mask && cpuid ? each(cpuid, mask, error) : status;
}
