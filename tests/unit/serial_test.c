/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port, register by register, and as Linux's 8250 driver looks for one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/layout.h"
#include "hv/serial.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH };
enum { FCR = IIR };

struct fixture {
	struct machine machine;
	struct interrupts interrupts;
	struct terminal *terminal;
	struct serial *serial;
	int line;   /* What was attached to the I/O APIC, or -1. */
	int person; /* Our end of the cable. */
};

static int attach(struct interrupts *interrupts, unsigned int gsi, int eventfd)
{
	struct fixture *fixture =
		(struct fixture *)((char *)interrupts - offsetof(struct fixture, interrupts));

	assert_int_equal(gsi, LAYOUT_LINE_COM1);
	fixture->line = eventfd;
	return 0;
}

static void detach(struct interrupts *interrupts, unsigned int gsi, int eventfd)
{
	struct fixture *fixture =
		(struct fixture *)((char *)interrupts - offsetof(struct fixture, interrupts));

	(void)gsi;
	assert_int_equal(fixture->line, eventfd);
	fixture->line = -1;
}

static const struct interrupt_operations operations = {.attach = attach, .detach = detach};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	int ends[2];

	assert_non_null(fixture);
	fixture->interrupts.operations = &operations;
	fixture->machine.interrupts = &fixture->interrupts;
	pthread_mutex_init(&fixture->machine.lock, NULL);
	assert_int_equal(event_loop_create(&fixture->machine.loop, &fixture->machine.lock), 0);
	assert_int_equal(
		terminal_create(&fixture->terminal, "serial port", fixture->machine.loop), 0);
	assert_int_equal(
		serial_create(&fixture->serial, &fixture->machine, fixture->terminal, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	assert_int_equal(terminal_attach(fixture->terminal, ends[0], NULL, 0), 0);
	fixture->person = ends[1];
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	serial_destroy(fixture->serial);
	assert_int_equal(fixture->line, -1);
	assert_int_equal(fixture->machine.ports.n_regions, 0);
	terminal_destroy(fixture->terminal);
	event_loop_destroy(fixture->machine.loop);
	close(fixture->person);
	free(fixture);
	return 0;
}

static uint8_t get(struct fixture *fixture, unsigned int offset)
{
	uint8_t value = 0;

	assert_true(bus_read(&fixture->machine.ports, LAYOUT_PORT_COM1 + offset, &value, 1));
	return value;
}

static void put(struct fixture *fixture, unsigned int offset, uint8_t value)
{
	assert_true(bus_write(&fixture->machine.ports, LAYOUT_PORT_COM1 + offset, &value, 1));
}

/* How often the line was raised since it was last asked. */
static uint64_t edges(struct fixture *fixture)
{
	uint64_t count = 0;

	return read(fixture->line, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static void type(struct fixture *fixture, const char *text)
{
	/* The first bytes of another client: the same way into the port. */
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	assert_int_equal(terminal_attach(fixture->terminal, ends[0], text, strlen(text)), 0);
	close(ends[1]);
}

static void test_registers_after_reset(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(get(fixture, IER), 0);
	assert_int_equal(get(fixture, IIR), 0x01);
	assert_int_equal(get(fixture, LCR), 0);
	assert_int_equal(get(fixture, MCR), 0);
	assert_int_equal(get(fixture, LSR), 0x60);
	assert_int_equal(get(fixture, MSR), 0xb0);
	assert_int_equal(get(fixture, DATA), 0);
	assert_int_equal(edges(fixture), 0);
}

static void test_divisor_and_scratch_remember(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, SCRATCH, 0x5a);
	put(fixture, LCR, 0x83);
	put(fixture, DATA, 0x0c);
	put(fixture, IER, 0x01);
	assert_int_equal(get(fixture, DATA), 0x0c);
	assert_int_equal(get(fixture, IER), 0x01);
	put(fixture, LCR, 0x03);
	assert_int_equal(get(fixture, IER), 0);
	assert_int_equal(get(fixture, SCRATCH), 0x5a);
	put(fixture, LSR, 0xff);
	put(fixture, MSR, 0xff);
	assert_int_equal(get(fixture, LSR), 0x60);
	assert_int_equal(get(fixture, MSR), 0xb0);
}

/* What autoconfig() of Linux's 8250 driver asks, and the answers that make it a 16550A. */
static void test_linux_finds_a_16550a(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, IER, 0x00);
	assert_int_equal(get(fixture, IER) & 0x0f, 0);
	put(fixture, IER, 0x0f);
	assert_int_equal(get(fixture, IER) & 0x0f, 0x0f);
	put(fixture, IER, 0);
	put(fixture, MCR, 0x10 | 0x0a);
	assert_int_equal(get(fixture, MSR) & 0xf0, 0x90);
	put(fixture, MCR, 0);
	put(fixture, LCR, 0xbf);
	put(fixture, FCR, 0);
	put(fixture, LCR, 0);
	put(fixture, FCR, 0x01);
	assert_int_equal(get(fixture, IIR) >> 6, 3);
	/* Not a 16650 (its EFR reads as 0), not a 16750 (its bit 5 stays), not an XScale (its IER
	 * has bit 6). */
	put(fixture, LCR, 0xbf);
	assert_int_not_equal(get(fixture, IIR), 0);
	put(fixture, LCR, 0x80);
	put(fixture, FCR, 0x21);
	assert_int_equal(get(fixture, IIR) >> 5, 6);
	put(fixture, LCR, 0);
	put(fixture, IER, 0x40);
	assert_int_equal(get(fixture, IER), 0);
}

/* Its test for ports that lose the transmitter's interrupt: asked twice, told twice. */
static void test_transmitter_tells_each_time_it_is_asked(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, MCR, 0x0b);
	for (int i = 0; i < 2; i++) {
		put(fixture, IER, 0x02);
		assert_int_equal(edges(fixture), 1);
		assert_int_equal(get(fixture, IIR), 0x02);
		assert_int_equal(get(fixture, IIR), 0x01);
		put(fixture, IER, 0);
	}
	put(fixture, IER, 0x02);
	assert_int_equal(edges(fixture), 1);
	for (const char *c = "hello"; *c; c++) {
		put(fixture, DATA, (uint8_t)*c);
		assert_int_equal(edges(fixture), 1);
	}
}

static void test_output_arrives_unchanged(void **state)
{
	static const char text[] = "\x1b[31m\xff\x00login:";
	struct fixture *fixture = *state;
	char kept[32];

	for (size_t i = 0; i < sizeof(text); i++)
		put(fixture, DATA, (uint8_t)text[i]);
	assert_int_equal(terminal_tail(fixture->terminal, kept, sizeof(kept)), sizeof(text));
	assert_memory_equal(kept, text, sizeof(text));
}

static void test_no_edge_without_out2_or_enable(void **state)
{
	struct fixture *fixture = *state;

	type(fixture, "a");
	put(fixture, IER, 0x01);
	assert_int_equal(edges(fixture), 0);
	assert_int_equal(get(fixture, LSR), 0x61);
	put(fixture, MCR, 0x08);
	assert_int_equal(edges(fixture), 1);
}

static void test_received_bytes_interrupt_once_until_taken(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, FCR, 0x01);
	put(fixture, MCR, 0x08);
	put(fixture, IER, 0x01);
	type(fixture, "ab");
	assert_int_equal(edges(fixture), 1);
	assert_int_equal(get(fixture, IIR), 0xc4);
	assert_int_equal(get(fixture, DATA), 'a');
	type(fixture, "c");
	assert_int_equal(get(fixture, DATA), 'b');
	assert_int_equal(get(fixture, DATA), 'c');
	assert_int_equal(edges(fixture), 0);
	assert_int_equal(get(fixture, IIR), 0xc1);
	type(fixture, "d");
	assert_int_equal(edges(fixture), 1);
}

static void test_below_the_trigger_it_is_a_time_out(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, FCR, 0xc1);
	put(fixture, IER, 0x01);
	type(fixture, "0123456789abc");
	assert_int_equal(get(fixture, IIR), 0xcc);
	type(fixture, "d");
	assert_int_equal(get(fixture, IIR), 0xc4);
}

/* More than the FIFO holds waits in the terminal and is not lost. */
static void test_long_input_arrives_whole(void **state)
{
	struct fixture *fixture = *state;
	char text[1001], received[1001];

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = (char)('a' + i % 26);
	text[1000] = received[1000] = 0;
	put(fixture, FCR, 0x01);
	type(fixture, text);
	for (size_t i = 0; i < 1000; i++) {
		assert_int_equal(get(fixture, LSR), 0x61);
		received[i] = (char)get(fixture, DATA);
	}
	assert_int_equal(get(fixture, LSR), 0x60);
	assert_string_equal(received, text);
}

static void test_loop_back_is_a_cable_to_itself(void **state)
{
	struct fixture *fixture = *state;
	char kept[4];

	put(fixture, FCR, 0x01);
	put(fixture, MCR, 0x18);
	put(fixture, IER, 0x01);
	put(fixture, DATA, 'x');
	assert_int_equal(get(fixture, IIR), 0xc4);
	assert_int_equal(get(fixture, DATA), 'x');
	assert_int_equal(edges(fixture), 0);
	assert_int_equal(terminal_tail(fixture->terminal, kept, sizeof(kept)), 0);
	type(fixture, "y");
	assert_int_equal(get(fixture, LSR), 0x60);
	put(fixture, MCR, 0x08);
	assert_int_equal(get(fixture, DATA), 'y');
}

static void test_overrun_is_told_once_and_first(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, FCR, 0x01);
	put(fixture, MCR, 0x10);
	put(fixture, IER, 0x05);
	for (int i = 0; i < 17; i++)
		put(fixture, DATA, (uint8_t)i);
	assert_int_equal(get(fixture, IIR), 0xc6);
	assert_int_equal(get(fixture, LSR), 0x63);
	assert_int_equal(get(fixture, LSR), 0x61);
	for (int i = 0; i < 16; i++)
		assert_int_equal(get(fixture, DATA), i);
	assert_int_equal(get(fixture, LSR), 0x60);
}

static void test_modem_changes_are_told_in_loop_back(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, IER, 0x08);
	put(fixture, MCR, 0x10);
	assert_int_equal(get(fixture, IIR), 0x00);
	assert_int_equal(get(fixture, MSR), 0x0b);
	assert_int_equal(get(fixture, IIR), 0x01);
	put(fixture, MCR, 0x14);
	assert_int_equal(get(fixture, MSR), 0x40);
	put(fixture, MCR, 0x10);
	assert_int_equal(get(fixture, MSR), 0x04);
	put(fixture, MCR, 0x13);
	assert_int_equal(get(fixture, MSR), 0x33);
}

static void test_clearing_the_receiver(void **state)
{
	struct fixture *fixture = *state;

	put(fixture, FCR, 0x01);
	type(fixture, "abc");
	put(fixture, FCR, 0x03);
	assert_int_equal(get(fixture, LSR), 0x60);
	type(fixture, "d");
	assert_int_equal(get(fixture, DATA), 'd');
}

/* A guest may read a port with four bytes: four registers. */
static void test_wide_accesses_touch_each_register(void **state)
{
	struct fixture *fixture = *state;
	uint8_t value[4] = {0};

	put(fixture, LCR, 0x03);
	put(fixture, MCR, 0x0b);
	assert_true(bus_read(&fixture->machine.ports, LAYOUT_PORT_COM1 + LCR, value, 4));
	assert_int_equal(value[0], 0x03);
	assert_int_equal(value[1], 0x0b);
	assert_int_equal(value[2], 0x60);
	assert_int_equal(value[3], 0xb0);
}

#define story(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		story(test_registers_after_reset),
		story(test_divisor_and_scratch_remember),
		story(test_linux_finds_a_16550a),
		story(test_transmitter_tells_each_time_it_is_asked),
		story(test_output_arrives_unchanged),
		story(test_no_edge_without_out2_or_enable),
		story(test_received_bytes_interrupt_once_until_taken),
		story(test_below_the_trigger_it_is_a_time_out),
		story(test_long_input_arrives_whole),
		story(test_loop_back_is_a_cable_to_itself),
		story(test_overrun_is_told_once_and_first),
		story(test_modem_changes_are_told_in_loop_back),
		story(test_clearing_the_receiver),
		story(test_wide_accesses_touch_each_register),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
