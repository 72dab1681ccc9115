/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PCI root: who is on the bus, how the guest reaches their configuration space, and where their
 * BARs are.  Functions are added while the machine is set up; accesses come through the buses, on
 * vCPU threads, with the machine's lock held.
 */
#include "hv/pci.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/layout.h"

/* An address on the bus: device (5 bits) and function (3 bits). */
enum {
	FUNCTIONS_OF_DEVICE = 8,
	DEVICES = PCI_FUNCTIONS / FUNCTIONS_OF_DEVICE,
	ECAM_SHIFT = 12, /* 4 KiB for each function. */
	DWORD_BYTES = 4,
	/* The address port: whether the data port is on, and what it leads to. */
	ADDRESS_BUS_SHIFT = 16,
	ADDRESS_FUNCTION_SHIFT = 8,
	DATA_PORT = LAYOUT_PORT_PCI_DATA - LAYOUT_PORT_PCI_ADDRESS,
	HEADER_TYPE_MULTIFUNCTION = 0x80,
};

#define ADDRESS_ENABLE	 UINT32_C(0x80000000)
#define ADDRESS_WRITABLE UINT32_C(0x80fffffc)

struct pci_root {
	struct pci_environment environment;
	uint32_t address; /* In the address port. */
	unsigned int n_added;
	uint64_t bars_end; /* Behind the BARs that were given addresses so far. */
	struct pci_function *functions[PCI_FUNCTIONS];
	struct pci_function bridge;
};

/* A host bridge is expected to be there, and to do nothing. */
static const struct pci_identity bridge_identity = {
	.vendor = 0x1b36, .device = 0x0008, .class = 0x060000};

/* --- Where BARs are -------------------------------------------------------------------------- */

static bool is_in_window(const struct pci_window *window, uint64_t base, uint64_t bytes)
{
	return base >= window->base && bytes <= window->bytes &&
	       base - window->base <= window->bytes - bytes;
}

/* Where the guest wants the BAR to answer. */
static uint64_t wanted_address(const struct pci_function *function)
{
	const struct pci_environment *environment = &function->root->environment;
	uint64_t address = pci_config_bar(&function->config);

	if (function->bar_bytes == 0 ||
		!(pci_config_get16(&function->config, PCI_COMMAND) & PCI_COMMAND_MEMORY))
		return PCI_NOWHERE;
	if (!is_in_window(&environment->window_32, address, function->bar_bytes) &&
		!is_in_window(&environment->window_64, address, function->bar_bytes))
		return PCI_NOWHERE;
	return address;
}

static void bar_moved(struct pci_function *function, uint64_t address)
{
	function->bar_address = address;
	if (function->type->bar_moved)
		function->type->bar_moved(function);
}

static void bar_leave(struct pci_function *function)
{
	bus_remove(function->root->environment.mmio, function->bar_address, function);
	bar_moved(function, PCI_NOWHERE);
}

/* Where somebody else answers already, he goes on to do so. */
static void bar_enter(struct pci_function *function, uint64_t address)
{
	if (bus_add(function->root->environment.mmio, address, function->bar_bytes,
		    &function->type->bar, function) == 0)
		bar_moved(function, address);
}

/* All of them, because one that leaves may have been in another's way. */
static void place_bars(struct pci_root *root)
{
	for (unsigned int i = 0; i < PCI_FUNCTIONS; i++) {
		struct pci_function *function = root->functions[i];

		if (function && function->bar_address != PCI_NOWHERE &&
			function->bar_address != wanted_address(function))
			bar_leave(function);
	}
	for (unsigned int i = 0; i < PCI_FUNCTIONS; i++) {
		struct pci_function *function = root->functions[i];
		uint64_t wanted = function ? wanted_address(function) : PCI_NOWHERE;

		if (wanted != PCI_NOWHERE && function->bar_address == PCI_NOWHERE)
			bar_enter(function, wanted);
	}
}

/* --- Configuration space --------------------------------------------------------------------- */

static bool touches(unsigned int offset, unsigned int bytes, unsigned int from, unsigned int to)
{
	return offset < to && offset + bytes > from;
}

/* Hardware moves bytes of one dword at a time. */
static bool is_possible(unsigned int offset, unsigned int bytes)
{
	return offset % DWORD_BYTES + bytes <= DWORD_BYTES;
}

static void read_config(struct pci_root *root, unsigned int number, unsigned int offset,
	uint8_t *data, unsigned int bytes)
{
	struct pci_function *function = root->functions[number];

	if (!function || !is_possible(offset, bytes)) {
		memset(data, 0xff, bytes);
		return;
	}
	if (function->type->config_reading)
		function->type->config_reading(function, offset, bytes);
	pci_config_read(&function->config, offset, data, bytes);
}

static void write_config(struct pci_root *root, unsigned int number, unsigned int offset,
	const uint8_t *data, unsigned int bytes)
{
	struct pci_function *function = root->functions[number];

	if (!function || !is_possible(offset, bytes))
		return;
	pci_config_write(&function->config, offset, data, bytes);
	if (touches(offset, bytes, PCI_COMMAND, PCI_COMMAND + 2) ||
		touches(offset, bytes, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_2))
		place_bars(root);
	if (function->type->config_written)
		function->type->config_written(function, offset, bytes);
}

static void ecam_read(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	read_config(device, (unsigned int)(offset >> ECAM_SHIFT),
		(unsigned int)offset & ((1 << ECAM_SHIFT) - 1), data, bytes);
}

static void ecam_write(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	write_config(device, (unsigned int)(offset >> ECAM_SHIFT),
		(unsigned int)offset & ((1 << ECAM_SHIFT) - 1), data, bytes);
}

static const struct bus_operations ecam_operations = {ecam_read, ecam_write};

/* The address port is one of 32 bits; other accesses to it are not for PCI. */
static bool is_address_port(uint64_t offset, unsigned int bytes)
{
	return offset == 0 && bytes == sizeof(uint32_t);
}

/* The function that the data port leads to, and the register that `offset` is there; false: none.
 */
static bool find_data(const struct pci_root *root, uint64_t offset, unsigned int *number,
	unsigned int *configuration_offset)
{
	if (offset < DATA_PORT || !(root->address & ADDRESS_ENABLE) ||
		(root->address & ~ADDRESS_ENABLE) >> ADDRESS_BUS_SHIFT != 0)
		return false;
	*number = root->address >> ADDRESS_FUNCTION_SHIFT & (PCI_FUNCTIONS - 1);
	*configuration_offset =
		(root->address & (PCI_CONFIG_BYTES - 1)) + (unsigned int)(offset - DATA_PORT);
	return true;
}

static void ports_read(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	struct pci_root *root = device;
	uint32_t address = htole32(root->address);
	unsigned int number, configuration_offset;

	if (is_address_port(offset, bytes))
		memcpy(data, &address, sizeof(address));
	else if (find_data(root, offset, &number, &configuration_offset))
		read_config(root, number, configuration_offset, data, bytes);
	else
		memset(data, 0xff, bytes);
}

static void ports_write(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	struct pci_root *root = device;
	unsigned int number, configuration_offset;
	uint32_t address;

	if (is_address_port(offset, bytes)) {
		memcpy(&address, data, sizeof(address));
		root->address = le32toh(address) & ADDRESS_WRITABLE;
	} else if (find_data(root, offset, &number, &configuration_offset)) {
		write_config(root, number, configuration_offset, data, bytes);
	}
}

static const struct bus_operations ports_operations = {ports_read, ports_write};

/* --- Who is on the bus ----------------------------------------------------------------------- */

static void bridge_destroy(struct pci_function *function)
{
	(void)function;
}

static const struct pci_function_type bridge_type = {.destroy = bridge_destroy};

/* How many functions a device has, the bridge's aside: as few as will do. */
static unsigned int functions_of_device(const struct pci_root *root)
{
	unsigned int n = (root->environment.n_functions + DEVICES - 2) / (DEVICES - 1);

	return n == 0 ? 1 : n < FUNCTIONS_OF_DEVICE ? n : FUNCTIONS_OF_DEVICE;
}

/* The place of the next function; device 0 is the bridge. */
static unsigned int next_place(const struct pci_root *root)
{
	unsigned int functions = functions_of_device(root);

	return (1 + root->n_added / functions) * FUNCTIONS_OF_DEVICE + root->n_added % functions;
}

/* The next address in the 32-bit window, which every system can use as it is. */
static bool find_address(const struct pci_root *root, uint64_t bytes, uint64_t *address)
{
	*address = (root->bars_end + bytes - 1) & ~(bytes - 1);
	return is_in_window(&root->environment.window_32, *address, bytes);
}

int pci_add_function(struct pci_root *root, struct pci_function *function, struct hv_error *error)
{
	unsigned int number = next_place(root);
	uint64_t address = 0;

	if (number >= PCI_FUNCTIONS)
		return hv_fail(error, ENOSPC, "the PCI bus has no place for more than %u devices",
			root->n_added);
	if (function->bar_bytes > 0 && !find_address(root, function->bar_bytes, &address))
		return hv_fail(error, ENOSPC,
			"the PCI window has no place for the registers of device %u",
			root->n_added + 1);
	function->root = root;
	function->bar_address = PCI_NOWHERE;
	if (function->bar_bytes > 0) {
		pci_config_set_bar(&function->config, address, function->bar_bytes);
		root->bars_end = address + function->bar_bytes;
	}
	root->functions[number] = function;
	if (number % FUNCTIONS_OF_DEVICE != 0)
		root->functions[number - number % FUNCTIONS_OF_DEVICE]
			->config.bytes[PCI_HEADER_TYPE] |= HEADER_TYPE_MULTIFUNCTION;
	root->n_added++;
	return 0;
}

const struct pci_environment *pci_root_environment(const struct pci_root *root)
{
	return &root->environment;
}

static void add_bridge(struct pci_root *root)
{
	root->bridge.type = &bridge_type;
	root->bridge.root = root;
	root->bridge.bar_address = PCI_NOWHERE;
	pci_config_init(&root->bridge.config, &bridge_identity);
	root->functions[0] = &root->bridge;
}

int pci_root_create(struct pci_root **created, const struct pci_environment *environment,
	struct hv_error *error)
{
	struct pci_root *root = calloc(1, sizeof(*root));

	if (!root)
		return hv_fail(error, ENOMEM, "no memory for the PCI root");
	root->environment = *environment;
	root->bars_end = environment->window_32.base;
	add_bridge(root);
	if (bus_add(environment->mmio, environment->ecam, PCI_ECAM_BYTES, &ecam_operations, root) !=
		0)
		goto free_root;
	if (bus_add(environment->ports, LAYOUT_PORT_PCI_ADDRESS, LAYOUT_PORT_PCI_BYTES,
		    &ports_operations, root) != 0)
		goto remove_ecam;
	*created = root;
	return 0;

remove_ecam:
	bus_remove(environment->mmio, environment->ecam, root);
free_root:
	free(root);
	return hv_fail(error, EBUSY, "PCI's configuration space is where another device is");
}

void pci_root_destroy(struct pci_root *root)
{
	if (!root)
		return;
	for (unsigned int i = 0; i < PCI_FUNCTIONS; i++) {
		struct pci_function *function = root->functions[i];

		if (!function)
			continue;
		if (function->bar_address != PCI_NOWHERE)
			bar_leave(function);
		function->type->destroy(function);
	}
	bus_remove(root->environment.ports, LAYOUT_PORT_PCI_ADDRESS, root);
	bus_remove(root->environment.mmio, root->environment.ecam, root);
	free(root);
}
