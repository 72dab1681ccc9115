/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DSDT's code: the devices that a guest cannot find by itself.
 */
#ifndef HV_ACPI_DSDT_H
#define HV_ACPI_DSDT_H

#include "hv/acpi_aml.h"
#include "hv/machine.h"

/* Appends the code.  Main thread, before the guest runs. */
void acpi_dsdt_build(struct aml *aml, const struct machine *machine);

#endif
