/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI's hardware-reduced registers (ACPI 6.5, 4.8.3.7 and 4.8.3.6) and the power button.
 *
 * Eight I/O ports from LAYOUT_PORT_POWER on, a byte each:
 *
 *	+0	sleep control	bit 5 SLP_EN with SLP_TYP (bits 2 to 4) POWER_SLEEP_TYPE_S5: off
 *	+1	sleep status	bit 7 WAK_STS; always 0, since no sleep is woken from
 *	+2	reset		POWER_RESET_VALUE: reset
 *	+3	events		bit POWER_EVENT_BUTTON: the button was pressed.  Reading clears
 *them.
 *
 * The Generic Event Device (ACPI 6.5, 5.6.9) interrupts by LAYOUT_LINE_POWER, edge-triggered; its
 * _EVT method reads the events and notifies the button.  The AML for all this is acpi_aml.c's.
 *
 * Registers are accessed and the button is pressed with the machine's lock held.
 */
#ifndef HV_POWER_H
#define HV_POWER_H

#include <stdint.h>

#include "hv/error.h"
#include "hv/layout.h"

enum power_port {
	POWER_PORT_SLEEP_CONTROL = LAYOUT_PORT_POWER,
	POWER_PORT_SLEEP_STATUS,
	POWER_PORT_RESET,
	POWER_PORT_EVENTS,
};

enum {
	POWER_SLEEP_TYPE_S5 = 5, /* _S5's first element. */
	POWER_RESET_VALUE = 1,	 /* FADT's RESET_VALUE. */
	POWER_EVENT_BUTTON = 1 << 0,
};

struct machine;
struct power;

/* Registers, line and events of `machine`, which it adds itself to.  To be ended by
 * power_destroy(). */
int power_create(struct power **power, struct machine *machine, struct hv_error *error);
void power_destroy(struct power *power);

/* The button is pressed: the guest is interrupted, and shuts down if it cares for it. */
void power_press_button(struct power *power);

#endif
