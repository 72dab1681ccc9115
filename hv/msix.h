/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): a table of messages that the guest programs and masks, and the
 * sources that raise them.
 *
 * A source is an eventfd; the driver chooses its vector, and several sources may share one.  While
 * a vector can be delivered (MSI-X is on, neither the function nor the vector is masked), KVM waits
 * for the eventfds of its sources and raises the message without this process.  While it cannot, an
 * event stays in its eventfd, shows as pending, and is delivered as soon as that changes.
 *
 * With the machine's lock held; but an eventfd may be written to by anybody at any time.
 */
#ifndef HV_MSIX_H
#define HV_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/error.h"
#include "hv/interrupts.h"
#include "hv/report.h"

enum {
	MSIX_NO_VECTOR = 0xffff,
	MSIX_ENTRY_BYTES = 16,
};

/* Embedded by who raises it. */
struct msix_source {
	int eventfd;	 /* Set before msix_add_source(); stays open until msix_destroy(). */
	uint16_t vector; /* MSIX_NO_VECTOR: nobody is told. */
	bool attached;
	struct msix_source *next;
};

struct msix_entry {
	uint64_t address;
	uint32_t data;
	bool masked;
	bool routed; /* Its GSI sends this very message. */
};

/* All zeros may be destroyed. */
struct msix {
	struct interrupts *interrupts;
	unsigned int first_gsi, n_entries;
	struct msix_entry *entries;
	struct msix_source *sources;
	bool enabled, masked;
	const char *name; /* Of the device, in lines about what KVM refuses. */
	uint64_t refused; /* Messages, and eventfds, that KVM did not take. */
	struct report report;
};

/* `n` vectors of the device `name` (borrowed), all masked; switched off.  0, or a negative errno
 * and a sentence. */
int msix_create(struct msix *msix, struct interrupts *interrupts, const char *name, unsigned int n,
	struct hv_error *error);
void msix_destroy(struct msix *msix);

/* Adds a source without a vector. */
void msix_add_source(struct msix *msix, struct msix_source *source);

/* The driver chooses a vector, or MSIX_NO_VECTOR, which it gets too if there is no such vector. */
void msix_set_vector(struct msix *msix, struct msix_source *source, uint16_t vector);

/* Whether the function's MSI-X is on, and masked as a whole. */
void msix_control(struct msix *msix, bool enabled, bool masked);

/* Whether an event has come that no vector will tell of; it is forgotten. */
bool msix_take_untold(struct msix *msix, struct msix_source *source);

/* What has come and was not delivered is forgotten: the device was reset. */
void msix_forget(struct msix_source *source);

/* Accesses to the table and to the bits of what is pending (which ignores writes).  The table takes
 * dwords and quadwords, aligned, and ignores other writes. */
void msix_table_read(const struct msix *msix, uint64_t offset, uint8_t *data, unsigned int bytes);
void msix_table_write(struct msix *msix, uint64_t offset, const uint8_t *data, unsigned int bytes);
void msix_pending_read(const struct msix *msix, uint64_t offset, uint8_t *data, unsigned int bytes);

#endif
