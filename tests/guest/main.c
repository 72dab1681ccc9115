/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload: finds its vNICs, does what its command line says, and then answers and obeys.
 *
 * Options: ip=, six= (ip1=, six1= for the second vNIC), queues=, queue=, interrupts=0, khz=,
 * button=ignore; behind "-- " come commands (command.c).
 */
#include "guest.h"

void payload_start(const char *text) __attribute__((noreturn));

const char *command_line;

void work(void)
{
	net_poll();
	if (!button_pressed())
		return;
	print("button");
	if (!option("button"))
		power_off();
}

/* Interrupts are asked for, then everything is looked at once more: nothing that came between is
 * slept over. */
static void rest(void)
{
	uint64_t seen = interrupts;

	if (option_number("interrupts", 1) == 0) {
		__asm__ volatile("pause");
		return;
	}
	net_want_interrupts(true);
	work();
	if (!command_poll())
		idle(seen);
	net_want_interrupts(false);
}

void payload_start(const char *text)
{
	command_line = text;
	machine_start();
	print("guest: %s", text);
	net_start();
	print("ready");
	for (const char *at = text; *at; at++) {
		if (at[0] == '-' && at[1] == '-' && at[2] == ' ') {
			command_script(at + 3);
			break;
		}
	}
	for (;;) {
		work();
		if (!command_poll() && !net_poll())
			rest();
	}
}
