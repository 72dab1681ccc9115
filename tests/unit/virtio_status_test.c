/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a virtio device by virtio 1.2, 2.1 and 3.1: features, start, requests, failure, and
 * that a reset at any moment leaves nothing behind.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/virtio_pci.h"
#include "tests/unit/virtio_pci_fixture.h"

/* --- 2.2, 3.1.1: features -------------------------------------------------------------------- */

static void features_are_offered_in_two_halves(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	assert_int_equal(toy_offered(driver), 1ULL << TOY_FEATURE | 1ULL << TOY_OTHER_FEATURE |
						      1ULL << VIRTIO_F_VERSION_1 |
						      1ULL << EVENT_INDEX | 1ULL << INDIRECT);
	toy_common_write(driver, VIRTIO_PCI_COMMON_DFSELECT, 2, 4);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_DF, 4), 0);
	toy_common_write(driver, VIRTIO_PCI_COMMON_DFSELECT, UINT32_MAX, 4);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_DF, 4), 0);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_DFSELECT, 4), UINT32_MAX);
}

static void external_queues_are_offered_what_their_device_says(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(toy_offered(&fixture->driver),
		1ULL << TOY_FEATURE | 1ULL << TOY_OTHER_FEATURE | 1ULL << VIRTIO_F_VERSION_1);
}

struct choice {
	const char *name;
	uint64_t features;
	bool accepted;
};

static const struct choice choices[] = {
	{"all that is needed", 1ULL << VIRTIO_F_VERSION_1, true},
	{"a feature of the device's", 1ULL << VIRTIO_F_VERSION_1 | 1ULL << TOY_FEATURE, true},
	{"all that is offered",
		1ULL << TOY_FEATURE | 1ULL << TOY_OTHER_FEATURE | 1ULL << VIRTIO_F_VERSION_1 |
			1ULL << EVENT_INDEX | 1ULL << INDIRECT,
		true},
	{"nothing: a driver from before 1.0", 0, false},
	{"not a modern one", 1ULL << TOY_FEATURE, false},
	{"what was not offered", 1ULL << VIRTIO_F_VERSION_1 | 1, false},
	{"a reset of single queues", 1ULL << VIRTIO_F_VERSION_1 | 1ULL << 40 | 1ULL << 41, false},
	{"everything", UINT64_MAX, false},
};

static void a_driver_may_take_what_was_offered(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
		const struct choice *choice = &choices[i];

		if (toy_negotiate(driver, choice->features) != choice->accepted)
			fail_msg("%s", choice->name);
		assert_int_equal(
			fixture->toy->device.features, choice->accepted ? choice->features : 0);
		/* A device that refused cannot be started. */
		toy_set_status(driver, toy_status(driver) | VIRTIO_CONFIG_S_DRIVER_OK);
		assert_int_equal(fixture->toy->device.started, choice->accepted);
	}
}

static void features_stand_once_they_are_accepted(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	assert_true(toy_negotiate(driver, 1ULL << VIRTIO_F_VERSION_1));
	toy_common_write(driver, VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_GF, 1U << TOY_FEATURE, 4);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_GF, 4), 0);
	assert_int_equal(fixture->toy->device.features, 1ULL << VIRTIO_F_VERSION_1);
}

/* --- 2.1: the status register ---------------------------------------------------------------- */

static void status_bits_are_taken_back_by_reset_alone(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_driver_start(driver, 0);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK);
	toy_set_status(driver, TOY_STATUS_DRIVER);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK);
	/* Bits that mean nothing, or that are the device's. */
	toy_set_status(driver, TOY_STATUS_OK | 0x30 | NEEDS_RESET);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK);
	toy_set_status(driver, TOY_STATUS_OK | VIRTIO_CONFIG_S_FAILED);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK | VIRTIO_CONFIG_S_FAILED);
	assert_int_equal(fixture->toy->n_started, 1);
	toy_set_status(driver, 0);
	assert_int_equal(toy_status(driver), 0);
	assert_int_equal(fixture->toy->n_stopped, 1);
}

static void a_reset_makes_everything_as_it_was(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;
	uint8_t before[60], after[60];

	for (unsigned int i = 0; i < sizeof(before); i++)
		before[i] = (uint8_t)toy_common_read(driver, i, 1);
	for (unsigned int round = 0; round < 3; round++) {
		toy_driver_start(driver, 1ULL << EVENT_INDEX);
		ask(fixture, 0, 0, "again");
		toy_notify(driver, 0);
		toy_loop_turn(fixture->machine.loop);
		assert_true(is_answered(fixture, 0, 0, "again"));
		toy_set_status(driver, 0);
		for (unsigned int i = 0; i < sizeof(after); i++)
			after[i] = (uint8_t)toy_common_read(driver, i, 1);
		assert_memory_equal(before, after, sizeof(before));
		assert_int_equal(fixture->toy->n_stopped, round + 1);
		assert_int_equal(toy_n_attached(fixture->machine.ioeventfds.attached), 0);
		assert_int_equal(toy_loop_n_sources(fixture->machine.loop), 0);
	}
}

/* What was on its way when the driver reset does not reach the next one. */
static void nothing_outlives_a_reset(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;
	unsigned int notified;

	toy_driver_start(driver, 0);
	toy_loop_turn(fixture->machine.loop);
	toy_write(driver->machine, driver->table + PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL,
		1, 4);
	ask(fixture, 0, 0, "lost");
	toy_notify(driver, 0);
	toy_loop_turn(fixture->machine.loop);
	toy_notify(driver, 0);
	notified = fixture->toy->n_notified;
	toy_set_status(driver, 0);
	toy_notify(driver, 0);
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 0);
	assert_int_equal(fixture->toy->n_notified, notified);
	toy_negotiate(driver, 1ULL << VIRTIO_F_VERSION_1);
	toy_set_up_vectors(driver);
	assert_int_equal(toy_raised(&fixture->machine.interrupts, 1), 0);
}

static void a_device_that_does_not_start_needs_a_reset(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	fixture->toy->start_error = -ENODEV;
	toy_driver_start(driver, 0);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK | NEEDS_RESET);
	assert_string_equal(virtio_device_failure(&fixture->toy->device), "No such device");
	assert_int_equal(toy_raised(&fixture->machine.interrupts, 0), 1);
	toy_set_status(driver, 0);
	assert_int_equal(toy_status(driver), 0);
	assert_null(virtio_device_failure(&fixture->toy->device));
	assert_int_equal(fixture->toy->n_stopped, 0);
	fixture->toy->start_error = 0;
	toy_driver_start(driver, 0);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK);
}

static void a_loop_that_takes_no_more_is_a_failure(void **state)
{
	struct fixture *fixture = *state;

	fixture->machine.loop->refuse = true;
	toy_driver_start(&fixture->driver, 0);
	assert_int_equal(toy_status(&fixture->driver), TOY_STATUS_OK | NEEDS_RESET);
	toy_set_status(&fixture->driver, 0);
	assert_int_equal(fixture->toy->n_stopped, 1);
}

/* --- 4.1.5.2, 4.1.5.3: notifications and interrupts ------------------------------------------ */

static void requests_are_answered(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_driver_start(driver, 0);
	toy_loop_turn(fixture->machine.loop);
	toy_raised(&fixture->machine.interrupts, 1);
	toy_raised(&fixture->machine.interrupts, 2);
	assert_int_equal(toy_n_attached(fixture->machine.ioeventfds.attached), TOY_QUEUES);
	ask(fixture, 1, 4, "hello");
	toy_notify(driver, 1);
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 1);
	assert_true(is_answered(fixture, 1, 4, "hello"));
	assert_int_equal(driver_used_index(&driver->rings[1]), 1);
	assert_int_equal(driver_used_bytes(&driver->rings[1], 0), 6);
	assert_int_equal(toy_raised(&fixture->machine.interrupts, 2), 1);
	assert_int_equal(toy_raised(&fixture->machine.interrupts, 1), 0);
}

/* Where KVM has no ioeventfd to give, the write leaves the guest and does the same. */
static void notifications_work_by_exits_too(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	fixture->machine.ioeventfds.refuse = true;
	toy_driver_start(driver, 0);
	toy_loop_turn(fixture->machine.loop);
	assert_int_equal(toy_n_attached(fixture->machine.ioeventfds.attached), 0);
	ask(fixture, 0, 0, "by hand");
	toy_notify(driver, 0);
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 1);
	assert_true(is_answered(fixture, 0, 0, "by hand"));
}

static void doorbells_follow_the_bar(void **state)
{
	struct fixture *fixture = *state;
	struct toy_machine *machine = &fixture->machine;
	struct toy_driver *driver = &fixture->driver;

	toy_driver_start(driver, 0);
	toy_config_write(machine, TOY_FUNCTION, PCI_BASE_ADDRESS_0, 0xd0000000, 4);
	assert_non_null(toy_find(machine->ioeventfds.attached, 0xd0003000, -1));
	assert_non_null(toy_find(machine->ioeventfds.attached, 0xd0003004, -1));
	assert_int_equal(toy_n_attached(machine->ioeventfds.attached), 2);
	toy_config_write(machine, TOY_FUNCTION, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	assert_int_equal(toy_n_attached(machine->ioeventfds.attached), 0);
	toy_config_write(
		machine, TOY_FUNCTION, PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
	assert_int_equal(toy_n_attached(machine->ioeventfds.attached), 2);
}

/* What is in the ring already when the device starts is looked at without a notification. */
static void requests_from_before_the_start_are_answered(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_negotiate(driver, 1ULL << VIRTIO_F_VERSION_1);
	toy_set_up_queue(driver, 0, 8);
	ask(fixture, 0, 0, "early");
	toy_notify(driver, 0);
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 0);
	toy_set_status(driver, TOY_STATUS_OK);
	toy_loop_turn(fixture->machine.loop);
	assert_true(is_answered(fixture, 0, 0, "early"));
}

/* A queue that is never empty does not keep others waiting. */
static void turns_are_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_driver_start(driver, 0);
	toy_loop_turn(fixture->machine.loop);
	for (unsigned int i = 0; i < TOY_QUEUE_SIZE; i++)
		driver_offer_buffer(&driver->rings[0], (uint16_t)i, DATA, 4, 0);
	toy_notify(driver, 0);
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 1);
	assert_int_equal(fixture->toy->n_answered, VIRTIO_DEVICE_TURN);
	assert_int_equal(driver_no_notify(&driver->rings[0]), 1);
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 1);
	assert_int_equal(fixture->toy->n_answered, 2 * VIRTIO_DEVICE_TURN);
	/* It could not know that this was all; now it sleeps. */
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 1);
	assert_int_equal(driver_no_notify(&driver->rings[0]), 0);
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 0);
}

static void a_broken_queue_stops_the_device(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_driver_start(driver, 0);
	toy_loop_turn(fixture->machine.loop);
	driver_offer_buffer(&driver->rings[0], 0, TOY_MEMORY, 1, 0);
	toy_notify(driver, 0);
	toy_loop_turn(fixture->machine.loop);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK | NEEDS_RESET);
	assert_string_equal(
		virtio_device_failure(&fixture->toy->device), "a buffer is not in memory");
	assert_int_equal(toy_raised(&fixture->machine.interrupts, 0), 1);
	/* Nobody is woken any more. */
	toy_notify(driver, 0);
	toy_notify(driver, 1);
	assert_int_equal(toy_loop_turn(fixture->machine.loop), 0);
	assert_int_equal(fixture->toy->n_stopped, 0);
	toy_driver_start(driver, 0);
	ask(fixture, 0, 0, "well again");
	toy_loop_turn(fixture->machine.loop);
	assert_true(is_answered(fixture, 0, 0, "well again"));
}

/* Without a vector a driver polls: the ring, or the ISR register (4.1.4.5). */
static void a_driver_may_poll(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_negotiate(driver, 1ULL << VIRTIO_F_VERSION_1);
	toy_set_up_queue(driver, 0, 8);
	toy_set_status(driver, TOY_STATUS_OK);
	toy_loop_turn(fixture->machine.loop);
	toy_read(&fixture->machine, driver->isr, 1);
	assert_int_equal(toy_read(&fixture->machine, driver->isr, 1), 0);
	ask(fixture, 0, 0, "polled");
	toy_notify(driver, 0);
	toy_loop_turn(fixture->machine.loop);
	assert_true(is_answered(fixture, 0, 0, "polled"));
	assert_int_equal(toy_read(&fixture->machine, driver->isr, 1), 1);
	assert_int_equal(toy_read(&fixture->machine, driver->isr, 1), 0);
	virtio_device_config_changed(&fixture->toy->device);
	assert_int_equal(toy_read(&fixture->machine, driver->isr, 1), 2);
	assert_int_equal(toy_read(&fixture->machine, driver->isr, 1), 0);
}

static void a_vector_that_is_not_there_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_common_write(driver, VIRTIO_PCI_COMMON_MSIX, TOY_QUEUES + 1, 2);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
	toy_common_write(driver, VIRTIO_PCI_COMMON_MSIX, TOY_QUEUES, 2);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_MSIX, 2), TOY_QUEUES);
	toy_common_write(driver, VIRTIO_PCI_COMMON_MSIX, 0xffff, 2);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
}

/* --- Bus mastering --------------------------------------------------------------------------- */

static void a_device_that_is_no_bus_master_touches_no_memory(void **state)
{
	struct fixture *fixture = *state;
	struct toy_machine *machine = &fixture->machine;
	struct toy_driver *driver = &fixture->driver;

	toy_config_write(machine, TOY_FUNCTION, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	toy_driver_start(driver, 0);
	assert_int_equal(fixture->toy->n_started, 0);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK | NEEDS_RESET);
	/* The message waits too: it would be a write to memory. */
	assert_int_equal(toy_raised(&machine->interrupts, 0), 0);
	assert_int_equal(toy_read(machine, driver->pending, 8), 1);
	toy_config_write(
		machine, TOY_FUNCTION, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	assert_int_equal(toy_raised(&machine->interrupts, 0), 1);
	toy_driver_start(driver, 0);
	assert_int_equal(fixture->toy->n_started, 1);
	toy_config_write(machine, TOY_FUNCTION, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	assert_int_equal(fixture->toy->n_stopped, 1);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK | NEEDS_RESET);
	assert_string_equal(virtio_device_failure(&fixture->toy->device),
		"the driver has switched bus mastering off");
	toy_set_status(driver, 0);
	assert_int_equal(fixture->toy->n_stopped, 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define STORY(name)	     cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define EXTERNAL_STORY(name) cmocka_unit_test_setup_teardown(name, set_up_external, tear_down)
		STORY(features_are_offered_in_two_halves),
		EXTERNAL_STORY(external_queues_are_offered_what_their_device_says),
		STORY(a_driver_may_take_what_was_offered),
		STORY(features_stand_once_they_are_accepted),
		STORY(status_bits_are_taken_back_by_reset_alone),
		STORY(a_reset_makes_everything_as_it_was),
		STORY(nothing_outlives_a_reset),
		STORY(a_device_that_does_not_start_needs_a_reset),
		STORY(a_loop_that_takes_no_more_is_a_failure),
		STORY(requests_are_answered),
		STORY(notifications_work_by_exits_too),
		STORY(doorbells_follow_the_bar),
		STORY(requests_from_before_the_start_are_answered),
		STORY(turns_are_bounded),
		STORY(a_broken_queue_stops_the_device),
		STORY(a_driver_may_poll),
		STORY(a_vector_that_is_not_there_is_refused),
		STORY(a_device_that_is_no_bus_master_touches_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
