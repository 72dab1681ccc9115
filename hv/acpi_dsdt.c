/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT: processors, the PCI root, ECAM's place, COM1, the power button and how it is told.
 *
 * Each function writes one device; the ASL that it stands for is above it.  Called by acpi_build()
 * on the main thread, before the guest runs.
 */
#include "hv/acpi_dsdt.h"

#include <stdio.h>

#include "hv/acpi_resource.h"
#include "hv/layout.h"
#include "hv/power.h"

enum {
	NOTIFY_BUTTON_PRESSED = 0x80,
	OSC_UNKNOWN_UUID = 1 << 2,
	OSC_UUID_ARGUMENT = 0,
	OSC_CAPABILITIES_ARGUMENT = 3,
	OSC_ARGUMENTS = 4,
};

/* 33db4d5b-1ff7-401c-9657-7441c03dd766: a PCI root's _OSC (PCI Firmware Specification, 4.5.1). */
static const uint8_t PCI_ROOT_UUID[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96,
	0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};

static void name_string(struct aml *aml, const char *name, const char *text)
{
	aml_name(aml, name);
	aml_string(aml, text);
}

static void name_id(struct aml *aml, const char *name, const char *id)
{
	aml_name(aml, name);
	aml_eisa_id(aml, id);
}

static void name_integer(struct aml *aml, const char *name, uint64_t value)
{
	aml_name(aml, name);
	aml_integer(aml, value);
}

/* Device (C000) { Name (_HID, "ACPI0007")  Name (_UID, 0) }: as many as the MADT has. */
static void processor(struct aml *aml, unsigned int index)
{
	struct aml_block device;
	char name[12];

	snprintf(name, sizeof(name), "C%03X", index);
	device = aml_device(aml, name);
	name_string(aml, "_HID", "ACPI0007");
	name_integer(aml, "_UID", index);
	aml_close(aml, device);
}

/*
 * Method (_OSC, 4, Serialized) {
 *	If (Arg0 == ToUUID ("33db4d5b-...")) { Return (Arg3) }
 *	CreateDWordField (Arg3, 0, CDW1)
 *	CDW1 |= 4
 *	Return (Arg3)
 * }
 * Everything that the system asks to control is its own: no firmware runs beside it.
 */
static void osc(struct aml *aml)
{
	struct aml_block method = aml_method(aml, "_OSC", OSC_ARGUMENTS, true);
	struct aml_block known = aml_if_argument_is(aml, OSC_UUID_ARGUMENT);

	aml_buffer(aml, PCI_ROOT_UUID, sizeof(PCI_ROOT_UUID));
	aml_return(aml);
	aml_argument(aml, OSC_CAPABILITIES_ARGUMENT);
	aml_close(aml, known);
	aml_dword_field(aml, OSC_CAPABILITIES_ARGUMENT, 0, "CDW1");
	aml_or_into(aml, "CDW1", OSC_UNKNOWN_UUID);
	aml_return(aml);
	aml_argument(aml, OSC_CAPABILITIES_ARGUMENT);
	aml_close(aml, method);
}

/*
 * Device (PCI0) { _HID PNP0A08, _CID PNP0A03, _SEG 0, _BBN 0, _UID 0, _CRS {
 *	bus 0; the ports of configuration space; the windows of BARs } _OSC }
 * No _PRT: devices have MSI-X only, and no interrupt pins.
 */
static void pci_root(struct aml *aml, const struct machine *machine)
{
	struct aml_block device = aml_device(aml, "PCI0");
	struct resource_template resources;

	name_id(aml, "_HID", "PNP0A08");
	name_id(aml, "_CID", "PNP0A03");
	name_integer(aml, "_SEG", 0);
	name_integer(aml, "_BBN", 0);
	name_integer(aml, "_UID", 0);
	aml_name(aml, "_CRS");
	resources = resource_open(aml);
	resource_bus_window(aml, 0, 0);
	resource_ports(aml, LAYOUT_PORT_PCI_ADDRESS, LAYOUT_PORT_PCI_BYTES);
	resource_memory32_window(aml, LAYOUT_PCI32_BASE, LAYOUT_PCI32_BYTES);
	resource_memory64_window(aml, layout_pci64_base(&machine->memory), LAYOUT_PCI64_BYTES);
	resource_close(aml, resources);
	osc(aml);
	aml_close(aml, device);
}

/* Device (ECAM) { _HID PNP0C02, _UID 0, _CRS { ECAM's memory and the power block's ports } }:
 * taken, so that nothing else is put there. */
static void motherboard(struct aml *aml)
{
	struct aml_block device = aml_device(aml, "ECAM");
	struct resource_template resources;

	name_id(aml, "_HID", "PNP0C02");
	name_integer(aml, "_UID", 0);
	aml_name(aml, "_CRS");
	resources = resource_open(aml);
	resource_memory(aml, LAYOUT_ECAM_BASE, LAYOUT_ECAM_BYTES);
	resource_ports(aml, LAYOUT_PORT_POWER, LAYOUT_PORT_POWER_BYTES);
	resource_close(aml, resources);
	aml_close(aml, device);
}

/* Device (COM1) { _HID PNP0501, _UID 0, _CRS { its ports, its line } } */
static void serial(struct aml *aml)
{
	struct aml_block device = aml_device(aml, "COM1");
	struct resource_template resources;

	name_id(aml, "_HID", "PNP0501");
	name_integer(aml, "_UID", 0);
	aml_name(aml, "_CRS");
	resources = resource_open(aml);
	resource_ports(aml, LAYOUT_PORT_COM1, LAYOUT_PORT_COM1_BYTES);
	resource_interrupt(aml, LAYOUT_LINE_COM1);
	resource_close(aml, resources);
	aml_close(aml, device);
}

/* Device (PWRB) { Name (_HID, PNP0C0C) } */
static void power_button(struct aml *aml)
{
	struct aml_block device = aml_device(aml, "PWRB");

	name_id(aml, "_HID", "PNP0C0C");
	name_integer(aml, "_UID", 0);
	aml_close(aml, device);
}

/* Method (_EVT, 1, Serialized) { If (EVTS & 1) { Notify (\_SB.PWRB, 0x80) } }: reading the events
 * clears them. */
static void events_method(struct aml *aml)
{
	struct aml_block method = aml_method(aml, "_EVT", 1, true);
	struct aml_block pressed = aml_if_bits(aml, "EVTS", POWER_EVENT_BUTTON);

	aml_notify(aml, "\\_SB.PWRB", NOTIFY_BUTTON_PRESSED);
	aml_close(aml, pressed);
	aml_close(aml, method);
}

/*
 * Device (GED) { _HID "ACPI0013", _UID 0, _CRS { its line }
 *	OperationRegion (EVTR, SystemIO, ..., 1)  Field (EVTR, ByteAcc, ...) { EVTS, 8 }  _EVT }
 */
static void event_device(struct aml *aml)
{
	struct aml_block device = aml_device(aml, "GED"), field;
	struct resource_template resources;

	name_string(aml, "_HID", "ACPI0013");
	name_integer(aml, "_UID", 0);
	aml_name(aml, "_CRS");
	resources = resource_open(aml);
	resource_interrupt(aml, LAYOUT_LINE_POWER);
	resource_close(aml, resources);
	aml_port_region(aml, "EVTR", POWER_PORT_EVENTS, 1);
	field = aml_field(aml, "EVTR");
	aml_field_bits(aml, "EVTS", 8);
	aml_close(aml, field);
	events_method(aml);
	aml_close(aml, device);
}

/* Name (_S5, Package (4) { SLP_TYP, 0, 0, 0 }): what is written to switch off. */
static void soft_off(struct aml *aml)
{
	struct aml_block package;

	aml_name(aml, "\\_S5");
	package = aml_package(aml, 4);
	aml_integer(aml, POWER_SLEEP_TYPE_S5);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_close(aml, package);
}

void acpi_dsdt_build(struct aml *aml, const struct machine *machine)
{
	struct aml_block scope = aml_scope(aml, "\\_SB");

	for (unsigned int i = 0; i < machine->n_vcpus; i++)
		processor(aml, i);
	pci_root(aml, machine);
	motherboard(aml);
	serial(aml);
	power_button(aml);
	event_device(aml);
	aml_close(aml, scope);
	soft_off(aml);
}
