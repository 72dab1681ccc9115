/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyboard controller of a PC, as far as it resets the machine: without keyboard and mouse, but
 * it answers whoever looks for it.
 */
#ifndef HV_I8042_H
#define HV_I8042_H

#include "hv/error.h"
#include "hv/machine.h"

struct i8042;

/* Puts it on machine->ports.  0, or a negative errno and a sentence; to be ended by
 * i8042_destroy(). */
int i8042_create(struct i8042 **i8042, struct machine *machine, struct hv_error *error);
void i8042_destroy(struct i8042 *i8042);

#endif
