/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console: output goes to the terminal, what is typed waits for the guest's buffers.
 */
#define DRIVER_IS_TRANSPORT
#include "tests/unit/virtio_device_driver.h"

#include <sys/socket.h>

#include "hv/console.h"

enum { INPUT = 0, OUTPUT = 1, QUEUE_SIZE = 16 };

struct fixture {
	struct driver driver;
	struct terminal *terminal;
	int person;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct driver *driver = &fixture->driver;
	int ends[2];

	driver_open(driver);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	pthread_mutex_lock(&driver->lock);
	assert_int_equal(terminal_create(&fixture->terminal, "console", driver->loop), 0);
	assert_int_equal(
		console_create(&driver->device, &driver->memory, driver->loop, fixture->terminal),
		0);
	assert_int_equal(terminal_attach(fixture->terminal, ends[0], NULL, 0), 0);
	pthread_mutex_unlock(&driver->lock);
	fixture->person = ends[1];
	driver_start(driver, 0, QUEUE_SIZE);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	struct driver *driver = &fixture->driver;

	/* The loop ends first: terminals belong to its thread. */
	event_loop_stop(driver->loop);
	driver_stop(driver);
	pthread_join(driver->thread, NULL);
	driver->device->type->destroy(driver->device);
	terminal_destroy(fixture->terminal);
	event_loop_destroy(driver->loop);
	guest_memory_destroy(&driver->memory);
	close(fixture->person);
	free(fixture);
	return 0;
}

/* Waits for `n` bytes of output. */
static void expect_output(struct fixture *fixture, const char *text, size_t n)
{
	char received[256];
	size_t got = 0;

	while (got < n) {
		struct pollfd ready = {.fd = fixture->person, .events = POLLIN};
		ssize_t more;

		assert_int_equal(poll(&ready, 1, DRIVER_WAIT_MS), 1);
		more = read(fixture->person, received + got, sizeof(received) - got);
		assert_true(more > 0);
		got += (size_t)more;
	}
	assert_int_equal(got, n);
	assert_memory_equal(received, text, n);
}

static void test_output_of_several_buffers_is_one_stream(void **state)
{
	struct fixture *fixture = *state;
	struct driver *driver = &fixture->driver;
	uint64_t address = driver_allocate(driver, 4096);
	uint32_t written;

	memcpy(driver_at(driver, address, 64), "one, \xff\x1b two", 11);
	driver_request(driver, OUTPUT,
		(const struct driver_buffer[]){{address, 5, false}, {address + 5, 6, false}}, 2);
	driver_answer(driver, OUTPUT, &written);
	assert_int_equal(written, 0);
	expect_output(fixture, "one, \xff\x1b two", 11);
}

static void test_input_fills_what_is_offered(void **state)
{
	struct fixture *fixture = *state;
	struct driver *driver = &fixture->driver;
	uint64_t address = driver_allocate(driver, 4096);
	uint32_t written;

	driver_request(driver, INPUT, (const struct driver_buffer[]){{address, 4, true}}, 1);
	assert_int_equal(write(fixture->person, "abcdef", 6), 6);
	driver_answer(driver, INPUT, &written);
	assert_int_equal(written, 4);
	/* The rest has waited for the next buffer. */
	driver_request(driver, INPUT, (const struct driver_buffer[]){{address + 4, 60, true}}, 1);
	driver_answer(driver, INPUT, &written);
	assert_int_equal(written, 2);
	assert_memory_equal(driver_at(driver, address, 6), "abcdef", 6);
}

/* A buffer that was held is the guest's again, and is never filled. */
static void test_a_reset_takes_the_held_buffer_back(void **state)
{
	struct fixture *fixture = *state;
	struct driver *driver = &fixture->driver;
	uint64_t first = driver_allocate(driver, 64), second = driver_allocate(driver, 64);

	driver_request(driver, INPUT, (const struct driver_buffer[]){{first, 64, true}}, 1);
	driver_stop(driver);
	driver_start(driver, 0, QUEUE_SIZE);
	assert_int_equal(write(fixture->person, "xyz", 3), 3);
	driver_request(driver, INPUT, (const struct driver_buffer[]){{second, 64, true}}, 1);
	driver_answer(driver, INPUT, NULL);
	assert_memory_equal(driver_at(driver, second, 3), "xyz", 3);
	assert_int_equal(*(uint8_t *)driver_at(driver, first, 1), 0);
}

/* 64 requests of 64 KiB at the most, of which each is cut: the loop goes on. */
static void test_huge_requests_are_cut(void **state)
{
	struct fixture *fixture = *state;
	struct driver *driver = &fixture->driver;
	struct virtio_counter counters[VIRTIO_COUNTERS];

	driver_request(driver, OUTPUT,
		(const struct driver_buffer[]){{0, 32 << 20, false}, {0, 32 << 20, false}}, 2);
	driver_answer(driver, OUTPUT, NULL);
	pthread_mutex_lock(&driver->lock);
	assert_int_equal(driver->device->type->counters(driver->device, counters), 4);
	pthread_mutex_unlock(&driver->lock);
	assert_int_equal(counters[1].value, 65536);
	assert_int_equal(counters[3].value, (64 << 20) - 65536);
}

static void test_a_wrong_index_fails_the_device(void **state)
{
	struct fixture *fixture = *state;
	struct driver *driver = &fixture->driver;

	pthread_mutex_lock(&driver->lock);
	*(uint16_t *)driver_at(driver, driver->queues[OUTPUT].available + 2, 2) = 1000;
	driver->device->type->notified(driver->device, OUTPUT);
	assert_non_null(driver->failure);
	pthread_mutex_unlock(&driver->lock);
}

#define story(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		story(test_output_of_several_buffers_is_one_stream),
		story(test_input_fills_what_is_offered),
		story(test_a_reset_takes_the_held_buffer_back),
		story(test_huge_requests_are_cut),
		story(test_a_wrong_index_fails_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
