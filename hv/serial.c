/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A, register by register (National Semiconductor PC16550D, June 1995, 8.0).  Called by
 * vCPU threads for accesses to its I/O ports, and by the terminal on the event loop's thread when
 * something was typed; both hold the machine's lock.
 *
 * The cable is as fast as anybody likes: what is transmitted is gone at once, so that the
 * transmitter is always empty, and the divisor only remembers.  What is typed waits in the terminal
 * until the receiver has room, so that there are no overruns but those that a guest makes itself in
 * loop-back.
 *
 * The line is edge-triggered.  As on a PC it goes from the port through the modem control's OUT2,
 * and it is raised whenever a cause comes that the guest has enabled and that it had not been told
 * of.
 */
#include "hv/serial.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/layout.h"

enum { FIFO_BYTES = 16 };

/* Registers by offset.  0 and 1 are the divisor while LCR_DIVISOR is set. */
enum serial_register { DATA, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCRATCH };

enum interrupt_enable {
	IER_RECEIVED = 1,
	IER_TRANSMITTED = 2,
	IER_LINE = 4,
	IER_MODEM = 8,
	IER_BITS = 15,
};

/* Causes in the order of their priority are LINE, RECEIVED or TIMEOUT, TRANSMITTED, MODEM. */
enum interrupt_identification {
	IIR_MODEM = 0,
	IIR_NONE = 1,
	IIR_TRANSMITTED = 2,
	IIR_RECEIVED = 4,
	IIR_LINE = 6,
	IIR_TIMEOUT = 12,
	IIR_FIFOS = 0xc0,
};

enum fifo_control { FCR_ENABLE = 1, FCR_CLEAR_RECEIVER = 2, FCR_TRIGGER = 0xc0 };
enum line_control { LCR_DIVISOR = 0x80 };
enum modem_control {
	MCR_DTR = 1,
	MCR_RTS = 2,
	MCR_OUT1 = 4,
	MCR_OUT2 = 8,
	MCR_LOOP = 16,
	MCR_BITS = 31,
};
enum line_status { LSR_DATA = 1, LSR_OVERRUN = 2, LSR_EMPTY = 0x60 };
enum modem_status { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RING = 0x40, MSR_CARRIER = 0x80 };

struct serial {
	struct machine *machine;
	struct terminal *terminal;
	int interrupt_fd;
	bool attached;
	uint8_t divisor[2];
	uint8_t ier, fcr, lcr, mcr, scratch;
	bool overrun;	       /* Until LSR is read. */
	bool transmitted;      /* The transmitter has become empty, and the guest was not told. */
	uint8_t modem_changed; /* Delta bits, until MSR is read. */
	uint8_t raised;	       /* The causes that the line was raised for, by IER's bits. */
	uint8_t fifo[FIFO_BYTES];
	unsigned int fifo_first, fifo_used;
};

/* --- Causes of interrupts --- */

static unsigned int trigger_level(const struct serial *serial)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return serial->fcr & FCR_ENABLE ? levels[serial->fcr >> 6] : 1;
}

/* All that there is to tell, enabled by the guest or not, by the bits of IER. */
static uint8_t causes(const struct serial *serial)
{
	return (uint8_t)((serial->overrun ? IER_LINE : 0) | (serial->fifo_used ? IER_RECEIVED : 0) |
			 (serial->transmitted ? IER_TRANSMITTED : 0) |
			 (serial->modem_changed ? IER_MODEM : 0));
}

/* Raises the line if an enabled cause has come.  Nobody sees an edge while OUT2 is off or loop-back
 * on. */
static void update_line(struct serial *serial)
{
	uint8_t now = causes(serial) & serial->ier;
	uint64_t one = 1;

	if ((serial->mcr & (MCR_OUT2 | MCR_LOOP)) != MCR_OUT2)
		now = 0;
	/* A counter cannot overflow from ones: KVM takes them as they come. */
	if (now & ~serial->raised && write(serial->interrupt_fd, &one, sizeof(one)) < 0)
		return;
	serial->raised = now;
}

static uint8_t identify_interrupt(const struct serial *serial)
{
	uint8_t now = causes(serial) & serial->ier;

	if (now & IER_LINE)
		return IIR_LINE;
	if (now & IER_RECEIVED)
		return serial->fifo_used >= trigger_level(serial) ? IIR_RECEIVED : IIR_TIMEOUT;
	if (now & IER_TRANSMITTED)
		return IIR_TRANSMITTED;
	return now & IER_MODEM ? IIR_MODEM : IIR_NONE;
}

/* --- Receiver --- */

static unsigned int fifo_size(const struct serial *serial)
{
	return serial->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

static void fifo_put(struct serial *serial, uint8_t byte)
{
	if (serial->fifo_used >= fifo_size(serial)) {
		serial->overrun = true;
		return;
	}
	serial->fifo[(serial->fifo_first + serial->fifo_used++) % FIFO_BYTES] = byte;
}

static void fifo_clear(struct serial *serial)
{
	serial->fifo_first = serial->fifo_used = 0;
}

/* Takes what was typed, as far as there is room.  In loop-back the receiver is off the cable. */
static void receive(struct serial *serial)
{
	uint8_t bytes[FIFO_BYTES];
	unsigned int room = fifo_size(serial) - serial->fifo_used;
	size_t n;

	if (serial->mcr & MCR_LOOP || serial->fifo_used >= fifo_size(serial))
		return;
	n = terminal_read(serial->terminal, bytes, room);
	for (size_t i = 0; i < n; i++)
		fifo_put(serial, bytes[i]);
}

static void typed(void *owner)
{
	struct serial *serial = owner;

	receive(serial);
	update_line(serial);
}

static uint8_t read_data(struct serial *serial)
{
	uint8_t byte;

	if (!serial->fifo_used)
		return 0;
	byte = serial->fifo[serial->fifo_first];
	serial->fifo_first = (serial->fifo_first + 1) % FIFO_BYTES;
	serial->fifo_used--;
	if (!serial->fifo_used) {
		/* What comes next is told anew. */
		serial->raised &= (uint8_t)~IER_RECEIVED;
		receive(serial);
	}
	return byte;
}

/* --- Transmitter --- */

static void write_data(struct serial *serial, uint8_t byte)
{
	if (serial->mcr & MCR_LOOP)
		fifo_put(serial, byte);
	else
		terminal_write(serial->terminal, &byte, 1);
	serial->transmitted = true;
	serial->raised &= (uint8_t)~IER_TRANSMITTED;
}

/* --- Modem --- */

/* Nobody hangs up: carrier, ready and clear to send.  In loop-back the outputs are the inputs. */
static uint8_t modem_inputs(const struct serial *serial)
{
	if (!(serial->mcr & MCR_LOOP))
		return MSR_CARRIER | MSR_DSR | MSR_CTS;
	return (uint8_t)((serial->mcr & MCR_RTS ? MSR_CTS : 0) |
			 (serial->mcr & MCR_DTR ? MSR_DSR : 0) |
			 (serial->mcr & MCR_OUT1 ? MSR_RING : 0) |
			 (serial->mcr & MCR_OUT2 ? MSR_CARRIER : 0));
}

static void write_modem_control(struct serial *serial, uint8_t value)
{
	uint8_t before = modem_inputs(serial), after, changed;

	serial->mcr = value & MCR_BITS;
	after = modem_inputs(serial);
	changed = before ^ after;
	/* Ring tells only of its end. */
	if (after & MSR_RING)
		changed &= (uint8_t)~MSR_RING;
	serial->modem_changed |= changed >> 4;
	receive(serial);
}

static uint8_t read_modem_status(struct serial *serial)
{
	uint8_t value = modem_inputs(serial) | serial->modem_changed;

	serial->modem_changed = 0;
	return value;
}

/* --- Registers --- */

static void write_fifo_control(struct serial *serial, uint8_t value)
{
	if ((value ^ serial->fcr) & FCR_ENABLE || value & FCR_CLEAR_RECEIVER)
		fifo_clear(serial);
	/* The other bits can be set only together with the first. */
	serial->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | FCR_TRIGGER) : 0;
	receive(serial);
}

/* The transmitter is empty: whoever begins to ask is told at once. */
static void write_interrupt_enable(struct serial *serial, uint8_t value)
{
	if (value & ~serial->ier & IER_TRANSMITTED) {
		serial->transmitted = true;
		serial->raised &= (uint8_t)~IER_TRANSMITTED;
	}
	serial->ier = value & IER_BITS;
}

static void write_register(struct serial *serial, uint64_t offset, uint8_t value)
{
	bool divisor = serial->lcr & LCR_DIVISOR;

	switch ((enum serial_register)offset) {
	case DATA:
		if (divisor)
			serial->divisor[0] = value;
		else
			write_data(serial, value);
		return;
	case IER:
		if (divisor)
			serial->divisor[1] = value;
		else
			write_interrupt_enable(serial, value);
		return;
	case IIR_FCR: write_fifo_control(serial, value); return;
	case LCR: serial->lcr = value; return;
	case MCR: write_modem_control(serial, value); return;
	case SCRATCH: serial->scratch = value; return;
	case LSR:
	case MSR: return; /* For tests in the factory only. */
	}
}

/* Reading it tells of the transmitter once. */
static uint8_t read_interrupt_identification(struct serial *serial)
{
	uint8_t cause = identify_interrupt(serial);

	if (cause == IIR_TRANSMITTED)
		serial->transmitted = false;
	return cause | (serial->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_line_status(struct serial *serial)
{
	uint8_t value = LSR_EMPTY | (serial->fifo_used ? LSR_DATA : 0) |
			(serial->overrun ? LSR_OVERRUN : 0);

	serial->overrun = false;
	return value;
}

static uint8_t read_register(struct serial *serial, uint64_t offset)
{
	bool divisor = serial->lcr & LCR_DIVISOR;

	switch ((enum serial_register)offset) {
	case DATA: return divisor ? serial->divisor[0] : read_data(serial);
	case IER: return divisor ? serial->divisor[1] : serial->ier;
	case IIR_FCR: return read_interrupt_identification(serial);
	case LCR: return serial->lcr;
	case MCR: return serial->mcr;
	case LSR: return read_line_status(serial);
	case MSR: return read_modem_status(serial);
	case SCRATCH: return serial->scratch;
	}
	return 0xff;
}

/* An access of several bytes is one of each register that it touches, lowest first. */
static void serial_read(void *device, uint64_t offset, uint8_t *data, unsigned int bytes)
{
	struct serial *serial = device;

	for (unsigned int i = 0; i < bytes; i++)
		data[i] = read_register(serial, offset + i);
	update_line(serial);
}

static void serial_write(void *device, uint64_t offset, const uint8_t *data, unsigned int bytes)
{
	struct serial *serial = device;

	for (unsigned int i = 0; i < bytes; i++) {
		write_register(serial, offset + i, data[i]);
		update_line(serial);
	}
}

static const struct bus_operations serial_operations = {serial_read, serial_write};

/* --- Life --- */

static int attach_interrupt(struct serial *serial)
{
	struct interrupts *interrupts = serial->machine->interrupts;
	int status;

	serial->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (serial->interrupt_fd < 0)
		return -errno;
	status = interrupts->operations->attach(interrupts, LAYOUT_LINE_COM1, serial->interrupt_fd);
	serial->attached = status == 0;
	return status;
}

int serial_create(struct serial **created, struct machine *machine, struct terminal *terminal,
	struct hv_error *error)
{
	struct serial *serial = calloc(1, sizeof(*serial));
	int status;

	*created = NULL;
	if (!serial)
		return hv_fail(error, ENOMEM, "there is no memory for the serial port");
	serial->machine = machine;
	serial->terminal = terminal;
	status = attach_interrupt(serial);
	if (status == 0)
		status = bus_add(&machine->ports, LAYOUT_PORT_COM1, LAYOUT_PORT_COM1_BYTES,
			&serial_operations, serial);
	if (status < 0) {
		serial_destroy(serial);
		return hv_fail(
			error, -status, "the serial port cannot be made: %s", strerror(-status));
	}
	terminal_set_owner(terminal, typed, serial);
	/* Some of it may be there already. */
	typed(serial);
	*created = serial;
	return 0;
}

void serial_destroy(struct serial *serial)
{
	struct interrupts *interrupts;

	if (!serial)
		return;
	interrupts = serial->machine->interrupts;
	if (serial->attached) {
		interrupts->operations->detach(interrupts, LAYOUT_LINE_COM1, serial->interrupt_fd);
		bus_remove(&serial->machine->ports, LAYOUT_PORT_COM1, serial);
		terminal_set_owner(serial->terminal, NULL, NULL);
	}
	if (serial->interrupt_fd >= 0)
		close(serial->interrupt_fd);
	free(serial);
}
