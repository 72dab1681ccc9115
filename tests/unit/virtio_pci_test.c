/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a driver finds of a virtio device on PCI, by virtio 1.2, 4.1: capabilities, registers,
 * queues, and what becomes of accesses that make no sense.
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

/* --- 4.1.2, 4.1.4: what a driver finds ------------------------------------------------------- */

static void a_modern_device_is_found(void **state)
{
	struct fixture *fixture = *state;
	struct toy_machine *machine = &fixture->machine;

	assert_int_equal(toy_config_read(machine, TOY_FUNCTION, PCI_VENDOR_ID, 4), 0x10411af4);
	assert_int_equal(toy_config_read(machine, TOY_FUNCTION, PCI_REVISION_ID, 1), 1);
	assert_int_equal(toy_config_read(machine, TOY_FUNCTION, PCI_CLASS_DEVICE, 2), 0x0200);
	assert_true(toy_config_read(machine, TOY_FUNCTION, PCI_SUBSYSTEM_ID, 2) >= 0x40);
	assert_int_equal(toy_config_read(machine, TOY_FUNCTION, PCI_INTERRUPT_PIN, 1), 0);
	assert_true(toy_config_read(machine, TOY_FUNCTION, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	/* Vectors for the queues and the configuration; off. */
	assert_int_equal(
		toy_config_read(machine, TOY_FUNCTION, fixture->driver.msix + PCI_MSIX_FLAGS, 2),
		TOY_QUEUES);
	assert_int_equal(toy_common_read(&fixture->driver, VIRTIO_PCI_COMMON_NUMQ, 2), TOY_QUEUES);
}

/* Each structure lies in the BAR, is as long as it has to be, and is where no other one is. */
static void the_structures_are_in_the_bar(void **state)
{
	static const struct {
		unsigned int type, bytes;
	} structures[] = {{VIRTIO_PCI_CAP_COMMON_CFG, 56}, {VIRTIO_PCI_CAP_ISR_CFG, 1},
		{VIRTIO_PCI_CAP_DEVICE_CFG, TOY_CONFIG_BYTES},
		{VIRTIO_PCI_CAP_NOTIFY_CFG, TOY_QUEUES * 4}};
	struct fixture *fixture = *state;
	struct toy_machine *machine = &fixture->machine;
	uint32_t end = 0;

	for (unsigned int i = 0; i < 4; i++) {
		unsigned int at = toy_find_capability(
			machine, TOY_FUNCTION, PCI_CAP_ID_VNDR, structures[i].type);
		uint32_t offset =
			toy_config_read(machine, TOY_FUNCTION, at + VIRTIO_PCI_CAP_OFFSET, 4);
		uint32_t bytes =
			toy_config_read(machine, TOY_FUNCTION, at + VIRTIO_PCI_CAP_LENGTH, 4);

		assert_int_not_equal(at, 0);
		assert_int_equal(
			toy_config_read(machine, TOY_FUNCTION, at + VIRTIO_PCI_CAP_BAR, 1), 0);
		assert_true(bytes >= structures[i].bytes);
		assert_true(offset >= end);
		end = offset + bytes;
	}
	assert_true(end <= fixture->driver.table - LAYOUT_PCI32_BASE);
}

/* --- 4.1.5.1.3: queues ----------------------------------------------------------------------- */

static void a_queue_is_set_up_once(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_SIZE, 2), TOY_QUEUE_SIZE);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_NOFF, 2), 1);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
	/* Powers of two up to what was offered. */
	for (unsigned int size = 0; size <= UINT16_MAX; size++) {
		bool good = size != 0 && size <= TOY_QUEUE_SIZE && (size & (size - 1)) == 0;

		toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2);
		toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
		assert_int_equal(
			toy_common_read(driver, VIRTIO_PCI_COMMON_Q_SIZE, 2), good ? size : 2);
	}
	/* Addresses, whole and in halves. */
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_DESCLO, 0x1122334455667788, 8);
	assert_int_equal(
		toy_common_read(driver, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0x1122334455667788);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_DESCHI, 0x99, 4);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0x9955667788);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_DESCLO, 0x77, 4);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0x9900000077);
	/* Once it is enabled it stays as it is. */
	toy_set_up_queue(driver, 1, 16);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SIZE, 8, 2);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_AVAILLO, 0, 4);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_AVAILLO, 4),
		driver->rings[1].available);
	assert_false(fixture->toy->device.queues[0].enabled);
}

static void there_are_no_other_queues(void **state)
{
	static const uint16_t others[] = {TOY_QUEUES, 100, 0x7fff, 0xffff};
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	for (unsigned int i = 0; i < 4; i++) {
		toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SELECT, others[i], 2);
		assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_SELECT, 2), others[i]);
		for (unsigned int offset = 24; offset < 60; offset += 2) {
			toy_common_write(driver, offset, 1, 2);
			assert_int_equal(toy_common_read(driver, offset, 2),
				offset == VIRTIO_PCI_COMMON_Q_MSIX ? 0xffff : 0);
		}
		toy_write(driver->machine, driver->notify + others[i] * 4ULL, others[i], 2);
	}
}

static void a_queue_that_cannot_be_breaks_the_device(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_negotiate(driver, 1ULL << VIRTIO_F_VERSION_1);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_DESCLO, TOY_MEMORY, 8);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	toy_set_status(driver, TOY_STATUS_OK);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK | NEEDS_RESET);
	assert_string_equal(virtio_device_failure(&fixture->toy->device),
		"the descriptor table is not aligned, or not in memory");
	assert_int_equal(fixture->toy->n_started, 0);
}

static void queues_cannot_be_enabled_later(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_negotiate(driver, 1ULL << VIRTIO_F_VERSION_1);
	toy_set_up_queue(driver, 0, 8);
	toy_set_status(driver, TOY_STATUS_OK);
	toy_set_up_queue(driver, 1, 8);
	assert_false(fixture->toy->device.queues[1].enabled);
	toy_notify(driver, 1);
	assert_int_equal(toy_n_attached(fixture->machine.ioeventfds.attached), 1);
}

/* --- 4.1.4.6: the device's configuration ----------------------------------------------------- */

static void the_devices_configuration_is_read_and_written(void **state)
{
	struct fixture *fixture = *state;
	struct toy_machine *machine = &fixture->machine;
	struct toy_driver *driver = &fixture->driver;
	uint64_t text = 0, generation;

	memcpy(&text, "virtio!", 8);
	assert_int_equal(toy_read(machine, driver->config, 8), text);
	assert_int_equal(toy_read(machine, driver->config + 1, 1), 'i');
	assert_int_equal(toy_read(machine, driver->config + 6, 4), '!');
	assert_int_equal(toy_read(machine, driver->config + 0xffc, 4), 0);
	assert_int_equal(toy_read(machine, driver->config + 0xffc, 8), 0);
	toy_write(machine, driver->config, 'V', 1);
	assert_int_equal(fixture->toy->config[0], 'V');
	toy_driver_start(driver, 0);
	generation = toy_common_read(driver, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	virtio_device_config_changed(&fixture->toy->device);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_CFGGENERATION, 1),
		(uint8_t)(generation + 1));
	assert_int_equal(toy_raised(&machine->interrupts, 0), 1);
}

/* A driver that is not there is not interrupted. */
static void nobody_is_told_before_a_driver_is_there(void **state)
{
	struct fixture *fixture = *state;

	virtio_device_config_changed(&fixture->toy->device);
	toy_negotiate(&fixture->driver, 1ULL << VIRTIO_F_VERSION_1);
	toy_set_up_vectors(&fixture->driver);
	assert_int_equal(toy_raised(&fixture->machine.interrupts, 0), 0);
	assert_int_equal(toy_read(&fixture->machine, fixture->driver.isr, 1), 0);
}

/* --- 4.1.4.9: access through configuration space --------------------------------------------- */

static void point_window(struct fixture *fixture, unsigned int bar, uint32_t offset, uint32_t bytes)
{
	struct toy_machine *machine = &fixture->machine;
	unsigned int window = fixture->driver.window;

	toy_config_write(machine, TOY_FUNCTION, window + VIRTIO_PCI_CAP_BAR, bar, 1);
	toy_config_write(machine, TOY_FUNCTION, window + VIRTIO_PCI_CAP_OFFSET, offset, 4);
	toy_config_write(machine, TOY_FUNCTION, window + VIRTIO_PCI_CAP_LENGTH, bytes, 4);
}

static uint32_t read_window(struct fixture *fixture, unsigned int bytes)
{
	return toy_config_read(&fixture->machine, TOY_FUNCTION, fixture->driver.window + 16, bytes);
}

static void write_window(struct fixture *fixture, uint32_t value, unsigned int bytes)
{
	toy_config_write(
		&fixture->machine, TOY_FUNCTION, fixture->driver.window + 16, value, bytes);
}

static void the_registers_are_reached_through_configuration_space(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	/* Memory decoding need not be on for it. */
	toy_config_write(&fixture->machine, TOY_FUNCTION, PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	point_window(fixture, 0, VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(read_window(fixture, 2), TOY_QUEUES);
	point_window(fixture, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	write_window(fixture, TOY_STATUS_DRIVER, 1);
	assert_int_equal(read_window(fixture, 1), TOY_STATUS_DRIVER);
	toy_config_write(&fixture->machine, TOY_FUNCTION, PCI_COMMAND,
		PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
	assert_int_equal(toy_status(driver), TOY_STATUS_DRIVER);
}

struct window_story {
	const char *name;
	unsigned int bar;
	uint32_t offset, bytes;
};

static const struct window_story window_stories[] = {
	{"another BAR", 1, VIRTIO_PCI_COMMON_STATUS, 1},
	{"no such BAR", 255, VIRTIO_PCI_COMMON_STATUS, 1},
	{"no bytes", 0, VIRTIO_PCI_COMMON_STATUS, 0},
	{"three bytes", 0, VIRTIO_PCI_COMMON_STATUS, 3},
	{"eight bytes", 0, VIRTIO_PCI_COMMON_STATUS, 8},
	{"very many bytes", 0, VIRTIO_PCI_COMMON_STATUS, UINT32_MAX},
	{"askew", 0, VIRTIO_PCI_COMMON_STATUS - 2, 4},
	{"behind the BAR", 0, 0x8000, 4},
	{"far behind the BAR", 0, UINT32_MAX - 3, 4},
	{"the end of the BAR", 0, 0x7ffc, 4},
};

static void a_window_to_nowhere_does_nothing(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(window_stories) / sizeof(window_stories[0]); i++) {
		const struct window_story *story = &window_stories[i];

		point_window(fixture, story->bar, story->offset, story->bytes);
		write_window(fixture, 0x01010101, 4);
		read_window(fixture, 4);
		if (toy_status(&fixture->driver) != 0)
			fail_msg("%s", story->name);
	}
}

/* --- Accesses that drivers do not make ------------------------------------------------------- */

static void fields_are_written_whole_and_read_in_any_piece(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;

	toy_common_write(driver, VIRTIO_PCI_COMMON_DFSELECT, 0x01020304, 4);
	assert_int_equal(toy_common_read(driver, 1, 2), 0x0203);
	assert_int_equal(toy_common_read(driver, 3, 1), 0x01);
	/* Half a field, two fields, a field askew: ignored. */
	toy_common_write(driver, VIRTIO_PCI_COMMON_DFSELECT, 0, 2);
	toy_common_write(driver, VIRTIO_PCI_COMMON_DFSELECT, 0, 8);
	toy_common_write(driver, 1, 0, 4);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_DFSELECT, 4), 0x01020304);
	toy_common_write(driver, VIRTIO_PCI_COMMON_STATUS, 0x0101, 2);
	toy_common_write(driver, VIRTIO_PCI_COMMON_NUMQ, 0x01010101, 4);
	assert_int_equal(toy_status(driver), 0);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_DESCLO + 2, 0x01010101, 4);
	toy_common_write(driver, VIRTIO_PCI_COMMON_Q_DESCLO, 0x01, 1);
	assert_int_equal(toy_common_read(driver, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
	/* What is behind the structure. */
	toy_common_write(driver, 60, UINT32_MAX, 4);
	assert_int_equal(toy_common_read(driver, 60, 4), 0);
	assert_int_equal(toy_common_read(driver, 56, 8), 0);
}

static void the_whole_bar_can_be_read_and_written(void **state)
{
	static const unsigned int sizes[] = {1, 2, 4, 8};
	struct fixture *fixture = *state;

	for (uint64_t offset = 0; offset < 0x8000; offset++)
		for (unsigned int i = 0; i < 4; i++) {
			toy_read(&fixture->machine, LAYOUT_PCI32_BASE + offset, sizes[i]);
			toy_write(&fixture->machine, LAYOUT_PCI32_BASE + offset,
				0x0101010101010101ULL * (offset & 0xff), sizes[i]);
		}
}

/* --- What cannot be made --------------------------------------------------------------------- */

static void a_device_that_does_not_fit_stays_its_owners(void **state)
{
	struct fixture *fixture = *state;
	struct virtio_device device = {
		.type = &toy_device_type,
		.name = "toy1",
		.memory = &fixture->machine.memory,
		.loop = fixture->machine.loop,
		.n_queues = TOY_GSIS,
		.queue_size_max = 2,
	};
	struct hv_error error = {""};

	assert_int_equal(virtio_pci_add(fixture->machine.root, &device, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "no place for 65 more interrupts"));
	assert_null(device.queues);
	assert_null(device.transport);
	device.n_queues = 0;
	assert_int_equal(virtio_pci_add(fixture->machine.root, &device, &error), -EINVAL);
	device.n_queues = 512;
	assert_int_equal(virtio_pci_add(fixture->machine.root, &device, &error), -EINVAL);
	assert_string_equal(error.text, "toy1: 512 queues, of 1 to 511 that a device can have");
}

/* Their notifications and interrupts never come through this process. */
static void external_queues_are_left_alone(void **state)
{
	struct fixture *fixture = *state;
	struct toy_driver *driver = &fixture->driver;
	struct virtio_device *device = &fixture->toy->device;
	eventfd_t count;

	toy_driver_start(driver, 0);
	assert_int_equal(toy_status(driver), TOY_STATUS_OK);
	assert_int_equal(toy_loop_n_sources(fixture->machine.loop), 0);
	assert_int_equal(eventfd_read(device->queues[1].notify_fd, &count), -1);
	toy_notify(driver, 1);
	assert_int_equal(eventfd_read(device->queues[1].notify_fd, &count), 0);
	eventfd_write(device->queues[1].interrupt_fd, 1);
	assert_int_equal(toy_raised(&fixture->machine.interrupts, 2), 1);
	/* It has no configuration of its own. */
	assert_int_equal(toy_read(&fixture->machine, driver->config, 4), 0);
	toy_write(&fixture->machine, driver->config, 1, 4);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define STORY(name)	     cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define EXTERNAL_STORY(name) cmocka_unit_test_setup_teardown(name, set_up_external, tear_down)
		STORY(a_modern_device_is_found),
		STORY(the_structures_are_in_the_bar),
		STORY(a_queue_is_set_up_once),
		STORY(there_are_no_other_queues),
		STORY(a_queue_that_cannot_be_breaks_the_device),
		STORY(queues_cannot_be_enabled_later),
		STORY(the_devices_configuration_is_read_and_written),
		STORY(nobody_is_told_before_a_driver_is_there),
		STORY(the_registers_are_reached_through_configuration_space),
		STORY(a_window_to_nowhere_does_nothing),
		STORY(fields_are_written_whole_and_read_in_any_piece),
		STORY(the_whole_bar_can_be_read_and_written),
		STORY(a_device_that_does_not_fit_stays_its_owners),
		EXTERNAL_STORY(external_queues_are_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
