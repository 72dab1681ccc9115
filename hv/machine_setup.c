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

/* Whoever is at stdin wants his terminal back. */
static void leave(void *context)
{
	machine_end(context, MACHINE_STOPPED, "stopped from its terminal by Ctrl-]");
}

static int add_serial(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	int status = terminal_create(&setup->serial_terminal, "serial port", setup->machine.loop);

	if (status < 0)
		return hv_fail(
			error, -status, "the serial port cannot be made: %s", strerror(-status));
	terminal_set_escape(setup->serial_terminal, leave, &setup->machine);
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

static void subject_add(struct control_subject *subject, struct virtio_device *device)
{
	if (device)
		subject->devices[subject->n_devices++] = device;
}

static int add_control(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	struct control_subject subject = {.machine = &setup->machine,
		.options = options,
		.serial = setup->serial_terminal,
		.console = setup->console_terminal};

	if (!options->control)
		return 0;
	for (unsigned int i = 0; i < setup->n_nets; i++)
		subject_add(&subject, setup->nets[i]);
	for (unsigned int i = 0; i < setup->n_disks; i++)
		subject_add(&subject, setup->disks[i]);
	subject_add(&subject, setup->rng);
	subject_add(&subject, setup->balloon);
	subject_add(&subject, setup->console);
	return control_create(&setup->control, &subject, setup->broker, error);
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
		status = machine_setup_create_devices(setup, options, error);
	if (status == 0)
		status = load(setup, options, error);
	if (status == 0)
		status = add_control(setup, options, error);
	if (status < 0)
		machine_setup_destroy(setup);
	return status;
}

void machine_setup_destroy(struct machine_setup *setup)
{
	control_destroy(setup->control);
	machine_setup_destroy_devices(setup);
	serial_destroy(setup->serial);
	terminal_destroy(setup->serial_terminal);
	i8042_destroy(setup->i8042);
	power_destroy(setup->machine.power);
	machine_destroy(&setup->machine);
	memset(setup, 0, sizeof(*setup));
}
