/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random numbers (virtio 1.2, 5.4): two requests must be answered in full, and differently.
 */
#include "guest.h"

enum { RANDOM_BYTES = 64 };

void rng_test(char *line, char *reply, size_t size)
{
	static uint8_t bytes[2][RANDOM_BYTES];
	struct device *device = device_open(VIRTIO_RNG, 0, 0, 1);
	int64_t got[2];

	(void)line;
	if (!device) {
		format_to(reply, size, "rng: no such device");
		return;
	}
	memset(bytes, 0, sizeof(bytes));
	for (unsigned int i = 0; i < 2; i++) {
		struct part part = {bytes[i], RANDOM_BYTES};

		got[i] = queue_request(&device->queues[0], &part, 1, 1);
	}
	if (got[0] != RANDOM_BYTES || got[1] != RANDOM_BYTES)
		format_to(reply, size, "rng: cut short");
	else
		format_to(reply, size, "rng: %s",
			memcmp(bytes[0], bytes[1], RANDOM_BYTES) == 0 ? "the same twice"
								      : "random");
}
