/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine around the payload: interrupts, time, power, and the report of faults.
 *
 * Interrupts only count (entry.S); who waits looks at the counts.
 */
#include "guest.h"

#include <stdarg.h>

#define LOCAL_APIC_SPURIOUS UINT64_C(0xfee000f0)
#define LOCAL_APIC_LINT0    UINT64_C(0xfee00350)
#define LOCAL_APIC_TIMER    UINT64_C(0xfee00320)
#define LOCAL_APIC_COUNT    UINT64_C(0xfee00380)
#define LOCAL_APIC_DIVIDE   UINT64_C(0xfee003e0)
#define IO_APIC		    UINT64_C(0xfec00000)
#define IO_APIC_DATA	    UINT64_C(0xfec00010)

enum {
	LOCAL_APIC_ENABLED = 0x100 | 0xff,
	LOCAL_APIC_MASKED = 0x10000,
	DIVIDE_BY_1 = 0xb,
	COUNTS_PER_MS = 1000000, /* KVM's: one each nanosecond. */
	IO_APIC_REDIRECTION = 0x10,
	LINE_SERIAL = 4,
	LINE_POWER = 9,
	VECTOR_TIMER = FIRST_INTERRUPT + INTERRUPTS - 3,
	VECTOR_SERIAL = FIRST_INTERRUPT + INTERRUPTS - 2,
	VECTOR_POWER = FIRST_INTERRUPT + INTERRUPTS - 1,
	SERIAL_INTERRUPT_ENABLE = 0x3f9,
	SERIAL_MODEM_CONTROL = 0x3fc,
};

/* ACPI's registers, which FADT names; no need to read it in a guest that is made for one machine.
 */
enum { PORT_SLEEP = 0x600, PORT_RESET = 0x602, PORT_EVENTS = 0x603, SLEEP_S5 = 5 << 2 | 1 << 5 };

enum { GATE_INTERRUPT = 0x8e, FALLBACK_CYCLES_PER_MS = 2000000 };

void payload_fault(void);

static uint64_t cycles_in_ms;

static void set_gate(unsigned int vector, const uint8_t *entry)
{
	uint64_t address = (uint64_t)entry;

	idt[2 * vector] = (address & 0xffff) | (uint64_t)SELECTOR_CODE0 << 16 |
			  (uint64_t)GATE_INTERRUPT << 40 | (address & 0xffff0000) << 32;
	idt[2 * vector + 1] = address >> 32;
}

static void set_line(unsigned int line, unsigned int vector)
{
	set32(IO_APIC, IO_APIC_REDIRECTION + 2 * line + 1);
	set32(IO_APIC_DATA, 0);
	set32(IO_APIC, IO_APIC_REDIRECTION + 2 * line);
	set32(IO_APIC_DATA, vector);
}

static void cpuid(uint32_t leaf, uint32_t *a, uint32_t *b, uint32_t *c)
{
	uint32_t d;

	*c = 0;
	__asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "+c"(*c), "=d"(d) : "a"(leaf));
}

/* From KVM's leaf if it is there, or the processor's. */
static uint64_t find_cycles_per_ms(void)
{
	uint32_t a, b, c;

	cpuid(0x40000000, &a, &b, &c);
	if (a >= 0x40000010 && a < 0x40000100) {
		cpuid(0x40000010, &a, &b, &c);
		if (a > 0)
			return a;
	}
	cpuid(0, &a, &b, &c);
	if (a >= 0x15) {
		cpuid(0x15, &a, &b, &c);
		if (a > 0 && b > 0 && c > 0)
			return (uint64_t)c * b / a / 1000;
	}
	return FALLBACK_CYCLES_PER_MS;
}

void machine_start(void)
{
	for (unsigned int i = 0; i < FAULTS; i++)
		set_gate(i, fault_entries + (size_t)16 * i);
	for (unsigned int i = 0; i < INTERRUPTS; i++)
		set_gate(FIRST_INTERRUPT + i, interrupt_entries + (size_t)16 * i);
	set32(LOCAL_APIC_LINT0, LOCAL_APIC_MASKED);
	set32(LOCAL_APIC_SPURIOUS, LOCAL_APIC_ENABLED);
	set32(LOCAL_APIC_DIVIDE, DIVIDE_BY_1);
	set32(LOCAL_APIC_TIMER, VECTOR_TIMER);
	set_line(LINE_SERIAL, VECTOR_SERIAL);
	set_line(LINE_POWER, VECTOR_POWER);
	out8(SERIAL_MODEM_CONTROL, 8);
	out8(SERIAL_INTERRUPT_ENABLE, 1);
	cycles_in_ms = option_number("khz", 0);
	if (cycles_in_ms == 0)
		cycles_in_ms = find_cycles_per_ms();
}

uint64_t cycles_per_ms(void)
{
	return cycles_in_ms;
}

void wait_ms(uint64_t ms)
{
	uint64_t end = clock_cycles() + ms * cycles_in_ms;

	while (clock_cycles() < end)
		__asm__ volatile("pause");
}

void idle(uint64_t seen)
{
	__asm__ volatile("hlt" : : "a"(CALL_IDLE), "D"(seen) : "memory");
}

void set_timer(uint32_t ms)
{
	set32(LOCAL_APIC_COUNT, ms * COUNTS_PER_MS);
}

void ring0(uint64_t call)
{
	__asm__ volatile("hlt" : : "a"(call) : "memory");
}

bool button_pressed(void)
{
	static uint64_t seen;
	uint64_t now = interrupt_counts[VECTOR_POWER];

	if (now == seen)
		return false;
	seen = now;
	return in8(PORT_EVENTS) & 1;
}

void power_off(void)
{
	print("off");
	for (;;)
		out8(PORT_SLEEP, SLEEP_S5);
}

void reset(void)
{
	print("reset");
	for (;;)
		out8(PORT_RESET, 1);
}

/* The test sees the line; the guest triple-faults, so that nobody takes this for a shutdown. */
void fail(const char *format, ...)
{
	print("failed: %s", format);
	for (;;)
		ring0(CALL_TRIPLE_FAULT);
}

void payload_fault(void)
{
	print("fault: vector %u error %x rip %x cs %x cr2 %x", fault_report[0], fault_report[1],
		fault_report[2], fault_report[3], fault_report[4]);
	fail("a fault");
}
