/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A function's MSI-X table, over interrupts that KVM raises.  Called by virtio's transport for the
 * guest's accesses, with the machine's lock held.
 *
 * There is one rule, and settle() applies it to a source: the eventfd is attached if and only if
 * its vector can be delivered and the vector's GSI sends the message that the table says.  What KVM
 * refuses (a message that no processor can have) stays pending.
 */
#include "hv/msix.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum { DWORD_BYTES = 4, ENTRY_DWORDS = MSIX_ENTRY_BYTES / DWORD_BYTES };

/* The lowest bits of a message's address are always 0. */
#define ADDRESS_LOW_BITS UINT64_C(3)

int msix_create(struct msix *msix, struct interrupts *interrupts, const char *name, unsigned int n,
	struct hv_error *error)
{
	int first_gsi = interrupts->operations->reserve(interrupts, n);

	if (first_gsi < 0)
		return hv_fail(error, -first_gsi,
			"KVM has no place for %u more interrupts: give the guest fewer devices or "
			"queues",
			n);
	*msix = (struct msix){
		.interrupts = interrupts,
		.first_gsi = (unsigned int)first_gsi,
		.n_entries = n,
		.name = name,
		.entries = calloc(n, sizeof(*msix->entries)),
	};
	if (!msix->entries)
		return hv_fail(error, ENOMEM, "no memory for %u interrupts", n);
	for (unsigned int i = 0; i < n; i++)
		msix->entries[i].masked = true;
	return 0;
}

static unsigned int gsi(const struct msix *msix, unsigned int vector)
{
	return msix->first_gsi + vector;
}

static void detach(struct msix *msix, struct msix_source *source)
{
	if (source->attached)
		msix->interrupts->operations->detach(
			msix->interrupts, gsi(msix, source->vector), source->eventfd);
	source->attached = false;
}

static bool is_deliverable(const struct msix *msix, const struct msix_source *source)
{
	return msix->enabled && !msix->masked && source->vector < msix->n_entries &&
	       !msix->entries[source->vector].masked;
}

static void refused(struct msix *msix, unsigned int vector, int code)
{
	const struct msix_entry *entry = &msix->entries[vector];
	char text[HV_ERROR_BYTES];

	msix->refused++;
	snprintf(text, sizeof(text),
		"KVM refuses its interrupt %u, the message %#" PRIx32 " to %#" PRIx64
		": %s; it stays pending",
		vector, entry->data, entry->address, strerror(-code));
	report_line(&msix->report, msix->name, text);
}

/* Makes the vector's GSI send what the table says. */
static bool route(struct msix *msix, unsigned int vector)
{
	struct msix_entry *entry = &msix->entries[vector];
	int status;

	if (entry->routed)
		return true;
	status = msix->interrupts->operations->route(
		msix->interrupts, gsi(msix, vector), entry->address, entry->data);
	entry->routed = status == 0;
	if (status < 0)
		refused(msix, vector, status);
	return entry->routed;
}

static void settle(struct msix *msix, struct msix_source *source)
{
	int status;

	if (!is_deliverable(msix, source) || !route(msix, source->vector)) {
		detach(msix, source);
		return;
	}
	if (source->attached)
		return;
	status = msix->interrupts->operations->attach(
		msix->interrupts, gsi(msix, source->vector), source->eventfd);
	source->attached = status == 0;
	if (status < 0)
		refused(msix, source->vector, status);
}

static void settle_vector(struct msix *msix, unsigned int vector)
{
	for (struct msix_source *source = msix->sources; source; source = source->next)
		if (source->vector == vector)
			settle(msix, source);
}

void msix_destroy(struct msix *msix)
{
	for (struct msix_source *source = msix->sources; source; source = source->next)
		detach(msix, source);
	free(msix->entries);
	*msix = (struct msix){0};
}

void msix_add_source(struct msix *msix, struct msix_source *source)
{
	source->vector = MSIX_NO_VECTOR;
	source->attached = false;
	source->next = msix->sources;
	msix->sources = source;
}

void msix_set_vector(struct msix *msix, struct msix_source *source, uint16_t vector)
{
	detach(msix, source);
	source->vector = vector < msix->n_entries ? vector : MSIX_NO_VECTOR;
	settle(msix, source);
}

void msix_control(struct msix *msix, bool enabled, bool masked)
{
	if (msix->enabled == enabled && msix->masked == masked)
		return;
	msix->enabled = enabled;
	msix->masked = masked;
	for (struct msix_source *source = msix->sources; source; source = source->next)
		settle(msix, source);
}

void msix_forget(struct msix_source *source)
{
	eventfd_t count;

	/* If it is attached, what has come is told already. */
	if (!source->attached)
		eventfd_read(source->eventfd, &count);
}

bool msix_take_untold(struct msix *msix, struct msix_source *source)
{
	eventfd_t count;

	if (msix->enabled && source->vector != MSIX_NO_VECTOR)
		return false;
	return eventfd_read(source->eventfd, &count) == 0;
}

/* --- The table ------------------------------------------------------------------------------- */

static uint32_t entry_dword(const struct msix_entry *entry, unsigned int dword)
{
	switch (dword * DWORD_BYTES) {
	case PCI_MSIX_ENTRY_LOWER_ADDR: return (uint32_t)entry->address;
	case PCI_MSIX_ENTRY_UPPER_ADDR: return (uint32_t)(entry->address >> 32);
	case PCI_MSIX_ENTRY_DATA: return entry->data;
	default: return entry->masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0;
	}
}

static void set_message(struct msix_entry *entry, uint64_t address, uint32_t data)
{
	address &= ~ADDRESS_LOW_BITS;
	if (entry->address == address && entry->data == data)
		return;
	entry->address = address;
	entry->data = data;
	entry->routed = false;
}

static void write_dword(struct msix *msix, unsigned int vector, unsigned int dword, uint32_t value)
{
	struct msix_entry *entry = &msix->entries[vector];

	switch (dword * DWORD_BYTES) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		set_message(entry, (entry->address & ~(uint64_t)UINT32_MAX) | value, entry->data);
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		set_message(entry, (uint64_t)value << 32 | (uint32_t)entry->address, entry->data);
		break;
	case PCI_MSIX_ENTRY_DATA: set_message(entry, entry->address, value); break;
	default: entry->masked = value & PCI_MSIX_ENTRY_CTRL_MASKBIT; break;
	}
}

void msix_table_read(const struct msix *msix, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++) {
		uint64_t vector = (offset + i) / MSIX_ENTRY_BYTES;
		unsigned int byte = (offset + i) % MSIX_ENTRY_BYTES;

		data[i] = vector < msix->n_entries ? (uint8_t)(entry_dword(&msix->entries[vector],
								       byte / DWORD_BYTES) >>
							       byte % DWORD_BYTES * 8)
						   : 0;
	}
}

void msix_table_write(struct msix *msix, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	uint64_t vector = offset / MSIX_ENTRY_BYTES;

	if (vector >= msix->n_entries || bytes < DWORD_BYTES || offset % bytes != 0)
		return;
	for (unsigned int i = 0; i < bytes; i += DWORD_BYTES) {
		uint32_t value;

		memcpy(&value, data + i, sizeof(value));
		write_dword(msix, (unsigned int)vector,
			(unsigned int)((offset + i) / DWORD_BYTES % ENTRY_DWORDS), le32toh(value));
	}
	settle_vector(msix, (unsigned int)vector);
}

/* --- What is pending ------------------------------------------------------------------------- */

/* An event that came while its eventfd was not attached is still there. */
static bool is_pending(const struct msix_source *source)
{
	struct pollfd descriptor = {.fd = source->eventfd, .events = POLLIN};

	return !source->attached && poll(&descriptor, 1, 0) == 1;
}

void msix_pending_read(const struct msix *msix, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	memset(data, 0, bytes);
	for (const struct msix_source *source = msix->sources; source; source = source->next) {
		uint64_t byte = source->vector / 8;

		if (source->vector < msix->n_entries && byte >= offset && byte - offset < bytes &&
			is_pending(source))
			data[byte - offset] |= (uint8_t)(1 << source->vector % 8);
	}
}
