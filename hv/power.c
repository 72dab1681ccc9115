/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI's registers of a machine without the old hardware, and the power button.  The registers are
 * written by vCPU threads through the bus; the button is pressed by the control socket.
 */
#include "hv/power.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/machine.h"

/* ACPI 6.5, 4.8.3.7: the sleep control register. */
enum { SLP_EN = 1 << 5, SLP_TYP_SHIFT = 2, SLP_TYP_MASK = 7 };

struct power {
	struct machine *machine;
	int line_fd;   /* Raises LAYOUT_LINE_POWER, */
	bool attached; /* once it is attached. */
	uint8_t events;
};

static void read_register(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	struct power *power = device;

	memset(data, 0, bytes);
	if (bytes != 1 || offset + LAYOUT_PORT_POWER != POWER_PORT_EVENTS)
		return;
	data[0] = power->events;
	power->events = 0;
}

static void write_register(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	const struct power *power = device;

	if (bytes != 1)
		return;
	switch (offset + LAYOUT_PORT_POWER) {
	case POWER_PORT_SLEEP_CONTROL:
		if (data[0] & SLP_EN &&
			(data[0] >> SLP_TYP_SHIFT & SLP_TYP_MASK) == POWER_SLEEP_TYPE_S5)
			machine_end(
				power->machine, MACHINE_SHUTDOWN, "the guest switched itself off");
		break;
	case POWER_PORT_RESET:
		if (data[0] == POWER_RESET_VALUE)
			machine_end(power->machine, MACHINE_RESET,
				"the guest asked for a reset, through ACPI's reset register");
		break;
	default: break;
	}
}

static const struct bus_operations operations = {read_register, write_register};

int power_create(struct power **created, struct machine *machine, struct hv_error *error)
{
	struct power *power = calloc(1, sizeof(*power));
	struct interrupts *interrupts = machine->interrupts;
	int status;

	*created = NULL;
	if (!power)
		return hv_fail(error, ENOMEM, "there is no memory for the power button");
	power->machine = machine;
	power->line_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	status = power->line_fd < 0 ? -errno
				    : interrupts->operations->attach(
					      interrupts, LAYOUT_LINE_POWER, power->line_fd);
	power->attached = status == 0;
	if (status == 0)
		status = bus_add(&machine->ports, LAYOUT_PORT_POWER, LAYOUT_PORT_POWER_BYTES,
			&operations, power);
	if (status < 0) {
		power_destroy(power);
		return hv_fail(
			error, -status, "the power button cannot be made: %s", strerror(-status));
	}
	*created = power;
	return 0;
}

void power_destroy(struct power *power)
{
	if (!power)
		return;
	bus_remove(&power->machine->ports, LAYOUT_PORT_POWER, power);
	if (power->attached)
		power->machine->interrupts->operations->detach(
			power->machine->interrupts, LAYOUT_LINE_POWER, power->line_fd);
	if (power->line_fd >= 0)
		close(power->line_fd);
	free(power);
}

void power_press_button(struct power *power)
{
	uint64_t one = 1;

	power->events |= POWER_EVENT_BUTTON;
	(void)!write(power->line_fd, &one, sizeof(one));
}
