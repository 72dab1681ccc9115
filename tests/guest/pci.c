/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI: the devices of bus 0, through ECAM; their identity by the ports as well.
 */
#include "guest.h"

enum {
	FUNCTIONS = 8, /* Of a device. */
	PLACES = 32 * FUNCTIONS,
	CONFIG_BYTES = 4096,
	CONFIG_COMMAND = 4,
	COMMAND_MEMORY_AND_MASTER = 6,
	CONFIG_STATUS = 6,
	STATUS_CAPABILITIES = 0x10,
	CONFIG_HEADER_TYPE = 0x0e,
	HEADER_MULTIFUNCTION = 0x80,
	CONFIG_BAR = 0x10,
	CONFIG_CAPABILITIES = 0x34,
	BAR_64_BIT = 4,
	CAPABILITIES_MAX = 64,
	PORT_ADDRESS = 0xcf8,
	PORT_DATA = 0xcfc,
};

#define ECAM UINT64_C(0xe0000000)

/* The identity by the other way in must be the same. */
static void check_ports(const struct pci_device *device)
{
	uint32_t identity;

	out32(PORT_ADDRESS, UINT32_C(0x80000000) | device->place << 8);
	identity = in32(PORT_DATA);
	if (identity != get32(device->config))
		fail("PCI's ports and ECAM differ");
}

/* Beyond function 0 there is something only if that says so. */
static bool has_functions(unsigned int place)
{
	uint64_t first = ECAM + (uint64_t)(place - place % FUNCTIONS) * CONFIG_BYTES;

	return get8(first + CONFIG_HEADER_TYPE) & HEADER_MULTIFUNCTION;
}

bool pci_next(struct pci_device *device, unsigned int place)
{
	for (; place < PLACES; place++) {
		if (place % FUNCTIONS != 0 && !has_functions(place))
			continue;
		device->config = ECAM + (uint64_t)place * CONFIG_BYTES;
		device->vendor = get16(device->config);
		device->device = get16(device->config + 2);
		device->place = place;
		if (device->vendor == 0xffff)
			continue;
		check_ports(device);
		return true;
	}
	return false;
}

void pci_list(char *line, char *reply, size_t size)
{
	struct pci_device device = {0};
	unsigned int all = 0, further = 0;

	(void)line;
	for (unsigned int place = 0; pci_next(&device, place); place = device.place + 1) {
		all++;
		further += device.place % FUNCTIONS != 0;
	}
	format_to(reply, size, "pci: %u functions, %u of them further ones", all, further);
}

uint64_t pci_bar(const struct pci_device *device, unsigned int bar)
{
	uint64_t at = device->config + CONFIG_BAR + (uint64_t)4 * bar;
	uint64_t low = get32(at);

	set16(device->config + CONFIG_COMMAND, COMMAND_MEMORY_AND_MASTER);
	if (low & BAR_64_BIT)
		low |= (uint64_t)get32(at + 4) << 32;
	return low & ~UINT64_C(0xf);
}

unsigned int pci_capability(const struct pci_device *device, uint8_t id, unsigned int after)
{
	unsigned int at;

	if (!(get16(device->config + CONFIG_STATUS) & STATUS_CAPABILITIES))
		return 0;
	at = get8(device->config + (after ? after + 1 : CONFIG_CAPABILITIES)) & ~3U;
	for (unsigned int i = 0; at != 0 && i < CAPABILITIES_MAX; i++) {
		if (get8(device->config + at) == id)
			return at;
		at = get8(device->config + at + 1) & ~3U;
	}
	return 0;
}
