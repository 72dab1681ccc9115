/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The console (virtio 1.2, 5.3).
 *
 *	console say TEXT	console hear: the line that comes within five seconds
 */
#include "guest.h"

enum { QUEUE_RECEIVE = 0, QUEUE_TRANSMIT = 1, LINE_BYTES = 128, HEAR_MS = 5000 };

static void say(struct device *device, const char *text, char *reply, size_t size)
{
	struct part parts[] = {{text, (uint32_t)strlen(text)}, {"\r\n", 2}};
	bool done = queue_request(&device->queues[QUEUE_TRANSMIT], parts, 2, 0) >= 0;

	format_to(reply, size, "console: %s", done ? "said" : "silent");
}

static void hear(struct device *device, char *reply, size_t size)
{
	static char heard[LINE_BYTES], line[LINE_BYTES];
	uint64_t end = clock_cycles() + HEAR_MS * cycles_per_ms();
	size_t n = 0;

	memset(line, 0, sizeof(line));
	while (clock_cycles() < end && n < sizeof(line) - 1) {
		struct part part = {heard, sizeof(line) - 1 - (uint32_t)n};
		int64_t got = queue_request(&device->queues[QUEUE_RECEIVE], &part, 1, 1);

		for (int64_t i = 0; i < got && n < sizeof(line) - 1; i++)
			line[n++] = heard[i];
		if (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) {
			line[n - 1] = '\0';
			break;
		}
		if (got < 0) /* The buffer is still the device's: nothing else can be offered. */
			break;
	}
	format_to(reply, size, "console: heard %s", line);
}

void console_command(char *line, char *reply, size_t size)
{
	const char *what = word(&line);
	struct device *device = device_open(VIRTIO_CONSOLE, 0, 0, 2);

	if (!device)
		format_to(reply, size, "console: no such device");
	else if (same(what, "hear"))
		hear(device, reply, size);
	else
		say(device, line, reply, size);
}
