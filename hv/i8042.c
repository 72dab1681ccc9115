/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keyboard controller, of which the reset line is what matters.  Its ports are accessed by vCPU
 * threads through the bus, with the machine's lock held.
 */
#include "hv/i8042.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/layout.h"

enum {
	OFFSET_DATA = 0,
	OFFSET_COMMAND = 4, /* Reading it gives the status. */
	STATUS_OUTPUT_FULL = 1 << 0,
	STATUS_SYSTEM = 1 << 2, /* The self-test has passed. */
	STATUS_NOT_LOCKED = 1 << 4,
	COMMAND_READ_CONFIGURATION = 0x20,
	COMMAND_WRITE_CONFIGURATION = 0x60,
	COMMAND_SELF_TEST = 0xaa,
	COMMAND_TEST_KEYBOARD = 0xab,
	COMMAND_TEST_MOUSE = 0xa9,
	COMMAND_READ_OUTPUT_PORT = 0xd0,
	COMMAND_RESET = 0xfe,
	/* Both clocks are off, and so are both interrupts. */
	CONFIGURATION_AT_FIRST = 0x34,
	OUTPUT_PORT = 0x03, /* A20 is on, the processor is not in reset. */
	SELF_TEST_PASSED = 0x55,
	NOT_CONNECTED = 0x01, /* The answer of the tests: the clock line is stuck. */
};

struct i8042 {
	struct machine *machine;
	uint8_t configuration, output;
	bool output_full, configuration_follows;
};

static void answer(struct i8042 *i8042, uint8_t byte)
{
	i8042->output = byte;
	i8042->output_full = true;
}

static void command(struct i8042 *i8042, uint8_t byte)
{
	i8042->configuration_follows = byte == COMMAND_WRITE_CONFIGURATION;
	switch (byte) {
	case COMMAND_READ_CONFIGURATION: answer(i8042, i8042->configuration); break;
	case COMMAND_SELF_TEST: answer(i8042, SELF_TEST_PASSED); break;
	case COMMAND_TEST_KEYBOARD:
	case COMMAND_TEST_MOUSE: answer(i8042, NOT_CONNECTED); break;
	case COMMAND_READ_OUTPUT_PORT: answer(i8042, OUTPUT_PORT); break;
	case COMMAND_RESET:
		machine_end(i8042->machine, MACHINE_RESET,
			"the guest asked for a reset, through the keyboard controller");
		break;
	default: break;
	}
}

static void read_port(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	struct i8042 *i8042 = device;

	memset(data, 0xff, bytes);
	if (bytes != 1)
		return;
	if (offset == OFFSET_DATA) {
		data[0] = i8042->output_full ? i8042->output : 0;
		i8042->output_full = false;
	} else if (offset == OFFSET_COMMAND) {
		data[0] = STATUS_SYSTEM | STATUS_NOT_LOCKED |
			  (i8042->output_full ? STATUS_OUTPUT_FULL : 0);
	}
}

static void write_port(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	struct i8042 *i8042 = device;

	if (bytes != 1)
		return;
	if (offset == OFFSET_COMMAND) {
		command(i8042, data[0]);
	} else if (offset == OFFSET_DATA) {
		if (i8042->configuration_follows)
			i8042->configuration = data[0];
		i8042->configuration_follows = false;
	}
}

static const struct bus_operations operations = {read_port, write_port};

int i8042_create(struct i8042 **created, struct machine *machine, struct hv_error *error)
{
	struct i8042 *i8042 = calloc(1, sizeof(*i8042));
	int status;

	*created = NULL;
	if (!i8042)
		return hv_fail(error, ENOMEM, "there is no memory for the keyboard controller");
	i8042->machine = machine;
	i8042->configuration = CONFIGURATION_AT_FIRST;
	status = bus_add(
		&machine->ports, LAYOUT_PORT_I8042, LAYOUT_PORT_I8042_BYTES, &operations, i8042);
	if (status < 0) {
		free(i8042);
		return hv_fail(error, -status, "the keyboard controller cannot be made: %s",
			strerror(-status));
	}
	*created = i8042;
	return 0;
}

void i8042_destroy(struct i8042 *i8042)
{
	if (!i8042)
		return;
	bus_remove(&i8042->machine->ports, LAYOUT_PORT_I8042, i8042);
	free(i8042);
}
