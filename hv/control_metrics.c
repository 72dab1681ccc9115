/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command `metrics`: what devices and processors have counted since the guest was started.
 * Called by control.c with the machine's lock held.
 */
#include <stdatomic.h>
#include <time.h>

#include "hv/control.h"
#include "hv/ioapic.h"
#include "hv/vcpu.h"

static json_int_t process_cpu_ns(void)
{
	struct timespec time = {0};

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (json_int_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static json_t *vcpu_object(const struct vcpu *vcpu)
{
	json_t *exits = json_object();

	for (unsigned int i = 0; i < VCPU_N_EXITS; i++)
		json_object_set_new(exits, vcpu_exit_name((enum vcpu_exit)i),
			json_integer((json_int_t)atomic_load(&vcpu->exits[i])));
	return json_pack("{s:I, s:o}", "cpu_ns", (json_int_t)vcpu_time_ns(vcpu), "exits", exits);
}

static json_t *vcpu_list(const struct machine *machine)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < machine->n_vcpus; i++)
		json_array_append_new(list, vcpu_object(machine->vcpus[i]));
	return list;
}

static json_t *counters_object(struct virtio_device *device)
{
	struct virtio_counter counters[VIRTIO_COUNTERS];
	unsigned int n = device->type->counters ? device->type->counters(device, counters) : 0;
	json_t *object = json_object();

	for (unsigned int i = 0; i < n; i++)
		json_object_set_new(
			object, counters[i].name, json_integer((json_int_t)counters[i].value));
	return object;
}

static json_t *device_list(const struct control_subject *subject)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < subject->n_devices; i++) {
		struct virtio_device *device = subject->devices[i];

		json_array_append_new(list,
			json_pack("{s:s, s:s, s:b, s:o*, s:I, s:o}", "name", device->name, "type",
				device->type->name, "driver", device->started, "failure",
				control_string(virtio_device_failure(device)), "interrupts_refused",
				(json_int_t)virtio_device_interrupts_refused(device), "counters",
				counters_object(device)));
	}
	return list;
}

static void append_terminal(json_t *list, const char *name, const struct terminal *terminal)
{
	struct terminal_counters counters;

	if (!terminal)
		return;
	terminal_count(terminal, &counters);
	json_array_append_new(list,
		json_pack("{s:s, s:i, s:I, s:I, s:I}", "name", name, "clients",
			(int)counters.clients, "output_bytes", (json_int_t)counters.output_bytes,
			"input_bytes", (json_int_t)counters.input_bytes, "lost_bytes",
			(json_int_t)counters.lost_bytes));
}

static json_t *terminal_list(const struct control_subject *subject)
{
	json_t *list = json_array();

	append_terminal(list, "serial", subject->serial);
	append_terminal(list, "console", subject->console);
	return list;
}

/* Of the I/O APIC; one of KVM's own cannot be refused. */
static uint64_t lines_refused(const struct machine *machine)
{
	return machine->ioapic ? ioapic_refused(machine->ioapic) : 0;
}

json_t *control_metrics(struct control_subject *subject)
{
	return json_pack("{s:b, s:I, s:I, s:o, s:I, s:o, s:o}", "ok", 1, "cpu_ns", process_cpu_ns(),
		"cpu_ns_before_guest", (json_int_t)subject->machine->start_cpu_ns, "vcpus",
		vcpu_list(subject->machine), "lines_refused",
		(json_int_t)lines_refused(subject->machine), "devices", device_list(subject),
		"terminals", terminal_list(subject));
}
