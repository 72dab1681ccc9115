/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port COM1: a 16550A at I/O ports 0x3f8 to 0x3ff with the I/O APIC's line 4, as a PC
 * has it.
 */
#ifndef HV_SERIAL_H
#define HV_SERIAL_H

#include "hv/error.h"
#include "hv/machine.h"
#include "hv/terminal.h"

struct serial;

/*
 * Puts the port on machine->ports and attaches its interrupt; the terminal is its cable from now on
 * and must outlive it.  Before guests run.  0, or a negative errno and a sentence.  To be ended by
 * serial_destroy().
 */
int serial_create(struct serial **serial, struct machine *machine, struct terminal *terminal,
	struct hv_error *error);
void serial_destroy(struct serial *serial);

#endif
