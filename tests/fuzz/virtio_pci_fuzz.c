/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that does anything to the PCI bus and to two virtio devices on it, one of whose queues
 * are another process's: any access of any size to any register, at any moment; with KVM that
 * refuses, devices that fail, and rings that hold anything.
 *
 * The input is a list of steps of 12 bytes: what, where (16 bits), and a value.  The toy machine
 * and the toy device abort if they are used in a way that KVM and real devices would not bear.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/virtio_pci.h"
#include "tests/unit/toy_event_loop.h"
#include "tests/unit/toy_virtio.h"

enum {
	STEP_BYTES = 12,
	STEPS_MAX = 400,
	SECOND_FUNCTION = TOY_FUNCTION + 8,
	ECAM_STEP_BITS = 12,
	BAR_BYTES = 0x8000,
};

enum what {
	CONFIG_WRITE,
	CONFIG_READ,
	PORT_WRITE,
	PORT_READ,
	BAR_WRITE,
	BAR_READ,
	ANYWHERE_WRITE,
	ANYWHERE_READ,
	MEMORY_WRITE,
	TURN,
	DELIVER,
	CONFIG_CHANGED,
	FAIL,
	REFUSE,
	RAISE,
	MEMORY_FILL,
	N_WHATS,
};

struct step {
	enum what what;
	unsigned int bytes;
	uint16_t where;
	uint64_t value;
};

struct fuzz {
	struct toy_machine machine;
	struct toy_device *devices[2];
	bool destroyed[2];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
	if (!promise)
		abort();
}

static struct step read_step(const uint8_t *data)
{
	struct step step = {
		.what = data[0] % N_WHATS,
		.bytes = 1U << (data[1] & 3),
		.where = (uint16_t)(data[2] | data[3] << 8),
	};

	memcpy(&step.value, data + 4, sizeof(step.value));
	return step;
}

/* --- Accesses
 * -------------------------------------------------------------------------------------- */

/* Functions that are there, and one that is not. */
static uint64_t config_address(uint16_t where)
{
	static const unsigned int functions[] = {TOY_FUNCTION, SECOND_FUNCTION, 0, 255};

	return toy_ecam(
		functions[where >> ECAM_STEP_BITS & 3], where & ((1U << ECAM_STEP_BITS) - 1));
}

/* In a device's BAR where it is now, or where it was at first. */
static uint64_t bar_address(struct fuzz *fuzz, uint16_t where)
{
	const struct virtio_device *device = &fuzz->devices[where / BAR_BYTES]->device;
	const struct pci_function *function = (const struct pci_function *)device->transport;
	uint64_t base =
		function->bar_address != PCI_NOWHERE ? function->bar_address : LAYOUT_PCI32_BASE;

	return base + where % BAR_BYTES;
}

static void read_at(struct bus *bus, uint64_t address, unsigned int bytes)
{
	/* Memory of its own, so that a step outside of it is seen. */
	uint8_t *data = malloc(bytes);

	bus_read(bus, address, data, bytes);
	free(data);
}

static void write_at(struct fuzz *fuzz, uint64_t address, uint64_t value, unsigned int bytes)
{
	uint8_t *data = malloc(bytes);

	memcpy(data, &value, bytes);
	if (toy_find(fuzz->machine.ioeventfds.attached, address, -1))
		toy_write(&fuzz->machine, address, value, bytes);
	else
		bus_write(&fuzz->machine.mmio, address, data, bytes);
	free(data);
}

static void write_port(struct fuzz *fuzz, const struct step *step)
{
	uint8_t *data = malloc(step->bytes);

	memcpy(data, &step->value, step->bytes);
	bus_write(&fuzz->machine.ports, LAYOUT_PORT_PCI_ADDRESS + step->where % 12U, data,
		step->bytes);
	free(data);
}

/* --- Everything else that happens
 * ------------------------------------------------------------------- */

static void refuse(struct fuzz *fuzz, uint16_t where)
{
	fuzz->machine.interrupts.refuse_route = where & 1;
	fuzz->machine.ioeventfds.refuse = where & 2;
	fuzz->machine.loop->refuse = where & 4;
	fuzz->devices[0]->start_error = where & 8 ? -EIO : 0;
	fuzz->devices[1]->start_error = where & 16 ? -EIO : 0;
}

static void fill(struct fuzz *fuzz, const struct step *step)
{
	uint8_t bytes[256];

	memset(bytes, (int)step->value, sizeof(bytes));
	guest_memory_write(&fuzz->machine.memory, TOY_RINGS + step->where, bytes, sizeof(bytes));
}

static void happen(struct fuzz *fuzz, const struct step *step)
{
	struct virtio_device *device = &fuzz->devices[step->where & 1]->device;
	struct bus *mmio = &fuzz->machine.mmio;
	uint64_t value = step->value;

	switch (step->what) {
	case CONFIG_WRITE: write_at(fuzz, config_address(step->where), value, step->bytes); break;
	case CONFIG_READ: read_at(mmio, config_address(step->where), step->bytes); break;
	case PORT_WRITE: write_port(fuzz, step); break;
	case PORT_READ:
		read_at(&fuzz->machine.ports, LAYOUT_PORT_PCI_ADDRESS + step->where % 12U,
			step->bytes);
		break;
	case BAR_WRITE: write_at(fuzz, bar_address(fuzz, step->where), value, step->bytes); break;
	case BAR_READ: read_at(mmio, bar_address(fuzz, step->where), step->bytes); break;
	case ANYWHERE_WRITE: write_at(fuzz, value, ~value, step->bytes); break;
	case ANYWHERE_READ: read_at(mmio, value, step->bytes); break;
	case MEMORY_WRITE:
		guest_memory_write(
			&fuzz->machine.memory, TOY_RINGS + 2U * step->where, &value, step->bytes);
		break;
	case TURN: toy_loop_turn(fuzz->machine.loop); break;
	case DELIVER: toy_deliver(&fuzz->machine.interrupts); break;
	case CONFIG_CHANGED: virtio_device_config_changed(device); break;
	case FAIL: virtio_device_fail(device, "the device has failed"); break;
	case REFUSE: refuse(fuzz, step->where); break;
	case RAISE: eventfd_write(device->queues[step->where >> 1 & 1].interrupt_fd, 1); break;
	default: fill(fuzz, step); break;
	}
}

/* --- What is promised
 * -------------------------------------------------------------------------------- */

static void check_device(const struct fuzz *fuzz, const struct toy_device *toy)
{
	const struct virtio_device *device = &toy->device;
	const struct pci_function *function = (const struct pci_function *)device->transport;

	require(toy->n_started == toy->n_stopped + device->started);
	/* A device that works in memory is a bus master. */
	require(!device->started ||
		(pci_config_get16(&function->config, PCI_COMMAND) & PCI_COMMAND_MASTER));
	for (unsigned int i = 0; i < device->n_queues; i++) {
		const struct virtio_queue *queue = &device->queues[i];

		require(queue->size <= TOY_QUEUE_SIZE && (queue->size & (queue->size - 1)) == 0);
		require((uint16_t)(queue->next_available - queue->next_used) <= queue->size);
	}
	(void)fuzz;
}

static void check_end(const struct fuzz *fuzz)
{
	require(fuzz->destroyed[0] && fuzz->destroyed[1]);
	require(toy_n_attached(fuzz->machine.interrupts.attached) == 0);
	require(toy_n_attached(fuzz->machine.ioeventfds.attached) == 0);
	require(toy_loop_n_sources(fuzz->machine.loop) == 0);
	require(fuzz->machine.mmio.n_regions == 0 && fuzz->machine.ports.n_regions == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz *fuzz = calloc(1, sizeof(*fuzz));

	require(toy_machine_create(&fuzz->machine) == 0);
	fuzz->devices[0] = toy_device_create(&fuzz->machine, &toy_device_type, &fuzz->destroyed[0]);
	fuzz->devices[1] =
		toy_device_create(&fuzz->machine, &toy_external_type, &fuzz->destroyed[1]);
	require(fuzz->devices[0] && fuzz->devices[1]);
	for (unsigned int i = 0; i < STEPS_MAX && size >= STEP_BYTES; i++) {
		const struct step step = read_step(data);

		happen(fuzz, &step);
		check_device(fuzz, fuzz->devices[0]);
		check_device(fuzz, fuzz->devices[1]);
		data += STEP_BYTES;
		size -= STEP_BYTES;
	}
	pci_root_destroy(fuzz->machine.root);
	fuzz->machine.root = NULL;
	check_end(fuzz);
	toy_machine_destroy(&fuzz->machine);
	free(fuzz);
	return 0;
}
