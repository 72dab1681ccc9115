/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The I/O APIC's registers.  Accessed by vCPU threads through the bus, with the machine's lock
 * held; interrupts pass by it, from eventfds through KVM.
 */
#include "hv/ioapic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/interrupts_kvm.h"
#include "hv/layout.h"
#include "hv/report.h"

enum {
	IOAPIC_BYTES = 0x20,
	OFFSET_SELECT = 0x00,
	OFFSET_WINDOW = 0x10,
	REGISTER_ID = 0,
	REGISTER_VERSION = 1,
	REGISTER_ARBITRATION = 2,
	REGISTER_LINES = 0x10, /* Two for each. */
	VERSION = 0x11 | (LAYOUT_LINES - 1) << 16,
	ID_MASK = 0x0f000000,
};

/* A redirection entry. */
#define LINE_VECTOR	    UINT64_C(0xff)
#define LINE_DELIVERY	    UINT64_C(0x700)
#define LINE_LOGICAL	    (UINT64_C(1) << 11)
#define LINE_READ_ONLY	    (UINT64_C(1) << 12 | UINT64_C(1) << 14) /* Status, remote IRR. */
#define LINE_MASKED	    (UINT64_C(1) << 16)
#define LINE_DESTINATION    56
#define LINE_WRITABLE	    (UINT64_C(0xff0000000001ffff) & ~LINE_READ_ONLY)
#define MESSAGE_LOGICAL	    4
#define MESSAGE_DESTINATION 12

struct ioapic {
	struct machine *machine;
	uint32_t id;
	uint8_t selected;
	uint64_t lines[LAYOUT_LINES];
	uint64_t refused;
	struct report report;
};

uint64_t ioapic_refused(const struct ioapic *ioapic)
{
	return ioapic->refused;
}

static void refused(struct ioapic *ioapic, unsigned int line, int code)
{
	char text[HV_ERROR_BYTES];

	ioapic->refused++;
	snprintf(text, sizeof(text), "KVM refuses the way of line %u: %s; it goes where it did",
		line, strerror(-code));
	report_line(&ioapic->report, "I/O APIC", text);
}

/* Tells KVM where the line goes. */
static void route(struct ioapic *ioapic, unsigned int line)
{
	struct interrupts *interrupts = ioapic->machine->interrupts;
	uint64_t entry = ioapic->lines[line];
	uint64_t address = LAYOUT_LOCAL_APIC_BASE |
			   entry >> LINE_DESTINATION << MESSAGE_DESTINATION |
			   (entry & LINE_LOGICAL ? MESSAGE_LOGICAL : 0);
	int status;

	if (entry & LINE_MASKED)
		status = interrupts_kvm_unroute_line(interrupts, line);
	else
		status = interrupts_kvm_route_line(interrupts, line, address,
			(uint32_t)(entry & (LINE_VECTOR | LINE_DELIVERY)));
	if (status < 0)
		refused(ioapic, line, status);
}

static uint32_t read_selected(const struct ioapic *ioapic)
{
	unsigned int line = (ioapic->selected - REGISTER_LINES) / 2;

	switch (ioapic->selected) {
	case REGISTER_ID:
	case REGISTER_ARBITRATION: return ioapic->id;
	case REGISTER_VERSION: return VERSION;
	default: break;
	}
	if (ioapic->selected < REGISTER_LINES || line >= LAYOUT_LINES)
		return UINT32_MAX;
	return (uint32_t)(ioapic->lines[line] >> (ioapic->selected % 2 ? 32 : 0));
}

static void write_selected(struct ioapic *ioapic, uint32_t value)
{
	unsigned int line = (ioapic->selected - REGISTER_LINES) / 2;
	unsigned int shift = ioapic->selected % 2 ? 32 : 0;
	uint64_t old, entry;

	if (ioapic->selected == REGISTER_ID)
		ioapic->id = value & ID_MASK;
	if (ioapic->selected < REGISTER_LINES || line >= LAYOUT_LINES)
		return;
	old = ioapic->lines[line];
	entry = (old & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift;
	ioapic->lines[line] = entry & LINE_WRITABLE;
	if (ioapic->lines[line] != old)
		route(ioapic, line);
}

static void read_register(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	const struct ioapic *ioapic = device;
	uint32_t value = UINT32_MAX;

	if (offset == OFFSET_SELECT)
		value = ioapic->selected;
	else if (offset == OFFSET_WINDOW)
		value = read_selected(ioapic);
	memset(data, 0, bytes);
	memcpy(data, &value, bytes < sizeof(value) ? bytes : sizeof(value));
}

static void write_register(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	struct ioapic *ioapic = device;
	uint32_t value = 0;

	memcpy(&value, data, bytes < sizeof(value) ? bytes : sizeof(value));
	if (offset == OFFSET_SELECT)
		ioapic->selected = (uint8_t)value;
	else if (offset == OFFSET_WINDOW && bytes == sizeof(value))
		write_selected(ioapic, value);
}

static const struct bus_operations operations = {read_register, write_register};

int ioapic_create(struct ioapic **created, struct machine *machine, struct hv_error *error)
{
	struct ioapic *ioapic = calloc(1, sizeof(*ioapic));
	int status;

	*created = NULL;
	if (!ioapic)
		return hv_fail(error, ENOMEM, "there is no memory for the I/O APIC");
	ioapic->machine = machine;
	for (unsigned int line = 0; line < LAYOUT_LINES; line++)
		ioapic->lines[line] = LINE_MASKED;
	status = bus_add(&machine->mmio, LAYOUT_IOAPIC_BASE, IOAPIC_BYTES, &operations, ioapic);
	if (status < 0) {
		free(ioapic);
		return hv_fail(
			error, -status, "the I/O APIC cannot be made: %s", strerror(-status));
	}
	*created = ioapic;
	return 0;
}

void ioapic_destroy(struct ioapic *ioapic)
{
	if (!ioapic)
		return;
	bus_remove(&ioapic->machine->mmio, LAYOUT_IOAPIC_BASE, ioapic);
	free(ioapic);
}
