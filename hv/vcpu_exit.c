/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a processor leaves KVM for.  Called on the processor's thread, after KVM_RUN.
 *
 * An access to a device takes the machine's lock and goes to its bus.  Everything else ends the
 * guest: by its own fault (a triple fault, an instruction that this KVM does not know), or by this
 * host's.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/fault_report.h"
#include "hv/vcpu.h"

/* "rep outsb" and its like leave KVM once for many accesses to the same port. */
static void handle_port(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	const struct kvm_run *run = vcpu->run;
	uint16_t port = run->io.port;
	unsigned int bytes = run->io.size;
	uint8_t *data = (uint8_t *)vcpu->run + run->io.data_offset;

	pthread_mutex_lock(&machine->lock);
	for (uint32_t i = 0; i < run->io.count; i++, data += bytes) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(&machine->ports, port, data, bytes);
		else
			bus_read(&machine->ports, port, data, bytes);
	}
	pthread_mutex_unlock(&machine->lock);
}

static void handle_mmio(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	struct kvm_run *run = vcpu->run;

	pthread_mutex_lock(&machine->lock);
	if (run->mmio.is_write)
		bus_write(&machine->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(&machine->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	pthread_mutex_unlock(&machine->lock);
}

/* The machine ends, with the registers of this processor as its report; unless it ends already. */
static void end_with_report(struct vcpu *vcpu, enum machine_outcome outcome, const char *reason)
{
	struct machine *machine = vcpu->machine;

	pthread_mutex_lock(&machine->lock);
	if (machine->state != MACHINE_ENDING) {
		fault_report_write(vcpu, machine->report, sizeof(machine->report));
		machine_end(machine, outcome, "%s", reason);
	}
	pthread_mutex_unlock(&machine->lock);
}

static void handle_triple_fault(struct vcpu *vcpu)
{
	char reason[HV_ERROR_BYTES], place[FAULT_PLACE_BYTES];

	snprintf(reason, sizeof(reason),
		"processor %u of the guest met a triple fault %s: an exception whose handlers "
		"could not be run",
		vcpu->index, fault_report_place(vcpu, place));
	end_with_report(vcpu, MACHINE_GUEST_FAULT, reason);
}

/* The bytes that KVM could make nothing of, if it says which; else those at RIP; or NULL. */
static const char *instruction_of(const struct vcpu *vcpu, char text[FAULT_CODE_BYTES])
{
	const struct kvm_run *run = vcpu->run;
	unsigned int n = 0;

	if (run->emulation_failure.ndata > 0 &&
		(run->emulation_failure.flags &
			KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) != 0)
		n = run->emulation_failure.insn_size;
	if (n == 0 || n > sizeof(run->emulation_failure.insn_bytes))
		return fault_report_code(vcpu, text);
	return fault_report_hex(run->emulation_failure.insn_bytes, n, text);
}

static void handle_unknown_instruction(struct vcpu *vcpu)
{
	char reason[HV_ERROR_BYTES], place[FAULT_PLACE_BYTES], bytes[FAULT_CODE_BYTES];
	const char *code = instruction_of(vcpu, bytes);

	if (code)
		snprintf(reason, sizeof(reason),
			"processor %u of the guest came to an instruction that this host's KVM "
			"cannot run %s (bytes %s): if it belongs to a feature of the processor, "
			"hide that with --cpu-mask",
			vcpu->index, fault_report_place(vcpu, place), code);
	else
		snprintf(reason, sizeof(reason),
			"processor %u of the guest was to run what is not in its memory, %s",
			vcpu->index, fault_report_place(vcpu, place));
	end_with_report(vcpu, MACHINE_GUEST_FAULT, reason);
}

static const char *internal_error_name(uint32_t suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_SIMUL_EX: return "two exceptions at once";
	case KVM_INTERNAL_ERROR_DELIVERY_EV: return "an exit while an event was delivered";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: return "an exit that it does not know";
	default: return "an error without a name";
	}
}

static void handle_internal_error(struct vcpu *vcpu)
{
	char reason[HV_ERROR_BYTES], place[FAULT_PLACE_BYTES];
	uint32_t suberror = vcpu->run->internal.suberror;

	if (suberror == KVM_INTERNAL_ERROR_EMULATION) {
		handle_unknown_instruction(vcpu);
		return;
	}
	snprintf(reason, sizeof(reason), "KVM gave processor %u up %s: %s (internal error %u)",
		vcpu->index, fault_report_place(vcpu, place), internal_error_name(suberror),
		suberror);
	end_with_report(vcpu, MACHINE_VMM_FAULT, reason);
}

static void handle_failed_entry(struct vcpu *vcpu)
{
	char reason[HV_ERROR_BYTES], place[FAULT_PLACE_BYTES];

	snprintf(reason, sizeof(reason),
		"the hardware refused to run processor %u %s: reason 0x%llx (a state that no "
		"processor can be in)",
		vcpu->index, fault_report_place(vcpu, place),
		(unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason);
	end_with_report(vcpu, MACHINE_VMM_FAULT, reason);
}

static void handle_system_event(struct vcpu *vcpu)
{
	struct machine *machine = vcpu->machine;
	uint32_t type = vcpu->run->system_event.type;

	if (type != KVM_SYSTEM_EVENT_SHUTDOWN && type != KVM_SYSTEM_EVENT_RESET) {
		end_with_report(
			vcpu, MACHINE_GUEST_FAULT, "the guest told KVM that it has crashed");
		return;
	}
	pthread_mutex_lock(&machine->lock);
	if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
		machine_end(machine, MACHINE_SHUTDOWN, "the guest switched itself off through KVM");
	else
		machine_end(machine, MACHINE_RESET, "the guest asked KVM for a reset");
	pthread_mutex_unlock(&machine->lock);
}

static void handle_unknown(struct vcpu *vcpu)
{
	char reason[HV_ERROR_BYTES], place[FAULT_PLACE_BYTES];

	snprintf(reason, sizeof(reason),
		"KVM left processor %u %s for a reason that this program did not ask for: %u",
		vcpu->index, fault_report_place(vcpu, place), vcpu->run->exit_reason);
	end_with_report(vcpu, MACHINE_VMM_FAULT, reason);
}

void vcpu_handle_exit(struct vcpu *vcpu)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO: handle_port(vcpu); break;
	case KVM_EXIT_MMIO: handle_mmio(vcpu); break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_NMI:
	case KVM_EXIT_IRQ_WINDOW_OPEN: break; /* The host's business: go on. */
	case KVM_EXIT_SHUTDOWN: handle_triple_fault(vcpu); break;
	case KVM_EXIT_INTERNAL_ERROR: handle_internal_error(vcpu); break;
	case KVM_EXIT_FAIL_ENTRY: handle_failed_entry(vcpu); break;
	case KVM_EXIT_SYSTEM_EVENT: handle_system_event(vcpu); break;
	/* HLT is among these: with local APICs in the kernel, KVM waits there itself. */
	default: handle_unknown(vcpu); break;
	}
}

void vcpu_fail(struct vcpu *vcpu, int code)
{
	char reason[HV_ERROR_BYTES], place[FAULT_PLACE_BYTES];

	snprintf(reason, sizeof(reason), "KVM cannot go on with processor %u %s: %s%s", vcpu->index,
		fault_report_place(vcpu, place), strerror(code),
		code == EFAULT || code == ENOMEM ? " (is there any memory left on this host?)"
						 : "");
	end_with_report(vcpu, MACHINE_VMM_FAULT, reason);
}
