/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a notification and a request of a virtio device cost: run by hand.
 *
 *	virtio_bench
 *
 * Notifications need KVM: a guest writes to a doorbell, which KVM turns into an event, or which
 *comes to this process and is turned into one here.  The guest's own instructions are counted by a
 *loop that writes to its memory instead.  Requests need nothing: a driver in the same thread offers
 *one of three buffers, it is taken, answered and signalled, without an interrupt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "hv/ioeventfd.h"
#include "hv/virtio_queue.h"
#include "tests/unit/virtio_driver.h"
#include "tests/unit/vmm_guest.h"

/* 20,000 writes to the address at 0x7008, when 0x7000 is set; then 0x7004 is. */
GUEST_ASSEMBLE(write_often, "mov 0x7008, %ebx\n"
			    "2: cmpl $0, 0x7000; je 2b\n"
			    "mov $20000, %ecx\n"
			    "3: movw $0, (%ebx); dec %ecx; jnz 3b\n"
			    "movl $1, 0x7004\n"
			    "4: jmp 4b\n");

enum {
	WRITES = 20000,
	REQUESTS = 1 << 20,
	BEGIN = GUEST_PAGE,
	DONE = GUEST_PAGE + 4,
	ADDRESS = GUEST_PAGE + 8,
	DOORBELL = 0xd0003000U,
	DOORBELL_BYTES = 0x1000,
	MEMORY = 0x8000, /* Of the guest's own. */
	QUEUE_SIZE = 256,
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- Notifications -------------------------------------------------------------------------- */

static void ignore_read(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	(void)device;
	(void)offset;
	memset(data, 0, bytes);
}

/* What the transport does with a notification that comes to it. */
static void signal_write(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	(void)offset;
	(void)data;
	(void)bytes;
	eventfd_write(*(const int *)device, 1);
}

static const struct bus_operations doorbell = {ignore_read, signal_write};

/* Nanoseconds for one write to `address`. */
static double measure_writes(uint32_t address, bool ioeventfd)
{
	struct guest *guest = guest_new(1, guest_write_often, guest_write_often_bytes);
	int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct ioeventfds *ioeventfds;
	uint64_t start;

	assert_int_equal(ioeventfds_kvm_create(&ioeventfds, guest->machine.vm_fd), 0);
	assert_int_equal(
		bus_add(&guest->machine.mmio, DOORBELL, DOORBELL_BYTES, &doorbell, &event), 0);
	if (ioeventfd)
		assert_int_equal(ioeventfds->operations->attach(ioeventfds, DOORBELL, event), 0);
	*guest_word(guest, ADDRESS) = address;
	guest_run(guest);
	guest_wait_running(guest);
	sleep_ms(20);
	start = now_ns();
	*guest_word(guest, BEGIN) = 1;
	while (*guest_word(guest, DONE) == 0)
		sleep_ms(1);
	start = now_ns() - start;
	guest_stop(guest);
	ioeventfds_kvm_destroy(ioeventfds);
	guest_free(guest);
	close(event);
	return (double)start / WRITES;
}

static void measure_notifications(void)
{
	double memory, event, exit_ns;

	if (!guest_has_kvm()) {
		printf("notifications: there is no /dev/kvm here\n");
		return;
	}
	memory = measure_writes(MEMORY, false);
	event = measure_writes(DOORBELL, true) - memory;
	exit_ns = measure_writes(DOORBELL, false) - memory;
	printf("a turn of the guest's loop           %8.0f ns\n", memory);
	printf("a notification by an ioeventfd       %8.0f ns more\n", event);
	printf("a notification that leaves the guest %8.0f ns more\n", exit_ns);
}

/* --- Requests --------------------------------------------------------------------------------- */

static void offer(struct driver_ring *driver, bool indirect)
{
	static const struct driver_descriptor table[] = {
		{0x10000, 16, DRIVER_NEXT, 1},
		{0x11000, 4096, DRIVER_NEXT | DRIVER_WRITE, 2},
		{0x10100, 1, DRIVER_WRITE, 0},
	};
	const struct driver_descriptor whole = {0x9000, sizeof(table), DRIVER_INDIRECT, 0};

	for (unsigned int i = 0; i < 3; i++)
		driver_describe(driver, indirect ? 0x9000 : driver->descriptors, i, &table[i]);
	if (indirect)
		driver_describe(driver, driver->descriptors, 0, &whole);
	driver_offer(driver, 0);
}

/* Nanoseconds from the driver's index to the device's decision not to interrupt. */
static double measure_requests(bool indirect)
{
	struct guest_memory memory = {0};
	struct virtio_queue queue = {.memory = &memory,
		.size = QUEUE_SIZE,
		.descriptors = 0x1000,
		.available = 0x3000,
		.used = 0x4000,
		.enabled = true,
		.indirect = indirect,
		.event_index = true,
		.interrupt_fd = -1};
	struct driver_ring driver = {.memory = &memory,
		.descriptors = 0x1000,
		.available = 0x3000,
		.used = 0x4000,
		.size = QUEUE_SIZE};
	struct virtio_chain chain;
	uint64_t start, spent = 0;

	assert_int_equal(guest_memory_create(&memory, 2 << 20, GUEST_PAGES_SMALL, NULL), 0);
	assert_true(virtio_queue_start(&queue));
	for (unsigned int round = 0; round < REQUESTS / QUEUE_SIZE; round++) {
		for (unsigned int i = 0; i < QUEUE_SIZE; i++)
			offer(&driver, indirect);
		driver_set_used_event(&driver, (uint16_t)(queue.next_used - 1));
		start = now_ns();
		while (virtio_queue_pop(&queue, &chain) > 0) {
			virtio_queue_push(&queue, chain.head, 1);
			virtio_queue_signal(&queue);
		}
		spent += now_ns() - start;
	}
	assert_int_equal(driver_used_index(&driver), (uint16_t)REQUESTS);
	guest_memory_destroy(&memory);
	return (double)spent / REQUESTS;
}

int main(void)
{
	measure_notifications();
	printf("a request of three buffers           %8.0f ns\n", measure_requests(false));
	printf("the same in an indirect table        %8.0f ns\n", measure_requests(true));
	return 0;
}
