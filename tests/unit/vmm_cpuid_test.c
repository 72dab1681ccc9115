/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUID: the topology that a guest works out from its leaves, what is kept from it, and features
 * hidden by name.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <asm/kvm_para.h>
#include <cmocka.h>

#include "hv/cpu_features.h"

#define BIT(n) (UINT32_C(1) << (n))

static void put(struct cpuid *cpuid, struct kvm_cpuid_entry2 entry)
{
	cpuid->entries[cpuid->n++] = entry;
}

/* A host that can do everything, with 32 threads that share a cache. */
static void host(struct cpuid *cpuid, const char *vendor)
{
	struct kvm_cpuid_entry2 first = {.function = 0, .eax = 0x1f};

	memset(cpuid, 0, sizeof(*cpuid));
	memcpy(&first.ebx, vendor, 4);
	memcpy(&first.edx, vendor + 4, 4);
	memcpy(&first.ecx, vendor + 8, 4);
	put(cpuid, first);
	put(cpuid,
		(struct kvm_cpuid_entry2){
			.function = 1, .eax = 0x806f8, .ebx = 0x11200800, .ecx = ~0U, .edx = ~0U});
	for (uint32_t i = 0; i < 4; i++)
		put(cpuid, (struct kvm_cpuid_entry2){.function = 4,
				   .index = i,
				   .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
				   .eax = 0x7c07c100 | (i < 2 ? 1 : i) << 5 | (i < 3 ? 1 : 3)});
	put(cpuid, (struct kvm_cpuid_entry2){
			   .function = 4, .index = 4, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX});
	put(cpuid, (struct kvm_cpuid_entry2){.function = 6, .eax = ~0U, .ecx = ~0U});
	for (uint32_t i = 0; i < 2; i++)
		put(cpuid, (struct kvm_cpuid_entry2){.function = 7,
				   .index = i,
				   .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
				   .eax = ~0U,
				   .ebx = ~0U,
				   .ecx = ~0U,
				   .edx = ~0U});
	put(cpuid, (struct kvm_cpuid_entry2){.function = 0xa, .eax = 0x08300805});
	put(cpuid, (struct kvm_cpuid_entry2){
			   .function = 0xb, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .edx = 17});
	put(cpuid, (struct kvm_cpuid_entry2){
			   .function = 0xd, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .eax = 0xe7});
	put(cpuid, (struct kvm_cpuid_entry2){.function = 0x40000000, .eax = 0x40000001});
	put(cpuid, (struct kvm_cpuid_entry2){.function = 0x40000001, .eax = ~0U, .edx = ~0U});
	put(cpuid, (struct kvm_cpuid_entry2){.function = 0x80000001, .ecx = ~0U, .edx = ~0U});
	put(cpuid, (struct kvm_cpuid_entry2){.function = 0x80000008, .eax = 0x302e, .ecx = 0x701f});
	put(cpuid, (struct kvm_cpuid_entry2){.function = 0x8000001e, .eax = 17, .ebx = 0x108});
}

static struct kvm_cpuid_entry2 *at(struct cpuid *cpuid, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, function, index);

	assert_non_null(entry);
	return entry;
}

/* As Linux's detect_extended_topology() works it out. */
static void check_extended(struct cpuid *cpuid, uint32_t function, uint32_t n, uint32_t id)
{
	const struct kvm_cpuid_entry2 *smt = at(cpuid, function, 0), *core = at(cpuid, function, 1);

	assert_int_equal(smt->ecx >> 8 & 0xff, 1);
	assert_int_equal(smt->eax, 0);
	assert_int_equal(smt->ebx, 1);
	assert_int_equal(core->ecx >> 8 & 0xff, 2);
	assert_int_equal(core->ebx, n);
	assert_true((1U << core->eax) >= n);
	assert_int_equal(id >> core->eax, 0);
	assert_int_equal(smt->edx, id);
	assert_int_equal(core->edx, id);
	assert_int_equal(at(cpuid, function, 2)->ecx >> 8 & 0xff, 0);
}

static void check_topology(uint32_t n, const char *vendor)
{
	const struct cpuid_guest guest = {.n_vcpus = n, .tsc_deadline = true};
	struct cpuid cpuid;

	host(&cpuid, vendor);
	cpuid_filter(&cpuid, &guest);
	for (uint32_t id = 0; id < n; id++) {
		const struct kvm_cpuid_entry2 *entry;

		cpuid_number(&cpuid, id);
		entry = at(&cpuid, 1, 0);
		assert_int_equal(entry->ebx >> 24, id);
		assert_true((entry->ebx >> 16 & 0xff) >= n);
		assert_int_equal((entry->edx & BIT(28)) != 0, n > 1);
		check_extended(&cpuid, 0xb, n, id);
		check_extended(&cpuid, 0x1f, n, id);
		/* The first two levels of cache are one core's, the third everybody's. */
		assert_int_equal(at(&cpuid, 4, 2)->eax >> 14 & 0xfff, 0);
		assert_true((at(&cpuid, 4, 3)->eax >> 14 & 0xfff) + 1 >= n);
		assert_true((at(&cpuid, 4, 0)->eax >> 26) + 1 >= (n < 64 ? n : 64));
		assert_int_equal(at(&cpuid, 4, 4)->eax, 0);
		entry = at(&cpuid, 0x8000001e, 0);
		assert_int_equal(entry->eax, id);
		assert_int_equal(entry->ebx >> 8 & 0xff, 0);
		assert_int_equal(
			at(&cpuid, 0x80000008, 0)->ecx & 0xff, vendor[0] == 'A' ? n - 1 : 0);
	}
}

static void test_topology_of_any_size(void **state)
{
	(void)state;

	for (uint32_t n = 1; n <= 64; n++) {
		check_topology(n, "GenuineIntel");
		check_topology(n, "AuthenticAMD");
	}
}

static void test_what_is_the_hosts_stays_with_the_host(void **state)
{
	const struct cpuid_guest guest = {.n_vcpus = 2};
	struct cpuid cpuid;
	(void)state;

	host(&cpuid, "GenuineIntel");
	cpuid_filter(&cpuid, &guest);
	assert_null(cpuid_find(&cpuid, 0xa, 0));
	assert_int_equal(at(&cpuid, 1, 0)->ecx & (BIT(3) | BIT(5) | BIT(15)), 0);
	assert_true(at(&cpuid, 1, 0)->ecx & BIT(31));
	assert_true(at(&cpuid, 1, 0)->ecx & BIT(21));
	assert_false(at(&cpuid, 1, 0)->ecx & BIT(24));
	assert_int_equal(at(&cpuid, 6, 0)->eax, BIT(2));
	assert_int_equal(at(&cpuid, 7, 0)->ebx & (BIT(2) | BIT(25)), 0);
	/* The host's 0xd says that tiles' state cannot be had. */
	assert_int_equal(at(&cpuid, 7, 0)->edx & (BIT(22) | BIT(24) | BIT(25)), 0);
	assert_int_equal(at(&cpuid, 0x80000001, 0)->ecx & BIT(2), 0);
	assert_int_equal(at(&cpuid, 0x40000000, 0)->eax, 0x40000001);
}

static void test_frequency_is_told_to_intels_guests_only(void **state)
{
	const struct cpuid_guest guest = {.n_vcpus = 1, .tsc_khz = 2600000, .tsc_deadline = true};
	const struct cpuid_guest fast = {.n_vcpus = 1, .tsc_khz = 5000000};
	const struct kvm_cpuid_entry2 *entry;
	struct cpuid cpuid;
	(void)state;

	host(&cpuid, "GenuineIntel");
	cpuid_filter(&cpuid, &guest);
	entry = at(&cpuid, 0x15, 0);
	assert_int_equal((uint64_t)entry->ecx * entry->ebx / entry->eax, UINT64_C(2600000000));
	assert_true(at(&cpuid, 1, 0)->ecx & BIT(24));
	host(&cpuid, "AuthenticAMD");
	cpuid_filter(&cpuid, &guest);
	assert_null(cpuid_find(&cpuid, 0x15, 0));
	/* More than the leaf can hold. */
	host(&cpuid, "GenuineIntel");
	cpuid_filter(&cpuid, &fast);
	assert_null(cpuid_find(&cpuid, 0x15, 0));
}

static void test_full_list_stays_within_its_room(void **state)
{
	const struct cpuid_guest guest = {.n_vcpus = 64, .tsc_khz = 1};
	struct cpuid cpuid;
	(void)state;

	host(&cpuid, "GenuineIntel");
	while (cpuid.n < CPUID_ENTRIES_MAX)
		put(&cpuid, (struct kvm_cpuid_entry2){.function = 0x50000000 + cpuid.n});
	cpuid_filter(&cpuid, &guest);
	assert_true(cpuid.n <= CPUID_ENTRIES_MAX);
}

static void test_features_are_hidden_by_name(void **state)
{
	struct hv_error error = {""};
	struct cpuid cpuid;
	(void)state;

	host(&cpuid, "GenuineIntel");
	assert_int_equal(cpu_features_mask(&cpuid, "xsave,smap,rdtscp,movdir64b,fsrc", &error), 0);
	assert_int_equal(at(&cpuid, 1, 0)->ecx, ~BIT(26));
	assert_int_equal(at(&cpuid, 7, 0)->ebx, ~BIT(20));
	assert_int_equal(at(&cpuid, 7, 0)->ecx, ~BIT(28));
	assert_int_equal(at(&cpuid, 7, 1)->eax, ~BIT(12));
	assert_int_equal(at(&cpuid, 0x80000001, 0)->edx, ~BIT(27));
	/* What the host has no leaf for is hidden already. */
	assert_int_equal(cpu_features_mask(&cpuid, "autoibrs,arat", &error), 0);
	assert_int_equal(cpu_features_mask(&cpuid, NULL, &error), 0);
	assert_int_equal(cpu_features_mask(&cpuid, "", &error), 0);
}

/* A KVM without hardware virtualisation names hypercalls and has none. */
static void test_what_kvm_adds_is_hidden_by_name(void **state)
{
	struct hv_error error = {""};
	struct cpuid cpuid;
	(void)state;

	host(&cpuid, "GenuineIntel");
	assert_int_equal(
		cpu_features_mask(&cpuid, "kvm_pv_send_ipi,kvm_clocksource_stable", &error), 0);
	assert_int_equal(at(&cpuid, 0x40000001, 0)->eax,
		~(BIT(KVM_FEATURE_PV_SEND_IPI) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT)));
	assert_int_equal(at(&cpuid, 0x40000001, 0)->edx, ~0U);
	assert_int_equal(at(&cpuid, 0x40000000, 0)->eax, 0x40000001);
	assert_int_equal(cpu_features_mask(&cpuid, "pv_send_ipi", &error), -EINVAL);
	assert_non_null(strstr(error.text, "kvm_pv_send_ipi"));
}

static void test_unknown_name_hides_nothing(void **state)
{
	struct hv_error error = {""};
	struct cpuid cpuid;
	(void)state;

	host(&cpuid, "GenuineIntel");
	assert_int_equal(cpu_features_mask(&cpuid, "smep,smaq", &error), -EINVAL);
	assert_non_null(strstr(error.text, "'smaq'"));
	assert_non_null(strstr(error.text, "smap"));
	assert_int_equal(at(&cpuid, 7, 0)->ebx, ~0U);
	assert_int_equal(
		cpu_features_mask(NULL, "no such thing at all, and far too long", &error), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_topology_of_any_size),
		cmocka_unit_test(test_what_is_the_hosts_stays_with_the_host),
		cmocka_unit_test(test_frequency_is_told_to_intels_guests_only),
		cmocka_unit_test(test_full_list_stays_within_its_room),
		cmocka_unit_test(test_features_are_hidden_by_name),
		cmocka_unit_test(test_what_kvm_adds_is_hidden_by_name),
		cmocka_unit_test(test_unknown_name_hides_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
