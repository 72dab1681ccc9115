/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration space as bytes and masks.  Called by the root (pci.c) for the guest's accesses, on
 * vCPU threads, and by those who make functions, before the guest runs.
 */
#include "hv/pci_config.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	DWORD_BYTES = 4,
	COMMAND_WRITABLE = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
};

uint16_t pci_config_get16(const struct pci_config *config, unsigned int offset)
{
	uint16_t value;

	memcpy(&value, config->bytes + offset, sizeof(value));
	return le16toh(value);
}

uint32_t pci_config_get32(const struct pci_config *config, unsigned int offset)
{
	uint32_t value;

	memcpy(&value, config->bytes + offset, sizeof(value));
	return le32toh(value);
}

void pci_config_set16(struct pci_config *config, unsigned int offset, uint16_t value)
{
	value = htole16(value);
	memcpy(config->bytes + offset, &value, sizeof(value));
}

void pci_config_set32(struct pci_config *config, unsigned int offset, uint32_t value)
{
	value = htole32(value);
	memcpy(config->bytes + offset, &value, sizeof(value));
}

/* The same for the bits that may be written. */
static void allow32(struct pci_config *config, unsigned int offset, uint32_t bits)
{
	bits = htole32(bits);
	memcpy(config->writable + offset, &bits, sizeof(bits));
}

void pci_config_allow(struct pci_config *config, unsigned int offset, unsigned int bytes)
{
	memset(config->writable + offset, 0xff, bytes);
}

void pci_config_init(struct pci_config *config, const struct pci_identity *identity)
{
	memset(config, 0, sizeof(*config));
	pci_config_set16(config, PCI_VENDOR_ID, identity->vendor);
	pci_config_set16(config, PCI_DEVICE_ID, identity->device);
	pci_config_set32(
		config, PCI_CLASS_REVISION, identity->class << 8 | (uint32_t)identity->revision);
	pci_config_set16(config, PCI_SUBSYSTEM_VENDOR_ID, identity->subsystem_vendor);
	pci_config_set16(config, PCI_SUBSYSTEM_ID, identity->subsystem);
	allow32(config, PCI_COMMAND, COMMAND_WRITABLE);
	/* Registers that systems use for themselves. */
	pci_config_allow(config, PCI_CACHE_LINE_SIZE, 1);
	pci_config_allow(config, PCI_INTERRUPT_LINE, 1);
	config->last_link = PCI_CAPABILITY_LIST;
	config->n_used = PCI_STD_HEADER_SIZEOF;
}

void pci_config_set_bar(struct pci_config *config, uint64_t address, uint64_t bytes)
{
	uint64_t bits = ~(bytes - 1);

	pci_config_set32(config, PCI_BASE_ADDRESS_0,
		(uint32_t)address | PCI_BASE_ADDRESS_SPACE_MEMORY | PCI_BASE_ADDRESS_MEM_TYPE_64);
	pci_config_set32(config, PCI_BASE_ADDRESS_1, (uint32_t)(address >> 32));
	allow32(config, PCI_BASE_ADDRESS_0, (uint32_t)bits);
	allow32(config, PCI_BASE_ADDRESS_1, (uint32_t)(bits >> 32));
}

uint64_t pci_config_bar(const struct pci_config *config)
{
	uint32_t low = pci_config_get32(config, PCI_BASE_ADDRESS_0);

	return (uint64_t)pci_config_get32(config, PCI_BASE_ADDRESS_1) << 32 |
	       (low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK);
}

int pci_config_add_capability(
	struct pci_config *config, uint8_t id, const void *capability, unsigned int bytes)
{
	unsigned int at = config->n_used;

	if (bytes > PCI_CONFIG_BYTES - at)
		return -ENOSPC;
	memcpy(config->bytes + at, capability, bytes);
	config->bytes[at + PCI_CAP_LIST_ID] = id;
	config->bytes[at + PCI_CAP_LIST_NEXT] = 0;
	config->bytes[config->last_link] = (uint8_t)at;
	config->last_link = (uint8_t)(at + PCI_CAP_LIST_NEXT);
	config->n_used = (at + bytes + DWORD_BYTES - 1) & ~(DWORD_BYTES - 1);
	pci_config_set16(
		config, PCI_STATUS, pci_config_get16(config, PCI_STATUS) | PCI_STATUS_CAP_LIST);
	return (int)at;
}

void pci_config_read(
	const struct pci_config *config, unsigned int offset, uint8_t *data, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		data[i] = offset + i < PCI_CONFIG_BYTES ? config->bytes[offset + i] : 0;
}

void pci_config_write(
	struct pci_config *config, unsigned int offset, const uint8_t *data, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes && offset + i < PCI_CONFIG_BYTES; i++) {
		uint8_t writable = config->writable[offset + i];
		uint8_t *byte = &config->bytes[offset + i];

		*byte = (uint8_t)((*byte & ~writable) | (data[i] & writable));
	}
}
