/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration space of one PCI function: 256 bytes, of which the guest may change those bits
 * that a mask allows (PCI Local Bus 3.0, 6).
 *
 * Plain bytes: what a write causes is for who owns the function (hv/pci.h) to see to.  With the
 * machine's lock held.
 */
#ifndef HV_PCI_CONFIG_H
#define HV_PCI_CONFIG_H

#include <linux/pci_regs.h>
#include <stdbool.h>
#include <stdint.h>

enum { PCI_CONFIG_BYTES = 256 };

struct pci_identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class; /* Base class, subclass, programming interface: 0x020000 is Ethernet. */
	uint8_t revision;
};

struct pci_config {
	uint8_t bytes[PCI_CONFIG_BYTES];
	uint8_t writable[PCI_CONFIG_BYTES]; /* The bits that the guest may change. */
	uint8_t last_link;		    /* The byte that will point to the next capability. */
	unsigned int n_used;		    /* Where the next capability may begin. */
};

/* A type 0 header without capabilities, BARs or an interrupt pin; everything switched off. */
void pci_config_init(struct pci_config *config, const struct pci_identity *identity);

/*
 * Gives the function the registers of a 64-bit memory BAR, 0 and 1, of `bytes`, a power of two of
 * at least 4 KiB, at `address`.
 */
void pci_config_set_bar(struct pci_config *config, uint64_t address, uint64_t bytes);

/* Where the guest (or pci_config_set_bar()) has put the BAR. */
uint64_t pci_config_bar(const struct pci_config *config);

/*
 * Appends a capability of `bytes`, header (whose two bytes are written over) included.  Where it
 * begins, or -ENOSPC.
 */
int pci_config_add_capability(
	struct pci_config *config, uint8_t id, const void *capability, unsigned int bytes);

/* Lets the guest write `bytes` from `offset` on. */
void pci_config_allow(struct pci_config *config, unsigned int offset, unsigned int bytes);

/* Of `bytes` 1 to 4, all in one dword of the space; what lies beyond 256 reads as zeros and is not
 * writable. */
void pci_config_read(
	const struct pci_config *config, unsigned int offset, uint8_t *data, unsigned int bytes);
void pci_config_write(
	struct pci_config *config, unsigned int offset, const uint8_t *data, unsigned int bytes);

/* Little endian registers, at places that we choose. */
uint16_t pci_config_get16(const struct pci_config *config, unsigned int offset);
uint32_t pci_config_get32(const struct pci_config *config, unsigned int offset);
void pci_config_set16(struct pci_config *config, unsigned int offset, uint16_t value);
void pci_config_set32(struct pci_config *config, unsigned int offset, uint32_t value);

#endif
