/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resource templates (ACPI 6.5, 6.4): what a device takes, and what a bridge passes on.
 *
 * Opened, filled and closed in the place of an object: the value of _CRS.
 */
#ifndef HV_ACPI_RESOURCE_H
#define HV_ACPI_RESOURCE_H

#include "hv/acpi_aml.h"

struct resource_template {
	uint32_t length_at, size_at;
};

struct resource_template resource_open(struct aml *aml);
void resource_close(struct aml *aml, struct resource_template resources);

/* What a device takes: I/O ports; a line of the I/O APIC, edge-triggered, active high, not shared;
 * memory at a fixed place. */
void resource_ports(struct aml *aml, uint16_t first, uint8_t count);
void resource_interrupt(struct aml *aml, uint32_t line);
void resource_memory(struct aml *aml, uint32_t base, uint32_t bytes);

/* What a bridge passes on: bus numbers, and memory that is not cached. */
void resource_bus_window(struct aml *aml, uint16_t first, uint16_t last);
void resource_memory32_window(struct aml *aml, uint32_t base, uint32_t bytes);
void resource_memory64_window(struct aml *aml, uint64_t base, uint64_t bytes);

#endif
