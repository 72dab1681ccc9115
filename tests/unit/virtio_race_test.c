/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Driver and device on two processors, each of which sleeps when there is nothing to do and wants
 * to be woken: no wake-up is lost, by flags and by event indexes, however the two meet.
 *
 * Each looks for work for a while, another time each time, before it asks to be woken and sleeps,
 * so that the accesses that cross each other (virtio 1.2, 2.7.7 and 2.7.10) meet in every order.  A
 * wake-up that is lost leaves both asleep, which is seen after some seconds.  What only a missing
 * barrier would lose is seen where the two share no cache.
 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/virtio_queue.h"
#include "tests/unit/virtio_driver.h"

enum { SIZE = 4, REQUESTS = 100000, PATIENCE_MS = 10000 };

struct race {
	struct guest_memory memory;
	struct virtio_queue queue;
	struct driver_ring driver;
	bool event_index;
	bool device_slept_too_long, driver_slept_too_long;
	unsigned int driver_sleeps, device_sleeps;
	uint32_t random; /* The driver's. */
};

/* Waits for the other side; false if it does not come. */
static bool wait_for(int fd)
{
	struct pollfd descriptor = {.fd = fd, .events = POLLIN};
	eventfd_t count;

	if (poll(&descriptor, 1, PATIENCE_MS) != 1)
		return false;
	eventfd_read(fd, &count);
	return true;
}

/* How long to look for work before sleeping: another time each time, so that the two meet
 * everywhere. */
static unsigned int patience(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return *random >> 22;
}

/* --- The device ------------------------------------------------------------------------------- */

static void *run_device(void *argument)
{
	struct race *race = argument;
	struct virtio_queue *queue = &race->queue;
	struct virtio_chain chain;
	unsigned int n = 0;
	uint32_t random = 1;

	while (n < REQUESTS) {
		virtio_queue_disable_notify(queue);
		for (unsigned int i = patience(&random); i > 0; i--)
			while (virtio_queue_pop(queue, &chain) == 1) {
				virtio_queue_push(queue, chain.head, 0);
				virtio_queue_signal(queue);
				n++;
			}
		if (n == REQUESTS || virtio_queue_enable_notify(queue))
			continue;
		race->device_sleeps++;
		if (!wait_for(queue->notify_fd)) {
			race->device_slept_too_long = true;
			break;
		}
	}
	return NULL;
}

/* --- The driver ------------------------------------------------------------------------------- */

static uint16_t *shared(struct race *race, uint64_t address)
{
	return guest_memory_at(&race->memory, address, sizeof(uint16_t));
}

static uint16_t used_index(struct race *race)
{
	return __atomic_load_n(shared(race, race->driver.used + 2), __ATOMIC_ACQUIRE);
}

/* Makes one more request, and notifies if the device wants it. */
static void request(struct race *race)
{
	struct driver_ring *driver = &race->driver;
	uint16_t before = driver->available_index;
	bool wanted;

	driver_put16(driver, driver->available + 4 + before % SIZE * 2, before % SIZE);
	__atomic_store_n(
		shared(race, driver->available + 2), ++driver->available_index, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (race->event_index)
		wanted = __atomic_load_n(shared(race, driver->used + 4 + SIZE * 8),
				 __ATOMIC_RELAXED) == before;
	else
		wanted = !(__atomic_load_n(shared(race, driver->used), __ATOMIC_RELAXED) & 1);
	if (wanted)
		eventfd_write(race->queue.notify_fd, 1);
}

/* Asks for an interrupt at the next answer: whether there is one already. */
static bool ask_for_interrupt(struct race *race, uint16_t answered)
{
	if (race->event_index)
		__atomic_store_n(shared(race, race->driver.available + 4 + SIZE * 2), answered,
			__ATOMIC_RELAXED);
	else
		__atomic_store_n(shared(race, race->driver.available), 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return used_index(race) != answered;
}

/* Waits for an answer. */
static bool wait_for_answer(struct race *race, uint16_t answered)
{
	for (unsigned int i = patience(&race->random); i > 0; i--)
		if (used_index(race) != answered)
			return true;
	if (ask_for_interrupt(race, answered))
		return true;
	race->driver_sleeps++;
	while (used_index(race) == answered)
		if (!wait_for(race->queue.interrupt_fd))
			return false;
	return true;
}

static void run_driver(struct race *race)
{
	uint16_t answered = 0;

	for (unsigned int i = 0; i < REQUESTS; i++) {
		/* In turns of one and of several. */
		bool last = i == REQUESTS - 1 || i % 3 != 0;

		request(race);
		if (!race->event_index)
			__atomic_store_n(shared(race, race->driver.available), 1, __ATOMIC_RELAXED);
		while (last && answered != race->driver.available_index) {
			if (!wait_for_answer(race, answered)) {
				race->driver_slept_too_long = true;
				return;
			}
			answered = used_index(race);
		}
	}
}

/* --- Both ---------------------------------------------------------------------------------------
 */

static void run(bool event_index)
{
	static struct race race;
	const struct driver_descriptor descriptor = {0x8000, 64, 0, 0};
	pthread_t device;

	race = (struct race){.event_index = event_index};
	assert_int_equal(guest_memory_create(&race.memory, 2 << 20, GUEST_PAGES_SMALL, NULL), 0);
	race.driver = (struct driver_ring){&race.memory, 0x1000, 0x2000, 0x3000, SIZE, 0};
	race.queue = (struct virtio_queue){
		.memory = &race.memory,
		.size = SIZE,
		.descriptors = 0x1000,
		.available = 0x2000,
		.used = 0x3000,
		.enabled = true,
		.event_index = event_index,
		.notify_fd = eventfd(0, EFD_NONBLOCK),
		.interrupt_fd = eventfd(0, EFD_NONBLOCK),
	};
	for (unsigned int i = 0; i < SIZE; i++)
		driver_describe(&race.driver, 0x1000, i, &descriptor);
	assert_true(virtio_queue_start(&race.queue));
	assert_int_equal(pthread_create(&device, NULL, run_device, &race), 0);
	run_driver(&race);
	pthread_join(device, NULL);
	assert_false(race.driver_slept_too_long);
	assert_false(race.device_slept_too_long);
	assert_int_equal(used_index(&race), (uint16_t)REQUESTS);
	/* Otherwise it has shown nothing. */
	assert_true(race.driver_sleeps > 0 && race.device_sleeps > 0);
	close(race.queue.notify_fd);
	close(race.queue.interrupt_fd);
	guest_memory_destroy(&race.memory);
}

static void flags_lose_no_wake_up(void **state)
{
	(void)state;
	run(false);
}

static void event_indexes_lose_no_wake_up(void **state)
{
	(void)state;
	run(true);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_lose_no_wake_up),
		cmocka_unit_test(event_indexes_lose_no_wake_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
