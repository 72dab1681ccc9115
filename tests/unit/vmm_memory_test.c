/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory: the hole below 4 GiB, what the accessor refuses, what is given back, and what
 * a back end that has the descriptor cannot do.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/guest_memory.h"
#include "hv/layout.h"

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)

static void test_small_guest_has_one_region(void **state)
{
	struct guest_memory memory;
	(void)state;

	assert_int_equal(guest_memory_create(&memory, 64 * MIB, GUEST_PAGES_SMALL, NULL), 0);
	assert_int_equal(memory.n_regions, 1);
	assert_false(memory.huge);
	assert_int_equal(layout_pci64_base(&memory), 4 * GIB);
	assert_non_null(guest_memory_at(&memory, 0, 64 * MIB));
	assert_null(guest_memory_at(&memory, 0, 64 * MIB + 1));
	assert_null(guest_memory_at(&memory, 0, 0));
	assert_null(guest_memory_at(&memory, 64 * MIB, 1));
	assert_null(guest_memory_at(&memory, 64 * MIB - 1, 2));
	assert_null(guest_memory_at(&memory, 1, UINT64_MAX));
	assert_null(guest_memory_at(&memory, UINT64_MAX, 2));
	assert_null(guest_memory_at(&memory, UINT64_MAX - 7, 8));
	guest_memory_destroy(&memory);
	guest_memory_destroy(&memory);
}

static void test_large_guest_has_a_hole(void **state)
{
	struct guest_memory memory;
	uint32_t word = 0x12345678, copy = 0;
	(void)state;

	assert_int_equal(guest_memory_create(&memory, 5 * GIB, GUEST_PAGES_SMALL, NULL), 0);
	assert_int_equal(memory.n_regions, 2);
	assert_int_equal(memory.regions[1].address, 4 * GIB);
	assert_int_equal(memory.regions[1].bytes, 2 * GIB);
	assert_int_equal(memory.regions[1].offset, 3 * GIB);
	assert_int_equal(layout_pci64_base(&memory), 6 * GIB);
	assert_null(guest_memory_at(&memory, 3 * GIB, 1));
	assert_null(guest_memory_at(&memory, 3 * GIB - 2, 4));
	assert_null(guest_memory_at(&memory, 4 * GIB - 2, 4));
	assert_non_null(guest_memory_at(&memory, 3 * GIB - 4, 4));
	assert_true(guest_memory_write(&memory, 6 * GIB - 4, &word, 4));
	assert_false(guest_memory_write(&memory, 6 * GIB - 3, &word, 4));
	assert_true(guest_memory_read(&memory, 6 * GIB - 4, &copy, 4));
	assert_int_equal(copy, word);
	assert_false(guest_memory_read(&memory, 3 * GIB - 1, &copy, 4));
	/* Behind the hole the memfd goes on where it stopped. */
	assert_int_equal(pread(memory.fd, &copy, 4, (off_t)(5 * GIB - 4)), 4);
	assert_int_equal(copy, word);
	guest_memory_destroy(&memory);
}

static void test_discarded_pages_read_as_zeros(void **state)
{
	struct guest_memory memory;
	uint8_t *byte;
	(void)state;

	assert_int_equal(guest_memory_create(&memory, 4 * MIB, GUEST_PAGES_SMALL, NULL), 0);
	byte = guest_memory_at(&memory, MIB, 8192);
	memset(byte, 0xaa, 8192);
	assert_int_equal(guest_memory_discard(&memory, MIB, 4096), 0);
	assert_int_equal(byte[0], 0);
	assert_int_equal(byte[4095], 0);
	assert_int_equal(byte[4096], 0xaa);
	assert_int_equal(guest_memory_discard(&memory, MIB + 1, 4096), -EINVAL);
	assert_int_equal(guest_memory_discard(&memory, MIB, 4095), -EINVAL);
	assert_int_equal(guest_memory_discard(&memory, 4 * MIB - 4096, 8192), -EINVAL);
	assert_int_equal(guest_memory_discard(&memory, MIB, 0), -EINVAL);
	guest_memory_destroy(&memory);
}

static void test_nobody_can_cut_the_memory_off(void **state)
{
	struct guest_memory memory;
	(void)state;

	assert_int_equal(guest_memory_create(&memory, 4 * MIB, GUEST_PAGES_SMALL, NULL), 0);
	assert_int_equal(ftruncate(memory.fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(memory.fd, 8 * (off_t)MIB), -1);
	assert_int_equal(fcntl(memory.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	guest_memory_destroy(&memory);
}

static void test_impossible_sizes_are_refused_with_a_sentence(void **state)
{
	struct guest_memory memory;
	struct hv_error error = {""};
	(void)state;

	assert_int_equal(guest_memory_create(&memory, MIB, GUEST_PAGES_AUTO, &error), -EINVAL);
	assert_non_null(strstr(error.text, "multiple of 2 MiB"));
	assert_int_equal(guest_memory_create(&memory, 0, GUEST_PAGES_AUTO, &error), -EINVAL);
	assert_int_equal(
		guest_memory_create(&memory, UINT64_C(1) << 46, GUEST_PAGES_AUTO, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "67108864 MiB"));
	assert_non_null(strstr(error.text, "--memory"));
	assert_true(guest_memory_create(&memory, UINT64_C(1) << 46, GUEST_PAGES_HUGE, &error) < 0);
	assert_non_null(strstr(error.text, "nr_hugepages"));
	assert_int_equal(memory.n_regions, 0);
	guest_memory_destroy(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_guest_has_one_region),
		cmocka_unit_test(test_large_guest_has_a_hole),
		cmocka_unit_test(test_discarded_pages_read_as_zeros),
		cmocka_unit_test(test_nobody_can_cut_the_memory_off),
		cmocka_unit_test(test_impossible_sizes_are_refused_with_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
