/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI: a root with one bus, and the functions on it.
 *
 * The guest finds them through ECAM (memory) and through the ports 0xcf8 and 0xcfc, gives their
 * BARs addresses or keeps those that they have, and switches memory decoding and bus mastering on.
 * There are no bridges, no I/O BARs, no INTx and no hot-plug: what it takes to carry virtio, with
 * MSI-X.
 *
 * Made in this order: pci_root_create(), then a function for each device (virtio_pci_add()), then
 * the guest runs.  Everything else is called by vCPU threads through the buses, with the machine's
 * lock held.
 *
 * A BAR answers while memory decoding is on and it lies wholly in one of the windows, clear of
 * everything else there; wherever else the guest puts it, it answers nowhere.
 */
#ifndef HV_PCI_H
#define HV_PCI_H

#include "hv/bus.h"
#include "hv/error.h"
#include "hv/interrupts.h"
#include "hv/ioeventfd.h"
#include "hv/pci_config.h"

#define PCI_ECAM_BYTES UINT64_C(0x100000) /* Bus 0: 32 devices of 8 functions of 4 KiB. */
#define PCI_NOWHERE    UINT64_MAX

enum { PCI_FUNCTIONS = 256 };

struct pci_window {
	uint64_t base, bytes;
};

/* Where the root is, and whom it works with; what the pointers lead to must outlive it. */
struct pci_environment {
	struct bus *ports, *mmio;
	struct interrupts *interrupts;
	struct ioeventfds *ioeventfds; /* NULL: notifications leave the guest. */
	uint64_t ecam;
	struct pci_window window_32, window_64; /* BARs begin in the first one. */
	unsigned int n_functions;		/* That will be added, at most. */
};

struct pci_root;
struct pci_function;

/* What a function does beside being configured.  All may be NULL but destroy. */
struct pci_function_type {
	/* Accesses to the BAR; `device` is the function. */
	struct bus_operations bar;
	/* The BAR has moved: it is at function->bar_address now, or PCI_NOWHERE. */
	void (*bar_moved)(struct pci_function *function);
	/* The guest is about to read, or has written, these bytes of the configuration space. */
	void (*config_reading)(
		struct pci_function *function, unsigned int offset, unsigned int bytes);
	void (*config_written)(
		struct pci_function *function, unsigned int offset, unsigned int bytes);
	/* The root is being destroyed. */
	void (*destroy)(struct pci_function *function);
};

/* Embedded in who owns it. */
struct pci_function {
	/* Set before it is added, and immutable. */
	const struct pci_function_type *type;
	uint64_t bar_bytes; /* A power of two of at least 4 KiB, or 0: no BAR. */
	struct pci_config config;
	/* The root's. */
	struct pci_root *root;
	uint64_t bar_address; /* Where the BAR answers, or PCI_NOWHERE. */
};

/* A root with a host bridge, on the buses.  0, or a negative errno and a sentence. */
int pci_root_create(
	struct pci_root **root, const struct pci_environment *environment, struct hv_error *error);

/* Takes the functions and the root off the buses and ends them. */
void pci_root_destroy(struct pci_root *root);

/* The environment that it was created with. */
const struct pci_environment *pci_root_environment(const struct pci_root *root);

/*
 * Gives the function the next place on the bus, a device of its own if that is enough for all that
 * will be added, and its BAR an address.  Guests find functions in the order in which they were
 * added.  From now on it is the root's, which ends it by type->destroy().  0, or -ENOSPC and a
 * sentence.
 */
int pci_add_function(struct pci_root *root, struct pci_function *function, struct hv_error *error);

#endif
