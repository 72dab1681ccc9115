/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port against a guest that reads and writes its registers in any order and width, and
 * persons who type and hang up meanwhile.
 *
 * What is typed arrives in order and whole, as long as the guest clears nothing and stays out of
 * loop-back; what the status registers say is what reading then gives.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/layout.h"
#include "hv/serial.h"
#include "hv/terminal_internal.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR };
enum { LOOP = 0x10, DIVISOR = 0x80 };

struct bench {
	struct machine machine;
	struct interrupts interrupts;
	struct terminal *terminal;
	struct serial *serial;
	int line;
	/* What was typed and has not been read yet begins with this byte; each is one more. */
	uint8_t next_typed, next_read;
	bool in_order;
};

static int attach(struct interrupts *interrupts, unsigned int gsi, int eventfd)
{
	struct bench *bench =
		(struct bench *)((char *)interrupts - offsetof(struct bench, interrupts));

	bench->line = eventfd;
	return gsi == LAYOUT_LINE_COM1 ? 0 : -1;
}

static void detach(struct interrupts *interrupts, unsigned int gsi, int eventfd)
{
	(void)interrupts, (void)gsi, (void)eventfd;
}

static const struct interrupt_operations operations = {.attach = attach, .detach = detach};

static void create(struct bench *bench)
{
	*bench = (struct bench){.interrupts.operations = &operations, .in_order = true};
	bench->machine.interrupts = &bench->interrupts;
	pthread_mutex_init(&bench->machine.lock, NULL);
	if (event_loop_create(&bench->machine.loop, &bench->machine.lock) ||
		terminal_create(&bench->terminal, "serial port", bench->machine.loop) ||
		serial_create(&bench->serial, &bench->machine, bench->terminal, NULL))
		abort();
}

static void destroy(struct bench *bench)
{
	serial_destroy(bench->serial);
	terminal_destroy(bench->terminal);
	event_loop_destroy(bench->machine.loop);
}

static uint8_t get(struct bench *bench, unsigned int offset)
{
	uint8_t value = 0;

	bus_read(&bench->machine.ports, LAYOUT_PORT_COM1 + offset, &value, 1);
	return value;
}

static void put(struct bench *bench, unsigned int offset, uint8_t value)
{
	bus_write(&bench->machine.ports, LAYOUT_PORT_COM1 + offset, &value, 1);
}

static void type(struct bench *bench, unsigned int n)
{
	for (; n; n--) {
		if (terminal_type(bench->terminal, &bench->next_typed, 1) != 1)
			return;
		bench->next_typed++;
	}
}

static void take_data(struct bench *bench)
{
	bool has = get(bench, LSR) & 1;
	uint8_t byte = get(bench, DATA);

	if (get(bench, LCR) & DIVISOR)
		return;
	if (!has && byte != 0)
		abort();
	if (has && bench->in_order && byte != bench->next_read++)
		abort();
}

static void write_any(struct bench *bench, unsigned int offset, uint8_t value)
{
	/* What is cleared, or looped, is not what was typed. */
	if (offset == IIR || (offset == MCR && value & LOOP))
		bench->in_order = false;
	put(bench, offset, value);
}

static void access_wide(struct bench *bench, unsigned int offset, uint8_t value)
{
	uint8_t data[8];
	unsigned int bytes = 1U << (value & 3);

	bench->in_order = false;
	memset(data, value, sizeof(data));
	if (value & 4)
		bus_write(&bench->machine.ports, LAYOUT_PORT_COM1 + offset, data, bytes);
	else
		bus_read(&bench->machine.ports, LAYOUT_PORT_COM1 + offset, data, bytes);
}

/* Whatever was done before. */
static void check(struct bench *bench)
{
	uint8_t mcr = get(bench, MCR);

	if ((get(bench, LSR) & 0x60) != 0x60 || mcr & 0xe0)
		abort();
	if (!(mcr & LOOP) && (get(bench, MSR) & 0xf0) != 0xb0)
		abort();
	if (get(bench, LCR) & DIVISOR)
		return;
	if (get(bench, IER) & 0xf0)
		abort();
	if (!get(bench, IER) && !(get(bench, IIR) & 1))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct bench bench;

	create(&bench);
	for (size_t i = 0; i + 1 < bytes; i += 2) {
		unsigned int step = data[i] >> 4, offset = data[i] & 7;

		switch (step % 8) {
		case 0:
		case 1:
		case 2: write_any(&bench, offset, data[i + 1]); break;
		case 3: take_data(&bench); break;
		case 4: type(&bench, data[i + 1]); break;
		case 5: access_wide(&bench, offset, data[i + 1]); break;
		case 6: get(&bench, offset == DATA ? LSR : offset); break;
		default: check(&bench);
		}
	}
	destroy(&bench);
	return 0;
}
