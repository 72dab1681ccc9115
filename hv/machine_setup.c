/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a machine of the command line, part by part, in the order in which parts need each other.
 * Called by main(), on the main thread.
 */
#include "hv/machine_setup.h"

#include <errno.h>
#include <string.h>

#include "hv/acpi.h"
#include "hv/boot.h"
#include "hv/power.h"
#include "hv/vcpu.h"

unsigned int machine_setup_paths(const struct vmm_options *options, const char *paths[BROKER_PATHS])
{
	unsigned int n = 0;

	if (options->control)
		paths[n++] = options->control;
	for (unsigned int i = 0; i < options->n_nets; i++)
		paths[n++] = options->nets[i].socket;
	for (unsigned int i = 0; i < options->n_disks; i++) {
		if (options->disks[i].socket)
			paths[n++] = options->disks[i].socket;
	}
	return n;
}

static int add_serial(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	int status = terminal_create(&setup->serial_terminal, "serial", setup->machine.loop);

	if (status < 0)
		return hv_fail(
			error, -status, "the serial port cannot be made: %s", strerror(-status));
	status = terminal_open(setup->serial_terminal, options->serial, error);
	if (status < 0)
		return status;
	return serial_create(&setup->serial, &setup->machine, setup->serial_terminal, error);
}

static int add_board(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	int status = power_create(&setup->machine.power, &setup->machine, error);

	if (status == 0)
		status = i8042_create(&setup->i8042, &setup->machine, error);
	return status < 0 ? status : add_serial(setup, options, error);
}

/* ACPI's tables, the kernel, and the processor that starts it. */
static int load(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	struct boot_entry entry = {0};
	int status = acpi_build(&setup->machine, error);

	if (status == 0)
		status = boot_load(&setup->machine, options, &entry, error);
	return status < 0 ? status : vcpu_enter_at(setup->machine.vcpus[0], &entry, error);
}

int machine_setup_create(struct machine_setup *setup, const struct vmm_options *options,
	struct broker *broker, struct hv_error *error)
{
	int status = machine_create(&setup->machine, options, error);

	if (status < 0)
		return status;
	setup->broker = broker;
	status = add_board(setup, options, error);
	if (status == 0)
		status = load(setup, options, error);
	if (status < 0)
		machine_setup_destroy(setup);
	return status;
}

void machine_setup_destroy(struct machine_setup *setup)
{
	serial_destroy(setup->serial);
	terminal_destroy(setup->serial_terminal);
	i8042_destroy(setup->i8042);
	power_destroy(setup->machine.power);
	machine_destroy(&setup->machine);
	memset(setup, 0, sizeof(*setup));
}
