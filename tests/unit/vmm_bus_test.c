/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bus: who answers where, what happens where nobody does, and that random histories of regions
 * agree with a plain list.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/bus.h"

/* What a device was last asked. */
struct seen {
	uint64_t offset;
	unsigned int bytes, reads, writes;
	uint8_t data[8];
};

static void toy_read(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	struct seen *seen = device;

	seen->offset = offset;
	seen->bytes = bytes;
	seen->reads++;
	memset(data, 0x5a, bytes);
}

static void toy_write(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	struct seen *seen = device;

	seen->offset = offset;
	seen->bytes = bytes;
	seen->writes++;
	memcpy(seen->data, data, bytes);
}

static const struct bus_operations toy = {toy_read, toy_write};

static void test_region_answers_only_for_whole_accesses(void **state)
{
	struct bus bus = {0};
	struct seen seen = {0};
	uint8_t data[8] = {1, 2, 3, 4};
	(void)state;

	assert_int_equal(bus_add(&bus, 0x3f8, 8, &toy, &seen), 0);
	assert_true(bus_write(&bus, 0x3f9, data, 2));
	assert_int_equal(seen.offset, 1);
	assert_int_equal(seen.bytes, 2);
	assert_memory_equal(seen.data, data, 2);
	assert_true(bus_read(&bus, 0x3ff, data, 1));
	assert_int_equal(seen.offset, 7);
	assert_int_equal(data[0], 0x5a);
	assert_false(bus_read(&bus, 0x3ff, data, 2));
	assert_int_equal(data[0], 0xff);
	assert_int_equal(data[1], 0xff);
	assert_false(bus_read(&bus, 0x3f7, data, 2));
	assert_false(bus_write(&bus, 0x400, data, 1));
	assert_false(bus_read(&bus, 0, data, 8));
	assert_int_equal(seen.reads, 1);
	assert_int_equal(seen.writes, 1);
}

static void test_meeting_regions_are_refused(void **state)
{
	struct bus bus = {0};
	struct seen seen = {0};
	(void)state;

	assert_int_equal(bus_add(&bus, 100, 10, &toy, &seen), 0);
	assert_int_equal(bus_add(&bus, 109, 1, &toy, &seen), -EEXIST);
	assert_int_equal(bus_add(&bus, 100, 1, &toy, &seen), -EEXIST);
	assert_int_equal(bus_add(&bus, 90, 11, &toy, &seen), -EEXIST);
	assert_int_equal(bus_add(&bus, 0, UINT64_MAX, &toy, &seen), -EEXIST);
	assert_int_equal(bus_add(&bus, 5, 0, &toy, &seen), -EINVAL);
	assert_int_equal(bus_add(&bus, UINT64_MAX, 2, &toy, &seen), -EINVAL);
	assert_int_equal(bus_add(&bus, 90, 10, &toy, &seen), 0);
	assert_int_equal(bus_add(&bus, 110, 10, &toy, &seen), 0);
	assert_int_equal(bus_add(&bus, UINT64_MAX, 1, &toy, &seen), 0);
	assert_true(bus_write(&bus, UINT64_MAX, (const uint8_t *)"", 1));
	assert_false(bus_write(&bus, UINT64_MAX, (const uint8_t *)"12", 2));
	bus_remove(&bus, 100, &bus);
	assert_int_equal(bus.n_regions, 4);
	bus_remove(&bus, 101, &seen);
	assert_int_equal(bus.n_regions, 4);
	bus_remove(&bus, 100, &seen);
	assert_int_equal(bus.n_regions, 3);
	assert_int_equal(bus_add(&bus, 100, 10, &toy, &seen), 0);
}

static void test_full_bus_says_so(void **state)
{
	struct bus bus = {0};
	struct seen seen = {0};
	(void)state;

	for (unsigned int i = 0; i < BUS_REGIONS; i++)
		assert_int_equal(bus_add(&bus, 1000 - 2 * i, 2, &toy, &seen), 0);
	assert_int_equal(bus_add(&bus, 5000, 2, &toy, &seen), -ENOSPC);
	for (unsigned int i = 0; i < BUS_REGIONS; i++)
		bus_remove(&bus, 1000 - 2 * i, &seen);
	assert_int_equal(bus.n_regions, 0);
}

enum { SPACE = 256 };

/* Byte by byte: who answers there. */
static void check_against(const struct bus *bus, struct seen *const *owners)
{
	for (unsigned int address = 0; address < SPACE; address++) {
		uint8_t data;
		unsigned int before = owners[address] ? owners[address]->reads : 0;

		assert_int_equal(bus_read(bus, address, &data, 1), owners[address] != NULL);
		if (owners[address])
			assert_int_equal(owners[address]->reads, before + 1);
	}
}

static void test_random_histories_agree_with_a_list(void **state)
{
	struct bus bus = {0};
	struct seen devices[8] = {0};
	struct seen *owners[SPACE] = {0};
	uint64_t bases[8] = {0}, sizes[8] = {0};
	(void)state;

	srandom(6);
	for (unsigned int round = 0; round < 500; round++) {
		unsigned int who = (unsigned int)random() % 8;
		bool free = true;

		if (sizes[who]) {
			bus_remove(&bus, bases[who], &devices[who]);
			for (uint64_t i = 0; i < sizes[who]; i++)
				owners[bases[who] + i] = NULL;
			sizes[who] = 0;
			continue;
		}
		bases[who] = (unsigned int)random() % (SPACE - 40);
		sizes[who] = 1 + (unsigned int)random() % 40;
		for (uint64_t i = 0; i < sizes[who]; i++)
			free = free && !owners[bases[who] + i];
		assert_int_equal(bus_add(&bus, bases[who], sizes[who], &toy, &devices[who]),
			free ? 0 : -EEXIST);
		for (uint64_t i = 0; free && i < sizes[who]; i++)
			owners[bases[who] + i] = &devices[who];
		sizes[who] = free ? sizes[who] : 0;
		check_against(&bus, owners);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_region_answers_only_for_whole_accesses),
		cmocka_unit_test(test_meeting_regions_are_refused),
		cmocka_unit_test(test_full_bus_says_so),
		cmocka_unit_test(test_random_histories_agree_with_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
