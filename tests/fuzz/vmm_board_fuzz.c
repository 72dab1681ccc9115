/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is on a guest's board beside PCI, accessed anyhow: power, keyboard controller, serial port,
 * I/O APIC.  The machine ends only by the accesses that say so, and by the first of them, and each
 * line's message is always what its entry in the I/O APIC says.
 *
 * The input is a sequence of accesses: a byte (what, how many bytes), two of address, and the data
 * of a write.
 */
#include <stdlib.h>
#include <string.h>

#include "hv/i8042.h"
#include "hv/interrupts_kvm.h"
#include "hv/machine.h"
#include "hv/power.h"
#include "hv/serial.h"
#include "hv/terminal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int told(unsigned int line, uint64_t address, uint32_t data);

/* KVM's part is played here. */
#define interrupts_kvm_route_line(interrupts, line, address, data)                                 \
	((void)(interrupts), told(line, address, data))
#define interrupts_kvm_unroute_line(interrupts, line) ((void)(interrupts), told(line, 0, 0))
#include "hv/ioapic.c"
#undef interrupts_kvm_unroute_line
#undef interrupts_kvm_route_line

enum { STEPS_MAX = 2000, ACCESS_WRITE = 1, ACCESS_MEMORY = 2, ACCESS_BYTES_SHIFT = 2 };

/* The message of each line; address 0: none. */
struct message {
	uint64_t address;
	uint32_t data;
};

struct board {
	struct machine machine;
	struct i8042 *i8042;
	struct terminal *terminal;
	struct serial *serial;
	struct message messages[LAYOUT_LINES];
};

static struct board *current;

static void require(bool promise)
{
	if (!promise)
		abort();
}

static int told(unsigned int line, uint64_t address, uint32_t data)
{
	require(line < LAYOUT_LINES);
	current->messages[line] = (struct message){address, data};
	return 0;
}

/* --- interrupts that go nowhere --------------------------------------------------------------- */

static int attach(struct interrupts *interrupts, unsigned int gsi, int eventfd)
{
	(void)interrupts;
	(void)eventfd;
	require(gsi < LAYOUT_LINES);
	return 0;
}

static void detach(struct interrupts *interrupts, unsigned int gsi, int eventfd)
{
	attach(interrupts, gsi, eventfd);
}

static const struct interrupt_operations nowhere = {.attach = attach, .detach = detach};

static void set_up(struct board *board, struct interrupts *interrupts)
{
	struct machine *machine = &board->machine;

	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->vcpus_changed, NULL);
	machine->interrupts = interrupts;
	require(event_loop_create(&machine->loop, &machine->lock) == 0);
	require(power_create(&machine->power, machine, NULL) == 0);
	require(i8042_create(&board->i8042, machine, NULL) == 0);
	require(ioapic_create(&machine->ioapic, machine, NULL) == 0);
	require(terminal_create(&board->terminal, "serial", machine->loop) == 0);
	require(serial_create(&board->serial, machine, board->terminal, NULL) == 0);
}

static void tear_down(struct board *board)
{
	struct machine *machine = &board->machine;

	serial_destroy(board->serial);
	terminal_destroy(board->terminal);
	ioapic_destroy(machine->ioapic);
	i8042_destroy(board->i8042);
	power_destroy(machine->power);
	event_loop_destroy(machine->loop);
	require(machine->ports.n_regions == 0 && machine->mmio.n_regions == 0);
	pthread_cond_destroy(&machine->vcpus_changed);
	pthread_mutex_destroy(&machine->lock);
}

/* --- the accesses ----------------------------------------------------------------------------- */

/* The outcome that a write to a port asks for, or -1. */
static int asked_for(uint64_t port, const uint8_t *data, unsigned int bytes)
{
	if (bytes != 1)
		return -1;
	if (port == POWER_PORT_SLEEP_CONTROL &&
		(data[0] & 0x3c) == (0x20 | POWER_SLEEP_TYPE_S5 << 2))
		return MACHINE_SHUTDOWN;
	if (port == POWER_PORT_RESET && data[0] == POWER_RESET_VALUE)
		return MACHINE_RESET;
	return port == LAYOUT_PORT_I8042 + 4 && data[0] == 0xfe ? MACHINE_RESET : -1;
}

static void write_port(struct board *board, uint64_t port, const uint8_t *data, unsigned int bytes)
{
	struct machine *machine = &board->machine;
	bool ended = machine->state == MACHINE_ENDING;
	enum machine_outcome outcome = machine->outcome;
	int asked = asked_for(port, data, bytes);

	bus_write(&machine->ports, port, data, bytes);
	require((machine->state == MACHINE_ENDING) == (ended || asked >= 0));
	if (ended)
		require(machine->outcome == outcome);
	else if (asked >= 0)
		require(machine->outcome == (enum machine_outcome)asked);
}

static void check_lines(const struct board *board)
{
	for (unsigned int line = 0; line < LAYOUT_LINES; line++) {
		uint64_t entry = board->machine.ioapic->lines[line];
		const struct message *message = &board->messages[line];

		require((entry & LINE_READ_ONLY) == 0);
		if (entry & LINE_MASKED)
			require(message->address == 0);
		else
			require((message->data & 0xff) == (entry & 0xff) &&
				message->address >> 20 == 0xfee &&
				(message->address >> 12 & 0xff) == entry >> 56);
	}
}

static size_t access_board(struct board *board, const uint8_t *step, size_t left)
{
	unsigned int bytes = 1U << (step[0] >> ACCESS_BYTES_SHIFT & 3);
	uint64_t address = (uint64_t)step[1] | (uint64_t)step[2] << 8;
	uint8_t data[8] = {0};
	bool writes = step[0] & ACCESS_WRITE;

	if (writes && left < 3 + bytes)
		return left;
	if (writes)
		memcpy(data, step + 3, bytes);
	if (step[0] & ACCESS_MEMORY && writes)
		bus_write(&board->machine.mmio, LAYOUT_IOAPIC_BASE + address % 64, data, bytes);
	else if (step[0] & ACCESS_MEMORY)
		bus_read(&board->machine.mmio, LAYOUT_IOAPIC_BASE + address % 64, data, bytes);
	else if (writes)
		write_port(board, address, data, bytes);
	else
		bus_read(&board->machine.ports, address, data, bytes);
	check_lines(board);
	return writes ? 3 + bytes : 3;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct interrupts interrupts = {&nowhere};
	struct board board = {0};

	current = &board;
	set_up(&board, &interrupts);
	for (unsigned int i = 0; i < STEPS_MAX && size >= 3; i++) {
		size_t taken = access_board(&board, data, size);

		data += taken;
		size -= taken;
	}
	tear_down(&board);
	return 0;
}
