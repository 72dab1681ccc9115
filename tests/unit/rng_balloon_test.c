/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-rng and virtio-balloon: random numbers arrive, and memory that the guest gives back is the
 * host's again.
 */
#define DRIVER_IS_TRANSPORT
#include "tests/unit/virtio_device_driver.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <sys/stat.h>

#include "hv/balloon.h"
#include "hv/rng.h"

enum { PAGE = 4096, QUEUE_SIZE = 16, INFLATE = 0, DEFLATE = 1, STATISTICS = 2, REPORTING = 3 };

static uint64_t blocks_of(const struct driver *driver)
{
	struct stat status;

	assert_int_equal(fstat(driver->memory.fd, &status), 0);
	return (uint64_t)status.st_blocks;
}

static uint64_t counter(struct driver *driver, const char *name)
{
	struct virtio_counter counters[VIRTIO_COUNTERS];
	unsigned int n;

	pthread_mutex_lock(&driver->lock);
	n = driver->device->type->counters(driver->device, counters);
	pthread_mutex_unlock(&driver->lock);
	assert_true(n <= VIRTIO_COUNTERS);
	for (unsigned int i = 0; i < n; i++) {
		if (!strcmp(counters[i].name, name))
			return counters[i].value;
	}
	return UINT64_MAX;
}

static void test_random_numbers_fill_what_is_offered(void **state)
{
	struct driver driver;
	uint64_t address;
	uint8_t *random, zeros[1000] = {0};
	uint32_t written;

	(void)state;
	driver_open(&driver);
	assert_int_equal(rng_create(&driver.device, &driver.memory, driver.loop), 0);
	driver_start(&driver, 0, QUEUE_SIZE);
	address = driver_allocate(&driver, 65536);
	random = driver_at(&driver, address, 65536);
	driver_request(&driver, 0,
		(const struct driver_buffer[]){{address, 500, true}, {address + 600, 1500, true}},
		2);
	driver_answer(&driver, 0, &written);
	assert_int_equal(written, 2000);
	assert_memory_not_equal(random, zeros, 500);
	assert_memory_equal(random + 500, zeros, 100);
	assert_memory_not_equal(random + 600 + 500, zeros, 1000);
	assert_memory_equal(random + 2100, zeros, 1000);
	/* More than a request gives at once. */
	driver_request(&driver, 0, (const struct driver_buffer[]){{address, 65536, true}}, 1);
	driver_answer(&driver, 0, &written);
	assert_int_equal(written, 4096);
	assert_int_equal(counter(&driver, "bytes"), 2000 + 4096);
	driver_close(&driver);
}

static void open_balloon(struct driver *driver, uint64_t without)
{
	driver_open(driver);
	assert_int_equal(balloon_create(&driver->device, &driver->memory, driver->loop), 0);
	driver_start(driver, driver->device->features_offered & ~without, QUEUE_SIZE);
}

static void give(struct driver *driver, unsigned int queue, const uint32_t *pages, unsigned int n)
{
	uint64_t address = driver_allocate(driver, n * sizeof(uint32_t));

	assert_true(guest_memory_write(&driver->memory, address, pages, n * sizeof(uint32_t)));
	driver_request(driver, queue,
		(const struct driver_buffer[]){{address, n * (uint32_t)sizeof(uint32_t), false}},
		1);
	driver_answer(driver, queue, NULL);
}

static void test_the_host_asks_and_the_guest_inflates(void **state)
{
	struct driver driver;
	uint32_t pages[1024], actual = 1024, target;
	uint64_t address, before;
	uint8_t *memory;

	(void)state;
	open_balloon(&driver, 0);
	pthread_mutex_lock(&driver.lock);
	assert_int_equal(balloon_set_target(driver.device, DRIVER_MEMORY), -ERANGE);
	assert_int_equal(balloon_set_target(driver.device, 4 << 20), 0);
	assert_int_equal(driver.config_changes, 1);
	driver.device->type->read_config(driver.device, 0, (uint8_t *)&target, 4);
	assert_int_equal(le32toh(target), 1024);
	pthread_mutex_unlock(&driver.lock);

	address = driver_allocate(&driver, 4 << 20);
	memory = driver_at(&driver, address, 4 << 20);
	memset(memory, 0xaa, 4 << 20);
	before = blocks_of(&driver);
	/* Downwards, as Linux gives them. */
	for (unsigned int i = 0; i < 1024; i++)
		pages[i] = htole32((uint32_t)(address / PAGE + 1023 - i));
	give(&driver, INFLATE, pages, 1024);
	assert_true(blocks_of(&driver) <= before - (4 << 20) / 512 + 64);
	assert_int_equal(memory[12345], 0);
	assert_int_equal(counter(&driver, "bytes-given-back"), 4 << 20);
	pthread_mutex_lock(&driver.lock);
	driver.device->type->write_config(driver.device, 4, (const uint8_t *)&actual, 4);
	assert_int_equal(balloon_actual_bytes(driver.device), 4 << 20);
	pthread_mutex_unlock(&driver.lock);
	give(&driver, DEFLATE, pages, 1024);
	assert_int_equal(counter(&driver, "pages-deflated"), 1024);
	driver_close(&driver);
}

static void test_pages_that_are_not_the_guests_are_left_alone(void **state)
{
	const uint32_t pages[] = {
		htole32(DRIVER_MEMORY / PAGE), htole32(UINT32_MAX), htole32(0xc0000)};
	uint32_t many[2000];
	struct driver driver;

	(void)state;
	open_balloon(&driver, 0);
	give(&driver, INFLATE, pages, 3);
	assert_int_equal(counter(&driver, "refused"), 3);
	assert_int_equal(counter(&driver, "bytes-given-back"), 0);
	/* A request longer than any driver's. */
	for (unsigned int i = 0; i < 2000; i++)
		many[i] = htole32(5000 + i);
	give(&driver, INFLATE, many, 2000);
	assert_int_equal(counter(&driver, "refused"), 3 + 2000 - 1024);
	driver_close(&driver);
}

static void report_free_pages(struct driver *driver, unsigned int queue)
{
	uint64_t address = driver_allocate(driver, 2 << 20), before;

	memset(driver_at(driver, address, 2 << 20), 0xbb, 2 << 20);
	before = blocks_of(driver);
	driver_request(driver, queue,
		(const struct driver_buffer[]){
			{address, 1 << 20, true}, {address + (1 << 20), 1 << 20, true}},
		2);
	driver_answer(driver, queue, NULL);
	assert_true(blocks_of(driver) <= before - (2 << 20) / 512 + 64);
	assert_int_equal(counter(driver, "pages-reported"), 512);
}

/* A queue whose feature the driver leaves out has no number. */
static void test_free_pages_are_reported(void **state)
{
	struct driver driver;

	(void)state;
	open_balloon(&driver, 0);
	report_free_pages(&driver, REPORTING);
	driver_close(&driver);
	open_balloon(&driver, UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ);
	report_free_pages(&driver, REPORTING - 1);
	driver_close(&driver);
}

static void test_statistics(void **state)
{
	struct virtio_balloon_stat statistics[] = {
		{htole16(VIRTIO_BALLOON_S_MEMFREE), htole64(1000)},
		{htole16(VIRTIO_BALLOON_S_MEMTOT), htole64(5000)}, {htole16(999), 1}};
	const struct driver_buffer *buffer;
	struct driver driver;
	uint64_t address;

	(void)state;
	open_balloon(&driver, 0);
	address = driver_allocate(&driver, sizeof(statistics));
	buffer = &(const struct driver_buffer){address, sizeof(statistics), false};
	for (unsigned int round = 1; round <= 3; round++) {
		statistics[0].val = htole64(1000 * round);
		assert_true(guest_memory_write(
			&driver.memory, address, statistics, sizeof(statistics)));
		driver_request(&driver, STATISTICS, buffer, 1);
		/* Asking gives the request back, for the next ones; the device has it at the latest
		 * after some time. */
		for (unsigned int i = 0; i < 2000 && counter(&driver, "free-bytes") != 1000 * round;
			i++)
			usleep(5000);
		assert_int_equal(counter(&driver, "total-bytes"), 5000);
		driver_answer(&driver, STATISTICS, NULL);
	}
	driver_close(&driver);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_numbers_fill_what_is_offered),
		cmocka_unit_test(test_the_host_asks_and_the_guest_inflates),
		cmocka_unit_test(test_pages_that_are_not_the_guests_are_left_alone),
		cmocka_unit_test(test_free_pages_are_reported),
		cmocka_unit_test(test_statistics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
