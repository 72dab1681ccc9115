/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console: a queue of buffers to be filled with what is typed, and one of output.  Called by
 * the event loop and by the terminal, with the machine's lock held.
 *
 * A buffer for input is taken before there is input, and held until something is typed.  Of one
 * request at most OUTPUT_MAX bytes are output: Linux sends 32 KiB at most, and the terminal would
 * not keep more.
 */
#include "hv/console.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT = 0, OUTPUT = 1, N_QUEUES = 2, QUEUE_SIZE = 64, PIECE = 2048 };
enum { OUTPUT_MAX = TERMINAL_KEPT_BYTES };

struct console {
	struct virtio_device device;
	struct terminal *terminal;
	struct virtio_chain output;
	/* The guest's next buffer for input. */
	struct virtio_chain input;
	bool input_held;
	uint64_t requests, output_bytes, input_bytes, refused_bytes;
};

/* --- Output ----------------------------------------------------------------------------------- */

static void output_request(struct console *console)
{
	const struct virtio_chain *chain = &console->output;
	uint64_t wanted = chain->readable_bytes < OUTPUT_MAX ? chain->readable_bytes : OUTPUT_MAX;
	uint8_t piece[PIECE];

	for (uint64_t at = 0; at < wanted; at += PIECE) {
		uint64_t n = wanted - at < PIECE ? wanted - at : PIECE;

		terminal_write(console->terminal, piece, virtio_chain_read(chain, at, piece, n));
	}
	console->output_bytes += wanted;
	console->refused_bytes += chain->readable_bytes - wanted;
}

static void take_output(struct console *console)
{
	struct virtio_queue *queue = &console->device.queues[OUTPUT];
	unsigned int turn = VIRTIO_DEVICE_TURN;
	bool answered = false;

	while (virtio_device_take(&console->device, OUTPUT, &console->output, &turn)) {
		output_request(console);
		virtio_queue_push(queue, console->output.head, 0);
		console->requests++;
		answered = true;
	}
	if (answered)
		virtio_queue_signal(queue);
}

/* --- Input ------------------------------------------------------------------------------------ */

/* Fills the buffer that is held, and gives it back.  False if there is nothing to fill it with. */
static bool fill_input(struct console *console)
{
	struct virtio_chain *chain = &console->input;
	uint64_t room = chain->writable_bytes, filled = 0;
	uint8_t piece[PIECE];
	size_t n;

	do {
		n = terminal_read(console->terminal, piece,
			room - filled < PIECE ? (size_t)(room - filled) : PIECE);
		filled += virtio_chain_write(chain, filled, piece, n);
	} while (n > 0);
	/* A buffer without room is given back as it is. */
	if (!filled && room)
		return false;
	virtio_queue_push(&console->device.queues[INPUT], chain->head, (uint32_t)filled);
	console->input_held = false;
	console->input_bytes += filled;
	return true;
}

static void give_input(struct console *console)
{
	unsigned int turn = VIRTIO_DEVICE_TURN;
	bool answered = false;

	for (;;) {
		if (!console->input_held)
			console->input_held =
				virtio_device_take(&console->device, INPUT, &console->input, &turn);
		if (!console->input_held || !fill_input(console))
			break;
		answered = true;
	}
	if (answered)
		virtio_queue_signal(&console->device.queues[INPUT]);
}

static void typed(void *owner)
{
	struct console *console = owner;

	if (console->device.started && console->device.queues[INPUT].enabled)
		give_input(console);
}

/* --- The device ------------------------------------------------------------------------------- */

static void notified(struct virtio_device *device, unsigned int index)
{
	struct console *console = (struct console *)device;

	if (index == OUTPUT)
		take_output(console);
	else
		give_input(console);
}

static void stop(struct virtio_device *device)
{
	((struct console *)device)->input_held = false;
}

static unsigned int counters(struct virtio_device *device, struct virtio_counter *list)
{
	const struct console *console = (const struct console *)device;

	list[0] = (struct virtio_counter){"requests", console->requests};
	list[1] = (struct virtio_counter){"bytes-output", console->output_bytes};
	list[2] = (struct virtio_counter){"bytes-input", console->input_bytes};
	list[3] = (struct virtio_counter){"bytes-refused", console->refused_bytes};
	return 4;
}

static void destroy(struct virtio_device *device)
{
	terminal_set_owner(((struct console *)device)->terminal, NULL, NULL);
	free(device);
}

static const struct virtio_device_type console_type = {
	.name = "console",
	.id = 3,
	.start = virtio_device_start_nothing,
	.stop = stop,
	.notified = notified,
	.read_config = virtio_device_read_nothing,
	.write_config = virtio_device_write_nothing,
	.counters = counters,
	.destroy = destroy,
};

int console_create(struct virtio_device **device, const struct guest_memory *memory,
	struct event_loop *loop, struct terminal *terminal)
{
	struct console *console = calloc(1, sizeof(*console));

	if (!console)
		return -ENOMEM;
	console->device = (struct virtio_device){.type = &console_type,
		.name = "console0",
		.memory = memory,
		.loop = loop,
		.n_queues = N_QUEUES,
		.queue_size_max = QUEUE_SIZE};
	console->terminal = terminal;
	terminal_set_owner(terminal, typed, console);
	*device = &console->device;
	return 0;
}
