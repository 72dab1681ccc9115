/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID, leaf by leaf (Intel's SDM volume 2A, "CPUID"; AMD's APM volume 3, appendix E).  Called by
 * machine_create() on the main thread.
 *
 * KVM's list of what it supports is where this begins: nothing is added to it that KVM does not
 * emulate.  Removed is what belongs to the host alone: performance counters, power management,
 * tracing, enclaves, nested virtualisation.
 */
#include "hv/cpuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/cpu_features.h"
#include "hv/vcpu.h"

#define BIT(n) (UINT32_C(1) << (n))

enum { LEVEL_SMT = 1, LEVEL_CORE = 2, LEVEL_SHIFT = 8 };

/* XCR0's bit for AMX's tiles, which a process must ask Linux for; this one does not. */
#define XCR0_TILE_DATA BIT(18)

/* What is cleared in leaves that stay. */
static const struct {
	uint32_t function, index, eax, ebx, ecx, edx;
} cleared[] = {
	/* DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, xTPR, PDCM; DS, ACPI, TM, PBE. */
	{0x1, 0, 0, 0,
		BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(14) | BIT(15),
		BIT(21) | BIT(22) | BIT(29) | BIT(31)},
	/* All of power management but ARAT: the local APIC's timer never stops. */
	{0x6, 0, ~BIT(2), ~0U, ~0U, ~0U},
	/* SGX, PT; SGX_LC. */
	{0x7, 0, 0, BIT(2) | BIT(25), BIT(30), 0},
	/* SVM, IBS, SKINIT, LWP, NODEID, PERFCTR: core, north bridge, last level; MWAITX. */
	{0x80000001, 0, 0, 0,
		BIT(2) | BIT(10) | BIT(12) | BIT(15) | BIT(19) | BIT(23) | BIT(24) | BIT(28) |
			BIT(29),
		0},
	/* Of advanced power management only the invariant TSC. */
	{0x80000007, 0, ~0U, ~0U, ~0U, ~BIT(8)},
};

/* Leaves that are left out: they then read as zeros.  MONITOR, performance counters, SGX, PT; SVM,
 * IBS, memory encryption, AMD's performance counters, and a topology that leaf 0xb tells as well.
 */
static const uint32_t dropped[] = {
	0x5, 0xa, 0x12, 0x14, 0x8000000a, 0x8000001b, 0x8000001f, 0x80000022, 0x80000026};

/* --- the list --------------------------------------------------------------------------------- */

struct kvm_cpuid_entry2 *cpuid_find(struct cpuid *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->n; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == function &&
			(entry->index == index ||
				!(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return entry;
	}
	return NULL;
}

static void drop(struct cpuid *cpuid, uint32_t function)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < cpuid->n; i++) {
		if (cpuid->entries[i].function != function)
			cpuid->entries[kept++] = cpuid->entries[i];
	}
	cpuid->n = kept;
}

static void put(struct cpuid *cpuid, const struct kvm_cpuid_entry2 *entry)
{
	if (cpuid->n < CPUID_ENTRIES_MAX)
		cpuid->entries[cpuid->n++] = *entry;
}

/* --- topology --------------------------------------------------------------------------------- */

/* How many bits number `n` things. */
static uint32_t bits_for(uint32_t n)
{
	return n > 1 ? 32 - (uint32_t)__builtin_clz(n - 1) : 0;
}

/* Leaves 0xb and 0x1f: each core is one thread, and the package is all cores. */
static void put_topology(struct cpuid *cpuid, uint32_t function, uint32_t n_vcpus)
{
	const struct kvm_cpuid_entry2 levels[] = {
		{.index = 0, .eax = 0, .ebx = 1, .ecx = 0 | LEVEL_SMT << LEVEL_SHIFT},
		{.index = 1,
			.eax = bits_for(n_vcpus),
			.ebx = n_vcpus,
			.ecx = 1 | LEVEL_CORE << LEVEL_SHIFT},
		{.index = 2, .ecx = 2},
	};

	drop(cpuid, function);
	for (unsigned int i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		struct kvm_cpuid_entry2 level = levels[i];

		level.function = function;
		level.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		put(cpuid, &level);
	}
}

/* Leaves 4 (Intel) and 0x8000001d (AMD): levels 1 and 2 are a core's own, 3 is everybody's. */
static void share_caches(struct cpuid *cpuid, const struct cpuid_guest *guest)
{
	uint32_t all = BIT(bits_for(guest->n_vcpus)) - 1;

	for (uint32_t i = 0; i < cpuid->n; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		uint32_t level = entry->eax >> 5 & 7, sharing = level >= 3 ? all : 0;

		if (entry->function != 4 && entry->function != 0x8000001d)
			continue;
		if ((entry->eax & 0x1f) == 0)
			continue;
		entry->eax = (entry->eax & 0x3fff) | sharing << 14;
		if (entry->function == 4)
			entry->eax |= (all < 63 ? all : 63) << 26;
	}
}

static bool is_intel(struct cpuid *cpuid)
{
	const struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0, 0);
	static const char name[] = "GenuineIntel";

	return entry && memcmp(&entry->ebx, name, 4) == 0 && memcmp(&entry->edx, name + 4, 4) == 0;
}

static void set_topology(struct cpuid *cpuid, const struct cpuid_guest *guest)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 1, 0);
	uint32_t n = guest->n_vcpus;

	if (entry) {
		entry->ebx = (entry->ebx & 0xff00ffff) | BIT(bits_for(n)) << 16;
		entry->edx = n > 1 ? entry->edx | BIT(28) : entry->edx & ~BIT(28);
	}
	entry = cpuid_find(cpuid, 0, 0);
	if (entry && entry->eax >= 0xb)
		put_topology(cpuid, 0xb, n);
	entry = cpuid_find(cpuid, 0, 0);
	if (entry && entry->eax >= 0x1f)
		put_topology(cpuid, 0x1f, n);
	entry = cpuid_find(cpuid, 0x80000008, 0);
	if (entry)
		entry->ecx = is_intel(cpuid) ? 0 : bits_for(n) << 12 | (n - 1);
	share_caches(cpuid, guest);
}

/* --- features --------------------------------------------------------------------------------- */

static void clear(struct cpuid *cpuid)
{
	for (unsigned int i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
		drop(cpuid, dropped[i]);
	for (unsigned int i = 0; i < sizeof(cleared) / sizeof(cleared[0]); i++) {
		struct kvm_cpuid_entry2 *entry =
			cpuid_find(cpuid, cleared[i].function, cleared[i].index);

		if (!entry)
			continue;
		entry->eax &= ~cleared[i].eax;
		entry->ebx &= ~cleared[i].ebx;
		entry->ecx &= ~cleared[i].ecx;
		entry->edx &= ~cleared[i].edx;
	}
}

/* AMX without its tiles' state is of no use, and a guest that tried it would fault. */
static void clear_tiles(struct cpuid *cpuid)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0xd, 0);

	if (entry && entry->eax & XCR0_TILE_DATA)
		return;
	entry = cpuid_find(cpuid, 7, 0);
	if (entry)
		entry->edx &= ~(BIT(22) | BIT(24) | BIT(25));
	entry = cpuid_find(cpuid, 7, 1);
	if (entry) {
		entry->eax &= ~BIT(21);
		entry->edx &= ~BIT(8);
	}
	drop(cpuid, 0x1d);
	drop(cpuid, 0x1e);
}

/*
 * Leaf 0x15: the frequency of the TSC, as a crystal of that frequency and a ratio of one to one.
 * A guest without KVM's clock, and without the timers of a PC to measure by, has no other source.
 */
static void tell_frequency(struct cpuid *cpuid, uint32_t tsc_khz)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0, 0);
	const struct kvm_cpuid_entry2 frequency = {
		.function = 0x15, .eax = 1, .ebx = 1, .ecx = tsc_khz * 1000};

	drop(cpuid, 0x15);
	drop(cpuid, 0x16);
	if (!is_intel(cpuid) || tsc_khz == 0 || tsc_khz > UINT32_MAX / 1000)
		return;
	entry->eax = entry->eax < 0x15 ? 0x15 : entry->eax;
	put(cpuid, &frequency);
}

void cpuid_filter(struct cpuid *cpuid, const struct cpuid_guest *guest)
{
	struct kvm_cpuid_entry2 *entry;

	clear(cpuid);
	clear_tiles(cpuid);
	entry = cpuid_find(cpuid, 1, 0);
	if (entry) {
		/* x2APIC and the hypervisor's bit: KVM's own. */
		entry->ecx |= BIT(21) | BIT(31);
		entry->ecx = guest->tsc_deadline ? entry->ecx | BIT(24) : entry->ecx & ~BIT(24);
	}
	tell_frequency(cpuid, guest->tsc_khz);
	set_topology(cpuid, guest);
}

void cpuid_number(struct cpuid *cpuid, unsigned int index)
{
	for (uint32_t i = 0; i < cpuid->n; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		switch (entry->function) {
		case 0x1: entry->ebx = (entry->ebx & 0x00ffffff) | index << 24; break;
		case 0xb:
		case 0x1f: entry->edx = index; break;
		case 0x8000001e:
			entry->eax = index;
			entry->ebx = index & 0xff; /* A core of one thread. */
			entry->ecx = 0;		   /* In node 0 of one. */
			break;
		default: break;
		}
	}
}

/* --- KVM -------------------------------------------------------------------------------------- */

static int read_supported(struct cpuid *cpuid, int kvm_fd, struct hv_error *error)
{
	memset(cpuid, 0, sizeof(*cpuid));
	cpuid->n = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) < 0)
		return hv_fail(error, errno,
			"KVM does not say what this host's processors can do: %s", strerror(errno));
	return 0;
}

static int set_all(const struct machine *machine, struct cpuid *cpuid, struct hv_error *error)
{
	for (unsigned int i = 0; i < machine->n_vcpus; i++) {
		cpuid_number(cpuid, i);
		if (ioctl(machine->vcpus[i]->fd, KVM_SET_CPUID2, cpuid) < 0)
			return hv_fail(error, errno,
				"KVM does not take the features of processor %u: %s", i,
				strerror(errno));
	}
	return 0;
}

int cpuid_set(struct machine *machine, const char *mask, struct hv_error *error)
{
	int khz = ioctl(machine->vcpus[0]->fd, KVM_GET_TSC_KHZ, 0), status;
	const struct cpuid_guest guest = {
		.n_vcpus = machine->n_vcpus,
		.tsc_khz = khz > 0 ? (uint32_t)khz : 0,
		.tsc_deadline =
			ioctl(machine->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0,
	};
	struct cpuid *cpuid = malloc(sizeof(*cpuid));

	if (!cpuid)
		return hv_fail(error, ENOMEM, "there is no memory for the processors' features");
	status = read_supported(cpuid, machine->kvm_fd, error);
	if (status == 0) {
		cpuid_filter(cpuid, &guest);
		status = cpu_features_mask(cpuid, mask, error);
	}
	if (status == 0)
		status = set_all(machine, cpuid, error);
	free(cpuid);
	return status;
}
