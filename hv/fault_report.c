/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reports of processors that cannot go on.  Called by vcpu_exit.c on the processor's thread, once
 * per guest at most.
 *
 * Nothing here depends on what the guest has made of itself: what cannot be read is said to be so.
 */
#include "hv/fault_report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum { CODE_SHOWN = 16, PAGE_BYTES = 4096 };

#define CR0_PE	 (UINT64_C(1) << 0)
#define CR0_PG	 (UINT64_C(1) << 31)
#define EFER_LMA (UINT64_C(1) << 10)

/* Registers as KVM gives them; all zeros, and said so, if it does not. */
struct state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	bool known;
};

static void read_state(const struct vcpu *vcpu, struct state *state)
{
	memset(state, 0, sizeof(*state));
	state->known = ioctl(vcpu->fd, KVM_GET_REGS, &state->regs) == 0 &&
		       ioctl(vcpu->fd, KVM_GET_SREGS, &state->sregs) == 0;
}

/* --- text ------------------------------------------------------------------------------------- */

struct text {
	char *bytes;
	size_t size, used;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
	size_t room = text->size - text->used;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(text->bytes + text->used, room, format, arguments);
	va_end(arguments);
	if (n > 0)
		text->used += (size_t)n < room ? (size_t)n : room - 1;
}

const char *fault_report_hex(const uint8_t *bytes, unsigned int n, char text[FAULT_CODE_BYTES])
{
	struct text out = {text, FAULT_CODE_BYTES, 0};

	text[0] = '\0';
	for (unsigned int i = 0; i < n && i < CODE_SHOWN; i++)
		add(&out, "%s%02x", i ? " " : "", bytes[i]);
	return text;
}

/* --- where it is ------------------------------------------------------------------------------ */

static const char *mode_of(const struct state *state)
{
	if (!(state->sregs.cr0 & CR0_PE))
		return "real mode";
	if (state->sregs.efer & EFER_LMA)
		return state->sregs.cs.l ? "64-bit" : "compatibility mode";
	return state->sregs.cs.db ? "32-bit" : "16-bit";
}

const char *fault_report_place(const struct vcpu *vcpu, char text[FAULT_PLACE_BYTES])
{
	struct state state;

	read_state(vcpu, &state);
	if (!state.known)
		snprintf(text, FAULT_PLACE_BYTES, "at an unknown place");
	else
		snprintf(text, FAULT_PLACE_BYTES, "at rip 0x%llx, ring %u, %s",
			(unsigned long long)state.regs.rip, state.sregs.cs.dpl, mode_of(&state));
	return text;
}

/* The bytes at a linear address, up to the end of its page: how many. */
static unsigned int read_code(const struct vcpu *vcpu, uint64_t linear, uint8_t *code)
{
	struct kvm_translation translation = {.linear_address = linear};
	uint64_t left = PAGE_BYTES - linear % PAGE_BYTES;
	unsigned int n = left < CODE_SHOWN ? (unsigned int)left : CODE_SHOWN;

	if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
		return 0;
	return guest_memory_read(&vcpu->machine->memory, translation.physical_address, code, n) ? n
												: 0;
}

const char *fault_report_code(const struct vcpu *vcpu, char text[FAULT_CODE_BYTES])
{
	struct state state;
	uint8_t code[2 * CODE_SHOWN];
	uint64_t linear;
	unsigned int n;

	read_state(vcpu, &state);
	linear = state.regs.rip;
	if (!(state.sregs.efer & EFER_LMA) || !state.sregs.cs.l)
		linear = (uint32_t)(linear + state.sregs.cs.base);
	n = state.known ? read_code(vcpu, linear, code) : 0;
	/* The instruction may go on in the next page. */
	if (n > 0 && n < CODE_SHOWN)
		n += read_code(vcpu, linear + n, code + n);
	return n > 0 ? fault_report_hex(code, n, text) : NULL;
}

/* --- the report ------------------------------------------------------------------------------- */

static void add_registers(struct text *text, const struct kvm_regs *regs)
{
	const struct {
		const char *name;
		uint64_t value;
	} registers[] = {
		{"rax", regs->rax},
		{"rbx", regs->rbx},
		{"rcx", regs->rcx},
		{"rdx", regs->rdx},
		{"rsi", regs->rsi},
		{"rdi", regs->rdi},
		{"rbp", regs->rbp},
		{"rsp", regs->rsp},
		{"r8", regs->r8},
		{"r9", regs->r9},
		{"r10", regs->r10},
		{"r11", regs->r11},
		{"r12", regs->r12},
		{"r13", regs->r13},
		{"r14", regs->r14},
		{"r15", regs->r15},
		{"rip", regs->rip},
		{"flags", regs->rflags},
	};

	for (unsigned int i = 0; i < sizeof(registers) / sizeof(registers[0]); i++)
		add(text, "%-5s %016" PRIx64 "%s", registers[i].name, registers[i].value,
			i % 4 == 3 ? "\n" : "  ");
	add(text, "\n");
}

static void add_segment(struct text *text, const char *name, const struct kvm_segment *segment)
{
	add(text, "%-5s %04x  base %016llx  limit %08x  ", name, segment->selector,
		(unsigned long long)segment->base, segment->limit);
	if (!segment->present)
		add(text, "not present\n");
	else
		add(text, "type %x ring %u%s%s%s\n", segment->type, segment->dpl,
			segment->s ? "" : " system", segment->l ? " 64-bit" : "",
			segment->db ? " 32-bit" : "");
}

static void add_system(struct text *text, const struct kvm_sregs *sregs)
{
	add(text, "cr0   %016llx  cr2   %016llx  cr3   %016llx  cr4   %016llx\n",
		(unsigned long long)sregs->cr0, (unsigned long long)sregs->cr2,
		(unsigned long long)sregs->cr3, (unsigned long long)sregs->cr4);
	add(text, "efer  %016llx  apic  %016llx\n", (unsigned long long)sregs->efer,
		(unsigned long long)sregs->apic_base);
	add_segment(text, "cs", &sregs->cs);
	add_segment(text, "ss", &sregs->ss);
	add_segment(text, "ds", &sregs->ds);
	add_segment(text, "es", &sregs->es);
	add_segment(text, "fs", &sregs->fs);
	add_segment(text, "gs", &sregs->gs);
	add_segment(text, "tr", &sregs->tr);
	add(text, "gdt   base %016llx  limit %04x\nidt   base %016llx  limit %04x\n",
		(unsigned long long)sregs->gdt.base, sregs->gdt.limit,
		(unsigned long long)sregs->idt.base, sregs->idt.limit);
}

/* What was on its way to the guest, or being delivered. */
static void add_exception(struct text *text, const struct vcpu *vcpu)
{
	struct kvm_vcpu_events events;

	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
		return;
	if (events.exception.injected)
		add(text, "exception %u was being delivered", events.exception.nr);
	if (events.exception.injected && events.exception.has_error_code)
		add(text, ", error code %x", events.exception.error_code);
	if (events.exception.injected)
		add(text, "\n");
}

void fault_report_write(const struct vcpu *vcpu, char *text, size_t bytes)
{
	struct text report = {text, bytes, 0};
	struct state state;
	char line[FAULT_PLACE_BYTES], bytes_at_rip[FAULT_CODE_BYTES];
	const char *code = fault_report_code(vcpu, bytes_at_rip);

	read_state(vcpu, &state);
	text[0] = '\0';
	add(&report, "processor %u of %u, %s\n", vcpu->index, vcpu->machine->n_vcpus,
		fault_report_place(vcpu, line));
	if (!state.known) {
		add(&report, "KVM does not give its registers\n");
		return;
	}
	add_exception(&report, vcpu);
	add_registers(&report, &state.regs);
	add_system(&report, &state.sregs);
	add(&report, "code at rip: %s\n", code ? code : "not readable");
}
