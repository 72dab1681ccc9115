/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine with one toy device on its bus, and a driver that has found it: what the tests of the
 * PCI transport begin with, and are left with.
 */
#ifndef TESTS_UNIT_VIRTIO_PCI_FIXTURE_H
#define TESTS_UNIT_VIRTIO_PCI_FIXTURE_H

#include "tests/unit/toy_event_loop.h"
#include "tests/unit/toy_virtio.h"

enum {
	NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET,
	EVENT_INDEX = 29,
	INDIRECT = 28,
	DATA = 0x100000,
};

struct fixture {
	struct toy_machine machine;
	struct toy_device *toy;
	struct toy_driver driver;
	bool destroyed;
};

static inline int set_up_type(void **state, const struct virtio_device_type *type)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	if (toy_machine_create(&fixture.machine) != 0)
		return -1;
	fixture.toy = toy_device_create(&fixture.machine, type, &fixture.destroyed);
	if (!fixture.toy)
		return -1;
	toy_driver_probe(&fixture.driver, &fixture.machine);
	*state = &fixture;
	return 0;
}

static inline int set_up(void **state)
{
	return set_up_type(state, &toy_device_type);
}

static inline int set_up_external(void **state)
{
	return set_up_type(state, &toy_external_type);
}

/* Nothing of it is attached to anything any more. */
static inline int tear_down(void **state)
{
	struct fixture *fixture = *state;

	pci_root_destroy(fixture->machine.root);
	fixture->machine.root = NULL;
	if (!fixture->destroyed || toy_n_attached(fixture->machine.interrupts.attached) != 0 ||
		toy_n_attached(fixture->machine.ioeventfds.attached) != 0 ||
		toy_loop_n_sources(fixture->machine.loop) != 0)
		return -1;
	toy_machine_destroy(&fixture->machine);
	return 0;
}

/* A request whose readable bytes are `text`, and its answer. */
static inline void ask(struct fixture *fixture, uint16_t queue, uint16_t head, const char *text)
{
	struct driver_ring *ring = &fixture->driver.rings[queue];
	uint64_t data = DATA + queue * 0x10000ULL + head * 0x100ULL;
	const struct driver_descriptor question = {data, (uint32_t)strlen(text) + 1, 1, head + 1};
	const struct driver_descriptor answer = {data + 0x80, 0x80, DRIVER_WRITE, 0};

	guest_memory_write(&fixture->machine.memory, data, text, strlen(text) + 1);
	driver_describe(ring, ring->descriptors, head, &question);
	driver_describe(ring, ring->descriptors, head + 1U, &answer);
	driver_offer(ring, head);
}

static inline bool is_answered(
	struct fixture *fixture, uint16_t queue, uint16_t head, const char *text)
{
	char answer[0x80];

	guest_memory_read(&fixture->machine.memory,
		DATA + queue * 0x10000ULL + head * 0x100ULL + 0x80, answer, sizeof(answer));
	return strcmp(answer, text) == 0;
}

#endif
