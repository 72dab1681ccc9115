/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The balloon (virtio 1.2, 5.5), over memory that nothing else of this guest uses.
 *
 *	balloon touch MIB	writes to memory, so that the host has to have it
 *	balloon follow		gives back, or takes again, as the host asks
 *	balloon report MIB	reports memory as free
 *	balloon check MIB	whether all of it reads as zeros
 */
#include "guest.h"

enum {
	CONFIG_WANTED = 0,
	CONFIG_ACTUAL = 4,
	QUEUE_INFLATE = 0,
	QUEUE_DEFLATE = 1,
	QUEUE_REPORT = 2,
	PAGE_SHIFT = 12,
	AT_ONCE = 256,
	MIB = 1 << 20,
};

#define BALLOON_F_REPORTING (UINT64_C(1) << 5)
#define SPARE_MEMORY	    UINT64_C(0x2400000) /* Behind the guest; the rest of the first 64 MiB. */

static bool move(struct device *device, unsigned int queue, uint32_t first, uint32_t n)
{
	static uint32_t pages[AT_ONCE];
	struct part part = {pages, n * (uint32_t)sizeof(pages[0])};

	for (uint32_t i = 0; i < n; i++)
		pages[i] = (uint32_t)(SPARE_MEMORY >> PAGE_SHIFT) + first + i;
	return queue_request(&device->queues[queue], &part, 1, 0) >= 0;
}

static void follow(struct device *device, char *reply, size_t size)
{
	static uint32_t actual;
	uint32_t wanted = get32(device->virtio.config + CONFIG_WANTED);

	while (actual != wanted) {
		bool inflates = actual < wanted;
		uint32_t left = inflates ? wanted - actual : actual - wanted;
		uint32_t n = left < AT_ONCE ? left : AT_ONCE;

		if (!move(device, inflates ? QUEUE_INFLATE : QUEUE_DEFLATE,
			    inflates ? actual : actual - n, n)) {
			format_to(reply, size, "balloon: silent");
			return;
		}
		actual = inflates ? actual + n : actual - n;
		set32(device->virtio.config + CONFIG_ACTUAL, actual);
	}
	format_to(reply, size, "balloon: %u pages", (uint64_t)actual);
}

static void report(struct device *device, uint64_t mib, char *reply, size_t size)
{
	struct part part = {(const void *)SPARE_MEMORY, (uint32_t)(mib * MIB)};

	if (!(device->virtio.features & BALLOON_F_REPORTING))
		format_to(reply, size, "balloon: no reporting");
	else if (queue_request(&device->queues[QUEUE_REPORT], &part, 1, 1) < 0)
		format_to(reply, size, "balloon: silent");
	else
		format_to(reply, size, "balloon: reported");
}

static bool is_zero(uint64_t mib)
{
	const volatile uint64_t *at = (const volatile uint64_t *)SPARE_MEMORY;

	for (uint64_t i = 0; i < mib * MIB / sizeof(*at); i++) {
		if (at[i] != 0)
			return false;
	}
	return true;
}

void balloon_command(char *line, char *reply, size_t size)
{
	const char *what = word(&line);
	uint64_t mib = number(word(&line));
	struct device *device = device_open(VIRTIO_BALLOON, 0, BALLOON_F_REPORTING, 3);

	if (!device) {
		format_to(reply, size, "balloon: no such device");
	} else if (same(what, "touch")) {
		memset((void *)SPARE_MEMORY, 0x5a, mib * MIB);
		format_to(reply, size, "balloon: touched");
	} else if (same(what, "check")) {
		format_to(reply, size, "balloon: %s", is_zero(mib) ? "zeros" : "kept");
	} else if (same(what, "report")) {
		report(device, mib, reply, size);
	} else {
		follow(device, reply, size);
	}
}
