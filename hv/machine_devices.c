/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI and the devices on it, as the command line asks for them.  The order on the bus is that of
 * the command line, networks first, so that a guest finds the same device at the same place each
 * time. Called by machine_setup.c, on the main thread, before the guest runs and after it has
 * ended.
 */
#include <errno.h>
#include <string.h>

#include "hv/balloon.h"
#include "hv/block.h"
#include "hv/console.h"
#include "hv/layout.h"
#include "hv/machine_setup.h"
#include "hv/net.h"
#include "hv/pci.h"
#include "hv/rng.h"
#include "hv/vhost_user_block.h"
#include "hv/virtio_pci.h"

static int create_root(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	struct machine *machine = &setup->machine;
	struct pci_environment environment = {
		.ports = &machine->ports,
		.mmio = &machine->mmio,
		.interrupts = machine->interrupts,
		.ecam = LAYOUT_ECAM_BASE,
		.window_32 = {LAYOUT_PCI32_BASE, LAYOUT_PCI32_BYTES},
		.window_64 = {layout_pci64_base(&machine->memory), LAYOUT_PCI64_BYTES},
		.n_functions = options->n_nets + options->n_disks + options->rng +
			       options->balloon + options->console,
	};
	int status = ioeventfds_kvm_create(&setup->ioeventfds, machine->vm_fd);

	if (status < 0)
		return hv_fail(error, -status, "the PCI bus cannot be made: %s", strerror(-status));
	environment.ioeventfds = setup->ioeventfds;
	return pci_root_create(&machine->pci, &environment, error);
}

/* What has become of making a device: puts it on the bus, and into *kept. */
static int add(struct machine_setup *setup, int status, struct virtio_device *device,
	struct virtio_device **kept, struct hv_error *error)
{
	if (status < 0)
		return status;
	status = virtio_pci_add(setup->machine.pci, device, error);
	if (status < 0)
		device->type->destroy(device);
	else
		*kept = device;
	return status;
}

static int add_nets(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	struct machine *machine = &setup->machine;

	for (unsigned int i = 0; i < options->n_nets; i++) {
		struct virtio_device *device = NULL;
		int status = net_create(&device, &options->nets[i], i, &machine->memory,
			machine->loop, setup->broker, error);

		status = add(setup, status, device, &setup->nets[i], error);
		if (status < 0)
			return status;
		setup->n_nets++;
	}
	return 0;
}

static int create_disk(struct machine_setup *setup, const struct disk_options *options,
	unsigned int i, struct virtio_device **device, struct hv_error *error)
{
	struct machine *machine = &setup->machine;

	if (options->socket)
		return vhost_user_block_create(device, options, i, machine->n_vcpus,
			&machine->memory, machine->loop, setup->broker, error);
	return block_create(device, options, i, &machine->memory, machine->loop, error);
}

static int add_disks(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	for (unsigned int i = 0; i < options->n_disks; i++) {
		struct virtio_device *device = NULL;
		int status = create_disk(setup, &options->disks[i], i, &device, error);

		status = add(setup, status, device, &setup->disks[i], error);
		if (status < 0)
			return status;
		setup->n_disks++;
	}
	return 0;
}

/* Those that have no options of their own, and fail for want of memory alone. */
static int add_plain(struct machine_setup *setup, const char *name,
	int (*create)(struct virtio_device **device, const struct guest_memory *memory,
		struct event_loop *loop),
	struct virtio_device **kept, struct hv_error *error)
{
	struct virtio_device *device = NULL;
	int status = create(&device, &setup->machine.memory, setup->machine.loop);

	if (status < 0)
		hv_fail(error, -status, "%s cannot be made: %s", name, strerror(-status));
	return add(setup, status, device, kept, error);
}

/* Nobody watches it until the control socket is asked for it. */
static int add_console(struct machine_setup *setup, struct hv_error *error)
{
	struct machine *machine = &setup->machine;
	struct virtio_device *device = NULL;
	int status = terminal_create(&setup->console_terminal, "console", machine->loop);

	if (status == 0)
		status = console_create(
			&device, &machine->memory, machine->loop, setup->console_terminal);
	if (status < 0)
		hv_fail(error, -status, "the console cannot be made: %s", strerror(-status));
	return add(setup, status, device, &setup->console, error);
}

int machine_setup_create_devices(
	struct machine_setup *setup, const struct vmm_options *options, struct hv_error *error)
{
	int status = create_root(setup, options, error);

	if (status == 0)
		status = add_nets(setup, options, error);
	if (status == 0)
		status = add_disks(setup, options, error);
	if (status == 0 && options->rng)
		status = add_plain(
			setup, "the random number device", rng_create, &setup->rng, error);
	if (status == 0 && options->balloon)
		status = add_plain(setup, "the balloon", balloon_create, &setup->balloon, error);
	if (status == 0 && options->console)
		status = add_console(setup, error);
	if (status == 0 && setup->n_nets > 0)
		net_wait(setup->nets, setup->n_nets, NET_WAIT_MS);
	return status;
}

void machine_setup_destroy_devices(struct machine_setup *setup)
{
	pci_root_destroy(setup->machine.pci);
	setup->machine.pci = NULL;
	terminal_destroy(setup->console_terminal);
	setup->console_terminal = NULL;
	ioeventfds_kvm_destroy(setup->ioeventfds);
	setup->ioeventfds = NULL;
}
