/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of the control socket, whoever wrote them: each is answered by one line of JSON, which says
 * whether it was done and, if not, why.  The machine is a real one without processors.
 *
 * Between lines the guest writes to its serial port, so that consoles have something to show.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hv/balloon.h"
#include "hv/control.h"

enum { MEMORY = 2 << 20 };

/* Made once, for all inputs. */
struct bench {
	struct machine machine;
	struct vmm_options options;
	struct control_subject subject;
};

static struct bench *bench_of(void)
{
	static struct bench *bench;
	struct machine *machine;

	if (bench)
		return bench;
	bench = calloc(1, sizeof(*bench));
	machine = &bench->machine;
	pthread_mutex_init(&machine->lock, NULL);
	pthread_cond_init(&machine->vcpus_changed, NULL);
	bench->options.name = "guest";
	bench->subject = (struct control_subject){
		.machine = machine, .options = &bench->options, .n_devices = 1};
	if (event_loop_create(&machine->loop, &machine->lock) ||
		guest_memory_create(&machine->memory, MEMORY, GUEST_PAGES_SMALL, NULL) ||
		terminal_create(&bench->subject.serial, "serial port", machine->loop) ||
		balloon_create(&bench->subject.devices[0], &machine->memory, machine->loop))
		abort();
	return bench;
}

void virtio_device_config_changed(struct virtio_device *device)
{
	if (!device)
		abort();
}

void virtio_device_fail(struct virtio_device *device, const char *reason)
{
	if (!device || !reason)
		abort();
}

uint64_t virtio_device_interrupts_refused(const struct virtio_device *device)
{
	(void)device;
	return 3;
}

const char *virtio_device_failure(const struct virtio_device *device)
{
	if (!device)
		abort();
	return NULL;
}

static void check(json_t *answer, const struct terminal *terminal)
{
	const json_t *ok = json_object_get(answer, "ok");
	const char *error = json_string_value(json_object_get(answer, "error"));
	char *text = json_dumps(answer, JSON_COMPACT);

	if (!json_is_boolean(ok) || json_is_true(ok) == (error != NULL) || (error && !*error))
		abort();
	if (terminal && !json_is_true(ok))
		abort();
	/* One line, and a small one. */
	if (!text || strchr(text, '\n') || strlen(text) > 8192)
		abort();
	free(text);
	json_decref(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct bench *bench = bench_of();
	const uint8_t *end = data + bytes;

	bench->machine.state = MACHINE_RUNNING;
	while (data < end) {
		const uint8_t *newline = memchr(data, '\n', (size_t)(end - data));
		size_t length = (size_t)((newline ? newline : end) - data);
		struct terminal *terminal;
		/* A copy of its own, so that reading beyond it is seen. */
		char *line = malloc(length ? length : 1);

		memcpy(line, data, length);
		pthread_mutex_lock(&bench->machine.lock);
		check(control_answer(&bench->subject, line, length, &terminal), terminal);
		terminal_write(bench->subject.serial, line, length);
		pthread_mutex_unlock(&bench->machine.lock);
		free(line);
		data += length + 1;
		if (!newline)
			break;
	}
	return 0;
}
